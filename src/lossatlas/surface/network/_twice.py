"""Double backward as a shortcut: second derivatives by torch, held against differences of first ones.

Not taken for granted: a function that recomputes in its backward pass, or a kernel whose second derivative is wrong (as
that of weight norm in torch 2.13), gives wrong products without a word.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossatlas._errors import LossAtlasError
from lossatlas.surface.network import _nested
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._keeper import kept
from lossatlas.surface.network._products import Gradient
from lossatlas.surface.network._reference import Reference
from lossatlas.surface.network._scene import Scene
from lossatlas.surface.network._shortcut import PRODUCTS, Shortcut

# What differences may be off by, in double precision and in the model's own. One direction at one point has to agree: a
# kink between the ends of a difference disturbs a few, a wrong second derivative all of them.
SHARP, ROUGH = 1e-4, 0.2
# What the gradient may differ by from differences of values before it is no derivative of these, in double precision.
DERIVATIVE = 1e-5


@final
class DoubleBackward(Shortcut):
    """Second derivatives by differentiating twice.

    Args:
        scene: what is evaluated.
    """

    name: ClassVar[str] = "double backward"
    queries: ClassVar[frozenset[str]] = frozenset({PRODUCTS})

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """Products with two vectors at both points, beside central differences of gradients.

        Differences decide nothing where a backward pass gives no derivative of the loss by design (a straight-through
        estimator, an embedding that keeps its padding row): what double backward makes of it is the user's own then.
        """
        points = [reference.theta, reference.moved()]
        if self._scene.statistics.recomputes:
            return ""  # held against differences of values where the functional call is
        # The precision that the loss is really computed in, which may be less than that of the parameters.
        unit = torch.finfo(reference.values(reference.theta, small)[0].loss.dtype).eps
        sharp = torch.finfo(torch.float64).eps
        wide = [p.double() for p in points]
        try:
            twice = self._in_double(reference, small[0])
            found, allowed = _closest(twice, wide, sharp), SHARP
            if found > allowed and not _derives(twice, wide, sharp):
                self.remark = (
                    "the backward pass of the model and loss gives no derivative of the loss (a straight-through estimator, "
                    "a masked gradient?): gradients and Hessian products are what it gives, not derivatives of the charted loss"
                )
                return ""
        except Exception:  # a forward that fixes its types, or cannot be copied: in its own precision then
            found = _closest(_own(reference, small), points, unit)
            allowed = SHARP if unit == sharp else ROUGH
        if found <= allowed:
            return ""
        return f"it differs from differences of gradients by {found:.2g} of a product"

    def _in_double(self, reference: Reference, batch: Batch) -> _Twice:
        whole, _ = self._scene.copies.first
        with reference.holding(reference.theta):
            model = copy.deepcopy(whole.inner).double()
        wide = _nested.mapped(batch.given, lambda leaf: _nested.with_tensors(leaf, _double))
        objective, layout = reference.objective, reference.layout
        named = dict(model.named_parameters(remove_duplicate=False))
        leaves: list[nn.Parameter] = [named[block.name] for block in layout.blocks]
        twins = [[named[n] for n in block.aliases if named[n] is not named[block.name]] for block in layout.blocks]
        if any(twins):
            raise LossAtlasError("parameters that share memory are looked at in their own precision")
        piece = Batch(wide, batch.size, batch.rows_known, batch._plan)

        def twice(theta: Tensor, vector: Tensor | None) -> tuple[float, Tensor]:
            with torch.no_grad():
                for block, leaf in zip(layout.blocks, leaves, strict=True):
                    leaf.copy_(theta[block.span].view(block.shape))
            with kept(model), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                loss = objective(model, piece.fresh(True)).loss
                if loss.dtype != torch.float64:
                    raise LossAtlasError("the loss is computed in lower precision whatever the type of the parameters")
                if vector is None:
                    parts: list[Tensor | None] = list(torch.autograd.grad(loss, leaves, allow_unused=True))
                else:
                    gradient = Gradient(loss, leaves)
                    gradient.refuse_dead_ends()
                    parts = gradient.turn([vector[b.span].view(b.shape) for b in layout.blocks])
            flat = [
                p.new_zeros(p.numel()) if part is None else part.to_dense().reshape(-1)
                for part, p in zip(parts, leaves, strict=True)
            ]
            return float(loss.detach()), torch.cat(flat).detach()

        return twice


# The loss with its gradient, or with the product of its Hessian and a vector.
_Twice = Callable[[Tensor, Tensor | None], tuple[float, Tensor]]


def _closest(twice: _Twice, points: list[Tensor], unit: float) -> float:
    """The least relative difference over two points and two directions, numbers rounded to a unit."""
    best, held = float("inf"), False
    for point in points:
        step = _step(point, unit)
        for seed in range(2):
            vector = _direction(point, seed)
            product = twice(point, vector)[1].double()
            if not bool(torch.isfinite(product).all()):
                continue  # as of a square root at 0: no wrong number, and refused where it is used
            held = True
            near, far = (
                (twice(point + h * vector, None)[1].double() - twice(point - h * vector, None)[1].double()) / (2 * h)
                for h in (step, 2 * step)
            )
            size = max(float(product.norm()), float(near.norm()))
            # How sure the difference itself is: by its step, and by rounding inside of the model.
            own = max(4 * float((near - far).norm()), 64 * unit * size)
            off = float((product - near).norm())
            share = off / size if size else 0.0
            best = min(best, 0.0 if off <= own and share <= ROUGH else share)
            if best <= SHARP:
                return best
    return best if held else 0.0


def _derives(twice: _Twice, points: list[Tensor], unit: float) -> bool:
    """Whether the gradient is the derivative of the values, at one of the points along one of two directions."""
    for point in points:
        step, (_, gradient) = _step(point, unit), twice(point, None)
        length = float(gradient.norm())
        for seed in range(2):
            # Along the gradient lies most of it; what is left out of it lies elsewhere.
            vector = _direction(point, seed) + (gradient / length if length else 0.0)
            rise = (twice(point + step * vector, None)[0] - twice(point - step * vector, None)[0]) / (2 * step)
            if abs(rise - float(gradient @ vector)) <= DERIVATIVE * length:
                return True
    return False


def _step(point: Tensor, unit: float) -> float:
    return float(unit ** (1 / 3) * (1 + float(point.double().norm()) / len(point) ** 0.5))


def _direction(point: Tensor, seed: int) -> Tensor:
    vector = torch.randn(len(point), generator=torch.Generator().manual_seed(seed)).to(point)
    unit: Tensor = vector / vector.norm()
    return unit


def _own(reference: Reference, small: tuple[Batch, ...]) -> _Twice:
    def twice(theta: Tensor, vector: Tensor | None) -> tuple[float, Tensor]:
        if vector is None:
            return reference.gradient(theta, small, (1.0,))
        return 0.0, reference.products(theta, vector[None], small, (1.0,))[0]

    return twice


def _double(tensor: Tensor) -> Any:
    return tensor.double() if tensor.is_floating_point() else tensor
