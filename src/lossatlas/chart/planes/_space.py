"""Spaces: frames of three and more directions together with how they were made."""

from __future__ import annotations

from typing import ClassVar, Self, final

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.chart import directions
from lossatlas.chart.directions._direction import AXES
from lossatlas.chart.planes._cut import Cut
from lossatlas.chart.planes._policy import Ignore
from lossatlas.surface import PointLike, Surface

FEWEST, MOST = 3, len(AXES)


@final
class Space(Cut):
    """A frame of three to eight directions, any of them, and how it was made: what `volume` is taken on.

    `random`, `between`, `hessian` and `of` are shorthands.

    Args:
        surface: what the space lies in.
        directions: three to eight: each a `Direction` such as ``directions.gradient()``, or whatever describes a vector.
        origin: where all coordinates are zero; a direction's own, or the surface's own point by default.
        orthonormal: make all of unit length at right angles in the same space, so that distances are true.

    Raises:
        PlaneError: if one is zero or not finite, or lies in the span of those before it.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.quadratic(condition=9.0, dimension=5)
        >>> space = la.Space(surface, la.directions.gradient(), la.directions.random(), [0.0, 0.0, 1.0, 0.0, 0.0])
        >>> space.sentence
        'gradient+random+of space, 3 of 5 directions'
    """

    name: ClassVar[str] = "space"
    axes: ClassVar[int] = FEWEST

    def _count(self, given: int) -> None:
        if not FEWEST <= given <= MOST:
            do = {1: "la.Line has one.", 2: "la.Plane has two."}.get(given, "")
            raise InputError(f"got {given} directions for a space; expected {FEWEST} to {MOST}. {do}".rstrip())

    @classmethod
    def random(
        cls,
        surface: Surface,
        *,
        dimension: int = FEWEST,
        seed: int = 0,
        normalization: str = "filter",
        ignore: Ignore | None = None,
        origin: PointLike | None = None,
    ) -> Self:
        """Random Gaussian directions through a point, scaled to the weights there (Li et al. 2018, section 4).

        The first two are those of ``Plane.random`` of the same seed.

        Args:
            surface: what it lies in.
            dimension: how many directions, 3 to 8.
            seed: of the directions; the same seed gives the same ones on every machine with this torch.
            normalization: as in `normalize`.
            ignore: what is not moved, as in `normalize`.
            origin: the center; the model's own parameters, or the landscape's start, by default.

        Raises:
            PlaneError: if a direction comes out zero (a model whose weights are all biases), or the surface has fewer
                dimensions.
        """
        drawn = (directions.random(seed, normalization, ignore, index=k) for k in range(_dimension(dimension)))
        return cls(surface, *drawn, origin=origin)

    @classmethod
    def between(cls, surface: Surface, *points: PointLike, orthonormal: bool = False) -> Self:
        """Through four and more points: the first at the origin, each other one at 1 on an axis of its own.

        Running statistics of batch norm move with the weights, as in ``Plane.between``.

        Args:
            surface: what it lies in.
            points: one more than there are directions: vectors, state dicts, modules or checkpoint files.
            orthonormal: axes of unit length at right angles instead; where the points then lie is in ``how["points"]``.

        Raises:
            PlaneError: if one of the points lies in the span of those before it.
            CheckpointError: if one is of another architecture; its keys are named.
        """
        if not FEWEST + 1 <= len(points) <= MOST + 1:
            raise InputError(
                f"got {len(points)} points for a space; expected {FEWEST + 1} to {MOST + 1} to lay it through."
            )
        a, *others = points
        return cls(surface, *(directions.between(a, other) for other in others), orthonormal=orthonormal)

    @classmethod
    def hessian(
        cls,
        surface: Surface,
        *,
        dimension: int = FEWEST,
        origin: PointLike | None = None,
        seed: int = 0,
        tolerance: float = 1e-4,
        limit: int | None = None,
        how: str = "auto",
    ) -> Self:
        """Along the eigenvectors of the Hessian's largest eigenvalues, the largest first.

        Args:
            surface: what it lies in.
            dimension: how many directions, 3 to 8.
            origin: where the Hessian is taken; the surface's own point by default.
            seed: of the starting vector.
            tolerance: of the residuals, relative to the eigenvalues.
            limit: Hessian products at most.
            how: products are taken, as of `Hessian`: ``exact``, ``differences`` or ``auto``.
        """
        names = ["largest", *(f"largest-{k}" for k in range(2, _dimension(dimension) + 1))]
        return cls(
            surface, *(directions.eigenvector(name, seed, tolerance, limit, how) for name in names), origin=origin
        )

    @classmethod
    def of(
        cls,
        surface: Surface,
        *given: PointLike,
        normalization: str = "none",
        ignore: Ignore | None = None,
        origin: PointLike | None = None,
    ) -> Self:
        """Along directions of your own.

        Args:
            surface: what it lies in.
            given: three to eight: whatever describes one, a vector, or a tensor for each parameter by name.
            normalization: ``none`` to take them as they are; or as in `normalize`.
            ignore: what is not moved, as in `normalize`.
            origin: the center; the surface's own point by default.

        Raises:
            InputError: if one does not fit; its keys are named.
            PlaneError: if one is zero, or lies in the span of those before it.
        """
        return cls(surface, *(directions.given(one, normalization, ignore) for one in given), origin=origin)


def need_space(given: object, where: str) -> None:
    """Refuse what is no space, and no frame of three and more directions.

    Raises:
        InputError: for anything else.
    """
    frame = getattr(given, "frame", None)
    held = getattr(frame, "dimension", None)
    if isinstance(held, int) and not FEWEST <= held <= MOST:
        what = {1: "a line", 2: "a plane"}.get(held, f"{held} directions")
        raise InputError(
            f"{where} got {what} for a space; expected {FEWEST} to {MOST} directions, for example la.Space.random(surface, seed=0)."
            + (" la.chart evaluates lines and planes." if held < FEWEST else "")
        )
    if held is None:
        raise InputError(
            f"{where} got {_checks.shown(given)} for a space; expected a Space or a Frame of {FEWEST} to {MOST} directions, for "
            "example la.Space.random(surface, seed=0)."
        )


def _dimension(given: int) -> int:
    do = "la.Line has one direction, la.Plane has two."
    return _checks.whole("dimension", given, FEWEST, MOST, where="Space", do=do)
