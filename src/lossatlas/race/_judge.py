"""The referee at the end of a race: gradients, basins and kinds of ends of all final points, a verdict per racer."""

from __future__ import annotations

import torch
from torch import Tensor

from lossatlas.probe import Gradients, Probe
from lossatlas.race._ends import kinds
from lossatlas.race._track import Track
from lossatlas.race._verdict import Verdict, basins
from lossatlas.surface import Surface


def judge(surface: Surface, referee: Probe, tracks: dict[str, Track]) -> dict[str, Verdict]:
    """Evaluate the final points of all racers in one go, and say of each racer how its runs ended.

    Args:
        surface: what was raced on.
        referee: its own probe, counted for no racer.
        tracks: the records by label.
    """
    ran = [label for label, track in tracks.items() if track.stopped[0] != "not applicable"]
    gradients: dict[str, Tensor] = {}
    ends: dict[str, tuple[str, ...]] = {}
    places: dict[str, tuple[tuple[str | None, ...], Tensor]] = {}
    if ran and surface.gradients_known:
        sizes = [len(tracks[label].final) for label in ran]
        points = torch.cat([tracks[label].final for label in ran])
        found = referee.evaluate(Gradients(points)).gradients.double()
        names, distance = basins(surface, points, referee)
        begin = 0
        for label, size in zip(ran, sizes, strict=True):
            here = slice(begin, begin + size)
            begin += size
            gradients[label] = _lengths(found[here])
            places[label] = names[here], distance[here]
            ends[label] = kinds(surface, referee, tracks[label], found[here])
    return {
        label: _verdict(surface, label, track, gradients.get(label), ends.get(label), places.get(label))
        for label, track in tracks.items()
    }


def _verdict(
    surface: Surface,
    label: str,
    track: Track,
    gradients: Tensor | None,
    ends: tuple[str, ...] | None,
    place: tuple[tuple[str | None, ...], Tensor] | None,
) -> Verdict:
    nothing = torch.full((len(track.final),), float("nan"), dtype=torch.float64, device=track.final.device)
    wells, away = place or ((None,) * len(track.final), nothing)
    gone = [why == "diverged" for why in track.stopped]
    wells = tuple(None if bad else well for well, bad in zip(wells, gone, strict=True))
    away = torch.where(torch.tensor(gone, device=away.device), float("nan"), away)
    unknown = tuple(
        {"not applicable": "not run", "diverged": "divergence"}.get(why, "unknown") for why in track.stopped
    )
    return Verdict(
        racer=label,
        wells=wells,
        distance=away,
        loss=track.loss,
        gradient_norm=nothing if gradients is None else gradients,
        stopped=track.stopped,
        queries=track.meter.per_run,
        known=bool(surface.wells) and surface.gradients_known,
        lowest=min((well.value for well in surface.wells), default=None),
        ends=ends or unknown,
        alike=track.alike,
        why=track.why,
    )


def _lengths(vectors: Tensor) -> Tensor:
    """Of vectors (runs, N), those included whose squares are no numbers any longer, (runs,)."""
    plain = vectors.norm(dim=1)
    largest = vectors.abs().amax(1)
    scaled = largest * (vectors / torch.where(largest > 0, largest, 1.0)[:, None]).norm(dim=1)
    return torch.where((plain.isinf() | (plain == 0)) & largest.isfinite(), scaled, plain)
