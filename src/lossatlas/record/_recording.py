"""What a recorder wrote, read back: steps, losses, points one at a time, and the path's coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, final

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from lossatlas import _checks, archive
from lossatlas._errors import CheckpointError, InputError, OutputError
from lossatlas.record import _folder
from lossatlas.record._coordinates import Centering, Coordinates, centered, components, from_sketches
from lossatlas.record._folder import Row
from lossatlas.record._image import Image
from lossatlas.record._sketch import Sketch
from lossatlas.record._training_loop import bare_model
from lossatlas.surface import Frame, Layout, Surface, inner, layout_of

if TYPE_CHECKING:
    from lossatlas.draw import CurvesDisplay

# Numbers of all points together that are read at once.
AT_ONCE = 2**24


@final
@dataclass(frozen=True, eq=False)
class Recording(archive.Result):
    """A recorded training run. Points stay on disk and are read one at a time.

    Attributes:
        folder: where it lies.
        layout: the parameters that were recorded.
        manifest: what was recorded and how, plain JSON values.
        rows: a row per recorded step.
        ends: what was said each time recording ended; none for a run that was killed.
    """

    folder: Path
    layout: Layout
    manifest: dict[str, Any]
    rows: tuple[Row, ...]
    ends: tuple[dict[str, Any], ...]

    @classmethod
    def load(cls, folder: str | Path, model: nn.Module | Surface | None = None) -> Recording:
        """Read a recording; a run that was killed, or is still running, is read as far as it came.

        Args:
            folder: that a `Recorder` wrote into.
            model: the model or the surface that it must be of, if it is to be checked.

        Raises:
            OutputError: if there is no recording, or it is damaged.
            CheckpointError: if it is of another model; the parameters that differ are named.
        """
        place = archive.located(folder)
        content = _folder.manifest(place)
        rows, ends = _folder.journal(place)
        rows = _folder.sound(place, rows, sketched=content["sketch"] is not None)
        found = cls(place, _folder.layout(content), content, tuple(rows), tuple(ends))
        if model is not None:
            found.check(model)
        return found

    @staticmethod
    def is_in(folder: str | Path) -> bool:
        """Whether a folder holds a recording."""
        return (archive.located(folder) / _folder.MANIFEST).is_file()

    def save(self, folder: archive.Location) -> NoReturn:
        """None: it lies in its folder already.

        Raises:
            OutputError: always.
        """
        raise OutputError(
            f"a recording lies in its folder, {str(self.folder)!r}, and is not saved again; expected a copy of that folder. "
            "Read it with Recording.load."
        )

    def check(self, model: nn.Module | Surface | Layout) -> None:
        """Refuse another model than the one that was recorded.

        Raises:
            CheckpointError: naming the parameters that differ.
        """
        known = model.layout if isinstance(model, Surface) else model
        layout = known if isinstance(known, Layout) else layout_of(bare_model(known))
        differs = self.layout.difference(layout)
        if differs:
            raise CheckpointError(
                f"the recording in {str(self.folder)!r} is of another model ({self.manifest['model']}); its parameters "
                f"(first) and those given (second) differ: {differs}. Give the model that was trained, or another "
                "recording."
            )

    @property
    def segments(self) -> tuple[Recording, ...]:
        """This run's recordings, one after another: a new one begins where the model changed its shape or was unfrozen."""
        found = [place for _, place in _folder.segments(self.folder)]
        return (self, *(Recording.load(place) for place in found[1:]))

    def joined(self, folder: str | Path) -> Recording:
        """Write all segments as one recording of the model that is trained in the last one.

        Parameters that were frozen in an earlier segment stood still there: they are those of the point at which they were
        unfrozen. Whole points only.

        Args:
            folder: where to; made if needed.

        Raises:
            InputError: if a segment's model had other parameters, and not only frozen ones.
            OutputError: if the folder holds a recording, or cannot be written.
        """
        parts = self.segments
        wanted = parts[-1].layout
        still = [self._still(parts, k, wanted) for k in range(len(parts))]
        place = archive.prepare(folder).absolute()
        content = {**parts[-1].manifest, "segment": 1, "sketch": None, "keep": None}
        content.pop("after", None)
        _folder.claim(place, content, resume=False)
        written: dict[int, Row] = {}
        for part, frozen in zip(parts, still, strict=True):
            for row in (part.rows[k] for k in part.kept):
                state = {**frozen, **dict(_folder.point(part.folder, row))}
                image = Image(state)
                image.fill(state)
                archive.commit([(_folder.point_file(place, row.step), image.content)])
                notes = [
                    (name, pairs) for one in (written.get(row.step), row) if one for name, pairs in one.notes.items()
                ]
                merged = {
                    name: [pair for other, pairs in notes if other == name for pair in pairs] for name, _ in notes
                }
                written[row.step] = Row(row.step, row.seconds, True, 1, merged)
        for row in written.values():
            _folder.append(place, row)
        if parts[-1].ends:
            _folder.append(place, {key: value for key, value in parts[-1].ends[-1].items() if key != "next"})
        return Recording.load(place)

    def _still(self, parts: tuple[Recording, ...], place: int, wanted: Layout) -> dict[str, Tensor]:
        """What a segment's points lack of the last segment's: frozen parameters, from the segment that trained them first."""
        own = {block.name: block.shape for block in parts[place].layout.blocks}
        found: dict[str, Tensor] = {}
        for block in wanted.blocks:
            if own.get(block.name) == block.shape:
                continue
            later = next(
                part for part in parts[place + 1 :] if block.name in {other.name for other in part.layout.blocks}
            )
            row = later.rows[later.kept[0]]
            tensor = dict(_folder.point(later.folder, row, [block.name]))[block.name]
            if block.name in own or block.name not in parts[place].manifest["frozen"] or tensor.shape != block.shape:
                raise InputError(
                    f"the segments in {str(self.folder)!r} are of models that differ in {block.name!r}, which was not merely "
                    f"frozen in {parts[place].folder.name!r}; expected segments of one model. Take each by itself (segments)."
                )
            found[block.name] = tensor
        return found

    @property
    def models(self) -> dict[str, Recording]:
        """All models that the program trained, by name, this one first: each further one has a folder of its name."""
        inside = sorted(path.parent for path in self.folder.glob(f"*/{_folder.MANIFEST}"))
        found = [Recording.load(place) for place in inside if not _folder.is_segment(place)]
        return {self.manifest["name"]: self} | {one.manifest["name"]: one for one in found}

    @property
    def steps(self) -> np.ndarray:
        """Recorded steps of the optimizer, (n,)."""
        return np.array([row.step for row in self.rows], dtype=np.int64)

    @property
    def seconds(self) -> np.ndarray:
        """When each was recorded, in seconds since the first step, (n,); it begins anew where a run was resumed."""
        return np.array([row.seconds for row in self.rows])

    @property
    def losses(self) -> np.ndarray:
        """The loss noted at each recorded point, (n,): of that step's mini-batch; NaN where none was."""
        steps, values = self.curve("loss") if "loss" in self.noted else (np.zeros(0), np.zeros(0))
        known = dict(zip(steps.tolist(), values.tolist(), strict=True))
        return np.array([known.get(row.step, np.nan) for row in self.rows])

    @property
    def noted(self) -> tuple[str, ...]:
        """Names of what the training loop noted."""
        return tuple(sorted({name for row in self.rows for name in row.notes}))

    def curve(self, name: str = "loss") -> tuple[np.ndarray, np.ndarray]:
        """All that was noted under a name: steps and values, at every step, recorded or not.

        Raises:
            UnknownNameError: if nothing was.
        """
        _checks.one_of("note in this recording", name, self.noted)
        pairs = [pair for row in self.rows for pair in row.notes.get(name, [])]
        steps, values = zip(*pairs, strict=True)
        return np.array(steps, dtype=np.int64), np.array(values)

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Rows whose whole point is there; a file that a loss of power cut short is none."""
        return tuple(k for k, row in enumerate(self.rows) if _folder.has_point(self.folder, row))

    @property
    def iterates(self) -> tuple[Any, ...]:
        """The whole points, in order, as `Plane.pca`, `Plane.project` and `trajectory` take them.

        Files, which are read when they are needed; of small points in one pack, state dicts.
        """
        rows = [self.rows[k] for k in self.kept]
        return tuple(
            _folder.point_file(self.folder, row.step) if row.packed is None else dict(_folder.point(self.folder, row))
            for row in rows
        )

    @property
    def sketched(self) -> bool:
        """Whether every recorded point was sketched."""
        return self.manifest["sketch"] is not None

    @property
    def status(self) -> str:
        """How it ended: ``closed``, ``stopped``, ``ended by …``, or ``unfinished`` (killed, or still running)."""
        last = self.ends[-1] if self.ends else None
        return str(last["end"]) if last and self.rows and last["step"] >= self.rows[-1].step else "unfinished"

    @property
    def provenance(self) -> dict[str, Any]:
        """Model, optimizers and settings of the recorder."""
        return {key: value for key, value in self.manifest.items() if key not in ("blocks", "frozen")}

    @property
    def sentence(self) -> str:
        """What is there."""
        named, kind = self.manifest["name"], self.manifest["model"]
        name = kind if named == kind else f"{named} ({kind})"
        if not self.rows:
            return f"{name}: nothing was recorded ({self.status})."
        what = f"{len(self.kept)} whole points" + (f" and {len(self.rows)} sketches" if self.sketched else "")
        return (
            f"{name}, {self.layout.dimension:,} parameters: steps {self.rows[0].step} to {self.rows[-1].step}, {what}; "
            f"{self.status}.{self._after()}"
        )

    def _after(self) -> str:
        """Where the run went on, if it did in another recording."""
        last = self.ends[-1] if self.ends else {}
        said = f" From step {last['step']} on it is in {last['next']}: {last['reason']}" if "next" in last else ""
        others = list(self.models)[1:]
        return said + (f" Recorded beside it: {', '.join(others)}." if others else "")

    def state(self, step: int) -> dict[str, Tensor]:
        """Parameters and buffers at a step, on the CPU.

        Raises:
            InputError: if no whole point was kept there.
        """
        step = _checks.whole("step", step, 0)
        row = next((row for row in self.rows if row.step == step), None)
        if row is None or not (row.packed or _folder.point_file(self.folder, step).is_file()):
            steps = [self.rows[k].step for k in self.kept]
            raise InputError(
                f"there is no whole point at step {step}; there are {steps[:12]}{' …' * (len(steps) > 12)}."
            )
        return dict(_folder.point(self.folder, row))

    def vector(self, step: int) -> Tensor:
        """θ (N,) at a step."""
        return self.layout.join(self.state(step))

    def coordinates(self, centering: Centering = "final") -> Coordinates:
        """The recorded points on their own two leading components; from sketches where there are any, with an error.

        Args:
            centering: components of θ_i − θ_n (``final``), or of θ_i − mean (``mean``).

        Raises:
            InputError: for fewer than three recorded points.
            PlaneError: if they lie on a line.
        """
        self.require(len(self.rows) if self.sketched else len(self.kept))
        error, bound, shares_error = 0.0, 0.0, torch.zeros(2, dtype=torch.float64)
        if self.sketched:
            rows = centered(self.sketches, centering)
            found, error, shares_error = from_sketches(self.sketches, centering, self._fold.meeting)
            lengths, steps, bound = rows.square().sum(1), self.steps, self._fold.error
        else:
            gram = self._gram(centering)
            found, lengths, steps = components(gram), gram.diagonal(), self.steps[list(self.kept)]
        missing = (lengths - found.coords.square().sum(1)).clamp_min(0)
        residuals = torch.where(lengths > 0, (missing / lengths.clamp_min(1e-300)).sqrt(), 0.0)
        return Coordinates(
            steps, found.coords.numpy(), residuals.numpy(), found.shares.numpy(), centering, error,
            shares_error.numpy(), bound,
        )  # fmt: skip

    def directions(self, centering: Centering = "final") -> tuple[Tensor, Tensor, dict[str, Any]]:
        """The plane through the last whole point that comes nearest to the components of all sketched points.

        Components are combinations of points that were not kept. The nearest combinations of the points that were, by
        least squares on the sketches, are taken in their place; how much of the path they hold is on record.

        Returns:
            The origin (N,), two directions (2, N) of unit length at right angles, and the record.

        Raises:
            InputError: for fewer than three whole points.
            PlaneError: if they lie on a line.
        """
        self.require(len(self.kept))
        origin = self.kept[-1]
        rows = centered(self.sketches, centering, origin)
        found, error, shares_error = from_sketches(self.sketches, centering, self._fold.meeting, origin)
        anchors = centered(self.sketches[list(self.kept)], "final")[:-1]
        weights = torch.linalg.lstsq(anchors.T, rows.T @ found.mix).solution
        offsets = self._gram("final")[:-1, :-1]
        weights = weights @ torch.linalg.inv(torch.linalg.cholesky(weights.T @ offsets @ weights)).T
        # On the sketches, the share of the path in this plane; that of the components themselves is the most there is.
        folded = weights.T @ anchors
        held = rows @ folded.T @ torch.linalg.inv(folded @ folded.T) * (rows @ folded.T)
        shares = held.sum(0) / rows.square().sum()
        last, out = self.vector(self.rows[origin].step), torch.zeros(2, self.layout.dimension, dtype=torch.float64)
        for k, row in enumerate(self.kept[:-1]):
            offset = self.vector(self.rows[row].step).double() - last.double()
            out += weights[k][:, None] * offset
        record = {
            "iterates": len(self.rows),
            "anchors": len(self.kept),
            "centering": centering,
            "ignore": "nothing",
            "shares": shares.tolist(),
            "best_shares": found.shares.tolist(),
            "shares_error": shares_error.tolist(),
            "sketch": {"size": self._fold.size, "seed": self._fold.seed, "bound": self._fold.error, "error": error},
        }
        return last, out.to(last.dtype), record

    def seen_on(self, frame: Frame) -> tuple[Tensor, Tensor, Tensor]:
        """All sketched points on a frame: nearest coordinates (n, k), relative residuals (n,) and distances (n,).

        By least squares on the sketches, so that all of them have the sketch's error.
        """
        if frame.origin.numel() != self.layout.dimension:
            raise InputError(
                f"got a frame in {frame.origin.numel():,} dimensions; expected {self.layout.dimension:,}, as recorded."
            )
        rows = self.sketches - self._fold([frame.origin])
        folded = torch.stack([self._fold([direction]) for direction in frame.directions])
        gram = inner(frame.directions, frame.directions).cpu()
        # The directions' own lengths are known exactly; only products with the path are estimated.
        coords = torch.linalg.solve(gram, folded @ rows.T).T
        lengths = rows.square().sum(1)
        missing = (lengths - (coords * (coords @ gram)).sum(1)).clamp_min(0).sqrt()
        return coords, torch.where(lengths > 0, missing / lengths.clamp_min(1e-300).sqrt(), 0.0), missing

    def require(self, count: int) -> None:
        """Refuse to make a plane of fewer than three points.

        Args:
            count: points that there are.

        Raises:
            InputError: saying how many steps were recorded.
        """
        if count < 3:
            steps = f"{len(self.rows)} recorded step{'s' * (len(self.rows) != 1)}"
            raise InputError(
                f"the recording in {str(self.folder)!r} holds {count} usable points of {steps}; expected at least 3, "
                "since two points make a line and one none. Record a longer run, or more often (every=…)."
            )

    @cached_property
    def sketches(self) -> Tensor:
        """Sketches of all recorded points, (n, m), float64.

        Raises:
            InputError: if none were made.
        """
        if not self.sketched:
            raise InputError("this recording holds whole points only; record with sketch=… for sketches.")
        parts = [_folder.tensors(_folder.sketch_file(self.folder, row.step), ["sketch"]) for row in self.rows]
        return torch.stack([tensor for part in parts for _, tensor in part])

    def plot(self, ax: Any = None, name: str = "loss") -> CurvesDisplay:
        """What was noted, against steps.

        Args:
            ax: matplotlib axes, or None for a new figure.
            name: of the note.
        """
        from lossatlas.draw import CurvesDisplay

        title = f"{self.manifest['model']}, recorded run"
        return CurvesDisplay({name: self.curve(name)}, xlabel="steps", ylabel=name, title=title).plot(ax)

    @cached_property
    def _fold(self) -> Sketch:
        settings = self.manifest["sketch"]
        return Sketch(self.layout.dimension, settings["size"], settings["seed"])

    def _gram(self, centering: Centering) -> Tensor:
        """Inner products of the whole points, centered, (n, n); a slab of all of them is in memory at a time."""
        total = torch.zeros(len(self.kept), len(self.kept), dtype=torch.float64)
        for slab in self._slabs():
            rows = centered(slab.double(), centering)
            total += rows @ rows.T
        return total

    def _slabs(self) -> Iterator[Tensor]:
        """The same entries of all whole points, (n, few)."""
        iterates = self.iterates
        for block in self.layout.blocks:
            rows = block.shape[0] if block.shape else 1
            each = max(1, block.size // max(1, rows))
            step = max(1, AT_ONCE // (each * len(self.kept)))
            for begin in range(0, rows, step):
                yield torch.stack([_slab(path, block.name, begin, begin + step) for path in iterates])


def _slab(path: Path | dict[str, Tensor], name: str, begin: int, end: int) -> Tensor:
    if isinstance(path, dict):
        whole = path[name]
        return (whole[begin:end] if whole.ndim else whole).reshape(-1)
    with safe_open(path, framework="pt") as file:
        piece = file.get_slice(name)
        found: Tensor = piece[begin:end] if piece.get_shape() else file.get_tensor(name)
    return found.reshape(-1)
