"""REPAIR: units of an averaged network get back the means and deviations that they have in the networks it is made of.

Averaging two units that are not quite alike loses variance, and what is lost adds up with depth. Where batch norm
follows, re-estimated statistics undo it; elsewhere gain and shift of the layer itself are corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lossatlas._errors import NotApplicableError
from lossatlas.connect._endpoints import End
from lossatlas.connect.symmetry._specification import Axis, Specification
from lossatlas.probe import Meter, Probe, Values
from lossatlas.surface import NetworkSurface, StateSurface

TINY = 1e-6


@dataclass(frozen=True)
class Site:
    """A module whose outputs are corrected: a batch norm, or a layer with a shift of its own."""

    name: str
    tap: Axis
    norm: bool


@final
class Repair:
    """Corrects averages of networks.

    In a network with batch norm every norm in front of hidden units gets the interpolated deviations as its gains and
    the interpolated means as its shifts, and then all statistics are re-estimated. In one without, layers are corrected
    one after the other, as each changes what the next one sees.

    Args:
        surface: of the network.
        ends: the networks, aligned.
        specification: tells which outputs are hidden units.
        limit: use at most so many examples.

    Raises:
        NotApplicableError: if there is no layer that could be corrected.

    Source:
        Jordan, Sedghi, Saukh, Entezari and Neyshabur: REPAIR: renormalizing permuted activations for interpolation
        repair, ICLR 2023, section 3.
    """

    def __init__(
        self, surface: NetworkSurface, ends: Sequence[End], specification: Specification, limit: int | None = None
    ) -> None:
        self._surface, self._limit = surface, limit
        self._states = StateSurface(surface)
        self._sites = sites(self._states, specification)
        if not self._sites:
            raise NotApplicableError(
                f"{surface.name} has no layer to repair: none that makes hidden units has a shift (a bias) of its own."
            )
        self._norm = self._sites[0].norm
        self._probes: list[Probe] = []
        goals = self._moments([site.name for site in self._sites], torch.stack([end.state for end in ends]))
        self._goals = {site.name: goals[site.name] for site in self._sites}
        self._measure = Probe(StateSurface(surface, measure=True)) if self._norm else None

    @property
    def meters(self) -> list[Meter]:
        """What it cost so far."""
        return [probe.meter for probe in [*self._probes, *([self._measure] if self._measure else [])]]

    def at(self, shares: Sequence[float], state: Tensor) -> Tensor:
        """The average (N + S,) of the networks with these shares, which add up to 1, repaired."""
        weights = torch.tensor(shares, dtype=torch.float64)[:, None]
        tensors = self._states.split(state)
        for site in self._sites:
            means, deviations = ((weights.to(goal) * goal).sum(0) for goal in self._goals[site.name])
            gain, shift = f"{site.name}.weight", f"{site.name}.bias"
            if site.norm:
                sign = torch.where(tensors[gain] < 0, -1.0, 1.0).to(tensors[gain])
                tensors[gain], tensors[shift] = sign * deviations.to(tensors[gain]), means.to(tensors[shift])
                continue
            ((mean,), (deviation,)) = self._moments([site.name], self._states.join(tensors)[None])[site.name]
            alive = deviation > TINY
            factor = torch.where(alive, deviations / deviation.clamp_min(TINY), torch.ones_like(deviation))
            weight = tensors[gain]
            tensors[gain] = (weight.double() * factor.reshape(-1, *[1] * (weight.ndim - 1))).to(weight)
            tensors[shift] = ((tensors[shift].double() - mean) * factor + means).to(weight)
        repaired = self._states.join(tensors)
        if self._measure is None:
            return repaired
        measured = self._measure.evaluate(Values(repaired[None])).extras["statistics"][0]
        return torch.cat([repaired[: self._states.parameters], measured.to(repaired)])

    def _moments(self, modules: list[str], points: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and deviation of every unit at some points, each (B, units), for each module."""
        taps = {site.name: site.tap for site in self._sites}
        found = {}
        # One module at a time: the outputs of all of them at once may not fit in memory.
        for name in modules:
            probe = Probe(StateSurface(self._surface, taps=[name], limit=self._limit))
            self._probes.append(probe)
            outputs = probe.evaluate(Values(points)).extras[f"tap/{name}"]
            rows = torch.stack([taps[name].rows(output).double() for output in outputs])
            found[name] = (rows.mean(2), rows.std(2, correction=0))
        return found


def sites(states: StateSurface, specification: Specification) -> list[Site]:
    """Where a network can be corrected, in the order of its layers: at batch norms if it has any, else at layers."""
    shapes = {block.name: block.shape for block in states.layout.blocks}
    kinds = {block.name: block.kind for block in states.layout.blocks}
    found: dict[str, Site] = {}
    for group in specification.groups:
        for tap in group.taps:
            name, units = tap.axis.name, (group.units,)
            gain, shift = f"{name}.weight", f"{name}.bias"
            if not tap.axis.plain or shapes.get(shift) != units or shapes.get(gain, ())[:1] != units:
                continue
            norm = f"{name}.running_mean" in shapes
            if norm or len(shapes[gain]) > 1:
                found[name] = Site(name, tap.axis, norm)
    norms = [site for site in found.values() if site.norm]
    order = {name: place for place, name in enumerate(kinds)}
    return sorted(norms or found.values(), key=lambda site: order[f"{site.name}.weight"])
