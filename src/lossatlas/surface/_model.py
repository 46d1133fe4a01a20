"""The user's model as a function of θ: a private copy to run, a layout to flatten by, and the refusals."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas._errors import ModelError
from lossatlas.surface._layout import Block, Layout

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.modules.instancenorm._InstanceNorm,
)
_DROPOUTS = (nn.modules.dropout._DropoutNd, nn.RReLU)


def private_copy(model: nn.Module) -> nn.Module:
    """A deep copy that shares nothing with the user's model; gradients are dropped.

    Raises:
        ModelError: for something that is no module, cannot be copied, or is random while in training mode.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"got a model of type {type(model).__name__}; expected a torch.nn.Module (an instance, not a class)."
        )
    refuse_training_mode(model)
    try:
        mine = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"the model {type(model).__name__} cannot be copied ({error}); expected a module that copy.deepcopy "
            "accepts. Detach tensors kept as attributes before charting."
        ) from error
    for parameter in mine.parameters():
        parameter.grad = None
    return mine


def refuse_training_mode(model: nn.Module) -> None:
    """Refuse layers that are random or depend on the batch as long as they are in training mode.

    Raises:
        ModelError: naming the layers.
    """
    found = []
    for name, module in model.named_modules():
        random = (
            (isinstance(module, _DROPOUTS) and getattr(module, "p", 1.0) > 0)
            or (isinstance(module, nn.MultiheadAttention | nn.RNNBase) and module.dropout > 0)
            or isinstance(module, nn.modules.batchnorm._BatchNorm)
        )
        if module.training and random:
            found.append(f"{name or 'the model'} ({type(module).__name__})")
    if found:
        listed = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        raise ModelError(
            f"the model was given in training mode with layers whose output then depends on chance or on the batch: "
            f"{listed}; expected a model whose loss is a fixed function of its parameters. Call model.eval() first "
            "(on the command line: --eval)."
        )


def layout_of(model: nn.Module) -> Layout:
    """The trainable parameters in order, tied ones once; frozen ones stay constants of the surface.

    Raises:
        ModelError: if there are no trainable parameters, or they are not real floating-point numbers on one device.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    owners = {
        f"{prefix}.{name}" if prefix else name: module
        for prefix, module in model.named_modules(remove_duplicate=False)
        for name, _ in module.named_parameters(recurse=False)
    }
    blocks, offset, kinds, devices = [], 0, set(), set()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        block = Block(
            name,
            tuple(parameter.shape),
            _kind(owners[name], parameter),
            offset,
            tuple(names[id(parameter)][1:]),
        )
        blocks.append(block)
        offset += block.size
        kinds.add(parameter.dtype)
        devices.add(parameter.device)
    if not blocks:
        raise ModelError(
            f"the model {type(model).__name__} has no trainable parameters; expected at least one, since the surface "
            "is a function of them. Parameters with requires_grad=False are held constant: unfreeze some."
        )
    if len(kinds) > 1 or not next(iter(kinds)).is_floating_point or len(devices) > 1:
        raise ModelError(
            f"the trainable parameters are {sorted(map(str, kinds))} on {sorted(map(str, devices))}; expected one "
            "floating-point type on one device. Convert with model.to(dtype=…, device=…)."
        )
    return Layout(tuple(blocks))


def digest(model: nn.Module) -> str:
    """A short SHA-256 of parameters and buffers with their names, for provenance."""
    sha = hashlib.sha256()
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            sha.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]


def bind(model: nn.Module, layout: Layout, theta: Tensor) -> Tensor:
    """Make the private model's trainable parameters views into one flat vector, and return that vector.

    Writing θ into the vector is then all it takes to move the model: one fused copy, no state dict.
    """
    flat = theta.clone()
    parameters: dict[str, Any] = dict(model.named_parameters())
    for block in layout.blocks:
        parameters[block.name].data = flat[block.span].view(block.shape)
    return flat


def batch_size(model: nn.Module, device: torch.device) -> int | None:
    """Examples per forward for tensors and datasets, or None to go by the size of the input.

    Activations of convolutions are many times their input: on a CPU small batches keep them in its caches, which
    measured several times faster than one pass over all data.
    """
    if device.type == "cpu" and any(isinstance(module, _CONVOLUTIONS + _TRANSPOSED) for module in model.modules()):
        return 128
    return None


def _kind(owner: nn.Module, parameter: Tensor) -> str:
    if isinstance(owner, _NORMS):
        return "norm"
    if parameter.ndim <= 1:
        return "bias"
    if isinstance(owner, nn.Linear):
        return "linear"
    if isinstance(owner, _CONVOLUTIONS):
        return "conv"
    if isinstance(owner, _TRANSPOSED):
        return "conv-transpose"
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    return "other"
