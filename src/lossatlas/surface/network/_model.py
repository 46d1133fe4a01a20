"""The user's model as a function of θ: a private copy to run, a layout to flatten by, and the refusals."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas._errors import ModelError
from lossatlas.surface import _bits, _code
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
# How many weights of equal size recurrent layers hold in one tensor.
_GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1, nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1}


def private_copy(model: nn.Module, *, batchnorm_too: bool = True) -> nn.Module:
    """A deep copy that shares nothing with the user's model; gradients are dropped.

    Args:
        model: the user's.
        batchnorm_too: whether batch norm in training mode is refused as well.

    Raises:
        ModelError: for something that is no module, cannot be copied, or is random while in training mode.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"got a model of type {type(model).__name__}; expected a torch.nn.Module (an instance, not a class)."
        )
    refuse_training_mode(model, batchnorm_too=batchnorm_too)
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


def refuse_training_mode(model: nn.Module, *, batchnorm_too: bool = True) -> None:
    """Refuse layers that are random or depend on the batch as long as they are in training mode.

    Args:
        model: the user's.
        batchnorm_too: whether batch norm is among them.

    Raises:
        ModelError: naming the layers.
    """
    found = []
    for name, module in model.named_modules():
        random = (
            (isinstance(module, _DROPOUTS) and getattr(module, "p", 1.0) > 0)
            or (isinstance(module, nn.MultiheadAttention | nn.RNNBase) and module.dropout > 0)
            or (batchnorm_too and isinstance(module, nn.modules.batchnorm._BatchNorm))
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
    parents = dict(model.named_modules(remove_duplicate=False))
    blocks, frozen, offset, kinds, devices = [], [], 0, set(), set()
    for name, parameter in model.named_parameters():
        owner = owners[name]
        kind = _kind(name, owner, parameter, parents)
        shape, aliases = tuple(parameter.shape), tuple(names[id(parameter)][1:])
        groups = getattr(_weighed(name, owner, parents), "groups", 1) if kind.startswith("conv") else 1
        parts = _parts(name, owner, parameter) if kind == "fused" else 1
        if not parameter.requires_grad:
            frozen.append(Block(name, shape, kind, -1, aliases, groups, parts))
            continue
        blocks.append(Block(name, shape, kind, offset, aliases, groups, parts))
        offset += blocks[-1].size
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
    return Layout(tuple(blocks), frozen=tuple(frozen))


def digest(model: nn.Module) -> str:
    """A short SHA-256 of parameters and buffers with their names, for provenance.

    Tensors are read where they lie, piece by piece: on any device, sparse and quantized ones as well, without a copy of
    the model. What else a state dict holds (extra states) is digested as plain values.
    """
    sha = hashlib.sha256()
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            sha.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            _bits.feed(sha, value)
        elif value is not None:
            sha.update(f"{name}{_code.code_digest(value).rpartition(':')[2]}".encode())
    return sha.hexdigest()[:16]


def bind(model: nn.Module, layout: Layout, theta: Tensor) -> Tensor:
    """Make the private model's trainable parameters views into one flat vector, and return that vector.

    Writing θ into the vector is then all it takes to move the model: one fused copy, no state dict.
    """
    flat = theta.clone()
    attach(model, layout, flat)
    return flat


def attach(model: nn.Module, layout: Layout, flat: Tensor) -> None:
    """Make parameters, and running statistics where the layout has any, views into a flat vector there is already."""
    tensors: dict[str, Any] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for block in layout.blocks:
        tensors[block.name].data = flat[block.span].view(block.shape)


def batch_size(model: nn.Module, device: torch.device) -> int | None:
    """Examples per forward for tensors and datasets, or None to go by the size of the input.

    Activations of convolutions are many times their input: on a CPU small batches keep them in its caches, which
    measured several times faster than one pass over all data.
    """
    if device.type == "cpu" and any(isinstance(module, _CONVOLUTIONS + _TRANSPOSED) for module in model.modules()):
        return 128
    return None


def _kind(name: str, owner: nn.Module, parameter: Tensor, parents: dict[str, nn.Module]) -> str:
    if isinstance(owner, _NORMS) or _is_gain_of_weight_norm(name, owner):
        return "norm"
    if parameter.ndim == 0:
        return "scalar"
    if parameter.ndim == 1:
        return "bias" if "bias" in name.rpartition(".")[2] else "gain"
    weighed = _weighed(name, owner, parents)
    if _parts(name, owner, parameter) > 1:
        return "fused"
    if isinstance(weighed, nn.Linear | nn.RNNBase | nn.RNNCellBase):
        return "linear"
    if any(kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers") for kind in type(weighed).__mro__):
        return "linear-transposed"
    if isinstance(weighed, _CONVOLUTIONS):
        return "conv"
    if isinstance(weighed, _TRANSPOSED):
        return "conv-transpose"
    if isinstance(weighed, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if isinstance(weighed, nn.MultiheadAttention) and parameter.ndim == 2:
        return "linear"
    return "token" if parameter.ndim > 2 and parameter.shape[0] == 1 else "other"


def _weighed(name: str, owner: nn.Module, parents: dict[str, nn.Module]) -> nn.Module:
    """The layer that a parameter is a weight of: of a parametrized one, the layer and not the parametrization."""
    if isinstance(owner, nn.utils.parametrize.ParametrizationList):
        return parents[name.rpartition(".parametrizations.")[0] if ".parametrizations." in name else ""]
    return owner


def _is_gain_of_weight_norm(name: str, owner: nn.Module) -> bool:
    """Weight norm splits a weight into gain (``original0``) and direction (``original1``)."""
    if not isinstance(owner, nn.utils.parametrize.ParametrizationList) or not name.endswith("original0"):
        return False
    return any(type(part).__name__ == "_WeightNorm" for part in owner)


def _parts(name: str, owner: nn.Module, parameter: Tensor) -> int:
    if parameter.ndim != 2:
        return 1
    last = name.rpartition(".")[2]
    if isinstance(owner, nn.MultiheadAttention):
        return 3 if last == "in_proj_weight" else 1
    if isinstance(owner, nn.RNNBase | nn.RNNCellBase) and last.startswith(("weight_ih", "weight_hh")):
        return next((parts for kind, parts in _GATES.items() if isinstance(owner, kind)), 1)
    return 1
