"""The lines of a card that hold the plane against the Hessian of the whole surface."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from lossatlas import _statistics
from lossatlas.chart.card._entry import TELLING, Part, Within, between, share, short
from lossatlas.chart.card._local import Local
from lossatlas.curvature import Eigenpairs, Estimate, Extremes, SaddleProbability, Spectrum

# Second differences agree with the Hessian where they are off by less than this share of the larger curvature.
AGREE = 0.1
# Relative to ‖H‖: what is nearer to zero has no sign that could be trusted.
NOTHING = 1e-6
# Eigenvalues above −ε count as zero; ε is this share of the largest in magnitude.
EPSILON = 1e-3


@dataclass(frozen=True)
class Curvature(Part):
    """The curvature in the plane, against all there is.

    Principal curvatures are the eigenvalues of G⁻¹P with G = DDᵀ and P = DHDᵀ, per unit of length in θ whatever the
    directions' lengths and angle.

    Attributes:
        plane: the principal curvatures, descending; one on a line.
        fitted: the same from second differences over one grid step, or None.
        largest: λmax of the whole Hessian, and its residual to both sides; None where it was not measured.
        smallest: λmin.
        converged: whether these two have converged.
        dimension: N.
        exact: whether those of the plane come from Hessian products; else from second differences, as the surface answers
            values only.
    """

    heading: ClassVar[str] = "Curvature"
    plane: tuple[float, ...]
    fitted: tuple[float, ...] | None
    largest: Within | None
    smallest: Within | None
    converged: tuple[bool, bool]
    dimension: int
    exact: bool

    @classmethod
    def of(cls, here: Local, extremes: Extremes | None, dimension: int) -> Self:
        """From what was measured on the plane, and on the whole Hessian if it was."""
        exact = here.gradient is not None
        if extremes is None:
            return cls(here.curvatures, here.fitted, None, None, (False, False), dimension, exact)
        largest, smallest = extremes.largest, extremes.smallest
        converged = bool(largest.converged[0]), bool(smallest.converged[0])
        return cls(here.curvatures, here.fitted, _within(largest), _within(smallest), converged, dimension, exact)

    @property
    def negative(self) -> bool | None:
        """Whether there is negative curvature, beyond residuals and rounding; None where that is not known."""
        if self.smallest is None or self.largest is None:
            return None
        nothing = NOTHING * max(abs(self.smallest.value), abs(self.largest.value))
        if self.smallest.high < -nothing:
            return True
        return False if self.converged[1] and self.smallest.low >= -nothing else None

    @property
    def sharpest_share(self) -> float:
        """κ₁ / λmax, 0 where it is negative along the whole plane; NaN where λmax is not known or not positive."""
        return max(0.0, self.plane[0] / self.largest.value) if self.largest and self.largest.value > 0 else math.nan

    @property
    def negative_share(self) -> float:
        """The lowest κ over λmin, 0 where the plane has none below 0; NaN where λmin is not below 0."""
        if self.smallest is None or self.smallest.high >= 0:
            return math.nan
        return max(0.0, self.plane[-1] / self.smallest.value)

    @property
    def agrees(self) -> bool:
        """Whether the second differences are those of the Hessian, to a tenth of the larger curvature."""
        if self.fitted is None:
            return True
        size = max(abs(one) for one in self.plane)
        return max(abs(a - b) for a, b in zip(self.plane, self.fitted, strict=True)) <= AGREE * size

    @property
    def whole(self) -> bool:
        """Whether the plane is the whole surface."""
        return len(self.plane) == self.dimension

    def says(self) -> list[str]:
        """Plane against whole, then the check by second differences."""
        names = "κ₁, κ₂" if len(self.plane) == 2 else "κ"
        words = [f"{names} = {', '.join(map(short, self.plane))} in the {'plane' if len(self.plane) == 2 else 'line'}"]
        if self.whole:
            words = [f"λmax, λmin = {', '.join(map(short, self.plane))}: the picture is the whole surface"]
        elif self.largest is not None and self.smallest is not None:
            words[0] += (
                f"; λmax = {_end(self.largest, self.converged[0])}, λmin = {_end(self.smallest, self.converged[1])} "
                f"among all {self.dimension:,} directions"
            )
            words.append(self._compared())
        if not self.exact:
            words[0] += " by second differences over one grid step"
        if self.fitted is not None:
            found = ", ".join(map(short, self.fitted))
            words.append(
                f"second differences over one grid step agree ({found})"
                if self.agrees
                else f"second differences over one grid step say {found}: the step is outside the quadratic range"
            )
        return words

    def _compared(self) -> str:
        sharp, negative = self.sharpest_share, self.negative_share
        shows = f"{share(sharp) if sharp else 'none'} of the sharpest curvature"
        if not math.isfinite(sharp):
            shows = "no upward curvature, as there is none"
        if math.isfinite(negative):
            hides = "none of the negative curvature" if negative == 0 else f"{share(negative)} of the most negative one"
            return f"the picture shows {shows} and {hides}"
        assert self.smallest is not None
        none = (
            "no negative curvature was found"
            if self.smallest.value < 0 or not self.converged[1]
            else "there is no negative curvature"
        )
        return f"the picture shows {shows}; {none}"

    def warns(self) -> list[str]:
        """Little of the sharpest, nothing of the negative curvature, second differences that say something else."""
        coarse = [] if self.agrees else self.says()[-1:]
        if self.whole or self.largest is None:
            return coarse
        hidden = self.sharpest_share < TELLING or self.negative_share < TELLING
        return [self._compared(), *coarse] if hidden else coarse


def _within(pairs: Eigenpairs) -> Within:
    value, residual = float(pairs.values[0]), float(pairs.residuals[0])
    return Within(value, value - residual, value + residual)


def _end(number: Within, converged: bool) -> str:
    error = (number.high - number.low) / 2
    return f"{short(number.value)} ± {error:.0e}".replace("e-0", "e−") + ("" if converged else " (not converged)")


@dataclass(frozen=True)
class Trace(Part):
    """The curvature of a typical direction, and how much of it the plane holds.

    Attributes:
        trace: tr H with its interval.
        frobenius: ‖H‖_F.
        plane: the sum of the principal curvatures.
        shown: how many directions the plane has.
        dimension: N.
        below: share of eigenvalues below −ε, with its spread over random vectors; None where not measured.
        epsilon: ε.
        own: tr(DHD), the curvature that a random direction normalized like this one has per unit of its axis; or None.
    """

    heading: ClassVar[str] = "Typical direction"
    trace: Within
    frobenius: float
    plane: float
    shown: int
    dimension: int
    below: Within | None
    epsilon: float
    own: Within | None

    @classmethod
    def of(cls, here: Local, trace: Estimate, own: Estimate | None, spectrum: Spectrum | None, dimension: int) -> Self:
        """From tr H with ‖H‖_F², tr D²H and the spectrum, as far as they were measured."""
        assert trace.frobenius is not None
        epsilon, below = 0.0, None
        if spectrum is not None:
            epsilon = EPSILON * max(abs(end) for end in spectrum.ends) or EPSILON
            below = Within.of(spectrum.share_below(epsilon))
        return cls(
            Within.of(trace), math.sqrt(trace.frobenius.value), sum(here.curvatures), len(here.curvatures), dimension, below,
            epsilon, None if own is None else Within.of(own),
        )  # fmt: skip

    @property
    def ratio(self) -> float:
        """The ratio t = tr H / ‖H‖_F; beyond about 3 random planes show no saddle (Fort and Scherlis 2019)."""
        return self.trace.value / self.frobenius if self.frobenius > 0 else 0.0

    @property
    def held(self) -> Within:
        """Share of the trace that the plane holds; NaN where the trace is not known to differ from 0."""
        low, high = self.trace.low, self.trace.high
        if low <= 0 <= high:
            return Within(math.nan, math.nan, math.nan)
        ends = sorted((self.plane / low, self.plane / high))
        return Within(self.plane / self.trace.value, *ends)

    def says(self) -> list[str]:
        """The mean curvature, the share of the trace, the share of negative eigenvalues."""
        mean = Within(*(end / self.dimension for end in self.trace))
        held = self.held
        holds = (
            f"the picture holds {share(held.value)} of the trace (a random one {share(self.shown / self.dimension)})"
            if math.isfinite(held.value)
            else "the trace is zero within its interval"
        )
        words = [f"mean curvature tr H / N = {between(mean)}, tr H / ‖H‖ = {short(self.ratio)}", holds]
        if self.own is not None:
            words.append(
                f"a direction normalized like these has a curvature of {between(self.own)} per unit of its axis"
            )
        if self.below is not None:
            low, high = share(self.below.low), share(self.below.high)
            resolved = self.below.high - self.below.low <= 0.5
            words.append(
                f"{between(self.below, share)} of the eigenvalues lie below −{short(self.epsilon)}"
                if resolved
                else f"between {low} and {high} of the eigenvalues lie below −{short(self.epsilon)} (not resolved further)"
            )
        return words


def ratio(part: Estimate, whole: Estimate) -> Within:
    """The ratio of two means over the same random vectors, by the delta method."""
    if whole.value == 0:
        return Within(math.nan, math.nan, math.nan)
    value = part.value / whole.value
    half = _statistics.mean((part.draws - value * whole.draws) / whole.value)[2] if whole.samples else 0.0
    return Within(value, value - half, value + half)


@dataclass(frozen=True)
class Saddle(Part):
    """How likely a random picture would show that the center is no minimum.

    A plane shows it where P = DHDᵀ has a negative eigenvalue. Signs do not depend on lengths and angles
    (Sylvester), so that for isotropic directions the probability follows from the spectrum alone.

    Attributes:
        isotropic: of a saddle, one principal curvature above zero and one below (of a negative one on a line), for
            directions drawn evenly, with its interval; None where not measured.
        own: for directions drawn and normalized as this plane's; None where they were not drawn, or not measured.
        draws: random planes behind each.
        normalization: the name of the latter.
        gaussian: exp(−t²/4)/√2, the label for spectra without outliers (Φ(−t/√2) on a line), t = tr H / ‖H‖_F.
        below: of any negative curvature at all, both principal ones included, for directions drawn evenly; None where
            not measured.
        negative: whether there is negative curvature to be shown; None where that is not known.
        shown: whether this plane shows any.
        directions: 2, or 1 on a line.
    """

    heading: ClassVar[str] = "Probability of a saddle"
    isotropic: Within | None
    own: Within | None
    draws: int
    normalization: str | None
    gaussian: float
    below: float | None
    negative: bool | None
    shown: bool
    directions: int

    @classmethod
    def of(
        cls,
        curvature: Curvature,
        isotropic: SaddleProbability,
        own: SaddleProbability | None,
        normalization: str | None,
    ) -> Self:
        """From the probabilities of both kinds of directions, and from what this plane shows."""
        shown = curvature.plane[-1] < -NOTHING * max(abs(one) for one in curvature.plane)
        return cls(
            isotropic=Within.of(isotropic),
            own=None if own is None else Within.of(own),
            draws=isotropic.draws,
            normalization=None if own is None else normalization,
            gaussian=isotropic.gaussian,
            below=isotropic.negative,
            negative=True if shown else curvature.negative,
            shown=shown,
            directions=len(curvature.plane),
        )

    def says(self) -> list[str]:
        """The probabilities, and what this picture shows."""
        what, sign = ("plane", "a saddle") if self.directions == 2 else ("line", "negative curvature")
        words = []
        if self.isotropic is not None:
            words.append(f"a random {what} shows {sign} with probability {self._written(self.isotropic)}")
            if self.below is not None and self.below > self.isotropic.high + TELLING:
                words.append(f"some negative curvature with {share(self.below)}")
        if self.own is not None:
            lead = "one" if words else f"a random {what}"
            shows = "" if words else f" shows {sign}"
            words.append(
                f"{lead} with {self.normalization} normalization{shows} with probability {self._written(self.own)}"
            )
        if self.negative is None:
            words.append("whether there is negative curvature is not known")
        elif self.shown:
            words.append("this one shows negative curvature")
        else:
            words.append("this one shows none" + ("" if not self.negative else ", though there is negative curvature"))
        return ["; ".join(words)]

    def _written(self, probability: Within) -> str:
        if probability.value == 0:
            return f"0 of {self.draws:,} (below {share(probability.high)})"
        return between(probability, share)

    def warns(self) -> list[str]:
        """Negative curvature that a picture like this one hardly ever shows."""
        known = self.own or self.isotropic
        rare = known is not None and known.high < 0.5
        return self.says() if self.negative and not self.shown and rare else []
