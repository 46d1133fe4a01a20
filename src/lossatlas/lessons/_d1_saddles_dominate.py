"""D1: saddles dominate and local minima are rare, on random fields and at network points that really are critical."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossatlas.curvature import CriticalPoint, CriticalPoints, critical_points
from lossatlas.demo import digits
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
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


def experiment(runs: int, seed: int) -> Part:
    """Search random fields of several dimensions, and 27-parameter networks; count only true critical points."""
    meters: list[Meter] = []
    data: dict[str, Any] = {"fields": {}, "networks": {}}
    shares: dict[int, tuple[float, float, float]] = {}
    saddles: dict[int, tuple[float, float, float]] = {}
    climbs: dict[int, tuple[float, float, float]] = {}
    for n in DIMENSIONS:
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
    known = [float(landscapes.field_indices(n).shares[0]) for n in DIMENSIONS]
    checks = (
        Check(
            "random fields: minima get rarer with every dimension (the interval of the last below that of the first)",
            _listed(shares),
            all(shares[a][0] > shares[b][0] for a, b in itertools.pairwise(DIMENSIONS))
            and shares[DIMENSIONS[-1]][2] < shares[DIMENSIONS[0]][1],
        ),
        Check(
            "random fields: most critical points are saddles from 3 dimensions on (lower end above 1/2)",
            _listed(saddles),
            all(saddles[n][1] > 0.5 for n in DIMENSIONS if n >= 3),
        ),
        Check(
            "no search at all: by the formula of Kac and Rice the share of minima falls by more than half from each to the next",
            ", ".join(f"{n}-D {share:.2%}" for n, share in zip(DIMENSIONS, known, strict=True)),
            all(b < a / 2 for a, b in itertools.pairwise(known)),
        ),
        Check(
            "random fields: the index rises with the height (mean rank correlation of a field, lower end above 0)",
            ", ".join(f"{n}-D {m:.2f} [{low:.2f}, {high:.2f}]" for n, (m, low, high) in climbs.items()),
            all(low > 0 for _, low, _ in climbs.values()),
        ),
        Check(
            "networks: most true critical points are saddles (lower end above 1/2)",
            f"{kinds.count('saddle')} of {len(kinds)}: {_range(net_saddles)}; {kinds.count('minimum')} minima",
            net_saddles[1] > 0.5,
        ),
        Check(
            "networks: the index of true critical points rises with the loss (lower end above 0)",
            f"rank correlation {_range(rise, plain=True)} over {len(true)}",
            rise[1] > 0,
        ),
    )
    return Part(
        f"{runs} random Gaussian fields in each of {', '.join(map(str, DIMENSIONS))} dimensions, {STARTS} Newton searches on each "
        f"from uniform starts; {runs} tanh networks of 27 parameters on {EXAMPLES} digits, {NETWORK_STARTS} searches each. Counted "
        "is what is labeled true, each point once; shares with Wilson's 95 % intervals.",
        checks,
        spent(*meters),
        caveats=(
            f"of {total} searches on networks only {sum(found.counts['true'] for found in nets)} ended at a critical point; the "
            f"{len(others)} others, which are none, have a rank correlation of index and loss of {_range(rise_of_others, plain=True)}",
            "a search finds some critical points more easily than others: shares found are not those of all there are "
            "(for fields the formula says those: "
            + ", ".join(f"{n}-D {data['fields'][str(n)]['saddles_by_kac_and_rice']:.1%} saddles" for n in DIMENSIONS)
            + ")",
            "shares are over all points found: those of one field or network are not independent, so their intervals are narrower "
            "than ones over fields or networks would be",
            "27 parameters with weight decay are no deep network",
        ),
        data=data,
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
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if plain else f"{value:.1%} [{low:.1%}, {high:.1%}]"


def _listed(shares: dict[int, tuple[float, float, float]]) -> str:
    return ", ".join(f"{n}-D {_range(three)}" for n, three in shares.items())


LESSON = Lesson("D1", CLAIM, experiment, runs=20)
