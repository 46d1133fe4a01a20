"""Refuse a moving target: a loss is taken twice before anything is measured, and what makes it move is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas._errors import LossError, ModelError


def check(model: nn.Module, first: Tensor, loss: Callable[[], Tensor], name: str) -> None:
    """Take a loss again.

    Args:
        model: the private model that the loss runs.
        first: the loss at the model's own parameters, as it was found.
        loss: takes it again.
        name: for messages.

    Raises:
        LossError: if it is not finite.
        ModelError: if both differ, or a buffer changes; the first layer that does not repeat itself is named where one is
            found.
    """
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    again = loss()
    moved = [key for key, value in model.named_buffers() if not torch.equal(buffers[key], value)]
    if not torch.isfinite(first):
        raise LossError(
            f"the loss at the model's own parameters is {float(first)}; expected a finite number. Check the data for "
            "NaN, the loss, and that the checkpoint was loaded."
        )
    if torch.equal(first, again) and not moved:
        return
    layer = None if moved else culprit(model, loss)
    if moved:
        reason = f"its buffers {', '.join(moved)} change when it is run"
    else:
        reason = f"the same parameters gave {float(first):.9g} and then {float(again):.9g}"
        reason += f"; the first layer whose output differs is {layer}" if layer else ""
    raise ModelError(
        f"the model {name!r} is not deterministic: {reason}; expected the same loss for the same parameters. Call "
        "model.eval(), and remove random or batch-dependent parts from its forward."
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
