"""Digits networks of one width, trained from different seeds in one batch, for the lessons on pairs of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.surface import NetworkSurface

# Stated once, for all of these lessons: enough for every width to fit its training data, or nearly.
EPOCHS, BATCH, RATE, DEPTH = 30, 64, 3e-3, 2
CNN_EPOCHS, CNN_CHANNELS = 8, (12, 24)


@dataclass(frozen=True, eq=False)
class Trained:
    """Networks of one architecture and what they were trained on.

    Attributes:
        width: of both hidden layers.
        seeds: of initial weights and shuffling, one per network.
        starts: state dicts before training.
        states: state dicts after it.
        train: surface over the training digits; its own point is the first network.
        test: surface over the test digits.
    """

    width: int
    seeds: tuple[int, ...]
    starts: tuple[dict[str, Tensor], ...]
    states: tuple[dict[str, Tensor], ...]
    train: NetworkSurface
    test: NetworkSurface

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Places of networks two by two, no network in two pairs."""
        return [(k, k + 1) for k in range(0, len(self.states) - 1, 2)]


@cache
def trained_mlps(width: int, count: int, seed: int = 0, epochs: int = EPOCHS) -> Trained:
    """Train that many networks 64-width-width-10 with AdamW, each as `demo.fit` would alone, to rounding.

    AdamW works entry by entry and the losses are added up, so that no network knows of the others.

    Args:
        width: of the hidden layers.
        count: how many networks.
        seed: of the first; the others follow.
        epochs: of training.
    """
    seeds = tuple(range(seed, seed + count))
    models = [digits_mlp((width,) * DEPTH, seed=s) for s in seeds]
    starts = tuple({n: v.clone() for n, v in m.state_dict().items()} for m in models)
    names = list(starts[0])
    stacked = {n: torch.stack([start[n] for start in starts]).requires_grad_() for n in names}
    x, y = digits("train")
    optimizer = torch.optim.AdamW(stacked.values(), lr=RATE)
    shuffles = [torch.Generator().manual_seed(s) for s in seeds]
    with torch.enable_grad():
        for _ in range(epochs):
            orders = torch.stack([torch.randperm(len(y), generator=g) for g in shuffles])
            for begin in range(0, len(y), BATCH):
                rows = orders[:, begin : begin + BATCH]
                hidden = x[rows]
                for k, name in enumerate(names[::2]):
                    hidden = torch.baddbmm(stacked[f"{name[:-7]}.bias"][:, None], hidden, stacked[name].mT)
                    hidden = hidden if k == DEPTH else hidden.relu()
                losses = functional.cross_entropy(hidden.flatten(0, 1), y[rows].flatten(), reduction="none")
                optimizer.zero_grad()
                losses.reshape(count, -1).mean(1).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    states = tuple({n: stacked[n][k].detach().clone() for n in names} for k in range(count))
    models[0].load_state_dict(states[0])
    return Trained(
        width,
        seeds,
        starts,
        states,
        NetworkSurface(models[0], "cross_entropy", (x, y), name=f"digits MLP of width {width}"),
        NetworkSurface(models[0], "cross_entropy", digits("test"), name=f"digits MLP of width {width}, test"),
    )


@cache
def trained_cnns(count: int, seed: int = 0, epochs: int = CNN_EPOCHS) -> Trained:
    """The same for small convolutional networks with batch norm, trained one after the other.

    Args:
        count: how many networks.
        seed: of the first; the others follow.
        epochs: of training.
    """
    seeds = tuple(range(seed, seed + count))
    models = [_normed(s) for s in seeds]
    starts = tuple({n: v.clone() for n, v in m.state_dict().items()} for m in models)
    data = digits("train", images=True)
    for s, model in zip(seeds, models, strict=True):
        fit(model, data, epochs=epochs, batch_size=BATCH, lr=RATE, seed=s)
    return Trained(
        CNN_CHANNELS[0],
        seeds,
        starts,
        tuple(m.state_dict() for m in models),
        NetworkSurface(models[0], "cross_entropy", data, name="digits CNN with batch norm"),
        NetworkSurface(models[0], "cross_entropy", digits("test", images=True), name="digits CNN, test"),
    )


def _normed(seed: int) -> nn.Module:
    first, second = CNN_CHANNELS
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, first, 3, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3, padding=1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * second, 10),
        ).eval()
