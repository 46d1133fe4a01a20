"""The Hessian at one point by its products alone: each is evaluated by the probe and counted, and the first are checked."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, LossError, ModelError, NotApplicableError, StartError, UnknownNameError
from lossatlas._versions import versions
from lossatlas.probe import Gradients, Meter, Probe, Products
from lossatlas.surface import (
    Layout,
    PointLike,
    Surface,
    as_direction,
    as_point,
    finite,
    numbers_of,
    refuse_half,
    tensor_digest,
)

How = Literal["auto", "exact", "differences"]
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}
# A dense Hessian has so many rows at most, and is evaluated so many at a time.
LIMIT, ROWS = 5000, 256
# Up to so many parameters the dense Hessian is taken without being requested.
SMALL = 64


class Operator:
    """H, or P D H D Pᵀ, at one point: its products, their error and their cost; see `Hessian` for what is made of them.

    Before anything is measured one product is evaluated twice and a symmetric pair is compared: a moving target is
    refused. `at`, `scaled` and `block` give operators of the same surface, whose products are not checked again.

    Attributes:
        dimension: n, the number of entries of a vector: N, or those of the blocks.
        applied: products taken by this operator since, those of the checks left out; `spent` holds all.
        method: ``second derivatives`` or ``central differences of gradients``.
        reason: why it is not the former, or an empty string.
        warning: what else must be known of it, or an empty string; of the products taken so far.
    """

    def __init__(
        self,
        surface: Surface,
        point: PointLike | None = None,
        *,
        probe: Probe | None = None,
        scaling: PointLike | None = None,
        blocks: str | Sequence[str] | None = None,
        how: How = "auto",
    ) -> None:
        _checks.one_of("way to take products", how, ("auto", "exact", "differences"))
        self.surface = surface
        self.probe = probe_of(surface, probe)
        self._begin, self._before = time.perf_counter(), self.probe.meter.copy()
        self.point = as_point(surface, point, error=StartError)
        self.blocks: list[str] | None = None
        self._kept: Tensor | None = None
        if blocks is not None:
            self.blocks, self._kept = _kept(surface.layout, blocks)
        self._scaling = _scaling(scaling, surface)
        self.dimension = surface.dimension if self._kept is None else len(self._kept)
        self.applied = 0
        self.reason = self.warning = ""
        self._differences, self._trusting = how == "differences", False
        # Held in lists, which all counts of one operator share: its matrix and that without the scaling, and how far
        # differences are off.
        self._matrix: list[Tensor] = []
        self._plain: list[Tensor] = []
        self._gap: list[float] = []
        # Whether every product so far was zero, and whether the gradient was then seen to stand still.
        self._vanishing, self._doubted = True, False
        self._settle(how)
        self.applied, self._checks = 0, self.spent()

    @property
    def method(self) -> str:
        """How products are taken."""
        return "central differences of gradients" if self._differences else "second derivatives"

    def at(self, point: PointLike | None) -> Self:
        """The Hessian of the same surface at another point.

        Args:
            point: where, whatever describes a point; the surface's own for None.
        """
        return self._other(point=as_point(self.surface, point, error=StartError))

    def scaled(self, scaling: PointLike | None) -> Self:
        """D H D at the same point.

        Args:
            scaling: D of shape (N,), in place of what it was scaled with before; None for H itself.
        """
        made = self._other(_scaling=_scaling(scaling, self.surface))
        made._plain = self._matrix if self._scaling is None else self._plain
        if made._scaling is None:
            made._matrix = made._plain
        elif made._plain:
            d = (made._scaling if self._kept is None else made._scaling[self._kept]).cpu()
            made._matrix = [d[:, None] * made._plain[0] * d]
        return made._read()

    def block(self, names: str | Sequence[str]) -> Self:
        """A diagonal block of this operator.

        Args:
            names: of layout blocks, or of modules that hold several.

        Raises:
            UnknownNameError: if there is none of that name in it.
        """
        blocks, kept = _kept(self.surface.layout, names, self.blocks)
        rows = self._rows(kept)
        made = self._other(blocks=blocks, _kept=kept, dimension=len(kept))
        made._matrix, made._plain = ([one[rows][:, rows] for one in held] for held in (self._matrix, self._plain))
        return made._read()

    def trusting(self) -> Self:
        """The same operator, which takes products that vanish as they are: for searches that count every query."""
        return self._with(_trusting=True)

    def counted(self) -> Self:
        """The same operator with a count of its own, for one result; that of the first result holds the checks."""
        made, checks = self._with(), self._checks
        made._before = made._before.since(checks, 0.0)
        made._begin -= checks.seconds
        self._checks = Meter()
        return made

    @property
    def known(self) -> bool:
        """Whether its dense matrix was evaluated: everything is then read off it, exactly and for nothing."""
        return bool(self._matrix)

    def dense(self) -> Tensor:
        """The matrix (n, n), float64, symmetric to the last bit, from one product per unit vector; evaluated once.

        Raises:
            InputError: for more than 5,000 rows.
        """
        n = self.dimension
        if n > LIMIT:
            raise InputError(
                f"got a Hessian of {n:,} × {n:,} entries; expected at most {LIMIT:,} parameters. Use extremes, trace or "
                "spectrum, which need products only, or restrict it with blocks=…."
            )
        if not self.known:
            matrix = torch.cat([found for _, found in self.columns()])
            self._matrix.append((matrix + matrix.T) / 2)
        return self._matrix[0].clone()

    def columns(self) -> Iterator[tuple[slice, Tensor]]:
        """Which columns of the matrix, and these as rows (k, n), from one product each, until all were there."""
        for first in range(0, self.dimension, ROWS):
            span = slice(first, min(first + ROWS, self.dimension))
            unit = torch.zeros(span.stop - first, self.dimension, dtype=torch.float64)
            unit[:, span].fill_diagonal_(1.0)
            yield span, self.apply(unit).cpu()

    def apply(self, vectors: Tensor) -> Tensor:
        """The operator times each of K vectors.

        Args:
            vectors: shape (K, n).

        Returns:
            Shape (K, n), float64.

        Raises:
            LossError: if a product is not finite.
        """
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InputError(
                f"got vectors={_checks.shown(vectors)}; expected a tensor (K, {self.dimension}), one vector per row."
            )
        if self.known:
            found = (vectors.detach().cpu().double() @ self._matrix[0]).to(self.surface.device)
            if not bool(found.isfinite().all()):
                self._explain(vectors)
            return found
        answer = self._evaluate(self._lift(vectors))
        self.applied += len(vectors)
        found = self._lower(answer)
        if not (bool(answer.isfinite().all()) and bool(found.isfinite().all())):
            self._explain(vectors)
        if self._vanishing and not self._differences and len(vectors):
            self._look(found)
        return found

    def doubt(self, vectors: Tensor) -> Tensor:
        """How far each product with vectors (K, n) is off by the way it is taken, (K,), by estimate; 0 where exact."""
        if not self._differences:
            return torch.zeros(len(vectors), dtype=torch.float64)
        # Twice the step has four times the error of truncation and half that of rounding: the two differ by either.
        near, far = (self._lower(self._differ(self._lift(vectors), stretch)) for stretch in (1.0, 2.0))
        off: Tensor = (far - near).norm(dim=1).cpu()
        return off

    def lift(self, vectors: Tensor) -> Tensor:
        """Vectors (K, n) of the blocks as directions of θ, (K, N), zero elsewhere; the scaling is not applied."""
        if self._kept is None:
            return vectors
        whole = vectors.new_zeros(len(vectors), self.surface.dimension)
        whole[:, self._kept] = vectors
        return whole

    def direction(self, given: PointLike, what: str = "a direction", *, zero: bool = False) -> Tensor:
        """A direction of θ, or of the blocks alone, as a vector (n,) of the blocks, float64.

        Args:
            given: whatever describes a direction, (N,) or (n,).
            what: it is called in messages.
            zero: whether it may be zero.

        Raises:
            InputError: if it does not fit, is zero there, is not finite, or is an operator.
        """
        _refuse_operator(given, what)
        numbers = numbers_of(given, what)
        if numbers is not None and self._kept is not None and numbers.shape == (self.dimension,):
            found = finite(numbers, what).to(self.surface.device, torch.float64)
        else:
            found = self.restrict(as_direction(self.surface, given, what, zero=zero)[None])[0]
        if not zero and not bool(found.any()):
            raise InputError(f"got {what} that is zero in the blocks; expected one that leads somewhere in them.")
        return found

    def restrict(self, vectors: Tensor) -> Tensor:
        """Directions of θ (K, N) as vectors (K, n) of the blocks, float64."""
        if vectors.ndim != 2 or vectors.shape[1] != self.surface.dimension:
            raise InputError(
                f"got vectors of shape {tuple(vectors.shape)}; expected (K, {self.surface.dimension}), one direction "
                "of all parameters per row."
            )
        vectors = vectors.detach().to(self.surface.device, torch.float64)
        return vectors if self._kept is None else vectors[:, self._kept]

    def rows_of(self, name: str) -> Tensor:
        """Where the entries of a block, or of a module's blocks, lie in a vector (n,).

        Raises:
            UnknownNameError: if there is none of that name in it.
        """
        return self._rows(_kept(self.surface.layout, name, self.blocks)[1]).to(self.surface.device)

    @property
    def rounding(self) -> float:
        """How far a product may be off, relative to ‖H‖: the unit of rounding; for differences as measured, or u^(2/3)."""
        unit: float = torch.finfo(self.surface.dtype).eps
        if not self._differences:
            return unit
        if not self._gap:
            pair = self._pair()
            size = self._differ(self._lift(pair)).norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
            self._gap.append(float((self.doubt(pair) / size.cpu()).max()))
        return max(math.pow(unit, 2 / 3), self._gap[0])

    @property
    def noise(self) -> float:
        """Residuals below this share of ‖H‖ cannot be reached."""
        return max(1e-12, 16 * self.rounding)

    def spent(self) -> Meter:
        """What was evaluated since this operator was made."""
        return self.probe.meter.since(self._before, time.perf_counter() - self._begin)

    def provenance(self, **settings: Any) -> dict[str, Any]:
        """Surface, point, how products were taken, settings and versions: plain JSON values."""
        return {
            "surface": self.surface.fingerprint(),
            "point": tensor_digest(self.point),
            "products": self.method,
            "reason": self.reason or None,
            "warning": self.warning or None,
            "scaling": None if self._scaling is None else tensor_digest(self._scaling),
            "blocks": self.blocks,
            "dimension": self.dimension,
            **settings,
            "versions": versions(),
        }

    def remark(self, status: str) -> str:
        """A status with what must be known about the products behind it."""
        by = f"; products by central differences ({self.reason})" if self._differences else ""
        return status + by + (f"; {self.warning}" if self.warning else "")

    def _with(self, **changes: Any) -> Self:
        """This operator with some of its parts changed, and a count that begins now."""
        made = copy.copy(self)
        made.applied, made._checks = 0, Meter()
        made._begin, made._before = time.perf_counter(), self.probe.meter.copy()
        for name, part in changes.items():
            setattr(made, name, part)
        return made

    def _other(self, **changes: Any) -> Self:
        """Another operator of the same surface, of which nothing is known yet."""
        fresh = {"_matrix": [], "_plain": [], "_gap": [], "_vanishing": True, "_doubted": False, "warning": ""}
        return self._with(**fresh, **changes)

    def _read(self) -> Self:
        """This operator, its matrix held against the gradient if there is one."""
        if self.known and not self._differences:
            self._look(self._matrix[0])
        return self

    def _rows(self, index: Tensor) -> Tensor:
        """Where entries of θ lie in a vector (n,)."""
        return index if self._kept is None else torch.searchsorted(self._kept, index)

    def _pair(self) -> Tensor:
        """Two vectors (2, n) of unit length, always the same."""
        generator = torch.Generator().manual_seed(0)
        pair = torch.randn(2, self.dimension, generator=generator, dtype=torch.float64).to(self.surface.device)
        return torch.nn.functional.normalize(pair)

    def _lift(self, vectors: Tensor) -> Tensor:
        whole = self.lift(vectors.detach().to(self.surface.device, torch.float64))
        return whole if self._scaling is None else whole * self._scaling

    def _lower(self, products: Tensor) -> Tensor:
        if self._scaling is not None:
            products = products * self._scaling
        return products if self._kept is None else products[:, self._kept]

    def _evaluate(self, whole: Tensor) -> Tensor:
        if self._differences:
            return self._differ(whole)
        answer = self.probe.evaluate(Products(self.point[None], whole[None]))
        return answer.products[0].double()

    def _differ(self, whole: Tensor, stretch: float = 1.0) -> Tensor:
        point = self.point.double()
        lengths = whole.norm(dim=1, keepdim=True)
        unit = whole / torch.where(lengths > 0, lengths, 1.0)
        step = stretch * self._step()
        ends = torch.cat([point + step * unit, point - step * unit]).to(self.surface.dtype)
        ahead, behind = self.probe.evaluate(Gradients(ends)).gradients.double().chunk(2)
        products: Tensor = lengths * (ahead - behind) / (2 * step)
        return products

    def _step(self) -> float:
        """How far a central difference goes to both sides, for directions of unit length."""
        return float(torch.finfo(self.surface.dtype).eps ** (1 / 3)) * (1 + float(self.point.double().norm()))

    def _settle(self, how: How) -> None:
        refuse_half(self.surface.dtype)
        if how == "differences":
            self.reason = "as requested"
        if not self.surface.gradients_known:
            raise NotApplicableError(
                f"{self.surface.name} knows values only; curvature needs gradients. Give a surface that has them."
            )
        pair = self._pair()
        try:
            fault = self._fault(pair)
        except NotApplicableError as error:
            if how == "exact":
                raise
            fault = str(error)
            self._differences, self.reason = True, fault
            fault = self._fault(pair)
        if fault:
            raise ModelError(
                f"the Hessian of {self.surface.name} is not a fixed symmetric operator: {fault}; expected the same "
                "answer to rounding. Call model.eval(), and remove random parts and backward passes of your own; or "
                'give how="differences", which needs gradients only.'
            )
        _ = self.rounding  # of differences it is measured once

    def _fault(self, pair: Tensor) -> str:
        """What keeps this from being a fixed symmetric operator, found by three products; empty if nothing."""
        first, again = self.apply(pair), self.apply(pair[1:])
        size = float(first.norm(dim=1).max())
        moved, skew = float((first[1] - again[0]).norm()), abs(float(first[0] @ pair[1] - first[1] @ pair[0]))
        allowed = TOLERANCE.get(self.surface.dtype, 1e-3) * size * (10 if self._differences else 1)
        if moved > allowed:
            return f"the same product evaluated twice differed by {moved:.2e} of {size:.2e}"
        if skew > allowed:
            return f"it is not symmetric, uᵀHv and vᵀHu differ by {skew:.2e} where products are of length {size:.2e}"
        return ""

    def _look(self, products: Tensor) -> None:
        """Where every product is zero, see once whether the gradient stands still as well."""
        if bool(products.any()):
            self._vanishing, self.warning = False, ""
        if not self._vanishing or self._doubted or self._trusting:
            return
        self._doubted = True
        ways = self._step() * self._lift(self._pair())
        ends = self.point.double() + torch.cat([ways, -ways])
        found = self._lower(self.probe.evaluate(Gradients(ends.to(self.surface.dtype))).gradients.double())
        if float((found[:2] - found[2:]).norm()) > 1e3 * torch.finfo(self.surface.dtype).eps * float(found.norm()):
            self.warning = (
                "every product is zero although the gradient moves: the loss has kinks only, or a backward pass "
                'hides it (how="differences" sees both)'
            )

    def _explain(self, vectors: Tensor) -> None:
        """Say why products with vectors (K, n) are not finite."""
        largest = float(finite(vectors, "vectors").abs().max())
        if largest > 1 and bool(self._lower(self._evaluate(self._lift(vectors / largest))).isfinite().all()):
            raise InputError(
                f"got vectors with entries up to {largest:.1e}, whose products overflow; expected shorter ones. Divide "
                "them by their length."
            )
        answer = self.probe.evaluate(Gradients(self.point[None]))
        loss, gradient = float(answer.values[0]), answer.gradients[0]
        bad = int((~torch.isfinite(gradient)).sum())
        what = (
            f"the loss there is {loss}"
            if not math.isfinite(loss)
            else f"{bad:,} of {len(gradient):,} entries of the gradient there are not finite"
            if bad
            else f"loss and gradient there are finite, the gradient at a distance of {self._step():.1e} is not"
            if self._differences
            else "loss and gradient there are finite, the second derivative is not (as of a square root at 0)"
        )
        raise LossError(
            f"a Hessian product of {self.surface.name} is not finite: {what}; expected finite numbers. Take another "
            "point, or fix the loss or layer that overflows."
        )


def probe_of(surface: Surface, probe: Probe | None) -> Probe:
    """What evaluates a surface and counts: a new probe for None.

    Raises:
        InputError: for anything else than a probe of this surface.
    """
    if probe is None:
        return Probe(surface)
    if not isinstance(probe, Probe) or probe.surface is not surface:
        given = f"a probe of {probe.surface.name}" if isinstance(probe, Probe) else f"probe={_checks.shown(probe)}"
        raise InputError(f"got {given}; expected lossatlas.Probe(surface) of the surface that is measured, or None.")
    return probe


def names_of(blocks: object) -> list[str]:
    """Names of blocks, from one name or several.

    Raises:
        InputError: for anything else, or none at all.
    """
    if hasattr(blocks, "dtype"):
        raise InputError(
            f"got blocks={_checks.shown(blocks)}; expected names of blocks or modules. surface.layout.blocks lists them."
        )
    names = list(blocks) if isinstance(blocks, Iterable) and not isinstance(blocks, str) else [blocks]
    if not names:
        raise InputError("got no blocks; expected at least one name, or None for all of them.")
    if not all(isinstance(name, str) for name in names):
        raise InputError(
            f"got blocks={_checks.shown(blocks)}; expected names of blocks or modules. surface.layout.blocks lists them."
        )
    return [str(name) for name in names]


def _refuse_operator(given: object, what: str) -> None:
    if isinstance(given, Operator):
        raise InputError(f"got {what} that is a {type(given).__name__}; expected numbers. Its matrix is .dense().")


def _kept(layout: Layout, blocks: object, among: Sequence[str] | None = None) -> tuple[list[str], Tensor]:
    """Names of blocks, and where their entries lie in θ, ascending."""
    wanted = names_of(blocks)
    there = [block for block in layout.blocks if among is None or block.name in among]
    chosen = set()
    for name in wanted:
        found = [b.name for b in there if any(n == name or n.startswith(f"{name}.") for n in (b.name, *b.aliases))]
        if not found:
            raise UnknownNameError("block of parameters", name, [b.name for b in there])
        chosen.update(found)
    kept = [block for block in there if block.name in chosen]
    index = torch.cat([torch.arange(block.span.start, block.span.stop) for block in kept])
    return [block.name for block in kept], index


def _scaling(scaling: PointLike | None, surface: Surface) -> Tensor | None:
    _refuse_operator(scaling, "a scaling")
    return None if scaling is None else as_direction(surface, scaling, "a scaling", zero=True)
