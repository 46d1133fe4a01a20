"""The pictures of a race: its arrays handed to displays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.optimize import Posterior, strokes_of
from lossatlas.race._field import field_under
from lossatlas.race._inputs import numbers, one_of
from lossatlas.race._track import Track
from lossatlas.surface.landscapes import Bbob

if TYPE_CHECKING:
    from lossatlas.draw import (
        BarsDisplay,
        CurvesDisplay,
        Levels,
        Motion,
        PathsDisplay,
        ReliefDisplay,
        Stroke,
        SurrogateDisplay,
    )
    from lossatlas.race._race import Race

TARGETS, DEEPEST = 51, 1e-8


def paths(race: Race, ax: Any, run: int | None, points: int, others: int) -> PathsDisplay:
    """Every racer's path of one run, or of its typical one, over the field; further runs faint."""
    return _over_field(race, run, points, others).plot(ax)


def motion(race: Race, run: int | None, points: int) -> Motion:
    """The same paths as they grow, by steps."""
    if race.surface.dimension != 2:
        raise InputError(
            f"got a race on {race.surface.name}, which has {race.surface.dimension:,} parameters; expected two for an animation. "
            "Race on a slice: surface.on(plane)."
        )
    display = _over_field(race, run, points, 0)
    times = {
        name: np.split(np.arange(sum(map(len, parts)), dtype=np.float64), np.cumsum([len(part) for part in parts])[:-1])
        for name, parts in display.pieces.items()
    }
    return display.motion(times)


def _over_field(race: Race, run: int | None, points: int, others: int) -> PathsDisplay:
    from lossatlas.draw import PathsDisplay

    points = _checks.whole("points", points, 2, 2001, where="plot")
    others = _checks.whole("others", others, 0, where="plot", do="0 draws no further runs.")
    chosen, pieces = _walked(race, run)
    ran = _ran(race)
    whole = {label: track.positions[chosen[label]].cpu().numpy() for label, track in ran.items()}
    finals = {label: tuple(track.final[chosen[label]].tolist()) for label, track in ran.items()}
    faint = {label: _further(track, chosen[label], others) for label, track in ran.items()}
    faint = {label: rest for label, rest in faint.items() if rest}
    return PathsDisplay(
        field_under(race.surface, whole, points),
        pieces,
        finals=finals,
        note=_said(race, run, chosen, others if faint else 0),
        others={label: [piece for rest in runs for piece in rest] for label, runs in faint.items()},
        looks=_looks(race),
    )


def relief(race: Race, ax: Any, run: int | None, points: int, scale: Levels) -> ReliefDisplay:
    """The same paths over the surface in three dimensions."""
    from lossatlas.draw import ReliefDisplay

    points = _checks.whole("points", points, 2, 2001, where="plot_relief")
    if race.surface.dimension != 2:
        raise InputError(
            f"got a race on {race.surface.name}, which has {race.surface.dimension:,} parameters; expected two. Race on a slice: "
            "surface.on(plane)."
        )
    chosen, pieces = _walked(race, run)
    ran = _ran(race)
    field = field_under(race.surface, {label: np.concatenate(parts) for label, parts in pieces.items()}, points)
    apart = np.full((1, 2), np.nan)
    joined = {
        label: np.concatenate([part for piece in parts for part in (piece, apart)][:-1])
        for label, parts in pieces.items()
    }
    return ReliefDisplay(
        field.x,
        field.y,
        field.z,
        xlabel=field.xlabel,
        ylabel=field.ylabel,
        title=field.title,
        wells=field.wells,
        paths=joined,
        finals={label: tuple(track.final[chosen[label]].tolist()) for label, track in ran.items()},
        looks=_looks(race),
        note=_said(race, run, chosen, 0),
    ).plot(ax, levels=scale)


