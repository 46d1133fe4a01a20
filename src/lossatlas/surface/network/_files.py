"""Tensors from files: safetensors, or torch files read with ``weights_only=True``. Nothing is ever unpickled."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lossatlas._errors import CheckpointError
from lossatlas.surface.network._harmless import harmless
from lossatlas.surface.network._places import Place, place

# Where state dicts usually lie; the first of these is meant where several are there and nothing says which.
USUAL = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
_DEPTH = 4


@final
@dataclass(frozen=True)
class Weights:
    """What a checkpoint holds.

    Attributes:
        place: where it lies.
        parts: every mapping of names to tensors in it by the key under which it lies, outermost first; the key of what
            lies at the top is empty.
    """

    place: Place
    parts: dict[str, Mapping[str, Tensor]]

    def only(self) -> Mapping[str, Tensor]:
        """The part that is meant where nothing else says which.

        Raises:
            CheckpointError: if several may be.
        """
        if len(self.parts) == 1:
            return next(iter(self.parts.values()))
        usual = [key for key in USUAL if key in self.parts]
        if usual:
            return self.parts[usual[0]]
        raise self.ambiguous(list(self.parts))

    def ambiguous(self, keys: list[str]) -> CheckpointError:
        """That several parts fit, and how to choose one of them."""
        names = ", ".join(repr(key) if key else "the top" for key in keys[:8]) + (" …" if len(keys) > 8 else "")
        named = next((key for key in keys if key), "model")
        return CheckpointError(
            f"the checkpoint {self.place.given!r} holds several sets of tensors, under {names}; expected one. Say which is "
            f"meant after two colons, for example {f'{self.place.given}::{named}'!r}."
        )


def open_weights(given: str | Path) -> Weights:
    """What a checkpoint holds; tensors of safetensors files are read when they are taken out, one at a time.

    Args:
        given: a file or a folder, as `lossatlas.surface.read_checkpoint` takes them.

    Raises:
        CheckpointError: if there is none, or it holds something other than plain weights.
    """
    found = place(given)
    if all(_is_safetensors(file) for file in found.files):
        parts: dict[str, Mapping[str, Tensor]] = {"": Lazy(found)}
    elif found.index is not None:
        together: dict[str, Tensor] = {}
        for file in found.files:
            together |= _only_top(_torch_file(file), found)
        parts = {"": together}
    else:
        held = _torch_file(found.files[0])
        parts = dict(_parts(held))
        if not parts:
            raise CheckpointError(
                f"the checkpoint {found.given!r} holds {_described(held)}; expected a state dict, names to tensors, at the "
                f"top or under a key such as {', '.join(USUAL[:3])}. Save model.state_dict()."
            )
    if not found.key:
        return Weights(found, parts)
    return Weights(found, {found.key: _chosen(parts, found)})


@final
class Lazy(Mapping[str, Tensor]):
    """Safetensors files read one tensor at a time, so that many checkpoints need not fit into memory together."""

    def __init__(self, where: Place) -> None:
        self._where: dict[str, Any] = {}
        for file in where.files:
            opened = _opened(file)
            for name in opened.keys():  # noqa: SIM118
                if where.index is None or where.index.get(name) == file:
                    self._where[str(name)] = opened
        lost = [name for name in where.index or () if name not in self._where]
        if lost:
            raise CheckpointError(
                f"{where.given!r} lacks {len(lost)} tensors that its index names, among them {lost[0]!r}; expected every one "
                "in the shard it is said to be in. Copy the shards again."
            )

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor, without reading it."""
        return tuple(self._where[name].get_slice(name).get_shape())

    def floating(self, name: str) -> bool:
        """Whether one tensor holds real numbers, without reading it."""
        return str(self._where[name].get_slice(name).get_dtype()).startswith(("F", "BF", "C"))

    def __getitem__(self, name: str) -> Tensor:
        found: Tensor = self._where[name].get_tensor(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def _is_safetensors(file: Path) -> bool:
    """By name; and by content, for a file that was named otherwise."""
    if file.suffix == ".safetensors":
        return True
    try:
        with file.open("rb") as stream:
            head = stream.read(9)
    except OSError:
        return False
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 2**31


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{str(file)!r} is not a readable safetensors file ({error}); expected one written by safetensors. Write it "
            "again from the model's state_dict(): a download or a copy may have been cut short."
        ) from error


