"""A cut through a surface: a frame, how it was made, and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, _memory, _said, archive
from lossatlas._errors import InputError, PlaneError
from lossatlas.chart.directions import Direction, Drawn, Given, Random
from lossatlas.chart.directions._between import reach
from lossatlas.chart.directions._direction import EUCLIDEAN, letters
from lossatlas.chart.planes._origin import point_of
from lossatlas.chart.planes._walked import Walked, walked
from lossatlas.record import Recording
from lossatlas.surface import (
    Frame,
    Layout,
    PointLike,
    Surface,
    as_direction,
    inner,
    need_surface,
    numbers_of,
    tensor_digest,
    vector_in,
)


@dataclass(frozen=True)
class Projection(archive.Result):
    """Points seen on a line, plane or space: a path to lay over its chart, and how far from it the path really runs.

    Attributes:
        coords: (n, k), nearest coordinates on the frame, by least squares.
        residuals: (n,), ‖θ − nearest point‖ / ‖θ − origin‖: 0 in the plane, 1 at a right angle to it.
        distances: (n,), ‖θ − nearest point‖, Euclidean.
    """

    KIND: ClassVar[str] = "projection"

    coords: Tensor
    residuals: Tensor
    distances: Tensor


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Cut:
    """What lines, planes and spaces share. Never made itself.

    Attributes:
        frame: origin and directions.
        kind: of its directions: ``random``, ``between``, ``pca``, ``hessian``, ``gradient``, ``worst``, ``of``, or that of the
            user's own; joined by + where they were not made together.
        how: what made it, as plain JSON values; seeds where there are any, and digests of what came out. Directions that
            were not made together have a record each under ``directions``.
        labels: of the axes, with their unit.
        notes: what a reader of its pictures must know, in sentences.
        layout: of the surface it was made on.
    """

    frame: Frame
    kind: str
    how: dict[str, Any]
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    layout: Layout | None

    name: ClassVar[str] = "cut"
    axes: ClassVar[int]

    def __init__(
        self,
        surface: Surface,
        *directions: Direction | PointLike,
        origin: PointLike | None = None,
        orthogonal: bool = False,
        orthonormal: bool = False,
    ) -> None:
        need_surface(surface, type(self).__name__)
        orthogonal = _checks.flag("orthogonal", orthogonal)
        orthonormal = _checks.flag("orthonormal", orthonormal)
        if orthogonal and self.axes != 2:
            raise InputError(f"got orthogonal=True for a {self.name}; expected it for a plane only. Leave it out.")
        self._count(len(directions))
        chosen = [one if isinstance(one, Direction) else Given(one) for one in directions]
        center, own = _center(surface, chosen, origin)
        # Each as it is drawn, and all together; with what is scaled on the way.
        size = (2 * len(chosen) + 1) * center.numel() * center.element_size()
        what = (
            f"a {self.name} through {surface.name}, whose directions are as long as its {center.numel():,} parameters"
        )
        _memory.need(surface.device, size, what, "la.StreamedSurface charts a random plane without holding one.")
        drawn, kind, how = _drawn(surface, chosen, center)
        rows = torch.stack([_row(surface, one.row) for one in drawn])
        statistics = _statistics(drawn)
        if orthogonal or orthonormal:
            Frame(center, rows)  # refuses a second direction that is zero or parallel before it is turned
        if orthogonal and not orthonormal and len(rows) == 2:
            gram = inner(rows, rows)
            share = (gram[0, 1] / gram[0, 0]).to(rows.dtype)
            rows[1] -= share * rows[0]
            if statistics is not None:
                statistics[2] -= share * statistics[1]
        if orthonormal:
            lower = torch.linalg.cholesky(inner(rows, rows))
            turn = torch.linalg.inv(lower).to(rows.dtype)
            rows = turn @ rows
            if statistics is not None:
                statistics = torch.cat([statistics[:1], turn @ statistics[1:]])
            if "points" in how:
                marks = {name: torch.tensor(at, dtype=torch.float64) for name, at in how["points"].items()}
                how["points"] = {name: (at @ lower.cpu()).tolist() for name, at in marks.items()}
        frame = Frame(center, rows, statistics)
        if len(rows) > 1:
            how |= {"orthogonal": orthogonal, "orthonormal": orthonormal}
        how |= {"origin": "own" if own else "given", **measures(frame)}
        units = [EUCLIDEAN if orthonormal else one.unit for one in drawn]
        labels = tuple(
            f"{axis}, {(orthonormal and one.toward) or one.label} ({unit or f'1 = {EUCLIDEAN} {norm:.4g}'})"
            for axis, one, unit, norm in zip(letters(len(rows)), drawn, units, how["norms"], strict=True)
        )
        notes = tuple(dict.fromkeys(note for one in drawn for note in one.notes))
        if statistics is not None:
            notes += reach(surface, statistics)
        self._set(frame, kind, how, labels, notes, surface.layout)

    def _count(self, given: int) -> None:
        """Refuse another number of directions than there are axes."""
        if given != self.axes:
            example = ", ".join(["la.directions.gradient()", "la.directions.random()"][: self.axes])
            raise InputError(
                f"got {given} directions for a {self.name}; expected {self.axes}, for example "
                f"la.{type(self).__name__}(surface, {example})."
            )

    def _set(
        self,
        frame: Frame,
        kind: str,
        how: dict[str, Any],
        labels: tuple[str, ...],
        notes: tuple[str, ...],
        layout: Layout | None,
    ) -> Self:
        vars(self).update(frame=frame, kind=kind, how=how, labels=labels, notes=notes, layout=layout)
        return self

    @property
    def sentence(self) -> str:
        """What it is, in words."""
        return f"{self.kind} {self.name}, {self.frame.dimension} of {self.frame.origin.numel():,} directions"

    def __repr__(self) -> str:
        return _said.line(self, self.sentence)

    def _repr_html_(self) -> str:
        return _said.block([self.sentence, *self.labels, *self.notes])

    def project(
        self, iterates: Tensor | Sequence[PointLike] | Walked | str | Path, *, surface: Surface | None = None
    ) -> Projection:
        """Where points lie on the frame, one at a time, and how far off.

        Args:
            iterates: shape (n, N), a sequence of vectors, state dicts, modules or checkpoint files, a folder of
                checkpoints, or a `Recording`; one with sketches is seen through them, with their error.
            surface: reads state dicts, modules and files; not needed where the layout is known, as it is on every line
                or plane that was made on a surface.

        Raises:
            InputError: for points that need a surface where neither it nor the layout is known.
            CheckpointError: for points of another architecture; keys are named.
        """
        run = walked(iterates)
        if run is not None:
            if surface is not None:
                run.check(surface)
            elif isinstance(run, Recording) and self.layout is not None:
                run.check(self.layout)
            if run.sketched:
                return Projection(*run.seen_on(self.frame))
            iterates = run.iterates
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        if isinstance(iterates, Tensor):
            _checks.tensor("iterates", iterates)
        if not isinstance(iterates, Sequence | Tensor | np.ndarray) or getattr(iterates, "ndim", 1) == 0:
            raise InputError(
                f"got iterates={_checks.shown(iterates)}; expected points in order: rows of a tensor, a list of vectors, state "
                "dicts, modules or checkpoint files, or a recording."
            )
        for given in cast(Sequence[PointLike], iterates):
            theta = self._read(given, surface)
            theta = theta.to(self.frame.origin.device)
            if theta.shape != self.frame.origin.shape:
                raise InputError(
                    f"got a point of shape {tuple(theta.shape)}; expected ({self.frame.origin.numel()},), as long as "
                    "the plane's origin."
                )
            coords, residual = self.frame.project(theta)
            length = (theta.double() - self.frame.origin.double()).norm()
            found.append((coords, residual, residual * length))
        if not found:
            raise InputError("got no points to project; expected at least one.")
        return Projection(*(torch.stack(parts) for parts in zip(*found, strict=True)))

    def _read(self, given: PointLike, surface: Surface | None) -> Tensor:
        """A point as a vector, by the surface or by the layout."""
        if surface is not None:
            need_surface(surface)
            return surface.vector(given)
        theta = numbers_of(given)
        if theta is not None:
            return theta
        if self.layout is None or all(block.kind == "vector" for block in self.layout.blocks):
            raise InputError(
                f"got a point of type {type(given).__name__} to project on a {self.name} that does not know the names of its "
                "parameters; expected vectors. Give surface=…, which knows their order."
            )
        return vector_in(self.layout, given, f"the {self.name}")

    def record(self) -> dict[str, Any]:
        """Everything but the directions, as plain JSON values."""
        blocks = {block.name: list(block.shape) for block in self.layout.blocks} if self.layout else {}
        return {
            "kind": self.kind,
            "how": self.how,
            "labels": list(self.labels),
            "notes": list(self.notes),
            "blocks": blocks,
        }

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder, atomically: only its record where a seed makes it again, else the directions too.

        Raises:
            OutputError: if the folder cannot be written; nothing is then half-written.
        """
        arrays = {}
        if not self._is_seeded or self.how["origin"] != "own":
            arrays["origin"] = _array(self.frame.origin)
        if not self._is_seeded:
            arrays["directions"] = _array(self.frame.directions)
        if self.frame.statistics is not None:
            arrays["statistics"] = _array(self.frame.statistics)
        return archive.save(folder, self.name, arrays, self.record())

    @classmethod
    def restore(cls, surface: Surface, source: str | Path | Mapping[str, Any]) -> Self:
        """The same one again, on the surface it was made on.

        Args:
            surface: it is checked to be of the same architecture and, where only a seed was kept, at the same point.
            source: the folder it was saved in; or, for a seeded one, the record of it in a chart's provenance
                (``chart.provenance["plane"]``).

        Raises:
            PlaneError: if the surface is another one, the record is not enough to make it again, or what comes out is
                not what it was (another generator of random numbers).
            OutputError: if the folder cannot be read.
        """
        need_surface(surface, f"{cls.__name__}.restore")
        arrays: Mapping[str, Any] = {}
        if isinstance(source, Mapping):
            record = dict(source.get("plane", source))
            how = record["how"] if "how" in record else {k: v for k, v in record.items() if k != "kind"}
            record = {"kind": record.get("kind"), "how": how, "labels": [], "notes": [], "blocks": {}} | (
                record if "how" in record else {}
            )
        else:
            _, arrays, record = archive.load(source, cls.name)
        _fits(record["blocks"], surface)
        how = record["how"]
        if "directions" in arrays:
            parts = {name: torch.from_numpy(array) for name, array in arrays.items()}
            moved = {name: part.to(surface.device, surface.dtype) for name, part in parts.items()}
            frame = Frame(moved["origin"], moved["directions"], moved.get("statistics"))
            labels, notes = tuple(record["labels"]), tuple(record["notes"])
            return cls.__new__(cls)._set(frame, record["kind"], how, labels, notes, surface.layout)
        if record["kind"] != "random" or (how["origin"] != "own" and "origin" not in arrays):
            raise PlaneError(
                f"the record of a {cls.name} of kind {record['kind']!r} does not hold its directions or its origin; "
                f"expected a seeded one through the model's own point. Save it with {cls.name}.save and restore it "
                "from that folder."
            )
        origin = torch.from_numpy(arrays["origin"]) if "origin" in arrays else None
        drawn = {key: how[key] for key in ("seed", "normalization", "ignore")}
        turned = {key: how[key] for key in ("orthogonal", "orthonormal") if key in how}
        made = cls(
            surface,
            *(Random(**drawn, index=how.get("index", k)) for k in range(len(how["norms"]))),
            origin=origin,
            **turned,
        )
        for what, advice in (
            ("origin_digest", "the point it goes through is another: load the weights it was made at"),
            (
                "digest",
                "this version of torch draws other random numbers: use the one in the record, or make a new one",
            ),
        ):
            if made.how[what] != how[what]:
                raise PlaneError(
                    f"the {cls.name} of seed {how['seed']} did not come out as it was ({what} {made.how[what]} "
                    f"instead of {how[what]}): {advice}."
                )
        return made

    @property
    def _is_seeded(self) -> bool:
        return self.kind == "random"


