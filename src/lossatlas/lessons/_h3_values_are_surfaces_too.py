"""H3: the value of a policy is a surface too, and a policy gradient descends it by values alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import optimizer
from lossatlas.probe import Meter, Probe, Values
from lossatlas.race import Race, race, wilson
from lossatlas.surface import Surface, landscapes

CLAIM = (
    "The value of a policy is a surface over the policy's parameters, smoother than the surface of its actions; a policy gradient "
    "(evolution strategies) descends it by values alone, and forgets them."
)
# Fixed before the first run.
SIGMAS, GRID, NODES = (0.1, 0.5, 1.0, 1.5), 41, 16
# Rates in proportion to σ, so that steps are of one length.
NARROW, WIDE, STEPS, RATE = SIGMAS[0], SIGMAS[-1], 300, 0.2
PLACES, NEAR = 12, 30.0
FLOAT = 8.0

Array = NDArray[np.float64]


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Value surfaces of Gaussian policies by quadrature; steps of evolution strategies held against their gradient."""
    yield (
        "An action costs its loss on the four wells; a policy draws actions from a Gaussian around θ with standard deviation σ, and its "
        f"value J(θ) is the expected loss, computed by quadrature for σ = {', '.join(map(str, SIGMAS))}. The first steps of evolution "
        f"strategies from {PLACES} random policies, averaged over {20 * runs} runs, are compared with −∇J; then {runs} runs train a "
        f"narrow policy (σ = {NARROW}) and a wide one (σ = {WIDE}) for {STEPS} steps."
    )
    surface = landscapes.four_wells()
    probe = Probe(surface)
    fields = {sigma: value_map(surface, sigma, probe) for sigma in SIGMAS}
    counts = {sigma: minima(field) for sigma, field in fields.items()}
    yield Check(
        "the value surface is smoother: the wider the policy, the fewer minima it has",
        ", ".join(f"{count} at σ = {sigma}" for sigma, count in counts.items()),
        all(counts[a] >= counts[b] for a, b in itertools.pairwise(SIGMAS)) and counts[SIGMAS[-1]] < counts[SIGMAS[0]],
    )
    angles, meter = _angles(surface, 20 * runs, seed, probe)
    yield Check(
        f"the mean step of evolution strategies goes down the value surface (within {NEAR:g}° of −∇J, in the median)",
        f"{np.median(angles):.0f}° from it in the median over {PLACES} policies, {max(angles):.0f}° at most",
        float(np.median(angles)) < NEAR,
    )
    racers = {f"σ = {sigma}": optimizer("evolution", sigma=sigma, lr=RATE * sigma) for sigma in (NARROW, WIDE)}
    made = race(surface, racers, steps=STEPS, runs=runs, seed=seed)
    track = made.tracks[f"σ = {WIDE}"]
    population = racers[f"σ = {WIDE}"].settings()["population"]
    each = np.diff(track.queries[:STEPS])
    yield Check(
        f"it evaluates {population} values and no gradient per step, and holds no more the longer it runs",
        f"{each.min()} to {each.max()} values per step, {track.meter.gradients} gradients, {track.growth:+.2g} bytes per query",
        bool((each == population).all()) and track.meter.gradients == 0 and abs(track.growth) < FLOAT,
    )
    found = {label: sum(well == "global" for well in made.verdicts[label].wells) for label in racers}
    ends = {label: wilson(count, runs) for label, count in found.items()}
    narrow, wide = racers
    yield Check(
        "a wide policy sees over the trap that a narrow one ends in (more runs in the global well, 95 % intervals apart)",
        ", ".join(
            f"{count} of {runs} at {label} ({ends[label][0]:.0%} to {ends[label][1]:.0%})"
            for label, count in found.items()
        ),
        ends[wide][0] > ends[narrow][1],
    )
    yield Ending(
        spent(probe.meter, meter, *made.meter.values()),
        caveats=(
            "One decision and no states: with states the value sums the losses of a whole course, and the surface over the parameters "
            "is the same kind of object.",
            "Our evolution strategies rank their values, so that their step has the direction of −∇J only about.",
            "A wide policy finds the basin, and its mean stays near the bottom; its actions remain as wide as before.",
        ),
        data={"minima": {str(s): c for s, c in counts.items()}, "angles": angles, "global": found},
        pictures={"value": _picture(surface, made, fields[WIDE])},
    )


