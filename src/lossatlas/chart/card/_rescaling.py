"""Which changes of the weights that leave a network's function alone leave its picture alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lossatlas._errors import ModelError
from lossatlas.chart.card._entry import Within
from lossatlas.chart.card._picture_entries import Invariance
from lossatlas.chart.planes._normalize import normalize
from lossatlas.curvature import joints
from lossatlas.surface import NetworkSurface, Surface

if TYPE_CHECKING:
    from lossatlas.surface import Layout

# Drawn directions follow the weights through the norms of whole tensors, of filters, or of single weights. Only the
# last follow a unit whose outgoing weights lie spread over the filters of the next layer (Dinh et al. 2017).
_FOLLOWS = {
    "filter": "layer",
    "layer": "layer",
    "weight": "neuron",
    "none": "none",
    "dfilter": "none",
    "dlayer": "none",
}


def drawn_with(kind: str, how: dict[str, Any]) -> str | None:
    """The normalization of a plane's directions, or None where they were not all drawn at random."""
    return str(how["normalization"]) if kind == "random" else None


def scaling_of(layout: Layout, origin: Tensor, kind: str, how: dict[str, Any]) -> Tensor | None:
    """D (N,) such that drawn directions are Dz for a Gaussian z, up to the fluctuation of ‖z‖ within a filter.

    The normalization of a direction of ones: |w_j|/√n_j on filter j, |w_i| on single weights, 0 on what does not move.
    None where the directions were not drawn, are partly the weights themselves, or are not scaled at all.
    """
    name = drawn_with(kind, how)
    if name is None or (name.startswith("li2018") and how.get("ignore") == "nothing"):
        return None
    ones = torch.ones(layout.dimension, dtype=torch.float64)
    scaled = normalize(ones, origin.double().cpu(), layout, name, ignore=how.get("ignore")).abs()
    return None if bool((scaled == scaled[0]).all()) else scaled


def invariance(
    surface: Surface,
    origin: Tensor,
    how: dict[str, Any],
    kind: str,
    scaling: Tensor | None,
    gradient: Tensor | None,
    frozen_trace: Within | None,
) -> Invariance | None:
    """The line on invariances; None on a surface that is no network's.

    Args:
        surface: what was charted.
        origin: of the plane.
        how: its record.
        kind: its kind.
        scaling: D, or None.
        gradient: g (N,), or None.
        frozen_trace: share of tr H that D holds at zero, or None.
    """
    if not isinstance(surface, NetworkSurface):
        return None
    name = drawn_with(kind, how)
    if name is None:
        kept = "joint" if kind == "between" else "none"
    else:
        kept = _FOLLOWS[name.removeprefix("li2018").removeprefix("-") or "filter"]
    still = torch.zeros(surface.dimension, dtype=torch.bool) if scaling is None else scaling.cpu() == 0
    square = torch.zeros(surface.dimension) if gradient is None else gradient.cpu().square()
    total = float(square.sum())
    gauge, why = _gauge(surface, origin)
    return Invariance(
        normalization=name,
        rescaling=kept,
        gauge=gauge,
        why=why,
        batchnorm=str(how.get("batchnorm", surface.batchnorm)) if surface.tracked else None,
        frozen=float(still.double().mean()),
        frozen_gradient=float(square[still].sum()) / total if total > 0 else 0.0,
        frozen_trace=frozen_trace if bool(still.any()) else None,
    )


def _gauge(surface: NetworkSurface, origin: Tensor) -> tuple[float | None, str]:
    """The largest ratio of a hidden unit's incoming to its outgoing norm, or its inverse; or why there is none."""
    try:
        found = joints(surface.model)
    except ModelError as error:
        return None, str(error)
    named = surface.layout.split(origin.detach().double().cpu())
    worst = 1.0
    for joint in found:
        inward, outward = (_weight(named, name, surface.model) for name in (joint.before, joint.after))
        into = inward.reshape(joint.units, -1).norm(dim=1)
        out = outward.reshape(outward.shape[0], joint.units, -1).norm(dim=(0, 2))
        ratios = torch.where((into > 0) & (out > 0), into / out, 1.0)
        worst = max(worst, float(torch.maximum(ratios, 1 / ratios).max()))
    return worst, ""


def _weight(named: dict[str, Tensor], name: str, model: nn.Module) -> Tensor:
    key = f"{name}.weight" if name else "weight"
    own = model.get_submodule(name).weight
    assert isinstance(own, Tensor)
    return named.get(key, own.detach().double().cpu())
