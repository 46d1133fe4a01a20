"""Lines: frames of one direction together with how they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from lossatlas import _checks
from lossatlas.chart.planes import _directions as directions
from lossatlas.chart.planes._between import through
from lossatlas.chart.planes._cut import Cut, measures
from lossatlas.chart.planes._directions import Direction
from lossatlas.chart.planes._labels import EUCLIDEAN, axes, given_record, length_of
from lossatlas.chart.planes._normalize import normalize, unit_of
from lossatlas.chart.planes._policy import Ignore, moved, resolved, rules_of
from lossatlas.chart.planes._sharp import eigenvectors
from lossatlas.chart.planes._slopes import uphill, worst
from lossatlas.surface import Frame, PointLike, Surface


@final
@dataclass(frozen=True, eq=False, repr=False)
class Line(Cut):
    """A frame of one direction and how it was made: `random`, `between`, `hessian`, `gradient`, `worst`, `of`.

    Attributes:
        frame: origin and direction.
        kind: which of these made it.
        how: what made it, as plain JSON values, with digests of what came out.
        labels: of the axis, with its unit.
        notes: what a reader of its pictures must know, in sentences.
        layout: of the surface it was made on.
    """

    name: ClassVar[str] = "line"

    @classmethod
    def random(
        cls,
        surface: Surface,
        *,
        seed: int = 0,
        normalization: str = "filter",
        ignore: Ignore | None = None,
        origin: PointLike | None = None,
    ) -> Line:
        """One random Gaussian direction, the first of the plane of the same seed.

        Args:
            surface: what the line lies in.
            seed: of the direction.
            normalization: as in `normalize`.
            ignore: what is not moved, as in `normalize`.
            origin: the center; the surface's own point by default.

        Raises:
            PlaneError: if the direction comes out zero.
        """
        seed = _checks.seed(seed)
        center = directions.point_of(surface, origin)
        rows = directions.drawn(center, surface.layout, 1, seed=seed, normalization=normalization, ignore=ignore)
        frame = Frame(center, rows)
        how = {
            "seed": seed,
            "normalization": normalization,
            "ignore": resolved(normalization, ignore),
            "moved": moved(rules_of(surface.layout, normalization, ignore)),
            "origin": directions.place(origin),
            **measures(frame),
        }
        return cls(frame, "random", how, axes(unit_of(normalization), "random direction"), (), surface.layout)

    @classmethod
    def between(cls, surface: Surface, a: PointLike, b: PointLike) -> Line:
        """The line through two points: a at 0, b at 1 (Goodfellow, Vinyals & Saxe 2015).

        Where both hold running statistics of batch norm, these move with the weights, so that both ends show the models'
        own losses; not on a surface that was made with ``batchnorm="frozen"``. The notes say which it is.

        Args:
            surface: what the line lies in.
            a: first point: a vector, state dict, module or checkpoint file.
            b: second point.

        Raises:
            PlaneError: if the points coincide.
            CheckpointError: if one is of another architecture; its keys are named.
        """
        frame, record, notes = through(surface, (a, b))
        how = record | measures(frame)
        labels = (f"t, a at 0, b at 1 (1 = Euclidean distance {how['norms'][0]:.4g})",)
        return cls(frame, "between", how, labels, notes, surface.layout)

    @classmethod
    def hessian(
        cls,
        surface: Surface,
        *,
        which: str = "largest",
        origin: PointLike | None = None,
        seed: int = 0,
        tolerance: float = 1e-4,
        limit: int | None = None,
    ) -> Line:
        """The line along an eigenvector of the Hessian.

        Args:
            surface: what the line lies in.
            which: ``largest``, ``smallest``, ``largest-2`` and so on.
            origin: where the Hessian is taken; the surface's own point by default.
            seed: of the starting vector.
            tolerance: of the residual, relative to the eigenvalue.
            limit: Hessian products at most.
        """
        seed = _checks.seed(seed)
        center = directions.point_of(surface, origin)
        rows, record, notes = eigenvectors(surface, center, (which,), seed=seed, tolerance=tolerance, limit=limit)
        frame = Frame(center, rows)
        labels = axes(EUCLIDEAN, f"{which} curvature {record['eigenvalues'][0]:.4g}")
        how = record | {"origin": directions.place(origin)} | measures(frame)
        return cls(frame, "hessian", how, labels, notes, surface.layout)

    @classmethod
    def gradient(
        cls,
        surface: Surface,
        *,
        normalization: str = "none",
        ignore: Ignore | None = None,
        origin: PointLike | None = None,
    ) -> Line:
        """The line along the gradient, uphill; one billed gradient.

        Args:
            surface: what the line lies in.
            normalization: ``none`` for unit length; or as in `normalize`.
            ignore: what is not moved, as in `normalize`.
            origin: where the gradient is taken; the surface's own point by default.

        Raises:
            PlaneError: if the gradient vanishes.
        """
        center = directions.point_of(surface, origin)
        first, record = uphill(surface, center, normalization=normalization, ignore=ignore)
        frame = Frame(center, first[None])
        how = record | {"origin": directions.place(origin)} | measures(frame)
        labels = axes(length_of(surface, normalization), "uphill along the gradient")
        return cls(frame, "gradient", how, labels, (), surface.layout)

    @classmethod
    def worst(
        cls,
        surface: Surface,
        *,
        radius: float = 0.1,
        steps: int = 5,
        normalization: str = "filter",
        ignore: Ignore | None = None,
        seed: int = 0,
        origin: PointLike | None = None,
    ) -> Line:
        """The line along the direction in which the loss is highest at a radius, as `Plane.worst` finds it.

        Args:
            surface: what the line lies in.
            radius: at t = radius lies the point that was found.
            steps: of ascent, each one billed gradient.
            normalization: of the ball and of the axis, as in `normalize`.
            ignore: what is not moved, as in `normalize`.
            seed: of the random start that is needed where the gradient vanishes.
            origin: the center of the ball; the surface's own point by default.
        """
        seed, radius, steps = (
            _checks.seed(seed),
            _checks.number("radius", radius, above=0),
            _checks.whole("steps", steps),
        )
        center = directions.point_of(surface, origin)
        first, record = worst(
            surface, center, radius=radius, steps=steps, seed=seed + 1, normalization=normalization, ignore=ignore
        )
        frame = Frame(center, first[None])
        how = record | {"origin": directions.place(origin)} | measures(frame)
        labels = axes(length_of(surface, normalization), f"worst found within {radius:g}")
        return cls(frame, "worst", how, labels, (), surface.layout)

    @classmethod
    def of(
        cls,
        surface: Surface,
        direction: Direction,
        *,
        normalization: str = "none",
        ignore: Ignore | None = None,
        origin: PointLike | None = None,
    ) -> Line:
        """The line along a direction of your own.

        Args:
            surface: what the line lies in.
            direction: whatever describes one: a vector, or a tensor for each parameter by name.
            normalization: ``none`` to take it as it is; or as in `normalize`.
            ignore: what is not moved, as in `normalize`.
            origin: the center; the surface's own point by default.

        Raises:
            InputError: if it does not fit; its keys are named.
            PlaneError: if it is zero.
        """
        center = directions.point_of(surface, origin)
        row = directions.direction_of(surface, direction)
        frame = Frame(center, normalize(row, center, surface.layout, normalization, ignore=ignore)[None])
        return cls(frame, "of", *given_record(surface, frame, normalization, ignore, origin), (), surface.layout)
