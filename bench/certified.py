"""Default charts of ten networks on five planes each, held against every cell evaluated: errors, and whether intervals hold.

None of these networks, planes or data was looked at while the sampler was made. Truths are exact charts, of which some
cells are evaluated once more by a plain loop.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from resnet import cifar, resnet
from sklearn.datasets import load_breast_cancer, load_diabetes
from torch import Tensor, nn
from torch.nn import functional as F

import lossatlas as la
from lossatlas.chart.sampling._metric import near
from lossatlas.demo import digits

HERE = Path(__file__).parent
SMALL = os.environ.get("LOSSATLAS_BENCH_SMALL") == "1"
POINTS, PLANES, EPOCHS = (21, 1, 1) if SMALL else (51, 5, 0)
EXAMPLES, AGAIN = 300, 20
Made = tuple[nn.Module, Any, tuple[Tensor, Tensor]]


def _norm(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """Two residual blocks with batch norm and GELU."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem, self.head = _norm(1, width), nn.Linear(width, 10)
        self.blocks = nn.ModuleList(nn.ModuleList([_norm(width, width), _norm(width, width)]) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.stem(x))
        for one, two in self.blocks:
            h = F.gelu(h + two(F.gelu(one(h))))
        return self.head(h.mean((2, 3)))


class Segmenter(nn.Module):
    """A small U-net with batch norm: two classes for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep, self.up = _norm(1, 8), _norm(8, 16), _norm(24, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = self.down(x).relu()
        low = self.deep(F.max_pool2d(high, 2)).relu()
        return self.head(self.up(torch.cat([high, F.interpolate(low, scale_factor=2)], 1)).relu())


class LowRank(nn.Module):
    """A frozen layer with a trained update of rank 3."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(0.2 * torch.randn(3, base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T


class Logits(nn.Module):
    """What a model of the Transformers library scores."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).logits


def tokens(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy over all tokens."""
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def _images() -> tuple[Tensor, Tensor]:
    x, y = digits("all", images=True)
    return x[-EXAMPLES:], y[-EXAMPLES:]


def _flat() -> tuple[Tensor, Tensor]:
    x, y = _images()
    return x.flatten(1), y


def _trained(model: nn.Module, loss: Any, data: tuple[Tensor, Tensor], epochs: int, rate: float) -> Made:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], rate)
    model.train()
    for _ in range(EPOCHS or epochs):
        for rows in torch.randperm(len(data[0])).split(50):
            optimizer.zero_grad()
            loss(model(data[0][rows]), data[1][rows]).backward()
            optimizer.step()
    return model.eval(), loss, data


def residual() -> Made:
    return _trained(Residual(), F.cross_entropy, _images(), 40, 3e-3)


def cifar_resnet() -> Made | None:
    data = cifar(80)
    return None if data is None else _trained(resnet(8, seed=31), F.cross_entropy, data, 60, 3e-3)


def cnn() -> Made:
    model = nn.Sequential(
        nn.Conv2d(1, 10, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(10, 20, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(80, 10),
    )  # fmt: skip
    return _trained(model, F.cross_entropy, _images(), 60, 3e-3)


def mlp() -> Made:
    model = nn.Sequential(
        nn.Linear(64, 96), nn.SiLU(), nn.Dropout(0.2), nn.Linear(96, 40), nn.SiLU(), nn.Linear(40, 10)
    )
    return _trained(model, F.cross_entropy, _flat(), 60, 2e-3)


def vision_transformer() -> Made:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, image_size=8, patch_size=2,
        num_channels=1, num_labels=10,
    )  # fmt: skip
    return _trained(Logits(ViTForImageClassification(config)), F.cross_entropy, _images(), 50, 2e-3)


def language_model() -> Made:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=24, n_positions=16, use_cache=False)
    # Sums of two earlier tokens: what there is to learn.
    text = torch.randint(0, 24, (120, 17))
    for k in range(2, 17):
        text[:, k] = (text[:, k - 1] + text[:, k - 2]) % 24
    return _trained(
        Logits(GPT2LMHeadModel(config)), tokens, (text[:, :-1].contiguous(), text[:, 1:].contiguous()), 40, 3e-3
    )


def regression() -> Made:
    x, y = load_diabetes(return_X_y=True)
    data = (
        torch.tensor(x * 20, dtype=torch.float32),
        torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None],
    )
    model = nn.Sequential(nn.Linear(10, 48), nn.Tanh(), nn.Linear(48, 24), nn.Tanh(), nn.Linear(24, 1))
    return _trained(model, F.mse_loss, data, 150, 3e-3)


def segmentation() -> Made:
    x, _ = _images()
    return _trained(Segmenter(), F.cross_entropy, (x[:100], (x[:100, 0] > 0.5).long()), 60, 5e-3)


def low_rank() -> Made:
    base, _, data = mlp()
    base[0], base[3] = LowRank(base[0]), LowRank(base[3])
    return _trained(base, F.cross_entropy, data, 30, 3e-3)


def large_margin() -> Made:
    x, y = load_breast_cancer(return_X_y=True)
    data = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32), torch.tensor(y)
    return _trained(nn.Linear(30, 2), F.cross_entropy, data, 400, 5e-2)