def _torch_file(file: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(harmless()):
            warnings.simplefilter("ignore")  # what it warns of (pickle protocols) is refused or fits
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch's reader fail in every way there is
        raise CheckpointError(
            f"{str(file)!r} is not plain weights: {_why(file, error)} Expected a state dict of tensors. Save "
            "model.state_dict() with torch.save, or with safetensors.torch.save_file."
        ) from error


def _why(file: Path, error: Exception) -> str:
    """What is wrong with a torch file, without torch's advice to unpickle it all the same."""
    if isinstance(error, OSError):
        return f"it cannot be read ({error.strerror or error})."
    try:
        names = zipfile.ZipFile(file).namelist() if zipfile.is_zipfile(file) else []
    except (OSError, zipfile.BadZipFile):
        names = []
    if any(name.endswith("constants.pkl") for name in names):
        return "it is a TorchScript archive, a program written by torch.jit.save, and programs are not run."
    if any("/models/" in name and name.endswith(".json") for name in names):
        return "it is a program written by torch.export, and programs are not run."
    if any(name.endswith(".npy") for name in names):
        return (
            "it is an archive of NumPy's (numpy.savez); load it there, and pass a dictionary of its arrays as tensors."
        )
    held = re.search(r"(?:GLOBAL [`'\"]?|class [`'\"](?=\w+\.))([A-Za-z_][\w.]*)", str(error))
    if held:
        return (
            f"it holds {held.group(1)}, which is no plain data; it would have to be unpickled, which can run code, and is "
            "refused."
        )
    with file.open("rb") as stream:
        head = stream.read(4)
    if not head:
        return "the file is empty."
    if head[:2] == b"PK" and not names:
        return "the file is damaged or was cut short."
    if "PytorchStreamReader" in str(error) or isinstance(error, EOFError):
        return "the file is damaged or was cut short."
    if not (head[:2] == b"PK" or head[:1] == b"\x80"):
        return "it was not written by torch.save."
    return "it holds something other than tensors, or the file is damaged."


def _parts(held: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Every mapping of names to tensors inside nested dictionaries with names for keys."""
    if not isinstance(held, Mapping) or not all(isinstance(name, str) for name in held):
        return
    tensors = {name: tensor for name, value in held.items() if (tensor := _tensor(value)) is not None}
    # Losses and counters beside the weights are no weights.
    if any(tensor.ndim > 0 for tensor in tensors.values()):
        yield key, tensors
    if depth < _DEPTH:
        for name, value in held.items():
            yield from _parts(value, f"{key}.{name}" if key else name, depth + 1)


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.dtype.itemsize <= 8 and value.ndim > 0:
        return torch.from_numpy(np.ascontiguousarray(value))
    return None


def _only_top(held: Any, where: Place) -> Mapping[str, Tensor]:
    found = dict(_parts(held))
    if len(found) != 1:
        raise CheckpointError(
            f"a shard of {where.given!r} holds {_described(held)}; expected names to tensors. Write the shards again."
        )
    return next(iter(found.values()))


def _chosen(parts: dict[str, Mapping[str, Tensor]], where: Place) -> Mapping[str, Tensor]:
    if where.key in parts:
        return parts[where.key]
    prefix = f"{where.key}."
    for tensors in parts.values():
        if any(name.startswith(prefix) for name in tensors):
            return {name[len(prefix) :]: tensors[name] for name in tensors if name.startswith(prefix)}
    keys = ", ".join(repr(key) if key else "the top" for key in list(parts)[:8])
    raise CheckpointError(
        f"the checkpoint {where.given!r} has no part {where.key!r}; expected one of those that hold tensors: {keys}; or a "
        "prefix of their names."
    )


def _described(held: Any) -> str:
    if not isinstance(held, Mapping):
        return f"{type(held).__name__}"
    if not held:
        return "an empty dictionary"
    keys = ", ".join(_key(key) for key in list(held)[:4]) + (" …" if len(held) > 4 else "")
    if any(isinstance(value, Tensor) for value in held.values()) and not all(isinstance(key, str) for key in held):
        return f"a dictionary with keys that are no names ({keys})"
    return f"a dictionary without tensors by name (keys {keys})"


def _key(key: object) -> str:
    return repr(key) if isinstance(key, str | int) else type(key).__name__
