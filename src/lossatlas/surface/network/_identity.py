"""What the code of a network and its loss computes, as digests: weights alone do not make a model."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules import module as torch_modules

from lossatlas.surface._code import Code as Code
from lossatlas.surface._code import code_digest as code_digest
from lossatlas.surface._code import code_with_modules as code_with_modules
from lossatlas.surface._code import read_code as read_code


def model_code_digest(model: nn.Module) -> str:
    """A short SHA-256 of a model's code and settings, without its weights: the digest of `read_model_code`."""
    return read_model_code(model).digest


def read_model_code(model: nn.Module) -> Code:
    """Digest what a model computes beside its weights.

    Covered are its submodules' names and classes, of classes that are not a library's the methods that a forward pass
    can reach, forwards that were replaced, hooks, also those for all modules, and attributes that a forward pass can
    read: settings, activation functions, plain tensors and buffers that are not in the state dict. Parameters and
    buffers of the state dict are left to `_model.digest`; tensors computed from them and attributes that a forward pass
    itself assigns are not seen. Nor is whether modules are in training mode.

    Args:
        model: as it was given; it is not run.

    Returns:
        The digest, and what it does not cover.
    """
    weights: list[Any] = [*model.state_dict(keep_vars=True).values(), *model.parameters()]
    hooks = [*_every_hook("_global_forward_pre_hooks"), *_every_hook("_global_forward_hooks")]
    return read_code((model, hooks), elsewhere=weights)


def _every_hook(name: str) -> list[Any]:
    """Hooks that torch runs for every module."""
    return list(getattr(torch_modules, name, {}).values())
