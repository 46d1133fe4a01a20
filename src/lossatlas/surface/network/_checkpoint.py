"""Weights from files: safetensors, or ``.pt`` with ``weights_only=True``. Nothing is ever unpickled."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lossatlas._errors import CheckpointError

_NESTED = ("state_dict", "model_state_dict", "model")


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by name.

    Args:
        path: a ``.safetensors`` file, or a ``.pt``/``.pth``/``.bin`` file of plain weights, either a state dict or
            one under ``state_dict``, ``model_state_dict`` or ``model``.

    Returns:
        Name to tensor, on the CPU.

    Raises:
        CheckpointError: if there is no such file, or it holds something other than plain weights.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"there is no checkpoint file {str(path)!r}; expected a .safetensors or .pt file of weights."
        )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(
                f"{str(path)!r} is not a readable safetensors file ({error}); expected one written by safetensors. "
                "Write it again from the model's state_dict()."
            ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of (pickle protocols) is refused or fits
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        AttributeError,
    ) as error:
        raise CheckpointError(
            f"{str(path)!r} is not plain weights: {_first_line(error)} Expected a state dict of tensors; files "
            "that hold other objects would have to be unpickled, which can run code, and are refused. Save "
            "model.state_dict() with safetensors.torch.save_file instead."
        ) from error
    for key in _NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    if not isinstance(found, dict) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise CheckpointError(
            f"{str(path)!r} holds {type(found).__name__}; expected a state dict, names to tensors, at the top or under "
            f"one of {', '.join(_NESTED)}. Save model.state_dict()."
        )
    return found


def _first_line(error: Exception) -> str:
    """What is wrong with the file, without torch's advice to unpickle it all the same."""
    held = re.search(r"GLOBAL (\S+)", str(error))
    if held:
        return f"it holds {held.group(1)}."
    if isinstance(error, pickle.UnpicklingError):
        return "it holds something other than tensors."
    lines = str(error).strip().splitlines()
    return lines[0] if lines else f"the file ends early ({type(error).__name__})."


def load_checkpoint(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint file into a model, all keys or none.

    Args:
        model: changed in place.
        path: see `read_checkpoint`.

    Raises:
        CheckpointError: naming the keys that are missing, unexpected or of another shape; the model is then as it was.
    """
    given = read_checkpoint(path)
    own = model.state_dict()
    missing = [k for k in own if k not in given and not _tied_to_given(model, k, given)]
    unexpected = [k for k in given if k not in own]
    shapes = [
        f"{k} (file {tuple(v.shape)}, model {tuple(own[k].shape)})"
        for k, v in given.items()
        if k in own and v.shape != own[k].shape
    ]
    if missing or unexpected or shapes:
        parts = [
            f"{what}: {', '.join(keys[:4])}{f' and {len(keys) - 4} more' if len(keys) > 4 else ''}"
            for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
            if keys
        ]
        raise CheckpointError(
            f"the checkpoint {str(path)!r} does not fit the model {type(model).__name__}: {'; '.join(parts)}. Expected "
            f"the model's own {len(own)} entries. Give the file that was saved from this architecture."
        )
    model.load_state_dict(given, strict=False)


def _tied_to_given(model: nn.Module, key: str, given: dict[str, Tensor]) -> bool:
    """Safetensors files hold tied weights once: the other name counts as present."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return key in parameters and any(
        other in given and parameters[other] is parameters[key] for other in parameters if other != key
    )
