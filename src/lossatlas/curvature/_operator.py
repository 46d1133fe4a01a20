"""The Hessian at one point as a linear operator: every product is asked at the door, billed, and checked to be one."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Literal, final

import torch
from torch import Tensor

from lossatlas._errors import InputError, LossError, ModelError, NotApplicableError, StartError, UnknownNameError
from lossatlas._versions import versions
from lossatlas.probe import Gradients, Meter, Probe, Products
from lossatlas.surface import Layout, PointLike, Surface, as_direction, as_point, finite, numbers_of, tensor_digest
from lossatlas.surface.network._products import refuse_half

How = Literal["auto", "exact", "differences"]
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}


@final
class Operator:
    """H, or P D H D Pᵀ, at one point of a surface, for askers that want products and nothing else.

    Before anything is measured one product is asked twice and a symmetric pair is compared: a moving target is
    refused. Where a surface cannot be differentiated twice, central differences of its gradients stand in,
    (∇L(θ + εv) − ∇L(θ − εv)) / 2ε with ε = u^(1/3) (1 + ‖θ‖) for ‖v‖ = 1 and u the rounding unit, and `status` and
    `provenance` say so.

    Args:
        surface: any surface that knows gradients.
        point: where: whatever describes a point (`lossatlas.surface.PointLike`); the surface's own by default.
        probe: the door to ask at; a new one by default.
        scaling: D of shape (N,): the operator is then D H D, as planes with scaled directions see it.
        blocks: names of layout blocks, or of modules that hold several, to restrict H to.
        how: ``exact`` for second derivatives only, ``differences`` for central differences, ``auto`` for the
            latter where the former cannot be had.

    Attributes:
        dimension: n, the number of entries of a vector: N, or those of the blocks.
        applied: products asked of this operator since, those of the checks left out; `bill` holds all.
        method: ``second derivatives`` or ``central differences of gradients``.
        reason: why it is not the former, or an empty string.
        warning: what else must be known of it, or an empty string.

    Raises:
        InputError: if point, scaling or blocks do not fit.
        ModelError: if the operator is not a fixed symmetric one.
        LossError: if a product is not finite.
        NotApplicableError: if the surface has no gradients, or no second derivatives with ``how="exact"``.

    Source: Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994).
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
        if how not in ("auto", "exact", "differences"):
            raise UnknownNameError("way to take products", how, ("auto", "exact", "differences"))
        self.surface = surface
        self.probe = probe or Probe(surface)
        self._begin, self._before = time.perf_counter(), self.probe.meter.copy()
        self.point = as_point(surface, point, error=StartError)
        self.blocks, self._kept = _kept(surface.layout, blocks)
        self._scaling = _scaling(scaling, surface)
        self.dimension = surface.dimension if self._kept is None else len(self._kept)
        self.applied = 0
        self.reason = self.warning = ""
        self._differences, self._gap = how == "differences", 0.0
        self._settle(how)
        self.applied = 0

    @property
    def method(self) -> str:
        """How products are taken."""
        return "central differences of gradients" if self._differences else "second derivatives"

    def apply(self, vectors: Tensor) -> Tensor:
        """The operator times each of K vectors.

        Args:
            vectors: shape (K, n).

        Returns:
            Shape (K, n), float64.

        Raises:
            LossError: if a product is not finite.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InputError(
                f"got vectors of shape {tuple(vectors.shape)}; expected (K, {self.dimension}), one vector per row."
            )
        answer = self._ask(self._lift(vectors))
        self.applied += len(vectors)
        if not math.isfinite(answer.sum()):
            self._explain()
        return self._lower(answer)

    def doubt(self, vectors: Tensor) -> Tensor:
        """How far each product with vectors (K, n) is off by the way it is taken, (K,), by estimate; 0 where exact."""
        if not self._differences:
            return torch.zeros(len(vectors), dtype=torch.float64)
        # Twice the step has four times the error of bending and half that of rounding: the two differ by either.
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

    def direction(self, given: PointLike, what: str = "a direction") -> Tensor:
        """A direction of θ, or of the blocks alone, as a vector (n,) of the blocks, float64.

        Args:
            given: whatever describes a direction, (N,) or (n,).
            what: it is called in messages.

        Raises:
            InputError: if it does not fit, is zero there, or is not finite.
        """
        numbers = numbers_of(given, what)
        if numbers is not None and self._kept is not None and numbers.shape == (self.dimension,):
            found = finite(numbers, what).to(self.surface.device, torch.float64)
        else:
            found = self.restrict(as_direction(self.surface, given, what)[None])[0]
        if not bool(found.any()):
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
        """Where the entries of a block, or of a module's blocks, lie in θ.

        Raises:
            UnknownNameError: if there is none of that name.
        """
        index = _kept(self.surface.layout, name)[1]
        assert index is not None
        return index.to(self.surface.device)

    @property
    def rounding(self) -> float:
        """How far a product may be off, relative to ‖H‖: the unit of rounding; for differences as measured, or u^(2/3)."""
        unit = torch.finfo(self.surface.dtype).eps
        return max(unit ** (2 / 3), self._gap) if self._differences else unit

    @property
    def noise(self) -> float:
        """Residuals below this share of ‖H‖ cannot be asked for."""
        return max(1e-12, 16 * self.rounding)

    def bill(self) -> Meter:
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

    def _lift(self, vectors: Tensor) -> Tensor:
        whole = self.lift(vectors.detach().to(self.surface.device, torch.float64))
        return whole if self._scaling is None else whole * self._scaling

    def _lower(self, products: Tensor) -> Tensor:
        if self._scaling is not None:
            products = products * self._scaling
        return products if self._kept is None else products[:, self._kept]

    def _ask(self, whole: Tensor) -> Tensor:
        if self._differences:
            return self._differ(whole)
        answer = self.probe.ask(Products(self.point[None], whole[None]))
        return answer.products[0].double()

    def _differ(self, whole: Tensor, stretch: float = 1.0) -> Tensor:
        point = self.point.double()
        lengths = whole.norm(dim=1, keepdim=True)
        unit = whole / torch.where(lengths > 0, lengths, 1.0)
        step = stretch * self._step()
        ends = torch.cat([point + step * unit, point - step * unit]).to(self.surface.dtype)
        slopes = self.probe.ask(Gradients(ends)).gradients.double()
        ahead, behind = slopes.chunk(2)
        products: Tensor = lengths * (ahead - behind) / (2 * step)
        return products

    def _step(self) -> float:
        """How far a central difference goes to both sides, for directions of unit length."""
        return float(torch.finfo(self.surface.dtype).eps ** (1 / 3)) * (1 + float(self.point.double().norm()))

    def _settle(self, how: How) -> None:
        refuse_half(self.surface.dtype)
        if how == "differences":
            self.reason = "asked for"
        if not self.surface.gradients_known:
            raise NotApplicableError(
                f"{self.surface.name} answers values only; curvature needs gradients. Give a surface that has them."
            )
        generator = torch.Generator().manual_seed(0)
        pair = torch.randn(2, self.dimension, generator=generator, dtype=torch.float64).to(self.surface.device)
        pair = pair / pair.norm(dim=1, keepdim=True)
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
        if self._differences:
            size = self._differ(self._lift(pair)).norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
            self._gap = float((self.doubt(pair) / size.cpu()).max())

    def _fault(self, pair: Tensor) -> str:
        """What keeps this from being a fixed symmetric operator, found by three products; empty if nothing."""
        first, again = self.apply(pair), self.apply(pair[1:])
        size = float(first.norm(dim=1).max())
        moved, skew = float((first[1] - again[0]).norm()), abs(float(first[0] @ pair[1] - first[1] @ pair[0]))
        allowed = TOLERANCE.get(self.surface.dtype, 1e-3) * size * (10 if self._differences else 1)
        if moved > allowed:
            return f"the same product asked twice differed by {moved:.2e} of {size:.2e}"
        if skew > allowed:
            return f"it is not symmetric, uᵀHv and vᵀHu differ by {skew:.2e} where products are of length {size:.2e}"
        if size == 0 and not self._differences:
            self._doubt(pair)
        return ""

    def _doubt(self, pair: Tensor) -> None:
        """Where every product is zero, see whether the gradient stands still as well."""
        step = self._step()
        ends = self.point.double() + step * torch.cat([self._lift(pair), -self._lift(pair)])
        slopes = self.probe.ask(Gradients(ends.to(self.surface.dtype))).gradients.double()
        if float((slopes[:2] - slopes[2:]).norm()) > 1e3 * torch.finfo(self.surface.dtype).eps * float(slopes.norm()):
            self.warning = (
                "every product is zero although the gradient moves: the loss bends at kinks only, or a backward pass "
                'hides it (how="differences" sees both)'
            )

    def _explain(self) -> None:
        answer = self.probe.ask(Gradients(self.point[None]))
        loss, slope = float(answer.values[0]), answer.gradients[0]
        bad = int((~torch.isfinite(slope)).sum())
        what = (
            f"the loss there is {loss}"
            if not math.isfinite(loss)
            else f"{bad:,} of {len(slope):,} entries of the gradient there are not finite"
            if bad
            else "loss and gradient there are finite, the second derivative is not (as of a square root at 0)"
        )
        raise LossError(
            f"a Hessian product of {self.surface.name} is not finite: {what}; expected finite numbers. Ask at another "
            "point, or mend the loss or layer that overflows."
        )


def _kept(layout: Layout, blocks: str | Sequence[str] | None) -> tuple[list[str] | None, Tensor | None]:
    if blocks is None:
        return None, None
    wanted = [blocks] if isinstance(blocks, str) else list(blocks)
    chosen = set()
    for name in wanted:
        found = [
            b.name for b in layout.blocks if any(n == name or n.startswith(f"{name}.") for n in (b.name, *b.aliases))
        ]
        if not found:
            raise UnknownNameError("block of parameters", name, [b.name for b in layout.blocks])
        chosen.update(found)
    if not chosen:
        raise InputError("got no blocks; expected at least one name, or None for all parameters.")
    kept = [block for block in layout.blocks if block.name in chosen]
    index = torch.cat([torch.arange(block.span.start, block.span.stop) for block in kept])
    return [block.name for block in kept], index


def _scaling(scaling: PointLike | None, surface: Surface) -> Tensor | None:
    return None if scaling is None else as_direction(surface, scaling, "a scaling", zero=True)
