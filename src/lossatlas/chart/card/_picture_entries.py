"""The lines of a card that say how the picture itself may be read: how fine, how noisy, how far, compared with what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from lossatlas._said import several
from lossatlas.chart.card._entry import TELLING, Part, Within, between, share, short


@dataclass(frozen=True)
class Resolution(Part):
    """Could a valley hide between two cells?

    The width of a valley is √(2ΔL/λ), the way across it that raises the loss by ΔL.

    Attributes:
        step: from cell to cell, as a length in θ; the longer of the two axes.
        gap: ΔL, the gap between the contour lines around the center.
        sharpest: width of the sharpest valley there is; None where λmax is not known or not positive.
        plane: width of the sharpest valley in the plane; None where there is none.
        typical: how many times wider the valley across a random direction is, √(N λmax / tr H); None where not known.
    """

    heading: ClassVar[str] = "Resolution"
    step: float
    gap: float
    sharpest: float | None
    plane: float | None
    typical: float | None

    def says(self) -> list[str]:
        """The step beside the widths."""
        words = [f"grid step {short(self.step)} (length in θ)"]
        if self.plane is not None:
            words[0] += (
                f"; the sharpest valley in the picture is {short(self.plane)} wide per contour line: "
                f"{'resolved' if self.plane >= self.step else 'not resolved, take more points or a smaller span'}"
            )
        if self.sharpest is not None:
            hides = "and could lie between two cells unseen" if self.sharpest < self.step else "wider than a step"
            words.append(f"the sharpest one there is {short(self.sharpest)} wide, {hides}")
        if self.typical is not None:
            words.append(f"across a random direction a valley is {self.typical:,.2g} times as wide")
        return words

    def warns(self) -> list[str]:
        """Valleys narrower than a step."""
        said = self.says()
        if self.plane is not None and self.plane < self.step:
            return said[:1]
        return said[1:2] if self.sharpest is not None and self.sharpest < self.step else []


@dataclass(frozen=True)
class Noise(Part):
    """How far the lines of the picture can be told apart from what is not the surface's shape.

    Attributes:
        sampling: median standard error of L(cell) − L(center) over the examples, relative to that difference; None
            where the losses of single examples were not to be had.
        clear: gaps between contour lines that exceed two standard errors there; None as above.
        gaps: gaps between contour lines in all.
        cells: cells behind these.
        examples: examples behind each.
        reconstruction: error of cells that were not evaluated: rms in units of the loss, or the 95th percentile as a share of
            it; 0 on an exact chart.
        rounding: of one loss, likewise.
        gap: the narrowest gap between contour lines, likewise.
        relative: whether these three are shares of the loss, as where the chart's errors are.
    """

    heading: ClassVar[str] = "Noise"
    sampling: float | None
    clear: int | None
    gaps: int
    cells: int
    examples: int
    reconstruction: float
    rounding: float
    gap: float
    relative: bool = False

    def says(self) -> list[str]:
        """Sampling of examples, then the errors of the field itself."""
        words = []
        if self.sampling is not None and self.clear is not None:
            words.append(
                f"from {self.examples:,} examples the height above the center is known to ± {share(self.sampling)} "
                f"(median of {self.cells} cells); {self.clear} of {self.gaps} gaps between contour lines exceed two "
                "standard errors"
            )
        if self.reconstruction <= 0:
            field = "every cell was evaluated"
        elif self.relative:
            field = f"95 % of the cells that were not evaluated are off by at most {share(self.reconstruction)}"
        else:
            field = f"cells that were not evaluated are off by {short(self.reconstruction)} (rms)"
        visible = max(self.reconstruction, self.rounding) > self.gap / 2
        gap = f"{share(self.gap)} of the loss" if self.relative else short(self.gap)
        words.append(
            f"{field}, rounding {short(self.rounding)}; the narrowest gap between lines is {gap}"
            + (", within that error" if visible else "")
        )
        return words

    def warns(self) -> list[str]:
        """Lines that examples or the reconstruction do not carry."""
        said = self.says()
        lost = [said[0]] if self.clear is not None and self.clear < self.gaps else []
        return lost + [w for w in said[-1:] if w.endswith("within that error")]


@dataclass(frozen=True)
class Range(Part):
    """How far curvatures describe the picture.

    With M(c) = L₀ + Dg·c + cᵀPc/2 the radius is where, on an ellipse around the center in the shape of the picture, the rms
    of L − M exceeds a tenth of the rms of L − L₀.

    Attributes:
        radius: as a share of the way to the rim, to a tenth of itself; 1 where the model holds on the rim.
        reached: whether it holds at the smallest radius that was tried.
        step: from cell to cell, as a share of the way to the rim.
    """

    heading: ClassVar[str] = "Quadratic range"
    radius: float
    reached: bool
    step: float

    def says(self) -> list[str]:
        """How far, and what lies beyond."""
        if self.radius >= 1:
            return ["the quadratic model holds to 10 % over the whole picture"]
        if not self.reached:
            return [f"the quadratic model fails (10 % error) within {share(self.radius)} of the distance to the edge"]
        beyond = "less than a grid step: curvatures do not describe the picture" if self.radius < self.step else (
            "beyond it curvatures do not describe the picture"
        )  # fmt: skip
        return [f"the quadratic model holds to 10 % within {share(self.radius)} of the way to the rim, {beyond}"]

    def warns(self) -> list[str]:
        """Curvatures that describe nothing that can be seen."""
        return self.says() if self.radius < self.step else []


@dataclass(frozen=True)
class Variance(Part):
    """What principal components of a trajectory explain, beside a random walk of as many steps.

    Attributes:
        shares: of the variance, along the plane's directions.
        walk: the same of a random walk in many dimensions.
        iterates: how many there were.
        centering: ``final`` or ``mean``.
    """

    heading: ClassVar[str] = "Variance"
    shares: tuple[float, ...]
    walk: tuple[float, ...]
    iterates: int
    centering: str

    @classmethod
    def of(cls, how: dict[str, Any], directions: int) -> Self | None:
        """From a plane's record; None where its directions are no principal components of a path."""
        if "random_walk" not in how:
            return None
        shares, walk = how["shares"][:directions], how["random_walk"]["shares"][:directions]
        return cls(tuple(shares), tuple(walk), int(how["iterates"]), str(how["centering"]))

    def says(self) -> list[str]:
        """The plane's total beside the walk's."""
        ours, null = (" + ".join(share(one) for one in part) for part in (self.shares, self.walk))
        return [
            f"the directions hold {ours} of the trajectory's variance; of a random walk of {self.iterates} iterates "
            f"they would hold {null} ({self.centering} centering)"
        ]

    def warns(self) -> list[str]:
        """No more than a random walk gives."""
        return self.says() if sum(self.shares) <= sum(self.walk) else []


