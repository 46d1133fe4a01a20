"""Which files hold the weights that a path stands for: the file itself, or what a trainer wrote into a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from lossatlas._errors import CheckpointError

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
# The names that trainers give to weights, the first of which is taken where several are there.
NAMED = (
    "model.safetensors",
    "pytorch_model.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model_fsdp.bin",
    "consolidated.safetensors",
    "consolidated.00.pth",
)
# What trainers write beside them: states of optimizers, schedules and random numbers.
_BESIDE = (
    "optim",
    "sched",
    "scaler",
    "rng_state",
    "random_state",
    "training_args",
    "trainer_state",
    "sampler",
    "dl_state",
)
_NESTED = ("checkpoints", "pytorch_model_fsdp_0")


@final
@dataclass(frozen=True)
class Place:
    """Where weights lie.

    Attributes:
        given: the path as it was typed.
        files: one file, or all of a sharded checkpoint.
        index: for each name in which of them it is; None where there is one file.
        key: which part of the file was chosen by ``file::key``; empty for none.
        adapter: whether these are adapters, which hold a part of a model by design.
    """

    given: str
    files: tuple[Path, ...]
    index: dict[str, Path] | None = None
    key: str = ""
    adapter: bool = False


def place(given: str | Path) -> Place:
    """The files that a path stands for.

    Args:
        given: a file, a folder, or either followed by ``::`` and the part of it that is meant.

    Raises:
        CheckpointError: if there are none, or several.
    """
    text = str(given)
    path, key = Path(text), ""
    if not _exists(path, text) and "::" in text:
        head, _, key = text.rpartition("::")
        path = Path(head)
        _exists(path, text)
    if not _exists(path, text) and text.startswith("~"):
        path = path.expanduser()
    if not _exists(path, text):
        if path.is_symlink():
            raise CheckpointError(
                f"the checkpoint {text!r} is a link to {str(path.readlink())!r}, which does not exist; expected a file or "
                "folder of weights. Give the file itself, or repair the link."
            )
        raise CheckpointError(
            f"there is no checkpoint file {text!r}; expected a .safetensors or .pt file of weights, or the folder that a "
            "trainer wrote it into."
        )
    if path.is_dir():
        return _in_folder(path, text, key)
    if not path.is_file():
        raise CheckpointError(f"the checkpoint {text!r} is neither a file nor a folder; expected a file of weights.")
    if path.name.endswith(".index.json"):
        return _sharded(path, text, key)
    return Place(text, (path,), None, key, path.stem == "adapter_model")


def holds_weights(folder: Path) -> bool:
    """Whether a folder holds one checkpoint, by its names alone."""
    try:
        place(folder)
    except CheckpointError:
        return False
    return True


def named_as_weights(path: Path) -> bool:
    """Whether a file is named like weights, and not like the state of an optimizer or of what else lies beside them."""
    return path.suffix in WEIGHTS and not any(word in path.name for word in _BESIDE)


def _exists(path: Path, text: str) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        short = text if len(text) <= 80 else f"{text[:60]}…"
        raise CheckpointError(
            f"the checkpoint {short!r} cannot be looked up: {reason[:1].lower()}{reason[1:]}; expected the path of a file or "
            "folder of weights."
        ) from error


def _in_folder(folder: Path, text: str, key: str) -> Place:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise CheckpointError(
            f"the folder {text!r} cannot be read: {error.strerror}; expected a folder of weights. Change its permissions, or "
            "give a copy."
        ) from error
    indices = [one for one in inside if one.name.endswith(".index.json") and one.is_file()]
    files = {one.name: one for one in inside if one.is_file()}
    found = next((files[name] for name in NAMED if name in files), None)
    if found is not None:
        return Place(text, (found,), None, key, found.stem == "adapter_model")
    if indices:
        chosen = sorted(indices, key=lambda one: ".safetensors." not in one.name)
        if len(indices) == 1 or (".safetensors." in chosen[0].name and ".safetensors." not in chosen[1].name):
            return _sharded(chosen[0], text, key)
        raise _several(text, indices)
    weights = [one for one in files.values() if named_as_weights(one)]
    if len(weights) == 1:
        return Place(text, (weights[0],), None, key)
    if weights:
        raise _several(text, weights)
    if any(one.suffix == ".distcp" for one in inside):
        raise CheckpointError(
            f"the folder {text!r} holds a distributed checkpoint, in pieces of each process; expected one that is put "
            "together. Write it as one file with torch.distributed.checkpoint.format_utils.dcp_to_torch_save, or with "
            "accelerate merge-weights."
        )
    deeper = [one for one in inside if one.is_dir() and (one.name in _NESTED or _is_checkpoint(one))]
    if len(deeper) == 1:
        inner = _in_folder(deeper[0], str(deeper[0]), key)
        return Place(text, inner.files, inner.index, key, inner.adapter)
    if deeper:
        raise _several(text, deeper)
    names = [one.name for one in inside]
    listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    raise CheckpointError(
        f"the folder {text!r} holds no weights ({listed or 'it is empty'}); expected one of {', '.join(NAMED[:3])}, an "
        "index of shards, or one .safetensors, .pt or .ckpt file. Give the file of weights itself."
    )


def _is_checkpoint(folder: Path) -> bool:
    head, _, step = folder.name.rpartition("-")
    return head == "checkpoint" and step.isdigit()


def _several(text: str, found: list[Path]) -> CheckpointError:
    names = [one.name for one in found]
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return CheckpointError(
        f"the folder {text!r} holds several checkpoints: {listed}; expected one. Give the one that is meant, for example "
        f"{str(found[-1])!r}."
    )


def _sharded(index: Path, text: str, key: str) -> Place:
    try:
        content: Any = json.loads(index.read_text(encoding="utf-8"))
        found = content["weight_map"]
        entries = {str(name): str(file) for name, file in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{str(index)!r} is no index of shards ({type(error).__name__}); expected JSON with a 'weight_map' of names to "
            "files, as save_pretrained writes it."
        ) from error
    outside = [file for file in entries.values() if Path(file).name != file or file in ("", ".", "..")]
    if outside:
        raise CheckpointError(
            f"{str(index)!r} names a shard {outside[0]!r} outside its own folder; expected names of files beside it."
        )
    places = {name: index.parent / file for name, file in entries.items()}
    files = tuple(sorted(set(places.values())))
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise CheckpointError(
            f"{text!r} lacks {len(missing)} of the {len(files)} shards that its index {index.name} names: "
            f"{', '.join(missing[:4])}{' …' if len(missing) > 4 else ''}; expected all of them. Copy them beside it."
        )
    return Place(text, files, places, key)
