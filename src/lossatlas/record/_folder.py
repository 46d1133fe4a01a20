"""What a recording is on disk: a manifest, a journal with a row per recorded step, and files of points and sketches.

A row is appended when its files are in place, so that a row that can be read is true; the last line may be torn.
"""

from __future__ import annotations

import json
import math
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import OutputError
from lossatlas.surface import Block, Layout

FORMAT, VERSION = "lossatlas recording", 1
LONGEST_HEADER = 10**8  # as safetensors has it
MANIFEST, JOURNAL, POINTS, SKETCHES = "recording.json", "steps.jsonl", "points", "sketches"
# Points one behind the other as a tar archive has them, so that any tar takes them out again.
PACK, BLOCK = "points.tar", 512


@dataclass(frozen=True)
class Row:
    """One recorded step.

    Attributes:
        step: of the optimizer; 0 is before the first.
        seconds: since this recorder's first step.
        point: whether the whole point was written.
        stride: every how many rows a point was kept by then.
        notes: what the user's loop noted since the row before: by name, (step, value) pairs.
        packed: where its point lies in the pack, first byte and size; None for one that has a file of its own.
    """

    step: int
    seconds: float
    point: bool
    stride: int = 1
    notes: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    packed: tuple[int, int] | None = None


def point_file(folder: Path, step: int) -> Path:
    """Where the point of a step is."""
    return folder / POINTS / f"step-{step:09d}.safetensors"


def segment(folder: Path, number: int) -> Path:
    """Where a segment of a recording is: the first one is the recording itself."""
    return folder if number == 1 else folder / f"segment-{number}"


def is_segment(folder: Path) -> bool:
    """Whether a folder is that of a later segment."""
    return folder.name.startswith("segment-")


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The segments there are, in order, with their numbers; none where there is no recording."""
    found: list[tuple[int, Path]] = []
    while (segment(folder, len(found) + 1) / MANIFEST).is_file():
        found.append((len(found) + 1, segment(folder, len(found) + 1)))
    return found


def remove(folder: Path) -> None:
    """Remove a recording's own files, and its folder if nothing else is in it.

    Raises:
        OutputError: if they cannot be removed.
    """
    try:
        for room in (folder / POINTS, folder / SKETCHES):
            for path in room.glob("step-*.safetensors"):
                path.unlink()
        for path in (folder / PACK, folder / JOURNAL, folder / MANIFEST):
            path.unlink(missing_ok=True)
        for place in (folder / POINTS, folder / SKETCHES, folder):
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
    except OSError as error:
        raise OutputError(f"cannot remove {str(folder)!r}: {error.strerror or error}.") from error


def has_point(folder: Path, row: Row) -> bool:
    """Whether the whole point of a row is there."""
    if row.packed is not None:
        return _is_whole(folder / PACK, *row.packed)
    return _is_whole(point_file(folder, row.step))


def point(folder: Path, row: Row, names: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a row's whole point by name, all of them unless names are given.

    Raises:
        OutputError: if it is missing, damaged, or lacks one.
    """
    if row.packed is None:
        yield from tensors(point_file(folder, row.step), names)
        return
    path, (begin, size) = folder / PACK, row.packed
    try:
        with path.open("rb") as file:
            file.seek(begin)
            found = load(file.read(size))
        for name in found if names is None else names:
            yield name, found[name]
    except (OSError, SafetensorError, KeyError) as error:
        raise OutputError(
            f"the point of step {row.step} in {str(path)!r} cannot be read ({error}); expected one that a Recorder wrote. "
            "Copy the folder again from where it was recorded."
        ) from error


def pack(folder: Path, step: int, content: memoryview, *, settled: bool) -> tuple[int, int]:
    """Append a point to the pack; returns where it lies there.

    Raises:
        OutputError: if it cannot be written.
    """
    path = folder / PACK
    header = tarfile.TarInfo(point_file(folder, step).name)
    header.size = len(content)
    try:
        with path.open("ab") as file:
            begin = file.tell() + BLOCK
            file.write(header.tobuf(tarfile.USTAR_FORMAT))
            file.write(content)
            file.write(bytes(-len(content) % BLOCK))
            file.flush()
            if settled:
                os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror or error}.") from error
    return begin, len(content)


def sound(folder: Path, rows: list[Row], *, sketched: bool) -> list[Row]:
    """Rows without those whose sketch a loss of power cut short."""
    return [row for row in rows if _is_whole(sketch_file(folder, row.step))] if sketched else rows


