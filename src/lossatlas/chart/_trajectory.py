"""Training runs seen on a plane: where they went, how far from the plane, and the loss they really had there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas.chart._chart import Chart
from lossatlas.chart._make_chart import chart
from lossatlas.chart.planes._identity import need_plane
from lossatlas.chart.planes._plane import Plane
from lossatlas.chart.planes._walked import Walked, walked
from lossatlas.probe import Meter, Probe, Values
from lossatlas.surface import NetworkSurface, PointLike, StateSurface, Surface, need_surface

if TYPE_CHECKING:
    from lossatlas.draw import ReliefDisplay, TrajectoryDisplay

Array = NDArray[np.float64]
Path_ = Tensor | Sequence[PointLike] | Walked | str | Path
# Room around the paths in the picture, as a share of what they span.
MARGIN = 0.18
# Losses that span a larger factor are drawn in logarithmic levels.
DECADES = 30.0
# Modes of batch norm in which it reads running statistics, and their names.
STATISTICS_GIVEN = ("frozen", "interpolate")
RUNNING = ("running_mean", "running_var", "num_batches_tracked")
# Whole points that are in memory at once.
AT_ONCE = 8


@final
@dataclass(frozen=True, eq=False)
class Traveled(archive.Result):
    """One run on a plane.

    Attributes:
        steps: (n,) of its points; their numbers where it does not count steps.
        coords: (n, 2) nearest coordinates.
        residuals: (n,) ‖θ − nearest point‖ / ‖θ − origin‖.
        distances: (n,) ‖θ − nearest point‖.
        loss: (n,) true losses at θ; NaN where the whole point was not kept.
        shown: (n,) losses at the nearest points of the plane: what the picture shows there.
        noted: (n,) losses noted while training, of mini-batches; NaN where there are none.
    """

    SAYS: ClassVar[tuple[str, ...]] = ("gap",)

    steps: Array
    coords: Array
    residuals: Array
    distances: Array
    loss: Array
    shown: Array
    noted: Array

    @property
    def gap(self) -> float:
        """The largest |log of (true loss / loss on the plane)|, as a factor: 1 if the picture is right everywhere."""
        known = np.isfinite(self.loss) & np.isfinite(self.shown) & (self.loss > 0) & (self.shown > 0)
        if not known.any():
            return float("nan")
        return float(np.exp(np.abs(np.log(self.loss[known]) - np.log(self.shown[known])).max()))


@final
@dataclass(frozen=True, eq=False)
class Trajectory(archive.Result):
    """Training runs on one plane.

    Attributes:
        runs: by name.
        field: the loss over the plane around them, or None.
        plane: its kind and how it was made, plain JSON values.
        labels: of its axes.
        notes: what a reader must know, in sentences.
        title: the surface's name.
        meter: what was evaluated for the ``true`` losses, and for those on the ``plane``; the field has a meter of its own.
    """

    KIND: ClassVar[str] = "trajectory"
    SAYS: ClassVar[tuple[str, ...]] = ("provenance",)

    runs: dict[str, Traveled]
    field: Chart | None
    plane: dict[str, Any]
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    title: str
    meter: dict[str, Meter]

    @property
    def provenance(self) -> dict[str, Any]:
        """Plane and field."""
        return {"plane": self.plane, "field": None if self.field is None else self.field.provenance}

    @property
    def span(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(low, high) per axis that holds all paths, with some room around them; no axis thinner than a tenth of the other."""
        whole = np.concatenate([run.coords for run in self.runs.values()])
        low, high = whole.min(0), whole.max(0)
        width = np.maximum(high - low, 0.1 * float((high - low).max()))
        middle, half = (low + high) / 2, (0.5 + MARGIN) * width
        (a, b), (c, d) = zip((middle - half).tolist(), (middle + half).tolist(), strict=True)
        return (a, b), (c, d)

    def reading(self) -> list[str]:
        """What the record says, in sentences."""
        says = []
        for name, run in self.runs.items():
            start = f"at its start {run.residuals[0]:.0%} of its distance from the center lies outside of the plane"
            known = int(np.isfinite(run.loss).sum())
            says.append(
                f"{name}: {len(run.steps)} points; {start}, at most {np.nanmax(run.residuals):.0%}. The plane's loss is off "
                f"by a factor of at most {run.gap:.3g} where the true one is known ({known} points)."
            )
        return [*says, *self.notes]

    def plot(self, ax: Any = None, *, scale: Any = "auto", panels: bool = True) -> TrajectoryDisplay:
        """Paths over the field, true losses beside the plane's, and how much lies outside of it.

        Args:
            ax: matplotlib axes for the map alone, or None for a figure of its own.
            scale: how the levels of the field are spaced, as in `Chart.plot`; by default logarithmic where the losses
                are positive and span more than a factor of 30.
            panels: whether a figure of its own has the true losses and the residuals below the map.
        """
        from lossatlas.draw import TrajectoryDisplay

        def each(what: str) -> dict[str, Array]:
            return {name: getattr(run, what) for name, run in self.runs.items()}

        return TrajectoryDisplay(
            None if self.field is None else self.field.display(),
            each("coords"),
            residuals=each("residuals"),
            steps=each("steps"),
            losses=each("loss"),
            shown=each("shown"),
            xlabel=self.labels[0],
            ylabel=self.labels[1],
            title=self.title,
        ).plot(ax, levels=self._scale(scale), panels=panels)

    def plot_relief(self, ax: Any = None, *, scale: Any = "auto") -> ReliefDisplay:
        """The field as a surface in space, with the paths on it where their nearest points on the plane lie.

        Args:
            ax: matplotlib axes with ``projection="3d"``, or None for a figure of its own.
            scale: as in `plot`; with logarithmic levels the height is logarithmic too.

        Raises:
            InputError: where there is no field.
        """
        from lossatlas.draw import ReliefDisplay

        if self.field is None:
            raise InputError(
                "these runs have no field below them; expected one. Call trajectory with points= or field=."
            )
        field = self.field
        display = ReliefDisplay(
            field.alpha,
            field.beta,
            field.loss,
            xlabel=self.labels[0],
            ylabel=self.labels[1],
            title=self.title,
            paths={n: run.coords for n, run in self.runs.items()},
            note=field.caption(),
        )
        return display.plot(ax, levels=self._scale(scale))

    def _scale(self, scale: Any) -> Any:
        """Logarithmic levels where losses span decades, unless something else is said."""
        if self.field is None or not isinstance(scale, str) or scale != "auto" or not self.field.positive:
            return scale
        finite = self.field.loss[np.isfinite(self.field.loss)]
        return "log" if finite.max() > DECADES * finite.min() else scale


