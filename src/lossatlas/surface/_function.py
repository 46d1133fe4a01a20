"""Any Python function of a vector as a surface: NumPy or torch, with the gradient that it is proven to have."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, NotApplicableError
from lossatlas._layout import Layout, Sample
from lossatlas._printable import printable
from lossatlas.surface import _code, _points
from lossatlas.surface._differences import EPS, disagreement, shown
from lossatlas.surface._points import PointLike
from lossatlas.surface._surface import Reading, Surface, Well, refined
from lossatlas.surface.network._user_code import both


@final
class Function(Surface):
    """The surface L(θ) = f(θ) of any Python function of a vector.

    f takes one point (N,) as a torch tensor or, where it cannot, as a NumPy array, both float64, and returns one number.
    Where it is made of torch operations, its gradient comes by autograd, once that is held against central differences at
    a few points of the box; else by ``gradient``, which is held against them as well. Without either the surface answers
    values only, and a note says so. Numbers that are not finite are data. What f raises arrives as one line that names the
    point, with the traceback of f as its cause.

    Args:
        function: f, a fixed function: it is evaluated twice at the start first.
        box: bounds of each coordinate, as in ``[(-2, 2), (-1, 3)]``; None for none. A coordinate whose bounds are equal is held
            there: f still takes it, but it is no parameter of the surface, and `whole` puts it back.
        gradient: g(θ), (N,), of f at one point; of several, (B, N), if batched.
        batched: whether f takes several points (B, N) at once and returns (B,), each value of its own row alone. Faster.
        names: of the coordinates, those held fixed included, for the axes of pictures. So are ``start`` and ``minima``.
        start: where optimizers begin and pictures are centered; the center of the box by default.
        minima: where minima are known, by name or in a list of which the first is called ``global``: they are refined by
            Newton's method, and verdicts and basin maps name them.
        name: for tables and pictures; the function's by default.

    Raises:
        InputError: if f is not callable, no fixed function, or returns no single number; or box, start, names and minima do
            not fit.

    Example:
        >>> import lossatlas as la
        >>> surface = la.Function(lambda x: (x[0] - 1) ** 2 + 3 * x[1] ** 2, box=[(-2, 2), (-1, 3)])
        >>> surface.gradients_known, surface.start.tolist()
        (True, [0.0, 1.0])
        >>> round(la.race(surface, ["adam"], steps=400).final("adam")[0, 0].item(), 2)
        1.0
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        box: Any = None,
        *,
        gradient: Callable[[Any], Any] | None = None,
        batched: bool = False,
        names: Sequence[str] | None = None,
        start: PointLike | None = None,
        minima: Mapping[str, PointLike] | Sequence[PointLike] = (),
        name: str | None = None,
    ) -> None:
        for what, given in (("function", function), ("gradient", gradient)):
            if not callable(given) and not (what == "gradient" and given is None):
                raise InputError(
                    f"got a {what} of type {type(given).__name__}; expected a Python function of a vector."
                )
        self.function, self.gradient, self.batched = function, gradient, _checks.flag("batched", batched)
        called = str(getattr(function, "__name__", type(function).__name__)).replace("<lambda>", "f")
        self.name = printable(_checks.optional(_checks.instance, "name", name, str, "a text") or called)
        self.rows_alone = not self.batched  # type: ignore[misc]
        bounds = None if box is None else _points.bounds_of("box", box, fixed=True)
        if bounds is None and start is None:
            raise InputError(
                f"got neither a box nor a start for {self.name}; expected one of them, which says how many numbers it takes: "
                "box=[(-2, 2), (-1, 3)] for two."
            )
        own = None if start is None else _points.numbers_of(start, "a start")
        dimension = len(own) if own is not None and own.ndim == 1 else 0 if bounds is None else len(bounds)
        self.layout = Layout.vector(dimension, bounds)
        expected = f"{dimension} names, one per coordinate of {self.name}"
        given_names = None if names is None else _checks.instance("names", names, (list, tuple), expected)
        self.names = None if given_names is None else tuple(map(str, given_names))
        if self.names is not None and len(self.names) != dimension:
            raise InputError(f"got {len(self.names)} names for {self.name}; expected {dimension}, one per coordinate.")
        if bounds is not None and len(bounds) != dimension:
            raise InputError(f"got a start of {dimension} numbers in a box of {len(bounds)}; expected as many.")
        center = torch.zeros(dimension, dtype=torch.float64) if bounds is None else bounds.mean(1)
        begin = center if start is None else _points.as_vector(self, start, "a start")
        self._fixed: list[tuple[str, Tensor]] = []
        self._held, self._free = begin, torch.ones(dimension, dtype=torch.bool)
        if bounds is not None and bool((bounds[:, 0] == bounds[:, 1]).any()):
            begin = self._hold(bounds, begin)
        self.start: Tensor = begin
        self._by, self._type = "torch", torch.float64
        self._find_out()
        self.wells = self._wells(minima)

    @property
    def computed_in(self) -> torch.dtype:
        """The type of the numbers that f returns, where it is coarser than float64."""
        return self._type

    def read(self, points: Tensor) -> Reading:
        """Losses at points (B, N)."""
        points = self._check(points)
        if self.batched:
            return Reading(self._call(points) if len(points) else torch.zeros(0, dtype=torch.float64))
        values = [self._call(point) for point in points]
        return Reading(torch.stack(values) if values else torch.zeros(0, dtype=torch.float64))

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N); a mini-batch means nothing here, as there are no data.

        Raises:
            NotApplicableError: if no gradient is known.
        """
        points = self._check(points)
        if not self.gradients_known:
            raise NotApplicableError(f"{self.name} answers values only: {self.notes[0]}.")
        if not len(points):
            return torch.zeros(0, dtype=torch.float64), torch.zeros_like(points)
        if self.batched:
            return self._gradients(points)
        values, gradients = zip(*map(self._gradients, points), strict=True)
        return torch.stack(values), torch.stack(gradients)

    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """Hessian at one point times each of K vectors: by double backward, else by central differences of gradients.

        Differences are (g(θ + hv/‖v‖) − g(θ − hv/‖v‖)) ‖v‖ / 2h with h = u^⅓ (1 + ‖θ‖), u the unit of rounding.
        """
        try:
            return self.exact_products(point, vectors)
        except NotApplicableError:
            point, vectors = self._check(point[None])[0], self._check(vectors)
            lengths = vectors.norm(dim=1, keepdim=True)
            step = EPS ** (1 / 3) * (1 + float(point.norm()))
            unit = step * vectors / torch.where(lengths > 0, lengths, 1.0)
            ahead, behind = self.gradients(torch.cat([point + unit, point - unit]))[1].chunk(2)
            products: Tensor = lengths * (ahead - behind) / (2 * step)
            return products

    def exact_products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """Hessian products by double backward alone.

        Raises:
            NotApplicableError: if f is not made of torch operations that can be differentiated twice.
        """
        point, vectors = self._check(point[None])[0], self._check(vectors)
        if not self.gradients_known or self.gradient is not None:
            raise NotApplicableError(f"{self.name} has no second derivatives: it is not differentiated by autograd.")
        theta = point.clone().requires_grad_()
        try:
            with torch.enable_grad():
                value = self._call(theta[None] if self.batched else theta).reshape(())
                if not value.requires_grad:
                    return torch.zeros_like(vectors)
                (gradient,) = torch.autograd.grad(value, theta, create_graph=True)
            if not gradient.requires_grad:
                return torch.zeros_like(vectors)
            rows = [
                torch.autograd.grad(gradient, theta, v, retain_graph=True, materialize_grads=True)[0] for v in vectors
            ]
        except RuntimeError as error:
            raise NotApplicableError(f"{self.name} cannot be differentiated twice: {error}") from error
        return torch.stack(rows)

    def fingerprint(self) -> dict[str, Any]:
        """The code of the function and of its gradient, with all that they read by name, and the box."""
        told = {**super().fingerprint(), "code": _code.code_digest(self.function), "batched": self.batched}
        told["box"] = None if self.box is None else self.box.tolist()
        if self._fixed:
            told["fixed"] = {name: float(value) for name, value in self._fixed}
        if self.gradient is not None:
            told["gradient"] = _code.code_digest(self.gradient)
        return told

    def _find_out(self) -> None:
        """Whether f takes tensors or arrays, is a fixed function, and which gradient it has."""
        first, second, alone = self._tried()
        if not torch.equal(torch.nan_to_num(first), torch.nan_to_num(second)):
            raise InputError(
                f"got {float(first):.6g} and {float(second):.6g} from {self.name} at the same point; expected a fixed function. "
                "Draw its random numbers from a seed."
            )
        if self.batched and alone is not None and not torch.allclose(alone, first, rtol=1e-9, equal_nan=True):
            raise InputError(
                f"got {float(first):.6g} from {self.name} for a point in a batch and {float(alone):.6g} for it alone; expected "
                "values of each row alone with batched=True."
            )
        wrong = self._disagrees()
        if wrong and self._by == "torch" and self.gradient is None:
            # Parts that autograd does not see need no tensors either.
            self._by = "numpy" if self._takes("numpy") else "torch"
        self.gradients_known = not wrong  # type: ignore[misc]
        fixed = [f"{name} = {float(value):g}" for name, value in self._fixed]
        self.notes = (*((wrong,) if wrong else ()), *((f"held fixed: {', '.join(fixed)}",) if fixed else ()))

    def whole(self, points: PointLike) -> Tensor:
        """What f takes at points (…, N): with the coordinates that are held fixed, in their places.

        Raises:
            InputError: for points of another dimension.
        """
        given = points if isinstance(points, Tensor) and points.ndim > 1 else _points.numbers_of(points, "a point")
        if given is None or given.shape[-1] != self.dimension:
            raise InputError(f"whole got {_checks.shown(points)}; expected points of {self.dimension} coordinates.")
        return self._whole(given.detach().double())

    def _whole(self, points: Tensor) -> Tensor:
        if bool(self._free.all()):
            return points
        whole = self._held.expand(*points.shape[:-1], -1).clone()
        whole[..., self._free] = points.double()
        return whole

    def _hold(self, bounds: Tensor, begin: Tensor) -> Tensor:
        """Keep what is not fixed as the parameters; where they begin is returned."""
        self._free = bounds[:, 0] < bounds[:, 1]
        if not bool(self._free.any()):
            raise InputError(
                f"got a box for {self.name} whose bounds are all equal; expected low < high for one coordinate at least."
            )
        self._held = torch.where(self._free, begin, bounds[:, 0])
        digits = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
        names = self.names or [f"w{k + 1}".translate(digits) for k in range(len(begin))]
        free = self._free.tolist()
        self._fixed = [(name, value) for name, value, kept in zip(names, self._held, free, strict=True) if not kept]
        self.names = tuple(name for name, kept in zip(names, free, strict=True) if kept)
        self.layout = Layout.vector(int(self._free.sum()), bounds[self._free])
        return begin[self._free]

    def _tried(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Its value at the start twice, and in a batch of two: by tensors, by arrays, or by tensors without gradients."""
        errors: dict[str, Exception] = {}
        for by, graph in (("torch", True), ("numpy", False), ("torch", False)):
            self._by = by
            try:
                with warnings.catch_warnings(action="ignore"):
                    given = self.start.clone().requires_grad_(graph)
                    found = [self._call(given[None] if self.batched else given).detach().reshape(()) for _ in range(2)]
                    alone = self._call(torch.stack([given, given + 1])).detach()[0] if self.batched else None
                return found[0], found[1], alone
            except InputError as error:
                errors.setdefault(by, error)
        # What it says of arrays where it wants tensors is of no use.
        raise errors["torch" if "tensor" in str(errors["numpy"]).lower() else "numpy"]

    def _takes(self, by: str) -> bool:
        before, self._by = self._by, by
        try:
            self.read(self.start[None])
            return True
        except InputError:
            return False
        finally:
            self._by = before

    def _disagrees(self) -> str:
        """Why there is no gradient; empty if there is one that equals central differences."""
        if self.gradient is None and self._by != "torch":
            return "values only: it is not made of torch operations, and no gradient was given"
        self.gradients_known = True  # type: ignore[misc]
        return disagreement(self, "autograd" if self.gradient is None else "the gradient that was given")

    def _call(self, given: Tensor) -> Tensor:
        """Its values in float64: () of one point (N,), or (B,) of several if batched."""
        whole = self._whole(given)
        with self._named(whole):
            # A copy: whatever f writes into its argument stays there.
            found = self.function(whole.clone() if self._by == "torch" else whole.detach().numpy().copy())
        with self._named(whole):
            values = None if _no_number(found) else _tensor(found)
        wanted = given.shape[:-1]
        if values is None or values.numel() != wanted.numel() or values.is_complex():
            raise InputError(
                f"{self.name} returned {_checks.shown(found)} for points of shape {tuple(given.shape)}; expected "
                + (f"{wanted.numel()} real numbers, one per row." if self.batched else "one real number.")
                + ("" if self.batched else " For a function of several points at once say batched=True.")
            )
        if values.is_floating_point() and values.element_size() < 8:
            self._type = values.dtype
        return values.reshape(wanted).double()

    def _gradients(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Values and gradients of one point, or of several if batched."""
        if self.gradient is not None:
            whole = self._whole(given)
            with self._named(whole):
                theta = whole.clone() if self._by == "torch" else whole.numpy().copy()
                found = self.gradient(theta)
            if _no_number(found):
                raise InputError(
                    f"the gradient of {self.name} returned {_checks.shown(found)}; expected {whole.numel():,} real numbers, in the "
                    "shape of the point."
                )
            with self._named(whole):
                rows = _tensor(found)
            if rows.shape != whole.shape:
                raise InputError(
                    f"the gradient of {self.name} has shape {tuple(rows.shape)}; expected {tuple(whole.shape)}, as the point."
                )
            return self._call(given).detach(), rows.detach().double()[..., self._free]
        theta = given.clone().requires_grad_()
        with torch.enable_grad():
            values = self._call(theta)
            if not values.requires_grad:
                return values, torch.zeros_like(given)
            with self._named(given):
                (rows,) = torch.autograd.grad(values.sum(), theta)
        return values.detach(), rows

    def _wells(self, minima: Mapping[str, PointLike] | Sequence[PointLike]) -> tuple[Well, ...]:
        if not isinstance(minima, Mapping):
            expected = "points by name, or a list of points of which the first is the global minimum"
            _checks.instance("minima", minima, (list, tuple, Tensor, np.ndarray), expected)
            minima = _checks.listed("minima", minima, expected)
            minima = {"global" if k == 0 else f"minimum {k + 1}": one for k, one in enumerate(minima)}
        wells = []
        for name, given in minima.items():
            own = _points.numbers_of(given)
            free = given if own is None or own.shape != self._free.shape else own[self._free]
            center = _points.finite(_points.as_vector(self, free, f"the minimum {name!r}"), f"the minimum {name!r}")
            point = refined(self, center) if self.gradients_known else center
            value = float(self.values(point[None]))
            wells.append(Well(str(name), center, 0.0 - value, point, value))
        return tuple(wells)

    def _check(self, points: Tensor) -> Tensor:
        _checks.tensor("points", points, self.dimension, where=self.name)
        return points.detach().double()

    @contextmanager
    def _named(self, given: Tensor) -> Iterator[None]:
        """What the user's code raises names the point, and is one of ours and one of theirs."""
        try:
            yield
        except Exception as error:
            said = " ".join(str(error).split()) or "no message"
            raise both(
                error,
                f"{self.name} failed at {shown(given)}: {type(error).__name__}: {said[:300].rstrip('.')}. Expected a function "
                "that returns at every point; return nan where it has no value.",
            ) from error


def _tensor(found: Any) -> Tensor:
    return found if isinstance(found, Tensor) else torch.as_tensor(np.asarray(found, dtype=np.float64))


def _no_number(found: Any) -> bool:
    """Whether there is something that NumPy would take for a number and that is none: None, a text, a complex number."""
    if isinstance(found, list | tuple):
        return any(map(_no_number, found))
    kind = "" if isinstance(found, Tensor) else getattr(getattr(found, "dtype", None), "kind", "")
    return found is None or isinstance(found, str | bytes | complex) or kind in set("cSUMm")
