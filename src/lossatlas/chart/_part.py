"""A chart in parts: each evaluates its own cells into a ledger of its own, on whatever machine, and they are merged later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas._progress import Progress
from lossatlas.chart.planes._identity import identity, need_plane, unrepeatable
from lossatlas.chart.planes._line import Line
from lossatlas.chart.planes._plane import Plane
from lossatlas.chart.sampling._grid import Grid, Span, grid
from lossatlas.probe import Ledger, Merged, Meter, Probe, Values
from lossatlas.probe.engine import EngineLike
from lossatlas.probe.engine import engine as chosen_engine
from lossatlas.surface import Frame, Surface, need_surface

# Queries of a part: enough to keep any engine busy for a while.
QUERIES = 16


def chart_part(
    surface: Surface,
    plane: Plane | Line | Frame,
    part: str | tuple[int, int],
    ledger: str | Path,
    *,
    span: Span = 1.0,
    points: int | tuple[int, int] = 51,
    engine: EngineLike | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> Meter:
    """Evaluate one part of the cells of an exact chart, and keep them in a ledger.

    Parts take every n-th cell, so that they take equally long. `merge_ledgers` joins their ledgers, and
    ``chart(…, exact=True, ledger=merged)`` makes the chart of them without evaluating anything.

    Args:
        surface: any surface.
        plane: what it is charted on, the same for all parts.
        part: ``"3/16"``, or (3, 16): the third of sixteen.
        ledger: a folder of this part alone. The same call resumes there.
        span: as for `chart`; not ``"auto"``, which is found by evaluating.
        points: as for `chart`.
        engine: as for `chart`.
        progress: as for `chart`.

    Returns:
        What was evaluated.

    Raises:
        InputError: for a part that is none, or a span that is not fixed.
        OutputError: if the ledger is of something else.
    """
    need_surface(surface, "chart_part")
    need_plane(plane, "chart_part")
    number, count = part_of(part)
    if isinstance(span, str):
        raise InputError(
            f"got span={span!r} for a part; expected a fixed span: what auto finds depends on what is evaluated first. Find it "
            "with a small chart, and give its numbers."
        )
    cells = grid(span, points, plane.frame.dimension)
    coords = cells.coords(cells_of(cells, number, count))
    settings = {"part": [number, count], "axes": [axis.tolist() for axis in cells.axes]}
    with ExitStack() as stack:
        at_work = stack.enter_context(chosen_engine(engine))
        sliced = surface.on(plane, steady=True)
        what = {"surface": surface.fingerprint(), "plane": identity(plane)}
        kept = stack.enter_context(Ledger.open(ledger, what, settings=settings, notes=surface.notes))
        if lost := unrepeatable(plane):
            kept.keep(lost)
        bar = stack.enter_context(Progress(len(coords), progress))
        probe = Probe(sliced, engine=at_work, ledger=kept.channel("exact"))
        step = max(1, -(-len(coords) // QUERIES), probe.engine.width)
        for begin in range(0, len(coords), step):
            probe.evaluate(Values(torch.from_numpy(coords[begin : begin + step])))
            bar.advance(min(step, len(coords) - begin))
    return probe.meter


def part_of(given: str | tuple[int, int]) -> tuple[int, int]:
    """The number of a part, from 1, and how many there are.

    Raises:
        InputError: if it is none.
    """
    try:
        number, count = (int(side) for side in (given.split("/") if isinstance(given, str) else given))
    except (ValueError, TypeError, AttributeError, RuntimeError, OverflowError):
        number, count = 0, 0
    if not 1 <= number <= count:
        raise InputError(
            f"got the part {given!r}; expected NUMBER/COUNT, as in 3/16: the third of sixteen, counted from 1."
        )
    return number, count


def cells_of(cells: Grid, number: int, count: int) -> Any:
    """The numbers of the cells of a part."""
    return np.arange(number - 1, cells.cells, count)


def gaps(merged: Merged) -> list[str]:
    """What is wrong with parts that were merged, in sentences: cells that none of them holds, and parts of other charts."""
    settings = [one for source in merged.sources for one in source.settings if "part" in one]
    if not settings:
        return []
    charts = Counter(archive.dump({"axes": one["axes"], "of": one["part"][1]}) for one in settings)
    said = []
    if len(charts) > 1:
        said.append(
            f"the parts are of {len(charts)} different divisions or grids of the plane: give all of them the same --part …/N, --span "
            "and --points"
        )
    for text in charts:
        told: Mapping[str, Any] = archive.parse(text)
        cells = Grid(tuple(np.array(axis, dtype=np.float64) for axis in told["axes"]))
        held = _held(merged)
        by_part = {
            number: len(found) - sum(key in held for key in found)
            for number in range(1, told["of"] + 1)
            for found in [_keys(cells.coords(cells_of(cells, number, told["of"])))]
        }
        missing = {number: count for number, count in by_part.items() if count}
        if missing and len(charts) == 1:
            listed = ", ".join(f"{number}/{told['of']} ({count:,})" for number, count in missing.items())
            said.append(
                f"{sum(missing.values()):,} of {cells.cells:,} cells are missing, of the parts {listed}: run these parts again, or let "
                "the chart evaluate what is missing"
            )
    return said


def _held(merged: Merged) -> set[tuple[int, int]]:
    return {(row.a, row.b) for source in merged.sources for row in source.rows if row.channel == "exact"}


def _keys(coords: Any) -> list[tuple[int, int]]:
    bits = (np.ascontiguousarray(coords) + 0.0).view(np.int64).tolist()
    return [(row[0], row[1] if len(row) == 2 else 0) for row in bits]
