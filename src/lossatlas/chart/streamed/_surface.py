"""`StreamedSurface`: a random plane through a model that is walked module by module, so that nothing of its size is made."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossatlas import _checks
from lossatlas._errors import DataError, InputError, ModelError, NotApplicableError
from lossatlas._layout import Layout, Sample, listed
from lossatlas._said import several
from lossatlas.chart.directions import Direction
from lossatlas.chart.directions._direction import Drawn
from lossatlas.chart.planes._line import Line
from lossatlas.chart.planes._normalize import unit_of
from lossatlas.chart.planes._plane import Plane
from lossatlas.chart.planes._policy import OWN, Ignore, resolved
from lossatlas.chart.streamed._passes import Pass, Point, Touched, Unit, at_the_door, together
from lossatlas.chart.streamed._pieces import CHUNK, GENERATOR, Pieces, Stored, chunks, moved_to
from lossatlas.chart.streamed._tokens import Judged, Running, from_logits, targets_of
from lossatlas.surface import Frame, LossFunction, Reading, Surface, code_digest, layout_of, tensor_digest

# Points that go through the model together.
TOGETHER = 32
# Tokens of a sequence that a proof reads.
FEW = 64
# How far a loss by pieces may lie from the model's own, relative: sums of other block sizes.
ALIKE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}


@final
@dataclass(frozen=True)
class Axis(Direction):
    """One of the directions that a `StreamedSurface` is a slice along."""

    index: int
    label: str
    unit: str

    kind: ClassVar[str] = "streamed"

    def draw(self, surface: Surface, origin: Tensor) -> Drawn:
        """The unit vector of this coordinate."""
        row = torch.zeros(surface.dimension, dtype=torch.float64)
        row[self.index] = 1
        return Drawn(row, self.settings(), self.label, unit=self.unit)


@final
class StreamedSurface(Surface):
    """L on a random line or plane through a large model, in the memory of the model and a few of its tensors.

    L(c) = L(θ₀ + c₁d₁ + c₂d₂) as a function of c. Neither θ₀ nor a direction is ever copied whole: as a forward pass comes to a
    module, the directions of its tensors are drawn from (seed, tensor name), its weights w₀ + c₁d₁ + c₂d₂ are summed in float32 and
    rounded once, used, and dropped. Passes at several points go through the model side by side, so that directions are made once
    for all of them. The passes are the model's own code: any architecture, tensors of several types, on several devices, offloaded by
    accelerate. Large embeddings and last layers are made some rows at a time.

    When it is made, the first batch is run once at the center, which must give the model's own loss, and once away from it under
    the eye of a guard that sees every operation: a parameter whose own numbers are read where moved ones should be is given to
    a larger module, at last to the whole model, and the notes say which.

    Args:
        model: yours, in evaluation mode; it is never written to, and is as it was after every reading.
        loss: ``model`` for the loss that the model returns, ``tokens`` for the cross-entropy of the next token, a mean over tokens, or
            a function of (output, target) for pairs (input, target).
        data: a batch or a list of batches: a dictionary of the model's arguments, or a pair (input, target).
        seed: of the directions. They are not those of ``Plane.random``, whose tensors are drawn from one stream.
        axes: 1 for a line, 2 for a plane.
        normalization: ``filter``, ``layer``, ``weight``, ``dfilter``, ``dlayer`` or ``none``, as there.
        ignore: what is not moved, as there.
        directions: safetensors files that hold the directions instead, one for each axis: tensors named as the parameters, read some
            rows at a time; or LoRA adapters, whose direction is the product BA (through A alone, with B = 0, nothing would move).
        together: points that go through the model side by side.
        name: for titles; the model's class by default.

    Attributes:
        parameters: N, trainable parameters of the model.
        plane: the plane (or line) of its coordinates, for `lossatlas.chart`.
        bytes: memory beside the model and its activations that a reading takes, by arithmetic.

    Raises:
        ModelError: for a model in training mode or without trainable parameters, or one that does not give the same loss twice.
        DataError: for data that are no batches.
        InputError: for settings out of range.

    Source:
        Filter normalization: Li et al. 2018. Directions regenerated from seeds: Malladi et al. 2023, arXiv:2305.17333.

    Example:
        >>> import torch, lossatlas as la
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()
        >>> x, y = torch.randn(20, 4), torch.randint(3, (20,))
        >>> surface = la.StreamedSurface(model, torch.nn.functional.cross_entropy, (x, y))
        >>> made = la.chart(surface, surface.plane, points=5, exact=True, progress=False)
        >>> bool(abs(made.loss[2, 2] - torch.nn.functional.cross_entropy(model(x), y).item()) < 1e-6)
        True
    """

    gradients_known = False
    rows_alone = True

    def __init__(
        self,
        model: nn.Module,
        loss: str | LossFunction,
        data: Any,
        *,
        seed: int = 0,
        axes: int = 2,
        normalization: str = "filter",
        ignore: Ignore | None = None,
        directions: Sequence[str | Path] | None = None,
        together: int = TOGETHER,
        name: str | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ModelError(f"got a model of type {type(model).__name__}; expected a torch.nn.Module.")
        if model.training:
            raise ModelError("got a model in training mode; expected one in evaluation mode. Call model.eval() first.")
        axes = _checks.whole("axes", axes, 1, 2)
        self.together = _checks.whole("together", together)
        if normalization not in OWN:
            raise InputError(f"got normalization={_checks.shown(normalization)}; expected one of {', '.join(OWN)}.")
        resolved(normalization, ignore)
        if not (callable(loss) or loss in ("model", "tokens")):
            raise InputError(
                f"got loss={_checks.shown(loss)}; expected 'model', 'tokens' or a function of (output, target)."
            )
        self.model, self.loss = model, loss
        self.batches = _batches(data, pairs=callable(loss))
        self.blocks = {block.name: block for block in layout_of(model, offloaded=True).blocks}
        self.parameters = sum(block.size for block in self.blocks.values())
        self.pieces: Pieces | Stored = Pieces(_checks.seed(seed), axes, normalization, ignore)
        if directions is not None:
            if isinstance(directions, str | Path) or not 1 <= len(directions) <= 2:
                raise InputError(f"got directions={_checks.shown(directions)}; expected a list of one or two files.")
            self.pieces = Stored(directions, list(self.blocks.values()))
            axes = len(directions)
        said = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        self.name = name or f"{type(model).__name__} with {said}"
        self.layout = Layout.vector(axes)
        self.start = torch.zeros(axes, dtype=torch.float64)
        self.examples = sum(_size(batch) for batch in self.batches)
        self.notes = ()
        self._moved = {name: block for name, block in self.blocks.items() if self.pieces.moved(block)}
        if not self._moved:
            raise InputError(
                f"got ignore={ignore!r}, which holds every parameter of {self.name}; expected some that move."
            )
        self._aliases = {alias: block.name for block in self.blocks.values() for alias in (block.name, *block.aliases)}
        self._fused: nn.Module | None = None
        self._units = self._by_module()
        self._prove()

    @property
    def plane(self) -> Plane | Line:
        """The plane of its coordinates, or the line."""
        if isinstance(self.pieces, Stored):
            axes = [Axis(k, file.name, "lengths of it") for k, file in enumerate(self.pieces.files)]
        else:
            unit, seed = unit_of(self.pieces.normalization), self.pieces.seed
            axes = [Axis(k, f"random direction {k + 1}, seed {seed}", unit) for k in range(self.dimension)]
        return Line(self, *axes) if len(axes) == 1 else Plane(self, *axes)

    @property
    def rounding(self) -> float:
        """Of the coarsest type among the weights that move."""
        return max(torch.finfo(self._own(name).dtype).eps for name in self._moved)

    @property
    def bytes(self) -> int:
        """Directions and weights of the largest piece, in float32; those of units that are one whole model, for every point."""
        largest = 0
        for unit in self._units:
            sizes = [self._moved[self._aliases[name]].size for _, _, name in unit.entries]
            cut = self._cut(unit)
            size = min(sum(sizes), CHUNK) if cut else sum(sizes)
            largest = max(largest, 4 * size * (self.dimension + 2))
        return largest

    def direction(self, name: str) -> list[Tensor]:
        """The directions of one tensor, as they are used: float32, one for each axis.

        Args:
            name: of a parameter.

        Raises:
            InputError: for a name that is not there.
        """
        if name not in self._aliases:
            raise InputError(f"got the name {name!r}; expected one of {listed(list(self.blocks))}.")
        block = self.blocks[self._aliases[name]]
        return self.pieces.made(block, self._own(block.name))

    def read(self, points: Tensor) -> Reading:
        """Losses at coordinates (B, k), and for tokens their perplexity and the share that was predicted."""
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise InputError(f"got points of shape {tuple(points.shape)}; expected (B, {self.dimension}).")
        rows = [tuple(row) for row in points.double().tolist()]
        found: list[Judged] = []
        for begin in range(0, len(rows), self.together):
            some = rows[begin : begin + self.together]
            sums = [Judged() for _ in some]
            for batch in self.batches:
                for total, one in zip(sums, self._passed(batch, some), strict=True):
                    total.add(one)
            found += sums
        count = torch.tensor([max(one.count, 1) for one in found], dtype=torch.float64)
        values = torch.tensor([one.loss for one in found], dtype=torch.float64) / count
        if self.loss != "tokens":
            return Reading(values)
        right = torch.tensor([one.right for one in found], dtype=torch.float64) / count
        return Reading(values, {"perplexity": values.exp(), "token accuracy": right})

    def reader(self, frame: Frame, *, steady: bool = False) -> Callable[[Tensor], Reading]:
        """As `read`; if steady, by one thread, since sums of several depend on their number."""

        def read(coords: Tensor) -> Reading:
            threads = torch.get_num_threads()
            try:
                torch.set_num_threads(1 if steady else threads)
                return self.read(frame.points(coords))
            finally:
                torch.set_num_threads(threads)

        return read

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Not known: a backward pass holds every activation and a gradient of the model's size."""
        raise NotApplicableError(f"{self.name} is streamed and answers losses only; use NetworkSurface for gradients.")

    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """Not known, as gradients."""
        raise NotApplicableError(f"{self.name} is streamed and answers losses only; use NetworkSurface for products.")

    def fingerprint(self) -> dict[str, Any]:
        """Model, data, loss and directions. Of the weights the digest reads every tensor once."""
        if not hasattr(self, "_told"):
            sha = hashlib.sha256()
            for name in self.blocks:
                own = self._own(name)
                sha.update(f"{name} {tuple(own.shape)} {own.dtype} {tensor_digest(own)}".encode())
            data = hashlib.sha256()
            for batch in self.batches:
                for key, value in sorted(
                    (batch if isinstance(batch, dict) else dict(enumerate(batch))).items(), key=str
                ):
                    data.update(f"{key} {tensor_digest(value) if isinstance(value, Tensor) else value}".encode())
            self._told = {
                "surface": self.name, "dimension": self.parameters, "axes": self.dimension, "model": sha.hexdigest()[:16],
                "data": data.hexdigest()[:16], "loss": self.loss if isinstance(self.loss, str) else code_digest(self.loss),
                "directions": self._directions(),
            }  # fmt: skip
        return dict(self._told)

    def _directions(self) -> dict[str, Any]:
        made = self.pieces
        if isinstance(made, Stored):
            return {"files": made.record()}
        ignore = resolved(made.normalization, made.ignore)
        return {"generator": GENERATOR, "seed": made.seed, "normalization": made.normalization, "ignore": ignore}

    def _by_module(self) -> list[Unit]:
        """A unit for every module that holds moved parameters itself."""
        units = []
        for prefix, module in self.model.named_modules():
            entries = []
            for attribute, parameter in module._parameters.items():
                name = self._aliases.get(f"{prefix}.{attribute}" if prefix else attribute)
                if parameter is not None and name in self._moved:
                    entries.append((module, attribute, name))
            if entries:
                units.append(Unit(module, entries))
        return units

    def _own(self, name: str) -> Tensor:
        """The user's own numbers of a parameter, from the disk or the CPU where accelerate keeps them there."""
        prefix, _, attribute = name.rpartition(".")
        module = self.model.get_submodule(prefix)
        own = module._parameters[attribute]
        assert own is not None
        if not own.is_meta:
            return own.detach()
        stored = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
        if stored is None:
            raise ModelError(
                f"the parameter {name!r} is on the meta device and has no numbers; expected a model with weights."
            )
        found: Tensor = stored[attribute]
        return found

    def _cut(self, unit: Unit) -> str:
        """Whether a unit is made some rows at a time: ``embedding``, ``linear``, or empty."""
        module = unit.module
        weights = [name for holder, attribute, name in unit.entries if attribute == "weight" and holder is module]
        if len(weights) != 1 or len(unit.entries) != 1 + ("bias" in [e[1] for e in unit.entries]):
            return ""
        block = self._moved[weights[0]]
        if hasattr(module, "_hf_hook") or block.size <= CHUNK or not self.pieces.by_rows(block):
            return ""
        if type(module) is nn.Embedding and module.max_norm is None:
            return "embedding"
        return "linear" if type(module) is nn.Linear else ""

    def _passed(self, batch: Any, points: Sequence[Point], guard: Touched | None = None) -> list[Judged]:
        """One batch at several points."""
        arguments, target = self._arguments(batch)

        def run() -> Any:
            with guard or contextlib.nullcontext():
                if isinstance(arguments, dict):
                    return self.model(**arguments)
                return self.model(*arguments)

        with self._as_evaluated(), at_the_door(self._units):
            passes = [Pass(point, run) for point in points]
            for one in passes:
                one.kept["batch"] = batch
            together(passes, self._weights, self._answers)
        found = []
        for one in passes:
            found.append(one.kept.get("judged") or self._judged(one.result, target, batch))
            one.result = None
        return found

    def _weights(self, unit: Unit) -> Callable[[Point], list[Tensor]]:
        own = [self._own(name) for _, _, name in unit.entries]
        made = [
            self.pieces.made(self._moved[name], weight) for (_, _, name), weight in zip(unit.entries, own, strict=True)
        ]
        places = [self._device(unit, weight) for weight in own]

        def at(point: Point) -> list[Tensor]:
            return [
                moved_to(weight, directions, point).to(place)
                for weight, directions, place in zip(own, made, places, strict=True)
            ]

        return at

    def _device(self, unit: Unit, own: Tensor) -> torch.device:
        place = getattr(getattr(unit.module, "_hf_hook", None), "execution_device", None)
        return own.device if place is None else torch.device(place)

    def _answers(self, unit: Unit, group: Sequence[Pass]) -> list[Any] | None:
        """What a large embedding or last layer gives at every point, made some rows of its weight at a time."""
        how = self._cut(unit)
        if not how:
            return None
        inputs = [one.given[0][0] if one.given[0] else next(iter(one.given[1].values())) for one in group]
        name = next(name for _, attribute, name in unit.entries if attribute == "weight")
        weight: Any = unit.module.weight
        bias: Any = getattr(unit.module, "bias", None)
        offsets = None
        if bias is not None:
            moved = next((name for _, attribute, name in unit.entries if attribute == "bias"), None)
            directions = [] if moved is None else self.pieces.made(self._moved[moved], bias.detach())
            offsets = [bias.detach() if moved is None else moved_to(bias, directions, one.point) for one in group]
        block, own = self._moved[name], weight.detach()
        if how == "embedding":
            outputs = [own.new_empty((*ids.shape, own.shape[1])) for ids in inputs]
        else:
            fused = unit.module is self._fused
            runs = [Running(targets_of(one.kept["batch"]).to(own.device)) for one in group] if fused else []
            outputs = [] if fused else [x.new_empty((*x.shape[:-1], own.shape[0])) for x in inputs]
        for begin, end in chunks(block):
            if how == "embedding":
                here = [(ids >= begin) & (ids < end) for ids in inputs]
                if not any(bool(where.any()) for where in here):
                    continue
            part = own[begin:end]
            directions = self.pieces.some(block, part, begin, end)
            for k, (one, given) in enumerate(zip(group, inputs, strict=True)):
                rows = moved_to(part, directions, one.point)
                if how == "embedding":
                    outputs[k][here[k]] = rows[given[here[k]] - begin]
                    continue
                offset = None if offsets is None else offsets[k][begin:end]
                if fused:
                    flat = given[:, :-1].reshape(-1, given.shape[-1])[runs[k].where]
                    runs[k].see(functional.linear(flat, rows, offset), begin)
                else:
                    outputs[k][..., begin:end] = functional.linear(given, rows, offset)
                del rows
        if how == "linear" and fused:
            for one, running in zip(group, runs, strict=True):
                one.kept["judged"] = running.judged()
            return [x.new_zeros(()).expand(*x.shape[:-1], own.shape[0]) for x in inputs]
        return list(outputs)

    def _judged(self, result: Any, target: Any, batch: Any) -> Judged:
        """Sums of one finished pass."""
        if self.loss == "tokens":
            logits = _logits(result)
            return from_logits(logits, targets_of(batch).to(logits.device))
        size = _size(batch)
        if self.loss == "model":
            return Judged(float(_loss(result)) * size, 0.0, size)
        assert callable(self.loss)
        return Judged(float(self.loss(result, target)) * size, 0.0, size)

    def _arguments(self, batch: Any) -> tuple[Any, Any]:
        if isinstance(batch, dict):
            return {key: value for key, value in batch.items() if not (self.loss == "tokens" and key == "labels")}, None
        return (batch[0] if isinstance(batch[0], tuple) else (batch[0],)), batch[1]

    @contextlib.contextmanager
    def _as_evaluated(self) -> Iterator[None]:
        """The model without a cache of keys and values, which would only hold memory."""
        config = getattr(self.model, "config", None)
        before = getattr(config, "use_cache", None)
        try:
            if before:
                config.use_cache = False  # type: ignore[union-attr]
            yield
        finally:
            if before:
                config.use_cache = before  # type: ignore[union-attr]

    def _plainly(self, batch: Any) -> float:
        """The loss of the first batch by the model's own forward, without us."""
        arguments, target = self._arguments(batch)
        with self._as_evaluated(), torch.no_grad():
            result = self.model(**arguments) if isinstance(arguments, dict) else self.model(*arguments)
        found = self._judged(result, target, batch)
        return found.loss / max(found.count, 1)

    def _prove(self) -> None:
        """Compare with the model's own loss, and find the modules that must be given more."""
        first = _head(self.batches[0], self.loss == "tokens")
        own = self._plainly(first)
        again = self._plainly(first)
        if own != again and not (math.isnan(own) and math.isnan(again)):
            raise ModelError(
                f"the model gave {own:.8g} and {again:.8g} on the same batch; expected a fixed function. Switch off dropout."
            )
        notes: list[str] = []
        # Accelerate's hooks handle the numbers of their modules themselves, around each run.
        hooked = {name for unit in self._units for holder, _, name in unit.entries if hasattr(holder, "_hf_hook")}
        watched = [self._own(name) for name in self._moved if name not in hooked]
        places = dict(
            zip(
                (own.untyped_storage().data_ptr() for own in watched),
                (n for n in self._moved if n not in hooked),
                strict=True,
            )
        )
        center, aside = ((at,) * self.dimension for at in (0.0, 0.05))
        while True:
            guard = Touched(places)
            seen = self._passed(first, [aside], guard)[0]
            if not guard.names:
                break
            notes = [self._promoted(guard.names)]
        # A shortcut of the model might be taken only while nobody looks.
        unseen = self._passed(first, [aside])[0]
        self._compare(seen.loss, unseen.loss, "away from the center, watched and not watched, is")
        if self.loss == "tokens":
            self._fuse(first)
        found = self._passed(first, [center])
        self.apart = self._compare(
            own, found[0].loss / max(found[0].count, 1), "by itself and walked module by module is"
        )
        if self.apart:
            notes.append(
                f"large layers are made some rows at a time, which rounds otherwise: {self.apart:.1g} of the loss"
            )
        self.notes = tuple(notes)

    def _compare(self, own: float, walked: float, how: str) -> float:
        """How far two losses of one batch lie apart, relative; refused where that is more than rounding."""
        dtype = max((self._own(name).dtype for name in self._moved), key=lambda kind: torch.finfo(kind).eps)
        apart = abs(walked - own) / max(abs(own), 1e-12) if own != walked else 0.0
        if not apart <= ALIKE.get(dtype, 1e-5) and (math.isfinite(own) or math.isfinite(walked)):
            raise ModelError(
                f"the loss of the first batch {how} {own:.8g} and {walked:.8g}; expected the same. The model does more than run its "
                "modules one after the other: use NetworkSurface."
            )
        return apart

    def _promoted(self, names: set[str]) -> str:
        """Give parameters that are read outside of their module to the module around it."""
        around = {}
        for prefix, module in self.model.named_modules():
            for child in module.children():
                around[id(child)] = module
            if not prefix:
                top = module
        units: dict[int, Unit] = {}
        larger = []
        for unit in self._units:
            for entry in unit.entries:
                module = unit.module
                if entry[2] in names:
                    if module is top:
                        raise ModelError(
                            f"the parameter {entry[2]!r} is read before the model runs; expected one that is read in its forward. Use "
                            "NetworkSurface."
                        )
                    module = around[id(module)]
                    larger.append(entry[2])
                units.setdefault(id(module), Unit(module)).entries.append(entry)
        self._units = list(units.values())
        return (
            f"{several(len(larger), 'parameter')} ({listed(larger)}) are read outside of the module that holds them: they are moved "
            "for a larger module at a time"
        )

    def _fuse(self, first: Any) -> None:
        """Judge the last layer's logits some at a time, where that gives what its logits give."""
        get: Any = getattr(self.model, "get_output_embeddings", None)
        head = get() if callable(get) else None
        unit = next((unit for unit in self._units if unit.module is head), None)
        if head is None or unit is None or self._cut(unit) != "linear":
            return
        center = [tuple(0.0 for _ in range(self.dimension))]
        whole = self._passed(first, center)[0]
        self._fused = head
        parts = self._passed(first, center)[0]
        if parts.count != whole.count or abs(parts.loss - whole.loss) > 1e-5 * abs(whole.loss):
            # What the model does to its logits after the last layer is lost that way.
            self._fused = None


