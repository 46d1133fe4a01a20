"""The probability that a random slice through a point shows that its Hessian is indefinite, from the spectrum alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtr
from torch import Tensor

from lossatlas import _checks, _statistics, archive
from lossatlas._errors import InputError
from lossatlas.curvature._estimate import Estimate
from lossatlas.curvature._numbers import numbers_in
from lossatlas.curvature._spectrum import Spectrum

CELLS = 2**22


@dataclass(frozen=True, eq=False)
class SaddleProbability(archive.Result):
    """How likely a random plane (or line) is to show a direction of negative curvature.

    Attributes:
        directions: 2 for planes, 1 for lines.
        value: of planes, the probability of a saddle, one principal curvature above and one below zero; of lines, of a
            negative curvature.
        interval: 95 % interval of it: Clopper and Pearson for the draws; where the spectrum is an estimate, widened to
            the values of its single probes, or of both ends of the trace's interval.
        negative: the probability that the smaller principal curvature is below zero, saddle or not.
        gaussian: what the cheap formula says: Φ(−t/√2) for lines, exp(−t²/4)/√2 for planes.
        ratio: t = tr H / ‖H‖_F.
        draws: random slices behind it.
        alone: the value from each probe of an estimated spectrum, or from each end of the trace's interval; empty
            where the spectrum is exact.
        provenance: of the spectrum, with seed and draws.
    """

    KIND: ClassVar[str] = "saddle-probability"

    directions: int
    value: float
    interval: tuple[float, float]
    negative: float
    gaussian: float
    ratio: float
    draws: int
    alone: np.ndarray
    provenance: dict[str, Any]

    @property
    def sentence(self) -> str:
        """The probability in words."""
        what = ("line shows negative curvature", "plane shows a saddle")[self.directions - 1]
        return (
            f"a random {what} with probability {_share(self.value)} ({self.provenance['interval']} "
            f"{_share(self.interval[0])} to {_share(self.interval[1])}; Gaussian formula {_share(self.gaussian)}, t = {self.ratio:.3g})"
        )


def p_saddle(
    spectrum: Spectrum | np.ndarray | Tensor | Sequence[float],
    *,
    directions: int = 2,
    trace: Estimate | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> SaddleProbability:
    """The probability that a random slice shows the saddle: P(det Σ λᵢ zᵢzᵢᵀ < 0), or P(Σ λᵢzᵢ² < 0) on a line.

    The zᵢ are independent normal pairs. The sign pattern of a form does not depend on the basis of the slice
    (Sylvester), so neither orthogonalization nor the lengths of the directions matter. No loss is evaluated: random
    forms are drawn from the eigenvalues. A node of an estimated spectrum that stands for n eigenvalues enters with a
    Wishart matrix of n degrees of freedom, outliers that were met one by one with one degree each. For slices whose
    directions are scaled, as by filter normalization, give the spectrum of D H D.

    Args:
        spectrum: a `Spectrum`, or all eigenvalues (N,).
        directions: 2 for planes, 1 for lines.
        trace: of the same Hessian, to correct an estimated spectrum with. The probability depends on t = tr H / ‖H‖_F, which a
            few probes leave wide open while as many products make a good trace: all but the resolved eigenvalues are
            shifted and stretched until tr H and ‖H‖_F² are those of the estimate, and the interval spans its interval.
        draws: random slices.
        seed: of the draws.

    Returns:
        The `SaddleProbability`.

    Raises:
        InputError: for another number of directions, no draws, or no eigenvalues.

    Source:
        The ratio t: Fort and Scherlis, AAAI 2019, arXiv:1807.02581. Means of random projections: Böttcher and
        Wheeler, J. Stat. Mech. 2024, arXiv:2208.13219.

    Example:
        >>> import numpy as np
        >>> found = p_saddle(np.array([1.0, 1.0, -1.0]))  # exactly 1/√2: planes that meet the cone
        >>> abs(found.value - 0.5**0.5) < 0.015
        True
    """
    directions = _checks.whole("directions", directions, 1, 2, do="A line has one, a plane two.")
    draws = _checks.whole("draws", draws, 1, 10_000_000)
    seed = _checks.seed(seed)
    if trace is not None and not isinstance(trace, Estimate):
        raise InputError(
            f"got trace={_checks.shown(trace)}; expected the Estimate that Hessian.trace returns, or None."
        )
    if isinstance(spectrum, Spectrum):
        (values, counts), single = spectrum.multiplicities(), []
        record = dict(spectrum.provenance)
        if trace is not None and not spectrum.dense:
            known = len(spectrum.resolved)
            (values, counts), *single = (
                _corrected(values, counts, known, trace, at) for at in (trace.value, *trace.interval)
            )
        elif not spectrum.dense and spectrum.probes > 1:
            single = [spectrum.of_probe(row) for row in range(spectrum.probes)]
    else:
        values = _eigenvalues(spectrum)
        counts, record, single = np.ones(len(values)), {}, []
    if directions == 2 and counts.sum() < 2:
        raise InputError("got fewer than two eigenvalues; expected at least two for a plane. Give directions=1.")
    rng = np.random.default_rng(seed)
    hits, below = _count(values, counts, directions, draws, rng)
    # What widens the interval need not be as sharp as what lies in its middle.
    few = max(1, draws // 4)
    each = np.array([_count(v, c, directions, few, rng)[0] / few for v, c in single])
    low, high = _statistics.proportion_interval(hits, draws, method="exact")
    interval = (float(min([low, *each])), float(max([high, *each])))
    size = math.sqrt((counts * values**2).sum())
    ratio = float((counts * values).sum()) / size if size else 0.0
    cheap = float(ndtr(-ratio / math.sqrt(2))) if directions == 1 else math.exp(-(ratio**2) / 4) / math.sqrt(2)
    named = "95 % interval" if trace is not None or not single else "with single probes"
    record |= {"draws": draws, "seed of the draws": seed, "interval": named}
    return SaddleProbability(
        directions, hits / draws, interval, below / draws, cheap if size else 0.0, ratio, draws, each, record
    )


def _eigenvalues(given: Any) -> np.ndarray:
    if isinstance(given, Tensor):
        given = _checks.tensor("spectrum", given).detach().cpu().numpy()
    if isinstance(given, np.ndarray | Sequence) and not isinstance(given, str):
        return numbers_in("eigenvalues", given)
    raise InputError(f"got a spectrum of type {type(given).__name__}; expected a Spectrum, or all eigenvalues (N,).")


def _count(
    values: np.ndarray, counts: np.ndarray, directions: int, draws: int, rng: np.random.Generator
) -> tuple[int, int]:
    """How many of the drawn forms are what is looked for, and how many have a negative direction."""
    some = counts > 0
    values, counts = values[some], counts[some]
    hits = below = 0
    chunk = max(1, CELLS // len(values))
    for first in range(0, draws, chunk):
        form = _forms(values, counts, directions, min(chunk, draws - first), rng)
        if directions == 1:
            negative = int((form[0] < 0).sum())
            hits, below = hits + negative, below + negative
            continue
        a, b, c = form
        saddle = a * c - b * b < 0
        hits += int(saddle.sum())
        below += int((saddle | (a + c < 0)).sum())
    return hits, below


def _forms(
    values: np.ndarray, counts: np.ndarray, directions: int, draws: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Σ λ W with W Wishart of as many degrees of freedom as λ occurs: a, or (a, b, c) of [[a, b], [b, c]].

    What occurs once is drawn as z zᵀ, what occurs more often by Bartlett's decomposition. A node that stands for less
    than one eigenvalue is there in that share of the draws.
    """
    many = counts > 1
    once, weights = values[~many], counts[~many]
    z = rng.standard_normal((directions, draws, len(once)))
    if (weights < 1).any():
        z *= rng.random((draws, len(once))) < weights
    form = [(z[i] * z[j]) @ once for i, j in ((0, 0), (0, 1), (1, 1))[: 1 if directions == 1 else 3]]
    if many.any():
        values, freedom, shape = values[many], counts[many], (draws, int(many.sum()))
        first = rng.chisquare(freedom, shape)
        form[0] += first @ values
        if directions == 2:
            across = rng.standard_normal(shape)
            form[1] += (np.sqrt(first) * across) @ values
            form[2] += (across**2 + rng.chisquare(freedom - 1, shape)) @ values
    return form


def _corrected(
    values: np.ndarray, counts: np.ndarray, known: int, trace: Estimate, at: float
) -> tuple[np.ndarray, np.ndarray]:
    """The spectrum with its unresolved part moved to the trace `at` and the ‖H‖_F² of an estimate."""
    rest, many = values[known:], counts[known:]
    total = many.sum()
    if not total > 0:
        return values, counts
    mean = float((many * rest).sum() / total)
    spread = float((many * (rest - mean) ** 2).sum())
    aim = (at - float(values[:known].sum())) / total
    square = spread + total * mean**2
    if trace.frobenius is not None:
        square = trace.frobenius.value - float((values[:known] ** 2).sum())
    stretch = math.sqrt(max(0.0, square - total * aim**2) / spread) if spread > 0 else 1.0
    return np.concatenate([values[:known], aim + stretch * (rest - mean)]), counts


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"
