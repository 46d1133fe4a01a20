"""E2 at a realistic size: ResNet-20 with and without its shortcuts on CIFAR-10 images, where these lie beside the project.

The same initial weights, batches and rate; exact charts on paired planes; roughness with its spread over directions. Not a
speed ratio, and not part of `make bench`: it takes minutes on a machine without other work.

    python bench/shortcuts.py
"""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from resnet import cifar, resnet
from torch import Tensor, nn

import lossatlas as la
from lossatlas.demo import accuracy

# Fixed before the first run; the lesson on digits has the same rules.
DEPTH, EPOCHS, BATCH, RATE = 20, 8, 128, 0.1
EXAMPLES, POINTS, SPAN, SEEDS = 128, 11, 1.0, 6


def trained(shortcuts: bool, data: tuple[Tensor, Tensor]) -> nn.Module:
    """SGD with momentum 0.9, weight decay 1e-4 and a one-cycle rate; no augmentation."""
    model = resnet(DEPTH, shortcuts=shortcuts, seed=0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=1e-4)
    steps = EPOCHS * (len(data[1]) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    shuffle = torch.Generator().manual_seed(0)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(data[1]), generator=shuffle).split(BATCH)[: len(data[1]) // BATCH]:
            loss = F.cross_entropy(model(data[0][batch]), data[1][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"shortcuts={shortcuts}, epoch {epoch + 1}: loss of its last batch {loss.item():.3f}", flush=True)
    return model.eval()


def main() -> None:
    data = cifar()
    if data is None:
        sys.exit("the CIFAR-10 images are not there (../shared/data/cifar10-6000.npz); this experiment needs them.")
    held_out = data[0][4000:], data[1][4000:]
    train = data[0][:4000], data[1][:4000]
    begin, surfaces, reached = time.perf_counter(), {}, []
    for name, shortcuts in (("with shortcuts", True), ("plain", False)):
        model = trained(shortcuts, train)
        part = train[0][:EXAMPLES], train[1][:EXAMPLES]
        surfaces[name] = la.NetworkSurface(model, "cross_entropy", part, name=name)
        score = accuracy(model, held_out)
        reached.append(f"{name}: loss {surfaces[name].loss_at_theta:.3f}, held-out accuracy {score:.1%}")
        print(reached[-1], flush=True)
    made = la.compare(surfaces, seeds=SEEDS, points=POINTS, span=SPAN)
    here = Path(__file__).parent
    made.plot(planes=2, levels="log").save(here / "shortcuts.png")
    text = (
        "# ResNet-20 with and without shortcuts\n\n"
        f"Written by `python bench/shortcuts.py`. {EPOCHS} epochs of SGD on 4,000 CIFAR-10 images from the same initial weights; "
        f"exact charts of {POINTS}×{POINTS} cells over ±{SPAN:g} in filter norms on {EXAMPLES} of them, {SEEDS} pairs of directions; "
        f"{made.meter.values:,} losses. torch {torch.__version__}, Python {platform.python_version()}, "
        f"{(time.perf_counter() - begin) / 60:.0f} minutes.\n\n"
        + "\n".join(f"* {line}" for line in reached)
        + f"\n\n```\n{made}\n```\n\nOf the logarithm of the loss:\n\n```\n{made.judged('log')}\n```\n\n![](shortcuts.png)\n"
    )
    (here / "shortcuts.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
