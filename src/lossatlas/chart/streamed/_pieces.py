"""Directions of one tensor at a time: drawn from (seed, axis, name, chunk) alone, or read from files some rows at a time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import CheckpointError
from lossatlas._layout import Block, listed
from lossatlas.chart.planes._policy import Ignore, Rule, rule
from lossatlas.surface import factor

# Entries drawn from one generator: 4 MB of float32.
CHUNK = 2**20
# Entries that are in float64 at a time: few enough to stay in a core's own memory.
WIDE = 2**15
GENERATOR = 1


def chunks(block: Block) -> Iterator[tuple[int, int]]:
    """Ranges of rows (entries of the first axis) that are made together."""
    count = block.shape[0] if block.shape else 1
    step = max(1, CHUNK // max(1, math.prod(block.shape[1:])))
    return ((begin, min(begin + step, count)) for begin in range(0, count, step))


@dataclass(frozen=True)
class Pieces:
    """Random directions of a model, tensor by tensor.

    Attributes:
        seed: of all of them.
        axes: how many directions.
        normalization: as in ``lossatlas.Plane.random``, one of this project's own.
        ignore: what is not moved, as there.
    """

    seed: int
    axes: int
    normalization: str
    ignore: Ignore | None

    def rule(self, block: Block) -> Rule:
        """What happens to a block."""
        return rule(block, self.normalization, self.ignore)

    def moved(self, block: Block) -> bool:
        """Whether a block moves at all."""
        return self.rule(block).action != "held"

    def by_rows(self, block: Block) -> bool:
        """Whether rows can be made without the others: where no filter spans two rows."""
        how = self.rule(block)
        return how.action in ("held", "drawn") or (
            how.view == block.shape and 0 in how.kept and self.normalization != "layer"
        )

    def draw(self, block: Block, axis: int, begin: int, end: int) -> Tensor:
        """Rows of a direction before they are scaled, float32: standard normal numbers."""
        return torch.randn((end - begin, *block.shape[1:]), generator=self._generator(block, axis, begin))

    def _generator(self, block: Block, axis: int, begin: int) -> torch.Generator:
        key = hashlib.sha256(f"{GENERATOR}/{self.seed}/{axis}/{block.name}/{begin}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)

    def made(self, block: Block, weight: Tensor) -> list[Tensor]:
        """All directions of a whole tensor, float32 on its device; of one without numbers, on the meta device, see `_scaled`."""
        wholes = [torch.empty(block.shape or (1,)) for _ in range(self.axes)]
        # By rows they are scaled as they are drawn, while they are near.
        at_once = bool(block.shape) and self.by_rows(block) and _place(weight).type == "cpu"

        def draw(one: tuple[int, int]) -> None:
            begin, end = one
            rows = [whole[begin:end] for whole in wholes]
            for axis, some in enumerate(rows):
                some.normal_(generator=self._generator(block, axis, begin))
            if at_once:
                for some, scaled in zip(
                    rows, self._scaled(rows, weight[begin:end], self._rows(block, end - begin)), strict=True
                ):
                    if scaled.data_ptr() != some.data_ptr():
                        some.copy_(scaled)

        wanted = list(chunks(block))
        if len(wanted) > 2 and torch.get_num_threads() > 1:
            with ThreadPoolExecutor(min(len(wanted), torch.get_num_threads())) as pool:
                list(pool.map(draw, wanted))
        else:
            for one in wanted:
                draw(one)
        if at_once:
            return wholes
        return self._scaled([one.reshape(block.shape).to(_place(weight)) for one in wholes], weight, self.rule(block))

    def some(self, block: Block, weight: Tensor, begin: int, end: int) -> list[Tensor]:
        """All directions of the rows of one chunk, given their weights; where `by_rows`."""
        drawn = [self.draw(block, axis, begin, end).to(_place(weight)) for axis in range(self.axes)]
        return self._scaled(drawn, weight, self._rows(block, end - begin))

    def _rows(self, block: Block, count: int) -> Rule:
        """What happens to so many rows of a block; where `by_rows`."""
        how = self.rule(block)
        return Rule(how.block, how.action, (count, *how.view[1:]), how.kept, how.unit, how.why)

    def _scaled(self, drawn: list[Tensor], weight: Tensor, how: Rule) -> list[Tensor]:
        """Directions as used. Where the weights have no numbers, each of their norms (each weight, by weights) is taken to be 1."""
        if how.action == "drawn":
            return drawn
        if how.action == "held":
            return [torch.zeros_like(one) for one in drawn]
        if self.normalization == "weight":
            return drawn if weight.is_meta else [one * weight.detach().float() for one in drawn]
        bare = weight.is_meta or self.normalization in ("dfilter", "dlayer")
        wanted: Any = 1.0 if bare else lengths(weight.detach().reshape(how.view), how.summed)
        found = []
        for one in drawn:
            there = one.reshape(how.view)
            sizes = lengths(there, how.summed)
            factors = torch.where(sizes > 0, wanted / sizes, 0.0).float()
            found.append(there.mul_(factors).reshape(one.shape))
        return found


def _place(weight: Tensor) -> torch.device:
    return torch.device("cpu") if weight.is_meta else weight.device


def lengths(there: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Norms over some axes, which stay with length 1: summed in float64, some rows at a time."""
    if not dims:
        return there.abs().double()
    step = max(1, WIDE // max(1, math.prod(there.shape[1:])))
    wide = torch.empty((min(step, len(there)), *there.shape[1:]), dtype=torch.float64, device=there.device)

    def summed(part: Tensor) -> Tensor:
        squares = wide[: len(part)].copy_(part)
        return squares.mul_(squares).sum(dims, keepdim=True)

    parts = (summed(part) for part in torch.split(there, step))
    if 0 not in dims:
        return torch.cat(list(parts)).sqrt()
    total = next(parts)
    for part in parts:
        total = total + part
    return total.sqrt()


class Stored:
    """Directions that files hold: one tensor for each parameter that moves, under its name, or the two factors of an adapter.

    Args:
        files: safetensors files, one for each axis.
        blocks: of the model.

    Raises:
        CheckpointError: for files that cannot be read, that name nothing in the model, or tensors of another shape.
    """

    def __init__(self, files: Sequence[str | Path], blocks: Sequence[Block]) -> None:
        self.files = [_checks.path("files", file) for file in files]
        self.places: list[dict[str, tuple[str, ...]]] = []
        self._open: list[Any] = []
        known = {name: block for block in blocks for name in (block.name, *block.aliases)}
        for file in self.files:
            self._open.append(self._opened(file))
            found: dict[str, tuple[str, ...]] = {}
            for key in sorted(self._open[-1].keys()):
                name = key.removeprefix("base_model.model.")
                factor = name.endswith(".lora_A.weight")
                name = name.removesuffix(".lora_A.weight") + ".weight" if factor else name
                if name in known:
                    found[known[name].name] = (key, key.replace(".lora_A.", ".lora_B.")) if factor else (key,)
            if not found:
                raise CheckpointError(
                    f"the file {str(file)!r} holds none of the model's parameters; expected tensors named as they are, for example "
                    f"{listed(list(known), 2)}, or the lora_A and lora_B of an adapter."
                )
            for name, keys in found.items():
                shape = self._shape(self._open[-1], keys)
                if shape != known[name].shape:
                    raise CheckpointError(
                        f"the direction of {name!r} in {str(file)!r} has shape {shape}; expected {known[name].shape}."
                    )
            self.places.append(found)

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "places": self.places}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _open=[self._opened(file) for file in state["files"]])

    def moved(self, block: Block) -> bool:
        """Whether a block moves at all."""
        return any(block.name in places for places in self.places)

    def by_rows(self, block: Block) -> bool:
        """Whether rows can be made without the others."""
        return len(block.shape) == 2

    def made(self, block: Block, weight: Tensor) -> list[Tensor]:
        """All directions of a whole tensor, float32 on its device."""
        return self.some(block, weight, 0, block.shape[0] if block.shape else 1)

    def some(self, block: Block, weight: Tensor, begin: int, end: int) -> list[Tensor]:
        """All directions of some rows."""
        found = []
        for file, places in zip(self._open, self.places, strict=True):
            keys = places.get(block.name)
            if keys is None:
                found.append(torch.zeros(weight.shape, device=weight.device))
            elif len(keys) == 2:
                second = file.get_slice(keys[1])[begin:end].float()
                found.append((second @ file.get_tensor(keys[0]).float()).to(weight.device))
            elif block.shape:
                found.append(file.get_slice(keys[0])[begin:end].float().to(weight.device))
            else:
                found.append(file.get_tensor(keys[0]).float().to(weight.device))
        return found

    def record(self) -> list[str]:
        """What identifies the files: digests of their bytes."""
        told = []
        for file in self.files:
            with file.open("rb") as stream:
                told.append(hashlib.file_digest(stream, "sha256").hexdigest()[:16])
        return told

    @staticmethod
    def _opened(file: Path) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(file, framework="pt")
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"cannot read {str(file)!r} as safetensors ({error}); expected one file per direction."
            ) from error

    @staticmethod
    def _shape(file: Any, keys: tuple[str, ...]) -> tuple[int, ...]:
        shapes = [tuple(file.get_slice(key).get_shape()) for key in keys]
        return shapes[0] if len(keys) == 1 else (shapes[1][0], shapes[0][1])


