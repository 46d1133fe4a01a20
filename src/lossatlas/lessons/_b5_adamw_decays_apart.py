"""B5: AdamW decays weights apart from the gradient; Adam with L2 does not. On a bowl, and on a digits MLP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, meters_of, spent
from lossatlas.lessons._statistics import interval, mean, spearman
from lossatlas.optimize import TorchOptimizer, optimizer
from lossatlas.probe import Gradients, Probe, Products
from lossatlas.race import NetworkRace, network_race, race
from lossatlas.surface import NetworkSurface, landscapes

CLAIM = "AdamW decays the weights apart from the gradient; Adam with an L2 penalty does not, and ends elsewhere."
BOWL_STEPS, BOWL_DECAY, CONDITION, CLOSE = 6000, 0.1, 1000.0, 0.02
# On the network, fixed before the first run.
WIDTHS, STEPS, SHORT, BATCH, RATE, DECAY = (32,), 1000, 300, 64, 0.003, 0.01
EXACT, GONE, APART = 1e-9, 0.1, 0.1


@dataclass(frozen=True)
class Columns:
    """Lengths of the first layer's weights, one number per run and pixel, (runs, 64).

    Attributes:
        start: before training.
        ends: after it, by optimizer.
        slopes: of the gradient at the start.
        dark: (64,) pixels that are zero in every image: no gradient ever reaches their weights.
    """

    start: Tensor
    ends: dict[str, Tensor]
    slopes: Tensor
    dark: Tensor

    def kept(self, label: str) -> Tensor:
        """What share of the weights on dark pixels an optimizer has left, (runs,)."""
        left: Tensor = self.ends[label][:, self.dark].norm(dim=1) / self.start[:, self.dark].norm(dim=1)
        return left

    def agreement(self) -> list[float]:
        """Per run: rank correlation, over the other pixels, of the gradient with (what L2 left / what AdamW left)."""
        ratio = (self.ends["adam + L2"] / self.ends["adamw"])[:, ~self.dark]
        return [spearman(g.tolist(), r.tolist())[0] for g, r in zip(self.slopes[:, ~self.dark], ratio, strict=True)]


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """A badly scaled bowl, where the penalty's minimizer is known in closed form; then a digits network."""
    yield from _bowl(seed)
    yield from _network(runs, seed, SHORT if quick else STEPS)


def _bowl(seed: int) -> Iterator[Row]:
    yield (
        f"Adam, Adam with an L2 penalty and AdamW take {BOWL_STEPS:,} steps at rate {RATE} with a decay of {BOWL_DECAY} on a quadratic of "
        f"condition {CONDITION:,.0f} with its minimum at (2, 2)."
    )
    surface = landscapes.quadratic(condition=CONDITION).moved(shift=(2.0, 2.0))
    coupled = TorchOptimizer(torch.optim.Adam, lr=RATE, weight_decay=BOWL_DECAY)
    racers = {"adam": optimizer("adam", lr=RATE), "adam + L2": coupled}
    racers |= {"adamw": optimizer("adamw", lr=RATE, weight_decay=BOWL_DECAY)}
    result = race(surface, racers, steps=BOWL_STEPS, seed=seed)
    minimum = surface.wells[0].minimum
    probe = Probe(surface)
    products = probe.evaluate(Products(minimum[None], torch.eye(2, dtype=torch.float64)[None])).products
    assert products is not None
    hessian = products[0]
    penalized = torch.linalg.solve(hessian + BOWL_DECAY * torch.eye(2, dtype=torch.float64), hessian @ minimum)
    ends = {label: result.final(label)[0] for label in racers}
    l2 = float((ends["adam + L2"] - penalized).norm())
    apart = float((ends["adamw"] - penalized).norm())
    shrink = {label: (1 - end / minimum).tolist() for label, end in ends.items()}
    yield Check(
        f"Adam without decay ends in the minimum (within {CLOSE:g})",
        f"{float((ends['adam'] - minimum).norm()):.2g} away from it",
        float((ends["adam"] - minimum).norm()) < CLOSE,
    )
    yield Check(
        f"Adam with L2 ends where L + λ|θ|²/2 has its minimum (within {CLOSE:g})",
        f"{l2:.2g} away from it",
        l2 < CLOSE,
    )
    yield Check(
        f"AdamW ends elsewhere (at least {5 * CLOSE:g} from there)",
        f"{apart:.3g} away; it shrinks the weights by {shrink['adamw'][0]:.1%} and {shrink['adamw'][1]:.1%}, L2 by "
        f"{shrink['adam + L2'][0]:.1%} and {shrink['adam + L2'][1]:.1%}",
        apart > 5 * CLOSE,
    )
    yield Ending(
        spent(probe.meter, *result.meter.values()),
        caveats=("The pull of AdamW depends on the schedule of the rate; here the rate is constant.",),
        data={"ends": {label: end.tolist() for label, end in ends.items()}, "penalized": penalized.tolist()},
        pictures={"bowl": result.plot()},
    )