def _batches(data: Any, *, pairs: bool) -> list[Any]:
    given = list(data) if isinstance(data, list) else [data]
    if not given:
        raise DataError("got no batches; expected at least one.")
    for one in given:
        if pairs and not (isinstance(one, tuple) and len(one) == 2):
            raise DataError(
                f"got a batch of type {type(one).__name__}; expected pairs (input, target) for a loss of (output, target)."
            )
        if not pairs and not isinstance(one, Mapping):
            raise DataError(
                f"got a batch of type {type(one).__name__}; expected a dictionary of the model's arguments."
            )
    return [dict(one) if isinstance(one, Mapping) else one for one in given]


def _tensors(batch: Any) -> list[Tensor]:
    values = (
        batch.values()
        if isinstance(batch, dict)
        else [*(batch[0] if isinstance(batch[0], tuple) else (batch[0],)), batch[1]]
    )
    return [value for value in values if isinstance(value, Tensor)]


def _size(batch: Any) -> int:
    return next((len(value) for value in _tensors(batch) if value.ndim), 1)


def _head(batch: Any, tokens: bool) -> Any:
    """A part of a batch that a proof can do with: its first row where its parts have as many, of tokens the first few."""
    if not isinstance(batch, dict) or {len(v) if isinstance(v, Tensor) and v.ndim else 0 for v in batch.values()} != {
        _size(batch)
    }:
        return batch
    return {key: value[:1, :FEW] if tokens and value.ndim == 2 else value[:1] for key, value in batch.items()}


def _logits(result: Any) -> Tensor:
    found = result["logits"] if isinstance(result, Mapping) else getattr(result, "logits", result)
    if not isinstance(found, Tensor):
        raise ModelError(f"got an output of type {type(result).__name__}; expected logits (rows, length, vocabulary).")
    return found


def _loss(result: Any) -> Tensor:
    found = result["loss"] if isinstance(result, Mapping) and "loss" in result else getattr(result, "loss", result)
    if not isinstance(found, Tensor) or found.numel() != 1:
        raise ModelError(
            f"got an output of type {type(result).__name__} without a loss; expected one number. Give labels, or a loss."
        )
    return found
