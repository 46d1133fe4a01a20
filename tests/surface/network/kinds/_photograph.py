"""All that can be seen of a user's model and of the process around it, to compare before and after, bit for bit."""

from __future__ import annotations

import random
import types
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def photograph(model: Any) -> dict[str, Any]:
    """Everything about a model and about global settings that a reader of its loss has to leave alone.

    Parameters, buffers, gradients, flags, modes, hooks, attributes with the containers, tensors and generators in them,
    the global random states, and torch's settings. Values are bits; what is neither a number, a tensor nor a container is
    held by its identity.
    """
    found: dict[str, Any] = {"around": around()}
    if not isinstance(model, nn.Module):
        return found
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, torch.jit.ScriptModule):
            tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            found[name] = [(key, seen(value, {})) for key, value in tensors] + [module.training]
        else:
            found[name] = (id(module), {key: seen(value, {}) for key, value in vars(module).items()})
    return found


def around() -> dict[str, Any]:
    """Random states, settings and global hooks."""
    version, states, *rest = random.getstate()
    return {
        "torch": bits(torch.get_rng_state()),
        "numpy": str(np.random.get_state(legacy=False)),  # noqa: NPY002
        "python": (version, hash(states), rest),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "attention": (
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
        ),
        "hooks": [
            sorted(map(id, getattr(nn.modules.module, key).values()))
            for key in ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
        ],
        "forward": {kind.__name__: id(kind.__dict__["forward"]) for kind in (nn.Linear, nn.Sequential, nn.Conv2d)},
        "functions": (id(torch.tanh), id(torch.nn.functional.linear)),
    }


def seen(value: Any, passed: dict[int, Any]) -> Any:
    """A value as something that can be compared with == after the value itself has changed."""
    if isinstance(value, nn.Module):
        return id(value)
    if isinstance(value, Tensor):
        return tensor(value)
    if id(value) in passed:
        return "seen before"
    if isinstance(value, torch.Generator):
        return (id(value), bits(value.get_state()))
    if isinstance(value, np.random.Generator):
        return (id(value), str(value.bit_generator.state))
    if isinstance(value, random.Random):
        return (id(value), value.getstate())
    if isinstance(value, np.ndarray):
        return (id(value), value.tobytes())
    passed = {**passed, id(value): True}
    if isinstance(value, dict):
        return (id(value), [(seen(key, passed), seen(item, passed)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return (id(value) if isinstance(value, list) else None, [seen(item, passed) for item in value])
    if isinstance(value, set | frozenset):
        return (id(value), sorted(map(repr, value)))
    if isinstance(value, types.SimpleNamespace):
        return (id(value), seen(vars(value), passed))
    if isinstance(value, bool | int | float | complex | str | bytes | type(None)):
        return repr(value)
    return id(value)


def tensor(value: Tensor) -> Any:
    """A tensor: the object, its numbers, and what autograd knows of it."""
    if isinstance(value, nn.parameter.UninitializedTensorMixin) or value.device.type == "meta":
        return (id(value), type(value))
    leaf = value.is_leaf
    gradient = tensor(value.grad) if leaf and value.grad is not None else None
    hooks = sorted(map(id, (value._backward_hooks or {}).values())) if leaf else None
    return (id(value), type(value), bits(value), value.requires_grad, leaf, gradient, hooks)


def bits(value: Tensor) -> Any:
    """Type, shape and bytes."""
    value = value.detach()
    if value.is_sparse:
        value = value.to_dense()
    raw = value.cpu().contiguous().reshape(-1).view(torch.uint8) if value.numel() else torch.zeros(0, dtype=torch.uint8)
    return (value.dtype, tuple(value.shape), raw.numpy().tobytes())


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """Where two photographs differ, by path."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = list(dict.fromkeys([*before, *after]))
        return [d for key in keys for d in differences(before.get(key), after.get(key), f"{path}/{key}")]
    if isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        return [d for k, (b, a) in enumerate(zip(before, after, strict=True)) for d in differences(b, a, f"{path}/{k}")]
    return [] if before == after else [path]
