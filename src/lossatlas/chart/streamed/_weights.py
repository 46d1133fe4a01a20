"""The parameters of a streamed model: which modules need them moved, and the moved ones, a module at a time."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from lossatlas._errors import ModelError
from lossatlas._layout import Block
from lossatlas.chart.streamed._passes import Pass, Point, Unit
from lossatlas.chart.streamed._pieces import CHUNK, Pieces, Stored, chunks, moved_to
from lossatlas.surface import Frame, Moving, tensor_digest

# Pieces of a large model by which the rounding of its steps is told.
PIECES = 8


class Weights:
    """What moves, and how.

    Args:
        model: the user's; it is only read.
        blocks: of its trainable parameters.
        pieces: their directions.

    Attributes:
        moved: the blocks that move, by name.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[Block], pieces: Pieces | Stored) -> None:
        self.model, self.pieces = model, pieces
        self.blocks = {name: block for block in blocks for name in (block.name, *block.aliases)}
        self.moved = {block.name: block for block in blocks if pieces.moved(block)}

    def held(self, name: str) -> Tensor:
        """A parameter as its module holds it: on the meta device where accelerate keeps the numbers elsewhere."""
        prefix, _, attribute = name.rpartition(".")
        found = self.model.get_submodule(prefix)._parameters[attribute]
        assert found is not None
        return found.detach()

    def own(self, name: str) -> Tensor:
        """The numbers of a parameter, from the disk or the CPU where accelerate keeps them there.

        Raises:
            ModelError: if it has none.
        """
        held = self.held(name)
        if not held.is_meta:
            return held
        prefix, _, attribute = name.rpartition(".")
        stored = getattr(getattr(self.model.get_submodule(prefix), "_hf_hook", None), "weights_map", None)
        if stored is None:
            raise ModelError(
                f"the parameter {name!r} is on the meta device and has no numbers; expected a model with weights."
            )
        found: Tensor = stored[attribute]
        return found

    def without_numbers(self) -> str:
        """The first parameter that moves and whose numbers are nowhere; empty where all have some."""
        for name in self.moved:
            prefix, _, _ = name.rpartition(".")
            hook = getattr(self.model.get_submodule(prefix), "_hf_hook", None)
            if self.held(name).is_meta and getattr(hook, "weights_map", None) is None:
                return name
        return ""

    def bytes(self) -> dict[str, int]:
        """Of all parameters and buffers by the device that holds them."""
        found: dict[str, int] = {}
        for one in itertools.chain(self.model.parameters(), self.model.buffers()):
            found[str(one.device)] = found.get(str(one.device), 0) + one.numel() * one.element_size()
        return found

    def coarsest(self) -> torch.dtype:
        """The type with the widest spacing of numbers among what moves."""
        return max((self.held(name).dtype for name in self.moved), key=lambda kind: torch.finfo(kind).eps)

    def some(self, frame: Frame, most: int) -> list[Moving]:
        """About so many entries of a few pieces: all pieces of a small model, else some, evenly spaced.

        Args:
            frame: in the coordinates of the surface.
            most: entries.
        """
        pieces = [
            (block, *rows)
            for block in self.moved.values()
            for rows in (chunks(block) if self.pieces.by_rows(block) else [(0, block.shape[0] if block.shape else 1)])
        ]
        sizes = [math.prod(block.shape[1:]) * (end - begin) for block, begin, end in pieces]
        ends, count = list(itertools.accumulate(sizes)), len(pieces)
        if count > PIECES:
            # Each stands for as many parameters, so that as many entries of each are taken.
            places = ((2 * k + 1) * ends[-1] // (2 * PIECES) for k in range(PIECES))
            chosen = [bisect.bisect_right(ends, place) for place in places]
            strides = [max(1, sizes[k] * PIECES // most) for k in chosen]
        else:
            chosen, strides = list(range(count)), [max(1, ends[-1] // most)] * count
        along, found = frame.directions.double(), []
        for k, stride in zip(chosen, strides, strict=True):
            block, begin, end = pieces[k]
            own = self.own(block.name)
            part = own[begin:end] if block.shape else own
            by_rows = self.pieces.by_rows(block)
            made = self.pieces.some(block, part, begin, end) if by_rows else self.pieces.made(block, own)
            rows = torch.stack([one.reshape(-1)[::stride].double().cpu() for one in made])
            origin = part.reshape(-1)[::stride].double().cpu() + frame.origin.double() @ rows
            found.append(Moving(origin, along @ rows, own.dtype))
        return found

    def units(self) -> list[Unit]:
        """One for every module that holds moved parameters itself."""
        units = []
        for prefix, module in self.model.named_modules():
            entries = []
            for attribute, parameter in module._parameters.items():
                block = self.blocks.get(f"{prefix}.{attribute}" if prefix else attribute)
                if parameter is not None and block is not None and block.name in self.moved:
                    entries.append((module, attribute, block.name))
            if entries:
                units.append(Unit(module, entries, self._by_rows(module, entries)))
        return units

    def promoted(self, units: Sequence[Unit], names: Collection[str]) -> list[Unit]:
        """Units in which parameters that are read outside of their module belong to the module around it.

        Raises:
            ModelError: if they are read outside of the whole model.
        """
        around = {id(child): module for module in self.model.modules() for child in module.children()}
        found: dict[int, Unit] = {}
        for unit in units:
            for entry in unit.entries:
                module = unit.module
                if entry[2] in names:
                    if module is self.model:
                        raise ModelError(
                            f"the parameter {entry[2]!r} is read outside of the model's forward; expected a loss of the model's output "
                            "alone. Use NetworkSurface with an objective of (model, batch)."
                        )
                    module = around[id(module)]
                found.setdefault(id(module), Unit(module)).entries.append(entry)
        for unit in found.values():
            unit.by_rows = self._by_rows(unit.module, unit.entries)
        return list(found.values())

    def of(self, unit: Unit) -> Callable[[Point], list[Tensor]]:
        """A function of the point: moved parameters of a unit in the order of its entries, where its module computes."""
        own = [self.own(name) for _, _, name in unit.entries]
        made = [self.pieces.made(self.moved[name], one) for (_, _, name), one in zip(unit.entries, own, strict=True)]
        place = getattr(getattr(unit.module, "_hf_hook", None), "execution_device", None)

        def at(point: Point) -> list[Tensor]:
            return [moved_to(one, drawn, point).to(place or one.device) for one, drawn in zip(own, made, strict=True)]

        return at

    def rows(
        self, unit: Unit, group: Sequence[Pass], wanted: Callable[[int, int], bool] = lambda begin, end: True
    ) -> Iterator[tuple[int, int, int, Tensor]]:
        """Rows of a large weight at the points of several passes: (begin, end, number of the pass, rows)."""
        name = next(name for _, attribute, name in unit.entries if attribute == "weight")
        own, block = self.own(name), self.moved[name]
        for begin, end in chunks(block):
            if not wanted(begin, end):
                continue
            part = own[begin:end]
            directions = self.pieces.some(block, part, begin, end)
            last, rows = None, part
            for k, one in enumerate(group):
                if one.point != last:
                    last, rows = one.point, moved_to(part, directions, one.point)
                yield begin, end, k, rows

    def bias(self, unit: Unit) -> Callable[[Point], Tensor | None]:
        """The bias of a large layer at a point, or None where it has none."""
        own = unit.module._parameters.get("bias")
        name = next((name for _, attribute, name in unit.entries if attribute == "bias"), None)
        if own is None or name is None:
            return lambda point: None if own is None else own.detach()
        directions = self.pieces.made(self.moved[name], own.detach())
        return lambda point: moved_to(own, directions, point)

    def largest(self, units: Sequence[Unit], axes: int) -> int:
        """Bytes of the directions and weights that are there at a time, in float32."""
        sizes = [sum(self.moved[name].size for _, _, name in unit.entries) for unit in units]
        cut = [min(size, CHUNK) if unit.by_rows else size for unit, size in zip(units, sizes, strict=True)]
        return 4 * (axes + 2) * max(cut)

    def digest(self) -> str:
        """Of all trainable parameters; every tensor is read once."""
        sha = hashlib.sha256()
        for name, block in self.blocks.items():
            if name == block.name:
                own = self.own(name)
                sha.update(f"{name} {tuple(own.shape)} {own.dtype} {tensor_digest(own)}".encode())
        return sha.hexdigest()[:16]

    def _by_rows(self, module: nn.Module, entries: Sequence[tuple[nn.Module, str, str]]) -> str:
        """Whether a module's weight is made some rows at a time: ``embedding``, ``linear``, or empty."""
        names = {attribute: name for holder, attribute, name in entries if holder is module}
        if "weight" not in names or len(names) != len(entries) or set(names) - {"weight", "bias"}:
            return ""
        block = self.moved[names["weight"]]
        # A forward of the module's own, or hooks that load its weights, must be left to run.
        plain = not hasattr(module, "_hf_hook") and "forward" not in vars(module)
        if not plain or block.size <= CHUNK or not self.pieces.by_rows(block):
            return ""
        if type(module) is nn.Embedding and module.max_norm is None:
            return "embedding"
        return "linear" if type(module) is nn.Linear else ""
