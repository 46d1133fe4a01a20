"""B5: AdamW decays weights apart from the gradient; Adam with L2 does not. On a bowl, and on a digits MLP."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons._lesson import Check, Lesson, Part, meters_of, spent
from lossatlas.lessons._statistics import interval, mean, spearman
from lossatlas.optimize import TorchOptimizer, optimizer
from lossatlas.probe import Gradients, Probe, Products
from lossatlas.race import NetworkRace, network_race, race
from lossatlas.surface import NetworkSurface, landscapes

CLAIM = "AdamW decays the weights apart from the gradient; Adam with an L2 penalty does not, and ends elsewhere."
BOWL_STEPS, BOWL_DECAY, CONDITION = 6000, 0.1, 1000.0
# On the network, fixed before the first run.
WIDTHS, STEPS, BATCH, RATE, DECAY = (32,), 1000, 64, 0.003, 0.01
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


def experiment(runs: int, seed: int) -> tuple[Part, Part]:
    """A badly scaled bowl, where the penalty's minimizer is known in closed form; then a digits network."""
    return _bowl(seed), _network(runs, seed)


def _bowl(seed: int) -> Part:
    surface = landscapes.quadratic(condition=CONDITION).moved(shift=(2.0, 2.0))
    coupled = TorchOptimizer(torch.optim.Adam, lr=RATE, weight_weight_decay=BOWL_DECAY)
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
    close = 0.02
    l2 = float((ends["adam + L2"] - penalized).norm())
    apart = float((ends["adamw"] - penalized).norm())
    shrink = {label: (1 - end / minimum).tolist() for label, end in ends.items()}
    checks = (
        Check(
            "Adam without decay ends in the minimum",
            f"{float((ends['adam'] - minimum).norm()):.2g} away",
            float((ends["adam"] - minimum).norm()) < close,
        ),
        Check(
            "Adam with L2 ends at the minimizer of L + λ|θ|²/2",
            f"{l2:.2g} from it",
            l2 < close,
        ),
        Check(
            "AdamW ends elsewhere (farther from that point than the tolerance)",
            f"{apart:.3g} from it; shrunk by {shrink['adamw'][0]:.2%} and {shrink['adamw'][1]:.2%}, "
            f"with L2 by {shrink['adam + L2'][0]:.2%} and {shrink['adam + L2'][1]:.2%}",
            apart > 5 * close,
        ),
    )
    return Part(
        f"Quadratic of condition {CONDITION:g} with its minimum at (2, 2), {BOWL_STEPS} steps at rate {RATE}, decay {BOWL_DECAY}.",
        checks,
        spent(probe.meter, *result.meter.values()),
        caveats=("the pull of AdamW depends on the rate's schedule; here the rate is constant",),
        data={"ends": {label: end.tolist() for label, end in ends.items()}, "penalized": penalized.tolist()},
    )


def _network(runs: int, seed: int) -> Part:
    """Adam, Adam with L2 and AdamW from the same weights on the same mini-batches."""
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
        surface, racers, test=test, batch_size=BATCH, steps=STEPS, runs=runs, starts=starts, checks=1, ends=0, seed=seed,
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
    return _told(found, made, starts, spent(*meters_of(made), probe.meter))


def _told(found: Columns, made: NetworkRace, starts: Tensor, cost: dict[str, int]) -> Part:
    expected = (1 - RATE * DECAY) ** STEPS
    kept = {label: found.kept(label) for label in made.runners}
    off = float((kept["adamw"] - expected).abs().max())
    stays = float((kept["adam"] - 1).abs().max())
    agreement = found.agreement()
    moved = (made.final("adamw") - starts).norm(dim=1)
    apart = ((made.final("adam + L2") - made.final("adamw")).norm(dim=1) / moved).tolist()
    dark = int(found.dark.sum())
    errors = {label: [100 * e for e in runner.test_error[:, -1].tolist()] for label, runner in made.runners.items()}
    checks = (
        Check(
            f"network: AdamW leaves the share (1 − ηλ)^{STEPS} = {expected:.6f} of weights that no gradient reaches (to {EXACT:g}); "
            "Adam without decay leaves them as they are",
            f"off by {off:.1e} at most; Adam's by {stays:.1e}; {dark} pixels are dark in every image",
            off < EXACT and stays < EXACT,
        ),
        Check(
            f"network: Adam with L2 divides the same pull by its own size: it leaves less than {GONE:.0%} of them (interval)",
            interval((100 * kept["adam + L2"]).tolist(), suffix=" %"),
            mean(kept["adam + L2"].tolist())[2] < GONE,
        ),
        Check(
            "network: of weights with large gradients L2 leaves more than AdamW does, of those with small ones less (mean rank "
            "correlation over the other pixels, interval above 0)",
            interval(agreement, "+.3f"),
            mean(agreement)[1] > 0,
        ),
        Check(
            f"network: they end apart, by more than {APART:g} of the way AdamW went (interval)",
            interval(apart),
            mean(apart)[1] > APART,
        ),
    )
    return Part(
        f"Digits MLP 64-{WIDTHS[0]}-10, {len(starts)} initializations, {STEPS:,} mini-batches of {BATCH} at rate {RATE}, decay {DECAY}, "
        "the same mini-batches for all.",
        checks,
        cost,
        caveats=(
            "one λ for both is not one strength for both; mean test errors, not part of the claim: "
            + ", ".join(f"{label} {interval(found_, '.2f', ' %')}" for label, found_ in errors.items()),
        ),
        data={
            "network": {
                "kept": {n: k.tolist() for n, k in kept.items()},
                "agreement": agreement,
                "apart": apart,
                "error": errors,
            }
        },
    )


LESSON = Lesson("B5", CLAIM, experiment, runs=8)
