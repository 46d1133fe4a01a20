"""The model and the optimizer of a running loop, as a recorder sees them: bare of wrappers, checked, and counted."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lossatlas._errors import InputError, ModelError
from lossatlas._layout import listed
from lossatlas.surface import Block, Layout, layout_of

_HOOKS = Optimizer.profile_hook_step.__code__.co_filename


def unwrapped(model: Any) -> Any:
    """What wrappers for several devices and compilation hold."""
    while isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel) or hasattr(model, "_orig_mod"):
        model = getattr(model, "_orig_mod", None) or model.module
    return model


def bare_model(model: nn.Module) -> nn.Module:
    """The user's own module inside wrappers for several devices and compilation, whose names begin otherwise.

    Raises:
        ModelError: if it is no module, or its parameters are sharded: no process then holds a whole point.
    """
    model = unwrapped(model)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"got a model of type {type(model).__name__}; expected a torch.nn.Module (an instance, not a class)."
        )
    sharded = [n for n, p in model.named_parameters() if hasattr(p, "full_tensor") or n.endswith("_flat_param")]
    if sharded:
        raise ModelError(
            f"the parameters {listed(sharded)} are sharded over processes; expected whole ones, since a point of the "
            "surface is all of them. Record a run in which every process holds the model (DistributedDataParallel)."
        )
    return model


def bare_optimizers(given: Optimizer | Sequence[Optimizer]) -> list[Optimizer]:
    """The torch optimizers inside what frameworks wrap them in.

    Raises:
        InputError: for something that is none, or one whose steps cannot be listened to.
    """
    found = []
    for one in given if isinstance(given, list | tuple) else [given]:
        inner = one
        while not isinstance(inner, Optimizer) or isinstance(getattr(inner, "optimizer", None), Optimizer):
            inner = getattr(inner, "optimizer", None)
            if inner is None:
                raise InputError(
                    f"got an optimizer of type {type(one).__name__}; expected a torch.optim.Optimizer, or several of "
                    "them that step one after another."
                )
        if not hasattr(inner, "_optimizer_step_post_hooks"):
            raise InputError(
                f"the optimizer {type(inner).__name__} cannot be listened to: its constructor does not call the one of "
                "torch.optim.Optimizer. Fix the class, or record another run."
            )
        found.append(inner)
    if not found:
        raise InputError("got no optimizer; expected the one that steps the model.")
    return found


def check_membership(model: nn.Module, optimizers: Iterable[Optimizer]) -> None:
    """Refuse optimizers that step anything else than this model.

    Raises:
        InputError: naming the shapes of what does not belong to it.
    """
    own = {id(parameter) for parameter in model.parameters()}
    held = [parameter for one in optimizers for group in one.param_groups for parameter in group["params"]]
    strangers = [parameter for parameter in held if id(parameter) not in own]
    if strangers:
        shapes = listed([str(tuple(parameter.shape)) for parameter in strangers])
        raise InputError(
            f"{len(strangers)} of the {len(held)} tensors that the optimizer steps are no parameters of the model "
            f"{type(model).__name__} (shapes {shapes}); expected an optimizer over this model, which is what would be "
            "recorded. Give the model that is trained, and the optimizer that was made of its parameters."
        )


def steps_made(optimizers: Iterable[Optimizer]) -> int | None:
    """How many steps optimizers have made by their own count; None where they keep none, or have made none."""
    counts = []
    for one in optimizers:
        entries = [*(state for state in one.state.values() if isinstance(state, dict)), *one.param_groups]
        for step in (entry.get("step") for entry in entries):
            if isinstance(step, int | float) or (isinstance(step, Tensor) and step.numel() == 1):
                counts.append(int(step))
    return max(counts, default=0) or None


def is_inner(optimizer: Optimizer) -> bool:
    """Whether a hook runs for a step inside another one of the same optimizer.

    Torch puts its hooks around every class's ``step``: one that overrides its parent's and calls it makes them run twice.
    """
    frame, found = sys._getframe(), 0
    while frame is not None and found < 2:
        code = frame.f_code
        if code.co_filename == _HOOKS and code.co_name == "wrapper" and frame.f_locals.get("self") is optimizer:
            found += 1
        frame = frame.f_back  # type: ignore[assignment]
    return found > 1


def was_skipped(optimizer: Optimizer) -> bool:
    """Whether a gradient scaler told a fused optimizer, during the step just made, to leave the parameters alone."""
    found = getattr(optimizer, "found_inf", None)
    return isinstance(found, Tensor) and bool(found)


class Changed(ModelError):
    """A model whose points are points of another surface from here on."""


@final
class Watched:
    """The parameters of a model by the names they had when recording began.

    Args:
        model: bare of wrappers.

    Attributes:
        layout: its trainable parameters then.
        frozen: names of the others.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layout: Layout = layout_of(model)
        self._model = model
        kept = model.state_dict(keep_vars=True)
        self._buffers = [name for name, _ in model.named_buffers() if name in kept]
        parameters = dict(model.named_parameters())
        self.frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
        self._references = [weakref.ref(parameters[name]) for name in self.frozen]
        self.dtypes = {block.name: parameters[block.name].dtype for block in self.layout.blocks}

    def parameters(self) -> dict[str, Tensor]:
        """The parameters as they are now, in the order of the layout.

        Raises:
            Changed: if one is gone, is of another shape or type than it was, or one that was frozen is trained now.
            ModelError: if one has no numbers any more.
        """
        for name in self.frozen:
            held = _held(self._model, name, "_parameters")
            if held is not None and held.requires_grad:
                raise Changed(f"the parameter {name!r} was frozen when recording began and is trained now")
        now = {block.name: _held(self._model, block.name, "_parameters") for block in self.layout.blocks}
        for block in self.layout.blocks:
            held = now[block.name]
            if held is not None and held.device.type == "meta":
                raise ModelError(f"the parameter {block.name!r} has no numbers any more (it is on the meta device)")
            wrong = self._wrong(block, held)
            if wrong:
                raise Changed(f"the parameter {block.name!r} {wrong}")
        return {name: parameter.detach() for name, parameter in now.items() if parameter is not None}

    def unfrozen(self) -> str | None:
        """Why a parameter that was frozen when recording began is trained now, or None; cheap enough for every step."""
        for name, reference in zip(self.frozen, self._references, strict=True):
            parameter = reference()
            if parameter is not None and parameter.requires_grad:
                return f"the parameter {name!r} was frozen when recording began and is trained now"
        return None

    def grown(self) -> str | None:
        """What of the model's trainable parameters is not as it was when recording began, or None."""
        differs = self.layout.difference(layout_of(self._model))
        return f"the parameters before (first) and after (second) differ: {differs}" if differs else None

    def buffers(self) -> dict[str, Tensor]:
        """The buffers that a checkpoint would hold, as they are now."""
        now = {name: _held(self._model, name, "_buffers") for name in self._buffers}
        return {name: buffer.detach() for name, buffer in now.items() if buffer is not None}

    def _wrong(self, block: Block, parameter: Tensor | None) -> str:
        if parameter is None:
            return "is gone"
        if tuple(parameter.shape) != block.shape:
            return f"has changed its shape from {block.shape} to {tuple(parameter.shape)}"
        if parameter.dtype != self.dtypes[block.name]:
            return f"has changed its type from {self.dtypes[block.name]} to {parameter.dtype}"
        return ""


def _held(model: nn.Module, name: str, kind: str) -> Tensor | None:
    """A parameter or buffer by its name as it is now; looking one up takes a tenth of the time of listing all."""
    *path, last = name.split(".")
    owner: Any = model
    for part in path:
        owner = owner._modules.get(part)
        if owner is None:
            return None
    found: Tensor | None = getattr(owner, kind).get(last)
    return found


def rank() -> int:
    """Which of several processes this is; 0 where there is only one.

    Launchers (torchrun, accelerate) say it in the environment before the processes know each other.
    """
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    told = os.environ.get("RANK", "")
    return int(told) if told.isdecimal() else 0
