"""The density of all eigenvalues from a few random vectors: what is known of it, outlier by outlier and in bulk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lossatlas import _checks, _statistics, archive
from lossatlas._errors import NotApplicableError
from lossatlas._said import several
from lossatlas.curvature._estimate import Estimate
from lossatlas.curvature._numbers import numbers_in
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.draw import SpectrumDisplay

# Google's reference code smooths with a variance of 1e-5 of the range; as a width of the range that is 0.3 %.
WIDTH = 1e-5**0.5
BEYOND = 5.0


@dataclass(frozen=True, eq=False)
class Spectrum(archive.Result):
    """The spectral density of a Hessian: quadrature nodes and weights of every probe, or all eigenvalues.

    Attributes:
        nodes: (probes, m) ascending; NaN where a probe ended early. All N eigenvalues in one row where it is dense.
        weights: (probes, m), each row sums to 1; 0 at NaN.
        resolved: (r,) eigenvalues known one by one, because every probe met them with a small residual, descending.
        residuals: (r,) of these.
        above: how many of these were counted from the top; the others were counted from the bottom.
        dimension: n, how many eigenvalues there are.
        dense: whether the nodes are all the eigenvalues.
        meter: what was evaluated for it.
        provenance: surface, point and settings, plain JSON values.
        status: ``exact``, or that it is an estimate of how many probes.
    """

    KIND: ClassVar[str] = "spectrum"
    SAYS: ClassVar[tuple[str, ...]] = ("ends", "outliers")

    nodes: np.ndarray
    weights: np.ndarray
    resolved: np.ndarray
    residuals: np.ndarray
    above: int
    dimension: int
    dense: bool
    meter: Meter
    provenance: dict[str, Any]
    status: str

    @property
    def probes(self) -> int:
        """How many random vectors it is made of; 1 where it is dense."""
        return len(self.nodes)

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest node: never outside the true ends (up to rounding)."""
        return float(np.nanmin(self.nodes)), float(np.nanmax(self.nodes))

    @property
    def index(self) -> int:
        """The Morse index, how many eigenvalues are negative beyond rounding.

        Raises:
            NotApplicableError: where the spectrum is an estimate. Most eigenvalues of a network lie at zero, and
                quadrature cannot tell their sign.
        """
        if not self.dense:
            raise NotApplicableError(
                f"the index of {self.dimension:,} eigenvalues cannot be had from {several(self.probes, 'probe')}: quadrature does "
                "not tell the sign of what lies at zero. Give dense=True (up to 5,000 parameters), or use "
                "share_below(eps) with an eps that matters to you."
            )
        return int((self.nodes[0] < -self.rounding).sum())

    @property
    def rounding(self) -> float:
        """Eigenvalues nearer to zero than this have no sign that could be trusted."""
        return float(np.nanmax(np.abs(self.nodes)) * max(1e-12, self.provenance["rounding"] * self.dimension**0.5))

    @property
    def trace(self) -> Estimate:
        """Tr H = n Σ w θ, one draw per probe."""
        return self._moment("tr H", 1)

    @property
    def frobenius(self) -> Estimate:
        """‖H‖_F² = n Σ w θ², one draw per probe."""
        return self._moment("‖H‖_F²", 2)

    @property
    def r_e(self) -> Estimate:
        """The criterion r_e = |λmin/λmax|, of the nodes of each probe, one draw per probe.

        Source: Gabdullin, Investigating generalization capabilities of neural networks by means of loss landscapes and Hessian
        analysis, arXiv:2412.10146; by its library loss-landscape-analysis, src_lla/hessian/viz.py, `hessian_criteria`.

        Example:
            >>> import lossatlas as la
            >>> round(la.spectrum(la.landscapes.quadratic(condition=9.0, dimension=3)).r_e.value, 6)
            0.111111
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            draws = np.abs(np.nanmin(self.nodes, axis=1) / np.nanmax(self.nodes, axis=1))
        return self._criterion("r_e", draws)

    def k_hn(self, n: float = 0.5) -> Estimate:
        """The criterion K_Hn = Σ |θw|ⁿ over the negative nodes θ / Σ (θw)ⁿ over the positive ones, one draw per probe.

        Every probe has its own nodes θ and weights w. Only for n = 1 this is a property of the spectrum, the sum of its negative
        eigenvalues over that of its positive ones; otherwise it depends on how many nodes there are too: compare spectra with the
        same number of steps, and dense ones with dense ones only.

        Args:
            n: the power, above 0; 0.5 as there.

        Raises:
            InputError: for an n that is not above 0.
            NotApplicableError: where a probe has no positive node.

        Source: as of `r_e`.

        Example:
            >>> import lossatlas as la
            >>> saddle = la.Function(lambda p: p[0] ** 2 - 2 * p[1] ** 2, box=[(-1, 1), (-1, 1)])
            >>> round(la.spectrum(saddle, point=[0.0, 0.0]).k_hn().value, 6)  # √4 / √2
            1.414214
        """
        n = _checks.number("n", n, above=0, do="It is a power, such as 0.5.")
        mass = np.nan_to_num(self.nodes) * self.weights
        above, below = (np.where(side > 0, side, 0.0) for side in (mass, -mass))
        plus, minus = ((part**n).sum(1) for part in (above, below))
        if not plus.all():
            raise NotApplicableError(
                "K_Hn is a ratio over the positive eigenvalues, and a probe found none; expected some. Take a point of upward curvature."
            )
        return self._criterion(f"K_Hn of n = {n:g}", minus / plus)

    def _criterion(self, quantity: str, draws: np.ndarray) -> Estimate:
        if self.dense:
            return self._estimate(quantity, float(draws[0]), (float(draws[0]),) * 2, 0.0, draws[:0])
        mean, error, half = _statistics.mean(draws)
        return self._estimate(quantity, mean, (mean - half, mean + half), error, draws)

    @property
    def bulk(self) -> tuple[float, float]:
        """Mean and standard deviation of the eigenvalues that are no outliers."""
        return self._bulk(np.isin(self.resolved, self.outliers()))

    def outliers(self, beyond: float = BEYOND) -> np.ndarray:
        """The resolved eigenvalues that stand apart from the bulk, descending.

        An eigenvalue stands apart if it lies more than `beyond` standard deviations of the bulk from its mean; the
        bulk is what is left when those are taken away, until nothing more goes (clipping). The count depends on
        `beyond` where a bulk has long tails, and is a lower bound where every resolved eigenvalue stands apart.

        Args:
            beyond: how many standard deviations, above 0; by Chebyshev at most 1/beyond² of the bulk lies so far out.
        """
        beyond = _checks.number("beyond", beyond, above=0, do="These are standard deviations, such as 5.")
        apart = np.zeros(len(self.resolved), dtype=bool)
        while True:
            mean, deviation = self._bulk(apart)
            more = apart | (np.abs(self.resolved - mean) > beyond * deviation)
            if (more == apart).all():
                return self.resolved[apart]
            apart = more

    def share_below(self, eps: float, confidence: float = 0.95) -> Estimate:
        """The share of eigenvalues below −eps.

        The interval holds both what is not known: how the random vectors fell (Student over the probes), and what a
        quadrature of so few nodes leaves open. For nodes θ_k < x < θ_{k+1} the mass below x lies between Σ_{i<k} w_i
        and Σ_{i≤k+1} w_i (Chebyshev, Markov, Stieltjes). Where much mass lies at zero and eps is small it is wide.

        Args:
            eps: above 0. There is no default: which eigenvalues count as negative is for you to say.
            confidence: of the interval.

        Raises:
            InputError: for an eps that is not above 0, or a confidence that is no probability.
        """
        eps = _checks.number("eps", eps, above=0, do="It is in units of the eigenvalues, such as 1e-3.")
        confidence = _checks.number("confidence", confidence, above=0, below=1, do="It is a probability, such as 0.95.")
        below = self.nodes < -eps
        share = np.where(below, self.weights, 0.0).sum(1)
        if self.dense:
            whole = float(share[0])
            return self._estimate(f"share of eigenvalues below −{eps:g}", whole, (whole, whole), 0.0, share[:0])
        low, high = np.empty_like(share), np.empty_like(share)
        for row, (inside, weights) in enumerate(zip(below, self.weights, strict=True)):
            k = int(inside.sum())
            low[row], high[row] = weights[: max(0, k - 1)].sum(), weights[: k + 1].sum()
        error = _statistics.mean(share)[1]
        ends = (
            max(0.0, _statistics.mean_interval(low, confidence)[0]),
            min(1.0, _statistics.mean_interval(high, confidence)[1]),
        )
        return self._estimate(
            f"share of eigenvalues below −{eps:g}", float(share.mean()), ends, error, share, confidence
        )

    def multiplicities(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues (m,) and how often each occurs, summing to n; the resolved ones once each.

        The probes are pooled. A resolved eigenvalue counts once, whatever weight the luck of the probes gave it.
        """
        if self.dense:
            return self.resolved, np.ones(self.dimension)
        parts = [self.of_probe(row) for row in range(self.probes)]
        count = len(self.resolved)
        values = [self.resolved, *(values[count:] for values, _ in parts)]
        return np.concatenate(values), np.concatenate(
            [np.ones(count), *(counts[count:] / self.probes for _, counts in parts)]
        )

    def of_probe(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """What `multiplicities` gives from one probe alone."""
        count = int(np.isfinite(self.nodes[row]).sum())
        chosen = slice(len(self.resolved) - self.above, count - self.above)
        weights = self.weights[row, chosen]
        scale = (self.dimension - len(self.resolved)) / (weights.sum() or 1.0)
        return (
            np.concatenate([self.resolved, self.nodes[row, chosen]]),
            np.concatenate([np.ones(len(self.resolved)), weights * scale]),
        )

    def density(
        self, at: np.ndarray | Sequence[float] | None = None, width: float | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The density smoothed by a Gaussian: φ(t) = Σ w N(t; θ, width²), and its band over the probes.

        Args:
            at: (g,) where; by default 1,200 places over the whole range.
            width: standard deviation of the Gaussian; by default 0.3 % of the range.

        Returns:
            The places (g,), the mean density, and the lowest and highest of the probes at each place.
        """
        low, high = self.ends
        reach = (high - low) or max(abs(high), 1.0)
        how = "It is in units of the eigenvalues; None takes the default."
        width = WIDTH * reach if width is None else _checks.number("width", width, above=0, do=how)
        places = np.linspace(low - 0.04 * reach, high + 0.04 * reach, 1200) if at is None else numbers_in("at", at)
        rows = []
        for row in range(self.probes):
            nodes, counts = self.of_probe(row)
            bell = np.exp(-(((places[:, None] - nodes) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))
            rows.append(bell @ counts / self.dimension)
        stack = np.stack(rows)
        return places, stack.mean(0), stack.min(0), stack.max(0)

    def reading(self) -> list[str]:
        """What the record says, in sentences."""
        low, high = self.ends
        found = self.outliers()
        middle = self.bulk[0]
        top, bottom = int((found > middle).sum()), int((found < middle).sum())
        least = "at least " if len(found) == len(self.resolved) and not self.dense else ""
        says = [
            f"{self.dimension:,} eigenvalues from {low:.4g} to {high:.4g}; {self.status}",
            f"{least}{several(top, 'outlier')} above the bulk and {bottom} below it, farther than {BEYOND:g} of its standard "
            "deviations",
        ]
        if self.dense:
            zero = int((np.abs(self.nodes[0]) <= self.rounding).sum())
            says.append(f"index {self.index:,}: so many are negative; {zero:,} are zero to rounding")
        return [*says, self.trace.sentence]

    def plot(self, ax: Any = None, *, width: float | None = None) -> SpectrumDisplay:
        """The density on a logarithmic axis with its band over the probes, outliers marked.

        Args:
            ax: matplotlib axes, or None for a new figure.
            width: of the smoothing Gaussian, as in `density`.
        """
        from lossatlas.draw import SpectrumDisplay

        at, middle, low, high = self.density(width=width)
        reach = self.ends[1] - self.ends[0]
        one = 1 / (self.dimension * (2 * np.pi) ** 0.5 * ((width or WIDTH * reach) or 1.0))
        band = None if self.probes == 1 else (low, high)
        return SpectrumDisplay(
            at,
            middle,
            None if band is None else band[0],
            None if band is None else band[1],
            outliers=self.outliers(),
            single=one,
            xlabel="eigenvalue of the Hessian (units of the loss)",
            title=f"Spectrum of {self.dimension:,} eigenvalues",
            note=f"{self.status[:1].upper()}{self.status[1:]}. Outliers lie beyond {BEYOND:g} standard deviations of the bulk",
        ).plot(ax)

    def _bulk(self, apart: np.ndarray) -> tuple[float, float]:
        """Mean and standard deviation of all but some of the resolved eigenvalues, given as a mask (r,)."""
        values, counts = self.multiplicities()
        counts = np.concatenate([np.where(apart, 0.0, counts[: len(apart)]), counts[len(apart) :]])
        total = counts.sum()
        if not total > 0:
            return 0.0, 0.0
        mean = float((counts * values).sum() / total)
        return mean, float(((counts * (values - mean) ** 2).sum() / total) ** 0.5)

    def _moment(self, quantity: str, power: int) -> Estimate:
        draws = self.dimension * np.where(self.weights > 0, self.weights * np.nan_to_num(self.nodes) ** power, 0.0).sum(
            1
        )
        if self.dense:
            return self._estimate(quantity, float(draws[0]), (float(draws[0]),) * 2, 0.0, draws[:0])
        mean, error, half = _statistics.mean(draws)
        return self._estimate(quantity, mean, (mean - half, mean + half), error, draws)

    def _estimate(
        self,
        quantity: str,
        value: float,
        ends: tuple[float, float],
        error: float,
        draws: np.ndarray,
        confidence: float = 0.95,
    ) -> Estimate:
        return Estimate(
            quantity, value, ends, error, confidence, 0.05, self.meter.products, draws, self.meter, self.provenance,
            self.status, each=0 if quantity.startswith("share") else self.provenance["steps"],
        )  # fmt: skip