def _is_whole(path: Path, begin: int = 0, length: int | None = None) -> bool:
    """Whether a safetensors file is there, as long as its header says that it is; or one within another file."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END) if length is None else min(begin + length, file.seek(0, os.SEEK_END))
            file.seek(begin)
            size = int.from_bytes(file.read(8), "little")
            if size > LONGEST_HEADER:
                return False
            spans = [entry["data_offsets"] for name, entry in json.loads(file.read(size)).items() if name[:2] != "__"]
            return end == begin + 8 + size + max((last for _, last in spans), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def sketch_file(folder: Path, step: int) -> Path:
    """Where the sketch of a step is."""
    return folder / SKETCHES / f"step-{step:09d}.safetensors"


def append(folder: Path, row: Row | Mapping[str, Any], *, settled: bool = True) -> None:
    """Add a line to the journal; waits until it is on the disk itself where it is to be settled.

    Raises:
        OutputError: if it cannot be written.
    """
    content = _plain(row) if isinstance(row, Row) else dict(row)
    path = folder / JOURNAL
    try:
        with path.open("ab") as file:
            file.write((json.dumps(content, allow_nan=False) + "\n").encode())
            file.flush()
            if settled:
                os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror or error}.") from error


def journal(folder: Path) -> tuple[list[Row], list[dict[str, Any]]]:
    """The rows of a recording in order of their steps, and what was said at each end of recording.

    Raises:
        OutputError: if a line other than the last is damaged.
    """
    try:
        lines = archive.content_of(folder / JOURNAL).split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise OutputError(f"cannot read {str(folder / JOURNAL)!r}: {error.strerror or error}.") from error
    rows: dict[int, Row] = {}
    ends = []
    for k, line in enumerate(lines):
        if k == len(lines) - 1:  # whole lines end in a newline: what follows the last one is nothing, or torn
            break
        try:
            content = json.loads(line)
            if "end" in content:
                ends.append(content)
                continue
            notes = {
                name: [(int(step), float(value)) for step, value in pairs] for name, pairs in content["notes"].items()
            }
            earlier = rows.get(int(content["step"]))
            for name, pairs in earlier.notes.items() if earlier else ():  # a row written again to add its point
                notes[name] = pairs + notes.get(name, [])
            begin, size = content.get("packed") or (0, 0)
            row = Row(
                int(content["step"]), float(content["seconds"]), bool(content["point"]), content["stride"], notes,
                (int(begin), int(size)) if size else None,
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"line {k + 1} of {str(folder / JOURNAL)!r} is damaged ({error}); expected a row of a recording. Copy "
                "the folder again from where it was recorded."
            ) from None
        rows[row.step] = row
    return [rows[step] for step in sorted(rows)], ends


def rewrite(folder: Path, rows: list[Row]) -> None:
    """Make these the rows of the journal, and remove files that belong to none of them.

    Raises:
        OutputError: if that cannot be written.
    """
    archive.write_text(folder / JOURNAL, "".join(json.dumps(_plain(row)) + "\n" for row in rows))
    if (folder / PACK).is_file():
        # What is behind the last point that counts is of rows that do not, or was being written.
        os.truncate(folder / PACK, max((begin + size + -size % BLOCK for begin, size in _packed(rows)), default=0))
    known = {where(folder, row.step) for row in rows for where in (point_file, sketch_file)}
    for room in (POINTS, SKETCHES):
        for path in (folder / room).glob("*"):
            if path not in known:
                path.unlink(missing_ok=True)


def _packed(rows: Iterable[Row]) -> list[tuple[int, int]]:
    return [row.packed for row in rows if row.packed is not None]


def manifest(folder: Path) -> dict[str, Any]:
    """What was recorded, and how.

    Raises:
        OutputError: if the folder holds no recording, or one of another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise OutputError(
            f"{str(folder)!r} holds no recording: there is no {MANIFEST}. Give the folder that a Recorder, or "
            "lossatlas record, wrote into."
        )
    content = archive.read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise OutputError(
            f"{str(path)!r} is no manifest of a recording of version {VERSION}; it was written by another program or "
            "another version of lossatlas. Load it with that version, or record again."
        )
    return content


def claim(folder: Path, record: dict[str, Any], *, resume: bool) -> None:
    """Write the manifest of a recording that begins, or see that the one there is of the same model.

    Args:
        folder: where to.
        record: the manifest.
        resume: whether a recording may be there.

    Raises:
        OutputError: if there is one and none may be, or it is of another model or sketch.
    """
    if not (folder / MANIFEST).is_file():
        archive.prepare(folder / POINTS)
        archive.prepare(folder / SKETCHES)
        archive.write_json(folder / MANIFEST, record)
        return
    found = manifest(folder)
    if not resume:
        raise OutputError(
            f"the folder {str(folder)!r} holds a recording already; expected an empty one. Give resume=True to "
            "continue that run, or another folder."
        )
    differs = layout(found).difference(layout(record))
    if differs:
        what = f"its parameters (first) and the model's (second) differ: {differs}"
    elif found["sketch"] != record["sketch"]:
        what = f"it has the sketch {found['sketch']}, and {record['sketch']} was requested"
    else:
        return
    raise OutputError(
        f"the recording in {str(folder)!r} cannot be continued: {what}. Expected the same model and "
        "sketch. Give another folder."
    )


def layout(content: Mapping[str, Any]) -> Layout:
    """The parameters that a manifest says were recorded."""
    blocks = [
        Block(b["name"], tuple(b["shape"]), b["kind"], b["offset"], tuple(b["aliases"]), b["groups"], b["parts"])
        for b in content["blocks"]
    ]
    return Layout(tuple(blocks))


def tensors(path: Path, names: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a file by name, all of them unless names are given, one in memory at a time.

    Raises:
        OutputError: if the file is missing, damaged, or lacks one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys() if names is None else names:
                yield name, file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{str(path)!r} cannot be read ({error}); expected a point that a Recorder wrote. Copy the folder again from "
            "where it was recorded."
        ) from error


def _plain(row: Row) -> dict[str, Any]:
    # Strict JSON has no infinities: they are written as text, which float() reads back.
    notes = {
        name: [[step, value if math.isfinite(value) else str(value)] for step, value in pairs]
        for name, pairs in row.notes.items()
    }
    plain = {"step": row.step, "seconds": row.seconds, "point": row.point, "stride": row.stride, "notes": notes}
    return plain if row.packed is None else {**plain, "packed": list(row.packed)}