def _network(runs: int, seed: int, steps: int) -> Iterator[Row]:
    """Adam, Adam with L2 and AdamW from the same weights on the same mini-batches."""
    yield (
        f"The same three train a digits MLP 64-{WIDTHS[0]}-10 from {runs} initializations with {steps:,} mini-batches of {BATCH}, the same "
        f"for all, at rate {RATE} with a decay of {DECAY}."
    )
    x, y = digits("train")
    surface = NetworkSurface(digits_mlp(WIDTHS, seed=seed).double(), "cross_entropy", (x.double(), y))
    starts = torch.stack([surface.vector(digits_mlp(WIDTHS, seed=seed + run)) for run in range(runs)])
    racers = {
        "adam": optimizer("adam", lr=RATE),
        "adam + L2": TorchOptimizer(torch.optim.Adam, lr=RATE, weight_decay=DECAY),
        "adamw": optimizer("adamw", lr=RATE, weight_decay=DECAY),
    }
    u, v = digits("test")
    test = NetworkSurface(digits_mlp(WIDTHS, seed=seed).double(), "cross_entropy", (u.double(), v))
    made = network_race(
        surface, racers, test=test, batch_size=BATCH, steps=steps, runs=runs, starts=starts, checks=1, ends=0, seed=seed,
        progress=False,
    )  # fmt: skip
    probe = Probe(surface)
    slopes = probe.evaluate(Gradients(starts)).gradients
    weight = surface.layout.blocks[0]

    def columns(rows: Tensor) -> Tensor:
        lengths: Tensor = rows[:, weight.span].reshape(len(rows), *weight.shape).norm(dim=1)
        return lengths

    ends = {label: columns(made.final(label)) for label in racers}
    found = Columns(columns(starts), ends, columns(slopes), x.amax(0) == 0)
    yield from _told(found, made, starts, steps, spent(*meters_of(made), probe.meter))


def _told(found: Columns, made: NetworkRace, starts: Tensor, steps: int, cost: dict[str, int]) -> Iterator[Row]:
    expected = (1 - RATE * DECAY) ** steps
    kept = {label: found.kept(label) for label in made.runners}
    off = float((kept["adamw"] - expected).abs().max())
    stays = float((kept["adam"] - 1).abs().max())
    agreement = found.agreement()
    gone = float(kept["adam + L2"].max())
    moved = (made.final("adamw") - starts).norm(dim=1)
    apart = ((made.final("adam + L2") - made.final("adamw")).norm(dim=1) / moved).tolist()
    dark = int(found.dark.sum())
    errors = {label: [100 * e for e in runner.test_error[:, -1].tolist()] for label, runner in made.runners.items()}
    yield Check(
        f"weights that no gradient reaches decay under AdamW to the share (1 − ηλ)^{steps} = {expected:.4f}, and not under plain Adam",
        f"on {dark} pixels that are dark in every image AdamW is off by {off:.0e} at most, and plain Adam by {stays:.0e}",
        off < EXACT and stays < EXACT,
    )
    yield Check(
        f"Adam with L2 divides the same pull by its own size, and leaves less than {GONE:.0%} of those weights (interval)",
        f"{interval((100 * kept['adam + L2']).tolist(), suffix=' %')} of them"
        if gone > 1e-6
        else "less than a millionth of them",
        mean(kept["adam + L2"].tolist())[2] < GONE,
    )
    yield Check(
        "weights with large gradients L2 shrinks less than AdamW does, those with small ones more (rank correlation over the other "
        "pixels, interval above 0)",
        interval(agreement, "+.2f"),
        mean(agreement)[1] > 0,
    )
    yield Check(
        f"the two end apart (by more than {APART:g} of the way that AdamW went, interval)",
        f"by {interval(apart, '.2f')} of it",
        mean(apart)[1] > APART,
    )
    yield Ending(
        cost,
        caveats=(
            "One λ for both is not one strength for both; mean test errors, not part of the claim: "
            + ", ".join(f"{label} {interval(found_, '.2f', ' %')}" for label, found_ in errors.items())
            + ".",
        ),
        data={
            "network": {
                "kept": {n: k.tolist() for n, k in kept.items()},
                "agreement": agreement,
                "apart": apart,
                "error": errors,
            }
        },
        pictures={"kept": _picture(kept, steps)},
    )


def _picture(kept: dict[str, Tensor], steps: int) -> Any:
    from lossatlas.draw import BarsDisplay

    three = torch.tensor([mean((100 * share).tolist()) for share in kept.values()]).numpy().round(6) + 0.0
    return BarsDisplay(
        list(kept),
        *three.T,
        xlabel="% left of weights that no gradient reaches, with the 95 % interval",
        title="One decay, two places: apart from the gradient, or through it",
        note=f"First-layer weights of a digits MLP on pixels that are always dark, after {steps:,} steps at decay {DECAY}",
    )


LESSON = Lesson(
    "B5",
    CLAIM,
    experiment,
    runs=8,
    quick=2,
    depends="the rate and λ for how far apart the two end; that they end apart follows from their rules.",
)