def losses(race: Race, ax: Any) -> CurvesDisplay:
    """Loss against queries."""
    from lossatlas.draw import CurvesDisplay

    single = len(race.surface.wells) == 1 and getattr(race.surface, "wells_complete", True)
    floor = race.surface.wells[0].value if single else 0.0
    curves: dict[str, tuple[np.ndarray, ...]] = {}
    for label, track in _ran(race).items():
        heights, queries = track.losses.cpu().numpy(), track.queries
        if track.optimizer.wanders:
            heights = np.fmin.accumulate(track.seen.cpu().numpy(), axis=1)
            queries = np.arange(1, heights.shape[1] + 1)
        elif len(queries) > 1 and queries[-1] == queries[-2]:
            # The loss where it ended is the referee's, at no query of its own.
            heights, queries = heights[:, :-1], queries[:-1]
        # A loss that is the minimum to rounding has no logarithm.
        heights = np.maximum(heights - floor, np.finfo(float).tiny) if single else heights
        if race.runs == 1 or track.alike:
            curves[label] = (queries, heights[0])
        else:
            low, middle, high = np.nanquantile(heights, [0.05, 0.5, 0.95], axis=0)
            curves[label] = (queries, middle, low, high)
    what = "loss above the minimum" if single else "loss"
    notes = [f"Lines: median of {race.runs:,} runs; bands: from 5 to 95 % of them"] if race.runs > 1 else []
    drawn = [label for label, track in _ran(race).items() if hasattr(track.optimizer, "batch_size")]
    if drawn and race.surface.examples:
        notes.append(f"Of {', '.join(drawn)}: the loss of each mini-batch")
    return CurvesDisplay(
        curves,
        xlabel="queries",
        ylabel=what,
        title=race.surface.name,
        note=" · ".join(notes) or None,
        looks=_looks(race),
    ).plot(ax)


def run_times(race: Race, targets: Sequence[float] | None, ax: Any) -> CurvesDisplay:
    """Share of (run, target) pairs reached, against queries."""
    from lossatlas.draw import CurvesDisplay

    ran = _ran(race)
    if targets is None:
        lowest, heights = _heights(race)
        targets = [lowest + height for height in heights]
        said = f"log-spaced, from {heights[0]:.3g} down to {heights[-1]:.3g} above the minimum"
    else:
        targets = numbers("plot_ecdf", "targets", targets)
        said = f"losses from {max(targets):.4g} down to {min(targets):.4g}"
    curves: dict[str, tuple[np.ndarray, ...]] = {}
    for label, track in ran.items():
        costs = np.sort(np.concatenate([track.first_below(target).cpu().numpy() for target in targets]))
        spent = int(track.meter.per_run.max())
        queries = np.unique(np.concatenate([np.arange(1, spent + 1)[:2], costs[np.isfinite(costs)], [spent]]))
        curves[label] = (queries, np.searchsorted(costs, queries, side="right") / len(costs))
    return CurvesDisplay(
        curves,
        xlabel="queries",
        ylabel="share of targets reached",
        yscale="linear",
        xscale="log",
        steps=True,
        title=race.surface.name,
        note=f"{len(targets)} targets for each of {race.runs:,} run{'s' * (race.runs > 1)}, {said}",
        looks=_looks(race),
    ).plot(ax)


def memory(race: Race, ax: Any) -> CurvesDisplay:
    """Bytes held, against queries."""
    from lossatlas.draw import CurvesDisplay

    curves = {
        label: tuple(np.array(track.memory, dtype=np.float64).T) for label, track in _ran(race).items() if track.memory
    }
    title = f"What each algorithm holds on {race.surface.name}"
    return CurvesDisplay(
        curves, xlabel="queries", ylabel="bytes held per run", yscale="log", title=title, looks=_looks(race)
    ).plot(ax)


def surrogate(race: Race, racer: str, after: Sequence[int], run: int | None, points: int) -> SurrogateDisplay:
    """Posterior mean and deviation after so many observations, beside the surface."""
    from lossatlas.draw import SurrogateDisplay

    track = race.tracks[one_of("racer in this race", racer, race.tracks)]
    chosen = _run(race, racer, run)
    after = [_checks.whole("after", each, where="plot_surrogate") for each in numbers("plot_surrogate", "after", after)]
    points = _checks.whole("points", points, 2, 2001, where="plot_surrogate")
    count, box = track.positions.shape[1] - 1, race.surface.box
    fits = [n for n in after if 2 <= n <= count]
    if race.surface.dimension != 2 or box is None or track.optimizer.name != "bayes" or not fits:
        raise InputError(
            f"got a racer of the kind {track.optimizer.name} on {race.surface.name} with {count} observations; expected "
            f"Bayesian optimization on two parameters in a box, with at least {min(after)} observations."
        )
    field = field_under(race.surface, {}, points)
    mesh = np.stack(np.meshgrid(field.x, field.y), -1).reshape(-1, 2)
    seen, values = track.positions[chosen].cpu().numpy(), track.losses[chosen].cpu().numpy()
    stages = []
    for n in fits:
        posterior = Posterior(seen[:n], values[:n], box.cpu().numpy())
        mean, deviation = posterior.predict(mesh)
        stages.append((n, mean.reshape(points, points), deviation.reshape(points, points), seen[:n]))
    title = f"What {track.optimizer.title} believes of {race.surface.name}"
    title += ", typical run" * (run is None and race.runs > 1)
    return SurrogateDisplay(field.x, field.y, field.z, stages, title=title).plot()


