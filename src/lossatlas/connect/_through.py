"""The straight line from an initialization through a trained network and beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks, archive
from lossatlas.connect._barrier import bootstrap, monotone_rise, percentiles
from lossatlas.connect._endpoints import two_ends
from lossatlas.connect._readout import Readout, Rows
from lossatlas.probe import Meter
from lossatlas.surface import PointLike, Surface, need_surface

if TYPE_CHECKING:
    from lossatlas.draw import ProfileDisplay

Array = NDArray[np.float64]
RESAMPLES = 500
MOST = 10_001


@dataclass(frozen=True, eq=False)
class Through(archive.Result):
    """Losses at θ(t) = θ₀ + t (θ₁ − θ₀), for t from below 0 to beyond 1.

    Attributes:
        t: (n,) increasing; 0 and 1 are among them.
        loss: (n,) on the surface's own data.
        error: (n,) share of examples that are wrong, or None.
        test: (n,) loss on test data, or None.
        low: (n,) lower ends of the 95 % band of the loss over examples, or None.
        high: (n,) upper ends.
        rise: largest rise of the loss from an earlier to a later t within 0 to 1; 0 if it falls all the way.
        lowest: t of the lowest loss on the line.
        length: |θ₁ − θ₀|.
        title: the surface's name.
        meter: what was evaluated for it.
    """

    KIND: ClassVar[str] = "through"

    t: Array
    loss: Array
    error: Array | None
    test: Array | None
    low: Array | None
    high: Array | None
    rise: float
    lowest: float
    length: float
    title: str
    meter: Meter

    @property
    def sentence(self) -> str:
        """Whether the loss falls all the way, and what comes behind the minimum."""
        at = dict(zip(self.t.tolist(), self.loss.tolist(), strict=True))
        way = "falls all the way" if self.rise == 0 else f"rises by up to {self.rise:.3g} on the way"
        return (
            f"from the initialization (loss {at[0.0]:.4g}) to the trained network ({at[1.0]:.4g}) the loss {way}; it is lowest at "
            f"t = {self.lowest:.3g} and {self.loss[-1]:.4g} at t = {self.t[-1]:g}"
        )

    def plot(self, ax: Any = None, *, note: str | None = None) -> ProfileDisplay:
        """The profile, with both networks marked.

        Args:
            ax: matplotlib axes, or None for a new figure.
            note: a sentence of small print.
        """
        from lossatlas.draw import ProfileDisplay

        _checks.optional(_checks.text, "note", note)
        return ProfileDisplay(
            self.t, self.loss, self.low, self.high, xlabel="t, from the initialization (0) through the trained network (1)",
            ylabel="training loss", marks=[("initialization", 0.0), ("trained", 1.0)], title=self.title,
            note=" · ".join([*([note] if note else []), self.sentence]),
        ).plot(ax)  # fmt: skip


def through(
    surface: Surface,
    start: PointLike,
    trained: PointLike,
    *,
    before: float = 0.25,
    beyond: float = 0.5,
    points: int = 61,
    test: Surface | None = None,
    seed: int = 0,
) -> Through:
    """Evaluate the straight line from an initialization through a trained network and beyond.

    Batch-norm statistics are re-estimated at every t, as between two networks.

    Args:
        surface: of the network.
        start: θ₀, where training began: a vector, state dict, module or checkpoint file.
        trained: θ₁.
        before: how far to go below t = 0, in lengths of the way.
        beyond: how far to go behind t = 1.
        points: about so many values of t, at equal distances on each of the three parts.
        test: a surface of the same model on test data.
        seed: of the bootstrap over examples.

    Raises:
        InputError: for ends of another architecture, or that are the same point.

    Source:
        Goodfellow, Vinyals and Saxe: Qualitatively characterizing neural network optimization problems, ICLR 2015.

    Example:
        >>> import lossatlas as la
        >>> bowl = la.landscapes.quadratic(dimension=2)
        >>> line = la.through(bowl, [1.0, 1.0], [0.0, 0.0], points=7)
        >>> line.rise
        0.0
    """
    need_surface(surface, "through")
    before, beyond = (_checks.number(n, v, least=0) for n, v in (("before", before), ("beyond", beyond)))
    points, seed = _checks.whole("points", points, least=3, most=MOST), _checks.seed(seed)
    first, last = two_ends(surface, start, trained)
    step = (before + 1 + beyond) / (points - 1)
    inner = max(1, round(1 / step))
    parts = [np.linspace(0, 1, inner + 1)]
    parts += [-np.linspace(0, before, max(1, round(before / step)) + 1)[1:]] if before else []
    parts += [1 + np.linspace(0, beyond, max(1, round(beyond / step)) + 1)[1:]] if beyond else []
    t = np.unique(np.concatenate(parts))
    readout = Readout(surface, test, (first, last))
    reads: list[tuple[Rows, Rows | None]] = []
    way = last.theta - first.theta
    for at in t:  # one at a time: a point of a large network may fill the memory
        reads.append(readout.read(np.array([at]), (first.theta + float(at) * way)[None]))
    train = Rows.joined([one for one, _ in reads], np.arange(len(t)))
    held_out = [other.loss[0] for _, other in reads if other is not None]
    low = high = None
    if train.losses is not None and np.isfinite(train.losses).all():
        low, high = percentiles(bootstrap(train.losses, resamples=RESAMPLES, seed=seed))
        low, high = np.minimum(low, train.loss), np.maximum(high, train.loss)
    within = train.loss[(t >= 0) & (t <= 1)]
    rise = float(monotone_rise(within)) if np.isfinite(within).all() else float("inf")
    finite = np.where(np.isfinite(train.loss), train.loss, np.inf)
    return Through(
        t, train.loss, train.error, np.array(held_out) if held_out else None, low, high, rise, float(t[int(np.argmin(finite))]),
        float(way.double().norm()), surface.name, sum(readout.meters, Meter()),
    )  # fmt: skip
