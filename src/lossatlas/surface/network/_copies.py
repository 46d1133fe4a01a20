"""Private copies of the user's model, each bound to a vector: writing θ into the vector moves the copy, in one call."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from lossatlas._errors import ModelError
from lossatlas._layout import Layout
from lossatlas.surface.network._batchnorm import Statistics
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._objective import Objective, Outcome
from lossatlas.surface.network._reference import Reference

# What the wrapper below puts before a parameter's name.
PREFIX = "inner."


@final
class Whole(nn.Module):
    """A model with its objective, as one module that takes a batch: what `functional_call` is made on.

    Args:
        model: private.
        objective: called with it.

    Attributes:
        shared: further places of a parameter's numbers, by name: tied weights, and parameters that share memory.
    """

    def __init__(self, model: nn.Module, objective: Objective, layout: Layout) -> None:
        super().__init__()
        self.inner, self.objective = model, objective
        modules = dict(model.named_modules(remove_duplicate=False))
        self.shared: dict[str, tuple[str, ...]] = {}
        for block in layout.blocks:
            # A module under two names is one place: torch would put back the wrong tensor if both were swapped.
            places = {
                (id(modules[n.rpartition(".")[0]]), n.rpartition(".")[2]): n
                for n in reversed((block.name, *block.aliases))
            }
            twins = tuple(name for name in places.values() if name != block.name)
            if twins:
                self.shared[block.name] = twins

    def forward(self, batch: Batch) -> Outcome:
        """The outcome of a batch."""
        return self.objective(self.inner, batch)


Bound = tuple[Whole, Tensor]


@final
class Copies:
    """Bound copies of one model, made when they are first wanted.

    Args:
        make: gives the first private model.
        objective: what is evaluated on it.
        layout: of the vectors, running statistics included where they move.
        theta: what is written into the vectors at first.
    """

    def __init__(self, make: Callable[[], nn.Module], objective: Objective, layout: Layout, theta: Tensor) -> None:
        self._make, self.objective, self.layout, self._theta = make, objective, layout, theta
        self.bound: list[Bound] = []
        # What two of them gave when they took turns on the small batch of a proof.
        self.agreed: Tensor | None = None
        # What the model's code does that torch's transforms do not survive; None until it was looked at.
        self.rewriting: str | None = None

    @property
    def first(self) -> Bound:
        """The first copy.

        Raises:
            ModelError: if the model cannot be copied, or its copy is none.
        """
        if not self.bound:
            model = self._make()
            self.bound.append((Whole(model, self.objective, self.layout), bind(model, self.layout, self._theta)))
        return self.bound[0]

    def ready(self, count: int) -> list[Bound]:
        """So many copies; frozen parameters are shared by all of them."""
        whole, flat = self.first
        while len(self.bound) < count:
            # Trainable parameters need no copy of their own: they are bound to another vector. The others are constants.
            kept = {id(p): nn.Parameter(p.data, p.requires_grad) for p in whole.inner.parameters()}
            twin = copy.deepcopy(whole.inner, kept)
            self.bound.append((Whole(twin, self.objective, self.layout), bind(twin, self.layout, flat)))
        return self.bound

    def attach(self) -> None:
        """Bind all copies again: a copied parameter is no view any more."""
        for whole, flat in self.bound:
            attach(whole.inner, self.layout, flat)


def private(reference: Reference, statistics: Statistics, uniform: bool) -> nn.Module:
    """A deep copy of the user's model as it was when its surface was made, which shares no number with it.

    Args:
        reference: holds the user's model.
        statistics: of its batch norm, applied to the copy.
        uniform: whether its trainable parameters are of one type on one device.

    Raises:
        ModelError: if it cannot be copied, or its copy shares numbers with it, or could not be bound to one vector.
    """
    theirs = reference.model
    if not uniform:
        raise ModelError("its trainable parameters are of several types or on several devices")
    with reference.holding(reference.theta):
        gradients = [(p, p.grad) for p in theirs.parameters()]
        for p, _ in gradients:
            p.grad = None
        try:
            mine = copy.deepcopy(theirs)
        except Exception as error:  # whatever a user's class raises
            raise ModelError(f"it cannot be copied ({type(error).__name__}: {error})") from error
        finally:
            for p, gradient in gradients:
                p.grad = gradient
    if type(mine) is not type(theirs) or _storages(mine) & _storages(theirs):
        raise ModelError("its copy shares its numbers")
    statistics.apply(mine)
    return mine


def _storages(model: nn.Module) -> set[int]:
    tensors = [*model.parameters(), *model.buffers()]
    return {t.untyped_storage().data_ptr() for t in tensors if t.layout is torch.strided and t.numel()}


def bind(model: nn.Module, layout: Layout, theta: Tensor) -> Tensor:
    """Make the private model's trainable parameters views into one flat vector, and return that vector.

    Writing θ into the vector is then all it takes to move the model: one fused copy, no state dict.
    """
    flat = theta.detach().clone()
    attach(model, layout, flat)
    return flat


def attach(model: nn.Module, layout: Layout, flat: Tensor) -> None:
    """Make parameters, and running statistics where the layout has any, views into a flat vector there is already."""
    tensors: dict[str, Any] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    for block in layout.blocks:
        for name in (block.name, *block.aliases):
            tensors[name].data = flat[block.span].view(block.shape)