def rates(race: Race, well: str, ax: Any) -> BarsDisplay:
    """Share of runs that ended in a well."""
    from lossatlas.draw import BarsDisplay
    from lossatlas.race._verdict import named

    labels = list(_ran(race))
    shares = [race.rate(label, well) for label in labels]
    low, high = zip(*(race.interval(label, well) for label in labels), strict=True)
    xlabel = f"share of {race.runs:,} runs that ended in {named(well)}, 95 % interval"
    return BarsDisplay(
        labels, np.array(shares), np.array(low), np.array(high), xlabel=xlabel, title=race.surface.name
    ).plot(ax, palette={label: stroke.color for label, stroke in _looks(race).items()})


def _run(race: Race, racer: str, run: int | None) -> int:
    """The number of a run: the one given, or the typical one."""
    if run is None:
        return race.typical(racer)
    return _checks.whole("run", run, 0, race.runs - 1, where="a picture of this race", do="None draws a typical run.")


def _walked(race: Race, run: int | None) -> tuple[dict[str, int], dict[str, list[np.ndarray]]]:
    """The run that is shown of each racer, and its descents."""
    chosen = {label: _run(race, label, run) for label in _ran(race)}
    return chosen, {label: _descents(track, chosen[label]) for label, track in _ran(race).items()}


def _descents(track: Track, run: int) -> list[np.ndarray]:
    path = track.positions[run].cpu().numpy()
    return np.split(path, track.optimizer.breaks(len(path) - 1))


def _further(track: Track, shown: int, count: int) -> list[list[np.ndarray]]:
    """The descents of so many other runs, evenly through all of them; none where all runs are the same."""
    if track.alike:
        return []
    rest = [b for b in range(len(track.final)) if b != shown]
    picked = sorted({rest[k] for k in np.linspace(0, len(rest) - 1, min(count, len(rest))).astype(int)})
    return [_descents(track, b) for b in picked]


def _said(race: Race, run: int | None, chosen: dict[str, int], others: int) -> str | None:
    """What a picture says of the runs that it shows."""
    faint = f". Faint: {min(others, race.runs - 1):,} other runs" * bool(others)
    again = any(len(_descents(track, chosen[label])) > 1 for label, track in _ran(race).items())
    dots = "Dots: where a new descent begins" * again
    if race.runs == 1:
        return dots or None
    said = f"Run {run} of {race.runs:,}" if run is not None else _typical(race, chosen)
    return " · ".join(filter(None, [said + faint, dots]))


def _typical(race: Race, chosen: dict[str, int]) -> str:
    """Which run is shown of each racer, and how many ended as it did."""
    from lossatlas.race._verdict import named

    if not race.surface.wells:
        return f"Of {race.runs:,} runs of each racer the one of median loss is shown"
    counts = []
    for label, track in _ran(race).items():
        wells = race.verdicts[label].wells
        if not track.alike:
            well = wells[chosen[label]]
            place = "no known well" if well is None else named(well)
            counts.append(f"{label} ended in {place} in {wells.count(well):,}")
    if not counts:
        return f"All {race.runs:,} runs of a racer are the same"
    rest = "; the others end the same way every time" * any(track.alike for track in _ran(race).values())
    return (
        f"Typical runs: of {race.runs:,} runs of each racer, {', '.join(counts)}{rest}. Shown is the run of median loss among those "
        "of the most common outcome"
    )


def _looks(race: Race) -> dict[str, Stroke]:
    return strokes_of({label: track.optimizer for label, track in race.tracks.items()})


def _ran(race: Race) -> dict[str, Track]:
    return {label: track for label, track in race.tracks.items() if track.stopped[0] != "not applicable"}


def _heights(race: Race) -> tuple[float, list[float]]:
    """The lowest known minimum, and target heights above it: COCO's own on BBOB, else from the median start downward."""
    lowest = min((well.value for well in race.surface.wells), default=np.nan)
    if isinstance(race.surface, Bbob):
        return lowest, list(np.logspace(2, -8, TARGETS))
    firsts = [track.seen[:, 0].cpu().numpy() for track in _ran(race).values() if track.seen.shape[1]]
    heights = np.concatenate([*firsts, np.empty(0)]) - lowest
    heights = heights[np.isfinite(heights)]
    if not heights.size or not float(np.median(heights)) > 0:
        raise InputError(
            f"the lowest loss of {race.surface.name} is not known, or the racers began there; expected targets=…, the "
            "losses whose first reaching is counted."
        )
    return lowest, list(float(np.median(heights)) * np.logspace(0, np.log10(DEEPEST), TARGETS))
