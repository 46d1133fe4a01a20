"""Several models in one picture, one color scale, and how rough each of them is: the result, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas._imports import imported
from lossatlas._said import several
from lossatlas.chart._chart import Chart
from lossatlas.chart._features import dtype_of, features, rounding_of
from lossatlas.chart._roughness import MEASURES, Roughness, roughness
from lossatlas.draw import Table
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.draw import CompareDisplay

Array = NDArray[np.float64]
Scale = Literal["linear", "log"]
# What is compared: the measures of roughness, and what of the pictures is more than their error.
COMPARED = MEASURES | {
    "resolved": (
        "resolved minima",
        "minima closed off from the edge whose persistence exceeds the error of their cells and of the surface between them",
    )
}
COUNTS = ("minima", "resolved")


@dataclass(frozen=True, eq=False)
class Comparison(archive.Result):
    """Charts of several surfaces on planes that belong together, and their roughness.

    Attributes:
        names: of the surfaces.
        planes: what each plane is, the same number for every surface: ``seed 3``, or ``plane 1``.
        charts: by name, one per plane.
        roughness: measure to name to (planes,) numbers; see `roughness`.
        scale: whether it was taken of the loss or of its logarithm.
        meter: what was evaluated for all charts together.
        provenance: surfaces, settings, versions.
    """

    KIND: ClassVar[str] = "comparison"

    names: tuple[str, ...]
    planes: tuple[str, ...]
    charts: dict[str, tuple[Chart, ...]]
    roughness: dict[str, dict[str, Array]]
    scale: str
    meter: Meter
    provenance: dict[str, Any]

    def difference(self, first: str, second: str, measure: str = "nonconvex") -> Difference:
        """How much rougher the second surface is than the first, plane by plane.

        Args:
            first: a name.
            second: another.
            measure: ``nonconvex``, ``misfit`` or ``minima``.

        Raises:
            UnknownNameError: for a name or measure that is not there.
        """
        for kind, name, known in (("surface", first, self.names), ("surface", second, self.names),
                                  ("measure of roughness", measure, self.roughness)):  # fmt: skip
            _checks.one_of(kind, name, known)
        apart = self.roughness[measure][second] - self.roughness[measure][first]
        return Difference(first, second, measure, apart)

    def judged(self, scale: Scale) -> Comparison:
        """The same charts, their roughness taken of the loss or of its logarithm; nothing is evaluated.

        Args:
            scale: ``linear`` or ``log``.
        """
        settings = {**self.provenance["settings"], "scale": scale}
        provenance = {**self.provenance, "settings": settings}
        return replace(self, roughness=judged(self.charts, scale), scale=scale, provenance=provenance)

    def table(self) -> Table:
        """Roughness with its spread over planes: median [lowest, highest]."""
        columns = ["surface", *(COMPARED[measure][0] for measure in self.roughness)]
        rows = [
            [name, *(_spread(self.roughness[measure][name], measure) for measure in self.roughness)]
            for name in self.names
        ]
        loss = "the loss" if self.scale == "linear" else "the logarithm of the loss"
        title = f"Roughness of {loss}, median [lowest, highest] over {several(len(self.planes), 'plane')}"
        return Table(title, columns, rows)

    @property
    def definitions(self) -> list[str]:
        """What the measures of roughness are."""
        return [f"{short}: {definition}" for short, definition in (COMPARED[measure] for measure in self.roughness)]

    def reading(self) -> list[str]:
        """What the record says, in sentences."""
        says = []
        for second in self.names[1:]:
            says += [self.difference(self.names[0], second, measure).sentence for measure in self.roughness]
        inexact = sum(not one.certificate.exact for charts in self.charts.values() for one in charts)
        if inexact:
            says.append(
                f"{inexact} of {several(len(self.names) * len(self.planes), 'chart')} reconstructed: roughness finer than their "
                "nodes is not in them"
            )
        holes = {name: sum(one.holes for one in charts) for name, charts in self.charts.items()}
        says += [
            f"{name}: {several(count, 'cell')} not finite and not judged" for name, count in holes.items() if count
        ]
        return says

    def plot(self, ax: Any = None, *, planes: int | Sequence[int] = 1, levels: Any = "auto") -> CompareDisplay:
        """Small multiples: surfaces side by side, planes below each other, one color scale; roughness of all planes below.

        Args:
            ax: not taken, since there are many axes.
            planes: how many of the planes to draw, from the first; or which, by number from 0.
            levels: as in ``FieldDisplay.plot``, for all fields together.

        Raises:
            InputError: for axes, or a plane that is not there.
        """
        from lossatlas.draw import CompareDisplay

        if isinstance(planes, Sequence | np.ndarray):
            chosen = [_checks.whole("planes", plane, 0) for plane in planes]
        else:
            chosen = list(range(_checks.whole("planes", planes, 1, 10_000)))
        if not chosen or min(chosen) < 0 or max(chosen) >= len(self.planes):
            raise InputError(f"got planes={planes}; expected some of the {len(self.planes)} there are, counted from 0.")
        first = [self.charts[name][chosen[0]] for name in self.names]
        numbers = {COMPARED[measure][0]: found for measure, found in self.roughness.items()}
        return CompareDisplay(
            self.names,
            [one.alpha for one in first],
            [one.beta for one in first],
            [[self.charts[name][k].loss for name in self.names] for k in chosen],
            rows=[self.planes[k] for k in chosen],
            numbers=numbers,
            note=f"roughness over {several(len(self.planes), 'plane')}; lines join the planes that belong together"
            + (", of the logarithm of the loss" if self.scale == "log" else ""),
        ).plot(ax, levels=levels)

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        notes = [Text(words, "dim") for words in self.definitions]
        return Group(self.table().__rich__(), *notes, *(Text(f"- {sentence}") for sentence in self.reading()))

    def __str__(self) -> str:
        return "\n".join([str(self.table()), *self.definitions, *self.reading()])


@dataclass(frozen=True, eq=False)
class Difference(archive.Result):
    """One measure of two surfaces over planes that belong together.

    Attributes:
        first: a name.
        second: another.
        measure: ``nonconvex``, ``misfit`` or ``minima``.
        apart: (planes,) the second's less the first's.
    """

    first: str
    second: str
    measure: str
    apart: Array

    @property
    def rougher(self) -> int:
        """On how many planes the second is rougher."""
        return int((self.apart > 0).sum())

    @property
    def p_value(self) -> float:
        """Of the two-sided sign test, ties left out: how probable so one-sided an outcome is if neither is rougher."""
        imported("scipy.stats")
        from scipy.stats import binomtest

        n = int(((self.apart > 0) | (self.apart < 0)).sum())
        return float(binomtest(self.rougher, n).pvalue) if n else 1.0

    @property
    def sentence(self) -> str:
        """The difference in words."""
        n = int(np.isfinite(self.apart).sum())
        if n == 0:
            return f"{COMPARED[self.measure][0]}: no plane on which both can be judged"
        sound = self.apart[np.isfinite(self.apart)]
        middle, low, high = float(np.median(sound)), float(sound.min()), float(sound.max())
        digits = 0 if self.measure in COUNTS else 3

        def write(v: float) -> str:
            return f"{v:+.{digits}f}".replace("-", "−") if v else "0"

        return (
            f"{COMPARED[self.measure][0]}: {self.second} − {self.first} = {write(middle)} in the median [{write(low)} to "
            f"{write(high)}]; {self.second} has {'more' if self.measure in COUNTS else 'the larger'} on "
            f"{self.rougher} of {several(n, 'plane')} (sign test p = {self.p_value:.2g})"
        )


def judged(charts: Mapping[str, tuple[Chart, ...]], scale: str) -> dict[str, dict[str, Array]]:
    """Measure to name to (planes,) numbers."""
    _checks.one_of("scale of roughness", scale, ("linear", "log"))
    rough: dict[str, dict[str, Array]] = {measure: {} for measure in COMPARED}
    for name, made in charts.items():
        found = [_judge(one, scale) for one in made]
        for measure in MEASURES:
            rough[measure][name] = np.array([float(getattr(one, measure)) for one in found])
        rough["resolved"][name] = np.array([_resolved(one, scale) for one in made])
    return rough


def _judge(one: Chart, scale: str) -> Roughness:
    """The roughness of a chart; rounding and a reconstruction's rms error count as noise."""
    noise = 0.0 if one.certificate.exact else one.certificate.rms
    finite = one.loss[np.isfinite(one.loss)]
    share = max(float(torch.finfo(dtype_of(one)).eps), rounding_of(one))
    rounding = share * float(np.abs(finite).max(initial=0.0))
    noise = max(noise, rounding)
    if scale == "linear":
        return roughness(one.loss, noise=noise)
    if finite.size and finite.min() <= 0:
        raise InputError(
            f"got scale='log' and a loss of {finite.min():.3g} on {one.title}; expected positive losses. Use 'linear'."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.log(one.loss)
    return roughness(logarithm, noise=noise / float(np.median(finite)) if finite.size else 0.0)


def _resolved(one: Chart, scale: str) -> float:
    """How many minima inside the chart are real."""
    pairs = features(one, "log" if scale == "log" else "loss", None, True)
    return float(sum(p.extremum.kind == "minimum" and p.extremum.real and not p.extremum.border for p in pairs))


def _spread(values: Array, measure: str) -> str:
    sound = values[np.isfinite(values)]
    if not sound.size:
        return "–"
    write: Callable[[float], str] = {
        "nonconvex": lambda v: f"{100 * v:.0f} %",
        "misfit": lambda v: f"{v:.3f}",
        "minima": lambda v: f"{v:.0f}",
        "resolved": lambda v: f"{v:.0f}",
    }[measure]
    return f"{write(float(np.median(sound)))} [{write(float(sound.min()))}, {write(float(sound.max()))}]"
