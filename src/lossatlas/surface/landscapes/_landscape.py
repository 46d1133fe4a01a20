"""An analytic loss surface: a formula in local coordinates, placed in the plane by a rotation and a shift."""

from __future__ import annotations

import abc
import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, NotApplicableError
from lossatlas._layout import Layout, Sample
from lossatlas._printable import printable
from lossatlas.surface import _code, _library, _points
from lossatlas.surface._differences import disagreement
from lossatlas.surface._surface import Reading, Surface, Well, refined
from lossatlas.surface.network._user_code import both

Shift = Sequence[float] | Tensor | None


def total(terms: Tensor) -> Tensor:
    """Sum over the first axis of (K, B), always in the order of K.

    `Tensor.sum` may add in another order for another B; a row's bits must not depend on its neighbors.
    """
    _checks.tensor("terms", terms, where="total")
    if not terms.ndim or not len(terms):
        raise InputError(f"total got a tensor of shape {tuple(terms.shape)}; expected (K, B), with at least one term.")
    first, *rest = terms.unbind(0)
    for term in rest:
        first = first + term
    return first


class Formula(abc.ABC):
    """A closed form f(u): a landscape of one's own is this one class with its `value`.

    Subclasses are frozen dataclasses whose fields are all of its constants; one without constants may be a plain class.
    Coordinates come first, shape (N, B), so that ``x, y = u`` reads like the textbook. Only operations that treat
    each column alone and round the same way in every batch are allowed: elementwise ones and `total`. A value that torch
    cannot differentiate, as one that goes through NumPy, makes a landscape of values only; a note of it says so.
    """

    @abc.abstractmethod
    def value(self, u: Tensor) -> Tensor:
        """F at local coordinates (N, B), shape (B,); twice differentiable by autograd wherever f is."""

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The same values (B,), and the gradient (N, B): by differentiating `value` unless a subclass knows better."""
        # As columns do not meet, one backward pass answers for all of them.
        values, pull = torch.func.vjp(self.value, u)[:2]
        gradients: Tensor = pull(torch.ones_like(values))[0]
        return values, gradients

    def curve(self, u: Tensor, v: Tensor) -> Tensor:
        """H(u_b) v_b for each column of (N, B), by differentiating `value` twice unless a subclass knows better."""
        gradient = torch.func.grad(lambda p: self.value(p).sum())
        pull = torch.func.vjp(gradient, u)[1]
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
    """L(θ) = f(R⁻¹(θ − s)): float64, gradients of the formula, and minima known to rounding.

    R and s are the identity and zero until the landscape is `moved`. Row b of a batch has the same bits as that row alone.

    Args:
        name: for tables and pictures.
        formula: f.
        bounds: lowest and highest value of each local coordinate.
        start: the declared starting point, in local coordinates.
        minima: the known minima of f, in local coordinates.
        wells_complete: whether `minima` are all there are in the box.
        examples: number of data points behind the landscape, 0 where there are none.

    Raises:
        InputError: if bounds, start and minima are not of one dimension, or the formula is none.

    Example:
        >>> class Bowl(Formula):
        ...     def value(self, u):
        ...         return u[0] ** 2 + 3 * u[1] ** 2
        >>> bowl = Landscape("bowl", Bowl(), bounds=[(-2, 2)] * 2, start=(1, 1), minima=[Minimum("global", (0.0, 0.0))])
        >>> bowl.moved(shift=(0.5, 0.0)).wells[0].minimum.tolist()
        [0.5, 0.0]
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
        examples: int = 0,
    ) -> None:
        if not isinstance(formula, Formula):
            raise InputError(
                f"got a formula of type {type(formula).__name__} for the landscape {name!r}; expected a Formula, a class with "
                "value(u). A plain function is a surface as lossatlas.Function(f)."
            )
        self.name = printable(_checks.instance("name", name, str, "a text"))
        self.formula, self._own = formula, not _library.holds(type(formula))
        self.wells_complete = _checks.flag("wells_complete", wells_complete)
        self.examples = _checks.whole("examples", examples, 0)
        self._local_bounds = _points.bounds_of("bounds", bounds)
        self._local_start = _numbers(start, "a start")
        for minimum in _checks.instance("minima", minima, (list, tuple), "a list of Minimum"):
            _checks.instance("a minimum", minimum, Minimum, "a Minimum(name, center)")
            _numbers(minimum.center, f"the minimum {minimum.name!r}")
        sizes = {len(self._local_start), len(self._local_bounds), *(len(minimum.center) for minimum in minima)}
        if len(sizes) != 1:
            raise InputError(
                f"got bounds, start and minima of {', '.join(map(str, sorted(sizes)))} coordinates for the landscape {name!r}; "
                "expected the same number for all."
            )
        self._local_minima: tuple[Minimum, ...] = ()
        self._lie(torch.zeros(len(self._local_start), dtype=torch.float64), 0.0, 0.0)
        wrong = disagreement(self, f"the gradient of {type(formula).__name__}") if self._own else ""
        self.gradients_known = not wrong  # type: ignore[misc]
        self.notes = (wrong,) if wrong else ()
        self._local_minima = tuple(minima)
        self.wells = self._wells(self._local_minima)

    def moved(self, *, shift: Shift = None, rotation: float = 0.0, noise: float | None = None) -> Landscape:
        """This landscape somewhere else: every point θ of it comes to lie at Rθ + s, and its losses with it.

        Start and wells move along. The box keeps its axes: it is the smallest one that holds the box that was moved, so
        start and wells always lie in it.

        Args:
            shift: s, shape (N,); None for zero.
            rotation: an angle in radians; R turns the pairs of coordinates (0, 1), (1, 2), … by it, in this order.
            noise: standard deviation ν of the declared gradient noise; None for what it is. A gradient on a mini-batch
                of n examples is the exact one plus N(0, ν²/n · I), drawn from the row's own seed; values carry no noise.

        Returns:
            A new landscape; this one stays where it is.

        Raises:
            InputError: if shift, rotation or noise do not fit; or for a second rotation in more than two dimensions, which
                is no rotation by one angle any more.

        Example:
            >>> from lossatlas import landscapes
            >>> landscapes.four_wells().moved(shift=(1.0, 0.0)).start.tolist()
            [-2.8, -3.5]
        """
        rotation, dimension = _checks.number("rotation", rotation, do="It is an angle, 0.0 for none."), self.dimension
        noise = self.noise if noise is None else _checks.number("noise", noise, least=0, do="It is 0.0 for none.")
        if rotation and dimension == 1:
            raise InputError(f"got rotation={rotation} in one dimension; expected 0.0. One coordinate cannot turn.")
        if rotation and self.rotation and dimension > 2:
            raise InputError(
                f"got rotation={rotation} for {self.name} in {dimension} dimensions, which is rotated by {self.rotation:g} "
                "already; expected one rotation. Move the landscape that is not rotated yet."
            )
        twin = copy.copy(self)
        twin._lie(_turned(self.shift, rotation) + _vector(shift, self), self.rotation + rotation, noise)
        return twin

    def _lie(self, shift: Tensor, rotation: float, noise: float) -> None:
        """Take a place: everything that is known of the formula in its own coordinates is brought there."""
        self.shift, self.rotation, self.noise = shift, rotation, noise
        self._shifted = bool(shift.any())
        low, high = self._local_bounds.unbind(1)
        reach = self._turn(torch.eye(len(shift), dtype=torch.float64)).abs() @ ((high - low) / 2)
        middle = self._place((low + high) / 2)
        self.layout = Layout.vector(len(shift), torch.stack([middle - reach, middle + reach], dim=1))
        self.start = self._place(self._local_start)
        self.wells = self._wells(self._local_minima)

    def read(self, points: Tensor) -> Reading:
        """Losses at points (B, N); differentiable where the formula is."""
        local = self._local(points)
        if not self._own:
            return Reading(self.formula.value(local))
        try:
            found = self.formula.value(local)
        except Exception as error:
            said = (
                f"value(u) of {self.name} failed for u of shape {tuple(local.shape)}: {type(error).__name__}: {error}"
            )
            raise both(error, f"{said}. Expected a value for each column, shape ({len(points)},).") from error
        values = found if isinstance(found, Tensor) else torch.as_tensor(np.asarray(found, dtype=np.float64))
        if values.shape != (len(points),) or values.is_complex():
            raise InputError(
                f"value(u) of {self.name} returned {_checks.shown(found)} for u of shape {tuple(local.shape)}; expected "
                f"({len(points)},) real numbers, one for each column."
            )
        return Reading(values.double())

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N), with the declared noise if a mini-batch is queried.

        Raises:
            InputError: if the points, the batch size or the seeds do not fit.
            NotApplicableError: if the formula has values only.
        """
        self._need_gradients()
        self._check(points)
        values, gradient = self.formula.gradient(self._local(points.detach()))
        gradients = self._turn(gradient).T.contiguous()
        if sample is not None:
            _checks.instance("sample", sample, Sample, "a Sample, or None for all data", where=self.name)
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
            NotApplicableError: if the formula has values only.
        """
        self._need_gradients()
        _checks.tensor("point", point, where=self.name)
        _checks.tensor("vectors", vectors, where=self.name)
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
        constants: dict[str, Any] = asdict(self.formula) if is_dataclass(self.formula) else {}
        formula: dict[str, Any] = {"formula": type(self.formula).__name__, "constants": constants}
        if not _library.holds(type(self.formula)):
            formula["code"] = _code.read_code(self.formula, entries=("value", "gradient", "curve")).digest
        # The round trip turns tuples into lists, so that a fingerprint equals the one read back from a file.
        whole: dict[str, Any] = json.loads(json.dumps({**super().fingerprint(), **formula, **placed}, default=_plain))
        return whole

    def _need_gradients(self) -> None:
        if not self.gradients_known:
            raise NotApplicableError(f"{self.name} answers values only: {self.notes[0]}.")

    def _check(self, points: Tensor) -> None:
        _checks.tensor("points", points, self.dimension, where=self.name)

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
        rows, cosine, sine = list(u.unbind(0)), math.cos(self.rotation), math.sin(self.rotation)
        for i in reversed(range(len(rows) - 1)):
            a, b = rows[i], rows[i + 1]
            rows[i], rows[i + 1] = cosine * a + sine * b, cosine * b - sine * a
        return torch.stack(rows)

    def _turn(self, u: Tensor) -> Tensor:
        """R u for coordinates first."""
        return _turned(u, self.rotation)

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
        centers = [self._place(torch.tensor(m.center, dtype=torch.float64)) for m in minima]
        points = torch.stack([refined(self, center) if self.gradients_known else center for center in centers])
        wells = []
        for minimum, center, point, value in zip(minima, centers, points, self.values(points).tolist(), strict=True):
            depth = 0.0 - value if minimum.depth is None else minimum.depth
            wells.append(Well(minimum.name, center, depth, point, value))
        return tuple(wells)