def trajectory(
    surface: Surface,
    plane: Plane,
    runs: Path_ | Mapping[str, Path_],
    *,
    points: int | None = 31,
    field: Chart | None = None,
    progress: bool = True,
) -> Trajectory:
    """Lay training runs over a plane, with what the plane does not show of them.

    Coordinates solve G c = D(θ − θ₀) with G = DDᵀ. True losses are evaluated at the points themselves, the plane's at their
    nearest points on it, all counted by one probe.

    Args:
        surface: what the runs walked on.
        plane: any plane of it, of `Plane.pca` for one.
        runs: a `Recording` or `Checkpoints`, the folder of either (a trainer's folder with ``checkpoint-16``,
            ``checkpoint-32`` … is one run), or points in order (vectors, state dicts, modules, checkpoint files or
            folders); or several of them by name.
        points: cells per axis of the field below the paths; None for no field.
        field: a chart on the same plane to lay them over instead.
        progress: show a bar while charting.

    Raises:
        CheckpointError: if a run is of another model; the parameters that differ are named.
        InputError: if there is no run, or a point does not fit.

    Source:
        Li et al. 2018, section 7; residuals beside the path, since a plane hides what leaves it.

    Example:
        >>> import torch, lossatlas as la
        >>> surface = la.landscapes.quadratic(condition=5.0, dimension=4)
        >>> path = la.race(surface, ["gd"], steps=20).trajectories["gd"][0]
        >>> seen = la.trajectory(surface, la.Plane.pca(surface, path), path, points=None)
        >>> bool(seen.runs["run"].residuals.max() < 1.0)
        True
    """
    need_surface(surface, "trajectory")
    need_plane(plane, "trajectory")
    if plane.frame.dimension != 2:
        raise InputError(
            "trajectory got a line; expected a plane: a path is drawn on two axes. Lay one with Plane.pca."
        )
    given: dict[str, Any] = dict(runs) if isinstance(runs, Mapping) else {"run": runs}
    if not given:
        raise InputError("got no runs; expected at least one recording or list of points.")
    probe = _AtCheckpoints(surface)
    on_plane = Probe(surface.on(plane))
    traveled, notes = {}, list(plane.notes)
    for name, source in given.items():
        found = walked(source)
        run = source if found is None else found
        traveled[name] = _travel(surface, plane, run, probe, on_plane)
        notes += _departed(surface, name, run)
    meter = {"true": probe.meter, "plane": on_plane.meter}
    made = {"kind": plane.kind, **plane.how}
    seen = Trajectory(traveled, field, made, plane.labels, tuple(notes), surface.name, meter)
    if field is None and points is not None:
        return replace(seen, field=chart(surface, plane, span=seen.span, points=points, progress=progress))
    return seen


