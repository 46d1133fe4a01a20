"""The usual lines and planes by name: each is one or two directions, drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.chart import directions
from lossatlas.chart.directions import Direction
from lossatlas.chart.directions._direction import is_euclidean
from lossatlas.chart.directions._pca import Iterates
from lossatlas.chart.directions._principal import Centering
from lossatlas.chart.planes._cut import Cut
from lossatlas.chart.planes._policy import Ignore
from lossatlas.surface import PointLike, Surface, need_surface


class Shorthands(Cut):
    """The factories that lines and planes share. Never made itself."""

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
    ) -> Self:
        """Random Gaussian directions through a point, scaled to the weights there (Li et al. 2018, section 4).

        Directions are drawn in float64, one tensor per parameter in the model's order (for ``li2018`` in float32, so
        that they are the reference's after ``torch.manual_seed(seed)``). They are not orthogonalized unless that is
        wanted: in many dimensions they almost are, and orthogonalizing undoes the scaling. Their cosine is in `how`. A line
        has the first direction of the plane of the same seed.

        Args:
            surface: what it lies in.
            seed: of the directions; the same seed gives the same ones on every machine with this torch.
            normalization: as in `normalize`: ``filter``, ``layer``, ``weight``, ``dfilter``, ``dlayer``, ``none``,
                ``li2018`` or one of its kin.
            ignore: what is not moved, as in `normalize`.
            orthogonal: take the part along direction 1 out of direction 2 after scaling; its filters then have no
                longer exactly the length that the normalization says.
            origin: the center; the model's own parameters, or the landscape's start, by default.

        Raises:
            PlaneError: if a direction comes out zero (a model whose weights are all biases) or both are parallel.
        """
        drawn = (directions.random(seed, normalization, ignore, index=k) for k in range(cls.axes))
        return cls(surface, *drawn, origin=origin, orthogonal=orthogonal)

    @classmethod
    def between(cls, surface: Surface, *points: PointLike, orthonormal: bool = False) -> Self:
        """Through two or three points: a at 0 and b at 1 of a line; a at (0, 0), b at (1, 0), c at (0, 1) of a plane.

        Where all of them hold running statistics of batch norm, these move with the weights, so that each shows its model's
        own loss; not on a surface that was made with ``batchnorm="frozen"``. The notes say which it is.

        Args:
            surface: what it lies in.
            points: two for a line, three for a plane: vectors, state dicts, modules or checkpoint files.
            orthonormal: axes of unit length at right angles instead, so that distances in the picture are true
                (Garipov et al. 2018); where the points then lie is in ``how["points"]``.

        Raises:
            PlaneError: if two of the points coincide or the three lie on a line.
            CheckpointError: if one is of another architecture; its keys are named.
        """
        if len(points) != cls.axes + 1:
            raise InputError(f"got {len(points)} points for a {cls.name}; expected {cls.axes + 1} to lay it through.")
        a, *others = points
        return cls(surface, *(directions.between(a, other) for other in others), orthonormal=orthonormal)

    @classmethod
    def pca(
        cls, surface: Surface, iterates: Iterates, *, centering: Centering = "final", ignore: Ignore | None = None
    ) -> Self:
        """Along the directions in which a path of iterates moves most, through its last point (Li et al. 2018, section 7).

        Components have unit length and right angles and are not normalized. How much of the path they hold is in
        ``how["shares"]``, beside what a random walk would give in ``how["random_walk"]``: two components that hold 90 %
        of a path are no finding (Antognini and Sohl-Dickstein 2018).

        Args:
            surface: what it lies in.
            iterates: as in `directions.Pca`: points in order, a folder of checkpoints, or a `Recording`.
            centering: ``final`` or ``mean``, as there.
            ignore: ``biasbn`` to leave vectors, scalars and norms out.

        Raises:
            PlaneError: if the iterates lie on a line.
            CheckpointError: if some are of another architecture; keys are named.
        """
        return cls(surface, *(directions.pca(iterates, k + 1, centering, ignore) for k in range(cls.axes)))

    @classmethod
    def hessian(
        cls,
        surface: Surface,
        *,
        which: str | Sequence[str] = ("largest", "smallest"),
        origin: PointLike | None = None,
        seed: int = 0,
        tolerance: float = 1e-4,
        limit: int | None = None,
        how: str = "auto",
    ) -> Self:
        """Along eigenvectors of the Hessian: where a saddle shows, if there is one.

        Eigenvalues, residuals and the cost are in `how`; a vector that has not converged is named in `notes`.

        Args:
            surface: what it lies in.
            which: ``largest``, ``smallest``, ``largest-2``, ``smallest-2`` and so on: two for a plane, one for a line, of
                which the default is the first.
            origin: where the Hessian is taken; the surface's own point by default.
            seed: of the starting vector.
            tolerance: of the residuals, relative to the eigenvalues.
            limit: Hessian products at most.
            how: products are taken, as of `Hessian`: ``exact``, ``differences`` or ``auto``.
        """
        names: tuple[str, ...] = (which,) if isinstance(which, str) else which  # type: ignore[assignment]
        do = "Give 'largest', 'smallest', or one further in such as 'largest-2'."
        expected = f"the names of {cls.axes} eigenvectors" if cls.axes > 1 else "the name of an eigenvector"
        names = tuple(_checks.instance("which", names, (tuple, list), expected, where=cls.__name__, do=do))
        names = names[: cls.axes] if names == ("largest", "smallest") else names
        return cls(
            surface, *(directions.eigenvector(name, seed, tolerance, limit, how) for name in names), origin=origin
        )

    @classmethod
    def gradient(
        cls,
        surface: Surface,
        *,
        second: PointLike | None = None,
        normalization: str = "none",
        ignore: Ignore | None = None,
        seed: int = 0,
        origin: PointLike | None = None,
    ) -> Self:
        """Along the gradient, uphill; and of a plane a second direction. It costs one counted gradient.

        Args:
            surface: what it lies in.
            second: a direction of your own for a plane, or None for a random one.
            normalization: ``none`` for directions of unit length at right angles; or of both, as in `normalize`.
            ignore: what is not moved, as in `normalize`.
            seed: of the random direction.
            origin: where the gradient is taken; the surface's own point by default.

        Raises:
            PlaneError: if the gradient vanishes, or both are parallel.
        """
        first = directions.gradient(normalization, ignore)
        return cls._beside(first, surface, second, normalization, ignore, seed, origin)

    @classmethod
    def worst(
        cls,
        surface: Surface,
        *,
        radius: float = 0.1,
        steps: int = 5,
        second: PointLike | None = None,
        normalization: str = "filter",
        ignore: Ignore | None = None,
        seed: int = 0,
        origin: PointLike | None = None,
    ) -> Self:
        """Along the direction in which the loss is highest at a radius; and of a plane a second direction.

        With ``filter`` it is sought among all directions that move no filter by more than ``radius`` times its length.
        Both axes have the unit of a random plane, so that both pictures compare.

        Args:
            surface: what it lies in.
            radius: on the axis; there lies the point that was found.
            steps: of ascent, each one counted gradient.
            second: a direction of your own for a plane, or None for a random one.
            normalization: of the ball and of all axes, as in `normalize`; ``none`` for the Euclidean ball.
            ignore: what is not moved, as in `normalize`.
            seed: of the random direction, and of the random start that is needed where the gradient vanishes.
            origin: the center of the ball; the surface's own point by default.

        Raises:
            PlaneError: if no direction moves anything.
        """
        first = directions.worst(radius, steps, normalization, ignore, seed)
        return cls._beside(first, surface, second, normalization, ignore, seed, origin)

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
            given: one for a line, two for a plane: whatever describes one, a vector, or a tensor for each parameter by name.
            normalization: ``none`` to take them as they are; or as in `normalize`.
            ignore: what is not moved, as in `normalize`.
            origin: the center; the surface's own point by default.

        Raises:
            InputError: if one does not fit; its keys are named.
            PlaneError: if one is zero, or both are parallel.
        """
        return cls(surface, *(directions.given(one, normalization, ignore) for one in given), origin=origin)

    @classmethod
    def _beside(
        cls,
        first: Direction,
        surface: Surface,
        second: PointLike | None,
        normalization: str,
        ignore: Ignore | None,
        seed: int,
        origin: PointLike | None,
    ) -> Self:
        """One direction that is found, and of a plane one that is drawn or given beside it.

        Where lengths are Euclidean, the other one is made orthogonal to the first and of unit length.
        """
        if cls.axes == 1:
            if second is not None:
                raise InputError("got a second direction for a line; expected None. Give it to a Plane.")
            return cls(surface, first, origin=origin)
        need_surface(surface, cls.__name__)
        euclidean = is_euclidean(surface, normalization)
        if second is None:
            other: Direction = directions.random(_checks.seed(seed), normalization, ignore)
        else:
            other = directions.given(second, "none" if euclidean else normalization, ignore)
        return cls(surface, first, other, origin=origin, orthonormal=euclidean)
