"""Averaging two networks, in all the ways that are compared: as they are, aligned, with statistics reset, repaired."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError, NotApplicableError
from lossatlas._progress import Show
from lossatlas.connect._barrier import Interval, bootstrap, percentiles
from lossatlas.connect._endpoints import End, Names, end
from lossatlas.connect._readout import Readout, Rows
from lossatlas.connect.symmetry._align import Alignment, Method, align, untied
from lossatlas.connect.symmetry._repair import Repair
from lossatlas.connect.symmetry._specification import Given
from lossatlas.draw import Table
from lossatlas.probe import Meter
from lossatlas.surface import NetworkSurface, PointLike, StateSurface, Surface, need_surface

if TYPE_CHECKING:
    from lossatlas.draw import BarsDisplay

RESAMPLES = 1000


@dataclass(frozen=True)
class Merged(archive.Result):
    """One network of the comparison.

    Attributes:
        name: how it was made.
        loss: on train and, where there is one, test.
        error: the same, or empty where the loss is not a classification loss.
        intervals: 95 % intervals of these over examples, by ``loss`` or ``error`` and data.
    """

    name: str
    loss: dict[str, float]
    error: dict[str, float]
    intervals: dict[str, dict[str, Interval]]


@dataclass(frozen=True, eq=False)
class Merge(archive.Result):
    """Two networks and their averages, side by side.

    Attributes:
        rows: a, b, naive, permuted, and where they apply permuted + reset and permuted + REPAIR.
        states: the state dict of each row.
        t: share of b in the averages.
        alignment: of b with a.
        notes: what a reader must know, in sentences.
        title: the surface's name.
        meter: what was evaluated for it.
    """

    KIND: ClassVar[str] = "merge"

    rows: tuple[Merged, ...]
    states: dict[str, dict[str, Tensor]]
    t: float
    alignment: Alignment
    notes: tuple[str, ...]
    title: str
    meter: Meter

    def __getitem__(self, name: str) -> Merged:
        """The row of a name."""
        found = {row.name: row for row in self.rows}
        if name not in found:
            raise InputError(f"there is no row {name!r}; expected one of {', '.join(found)}.")
        return found[name]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """What there is for every row: (``loss`` or ``error``, data)."""
        first = self.rows[0]
        return [("loss", data) for data in first.loss] + [("error", data) for data in first.error]

    def __str__(self) -> str:
        return str(self.table())

    def reading(self) -> list[str]:
        """The best average, and what a reader must know."""
        best = self.best
        return [f"{self.title}: best average {best.name}, training loss {best.loss['train']:.4g}", *self.notes]

    @property
    def best(self) -> Merged:
        """The average of the lowest training loss."""
        return min(self.rows[2:], key=lambda row: row.loss["train"])

    def save(self, folder: archive.Location) -> Path:
        """Write it into a folder as any result, and the weights of the best average as ``merged.safetensors``.

        Raises:
            OutputError: if the folder cannot be written.
        """
        from safetensors.torch import save

        written = super().save(folder)
        archive.write_bytes(Path(folder) / "merged.safetensors", save(untied(self.states[self.best.name])))
        return written

    def table(self) -> Table:
        """One row per network."""
        rows = [[row.name, *(self._cell(row, *column) for column in self.columns)] for row in self.rows]
        heads = ["", *(f"{data} {what}" for what, data in self.columns)]
        return Table(f"{self.title}: averages at t = {self.t:g}", heads, rows)

    def __rich__(self) -> Any:
        return self.table().__rich__()

    def plot(self, ax: Any = None, *, quantity: str = "error", data: str | None = None) -> BarsDisplay:
        """One dot with its interval per network.

        Args:
            ax: matplotlib axes, or None for a new figure.
            quantity: ``error`` or ``loss``; the loss where there is no error.
            data: ``train`` or ``test``; test where there is one.
        """
        from lossatlas.draw import BarsDisplay

        quantity = quantity if self.rows[0].error else "loss"
        data = data or list(self.rows[0].loss)[-1]
        scale, unit = (100, " in percent") if quantity == "error" else (1, "")
        values = [scale * getattr(row, quantity)[data] for row in self.rows]
        found = [row.intervals.get(quantity, {}).get(data) for row in self.rows]
        ends = [(scale * e[0], scale * e[1]) if e else (v, v) for e, v in zip(found, values, strict=True)]
        return BarsDisplay(
            [row.name for row in self.rows],
            np.array(values),
            np.array([min(low, v) for (low, _), v in zip(ends, values, strict=True)]),
            np.array([max(high, v) for (_, high), v in zip(ends, values, strict=True)]),
            xlabel=f"{data} {quantity}{unit}, with the interval over examples (level 0.95)",
            title=f"{self.title}: two networks and their averages",
            note=" · ".join(self.notes),
        ).plot(ax)

    def _cell(self, row: Merged, what: str, data: str) -> str:
        value, ends = getattr(row, what)[data], row.intervals.get(what, {}).get(data)
        if what == "error":
            return f"{value:.1%}" + (f" [{ends[0]:.1%}, {ends[1]:.1%}]" if ends else "")
        return f"{value:.4g}" + (f" [{ends[0]:.3g}, {ends[1]:.3g}]" if ends else "")


def merge(
    surface: Surface,
    a: PointLike,
    b: PointLike,
    *,
    t: float = 0.5,
    test: Surface | None = None,
    alignment: Alignment | None = None,
    method: Method = "weights",
    spec: Given | None = None,
    restarts: int = 3,
    names: Names = None,
    seed: int = 0,
    progress: Show = True,
) -> Merge:
    """Average two networks in every way, and hold the results side by side.

    The rows: a and b; *naive*, (1 − t) a + t b; *permuted*, the same with b aligned; where there is batch norm
    *permuted + reset*, with its statistics re-estimated on the training data (the others interpolate them); and
    *permuted + REPAIR*, with the units' means and deviations put back to those of a and b.

    Args:
        surface: of the network; its data are the training data.
        a: one network: a vector, state dict, module or checkpoint file.
        b: the other.
        t: share of b.
        test: a surface of the same model on test data.
        alignment: of b with a, if there is one already.
        method: see `align`, as are the following.
        spec: of permutations.
        restarts: of the matching.
        names: of b's tensors.
        seed: of the matching and of the intervals.
        progress: of the matching.

    Returns:
        The `Merge`, a table that renders itself; ``.states[name]`` is a state dict to go on with.

    Raises:
        InputError: for a share outside 0 to 1, and as `align`.
    """
    t, seed = _checks.number("t", t, least=0, most=1, do="This is the share of b."), _checks.seed(seed)
    need_surface(surface, "merge")
    _checks.optional(_checks.instance, "alignment", alignment, Alignment, "the Alignment that align returned, or None")
    if alignment is None:
        alignment = align(
            surface, a, b, method=method, spec=spec, restarts=restarts, names=names, seed=seed, progress=progress
        )
    if not isinstance(surface, NetworkSurface):
        raise NotApplicableError(f"{surface.name} has no hidden units; expected a NetworkSurface to merge networks on.")
    states = StateSurface(surface)
    first, second = end(surface, a, "a", names), end(surface, b, "b", names)
    moved = states.join(alignment.permuted)
    permuted = End(moved[: states.parameters], moved[states.parameters :])
    readout = Readout(surface, test, (first, permuted), "stale")
    rows: dict[str, Tensor] = {
        "a": first.state,
        "b": second.state,
        "naive": torch.lerp(first.state, second.state, t),
        "permuted": torch.lerp(first.state, moved, t),
    }
    notes, meters = [f"averages at t = {t:g}"], list[Meter]()
    if readout.norm:
        reset = Readout(surface, None, (first, permuted), "reset")
        theta = rows["permuted"][: states.parameters]
        rows["permuted + reset"] = reset.states(np.array([t]), theta[None])[0]
        meters += reset.meters
        notes.append("naive and permuted interpolate the batch-norm statistics of a and b")
    try:
        repair = Repair(surface, (first, permuted), alignment.specification)
        rows["permuted + REPAIR"] = repair.at(t, rows["permuted"])
        meters += repair.meters
    except NotApplicableError as reason:
        notes.append(f"no REPAIR: {reason}")
    train, held_out = readout.read_states(torch.stack(list(rows.values())))
    meters += readout.meters
    return Merge(
        tuple(_row(name, k, train, held_out, seed) for k, name in enumerate(rows)),
        {name: states.split(state) for name, state in rows.items()},
        t,
        alignment,
        tuple(notes),
        surface.name,
        sum(meters, Meter()),
    )


def _row(name: str, k: int, train: Rows, test: Rows | None, seed: int) -> Merged:
    loss, error = dict[str, float](), dict[str, float]()
    intervals = dict[str, dict[str, Interval]]()
    for data, rows in (("train", train), ("test", test)):
        if rows is None:
            continue
        loss[data] = float(rows.loss[k])
        if rows.error is not None:
            error[data] = float(rows.error[k])
        for what, each in (("loss", rows.losses), ("error", rows.wrong)):
            if each is not None and np.isfinite(each[k]).all():
                low, high = percentiles(bootstrap(each[k : k + 1], resamples=RESAMPLES, seed=seed)[:, 0])
                intervals.setdefault(what, {})[data] = (float(low), float(high))
    return Merged(name, loss, error, intervals)
