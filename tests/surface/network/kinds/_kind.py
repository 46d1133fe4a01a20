"""One kind of model, loss and data: what a user would write, and the slow obvious oracle for the surface of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

PLAIN = {
    "cross_entropy": F.cross_entropy,
    "nll": F.nll_loss,
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
}
ROWS = 5


@dataclass(frozen=True)
class Refusal:
    """An error that the surface must raise, when it is made or at the first query.

    Attributes:
        error: the name of its class in the package's tree.
        word: a regular expression that the message must match, whatever the case.
    """

    error: str
    word: str


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    Attributes:
        name: unique, a sentence fragment.
        make: a fresh instance of the user's model, with the same weights each time.
        given: what is given to `NetworkSurface` after the model: loss or objective, data, settings.
        whole: L on all data, by the user's own code and a whole pass; differentiable.
        parts: (loss, weight) of one batch after another, whose weighted mean is L as well; None where no cut gives L.
        refusal: what the surface refuses; None where it has to be right.
        or_right: whether the right numbers are as good as the refusal.
        gradient: how gradients are refused where values work.
        products: how the oracle takes them: ``exact`` (double backward), ``differences`` (of gradients), or ``none``.
        tolerance: relative, of values and gradients.
        product_tolerance: relative, of products.
        notes: words that the notes or the text of the surface must hold.
        breaks: the shortcuts that give another L, or other derivatives, for this kind; a proof must drop them.
        around: entered while the surface is used and while the oracle runs (a patched class, a global hook).
        trap: whether an exception can be thrown from within the model by a hook on it.
        spread: how far the three points lie from θ.
        twin: what the oracle writes θ into, where it cannot be another instance of the same (a lazy module).
        unchanged: whether the user's model has to be as it was (a lazy module is run once).
        smooth: whether the gradient that backward gives is the derivative of the values.
        on: L on some of the examples, by their numbers; None where a part of them is no batch.
        examples: how many there are, where there is an `on`.
    """

    name: str
    make: Callable[[], nn.Module]
    given: Callable[[nn.Module], dict[str, Any]]
    whole: Callable[[nn.Module], Tensor] | None = None
    parts: Callable[[nn.Module], Iterable[tuple[Tensor, float]]] | None = None
    refusal: Refusal | None = None
    or_right: bool = False
    gradient: Refusal | None = None
    products: str = "exact"
    tolerance: float = 1e-10
    product_tolerance: float = 1e-8
    notes: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    trap: bool = True
    spread: tuple[float, ...] = (0.0, 0.05, 0.5)
    twin: Callable[[], nn.Module] | None = None
    unchanged: bool = True
    smooth: bool = True
    on: Callable[[nn.Module, Tensor], Tensor] | None = None
    examples: int = 0

    def __str__(self) -> str:
        return self.name

    def theta(self) -> Tensor:
        """The model's own point, in float64."""
        return torch.cat([group[0].detach().double().reshape(-1) for group in groups((self.twin or self.make)())])

    def points(self) -> Tensor:
        """Three points: the model's own, one close by, one further away."""
        theta = self.theta()
        generator = torch.Generator().manual_seed(len(self.name))
        rows = [theta + s * torch.randn(theta.shape, generator=generator, dtype=torch.float64) for s in self.spread]
        return torch.stack(rows)

    def direction(self) -> Tensor:
        """A vector of length one for products."""
        theta = self.theta()
        drawn = torch.randn(theta.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        return drawn / drawn.norm()

    def at(self, theta: Tensor) -> nn.Module:
        """A fresh instance that holds θ."""
        model = (self.twin or self.make)()
        write(model, theta)
        return model

    def value(self, theta: Tensor) -> float:
        """L(θ), by parts where there are any."""
        with self.around(), torch.enable_grad():
            model = self.at(theta)
            if self.parts is None:
                return float(self.whole(model).detach())
            pairs = [(float(loss.detach()), float(weight)) for loss, weight in self.parts(model)]
        return sum(loss * weight for loss, weight in pairs) / sum(weight for _, weight in pairs)

    def whole_value(self, theta: Tensor) -> float:
        """L(θ) in one pass."""
        with self.around(), torch.enable_grad():
            return float(self.whole(self.at(theta)).detach())

    def slope(self, theta: Tensor, chosen: Tensor | None = None) -> Tensor:
        """∇L(θ), by plain backward on the whole data or on some examples of it, float64."""
        with self.around(), torch.enable_grad():
            model = self.at(theta)
            for parameter in model.parameters():
                parameter.grad = None
            (self.whole(model) if chosen is None else self.on(model, chosen)).backward()
        return torch.cat([sum(dense(p.grad, p).double() for p in group).reshape(-1) for group in groups(model)])

    def product(self, theta: Tensor, vector: Tensor) -> Tensor:
        """∇²L(θ) v, by plain double backward or by differences of gradients (fourth order)."""
        if self.products == "differences":
            step = 1e-3 if self.tolerance < 1e-8 else 1e-2
            low, high = (self.slope(theta - step * vector), self.slope(theta + step * vector))
            lower, higher = (self.slope(theta - 2 * step * vector), self.slope(theta + 2 * step * vector))
            return (8 * (high - low) - (higher - lower)) / (12 * step)
        with self.around(), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            model = self.at(theta)
            shared = groups(model)
            leaves = [p for group in shared for p in group]
            first = torch.autograd.grad(self.whole(model), leaves, create_graph=True, allow_unused=True)
            found = {id(p): g for p, g in zip(leaves, first, strict=True) if g is not None}
            offset, total = 0, torch.zeros((), dtype=torch.float64)
            for group in shared:
                part = vector[offset : offset + group[0].numel()].reshape(group[0].shape)
                offset += group[0].numel()
                total = total + sum((found[id(p)].double() * part).sum() for p in group if id(p) in found)
            if not total.requires_grad:
                return torch.zeros_like(vector)
            second = torch.autograd.grad(total, leaves, allow_unused=True)
        rows = dict(zip(map(id, leaves), second, strict=True))
        return torch.cat([sum(dense(rows[id(p)], p).double() for p in group).reshape(-1) for group in shared])


def groups(model: nn.Module) -> list[list[nn.Parameter]]:
    """The trainable parameters in the model's order; those that share their memory are one group, hence one block."""
    found: dict[Any, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad and not isinstance(parameter, nn.parameter.UninitializedParameter):
            key = parameter.data_ptr() if parameter.numel() else id(parameter)
            found.setdefault(key, []).append(parameter)
    return list(found.values())


def write(model: nn.Module, theta: Tensor) -> None:
    """Write θ into a model, shared parameters once."""
    offset = 0
    with torch.no_grad():
        for group in groups(model):
            size = group[0].numel()
            group[0].copy_(theta[offset : offset + size].reshape(group[0].shape))
            offset += size
    assert offset == len(theta)


def dense(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    """A gradient as an ordinary tensor: zeros where there is none."""
    if gradient is None:
        return torch.zeros_like(parameter)
    gradient = gradient.detach()
    return gradient.to_dense() if gradient.is_sparse else gradient


def seeded(build: Callable[[], nn.Module], *, dtype: torch.dtype | None = torch.float64, train: bool = False) -> Any:
    """A `make` from a function that builds a model: the same weights each time, nothing else moved."""

    def make() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build()
            if dtype is not None:
                model = model.to(dtype)
            return model.train(train)

    return make


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole_numbers(high: int, *shape: int, seed: int = 1) -> Tensor:
    """Numbers from 0 to high − 1."""
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def cut(value: Any, rows: slice | Tensor) -> Any:
    """Some examples of a nested structure in which every tensor has one row per example."""
    if isinstance(value, Tensor):
        return value[rows]
    if isinstance(value, dict):
        return {key: cut(item, rows) for key, item in value.items()}
    return type(value)(cut(item, rows) for item in value)


def kind(
    name: str,
    make: Callable[[], nn.Module],
    loss: Any,
    data: Any,
    *,
    split: bool = True,
    settings: dict[str, Any] | None = None,
    plain: Callable[[Any, Any], Tensor] | None = None,
    **rest: Any,
) -> Kind:
    """A kind whose data are a tuple (inputs…, target), whose loss is a mean over examples.

    Args:
        name: as in `Kind`.
        make: as in `Kind`.
        loss: a name, or what the surface is given.
        data: tuple of tensors or nested structures, the last one the target.
        split: whether parts of the examples, weighted by their number, give the whole.
        settings: further arguments of the surface.
        plain: the loss of the oracle; that of torch for a name, the loss itself otherwise.
        rest: as in `Kind`.
    """
    function = plain or (PLAIN[loss] if isinstance(loss, str) else loss)
    leaf = data
    while not isinstance(leaf, Tensor):
        leaf = next(iter(leaf.values())) if isinstance(leaf, dict) else leaf[0]
    size = len(leaf)

    def run(model: nn.Module, items: Any) -> Tensor:
        *inputs, target = items
        return function(model(*(fresh(part) for part in inputs)), target)

    def parts(model: nn.Module) -> Iterable[tuple[Tensor, float]]:
        for begin in range(0, size, ROWS):
            rows = slice(begin, min(begin + ROWS, size))
            yield run(model, cut(data, rows)), rows.stop - rows.start

    return Kind(
        name,
        make,
        lambda model: {"loss": loss, "data": data, **(settings or {})},
        lambda model: run(model, data),
        parts if split else None,
        on=(lambda model, chosen: run(model, cut(data, chosen))) if split else None,
        examples=size,
        **rest,
    )


def fresh(value: Any) -> Any:
    """A copy of inputs, for models that write into them."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: fresh(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(fresh(item) for item in value)
    return value


def refused(name: str, make: Any, loss: Any, data: Any, error: str, word: str, **rest: Any) -> Kind:
    """A kind that is refused, whatever the numbers would be."""
    settings = rest.pop("settings", {})
    return Kind(
        name, make, lambda model: {"loss": loss, "data": data, **settings}, refusal=Refusal(error, word), **rest
    )


def objective_kind(
    name: str,
    make: Any,
    objective: Callable[[nn.Module, Any], Any],
    batches: list[Any],
    *,
    data: Any = None,
    **rest: Any,
) -> Kind:
    """A kind given as objective(model, batch) → loss or (loss, weight); a loss alone is weighted by the examples.

    Args:
        name: as in `Kind`.
        make: as in `Kind`.
        objective: the user's.
        batches: the data, batch by batch.
        data: what the surface is given; the batches by default.
        rest: as in `Kind`.
    """

    def parts(model: nn.Module) -> Iterable[tuple[Tensor, float]]:
        for batch in batches:
            found = objective(model, fresh(batch))
            yield found if isinstance(found, tuple) else (found, rows_of(batch))

    def whole(model: nn.Module) -> Tensor:
        pairs = list(parts(model))
        return sum(loss * weight for loss, weight in pairs) / sum(weight for _, weight in pairs)

    return Kind(
        name,
        make,
        lambda model: {"objective": objective, "data": batches if data is None else data},
        whole,
        None,
        **rest,
    )


def rows_of(batch: Any) -> int:
    """The number of examples of a batch."""
    while not isinstance(batch, Tensor):
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return len(batch)


@dataclass(frozen=True)
class LossRow:
    """One row of the second table: a loss on a linear model, for every batch size.

    Attributes:
        name: unique.
        loss: what the surface is given, made for the model.
        target: of 24 examples.
        plain: L by hand, from all outputs, all targets and the model.
        outputs: width of the model.
    """

    name: str
    loss: Callable[[nn.Module], Any]
    target: Any
    plain: Callable[[Tensor, Any, nn.Module], Tensor]
    outputs: int = 3
    objective: bool = False
    inputs: Tensor = field(default_factory=lambda: noise(24, 4))