def _center(surface: Surface, directions: Sequence[Direction], origin: PointLike | None) -> tuple[Tensor, bool]:
    """The origin that was given, or the one that a direction has of its own, or the surface's own point; whether it is that."""
    homes = [home for home in (one.home(surface) for one in directions) if home is not None] if origin is None else []
    if not homes:
        return point_of(surface, origin), origin is None
    if any(not torch.equal(home, homes[0]) for home in homes):
        raise PlaneError(
            "both directions have an origin of their own, and these differ; expected one origin. Give the one that is meant: "
            "origin=…"
        )
    return homes[0], False


def _drawn(
    surface: Surface, directions: Sequence[Direction], origin: Tensor
) -> tuple[list[Drawn], str, dict[str, Any]]:
    """Each direction as it came out, their kind, and their record."""
    found: list[Drawn] = []
    records: list[dict[str, Any]] = []
    for _, group in groupby(directions, type):
        several = list(group)
        kind = type(several[0])
        joint = kind.together(several, surface, origin)
        if joint is not None:
            found += joint[0]
            records.append({"kind": kind.kind, **joint[1]})
            continue
        for one in several:
            drawn = one.draw(surface, origin)
            drawn = drawn if isinstance(drawn, Drawn) else Drawn(drawn)
            drawn = replace(drawn, label=drawn.label or _shown(one), record=drawn.record or one.settings())
            found.append(drawn)
            records.append({"kind": kind.kind, **drawn.record})
    kinds = "+".join(record["kind"] for record in records)
    if len(records) == 1:
        return found, kinds, {name: part for name, part in records[0].items() if name != "kind"}
    modes = {record["batchnorm"] for record in records if "batchnorm" in record}
    return found, kinds, {"directions": records, **({"batchnorm": modes.pop()} if modes else {})}