@dataclass(frozen=True)
class Invariance(Part):
    """Which changes of the weights that leave the function as it is leave the picture as it is.

    Attributes:
        normalization: of the directions, or None where they were not drawn.
        rescaling: ``none``, ``layer`` (whole layers) or ``neuron`` (single units), or ``joint``: the points that made the
            plane rescaled all alike.
        gauge: largest ratio of incoming to outgoing norm over hidden units, or its inverse; 1 in the fixed gauge; None
            where units cannot be rescaled.
        why: the reason for the latter.
        batchnorm: the mode, or None without batch norm.
        frozen: share of the parameters that the directions do not move.
        frozen_gradient: their share of |g|².
        frozen_trace: their share of tr H, with its interval; None where not measured.
    """

    heading: ClassVar[str] = "Invariance"
    normalization: str | None
    rescaling: str
    gauge: float | None
    why: str
    batchnorm: str | None
    frozen: float
    frozen_gradient: float
    frozen_trace: Within | None

    @property
    def fixed(self) -> bool:
        """Whether hidden units read and are read with weights of equal norm, to a thousandth."""
        return self.gauge is not None and self.gauge <= 1.001

    def says(self) -> list[str]:
        """The invariance, the gauge, batch norm, and what does not move."""
        kept = {
            "none": "changes with any rescaling of layers or units",
            "layer": "stays as it is when whole layers are rescaled, not when single units are",
            "neuron": "stays as it is when layers or single units are rescaled",
            "joint": "stays as it is when all points that made it are rescaled alike, not when one of them is",
        }[self.rescaling]
        named = f" ({self.normalization} normalization)" if self.normalization else ""
        words = [f"where the function stays the same the picture {kept}{named}"]
        if self.gauge is not None:
            words.append(
                "the gauge is fixed" if self.fixed else f"gauge not fixed: units off by up to {short(self.gauge)}"
            )
        if self.batchnorm is not None:
            words.append(f"batch norm: {self.batchnorm}")
        if self.frozen > 0:
            trace = "" if self.frozen_trace is None else f" and {between(self.frozen_trace, share)} of tr H"
            words.append(
                f"{share(self.frozen)} of the parameters do not move, with {share(self.frozen_gradient)} of |∇L|²{trace}"
            )
        return words

    def warns(self) -> list[str]:
        """Curvature or gradient of which much is held still."""
        still = self.frozen_trace is not None and self.frozen_trace.low > TELLING
        return self.says()[-1:] if still or self.frozen_gradient > TELLING else []


