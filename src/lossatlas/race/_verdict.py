"""Where each run ended and why it stopped, said from the record by a referee with a meter of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lossatlas import archive
from lossatlas.probe import Probe
from lossatlas.race._descent import descend
from lossatlas.race._ends import KINDS
from lossatlas.race._statistics import wilson
from lossatlas.surface import Surface

REASONS = {
    "steps": "its steps were used up",
    "budget": "its budget was used up",
    "finished": "it stopped by itself",
    "diverged": "it met a loss or gradient that was not finite",
    "failed": "it failed",
    "not applicable": "it cannot run on this surface",
}
# The same of several runs.
OF_MANY = {
    "steps": "used up the steps",
    "budget": "used up the budget",
    "finished": "finished early",
    "diverged": "met a loss or gradient that was not finite",
    "failed": "failed",
}
# A descent that ends this near to a minimum, as a share of the landscape's length, has reached it.
REACHED = 0.02


@dataclass(frozen=True, eq=False)
class Verdict(archive.Result):
    """How one racer's runs ended.

    Attributes:
        racer: its label.
        wells: for each run the name of the well whose basin holds its final point, or None.
        distance: (runs,) from the final point to that well's minimum; NaN without a well.
        loss: (runs,) at the final point.
        gradient_norm: (runs,) there; NaN where the surface has no gradients.
        stopped: for each run why it stopped: ``steps``, ``budget``, ``finished``, ``diverged``, ``failed`` or
            ``not applicable``.
        queries: (runs,) counted.
        known: whether the surface has known wells at all.
        lowest: the lowest known minimum, or None.
        ends: for each run the kind of its end: ``minimum``, ``saddle``, ``plateau``, ``boundary``, ``step-size cycle``,
            ``decay offset``, ``on its way``, ``off the grid``, ``one look``, ``no look``, ``divergence``, ``not run``, or ``unknown``
            where the surface has no gradients to judge by.
        alike: whether there are several runs and all are the same: the method is deterministic.
        why: the racer's own sentence where it did not run, or failed.
    """

    LISTED: ClassVar[float] = math.inf
    SAYS: ClassVar[tuple[str, ...]] = ("above",)

    racer: str
    wells: tuple[str | None, ...]
    distance: Tensor
    loss: Tensor
    gradient_norm: Tensor
    stopped: tuple[str, ...]
    queries: Tensor
    known: bool
    lowest: float | None
    ends: tuple[str, ...]
    alike: bool = False
    why: str = ""

    @property
    def above(self) -> Tensor:
        """(runs,) how far each loss lies above the lowest known minimum; NaN where none is known."""
        return self.loss - (math.nan if self.lowest is None else self.lowest)

    @property
    def sentence(self) -> str:
        """The verdict in words, from the record."""
        if set(self.stopped) == {"not applicable"}:
            return f"{self.racer} did not run: {self.why or REASONS['not applicable'] + '.'}"
        if set(self.stopped) == {"failed"} and not int(self.queries.sum()):
            return f"{self.racer} failed before its first step: {self.why}"
        failed = f" It failed: {self.why}" if "failed" in self.stopped and self.why else ""
        return self._ended() + failed

    def _ended(self) -> str:
        if len(self.wells) == 1:
            return f"{self.racer} ended {self._single()}"
        if self.alike:
            every = f"{self.racer} is deterministic: all {len(self.wells):,} runs are the same."
            return f"{every} It ended {self._single()}"
        return self._many()

    def _single(self) -> str:
        loss, gradient, queries = float(self.loss[0]), float(self.gradient_norm[0]), int(self.queries[0])
        above = loss - self.lowest if self.lowest is not None else math.nan
        gap = f", {max(above, 0.0):.3g} above the global minimum" if math.isfinite(above) else ""
        if self.wells[0] is not None:
            text = f"in the basin of {named(self.wells[0])}, {float(self.distance[0]):.2g} from its minimum: loss {loss:.6g}"
        else:
            text = f"in no known well: loss {loss:.6g}" if self.known else f"at a loss of {loss:.6g}{gap}"
        if math.isfinite(gradient):
            text += f", gradient norm {gradient:.2g}"
        text += f", after {queries:,} quer{'y' if queries == 1 else 'ies'}, because {REASONS[self.stopped[0]]}"
        text += f"; it is {KINDS[self.ends[0]]}." if self.ends[0] != "unknown" else "."
        if self.known and self.wells[0] != "global" and above > 1e-9 * (1 + abs(loss)):
            text += f" The global minimum lies {above:.3g} lower."
        return text

    def _many(self) -> str:
        runs = len(self.wells)
        if self.known:
            parts = []
            for well, count in Counter(self.wells).most_common():
                low, high = wilson(count, runs)
                where = f"in the basin of {named(well)}" if well is not None else "in no known well"
                parts.append(f"{count:,} ended {where} ({count / runs:.1%}, 95 % interval {low:.1%} to {high:.1%})")
            text = f"Of {runs:,} runs of {self.racer}, " + ", ".join(parts)
        else:
            heights = self.loss if self.lowest is None else self.loss - self.lowest
            low, middle, high = torch.nanquantile(
                heights, torch.tensor([0.05, 0.5, 0.95], dtype=heights.dtype)
            ).tolist()
            text = f"{runs:,} runs of {self.racer} ended at a median loss of {middle:.6g}"
            text += f"{' above the global minimum' * (self.lowest is not None)} (5 to 95 %: {low:.6g} to {high:.6g})"
        text += _shares(OF_MANY, self.stopped)
        return text + _shares(KINDS, [kind for kind in self.ends if kind != "unknown"]) + "."


def named(well: str) -> str:
    """A well in the middle of a sentence."""
    if well == "global":
        return "the global well"
    return well if len(well) == 1 else f"the well {well!r}"


def _shares(words: dict[str, str], found: Sequence[str]) -> str:
    """How many runs each of these is true of; all of them, if it is one for all."""
    counts = Counter(found).most_common(4)
    who = ["all" if len(counts) == 1 else f"{count:,}" for _, count in counts]
    each = [f"{n} {words[name]}" for n, (name, _) in zip(who, counts, strict=True)]
    return "; " + ", ".join(each) if each else ""


def basins(surface: Surface, points: Tensor, probe: Probe | None = None) -> tuple[tuple[str | None, ...], Tensor]:
    """The well whose basin holds each point, and the distance to that well's minimum.

    A point belongs to the well that the negative gradient leads to from it (`descend`); None where it leads to no known
    minimum. Descents are the referee's own and counted for no racer.

    Args:
        surface: with known wells.
        points: shape (B, N).
        probe: the referee's probe, so that its meter counts them; one of its own by default.

    Returns:
        Names, and distances (B,), NaN without a well.
    """
    if not surface.wells:
        return (None,) * len(points), torch.full((len(points),), float("nan"), dtype=torch.float64)
    minima = torch.stack([well.minimum for well in surface.wells])
    scale = _scale(surface, minima)
    settled = descend(probe or Probe(surface), points, minima, scale)
    gaps = torch.cdist(settled, minima)
    nearest = gaps.argmin(1)
    reached = gaps.gather(1, nearest[:, None])[:, 0] < REACHED * scale
    names = tuple(surface.wells[int(k)].name if ok else None for k, ok in zip(nearest, reached, strict=True))
    distance = (points - minima[nearest]).norm(dim=1)
    return names, torch.where(reached, distance, float("nan"))


def _scale(surface: Surface, minima: Tensor) -> float:
    """A length of the landscape: the smallest distance between two wells, else a tenth of the box, else one."""
    if len(minima) > 1:
        gaps = torch.cdist(minima, minima) + torch.eye(len(minima), dtype=torch.float64) * 1e300
        return float(gaps.min())
    if surface.box is not None:
        return float((surface.box[:, 1] - surface.box[:, 0]).min()) / 10
    return 1.0
