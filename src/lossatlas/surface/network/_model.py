"""The user's model as a function of θ: a private copy to run, a layout to flatten by, and the refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas._errors import ModelError
from lossatlas._layout import Block, Layout, listed
from lossatlas._said import several
from lossatlas.surface import _bits, _code
from lossatlas.surface.network._data import Batch, untouched_randomness
from lossatlas.surface.network._objective import Objective
from lossatlas.surface.network._user_code import in_user_code

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


def refuse_what_is_none(model: Any, *, batchnorm_too: bool = True) -> None:
    """Refuse what is no module, or is random or dependent on the batch while in training mode.

    Args:
        model: the user's.
        batchnorm_too: whether batch norm in training mode is refused as well.

    Raises:
        ModelError: saying what was given.
    """
    if not isinstance(model, nn.Module):
        given = f"the class {model.__name__}" if isinstance(model, type) else f"a model of type {type(model).__name__}"
        raise ModelError(f"got {given}; expected a torch.nn.Module (an instance, not a class).")
    refuse_training_mode(model, batchnorm_too=batchnorm_too)


def beside(model: nn.Module, read: Iterable[nn.Module]) -> list[nn.Module]:
    """Of the modules that a loss reads those that are no part of the model, each once and without its parts."""
    own = {id(part) for part in model.modules()}
    found = [one for one in read if id(one) not in own]
    parts = {id(part) for one in found for part in one.modules() if part is not one}
    return [one for one in found if id(one) not in parts]


def constants_of(model: nn.Module, modules: Sequence[nn.Module]) -> list[str]:
    """A sentence for trainable parameters that are no part of the model, which are no coordinates of its surface."""
    own = {id(p) for p in model.parameters()}
    found = {
        id(p): (f"{type(one).__name__}.{name}", p.numel())
        for one in modules
        for name, p in one.named_parameters()
        if p.requires_grad and id(p) not in own
    }
    if not found:
        return []
    count = sum(size for _, size in found.values())
    names = ", ".join(name for name, _ in list(found.values())[:3]) + ", …" * (len(found) > 3)
    return [
        f"the loss reads {several(count, 'trainable parameter')} that {'are' if count > 1 else 'is'} no part of the model "
        f"({names}) and held fixed here: for a surface over {'these' if count > 1 else 'it'} too, hold both in one module"
    ]


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
            f"the model was given in training mode with layers whose output then depends on random numbers or on the batch: "
            f"{listed}; expected a model whose loss is a fixed function of its parameters. Call model.eval() first "
            "(on the command line: --eval)."
        )


def layout_of(model: nn.Module, *, offloaded: bool = False) -> Layout:
    """The trainable parameters in order, tied ones once; frozen ones stay constants of the surface.

    Args:
        model: the user's.
        offloaded: whether parameters may be on the meta device, their numbers kept elsewhere.

    Raises:
        ModelError: if there are no trainable parameters, or they are not real floating-point numbers on one device.
    """
    names = _shared(model)
    owners = {
        f"{prefix}.{name}" if prefix else name: module
        for prefix, module in model.named_modules(remove_duplicate=False)
        for name, _ in module.named_parameters(recurse=False)
    }
    parents = dict(model.named_modules(remove_duplicate=False))
    blocks: list[Block] = []
    frozen: list[Block] = []
    offset = 0
    for name, parameter in model.named_parameters():
        if name not in names:
            continue
        owner = owners[name]
        kind = _kind(name, owner, parameter, parents)
        shape, aliases = tuple(parameter.shape), tuple(names[name])
        groups = getattr(_weighed(name, owner, parents), "groups", 1) if kind.startswith("conv") else 1
        parts = _parts(name, owner, parameter) if kind == "fused" else 1
        if not parameter.requires_grad:
            frozen.append(Block(name, shape, kind, -1, aliases, groups, parts))
            continue
        _refuse_type(name, parameter, offloaded)
        blocks.append(Block(name, shape, kind, offset, aliases, groups, parts))
        offset += blocks[-1].size
    if not offset:
        raise ModelError(
            f"the model {type(model).__name__} has no trainable parameters; expected at least one, since the surface "
            f"is a function of them. {_why_none(model, bool(frozen))}"
        )
    return Layout(tuple(blocks), frozen=tuple(frozen))


def flat(model: nn.Module, layout: Layout) -> Tensor:
    """The model's own θ (N,): a copy, in the widest type of its trainable parameters, on the device of the first."""
    named = dict(model.named_parameters(remove_duplicate=False))
    own = [named[block.name] for block in layout.blocks]
    dtype = own[0].dtype
    for parameter in own:
        dtype = torch.promote_types(dtype, parameter.dtype)
    theta = torch.empty(layout.dimension, dtype=dtype, device=own[0].device)
    for block, parameter in zip(layout.blocks, own, strict=True):
        theta[block.span].view(block.shape).copy_(parameter.detach())
    return theta