def _turned(u: Tensor, angle: float) -> Tensor:
    """U with its pairs of coordinates (0, 1), (1, 2), … turned by an angle, coordinates first."""
    if not angle:
        return u
    rows, cosine, sine = list(u.unbind(0)), math.cos(angle), math.sin(angle)
    for i in range(len(rows) - 1):
        a, b = rows[i], rows[i + 1]
        rows[i], rows[i + 1] = cosine * a - sine * b, sine * a + cosine * b
    return torch.stack(rows)


def _plain(constant: Any) -> Any:
    """A constant of a formula as JSON knows it."""
    if hasattr(constant, "tolist"):
        return constant.tolist()
    raise InputError(
        f"a formula holds a constant of type {type(constant).__name__}; expected numbers, text, tuples, arrays or tensors, "
        "which a record can hold."
    )


def _numbers(given: Any, what: str) -> Tensor:
    found = _points.numbers_of(given, what)
    if found is None or found.ndim != 1:
        raise InputError(f"got {what} of {_checks.shown(given)}; expected a list of numbers, one per coordinate.")
    return _points.finite(found.double(), what)


def _vector(shift: Shift, landscape: Landscape) -> Tensor:
    if shift is None:
        return torch.zeros(landscape.dimension, dtype=torch.float64)
    return _points.sized(_numbers(shift, "a shift"), landscape.dimension, landscape.name, "a shift").clone()
