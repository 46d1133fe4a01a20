"""Weights from files and folders, by whatever names they were saved under. Nothing is ever unpickled or executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from lossatlas._errors import CheckpointError
from lossatlas.surface.network._files import USUAL, Weights, open_weights
from lossatlas.surface.network._names import Expected, Fitted, fit


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, as they are called there.

    Args:
        path: a ``.safetensors`` file, a file of torch.save (a state dict, at the top or under any key, beside plain data),
            or the folder that a trainer wrote it into: Hugging Face's, its shards, Lightning's, adapters. Where a file
            holds several sets of tensors, ``FILE::KEY`` says which.

    Returns:
        Name to tensor, on the CPU.

    Raises:
        CheckpointError: if there is no such file, it holds something other than plain weights, or several sets of them.
    """
    return dict(open_weights(path).only())


def fit_checkpoint(path: str | Path, expected: Expected) -> Fitted:
    """The tensors of a checkpoint under the names of a model; those of safetensors files are read when they are taken out.

    Args:
        path: see `read_checkpoint`.
        expected: of the model.

    Raises:
        CheckpointError: if it cannot be read, or does not fit: see `fit`.
    """
    weights = open_weights(path)
    source = f"the checkpoint {str(path)!r}"
    if len(weights.parts) == 1:
        return fit(next(iter(weights.parts.values())), expected, source, part=weights.place.adapter)
    fitting, refused = _fitting(weights, expected, source)
    if len(fitting) == 1:
        key, found = next(iter(fitting.items()))
        if key in ("", *USUAL):
            return found
        chosen = f"{source}: the weights under {key!r} were taken"
        return Fitted(found.tensors, "; ".join(filter(None, (chosen, found.sentence))))
    if fitting:
        raise weights.ambiguous(list(fitting))
    try:
        meant = weights.only()
    except CheckpointError:
        raise max(refused, key=lambda error: -len(str(error))) from None
    return fit(meant, expected, source, part=weights.place.adapter)


def load_checkpoint(model: nn.Module, path: str | Path) -> str:
    """Load a checkpoint into a model, all that it needs or nothing.

    Args:
        model: changed in place.
        path: see `read_checkpoint`.

    Returns:
        What was done to make the names fit, in one sentence; empty where they were the model's own.

    Raises:
        CheckpointError: naming the keys that are missing, unexpected or of another shape; the model is then as it was.
    """
    found = check_checkpoint(model, path)
    try:
        model.load_state_dict(dict(found.tensors), strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint {str(path)!r} fits {type(model).__name__} by its names and shapes, and the model refused it: "
            f"{str(error).splitlines()[0]} Expected a model that loads a state dict. Check its own load_state_dict."
        ) from error
    return found.sentence


def check_checkpoint(model: nn.Module, path: str | Path) -> Fitted:
    """Whether a checkpoint fits a model, which stays as it is.

    Args:
        model: the module.
        path: see `read_checkpoint`.

    Returns:
        Its tensors under the model's names, and what was done to find them.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    if not isinstance(model, nn.Module):
        raise CheckpointError(
            f"got a {type(model).__name__} to load {str(path)!r} into; expected a torch module. Give the model itself."
        )
    lazy = [name for name, value in model.named_parameters() if nn.parameter.is_lazy(value)]
    if lazy:
        raise CheckpointError(
            f"the model {type(model).__name__} has parameters without a shape, among them {lazy[0]!r}; expected one that was "
            f"run once before {str(path)!r} is loaded. Call it on one batch."
        )
    return fit_checkpoint(path, Expected.of_module(model))


def _fitting(weights: Weights, expected: Expected, source: str) -> tuple[dict[str, Fitted], list[CheckpointError]]:
    """The parts that fit and give different numbers, by their keys; and why others do not."""
    fitting: dict[str, Fitted] = {}
    refused: list[CheckpointError] = []
    for key, tensors in weights.parts.items():
        try:
            found = fit(tensors, expected, f"{source} under {key!r}" if key else source, part=weights.place.adapter)
        except CheckpointError as error:
            refused.append(error)
            continue
        if not any(_equal(found.tensors, other.tensors) for other in fitting.values()):
            fitting[key] = found
    return fitting, refused


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)