def device_of(model: nn.Module) -> torch.device:
    """Where a model's data go: to its first parameter."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def run_lazy(model: nn.Module, objective: Objective, batch: Batch) -> tuple[str, ...]:
    """Run a model with lazy modules once, so that their parameters have shapes; a sentence that says so, if it was done."""
    lazy = [n for n, p in model.named_parameters() if isinstance(p, nn.parameter.UninitializedParameter)]
    if not lazy:
        return ()
    with (
        untouched_randomness(device_of(model)),
        torch.no_grad(),
        in_user_code(batch, 0, 1, "to give its lazy modules shapes"),
    ):
        objective(model, batch.fresh(True))
    return (f"the model was run once on the first batch, which gave its lazy parameters ({listed(lazy)}) their shapes",)


def uniform(model: nn.Module, layout: Layout) -> bool:
    """Whether all trainable parameters are of one type on one device, so that they can be views into one vector."""
    named = dict(model.named_parameters(remove_duplicate=False))
    return len({(named[block.name].dtype, named[block.name].device) for block in layout.blocks}) == 1


def _shared(model: nn.Module) -> dict[str, list[str]]:
    """The first name of each parameter, with further names of the same numbers: the same object, or the same memory."""
    places: dict[Any, str] = {}
    spans: dict[int, list[tuple[str, Tensor]]] = {}
    found: dict[str, list[str]] = {}
    trained: dict[str, bool] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        if isinstance(p, nn.parameter.UninitializedParameter):
            raise ModelError(
                f"the parameter {name!r} of {type(model).__name__} has no shape yet; expected a lazy module that has been "
                "run once. Run the model on one batch first."
            )
        plain = p.layout is torch.strided and not p.is_meta and p.numel() > 0
        place = (p.data_ptr(), p.shape, p.stride(), p.dtype, p.device) if plain else id(p)
        if place in places:
            if trained[places[place]] != p.requires_grad:
                raise ModelError(
                    f"the parameters {places[place]!r} and {name!r} share their numbers, and only one of them is frozen; "
                    "expected both trainable or both frozen. Set requires_grad alike."
                )
            found[places[place]].append(name)
            continue
        places[place], found[name], trained[name] = name, [], p.requires_grad
        if plain and p.requires_grad:
            storage = spans.setdefault(p.untyped_storage().data_ptr(), [])
            over = next((other for other, q in storage if _overlap(p, q)), None)
            if over is not None:
                raise ModelError(
                    f"the parameters {over!r} and {name!r} share some of their numbers, but not as one and the same tensor; "
                    "expected parameters that are the same or apart. Give each memory of its own, for example "
                    "p.data = p.data.clone()."
                )
            storage.append((name, p))
    return found


def _overlap(p: Tensor, q: Tensor) -> bool:
    """Whether two parameters in one memory have a number in common."""

    def ends(t: Tensor) -> tuple[int, int]:
        begin = int(t.storage_offset())
        return begin, begin + int(sum((n - 1) * step for n, step in zip(t.shape, t.stride(), strict=True))) + 1

    (low, high), (begin, end) = ends(p), ends(q)
    if begin >= high or low >= end:
        return False
    places = torch.arange(max(high, end) - min(low, begin))
    one, two = (
        places.as_strided(t.shape, t.stride(), t.storage_offset() - min(low, begin)).reshape(-1) for t in (p, q)
    )
    return bool(torch.isin(one, two).any())


def _refuse_type(name: str, parameter: Tensor, offloaded: bool) -> None:
    if parameter.is_meta and not offloaded:
        raise ModelError(
            f"the parameter {name!r} is on the meta device and has no numbers; expected a model with weights. Load them "
            "first, or count its parameters with `lossatlas dimension`."
        )
    if not parameter.is_floating_point() or parameter.layout is not torch.strided:
        kind = str(parameter.dtype).removeprefix("torch.")
        raise ModelError(
            f"the parameter {name!r} is of type {kind} ({parameter.layout}); expected real floating-point numbers, since "
            "θ is a real vector. Hold complex weights as pairs of real ones, for example with torch.view_as_real."
        )


def _why_none(model: nn.Module, frozen: bool) -> str:
    if frozen:
        return "All its parameters have requires_grad=False and are held constant: unfreeze some."
    if any("quantized" in type(module).__module__ for module in model.modules()):
        return "Its quantized layers hold packed integers: chart the model before it is converted."
    return "Give a model with parameters."


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
