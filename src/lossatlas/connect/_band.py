"""A nudged elastic band: pivots that slide down across the path but not along it, evenly spread, more where it is high."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from lossatlas._layout import Sample
from lossatlas.connect._curve import Array, Curve
from lossatlas.connect._curve_trainer import ControlPoints, Recipe
from lossatlas.probe import Answer, Gradients, Query, Values

CYCLES = 4
# Points that are looked at inside each segment, and by which share of the band's height one must stick out.
INSIDE, STICKS_OUT = 3, 0.2


@final
class Band:
    """Moves the pivots of a chain by the part of −∇L that is perpendicular to it, with springs of infinite strength.

    The tangent at a pivot points to its neighbor with the higher loss. After every step the pivots are spread evenly
    over the length of the chain. Between the cycles new pivots are put into segments whose loss sticks out.

    Args:
        curve: a chain to begin with; its ends stay.
        recipe: how; the steps are shared by the cycles.
        most: pivots between the ends that there may be in the end.
        cycles: how many.

    Source:
        Henkelman and Jónsson: Improved tangent estimate in the nudged elastic band method, J. Chem. Phys. 113 (2000);
        Draxler, Veschgini, Salmhofer and Hamprecht: Essentially no barriers in neural network energy landscape, ICML
        2018 (infinite springs, insertion).
    """

    def __init__(self, curve: Curve, recipe: Recipe, most: int, cycles: int = CYCLES) -> None:
        self.recipe, self._most, self._cycles = recipe, most, min(cycles, recipe.steps)
        self._pivots = curve.controls.clone()
        self._points = ControlPoints(self._pivots, recipe)
        self.step, self.losses = 0, list[float]()
        self._looked = 0

    @property
    def curve(self) -> Curve:
        """As it is now."""
        return Curve("band", self._pivots)

    def next_query(self) -> Query | None:
        """The losses inside the segments where a cycle ends, else the gradients at all pivots on one mini-batch."""
        if self.step >= self.recipe.steps:
            return None
        cycle = self.step * self._cycles // self.recipe.steps
        if cycle > self._looked:
            return Values(self.curve.points(self._inside()))
        _, sample = self.recipe.draw(self.step)
        shared = None if sample is None else Sample(sample.size, sample.seeds.expand(len(self._pivots)))
        return Gradients(self._pivots, shared)

    def tell(self, answer: Answer) -> None:
        """Insert pivots, or move those there are."""
        if not answer.gradients.numel():
            self._looked += 1
            self._insert(answer.values.cpu().numpy())
            return
        gradients, values = answer.gradients.to(self._pivots.dtype), answer.values
        if self.recipe.weight_decay:
            gradients = gradients + self.recipe.weight_decay * self._pivots
        tangents = self._tangents(values)
        inner = gradients[1:-1]
        across = inner - (inner * tangents).sum(1, keepdim=True) * tangents
        self._pivots = spread(self._points.move(across, self.step))
        self._points.place(self._pivots)
        self.losses.append(float(values.mean()))
        self.step += 1

    def state(self) -> dict[str, Tensor]:
        """Pivots, what the optimizer remembers, losses so far, and how many cycles are over."""
        return {
            **self._points.state(),
            "controls": self._pivots,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "cycles": torch.tensor(self._looked),
        }

    def resume(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        self._pivots = state["controls"]
        self._points = ControlPoints.resumed(self._pivots, self.recipe, state)
        self.losses = state["losses"].tolist()
        self.step = len(self.losses)
        self._looked = int(state["cycles"])

    def _tangents(self, values: Tensor) -> Tensor:
        """Unit vectors (n − 1, N) at the inner pivots, towards the neighbor with the higher loss."""
        ahead, behind = self._pivots[2:] - self._pivots[1:-1], self._pivots[1:-1] - self._pivots[:-2]
        uphill = (values[2:] > values[:-2])[:, None].to(self._pivots.device)
        tangent = torch.where(uphill, ahead, behind)
        peak = (values[1:-1] >= values[2:]) & (values[1:-1] >= values[:-2])
        dip = (values[1:-1] <= values[2:]) & (values[1:-1] <= values[:-2])
        tangent = torch.where((peak | dip)[:, None].to(tangent.device), ahead + behind, tangent)
        lengths: Tensor = tangent.norm(dim=1, keepdim=True)
        return tangent / lengths.clamp_min(1e-30)

    def _inside(self) -> Array:
        """The values of t that are looked at: the pivots and `INSIDE` points between each two."""
        return np.linspace(0, 1, (len(self._pivots) - 1) * (INSIDE + 1) + 1)

    def _insert(self, values: Array) -> None:
        """Put a pivot into the segments that stick out most, and begin with a fresh optimizer."""
        ends = values[:: INSIDE + 1]
        inner = values[:-1].reshape(-1, INSIDE + 1)[:, 1:]
        share = np.arange(1, INSIDE + 1) / (INSIDE + 1)
        out = inner - ((1 - share) * ends[:-1, None] + share * ends[1:, None])
        height = float(np.ptp(values)) if np.isfinite(values).all() else float("inf")
        wanted = np.argsort(-out.max(1))[: max(0, self._most - (len(self._pivots) - 2))]
        at = [
            (k + share[int(out[k].argmax())]) / (len(self._pivots) - 1)
            for k in wanted
            if out[k].max() > STICKS_OUT * height
        ]
        if at:
            t = np.sort(np.concatenate([self.curve.nodes, at]))
            self._pivots = spread(self.curve.points(t))
        self._points = ControlPoints(self._pivots, self.recipe)


def spread(pivots: Tensor) -> Tensor:
    """The same number of points, evenly spread over the length of the chain through the given ones (n + 1, N)."""
    curve = Curve("chain", pivots)
    arc = curve.arc(curve.nodes)
    wanted = np.interp(np.linspace(0, arc[-1], len(arc)), arc, curve.nodes)
    wanted[0], wanted[-1] = 0.0, 1.0
    return curve.points(wanted)