def moved_to(weight: Tensor, directions: list[Tensor], point: tuple[float, ...]) -> Tensor:
    """w₀ + Σ cₖ dₖ: summed in float32 (float64 for weights of that type), rounded once to the type of the weights."""
    weight, kind = weight.detach(), torch.float64 if weight.dtype == torch.float64 else torch.float32
    if weight.device.type != "cpu" or not weight.is_contiguous():
        return _summed(weight.to(kind, copy=True), directions, point).to(weight.dtype)
    # Some entries at a time, which stay near until they are rounded.
    moved = torch.empty_like(weight)
    own, there = weight.reshape(-1), moved.reshape(-1)
    rows = [one.reshape(-1) for one in directions]
    wide = None if weight.dtype == kind else torch.empty(min(WIDE, len(own)), dtype=kind)
    for begin in range(0, len(own), WIDE):
        end = min(begin + WIDE, len(own))
        total = there[begin:end] if wide is None else wide[: end - begin]
        _summed(total.copy_(own[begin:end]), [row[begin:end] for row in rows], point)
        if wide is not None:
            there[begin:end] = total
    return moved


def _summed(total: Tensor, directions: Sequence[Tensor], point: tuple[float, ...]) -> Tensor:
    """Steps along directions, added to a tensor."""
    for coordinate, direction in zip(point, directions, strict=True):
        total.add_(direction.to(total.dtype), alpha=factor(coordinate, total.dtype))
    return total
