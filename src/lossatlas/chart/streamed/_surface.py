"""`StreamedSurface`: a random plane through a model that is walked module by module, so that nothing of its size is made."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lossatlas import _checks
from lossatlas._errors import InputError, LossAtlasError, ModelError, NotApplicableError
from lossatlas._layout import Layout, Sample, listed
from lossatlas._memory import free
from lossatlas._printable import printable
from lossatlas._said import several
from lossatlas.chart.directions import Direction
from lossatlas.chart.directions._direction import Drawn
from lossatlas.chart.planes._line import Line
from lossatlas.chart.planes._normalize import unit_of
from lossatlas.chart.planes._plane import Plane
from lossatlas.chart.planes._policy import OWN, Ignore, resolved
from lossatlas.chart.streamed._batches import MODEL, TOKENS, Batches, logits_of
from lossatlas.chart.streamed._layers import answers
from lossatlas.chart.streamed._passes import Pass, Point, Touched, Unit, at_the_door, together
from lossatlas.chart.streamed._pieces import GENERATOR, Pieces, Stored
from lossatlas.chart.streamed._planned import Planned, planned, rates
from lossatlas.chart.streamed._tokens import IGNORED, Judged, targets_of
from lossatlas.chart.streamed._weighing import possible, split
from lossatlas.chart.streamed._weights import Weights
from lossatlas.probe import size as bytes_in_words
from lossatlas.surface import (
    Frame,
    LossFunction,
    Moving,
    Reading,
    Surface,
    code_digest,
    layout_of,
    untouched_randomness,
)

# Passes that go through the model side by side.
TOGETHER = 32
# How far a loss by pieces may lie from the model's own, relative: sums of other block sizes.
ALIKE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
# A number of a batch becomes no more bytes of activations than this: where there is room for as many nobody looks further.
ACTIVATED = 2**16
# Where a proof looks: away from the center, a small and a large step.
ASIDE = (0.05, 1.0)


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

    It is proven when it is made, on the first batch. At the center it must give the model's own loss. A small and a large step away
    from it, a guard watches every operation: a parameter whose own numbers are read where moved ones should be is given to a larger
    module, at last to the whole model, and the notes say which.

    Of a model on the meta device, which has shapes and no numbers, it is the plan: ``lossatlas.forecast`` tells bytes by device and
    seconds, and `direction` makes the directions of any tensor; nothing can be evaluated.

    Before anything is allocated, the model's forward is followed on tensors without memory: what does not fit beside it is refused.

    Args:
        model: yours, in evaluation mode; it is never written to, and is as it was after every reading.
        loss: ``tokens`` for the cross-entropy of the next token, a mean over all tokens; ``model`` for the loss that the model returns,
            or a function of (output, target): means of a batch, which are weighted by what they are over, rows or labels other than −100;
            which of them it is, the split of a batch shows.
        data: a batch, or several (a list, a DataLoader): dictionaries of the model's arguments, or pairs (input, target) for a function.
        seed: of the directions. They are not those of ``Plane.random``, whose tensors are drawn from one stream.
        axes: 1 for a line, 2 for a plane.
        normalization: ``filter``, ``layer``, ``weight``, ``dfilter``, ``dlayer`` or ``none``, as there.
        ignore: what is not moved, as there.
        directions: safetensors files that hold the directions instead, one for each axis: tensors named as the parameters, read some
            rows at a time; or LoRA adapters, whose direction is the product BA (through A alone, with B = 0, nothing would move).
        together: passes (points times batches) that go through the model side by side.
        name: for titles; the model's class by default.

    Attributes:
        parameters: N, trainable parameters of the model.
        planned: what passes take, where the model has no numbers and nothing can be evaluated; else None.
        plane: the plane (or line) of its coordinates, for `lossatlas.chart`.
        bytes: memory beside the model and its activations that a reading takes, by arithmetic.

    Raises:
        ModelError: for a model in training mode or without trainable parameters, or one that does not give the same loss twice.
        DataError: for data that are no batches.
        InputError: for settings out of range, or where a reading needs more memory than there is; it says what would fit.

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
            raise ModelError(
                "got a model in training mode; expected one in evaluation mode. Call model.eval() first (on the command line: --eval)."
            )
        axes = _checks.whole("axes", axes, 1, 2)
        self.together = _checks.whole("together", together, 1, 100_000)
        if not _checks.is_word(normalization, *OWN):
            raise InputError(f"got normalization={_checks.shown(normalization)}; expected one of {', '.join(OWN)}.")
        resolved(normalization, ignore)
        if not (callable(loss) or _checks.is_word(loss, MODEL, TOKENS)):
            raise InputError(
                f"got loss={_checks.shown(loss)}; expected 'model', 'tokens' or a function of (output, target)."
            )
        self.model, self.loss, self.batches = model, loss, Batches(data, loss)
        blocks = layout_of(model, offloaded=True).blocks
        self.parameters = sum(block.size for block in blocks)
        self.pieces: Pieces | Stored = Pieces(_checks.seed(seed), axes, normalization, ignore)
        if directions is not None:
            if not isinstance(directions, list | tuple) or not 1 <= len(directions) <= 2:
                raise InputError(f"got directions={_checks.shown(directions)}; expected a list of one or two files.")
            self.pieces, axes = Stored(directions, blocks), len(directions)
        said = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        _checks.optional(_checks.text, "name", name)
        self.name = printable(name or f"{type(model).__name__} with {said}")
        self.layout = Layout.vector(axes)
        self.start = torch.zeros(axes, dtype=torch.float64)
        self.examples = self.batches.rows
        self.weights = Weights(model, blocks, self.pieces)
        if not self.weights.moved:
            raise InputError(
                f"got ignore={ignore!r}, which holds every parameter of {self.name}; expected some that move."
            )
        self._told: dict[str, Any] | None = None
        self._last: nn.Module | None = None
        self._units = self.weights.units()
        self.planned: Planned | None = None
        self._plan_of: Planned | str | None = None
        if self.weights.without_numbers():
            self._last = self._last_layer()
            self.notes = self._plan()
        else:
            self._need_room()
            with untouched_randomness(self._where()):
                self.notes = self._prove()

    @property
    def sentence(self) -> str:
        """What it is, in words."""
        what = "line" if self.dimension == 1 else "plane"
        return f"a {what} through {self.name}, {self.parameters:,} parameters, {several(self.examples, 'row')} of data"

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
    def computed_in(self) -> torch.dtype:
        """The coarsest type among the weights that move."""
        return self.weights.coarsest()

    def moving(self, frame: Frame, most: int) -> Sequence[Moving]:
        """A few of the pieces that tensors are made in, evenly spaced among all parameters that move."""
        return self.weights.some(frame, most)

    @property
    def bytes(self) -> int:
        """Directions and weights of the largest piece, in float32."""
        return self.weights.largest(self._units, self.dimension)

    @property
    def memory(self) -> dict[str, int]:
        """Bytes by device that a reading takes with all its passes side by side: the model, pieces of it, and activations.

        Activations are found by following the forward on tensors without memory; a model that looks at numbers on its way
        cannot be followed, and they are missing.
        """
        found: dict[str, int] = {}
        for name, size in self.weights.bytes().items():
            found[self._device(name)] = found.get(self._device(name), 0) + size
        for name, size in self._beside().items():
            found[name] = found.get(name, 0) + size
        return found

    def foretold(self, points: int) -> tuple[float, str] | None:
        """Seconds of one of so many points, and what that rests on, where nothing can be timed; else None.

        Operations of the forward at the rate of a product of matrices that is timed here, and all parameters drawn once for
        the passes that go together, and summed once for each.
        """
        if self.planned is None:
            return None
        device = torch.device(self._device("meta"))
        rate = rates(device, self.computed_in, self.dimension)
        passes = len(self.batches.each) * points
        rounds = -(-passes // self.together)
        moved = sum(block.size for block in self.weights.moved.values())
        parts = (
            self.planned.flops * points / rate.flops,
            rounds * moved * self.dimension / rate.draws,
            passes * moved / rate.moves,
        )
        kind = str(self.computed_in).removeprefix("torch.")
        said = (
            f"the seconds are an estimate, nothing was evaluated: {self.planned.flops / 1e12:,.3g} · 10¹² operations a point at the "
            f"{rate.flops / 1e9:,.3g} · 10⁹ a second of a product of matrices ({rate.side} × {rate.side}, {kind}), directions drawn at "
            f"{rate.draws / 1e6:,.3g} million entries a second and weights moved at {rate.moves / 1e6:,.3g} million, all measured on "
            f"{rate.device}"
        )
        return sum(parts) / points, said

    def direction(self, name: str) -> list[Tensor]:
        """The directions of one tensor, as they are used: float32, one for each axis.

        Of a model without numbers they are in units of its own norms: each filter (layer, weight) of the direction is to be
        multiplied by the norm of the weights'.

        Args:
            name: of a parameter.

        Raises:
            InputError: for a name that is not there.
        """
        block = self.weights.blocks.get(name)
        if block is None:
            raise InputError(f"got the name {name!r}; expected one of {listed(list(self.weights.blocks))}.")
        held = self.weights.held(block.name)
        return self.pieces.made(block, held if self.planned is not None else self.weights.own(block.name))

    def read(self, points: Tensor) -> Reading:
        """Losses at coordinates (B, k), and for tokens their perplexity and the share that was predicted.

        Raises:
            ModelError: if the model or the loss raises an error; it is the cause.
        """
        if self.planned is not None:
            raise ModelError(
                f"the parameter {self.weights.without_numbers()!r} is on the meta device and has no numbers; expected a model with "
                "weights. Of this one la.forecast(surface, surface.plane) tells what a chart takes."
            )
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise InputError(f"got points of shape {tuple(points.shape)}; expected (B, {self.dimension}).")
        rows = [tuple(row) for row in points.double().tolist()]
        found = [Judged() for _ in rows]
        wanted = [(k, batch) for k in range(len(rows)) for batch in self.batches.each]
        with untouched_randomness(self._where()):
            for begin in range(0, len(wanted), self.together):
                some = wanted[begin : begin + self.together]
                for (k, _), one in zip(some, self._passed([(rows[k], batch) for k, batch in some]), strict=True):
                    found[k].add(one)
        count = torch.tensor([one.count for one in found], dtype=torch.float64)
        values = torch.tensor([one.loss for one in found], dtype=torch.float64) / count
        if self.loss != TOKENS:
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
        if self._told is None:
            made = self.pieces
            if isinstance(made, Stored):
                directions: dict[str, Any] = {"files": made.record()}
            else:
                ignore = resolved(made.normalization, made.ignore)
                directions = {
                    "generator": GENERATOR,
                    "seed": made.seed,
                    "normalization": made.normalization,
                    "ignore": ignore,
                }
            self._told = {
                "surface": self.name, "dimension": self.parameters, "axes": self.dimension, "model": self.weights.digest(),
                "data": self.batches.digest(), "directions": directions,
                "loss": self.loss if isinstance(self.loss, str) else code_digest(self.loss), "dtype": str(self.computed_in),
            }  # fmt: skip
        return dict(self._told)

    def _passed(
        self,
        wanted: Sequence[tuple[Point, Any]],
        *,
        units: Sequence[Unit] | None = None,
        guard: Touched | None = None,
        end: Callable[[Any, Any], Any] | None = None,
    ) -> list[Any]:
        """Batches at points: what comes out at the end of each pass, a `Judged` by default.

        Args:
            wanted: (point, batch).
            units: what is moved; none for the model as it is.
            guard: watches every operation, those of the loss too: outside of the model parameters are not moved.
            end: of the output and the batch.

        Raises:
            ModelError: if the model or the loss raises an error; it is the cause.
        """
        device = self._where()

        def run(one: Pass) -> Any:
            positional, named = self.batches.arguments(one.batch, device)
            with guard or contextlib.nullcontext():
                output = self.model(*positional, **named)
                return one.judged or (end or self.batches.judged)(output, one.batch)

        def told(unit: Unit, group: Sequence[Pass]) -> list[Any] | None:
            return answers(self.weights, unit, group, judge=unit.module is self._last) if unit.by_rows else None

        with self._without_cache(), at_the_door(self._units if units is None else units):
            passes = [Pass(point, batch, run) for point, batch in wanted]
            try:
                together(passes, self.weights.of, told)
            except LossAtlasError:
                raise
            except Exception as error:
                failed = next((one for one in passes if one.error is error), passes[0])
                where = ", ".join(f"{at:g}" for at in failed.point) or "no step"
                raise ModelError(
                    f"the model or its loss raised {type(error).__name__} at ({where}): {error}. Expected a loss at every point; the "
                    "model is as it was."
                ) from error
        return [one.result for one in passes]

    def _where(self) -> torch.device:
        """The device that batches go to."""
        held = (self.weights.held(name).device for name in self.weights.blocks)
        return next((place for place in held if place.type != "meta"), torch.device("cpu"))

    @contextlib.contextmanager
    def _without_cache(self) -> Iterator[None]:
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

    def _followed(self) -> Planned | str:
        """What passes take; or why that cannot be known."""
        if self._plan_of is None:
            hooked = any(hasattr(module, "_hf_hook") for module in self.model.modules())
            try:
                if hooked:
                    raise NotApplicableError("its weights are loaded on the way")
                device = torch.device(self._device("meta"))
                with self._without_cache():
                    self._plan_of = planned(
                        self.model,
                        self._units,
                        self.batches.each,
                        self.batches.arguments,
                        self._last or self._last_layer(),
                        device,
                    )
            except Exception as error:  # of the user's own code, which may look at numbers
                self._plan_of = " ".join(str(error).split())[:200] or type(error).__name__
        return self._plan_of

    def _device(self, name: str) -> str:
        """Where what is on a device will be: of the meta device, on a GPU where there is one."""
        return name if name != "meta" else "cuda:0" if torch.cuda.is_available() else "cpu"

    def _beside(self) -> dict[str, int]:
        """Bytes by device beside the model."""
        plan = self._followed()
        found = plan.activations(self.together) if isinstance(plan, Planned) else {}
        for name in {self._device(str(self.weights.held(name).device)) for name in self.weights.moved}:
            found[name] = found.get(name, 0) + self.bytes
        return found

    def _plan(self) -> tuple[str, ...]:
        plan = self._followed()
        self.planned = plan if isinstance(plan, Planned) else Planned(0, {}, {})
        notes = ["the model has no numbers (it is on the meta device): it can be forecast, not evaluated"]
        if not isinstance(plan, Planned):
            notes.append(
                f"its forward cannot be followed without numbers ({plan}): operations and activations are missing in the forecast"
            )
        for name, size in self.memory.items():
            room = free(torch.device(name))
            if room is not None and room < size:
                notes.append(
                    f"it does not fit here: {bytes_in_words(size)} on {name}, which has {bytes_in_words(room)} free"
                )
        return tuple(notes)

    def _need_room(self) -> None:
        """Refuse what does not fit beside the model.

        Raises:
            InputError: with the number of passes that would.
        """
        given = sum(
            one.numel() * one.element_size() for one in tree_leaves(self.batches.each) if isinstance(one, Tensor)
        )
        for name in self.weights.bytes():
            room = free(torch.device(name))
            if room is None or self.bytes + ACTIVATED * given * self.together / len(self.batches.each) < room:
                continue
            taken, plan = self._beside().get(name, 0), self._followed()
            if taken <= room:
                continue
            held = plan.held.get(name, 0) if isinstance(plan, Planned) else 0
            fewer = self.together - math.ceil((taken - room) / held) if held else 0
            cure = (
                f"together={fewer} would fit"
                if fewer > 0
                else "smaller batches, or a device with more memory, would fit"
            )
            raise InputError(
                f"got a reading of {self.name} that takes {bytes_in_words(taken)} on {name} beside the model ({self.together} passes of "
                f"{bytes_in_words(held)}, {bytes_in_words(self.bytes)} of weights and directions), where {bytes_in_words(room)} are free; "
                f"{cure}."
            )

    def _last_layer(self) -> nn.Module | None:
        """The layer that makes logits, where tokens are judged and it is made some rows at a time."""
        get: Any = getattr(self.model, "get_output_embeddings", None)
        last: Any = get() if self.loss == TOKENS and callable(get) else None
        return last if any(unit.module is last and unit.by_rows == "linear" for unit in self._units) else None

    def _prove(self) -> tuple[str, ...]:
        """Compare with the model's own loss, and find the modules that must be given more; the notes."""
        first, center = self.batches.first(), (0.0,) * self.dimension
        aside = [((at,) * self.dimension, first) for at in ASIDE]
        own, again = (self._passed([(center, first)], units=())[0].mean for _ in range(2))
        if own != again and not (math.isnan(own) and math.isnan(again)):
            raise ModelError(
                f"the model gave {own:.8g} and {again:.8g} on the same batch; expected a fixed function. Switch off dropout."
            )
        notes = self._weigh(center) if self.loss != TOKENS and len(self.batches.each) > 1 else []
        larger: set[str] = set()
        while True:
            guard = Touched(self._watched())
            seen = [self._passed([one], guard=guard)[0].mean for one in aside]
            if not guard.names:
                break
            larger |= guard.names
            self._units = self.weights.promoted(self._units, guard.names)
        # A shortcut of the model might be taken only while nobody looks.
        self._compare(
            seen, [self._passed([one])[0].mean for one in aside], "away from the center, watched and not watched, is"
        )
        if self.loss == TOKENS and self._ends_in_its_last_layer(aside[0]):
            self._last = self._last_layer()
            self._compare(
                seen, [self._passed([one])[0].mean for one in aside], "by all logits and by some at a time is"
            )
        self.apart = self._compare(
            [own], [self._passed([(center, first)])[0].mean], "by itself and walked module by module is"
        )
        if self.loss == TOKENS and self._reads_ahead(first):
            notes.append(
                "the model reads the tokens that it is to predict (it is no causal language model): its loss per token says little. Of a "
                "masked language model, give labels and loss='model'"
            )
        if larger:
            notes.append(
                f"{several(len(larger), 'parameter')} ({listed(sorted(larger))}) are read outside of the module that holds them: they "
                "are moved for a larger module at a time"
            )
        if self.apart:
            notes.append(
                f"large layers are made some rows at a time, which rounds otherwise: {self.apart:.1g} of the loss"
            )
        return tuple(notes)

    def _reads_ahead(self, first: Any) -> bool:
        """Whether logits change as a token behind them is another one."""
        known = (targets_of(first) != IGNORED).any(0).nonzero()
        place = int(known[-1]) + 1
        other = {**first, "input_ids": first["input_ids"].clone()}
        other["input_ids"][:, place] = (other["input_ids"][:, place] == 0).to(other["input_ids"])
        center = (0.0,) * self.dimension
        one, two = (
            self._passed([(center, batch)], units=(), end=lambda output, batch: logits_of(output)[:, :place])[
                0
            ].double()
            for batch in (first, other)
        )
        return bool((one - two).abs().max() > ALIKE.get(self.weights.coarsest(), 1e-5) * one.abs().max())

    def _weigh(self, center: Point) -> list[str]:
        """Find out by what batches are to be weighted, so that how they are cut does not change L; the notes."""
        ways = possible(self.batches.each)
        if len(ways) == 1:
            return []
        cut = split(self.batches.each, ways)
        if cut is None:
            return [
                "batches are weighted by their rows: whether the loss is a mean over labels that are not ignored could not be told from "
                "any of them"
            ]
        whole, *parts = (one.mean for one in self._passed([(center, one) for one in cut], units=()))
        apart = {}
        for name, way in ways.items():
            counts = [way(one) for one in cut[1:]]
            mean = sum(n * part for n, part in zip(counts, parts, strict=True)) / sum(counts)
            apart[name] = abs(mean - whole) / max(abs(whole), 1e-12)
        found = min(apart, key=lambda name: apart[name])
        self.batches.weight = ways[found]
        if not apart[found] <= ALIKE.get(self.weights.coarsest(), 1e-5):
            return [
                f"the loss is no mean over rows or labels of a batch ({apart[found]:.1g} apart): the batches, weighted by {found}, are "
                "part of the surface"
            ]
        return [f"batches are weighted by their {found}, over which the loss is a mean"]

    def _watched(self) -> dict[int, str]:
        """Parameters that move, by the place of their own numbers."""
        # Accelerate's hooks handle the numbers of their modules themselves, around each run.
        hooked = {name for unit in self._units for holder, _, name in unit.entries if hasattr(holder, "_hf_hook")}
        return {
            self.weights.own(name).untyped_storage().data_ptr(): name
            for name in self.weights.moved
            if name not in hooked
        }

    def _compare(self, one: Sequence[float], other: Sequence[float], how: str) -> float:
        """How far losses of one batch lie apart, relative, at most; refused where that is more than rounding."""
        apart = 0.0
        for a, b in zip(one, other, strict=True):
            if a == b or not (math.isfinite(a) or math.isfinite(b)):
                continue
            apart = max(apart, abs(b - a) / max(abs(a), 1e-12))
            if not apart <= ALIKE.get(self.weights.coarsest(), 1e-5):
                raise ModelError(
                    f"the loss of the first batch {how} {a:.8g} and {b:.8g}; expected the same. The model does more than run its "
                    "modules one after the other: use NetworkSurface."
                )
        return apart

    def _ends_in_its_last_layer(self, place: tuple[Point, Any]) -> bool:
        """Whether the model's logits are what its last layer gives, to the bit, and that layer is made some rows at a time."""
        last = self._last_layer()
        if last is None:
            return False
        given: list[Tensor] = []
        hook = last.register_forward_hook(lambda module, inputs, output: given.append(output))
        try:
            logits = logits_of(self._passed([place], end=lambda output, batch: output)[0])
        finally:
            hook.remove()
        return len(given) == 1 and given[0].shape == logits.shape and torch.equal(given[0].to(logits), logits)
