"""E2: skip connections flatten the picture, plain deep networks look chaotic."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas.chart import Comparison, compare
from lossatlas.demo import accuracy, digits, fit
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.surface import NetworkSurface

CLAIM = "Skip connections flatten the picture: without them a deep network looks chaotic, with them smooth."
# Fixed before the first run. Blocks of two convolutions in each of three stages: 7 convolutions, and 25.
SHALLOW, DEEP, WIDTH = 1, 4, 8
EPOCHS, BATCH, RATE = 30, 128, 3e-3
EXAMPLES, POINTS, SPAN = 200, 15, 1.0
QUICK_EPOCHS, QUICK_EXAMPLES, QUICK_POINTS = 6, 100, 9
SIGNIFICANT = 0.05
ROUGHNESS = {"nonconvex": "the share of the picture that is not convex", "misfit": "the misfit of a parabola"}


class Block(nn.Module):
    """Two 3×3 convolutions with batch norm, and around them the identity or nothing (He et al. 2016, option A).

    The shortcut has no parameters, so that both networks have the same ones.
    """

    def __init__(self, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(WIDTH, WIDTH, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(WIDTH, WIDTH, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(WIDTH), nn.BatchNorm2d(WIDTH)])
        self.stride, self.shortcut = stride, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        y = self.norms[1](self.second(F.relu(self.norms[0](self.first(x)))))
        return F.relu(y + x[:, :, :: self.stride, :: self.stride] if self.shortcut else y)


def network(blocks: int, shortcut: bool, seed: int) -> nn.Module:
    """A residual network for digits in three stages, or the same without its shortcuts; the same initial weights.

    Args:
        blocks: per stage.
        shortcut: whether the identity goes around them.
        seed: of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = [nn.Conv2d(1, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()]
        for stage in range(3):
            layers += [Block(2 if stage and not block else 1, shortcut) for block in range(blocks)]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10))
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Train four networks alike and chart them on paired planes, in one scale."""
    epochs, examples, points = (QUICK_EPOCHS, QUICK_EXAMPLES, QUICK_POINTS) if quick else (EPOCHS, EXAMPLES, POINTS)
    yield (
        f"Residual networks of {6 * SHALLOW + 1} and {6 * DEEP + 1} convolutions, with shortcuts and without, are trained on digits from "
        f"the same initial weights ({epochs} epochs of AdamW at {RATE:g}), and charted on the same {runs} planes: {points}×{points} cells "
        f"over ±{SPAN:g} in filter norms, on {examples} training images. Roughness is compared by a two-sided sign test over the planes."
    )
    train, test = digits("train", images=True, seed=seed), digits("test", images=True, seed=seed)
    surfaces, reached = {}, {}
    for depth, blocks in (("shallow", SHALLOW), ("deep", DEEP)):
        for kind, shortcut in (("with shortcuts", True), ("plain", False)):
            name, model = f"{depth}, {kind}", network(blocks, shortcut, seed)
            fit(model, train, epochs=epochs, batch_size=BATCH, lr=RATE, seed=seed)
            surfaces[name] = NetworkSurface(
                model, "cross_entropy", (train[0][:examples], train[1][:examples]), name=name
            )
            reached[name] = {"loss": surfaces[name].loss_at_theta, "test accuracy": accuracy(model, test)}
    made = compare(surfaces, seeds=range(seed, seed + runs), points=points, span=SPAN, progress=False)
    smooth, plain = "deep, with shortcuts", "deep, plain"
    for measure in ("nonconvex", "misfit"):
        yield _rougher(made, smooth, plain, measure)
    gaps = [
        float(torch.tensor(made.difference(f"{d}, with shortcuts", f"{d}, plain").apart).median())
        for d in ("shallow", "deep")
    ]
    yield Check(
        "the shortcuts matter more in the deep network than in the shallow one (median difference of the non-convex share)",
        f"{gaps[0]:+.3f} in the shallow one, {gaps[1]:+.3f} in the deep one",
        gaps[1] > gaps[0],
    )
    logarithm = made.judged("log").difference(smooth, plain).sentence
    told = "; ".join(
        f"the {n} network to a loss of {r['loss']:.2g} and {r['test accuracy']:.0%} of the test images"
        for n, r in reached.items()
    )
    yield Ending(
        spent(made.meter),
        caveats=(
            f"Training led {told}.",
            f"For the logarithm of the loss, which spans decades here: {logarithm.rstrip('.')}.",
            "The plain deep network is trained for as long as the other and ends higher: roughness and the height of the center cannot "
            "be told apart here.",
            "There is one training of each network; the spread is over directions, not over trainings.",
        ),
        data={"reached": reached, "roughness": made.record()["roughness"], "table": str(made.table())},
        pictures={"networks": made.plot()},
    )


def _rougher(made: Comparison, smooth: str, plain: str, measure: str) -> Check:
    found = made.difference(smooth, plain, measure)
    return Check(
        f"without shortcuts the deep network is rougher, by {ROUGHNESS[measure]} (more often than not, sign test below {SIGNIFICANT:g})",
        found.sentence,
        found.rougher > len(found.apart) / 2 and found.p_value < SIGNIFICANT,
    )


LESSON = Lesson(
    "E2",
    CLAIM,
    experiment,
    runs=6,
    quick=6,
    depends="the depth, on how far the plain network could be trained, and on whether the loss or its logarithm is drawn.",
)