NETWORKS: dict[str, Callable[[], Made | None]] = {
    f.__name__.replace("_", " "): f
    for f in (
        residual, cifar_resnet, cnn, mlp, vision_transformer, language_model, regression, segmentation, low_rank, large_margin
    )
}  # fmt: skip


def _again(chart: la.Chart, plane: la.Plane, made: Made) -> float:
    """The largest relative difference between an exact chart and a plain loop in float64, at a few cells."""
    model, loss, (x, y) = copy.deepcopy(made[0]).double(), made[1], made[2]
    x, y = (part.double() if part.is_floating_point() else part for part in (x, y))
    trained, frame, worst = [p for p in model.parameters() if p.requires_grad], plane.frame, 0.0
    for j, i in np.random.default_rng(5).integers(0, POINTS, (AGAIN, 2)):
        theta = frame.origin.double() + chart.alpha[i] * frame.directions[0] + chart.beta[j] * frame.directions[1]
        nn.utils.vector_to_parameters(theta.double(), trained)
        with torch.no_grad():
            true = float(loss(model(x), y))
        worst = max(worst, abs(float(chart.loss[j, i]) - true) / true)
    return worst


def one(name: str) -> list[dict[str, Any]]:
    """Five planes of one network."""
    torch.manual_seed(1000 + list(NETWORKS).index(name))
    made = NETWORKS[name]()
    if made is None:
        return []
    model, loss, data = made
    surface = la.NetworkSurface(model, loss, data)
    found = []
    for k in range(PLANES):
        plane = la.Plane.random(surface, seed=900 + k, normalization="filter" if k < PLANES - 1 else "layer")
        chart = la.chart(surface, plane, points=POINTS, progress=False)
        truth = la.chart(surface, plane, points=POINTS, exact=True, progress=False)
        true, row = truth.loss.ravel(), chart.certificate
        coords = np.stack([a.ravel() for a in np.meshgrid(chart.alpha, chart.beta)], 1)
        close = near(true, coords, np.zeros((1, 2)))
        off = np.abs(chart.loss.ravel() - true) / true
        filled = ~chart.exactly.ravel()
        held = {}
        for part, inside in (("near", close), ("whole", np.ones_like(close))):
            stated = None if row.strata is None else getattr(row, part)
            cells = off[inside & filled]
            if stated is None or not len(cells):
                held[part] = True
                continue
            low, high = stated.p95_interval
            held[part] = bool(low <= np.quantile(cells, 0.95) <= high)
        found.append(
            {
                "loss": surface.loss_at_theta,
                "rim": float(true.max()),
                "evaluations": len(chart.samples),
                "near": float(np.quantile(off[close], 0.95)),
                "near worst": float(off[close].max()),
                "whole": float(np.quantile(off, 0.95)),
                "negative": int((chart.loss < 0).sum()),
                "held near": held["near"],
                "held whole": held["whole"],
                "loop": _again(truth, plane, made),
            }
        )
    return found


def main(names: list[str]) -> None:
    """A table, written beside this file where all networks are measured."""
    head = (
        "| network | loss, rim | evaluations | near: p95, worst of 5 | near: largest | whole: p95, worst of 5 | below zero | "
        "intervals hold, near and whole | exact chart against a float64 loop |\n|---|---|---|---|---|---|---|---|---|"
    )
    print(head)
    rows, every = [], []
    for name in names or NETWORKS:
        begin, planes = time.perf_counter(), one(name)
        if not planes:
            continue
        every += planes

        def most(key: str, planes: list[dict[str, Any]] = planes) -> float:
            return max(plane[key] for plane in planes)

        rows.append(
            f"| {name} | {planes[0]['loss']:.2g}, {most('rim'):.3g} | {sorted(p['evaluations'] for p in planes)} | "
            f"{most('near'):.2%} | {most('near worst'):.2%} | {most('whole'):.2%} | {sum(p['negative'] for p in planes)} | "
            f"{sum(p['held near'] for p in planes)}, {sum(p['held whole'] for p in planes)} of {len(planes)} | {most('loop'):.1e} |"
        )
        print(rows[-1], f"{time.perf_counter() - begin:.0f} s", flush=True)
    count = len(every)
    last = (
        f"Of {count} planes: near p95 at most 2 % on {sum(p['near'] <= 0.02 for p in every)}, near worst at most 8 % on "
        f"{sum(p['near worst'] <= 0.08 for p in every)}, whole p95 at most 5 % on {sum(p['whole'] <= 0.05 for p in every)}; "
        f"intervals hold on {sum(p['held near'] for p in every)} (near) and {sum(p['held whole'] for p in every)} (whole); "
        f"{np.mean([p['evaluations'] for p in every]):.0f} evaluations in the mean."
    )
    print(last)
    if not names and not SMALL:
        text = f"# Certified charts\n\n{__doc__}\nWritten by `python bench/certified.py`.\n\n"
        (HERE / "certified.md").write_text(text + "\n".join([head, *rows]) + f"\n\n{last}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
