"""What a direction is: a small frozen object that says how one axis of a picture is made, on any surface."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.chart.planes._normalize import normalize, unit_of
from lossatlas.chart.planes._policy import Ignore, resolved
from lossatlas.surface import PointLike, Surface, inner

EUCLIDEAN = "Euclidean distance"
# What the axes of a plane or space are called: without η, θ and ι, which mean other things or look like them.
AXES = "αβγδεζκλ"
_OURS = frozenset({"random", "gradient", "hessian", "between", "pca", "worst", "of"})


@dataclass(frozen=True, eq=False)
class Drawn:
    """One axis as it came out.

    Attributes:
        row: the direction (N,): a tensor, an array, or whatever describes a point of the surface.
        record: what made it, as plain JSON values.
        label: of the axis, without its unit.
        notes: what a reader of its pictures must know, in sentences.
        unit: what 1 on the axis means; its Euclidean length by default.
        toward: the label on an axis of unit length, where the label says what lies at 1.
        statistics: (2, S), running statistics of batch norm at the origin and how they change along the direction, or
            None where they do not move.
    """

    row: PointLike
    record: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    notes: tuple[str, ...] = ()
    unit: str = ""
    toward: str = ""
    statistics: Tensor | None = None


class Direction(abc.ABC):
    """How one axis is made. Subclasses are frozen dataclasses whose fields are all of their settings.

    A direction of your own is one class with `draw`; it then works in lines, planes, charts, and files:

    Attributes:
        kind: for tables and records; the name of the class by default.

    Example:
        >>> import torch, lossatlas as la
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Coordinate(la.directions.Direction):
        ...     index: int = 0
        ...
        ...     def draw(self, surface, origin):
        ...         return torch.eye(surface.dimension, dtype=torch.float64)[self.index]
        >>> plane = la.Plane(la.landscapes.himmelblau(), Coordinate(1), la.directions.gradient())
        >>> plane.kind, plane.labels[0]
        ('Coordinate+gradient', 'α, Coordinate(index=1) (1 = Euclidean distance 1)')
    """

    kind: ClassVar[str] = ""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "kind" not in vars(cls):
            cls.kind = cls.__name__
        if cls.kind in _OURS and not cls.__module__.startswith("lossatlas."):
            raise InputError(
                f"got the kind {cls.kind!r} for the direction {cls.__name__}; expected one of its own, since records tell kinds "
                f"apart by it: {', '.join(sorted(_OURS))} are taken."
            )

    @abc.abstractmethod
    def draw(self, surface: Surface, origin: Tensor) -> Drawn | PointLike:
        """The direction at an origin.

        Args:
            surface: what the line or plane lies in.
            origin: where its coordinates are zero, (N,).

        Returns:
            What came out; the bare row is enough.
        """

    def home(self, surface: Surface) -> Tensor | None:
        """The origin (N,) that this direction leads away from, where it has one of its own; None for any."""
        return None

    def settings(self) -> dict[str, Any]:
        """Its fields that a record can hold."""
        told: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)} if is_dataclass(self) else {}
        return {
            name: value for name, value in told.items() if value is None or isinstance(value, bool | int | float | str)
        }

    @classmethod
    def together(
        cls, several: Sequence[Self], surface: Surface, origin: Tensor
    ) -> tuple[list[Drawn], dict[str, Any]] | None:
        """Several of this class at once, with one record of all, where that means more or costs less than one by one."""
        return None


def letters(count: int) -> str:
    """What so many axes are called: t of a line, α, β and so on of a plane or space."""
    return "t" if count == 1 else AXES[:count]


def is_euclidean(surface: Surface, normalization: str) -> bool:
    """Whether lengths along a normalized direction are plain distances: for ``none``, and on landscapes."""
    return _checks.is_word(normalization, "none") or all(block.kind == "vector" for block in surface.layout.blocks)


def along(gradient: Tensor, origin: Tensor, surface: Surface, *, normalization: str, ignore: Ignore | None) -> Tensor:
    """A direction (N,) of one unit along a gradient: of unit length for ``none`` and on landscapes, else normalized.

    Among all directions whose filters are as long as the weights', the normalized gradient is the steepest.
    """
    if is_euclidean(surface, normalization):
        resolved(normalization, ignore)
        length = float(inner(gradient[None], gradient[None]).sqrt())
        return gradient / length if length > 0 else gradient
    return normalize(gradient, origin, surface.layout, normalization, ignore=ignore)


def length_of(surface: Surface, normalization: str) -> str:
    """What one unit means along a gradient."""
    return EUCLIDEAN if is_euclidean(surface, normalization) else unit_of(normalization)