def _row(surface: Surface, row: PointLike) -> Tensor:
    if isinstance(row, Tensor) and row.shape == (surface.dimension,) and row.is_floating_point():
        return row.detach().to(surface.device, surface.dtype)
    return as_direction(surface, row, zero=True).to(surface.dtype)  # zero: refused where the frame is made


def _statistics(drawn: Sequence[Drawn]) -> Tensor | None:
    """Running statistics (k + 1, S): of the origin, and along each direction, zero along those that move none."""
    held = [one.statistics for one in drawn if one.statistics is not None]
    if not held:
        return None
    still = torch.zeros_like(held[0][1])
    return torch.stack([held[0][0], *(still if one.statistics is None else one.statistics[1] for one in drawn)])


def _shown(direction: Direction) -> str:
    told = repr(direction)
    return told if len(told) <= 40 and " at 0x" not in told else type(direction).__name__


def measures(frame: Frame) -> dict[str, Any]:
    """Lengths, angle and digests of a frame."""
    gram = inner(frame.directions, frame.directions)
    norms = gram.diagonal().sqrt()
    found: dict[str, Any] = {
        "norms": norms.tolist(),
        "origin_norm": float(inner(frame.origin[None], frame.origin[None]).sqrt()),
        "digest": tensor_digest(frame.directions),
        "origin_digest": tensor_digest(frame.origin),
    }
    if len(norms) == 2:
        found["cosine"] = float(gram[0, 1] / norms.prod())
    if len(norms) > 2:
        found["cosines"] = (gram / norms[:, None] / norms).tolist()
    return found


def _array(tensor: Tensor) -> Any:
    kept = tensor.detach().cpu()
    return (kept.float() if kept.dtype in (torch.bfloat16, torch.float16) else kept).numpy()


def _fits(blocks: Mapping[str, Sequence[int]], surface: Surface) -> None:
    ours = {block.name: list(block.shape) for block in surface.layout.blocks}
    if blocks and dict(blocks) != ours:
        keys = [n for n in {**blocks, **ours} if list(blocks.get(n, [-1])) != ours.get(n, [-2])]
        raise PlaneError(
            f"it was made on another architecture than {surface.name}: {', '.join(keys[:4])}"
            + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
            + " differ. Restore it on a surface of the architecture it was made on."
        )
