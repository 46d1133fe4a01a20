"""Training: eight seeds in one batch against eight plain loops, and what recording a run costs."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from pairs import pairs
from torch import Tensor, nn

import lossatlas as la
from lossatlas.demo import digits, digits_cnn, digits_mlp
from lossatlas.optimize import Streams
from lossatlas.surface.network._minibatch import draw

SEEDS, STEPS, SIZE, RATE, ROUNDS = 8, 300, 64, 1e-3, 9
EVERY, STRETCH, STRETCHES = 10, 200, 31


def measure() -> list[str]:
    """300 steps of Adam on the digits MLP: eight runs as rows of one batch, against a loop for each."""
    x, y = digits("train")
    surface = la.NetworkSurface(digits_mlp(), "cross_entropy", (x, y))
    starts = torch.stack(
        [nn.utils.parameters_to_vector(digits_mlp(seed=k).parameters()).detach() for k in range(SEEDS)]
    )
    adam = la.optimizer("adam", lr=RATE)

    def ours() -> Tensor:
        race = la.network_race(
            surface, [adam], steps=STEPS, runs=SEEDS, batch_size=SIZE, starts=starts, ends=0, checks=1, progress=False
        )
        return race.final("adam")

    def theirs(batches: list[Tensor] | None = None) -> Tensor:
        ends = []
        for seed in range(SEEDS):
            model, generator = digits_mlp(seed=seed), torch.Generator().manual_seed(seed)
            optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
            for step in range(STEPS):
                rows = torch.randperm(len(y), generator=generator)[:SIZE] if batches is None else batches[step][seed]
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
            ends.append(nn.utils.parameters_to_vector(model.parameters()).detach())
        return torch.stack(ends)

    seconds = pairs(ours, theirs, ROUNDS)
    streams = Streams(0, SEEDS).part("mini-batches")
    same = [draw(SIZE, streams.seeds(), len(y)) for _ in range(STEPS)]
    a, b = (surface.values(ends) for ends in (ours(), theirs(same)))
    gap = float(((a - b).abs() / b).max())
    what = f"{SEEDS} seeds × {STEPS} steps of Adam on the digits MLP in one batch vs a plain PyTorch loop for each"
    return [what, *seconds, "≥ 4", f"final losses on the same mini-batches agree to {gap:.1e}"]


def recording_cnn() -> list[str]:
    """What a recorder costs the training of the digits CNN."""
    x, y = digits("train", images=True)
    return _overhead("the digits CNN", lambda: digits_cnn().train(), x, y)


def recording_mlp() -> list[str]:
    """What it costs the training of a perceptron of ten million parameters."""
    x, y = digits("train")
    return _overhead("an MLP of 10 million parameters", lambda: digits_mlp((3100, 3100)), x, y, stretch=40, stretches=9)


def _overhead(
    name: str, make: Callable[[], nn.Module], x: Tensor, y: Tensor, stretch: int = STRETCH, stretches: int = STRETCHES
) -> list[str]:
    """Stretches of one training run with a recorder and without, in turn; nothing else differs."""
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    generator = torch.Generator().manual_seed(0)

    def steps(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            rows = torch.randperm(len(y), generator=generator)[:SIZE]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        return time.perf_counter() - begin

    steps(5)
    plain, recorded, said = [], [], []
    for _ in range(stretches):
        plain.append(steps(stretch))
        with tempfile.TemporaryDirectory() as folder:
            recorder = la.Recorder(model, optimizer, folder, every=EVERY, quiet=True)
            recorded.append(steps(stretch))
            said.append(recorder.overhead)
            recorder.close()
    ratios = [b / a for a, b in zip(plain, recorded, strict=True)]
    cost = statistics.median(ratios) - 1
    spread = f"{min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%}"
    return [
        f"recording {name}, a whole point every {EVERY} steps, vs the same steps without",
        f"{statistics.median(recorded):.3f}",
        f"{statistics.median(plain):.3f}",
        f"{cost:+.2%} of the training time, median ({spread})",
        "< 3 %",
        f"the recorder's own count: {statistics.median(said):.2%}",
    ]