def _travel(surface: Surface, plane: Plane, run: Any, probe: _AtCheckpoints, on_plane: Probe) -> Traveled:
    seen = plane.project(run, surface=surface)
    recorded = walked(run)
    count = len(seen.coords)
    loss, noted = np.full(count, np.nan), np.full(count, np.nan)
    steps, places, whole = np.arange(count), list(range(count)), run
    if recorded is not None:
        kept = list(recorded.kept)
        places, whole = (kept, recorded.iterates) if recorded.sketched else (places, recorded.iterates)
        rows = slice(None) if recorded.sketched else kept
        steps, noted = recorded.steps[rows], recorded.losses[rows]
    loss[places] = np.concatenate(
        [probe.losses(whole[begin : begin + AT_ONCE]) for begin in range(0, len(places), AT_ONCE)]
    )
    shown = on_plane.evaluate(Values(seen.coords.to(surface.device))).values.cpu().numpy()
    arrays = (seen.coords, seen.residuals, seen.distances)
    coords, residuals, distances = (part.cpu().double().numpy() for part in arrays)
    return Traveled(steps.astype(np.float64), coords, residuals, distances, loss, shown, noted)


@final
class _AtCheckpoints:
    """True losses of whole points: those of the user's own evaluation, with the running statistics that each came with.

    Args:
        surface: what the runs walked on.
    """

    def __init__(self, surface: Surface) -> None:
        self.surface, self.probe = surface, Probe(surface)
        own = isinstance(surface, NetworkSurface) and surface.tracked and surface.batchnorm in STATISTICS_GIVEN
        self.states = StateSurface(surface) if own and isinstance(surface, NetworkSurface) else None
        self.stated = None if self.states is None else Probe(self.states)

    def losses(self, few: Any) -> Array:
        """Losses (n,) at points."""
        fitted = [] if self.states is None else [self.states.base.fitted(one) for one in few]
        if self.states is None or self.stated is None or all(one is None for one in fitted):
            points, probe = torch.stack([self.surface.vector(one) for one in few]), self.probe
        else:
            rows = [
                self.states.join(dict(self.surface.layout.split(self.surface.vector(one))))
                if own is None
                else self.states.join(self._known(own.tensors))
                for one, own in zip(few, fitted, strict=True)
            ]
            points, probe = torch.stack(rows), self.stated
        found: Array = probe.evaluate(Values(points)).values.cpu().numpy()
        return found

    def _known(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the tensors of a checkpoint those that a state has."""
        assert self.states is not None
        names = {block.name for block in self.states.layout.blocks}
        return {name: tensor for name, tensor in tensors.items() if name in names}

    @property
    def meter(self) -> Meter:
        """What was evaluated."""
        return sum((probe.meter for probe in (self.probe, self.stated) if probe is not None), Meter())


def _departed(surface: Surface, name: str, run: Any) -> list[str]:
    """Whether checkpoints hold other constants than the surface: their own loss is then another one."""
    recorded = walked(run)
    whole = recorded.iterates if recorded is not None else run
    if not isinstance(surface, NetworkSurface) or isinstance(whole, Tensor) or not len(whole):
        return []
    every = surface.departures(whole[0])
    given = surface.batchnorm in STATISTICS_GIVEN
    differing = [one for one in every if not (given and one.rpartition(".")[2] in RUNNING)]
    says = []
    if len(differing) < len(every):
        says.append(
            f"{name}: its points hold running statistics of their own; their true losses are taken with these, as the model's "
            "own evaluation there does, and the plane's with those of the plane"
        )
    if differing:
        says.append(
            f"{name}: its points hold other values of {', '.join(differing[:3])}{' …' * (len(differing) > 3)} than the "
            "surface; their true losses are taken with the surface's"
        )
    return says
