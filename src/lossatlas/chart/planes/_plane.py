"""Planes: frames of two directions together with how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas.chart.planes import _directions as directions
from lossatlas.chart.planes._between import through
from lossatlas.chart.planes._cut import Cut, measures
from lossatlas.chart.planes._directions import Direction
from lossatlas.chart.planes._labels import EUCLIDEAN, axes, given_record, length_of
from lossatlas.chart.planes._normalize import normalize, unit_of
from lossatlas.chart.planes._pca import Centering, principal
from lossatlas.chart.planes._policy import Ignore, moved, resolved, rules_of
from lossatlas.chart.planes._sharp import eigenvectors
from lossatlas.chart.planes._slopes import uphill, worst
from lossatlas.chart.planes._walked import Walked
from lossatlas.surface import Frame, PointLike, Surface


@final
@dataclass(frozen=True, eq=False, repr=False)
class Plane(Cut):
    """A frame of two directions and how it was made: `random`, `between`, `pca`, `hessian`, `gradient`, `worst`, `of`.

    Attributes:
        frame: origin and directions.
        kind: which of these made it.
        how: seed, normalization and whatever else made it, as plain JSON values, with digests of what came out.
        labels: of the two axes, with their unit.
        notes: what a reader of its pictures must know, in sentences.
        layout: of the surface it was made on.
    """

    name: ClassVar[str] = "plane"

    @classmethod
    def random(
        cls,
        surface: Surface,
        *,
        seed: int = 0,
        normalization: str = "filter",
        ignore: Ignore | None = None,
        orthogonal: bool = False,
        origin: PointLike | None = None,
    ) -> Plane:
        """Two random Gaussian directions through a point, scaled to the weights there (Li et al. 2018, section 4).

        Directions are drawn in float64, one tensor per parameter in the model's order (for ``li2018`` in float32, so
        that they are the reference's after ``torch.manual_seed(seed)``). They are not orthogonalized unless asked for:
        in many dimensions they almost are, and orthogonalizing undoes the scaling. Their cosine is on record in `how`.

        Args:
            surface: what the plane lies in.
            seed: of the directions; the same seed gives the same plane on every machine with this torch.
            normalization: as in `normalize`: ``filter``, ``layer``, ``weight``, ``dfilter``, ``dlayer``, ``none``,
                ``li2018`` or one of its kin.
            ignore: what is not moved, as in `normalize`.
            orthogonal: take the part along direction 1 out of direction 2 after scaling; its filters then have no
                longer exactly the length that the normalization says.
            origin: the center; the model's own parameters, or the landscape's start, by default.

        Raises:
            PlaneError: if a direction comes out zero (a model whose weights are all biases) or both are parallel.
        """
        seed = _checks.seed(seed)
        center = directions.point_of(surface, origin)
        rows = directions.drawn(center, surface.layout, 2, seed=seed, normalization=normalization, ignore=ignore)
        frame = Frame(center, rows)
        orthogonal = _checks.flag("orthogonal", orthogonal)
        if orthogonal:
            frame = Frame(center, directions.orthogonal(rows))
        how = {
            "seed": seed,
            "normalization": normalization,
            "ignore": resolved(normalization, ignore),
            "orthogonal": orthogonal,
            "moved": moved(rules_of(surface.layout, normalization, ignore)),
            "origin": directions.place(origin),
            **measures(frame),
        }
        unit = unit_of(normalization)
        return cls(frame, "random", how, axes(unit, "direction 1", "direction 2"), (), surface.layout)

    @classmethod
    def between(cls, surface: Surface, a: PointLike, b: PointLike, c: PointLike, *, orthonormal: bool = False) -> Plane:
        """The plane through three points: a at (0, 0), b at (1, 0), c at (0, 1).

        Where all three hold running statistics of batch norm, these move with the weights, so that the corners show the
        models' own losses; not on a surface that was made with ``batchnorm="frozen"``. The notes say which it is.

        Args:
            surface: what the plane lies in.
            a: first point: a vector, state dict, module or checkpoint file.
            b: second point.
            c: third point.
            orthonormal: axes of unit length at right angles instead, so that distances in the picture are true
                (Garipov et al. 2018); where b and c then lie is in ``how["points"]``.

        Raises:
            PlaneError: if two of the points coincide or the three lie on a line.
            CheckpointError: if one is of another architecture; its keys are named.
        """
        frame, record, notes = through(surface, (a, b, c), orthonormal=orthonormal)
        how = record | measures(frame)
        if orthonormal:
            labels = axes(EUCLIDEAN, "a at 0, towards b", "at a right angle, towards c")
        else:
            one, two = (f"{norm:.4g}" for norm in how["norms"])
            labels = (f"α, a at 0, b at 1 (1 = Euclidean distance {one})", f"β, a at 0, c at 1 (1 = {two})")
        return cls(frame, "between", how, labels, notes, surface.layout)

    @classmethod
    def pca(
        cls,
        surface: Surface,
        iterates: Tensor | Sequence[PointLike] | Walked | str | Path,
        *,
        centering: Centering = "final",
        ignore: Ignore | None = None,
    ) -> Plane:
        """The plane in which a path of iterates moves most, through its last point (Li et al. 2018, section 7).

        Components have unit length and right angles and are not normalized. How much of the path both hold is in
        ``how["shares"]``, beside what a random walk would give in ``how["random_walk"]``: two components that hold 90 %
        of a path are no finding (Antognini and Sohl-Dickstein 2018).

        Args:
            surface: what the plane lies in.
            iterates: shape (n, N), or a sequence of vectors, state dicts, modules or checkpoint files, in order; at
                least 3. Safetensors files are read a block at a time. Or the folder that holds them, by its numbered files or
                folders (``checkpoint-16``, ``checkpoint-32`` …); or a `Recording`, or its folder; of one with sketches, the plane
                through its kept points that comes nearest to the components.
            centering: ``final`` takes components of θ_i − θ_n, as the paper defines it; ``mean`` of θ_i − mean, as its
                reference implementation does.
            ignore: ``biasbn`` to leave vectors, scalars and norms out.

        Raises:
            PlaneError: if the iterates lie on a line.
            CheckpointError: if some are of another architecture; keys are named.
        """
        origin, rows, record, notes = principal(surface, iterates, centering=centering, ignore=ignore)
        frame = Frame(origin, rows)
        labels = tuple(
            f"{axis}, component {k + 1} of the path, {share:.1%} ({EUCLIDEAN})"
            for k, (axis, share) in enumerate(zip("αβ", record["shares"], strict=True))
        )
        return cls(frame, "pca", record | measures(frame), labels, notes, surface.layout)

    @classmethod
    def hessian(
        cls,
        surface: Surface,
        *,
        which: tuple[str, str] = ("largest", "smallest"),
        origin: PointLike | None = None,
        seed: int = 0,
        tolerance: float = 1e-4,
        limit: int | None = None,
    ) -> Plane:
        """The plane of two eigenvectors of the Hessian: where a saddle shows, if there is one.

        Eigenvalues, residuals and the price are in `how`; a vector that has not converged is named in `notes`.

        Args:
            surface: what the plane lies in.
            which: two of ``largest``, ``smallest``, ``largest-2``, ``smallest-2`` and so on.
            origin: where the Hessian is taken; the surface's own point by default.
            seed: of the starting vector.
            tolerance: of the residuals, relative to the eigenvalues.
            limit: Hessian products at most.
        """
        seed = _checks.seed(seed)
        center = directions.point_of(surface, origin)
        rows, record, notes = eigenvectors(surface, center, which, seed=seed, tolerance=tolerance, limit=limit)
        frame = Frame(center, rows)
        names = [f"{name} curvature {value:.4g}" for name, value in zip(which, record["eigenvalues"], strict=True)]
        how = record | {"origin": directions.place(origin)} | measures(frame)
        return cls(frame, "hessian", how, axes(EUCLIDEAN, names[0], names[1]), notes, surface.layout)

    @classmethod
    def gradient(
        cls,
        surface: Surface,
        *,
        second: Direction | None = None,
        normalization: str = "none",
        ignore: Ignore | None = None,
        seed: int = 0,
        origin: PointLike | None = None,
    ) -> Plane:
        """The plane of the gradient, uphill along α, and a second direction; one billed gradient.

        Args:
            surface: what the plane lies in.
            second: a direction of your own, or None for a random one.
            normalization: ``none`` for directions of unit length at right angles; or of both, as in `normalize`.
            ignore: what is not moved, as in `normalize`.
            seed: of the random direction.
            origin: where the gradient is taken; the surface's own point by default.

        Raises:
            PlaneError: if the gradient vanishes, or both are parallel.
        """
        seed = _checks.seed(seed)
        center = directions.point_of(surface, origin)
        first, record = uphill(surface, center, normalization=normalization, ignore=ignore)
        rows, name = directions.second(
            surface, first, center, second, seed=seed, normalization=normalization, ignore=ignore
        )
        frame = Frame(center, rows)
        how = record | {"second": name, "origin": directions.place(origin)} | measures(frame)
        labels = axes(length_of(surface, normalization), "uphill along the gradient", name)
        return cls(frame, "gradient", how, labels, (), surface.layout)

    @classmethod
    def worst(
        cls,
        surface: Surface,
        *,
        radius: float = 0.1,
        steps: int = 5,
        second: Direction | None = None,
        normalization: str = "filter",
        ignore: Ignore | None = None,
        seed: int = 0,
        origin: PointLike | None = None,
    ) -> Plane:
        """The plane of the direction in which the loss is highest at a radius, and a second direction.

        It is found by ``steps`` ascent steps on the ball of the normalization, each one billed gradient: with
        ``filter``, among all directions that move no filter by more than ``radius`` times its length. What is found is a
        lower bound of the worst there is. Both axes have the unit of a random plane, so that both pictures compare.

        Args:
            surface: what the plane lies in.
            radius: on the axis; at α = radius lies the point that was found.
            steps: of ascent.
            second: a direction of your own, or None for a random one.
            normalization: of the ball and of both axes, as in `normalize`; ``none`` for the Euclidean ball.
            ignore: what is not moved, as in `normalize`.
            seed: of the random direction.
            origin: the center of the ball; the surface's own point by default.

        Raises:
            PlaneError: if no direction moves anything.
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
        rows, name = directions.second(
            surface, first, center, second, seed=seed, normalization=normalization, ignore=ignore
        )
        frame = Frame(center, rows)
        how = record | {"second": name, "origin": directions.place(origin)} | measures(frame)
        labels = axes(length_of(surface, normalization), f"worst found within {radius:g}", name)
        return cls(frame, "worst", how, labels, (), surface.layout)

    @classmethod
    def of(
        cls,
        surface: Surface,
        first: Direction,
        second: Direction,
        *,
        normalization: str = "none",
        ignore: Ignore | None = None,
        origin: PointLike | None = None,
    ) -> Plane:
        """The plane of two directions of your own.

        Args:
            surface: what the plane lies in.
            first: whatever describes one: a vector, or a tensor for each parameter by name.
            second: the same.
            normalization: ``none`` to take them as they are; or as in `normalize`.
            ignore: what is not moved, as in `normalize`.
            origin: the center; the surface's own point by default.

        Raises:
            InputError: if one does not fit; its keys are named.
            PlaneError: if one is zero, or both are parallel.
        """
        center = directions.point_of(surface, origin)
        given = [directions.direction_of(surface, direction) for direction in (first, second)]
        rows = [normalize(row, center, surface.layout, normalization, ignore=ignore) for row in given]
        frame = Frame(center, torch.stack(rows))
        return cls(frame, "of", *given_record(surface, frame, normalization, ignore, origin), (), surface.layout)
