"""D1: saddles dominate and local minima are rare, on random fields and at network points that really are critical."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossatlas.curvature import CriticalPoint, CriticalPoints, critical_points
from lossatlas.demo import digits
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._statistics import mean, spearman
from lossatlas.probe import Meter
from lossatlas.race import wilson
from lossatlas.surface import NetworkSurface, landscapes

CLAIM = (
    "Among critical points saddles dominate and local minima are rare, the more so the more dimensions, and the higher a "
    "critical point lies, the more of its directions go down."
)
DIMENSIONS, STARTS = (2, 3, 5, 8), 10
NETWORK_STARTS, SPREAD = 2, 0.5
CLASSES, COMPONENTS, HIDDEN, EXAMPLES, DECAY = 3, 4, 3, 120, 1e-3


class Decayed(nn.Module):
    """A tanh network of 27 parameters whose output carries mean squared error plus weight decay as its loss."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(COMPONENTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES)).double()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in self.parameters():
                width = p.shape[-1] if p.ndim > 1 else 1
                p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) / width**0.5)

    def forward(self, x: Tensor, labels: Tensor) -> Any:
        """An object with a ``loss``."""
        decay = sum((p.square().sum() for p in self.parameters()), start=torch.zeros((), dtype=torch.float64))
        return SimpleNamespace(loss=functional.mse_loss(self.body(x), labels) + 0.5 * DECAY * decay)


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Search random fields of several dimensions, and 27-parameter networks; count only true critical points."""
    dimensions = DIMENSIONS[:3] if quick else DIMENSIONS
    yield (
        f"In {', '.join(map(str, dimensions))} dimensions, {runs} random Gaussian fields each are searched for critical points by "
        f"Newton's method from {STARTS} random starts, and {runs} tanh networks of 27 parameters on {EXAMPLES} digits from "
        f"{NETWORK_STARTS} starts. Only what is a critical point indeed is counted, each once; shares have Wilson's 95 % intervals."
    )
    meters: list[Meter] = []
    data: dict[str, Any] = {"fields": {}, "networks": {}}
    shares: dict[int, tuple[float, float, float]] = {}
    saddles: dict[int, tuple[float, float, float]] = {}
    climbs: dict[int, tuple[float, float, float]] = {}
    for n in dimensions:
        fields = []
        for run in range(runs):
            surface = landscapes.random_field(n, seed + run)
            fields.append(critical_points(surface, starts=STARTS, seed=seed + run, progress=False))
        meters += [found.meter for found in fields]
        points = [point for found in fields for point in found.distinct()]
        kinds = [point.kind for point in points]
        shares[n], saddles[n] = (_share(kinds.count(kind), len(kinds)) for kind in ("minimum", "saddle"))
        climbs[n] = mean([spearman(*_columns(found.distinct()))[0] for found in fields if len(found.distinct()) >= 5])
        theory = landscapes.field_indices(n)
        data["fields"][str(n)] = {
            "true": len(points),
            "labels": _labels(fields),
            "minima": shares[n],
            "minima_by_kac_and_rice": float(theory.shares[0]),
            "saddles": saddles[n],
            "saddles_by_kac_and_rice": float(theory.shares[1:-1].sum()),
        }
    known = [float(landscapes.field_indices(n).shares[0]) for n in dimensions]
    yield Check(
        "by the formula of Kac and Rice, without any search, the share of minima falls by more than half from each dimension to the next",
        ", ".join(f"{share:.1%} in {n}" for n, share in zip(dimensions, known, strict=True)) + " dimensions",
        all(b < a / 2 for a, b in itertools.pairwise(known)),
    )
    yield Check(
        "on random fields minima become rarer with every dimension (interval of the last below that of the first)",
        _listed(shares),
        all(shares[a][0] > shares[b][0] for a, b in itertools.pairwise(dimensions))
        and shares[dimensions[-1]][2] < shares[dimensions[0]][1],
    )
    yield Check(
        "from 3 dimensions on most critical points of a field are saddles (more than half, interval)",
        _listed(saddles),
        all(saddles[n][1] > 0.5 for n in dimensions if n >= 3),
    )
    yield Check(
        "the higher a critical point of a field lies, the more of its directions lead down (mean rank correlation, interval above 0)",
        ", ".join(f"{m:.2f} ({low:.2f} to {high:.2f}) in {n}" for n, (m, low, high) in climbs.items()) + " dimensions",
        all(low > 0 for _, low, _ in climbs.values()),
    )
    nets = _networks(runs, seed)
    meters += [found.meter for found in nets]
    true = [point for found in nets for point in found.distinct()]
    others = [point for found in nets for point in found if point.label != "true"]
    kinds = [point.kind for point in true]
    net_saddles = _share(kinds.count("saddle"), len(kinds))
    rise, rise_of_others = (spearman(*_columns(some)) for some in (true, others))
    total = sum(len(found) for found in nets)
    data["networks"] = {
        "labels": _labels(nets),
        "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "spearman_of_true": rise,
        "spearman_of_others": rise_of_others,
    }
    yield Check(
        "on networks most critical points are saddles (more than half, interval)",
        f"{kinds.count('saddle')} of {len(kinds)}, which is {_range(net_saddles)}; {kinds.count('minimum')} are minima",
        net_saddles[1] > 0.5,
    )
    yield Check(
        "the higher a critical point of a network lies, the more of its directions lead down (rank correlation, interval above 0)",
        f"{_range(rise, plain=True)} over {len(true)} critical points",
        rise[1] > 0,
    )
    yield Ending(
        spent(*meters),
        caveats=(
            f"Of {total} searches on networks only {sum(found.counts['true'] for found in nets)} ended at a critical point; the "
            f"{len(others)} other ends, which are none, have a rank correlation of index and loss of {_range(rise_of_others, plain=True)}.",
            "A search finds some critical points more easily than others, so that shares found are not those of all there are; for "
            "fields the formula says those: "
            + ", ".join(f"{data['fields'][str(n)]['saddles_by_kac_and_rice']:.0%} saddles in {n}" for n in dimensions)
            + " dimensions.",
            "Points of one field or network are not independent, so that intervals over fields or networks would be wider.",
            "A network of 27 parameters with weight decay is no deep network.",
        ),
        data=data,
        pictures={"shares": _picture(shares, saddles, known)},
    )


def _picture(shares: dict[int, Any], saddles: dict[int, Any], known: list[float]) -> Any:
    from lossatlas.draw import CurvesDisplay

    curves = {
        name: (list(found), *(list(part) for part in zip(*found.values(), strict=True)))
        for name, found in (("saddles", saddles), ("minima", shares))
    }
    return CurvesDisplay(
        {**curves, "minima, by Kac and Rice": (list(shares), known)},
        xlabel="dimensions of the random field",
        ylabel="share of the critical points",
        xscale="linear",
        yscale="linear",
        points=True,
        title="The more dimensions, the fewer critical points are minima",
        note="Found by Newton's method, with Wilson's 95 % intervals, and computed without a search",
    )


def _networks(runs: int, seed: int) -> list[CriticalPoints]:
    x, y = digits("all")
    kept = y < CLASSES
    x, y = x[kept][:EXAMPLES].double(), y[kept][:EXAMPLES]
    center = x - x.mean(0)
    parts = center @ torch.linalg.svd(center, full_matrices=False).Vh[:COMPONENTS].T
    batch = {"x": parts / parts.std(0), "labels": functional.one_hot(y, CLASSES).double()}
    found = []
    for run in range(seed, seed + runs):
        surface = NetworkSurface(Decayed(run), "model", batch)
        found.append(
            critical_points(
                surface, starts=NETWORK_STARTS, method="gradient-norm", seed=run, spread=SPREAD, progress=False
            )
        )
    return found


def _columns(points: Sequence[CriticalPoint]) -> tuple[list[float], list[float]]:
    return [point.loss for point in points], [point.share for point in points]


def _labels(searches: list[CriticalPoints]) -> dict[str, int]:
    return {label: sum(found.counts[label] for found in searches) for label in searches[0].counts}


def _share(count: int, total: int) -> tuple[float, float, float]:
    return (count / total, *wilson(count, total)) if total else (0.0, 0.0, 1.0)


def _range(three: tuple[float, float, float], *, plain: bool = False) -> str:
    value, low, high = three
    return f"{value:.2f} ({low:.2f} to {high:.2f})" if plain else f"{value:.0%} ({low:.0%} to {high:.0%})"


def _listed(shares: dict[int, tuple[float, float, float]]) -> str:
    return ", ".join(f"{_range(three)} in {n}" for n, three in shares.items()) + " dimensions"


LESSON = Lesson(
    "D1",
    CLAIM,
    experiment,
    runs=20,
    quick=3,
    depends="the model of a random surface: networks are no Gaussian fields, and what is found depends on the search.",
)