def _nodes(sigma: float) -> tuple[Tensor, Tensor]:
    """Points ε·σ of a Gauss–Hermite rule in the plane, (n², 2), and their weights."""
    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    grid = np.stack([part.ravel() for part in np.meshgrid(points, points)], 1)
    return torch.from_numpy(sigma * grid), torch.from_numpy(np.outer(weights, weights).ravel())


def values_of(surface: Surface, policies: Tensor, sigma: float, probe: Probe) -> Tensor:
    """J(θ) = E[L(θ + σε)], ε ~ N(0, I), of policies (B, 2), by quadrature, (B,)."""
    nodes, weights = _nodes(sigma)
    rows = []
    for part in torch.split(policies, 64):
        losses = probe.evaluate(Values((part[:, None] + nodes).reshape(-1, 2))).values
        rows.append(losses.reshape(len(part), -1) @ weights)
    return torch.cat(rows)


def slopes_of(surface: Surface, policies: Tensor, sigma: float, probe: Probe) -> Tensor:
    """∇J(θ) = E[L(θ + σε) ε] / σ, the policy gradient, by the same quadrature, (B, 2)."""
    nodes, weights = _nodes(sigma)
    losses = probe.evaluate(Values((policies[:, None] + nodes).reshape(-1, 2))).values.reshape(len(policies), -1)
    return torch.einsum("bn,n,nd->bd", losses, weights, nodes) / sigma**2


def value_map(surface: Surface, sigma: float, probe: Probe) -> Array:
    """J on a grid over the box, a row per second coordinate."""
    assert surface.box is not None
    x, y = (torch.linspace(low, high, GRID, dtype=torch.float64) for low, high in surface.box.tolist())
    cells = torch.stack([x.repeat(GRID), y.repeat_interleave(GRID)], 1)
    return np.asarray(values_of(surface, cells, sigma, probe).reshape(GRID, GRID).numpy())


def minima(field: Array) -> int:
    """How many inner cells lie below all of their eight neighbors."""
    inner = field[1:-1, 1:-1]
    rows, columns = field.shape
    shifts = [(i, j) for i in (0, 1, 2) for j in (0, 1, 2) if (i, j) != (1, 1)]
    return int(np.all([inner < field[i : rows - 2 + i, j : columns - 2 + j] for i, j in shifts], axis=0).sum())


def _angles(surface: Surface, runs: int, seed: int, probe: Probe) -> tuple[list[float], Meter]:
    """Degrees between the mean first step of evolution strategies and −∇J, at random policies; what the steps cost."""
    assert surface.box is not None
    generator = torch.Generator().manual_seed(seed)
    low, high = 0.7 * surface.box[:, 0], 0.7 * surface.box[:, 1]
    policies = low + (high - low) * torch.rand(PLACES, 2, generator=generator, dtype=torch.float64)
    sigma = optimizer("evolution").settings()["sigma"]
    slopes = slopes_of(surface, policies, sigma, probe)
    angles, meter = [], Meter()
    for policy, slope in zip(policies, slopes, strict=True):
        made = race(surface, ["evolution"], start=policy, steps=2, runs=runs, seed=seed)
        meter = meter + made.meter["evolution"]
        step = (made.last("evolution") - policy).mean(0)
        cosine = float(torch.nn.functional.cosine_similarity(step, -slope, dim=0))
        angles.append(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
    return angles, meter


def _picture(surface: Surface, made: Race, field: Array) -> Any:
    from lossatlas.draw import FieldDisplay, PathsDisplay

    assert surface.box is not None
    x, y = (np.linspace(low, high, GRID) for low, high in surface.box.tolist())
    ground = FieldDisplay(
        x, y, field, xlabel="θ₁", ylabel="θ₂", zlabel="value J, the expected loss",
        wells=[(well.name, float(well.minimum[0]), float(well.minimum[1])) for well in surface.wells],
    )  # fmt: skip
    paths = {f"policy of {label}": path[made.typical(label)].numpy() for label, path in made.trajectories.items()}
    return PathsDisplay(
        ground,
        paths,
        title=f"The value surface of a policy with σ = {WIDE}, and how policies train on it",
        note="Typical runs of policy gradients; marked are the wells of the loss, most of which are no minima of the value",
    )


LESSON = Lesson(
    "H3",
    CLAIM,
    experiment,
    runs=100,
    quick=25,
    depends="how wide the policy is against the wells, and on the learning rate.",
)