@dataclass(frozen=True)
class Spread(Part):
    """What other seeds would have shown.

    Attributes:
        seeds: of the other planes; this one's own figures come first in each list.
        cells: per axis of the coarse grid.
        largest: κ₁ by second differences at the center, per unit of the axes' own lengths.
        smallest: κ₂.
        convex: share of inner cells that are convex in every direction.
        minima: local minima.
    """

    heading: ClassVar[str] = "Other planes"
    seeds: tuple[int, ...]
    cells: int
    largest: tuple[float, ...]
    smallest: tuple[float, ...]
    convex: tuple[float, ...]
    minima: tuple[int, ...]

    def says(self) -> list[str]:
        """This plane's numbers among those of all."""
        words = [
            f"κ₁ {_among(self.largest, short)}",
            f"κ₂ {_among(self.smallest, short)}",
            f"convex area {_among(self.convex, share)}",
            f"local minima {_among(self.minima, str)}",
        ]
        return [f"here, and lowest / median / highest over {len(self.seeds) + 1} seeds: {'; '.join(words)}"]


def _among(numbers: tuple[Any, ...], write: Any) -> str:
    ordered = sorted(numbers)
    middle = ordered[len(ordered) // 2]
    return f"{write(numbers[0])}, {write(ordered[0])} / {write(middle)} / {write(ordered[-1])}"


@dataclass(frozen=True)
class Markers(Part):
    """Points that do not lie on the plane, and what drawing them there hides.

    Attributes:
        coords: nearest coordinates of each.
        distances: ‖θ − its projection‖.
        heights: |L(θ) − L(its projection)|.
        step: from cell to cell, as a length in θ; a point farther off than that is a ghost.
    """

    heading: ClassVar[str] = "Path"
    coords: tuple[tuple[float, ...], ...]
    distances: tuple[float, ...]
    heights: tuple[float, ...]
    step: float

    @property
    def ghosts(self) -> tuple[bool, ...]:
        """Which are to be drawn hollow."""
        return tuple(distance > self.step for distance in self.distances)

    def says(self) -> list[str]:
        """How far off they lie, and how wrong their height is."""
        worst = max(range(len(self.heights)), key=lambda k: _size(self.heights[k]))
        return [
            f"{sum(self.ghosts):,} of {several(len(self.distances), 'point')} farther off the picture than a grid step, drawn "
            f"hollow; at most {short(max(self.distances))} off (length in θ), and {short(self.heights[worst])} off in loss"
        ]

    def warns(self) -> list[str]:
        """Ghosts."""
        return self.says() if any(self.ghosts) else []


def _size(height: float) -> float:
    return height if math.isfinite(height) else math.inf
