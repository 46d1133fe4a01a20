"""An analytic loss surface: a formula in local coordinates, placed in the plane by a rotation and a shift."""

from __future__ import annotations

import abc
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout, Sample
from lossatlas.surface._surface import Reading, Surface, Well

Shift = Sequence[float] | Tensor | None


def total(terms: Tensor) -> Tensor:
    """Sum over the first axis of (K, B), always in the order of K.

    `Tensor.sum` may add in another order for another B; a row's bits must not depend on its neighbors.
    """
    first, *rest = terms.unbind(0)
    for term in rest:
        first = first + term
    return first


class Formula(abc.ABC):
    """A closed form f(u). Subclasses are frozen dataclasses whose fields are all of its constants.

    Coordinates come first, shape (N, B), so that ``x, y = u`` reads like the textbook. Only operations that treat
    each column alone and round the same way in every batch are allowed: elementwise ones and `total`.
    """

    @abc.abstractmethod
    def value(self, u: Tensor) -> Tensor:
        """F at local coordinates (N, B), shape (B,); twice differentiable by autograd wherever f is."""

    @abc.abstractmethod
    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The same values (B,), and the closed-form gradient (N, B)."""

    def curve(self, u: Tensor, v: Tensor) -> Tensor:
        """H(u_b) v_b for each column of (N, B), by differentiating `value` twice unless a subclass knows better."""
        # As columns do not meet, one double backward pass answers for all of them.
        slope = torch.func.grad(lambda p: self.value(p).sum())
        pull = torch.func.vjp(slope, u)[1]
        curved: Tensor = pull(v)[0]
        return curved


@dataclass(frozen=True)
class Minimum:
    """A minimum as it is declared: the exact minimizer is found from it by Newton's method.

    Attributes:
        name: ``"global"`` for the deepest.
        center: near the minimizer, in local coordinates.
        depth: the declared depth, or None for the depth below zero.
    """

    name: str
    center: tuple[float, ...]
    depth: float | None = None


@final
class Landscape(Surface):
    """L(θ) = f(R⁻¹(θ − s)): float64, closed-form gradients, and minima known to rounding.

    Start and wells are rotated by R and shifted by s along with f. The box keeps its axes: it is the smallest one
    that holds the rotated and shifted box of f, so start and wells always lie in it. Row b of a batch has the
    same bits as that row alone.

    Args:
        name: for tables and pictures.
        formula: f.
        bounds: lowest and highest value of each local coordinate.
        start: the declared starting point, in local coordinates.
        minima: the known minima of f, in local coordinates.
        wells_complete: whether `minima` are all there are in the box.
        shift: s, shape (N,); None for zero.
        rotation: an angle in radians; R turns the pairs of coordinates (0, 1), (1, 2), … by it, in this order.
        noise: standard deviation ν of the declared gradient noise. A gradient on a mini-batch of n examples is
            the exact one plus N(0, ν²/n · I), drawn from the row's own seed; values carry no noise.
        examples: number of data points behind the landscape, 0 where there are none.

    Raises:
        InputError: if shift, rotation or noise do not fit.
    """

    rows_alone = True

    def __init__(
        self,
        name: str,
        formula: Formula,
        *,
        bounds: Sequence[tuple[float, float]],
        start: Sequence[float],
        minima: Sequence[Minimum] = (),
        wells_complete: bool = True,
        shift: Shift = None,
        rotation: float = 0.0,
        noise: float = 0.0,
        examples: int = 0,
    ) -> None:
        dimension = len(start)
        self.name = name
        self.formula = formula
        self.wells_complete = wells_complete
        self.examples = examples
        self.rotation = _finite("rotation", rotation)
        self.noise = _finite("noise", noise)
        if self.noise < 0:
            raise InputError(f"got noise={noise}; expected a standard deviation of zero or more, zero for none.")
        if self.rotation and dimension == 1:
            raise InputError(f"got rotation={rotation} in one dimension; expected 0.0. One coordinate cannot turn.")
        self.shift = _vector(shift, dimension)
        self._cosine, self._sine = math.cos(self.rotation), math.sin(self.rotation)
        self._shifted = bool(self.shift.any())

        low, high = torch.tensor(bounds, dtype=torch.float64).unbind(1)
        reach = self._turn(torch.eye(dimension, dtype=torch.float64)).abs() @ ((high - low) / 2)
        middle = self._place((low + high) / 2)
        self.layout = Layout.vector(dimension, torch.stack([middle - reach, middle + reach], dim=1))
        self.start = self._place(torch.tensor(start, dtype=torch.float64))
        self.wells = self._wells(minima)

    def read(self, points: Tensor) -> Reading:
        """Losses at points (B, N); differentiable."""
        return Reading(self.formula.value(self._local(points)))

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N), with the declared noise if a mini-batch is asked for.

        Raises:
            InputError: if the points, the batch size or the seeds do not fit.
        """
        values, slope = self.formula.gradient(self._local(points.detach()))
        gradients = self._turn(slope).T.contiguous()
        if sample is not None:
            if sample.size < 1 or sample.seeds.shape != (len(points),):
                raise InputError(
                    f"got a mini-batch of {sample.size} examples with seeds of shape {tuple(sample.seeds.shape)}; "
                    f"expected at least 1 example and one seed for each of {len(points)} points."
                )
            if self.noise:
                gradients = gradients + self.noise / math.sqrt(sample.size) * self._draw(sample.seeds)
        return values, gradients

    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """Hessian at a point (N,) times each of K vectors (K, N), by differentiating the closed form twice.

        Raises:
            InputError: if point and vectors do not fit.
        """
        if point.ndim != 1 or vectors.ndim != 2:
            raise InputError(
                f"got a point of shape {tuple(point.shape)} and vectors of shape {tuple(vectors.shape)}; "
                f"expected ({self.dimension},) and (K, {self.dimension}). Put several vectors in rows."
            )
        self._check(vectors)
        return self._curve(point.detach().double().expand(len(vectors), -1), vectors.detach().double())

    def fingerprint(self) -> dict[str, Any]:
        """Formula, all its constants, and where it was placed: plain JSON values."""
        placed = {"shift": self.shift.tolist(), "rotation": self.rotation, "noise": self.noise}
        formula = {"formula": type(self.formula).__name__, "constants": asdict(self.formula)}  # type: ignore[call-overload]
        # The round trip turns tuples into lists, so that a fingerprint equals the one read back from a file.
        whole: dict[str, Any] = json.loads(json.dumps({**super().fingerprint(), **formula, **placed}))
        return whole

    def _check(self, points: Tensor) -> None:
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise InputError(
                f"got points of shape {tuple(points.shape)} on {self.name!r}; expected (B, {self.dimension}), one row "
                f"per point. A single point goes in as point[None]; the surface's dimension is {self.dimension}."
            )

    def _local(self, points: Tensor) -> Tensor:
        """U = R⁻¹(θ − s), coordinates first and contiguous: a strided tensor may take another exp, bit by bit."""
        self._check(points)
        points = points.double()
        return self._turn_back(points - self.shift if self._shifted else points)

    def _turn_back(self, vectors: Tensor) -> Tensor:
        """R⁻¹ v for vectors in rows, coordinates first."""
        u = vectors.T.contiguous()
        if not self.rotation:
            return u
        rows = list(u.unbind(0))
        for i in reversed(range(len(rows) - 1)):
            a, b = rows[i], rows[i + 1]
            rows[i], rows[i + 1] = self._cosine * a + self._sine * b, self._cosine * b - self._sine * a
        return torch.stack(rows)

    def _turn(self, u: Tensor) -> Tensor:
        """R u for coordinates first."""
        if not self.rotation:
            return u
        rows = list(u.unbind(0))
        for i in range(len(rows) - 1):
            a, b = rows[i], rows[i + 1]
            rows[i], rows[i + 1] = self._cosine * a - self._sine * b, self._sine * a + self._cosine * b
        return torch.stack(rows)

    def _place(self, u: Tensor) -> Tensor:
        """Θ = R u + s of one local point (N,)."""
        return self._turn(u) + self.shift

    def _curve(self, points: Tensor, vectors: Tensor) -> Tensor:
        """H(θ_b) v_b for each row: R H_f R⁻¹ v."""
        return self._turn(self.formula.curve(self._local(points), self._turn_back(vectors))).T.contiguous()

    def _draw(self, seeds: Tensor) -> Tensor:
        generator = torch.Generator()
        drawn = [
            torch.randn(self.dimension, dtype=torch.float64, generator=generator.manual_seed(seed))
            for seed in seeds.tolist()
        ]
        return torch.stack(drawn) if drawn else torch.zeros(0, self.dimension, dtype=torch.float64)

    def _wells(self, minima: Sequence[Minimum]) -> tuple[Well, ...]:
        if not minima:
            return ()
        centers = torch.stack([self._place(torch.tensor(m.center, dtype=torch.float64)) for m in minima])
        points = self._polish(centers)
        wells = []
        for minimum, center, point, value in zip(minima, centers, points, self.values(points).tolist(), strict=True):
            depth = 0.0 - value if minimum.depth is None else minimum.depth
            wells.append(Well(minimum.name, center, depth, point, value))
        return tuple(wells)

    def _polish(self, centers: Tensor, tolerance: float = 1e-12, steps: int = 20) -> Tensor:
        """Newton's method from all centers at once; a row rests once its gradient no longer shrinks."""
        best = centers
        slope = self.gradients(best)[1]
        size = slope.norm(dim=1)
        basis = torch.eye(self.dimension, dtype=torch.float64)
        for _ in range(steps):
            rows = (size > tolerance).nonzero()[:, 0]
            if not len(rows):
                break
            hessians = self._curve(best[rows].repeat_interleave(self.dimension, 0), basis.repeat(len(rows), 1)).reshape(
                len(rows), self.dimension, self.dimension
            )
            trial = best.clone()
            trial[rows] -= torch.linalg.solve(hessians, slope[rows])
            new = self.gradients(trial)[1]
            shrunk = new.norm(dim=1) < size
            if not bool(shrunk[rows].any()):
                break
            best = torch.where(shrunk[:, None], trial, best)
            slope = torch.where(shrunk[:, None], new, slope)
            size = slope.norm(dim=1)
        return best


def _finite(name: str, number: float) -> float:
    number = float(number)
    if not math.isfinite(number):
        raise InputError(f"got {name}={number}; expected a finite number, 0.0 for none.")
    return number


def _vector(shift: Shift, dimension: int) -> Tensor:
    if shift is None:
        return torch.zeros(dimension, dtype=torch.float64)
    vector = torch.as_tensor(shift, dtype=torch.float64).detach().clone()
    if vector.shape != (dimension,) or not bool(vector.isfinite().all()):
        raise InputError(
            f"got a shift of shape {tuple(vector.shape)} with values {vector.tolist()}; expected {dimension} finite "
            "numbers, one per coordinate, or None for no shift."
        )
    return vector
