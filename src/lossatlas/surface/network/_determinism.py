"""What makes a loss move that should stand still: the first layer that answers differently, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from lossatlas._errors import ModelError
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._reference import Reference


def refuse(reference: Reference, batch: Batch, one: float, two: float, name: str) -> NoReturn:
    """Say that two evaluations at one θ differ, and which layer is the first to answer differently.

    Args:
        reference: runs the user's model.
        batch: what it is run on.
        one: the loss at the model's own parameters.
        two: the loss there again.
        name: for messages.

    Raises:
        ModelError: always.
    """
    with reference.holding(reference.theta) as model:
        layer = culprit(model, lambda: reference.objective(model, batch.fresh(True)))
    reason = f"the same parameters gave {one:.9g} and then {two:.9g}"
    reason += f"; the first layer whose output differs is {layer}" if layer else ""
    raise ModelError(
        f"the model {name!r} is not deterministic: {reason}; expected the same loss for the same parameters. Call "
        "model.eval(), and remove random or batch-dependent parts from its forward, "
        "or draw from a generator that is made anew with a fixed seed."
    )


def culprit(model: nn.Module, run: Callable[[], Any]) -> str | None:
    """The first layer that answers differently when the model is run again, or None where no layer alone does.

    Args:
        model: hooks are put on it and taken off again.
        run: runs it once.
    """
    with _recorded(model) as first:
        run()
    with _recorded(model) as second:
        run()
    modules = dict(model.named_modules())
    for (name, one), (other, two) in zip(first, second, strict=False):
        if name != other:
            return None
        if not _alike(one, two):
            return f"{name or 'the model itself'} ({type(modules[name]).__name__})"
    return None


@contextmanager
def _recorded(model: nn.Module) -> Iterator[list[tuple[str, Any]]]:
    """Outputs of modules in the order in which they are finished: leaves before what holds them."""
    found: list[tuple[str, Any]] = []

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, inputs, output: found.append((name, _kept(output)))

    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _kept(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output.detach().clone()]
    values = output.values() if hasattr(output, "values") else output if isinstance(output, tuple | list) else ()
    return [value.detach().clone() for value in values if isinstance(value, Tensor)]


def _alike(one: list[Tensor], two: list[Tensor]) -> bool:
    return len(one) == len(two) and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
