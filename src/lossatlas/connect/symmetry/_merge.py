"""Averaging networks, in all the ways that are compared: as they are, aligned, with statistics reset, repaired, soups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError, ModelError, NotApplicableError
from lossatlas._progress import Show
from lossatlas.connect._barrier import Interval, bootstrap, percentiles
from lossatlas.connect._endpoints import End, Names, end
from lossatlas.connect._readout import Readout, Rows
from lossatlas.connect.symmetry._align import Alignment, Method, align, specified, untied
from lossatlas.connect.symmetry._many import match_many
from lossatlas.connect.symmetry._repair import Repair
from lossatlas.connect.symmetry._specification import Given, Specification
from lossatlas.connect.symmetry._verify import compare, verify
from lossatlas.draw import Table
from lossatlas.probe import Meter, Probe
from lossatlas.surface import NetworkSurface, PointLike, StateSurface, Surface, need_surface

if TYPE_CHECKING:
    from lossatlas.draw import BarsDisplay

RESAMPLES = 1000
EXAMPLES = 1024  # at most, on which permuted networks are compared with what they were


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
    """Networks and their averages, side by side.

    Attributes:
        rows: a, b, … (the networks), naive, permuted, and where they apply permuted + reset and permuted + REPAIR; of more
            than two networks also the greedy soups.
        states: the state dict of each row.
        shares: of the networks in the averages.
        alignment: of b with a; None for more than two networks, which are aligned all at once.
        notes: what a reader must know, in sentences.
        title: the surface's name.
        meter: what was evaluated for it.
    """

    KIND: ClassVar[str] = "merge"

    rows: tuple[Merged, ...]
    states: dict[str, dict[str, Tensor]]
    shares: tuple[float, ...]
    alignment: Alignment | None
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
        return min(self.rows[len(self.shares) :], key=lambda row: row.loss["train"])

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
        return Table(f"{self.title}: {self._averages}", heads, rows)

    @property
    def _averages(self) -> str:
        if len(self.shares) == 2:
            return f"averages at t = {self.shares[1]:g}"
        return f"averages of {len(self.shares)} networks"

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

        _checks.one_of("quantity", quantity, ("error", "loss"))
        if data is not None:
            _checks.one_of("data", data, self.rows[0].loss)
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
            title=f"{self.title}: {len(self.shares)} networks and their averages",
            note=" · ".join(self.notes),
        ).plot(ax)

    def _cell(self, row: Merged, what: str, data: str) -> str:
        value, ends = getattr(row, what)[data], row.intervals.get(what, {}).get(data)
        if what == "error":
            return f"{value:.1%}" + (f" [{ends[0]:.1%}, {ends[1]:.1%}]" if ends else "")
        return f"{value:.4g}" + (f" [{ends[0]:.3g}, {ends[1]:.3g}]" if ends else "")


def merge(
    surface: Surface,
    a: PointLike | Sequence[PointLike],
    b: PointLike | None = None,
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
    """Average networks in every way, and hold the results side by side.

    The rows: a and b; *naive*, (1 − t) a + t b; *permuted*, the same with b aligned; where there is batch norm
    *permuted + reset*, with its statistics re-estimated on the training data (the others interpolate them); and
    *permuted + REPAIR*, with the units' means and deviations put back to those of a and b.

    Of a list of more than two networks all have equal shares (a uniform soup is *naive*), and all are aligned at once:
    each in turn is matched to the mean of the others until none gains. Two rows more: *greedy soup*, the average of
    those networks that do not raise its training loss, tried in the order of their own, and the same of the aligned ones.

    Args:
        surface: of the network; its data are the training data.
        a: one network: a vector, state dict, module or checkpoint file; or a list of at least two networks.
        b: the other; left out for a list.
        t: share of b; of two networks.
        test: a surface of the same model on test data.
        alignment: of b with a, if there is one already.
        method: see `align`, as are the following; of more than two networks ``weights``.
        spec: of permutations.
        restarts: of the matching.
        names: of b's tensors.
        seed: of the matching and of the intervals.
        progress: of the matching.

    Returns:
        The `Merge`, a table that renders itself; ``.states[name]`` is a state dict to go on with.

    Raises:
        InputError: for a share outside 0 to 1, fewer than two networks, and as `align`.

    Source:
        Ainsworth, Hayase and Srinivasa: Git Re-Basin, ICLR 2023, algorithm 3 (more than two); Wortsman et al.: Model
        soups, ICML 2022, recipe 1 (greedy soups, here by the training loss).
    """
    t, seed = _checks.number("t", t, least=0, most=1, do="This is the share of b."), _checks.seed(seed)
    need_surface(surface, "merge")
    _checks.optional(_checks.instance, "alignment", alignment, Alignment, "the Alignment that align returned, or None")
    if not isinstance(surface, NetworkSurface):
        raise NotApplicableError(f"{surface.name} has no hidden units; expected a NetworkSurface to merge networks on.")
    points = _points(a, b)
    many = len(points) > 2
    if many and (t != 0.5 or alignment is not None or method != "weights"):
        raise InputError(
            f"got {len(points)} networks with t, alignment or method; expected these for two networks only: more have equal "
            "shares and are aligned by their weights."
        )
    letters = [chr(97 + k) if len(points) <= 26 else str(k + 1) for k in range(len(points))]
    states = StateSurface(surface)
    ends = [end(surface, point, letter, names) for point, letter in zip(points, letters, strict=True)]
    meters, notes = list[Meter](), list[str]()
    if many:
        specification, moved, meter, said = _together(states, ends, letters, spec, restarts, seed)
        shares: tuple[float, ...] = (1 / len(points),) * len(points)
        notes += [f"averages of {len(points)} networks in equal shares", said]
        meters.append(meter)
    else:
        if alignment is None:
            alignment = align(
                surface, *points, method=method, spec=spec, restarts=restarts, names=names, seed=seed, progress=progress
            )
        specification, moved, shares = (
            alignment.specification,
            [ends[0].state, states.join(alignment.permuted)],
            (1 - t, t),
        )
        notes.append(f"averages at t = {t:g}")
    aligned = [End(state[: states.parameters], state[states.parameters :]) for state in moved]
    readout = Readout(surface, test, (aligned[0], aligned[1]), "stale")
    rows = {letter: one.state for letter, one in zip(letters, ends, strict=True)}
    rows["naive"] = average([one.state for one in ends], shares)
    rows["permuted"] = average(moved, shares)
    if readout.norm:
        reset = Readout(surface, None, (aligned[0], aligned[1]), "reset")
        rows["permuted + reset"] = reset.renewed(rows["permuted"][None])[0]
        meters += reset.meters
        notes.append("naive and permuted interpolate the batch-norm statistics of the networks")
    try:
        repair = Repair(surface, aligned, specification)
        rows["permuted + REPAIR"] = repair.at(shares, rows["permuted"])
        meters += repair.meters
    except NotApplicableError as reason:
        notes.append(f"no REPAIR: {reason}")
    if many:
        renew = Readout(surface, None, (aligned[0], aligned[1]), "reset")
        for name, every in (("greedy soup", [one.state for one in ends]), ("permuted + greedy soup", moved)):
            rows[name], taken = _greedy(every, letters, renew)
            notes.append(f"{name}: {', '.join(taken)}")
        meters += renew.meters
    train, held_out = readout.read_states(torch.stack(list(rows.values())))
    meters += readout.meters
    return Merge(
        tuple(row_of(name, k, train, held_out, seed) for k, name in enumerate(rows)),
        {name: states.split(state) for name, state in rows.items()},
        shares,
        alignment,
        tuple(notes),
        surface.name,
        sum(meters, Meter()),
    )


def _points(a: Any, b: Any) -> list[PointLike]:
    """The networks that were given, two or a list."""
    if b is not None:
        return [a, b]
    if not isinstance(a, list | tuple) or len(a) < 2 or all(isinstance(one, float | int) for one in a):
        raise InputError(
            f"merge got {_checks.shown(a)} alone; expected two networks, merge(surface, a, b), or a list of at least two, "
            "merge(surface, [a, b, c])."
        )
    return list(a)


def _together(
    states: StateSurface, ends: list[End], letters: list[str], spec: Given | None, restarts: int, seed: int
) -> tuple[Specification, list[Tensor], Meter, str]:
    """All networks in one common order of units, each proven to be the same function."""
    specification = specified(states, spec)
    specification.require_groups("permuted", states.base.name)
    outputs = Probe(StateSurface(states.base, outputs=True, limit=EXAMPLES))
    verify(states, outputs, ends[1].state, specification, seed)
    tensors = [states.split(one.state) for one in ends]
    parameters = {block.name for block in states.base.layout.blocks}
    restarts = _checks.whole("restarts", restarts, 1, 10_000)
    found = match_many(specification, tensors, parameters, restarts, torch.Generator().manual_seed(seed))
    moved = []
    for letter, one, own, orders in zip(letters, ends, tensors, found.permutations, strict=True):
        moved.append(states.join(specification.permuted(own, orders)))
        same = compare(outputs, one.state, moved[-1])
        if not same.holds:
            raise ModelError(
                f"{letter} permuted is not the same function: outputs differ by up to {same.gap:.3g} where rounding explains "
                f"{same.tolerance:.1g}. Expected equal outputs; give the permutations with spec=…."
            )
    said = (
        f"all aligned in {found.rounds} rounds, Σ over pairs ⟨π(θ), π(θ)⟩ {found.before:.5g} before, {found.objective:.5g} "
        f"after; {specification.left}"
    )
    return specification, moved, outputs.meter, said


def average(states: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Σ share · state, each (N + S,)."""
    if len(states) == 2:
        return torch.lerp(states[0], states[1], shares[1])
    weights = torch.tensor(shares, dtype=torch.float64)
    return (
        torch.stack([weight * state.double() for weight, state in zip(weights, states, strict=True)])
        .sum(0)
        .to(states[0])
    )


def _greedy(states: Sequence[Tensor], letters: Sequence[str], readout: Readout) -> tuple[Tensor, list[str]]:
    """The greedy soup, its batch norm re-estimated, and what is in it."""
    losses = readout.read_states(torch.stack(list(states)))[0].loss
    taken: list[int] = []
    best, soup = np.inf, states[0]
    for k in np.argsort(losses, kind="stable").tolist():
        tried = [*taken, k]
        mixed = average([states[j] for j in tried], (1 / len(tried),) * len(tried)) if len(tried) > 1 else states[k]
        if len(tried) > 1:
            mixed = readout.renewed(mixed[None])[0]
        loss = float(losses[k]) if len(tried) == 1 else float(readout.read_states(mixed[None])[0].loss[0])
        if loss <= best:
            best, soup, taken = loss, mixed, tried
    return soup, [letters[k] for k in sorted(taken)]


def row_of(name: str, k: int, train: Rows, test: Rows | None, seed: int) -> Merged:
    """What was read of network k, by name."""
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
