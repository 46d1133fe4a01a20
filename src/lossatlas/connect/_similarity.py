"""How alike the representations of several networks are: linear CKA of what chosen modules put out on the same data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas import _checks, archive
from lossatlas._errors import InputError, NotApplicableError
from lossatlas._statistics import quantile
from lossatlas.connect._endpoints import end
from lossatlas.probe import Meter, Probe, Values
from lossatlas.surface import NetworkSurface, PointLike, StateSurface, Surface, need_surface

if TYPE_CHECKING:
    from lossatlas.draw import MatrixDisplay

Array = NDArray[np.float64]
BLOCKS = 20
LEAST = 8  # examples; fewer leave nothing to compare


@dataclass(frozen=True, eq=False)
class Similarity(archive.Result):
    """Linear CKA between networks, layer by layer.

    Attributes:
        names: of the n networks.
        layers: of the modules, in the order of the model.
        values: (layers, n, n) CKA, 1 on the diagonal.
        low: (layers, n, n) lower ends of the 95 % intervals over examples.
        high: (layers, n, n) their upper ends.
        examples: that were compared.
        unbiased: whether the estimate is the unbiased one of HSIC.
        title: the surface's name.
        meter: what was evaluated for it.
    """

    KIND: ClassVar[str] = "similarity"
    SAYS: ClassVar[tuple[str, ...]] = ("means",)

    names: tuple[str, ...]
    layers: tuple[str, ...]
    values: Array
    low: Array
    high: Array
    examples: int
    unbiased: bool
    title: str
    meter: Meter

    @property
    def means(self) -> Array:
        """(layers,) mean over the pairs of networks."""
        pairs = np.triu_indices(len(self.names), 1)
        return np.array([float(one[pairs].mean()) for one in self.values])

    @property
    def sentence(self) -> str:
        """The most and the least alike layer, in words."""
        means = self.means
        best, worst = int(np.argmax(means)), int(np.argmin(means))
        how = "unbiased estimate of " * self.unbiased
        return (
            f"{how}linear CKA of {len(self.names)} networks on {self.examples} examples, mean over pairs: {means[best]:.3f} at "
            f"{self.layers[best]} (most alike), {means[worst]:.3f} at {self.layers[worst]} (least)"
        )

    def matrix(self, layer: str | None = None) -> Array:
        """(n, n) CKA at one layer, the last by default.

        Raises:
            InputError: if there is no such layer.
        """
        found: Array = self.values[self._row(layer)]
        return found

    def plot(self, ax: Any = None, *, layer: str | None = None) -> MatrixDisplay:
        """The matrix of one layer, with intervals.

        Args:
            ax: matplotlib axes, or None for a new figure.
            layer: its name; the last by default.
        """
        from lossatlas.draw import MatrixDisplay

        k = self._row(layer)
        note = f"{self.examples} examples; brackets: 95 % over examples; 1: equal up to rotation, shift and scale"
        return MatrixDisplay(
            list(self.names), self.values[k], self.low[k], self.high[k], label="linear CKA",
            title=f"{self.title}: representations at {self.layers[k]}", note=note, span=(0.0, 1.0),
        ).plot(ax)  # fmt: skip

    def _row(self, layer: str | None) -> int:
        _checks.optional(_checks.text, "layer", layer)
        if layer is not None and layer not in self.layers:
            raise InputError(f"there is no layer {layer!r} in this result; expected one of {', '.join(self.layers)}.")
        return len(self.layers) - 1 if layer is None else self.layers.index(layer)


def similarity(
    surface: Surface,
    points: Mapping[str, PointLike],
    *,
    layers: Sequence[str] | None = None,
    examples: int = 512,
    unbiased: bool = False,
) -> Similarity:
    """Linear CKA between the representations of networks, on the surface's data.

    CKA(X, Y) = ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of outputs X (n, p), Y (n, q), centered over examples; it does not change when
    units are permuted, or a representation is rotated or scaled as a whole. With few examples and many units it is biased
    upward; ``unbiased=True`` takes the unbiased estimate of each of its three terms, which may fall below 0.

    Args:
        surface: of the network; its data are what is looked at.
        points: networks by name, at least two: vectors, state dicts, modules or checkpoint files.
        layers: names of modules; by default all that hold parameters of their own.
        examples: at most so many.
        unbiased: estimate of HSIC.

    Raises:
        InputError: for fewer than two networks or 8 examples, or modules that are not there.
        NotApplicableError: for a surface that is not a network's, or modules without one row per example.

    Source:
        Kornblith, Norouzi, Lee and Hinton: Similarity of neural network representations revisited, ICML 2019, section 3;
        unbiased: Song et al.: Feature selection via dependence maximization, JMLR 13 (2012), theorem 5; Nguyen, Raghu
        and Kornblith: Do wide and deep networks learn the same things?, ICLR 2021.
    """
    need_surface(surface, "similarity")
    if not isinstance(surface, NetworkSurface):
        raise NotApplicableError(f"{surface.name} has no representations; expected a NetworkSurface.")
    expected = "networks by name, at least two, as {'a': a, 'b': b}"
    if len(_checks.instance("points", points, Mapping, expected, where="similarity")) < 2:
        raise InputError(f"similarity got {len(points)} networks; expected {expected}.")
    if layers is not None:
        layers = [
            _checks.text("layers", each) for each in _checks.listed("layers", layers, "names of layers in a list")
        ]
    examples, unbiased = _checks.whole("examples", examples, least=LEAST), _checks.flag("unbiased", unbiased)
    states = torch.stack([end(surface, point, str(name)).state for name, point in points.items()])
    own = [n for n, m in surface.model.named_modules() if n and any(True for _ in m.parameters(recurse=False))]
    chosen = own if layers is None else list(_checks.instance("layers", layers, Sequence, "a list of names of modules"))
    count, meters = len(points), list[Meter]()
    values, low, high, kept = [], [], [], []
    seen = 0
    for name in chosen:
        # One module at a time: the outputs of all of them at once may not fit in memory.
        probe = Probe(StateSurface(surface, taps=[name], limit=examples))
        extras = probe.evaluate(Values(states)).extras
        meters.append(probe.meter)
        outputs = extras.get(f"tap/{name}")
        seen = probe.surface.examples
        if outputs is None or outputs.shape[1] != seen:
            if layers is None:
                continue
            raise NotApplicableError(
                f"the module {name!r} does not put out one row per example; expected one that does."
            )
        if seen < LEAST:
            raise InputError(f"got {seen} examples to compare representations on; expected at least {LEAST}.")
        grams = [_gram(one.reshape(seen, -1).double().cpu().numpy()) for one in outputs]
        one, lower, upper = np.eye(count), np.eye(count), np.eye(count)
        for i, j in itertools.combinations(range(count), 2):
            value, ends = _with_interval(grams[i], grams[j], unbiased)
            for matrix, number in ((one, value), (lower, ends[0]), (upper, ends[1])):
                matrix[i, j] = matrix[j, i] = number
        kept.append(name)
        values.append(one)
        low.append(lower)
        high.append(upper)
    if not kept:
        raise NotApplicableError(
            f"no module of {surface.name} puts out one row per example; expected layers=[…] that do."
        )
    return Similarity(
        tuple(map(str, points)), tuple(kept), np.array(values), np.array(low), np.array(high), seen, unbiased, surface.name,
        sum(meters, Meter()),
    )  # fmt: skip


def cka(one: Array, two: Array, unbiased: bool = False) -> float:
    """Linear CKA of two matrices of inner products (n, n); nan where a representation is constant."""
    hsic = _unbiased if unbiased else _biased
    scale = hsic(one, one) * hsic(two, two)
    return float(hsic(one, two) / np.sqrt(scale)) if scale > 0 else float("nan")


def _gram(rows: Array) -> Array:
    rows = rows - rows.mean(0)
    found: Array = rows @ rows.T
    return found


def _biased(one: Array, two: Array) -> float:
    """Tr(K H L H), up to a factor that cancels in CKA."""
    centered = one - one.mean(0) - one.mean(1)[:, None] + one.mean()
    return float((centered * two).sum())


def _unbiased(one: Array, two: Array) -> float:
    """HSIC₁ of Song et al. 2012, equation (5)."""
    n = len(one)
    k, m = one - np.diag(np.diag(one)), two - np.diag(np.diag(two))
    rows, columns = k.sum(0), m.sum(0)
    whole = (k * m).sum() + rows.sum() * columns.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * float(rows @ columns)
    return float(whole / (n * (n - 3)))


def _with_interval(one: Array, two: Array, unbiased: bool) -> tuple[float, tuple[float, float]]:
    """CKA and its 95 % interval: the jackknife, blocks of examples left out in turn."""
    value, n = cka(one, two, unbiased), len(one)
    count = min(BLOCKS, n // 2)
    without = []
    for block in np.array_split(np.arange(n), count):
        rest = np.delete(np.arange(n), block)
        if len(rest) > 3:
            without.append(cka(one[np.ix_(rest, rest)], two[np.ix_(rest, rest)], unbiased))
    if not np.isfinite([value, *without]).all():
        return value, (float("nan"), float("nan"))
    spread = np.sqrt((count - 1) / count * ((np.array(without) - np.mean(without)) ** 2).sum())
    half = quantile(0.95, count - 1) * float(spread)
    return value, (value - half, value + half if unbiased else min(1.0, value + half))
