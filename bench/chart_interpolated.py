"""Interpolated charts and lines against a plain loop and two other programs, with true errors near and far beside each ratio.

A plain loop sets the parameters of every cell and evaluates the loss; it and the others are timed on a part of their
cells. True errors are of cells drawn near the minimum and anywhere. LOSSATLAS_BENCH_SMALL=1 tries the code on small
settings.
"""

from __future__ import annotations

import copy
import importlib
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from resnet import cifar, resnet
from torch import Tensor, nn
from torch.nn import functional as F

import lossatlas as la
from lossatlas.chart.sampling._metric import near
from lossatlas.demo import digits, digits_cnn, digits_mlp, digits_transformer, fit

SMALL = os.environ.get("LOSSATLAS_BENCH_SMALL") == "1"
POINTS, LINE, FINE = (15, 61, 31) if SMALL else (51, 61, 401)
ROUNDS, PART, CHECKED = (1, 3, 20) if SMALL else (5, 9, 300)
ORDINARY = (ROUNDS, PART, CHECKED)
# Networks of which one evaluation takes seconds.
LONG, LONGER = ((1, 3, 20), (1, 3, 5)) if SMALL else ((3, 3, 60), (1, 3, 20))
Data = tuple[Tensor, Tensor]
Program = Callable[[nn.Module, Data, int], int]


def _slice(model: nn.Module, data: Data, line: bool = False) -> tuple[la.NetworkSurface, la.Plane | la.Line]:
    surface = la.NetworkSurface(model, "cross_entropy", data)
    kind = la.Line if line else la.Plane
    return surface, kind.random(surface, seed=0, normalization="filter")


def _ours(model: nn.Module, data: Data, points: int = POINTS, line: bool = False) -> la.Chart:
    surface, made = _slice(model, data, line)
    return la.chart(surface, made, span=1.0, points=points, progress=False)


def _plain(model: nn.Module, data: Data, coords: np.ndarray, line: bool = False) -> np.ndarray:
    """Losses by a loop over cells that anybody would write."""
    frame, own = _slice(model, data, line)[1].frame, copy.deepcopy(model)
    parameters, losses = list(own.parameters()), []
    with torch.no_grad():
        for row in coords:
            theta = frame.origin + sum(float(c) * d for c, d in zip(row, frame.directions, strict=True))
            nn.utils.vector_to_parameters(theta, parameters)
            losses.append(float(F.cross_entropy(own(data[0]), data[1])))
    return np.array(losses)


def _landscapes(model: nn.Module, data: Data, part: int) -> int:
    import loss_landscapes
    from loss_landscapes.metrics import Loss

    metric = Loss(nn.CrossEntropyLoss(), *data)
    loss_landscapes.random_plane(
        copy.deepcopy(model), metric, distance=1, steps=part, normalization="filter", deepcopy_model=True
    )
    return part**2


def _landscape_3d(model: nn.Module, data: Data, part: int) -> int:
    peer = importlib.import_module("loss_landscape_3d")
    own = copy.deepcopy(model)
    one, other = peer.generate_random_directions(own, normalize=True)
    axis = np.linspace(-1, 1, part)
    center = {name: value.clone() for name, value in own.state_dict().items()}
    peer.LossLandscapeCalculator(own, [data], nn.CrossEntropyLoss()).calculate(axis, axis, one, other, center)
    return part**2


def _loop(model: nn.Module, data: Data, part: int) -> int:
    axis = np.linspace(-1, 1, part)
    _plain(model, data, np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
    return part**2


def _loop_on_a_line(model: nn.Module, data: Data, part: int) -> int:
    _plain(model, data, np.linspace(-1, 1, part)[:, None], line=True)
    return part


def _seconds(program: Callable[[], object]) -> float:
    begin = time.perf_counter()
    program()
    return time.perf_counter() - begin


def _errors(chart: la.Chart, model: nn.Module, data: Data, line: bool = False, checked: int = CHECKED) -> str:
    """True errors of the interpolated cells, near the minimum and anywhere, beside the certificate."""
    axes = (chart.alpha,) if line else (chart.alpha, chart.beta)
    coords = np.stack([a.ravel() for a in np.meshgrid(*axes)], 1)
    close = near(chart.loss.ravel(), coords, np.zeros((1, coords.shape[1])))
    rng, words = np.random.default_rng(1), []
    rows = chart.certificate.strata
    for name, part in (("near", close), ("whole", np.ones(len(close), dtype=bool))):
        cells = np.flatnonzero(part)
        cells = rng.choice(cells, min(checked, len(cells)), replace=False)
        true = _plain(model, data, coords[cells], line)
        off = np.abs(chart.loss.ravel()[cells] - true) / true
        row = getattr(rows, name) if rows else None
        said = (
            f", certified {row.p95_interval[0]:.2%} to {row.p95_interval[1]:.2%}" if row else ", every cell evaluated"
        )
        words.append(f"{name}: p95 {np.quantile(off, 0.95):.2%}, worst {off.max():.2%}{said}")
    evaluated = len(chart.samples)
    return "; ".join(words) + f"; {evaluated} evaluations"


def _against(
    what: str,
    model: nn.Module,
    data: Data,
    peers: list[tuple[str, Program, str]],
    line: bool = False,
    size: tuple[int, int, int] = ORDINARY,
) -> list[list[str]]:
    """One row for each other program; ratios are pair by pair."""
    rounds, part, checked = size
    points, cells = (LINE, LINE) if line else (POINTS, POINTS**2)
    chart = _ours(model, data, points, line)
    error = _errors(chart, model, data, line, checked)
    missing, programs = {}, {}
    for name, program, _ in peers:
        try:
            program(model, data, part)
            programs[name] = program
        except ImportError as reason:
            missing[name] = f"not run: {reason}"
    mine: list[float] = []
    others: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        mine.append(_seconds(lambda: _ours(model, data, points, line)))
        for name, program in programs.items():
            counted: list[int] = []
            spent = _seconds(lambda counted=counted, program=program: counted.append(program(model, data, part)))
            others[name].append(spent * cells / counted[0])
    rows = []
    for name, _, target in peers:
        kind = f"{points} points of a line" if line else f"{points}×{points} chart"
        title = f"{kind}, {what}, vs {name}"
        if name in missing:
            rows.append([title, "–", "–", "–", target, missing[name]])
            continue
        ratios = [b / a for a, b in zip(mine, others[name], strict=True)]
        rows.append(
            [
                title,
                f"{statistics.median(mine):.3f}",
                f"{statistics.median(others[name]):.3f} (from a part of its cells)",
                f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
                target,
                error,
            ]
        )
    return rows


def _peers(plain: str, landscapes: str) -> list[tuple[str, Program, str]]:
    return [
        ("a plain loop", _loop, plain),
        ("loss-landscapes 3.0.6", _landscapes, landscapes),
        ("loss-landscape-3d 0.1.3", _landscape_3d, "–"),
    ]


def _mlp() -> tuple[nn.Module, Data]:
    data, model = digits("all"), digits_mlp(seed=0)
    fit(model, data, epochs=10, seed=0)
    return model, data


def _cnn() -> tuple[nn.Module, Data]:
    data, model = digits("all", images=True), digits_cnn(seed=0)
    fit(model, data, epochs=10, seed=0)
    return model, data


def mlp() -> list[list[str]]:
    """The digits MLP, where the fill costs as much as the network."""
    return _against("digits MLP, 1,797 examples", *_mlp(), _peers("≥ 10", "–"))


def cnn() -> list[list[str]]:
    """The digits CNN with batch norm."""
    return _against("digits CNN, 1,797 examples", *_cnn(), _peers("≥ 12", "–"))


def network() -> list[list[str]]:
    """A ResNet-20 with batch norm on real images."""
    # A row of 1,000 images takes a quarter of an hour: LOSSATLAS_BENCH_IMAGES=1000 gives it.
    examples = 64 if SMALL else int(os.environ.get("LOSSATLAS_BENCH_IMAGES", "250"))
    what, data = f"ResNet-20 with batch norm, {examples:,} CIFAR-10 images", cifar(examples)
    if data is None:
        return [[what, "–", "–", "–", "≥ 12", "not run: the images are not here"]]
    model = resnet(seed=0)
    fit(model, data, epochs=1 if SMALL else 12, batch_size=64, lr=2e-3, seed=0)
    return _against(what, model, data, _peers("≥ 12", "≥ 26"), size=LONGER)


def _transformer() -> tuple[str, nn.Module, Data]:
    """Six layers on 2,000 sequences: the digits, row by row, some of them twice and with noise."""
    x, y = digits("all")
    count = 100 if SMALL else 2000
    rows = torch.arange(count) % len(x)
    noise = torch.randn(count, x.shape[1], generator=torch.Generator().manual_seed(0)) * 0.05
    data, model = (x[rows] + noise, y[rows]), digits_transformer(depth=6, seed=0)
    fit(model, data, epochs=1 if SMALL else 12, seed=0)
    return f"transformer of 6 layers, {count:,} sequences", model, data


def transformer() -> list[list[str]]:
    """A transformer of six layers."""
    return _against(*_transformer(), _peers("≥ 12", "–"), size=LONG)


def lines() -> list[list[str]]:
    """Lines of 61 points."""
    peers = [("a plain loop", _loop_on_a_line, "≥ 6")]
    return [
        row
        for what, model, data in (("digits MLP", *_mlp()), ("digits CNN", *_cnn()), _transformer())
        for row in _against(what, model, data, peers, line=True, size=LONG if "sequences" in what else ORDINARY)
    ]


def resolution() -> list[str]:
    """The digits CNN on 401×401 cells instead of 51×51."""
    model, data = _cnn()
    coarse, fine = [], []
    for _ in range(ROUNDS):
        coarse.append(_seconds(lambda: _ours(model, data)))
        fine.append(_seconds(lambda: _ours(model, data, FINE)))
    ratios = [b / a for a, b in zip(coarse, fine, strict=True)]
    return [
        f"{FINE}×{FINE} cells (second column) instead of {POINTS}×{POINTS} (first), digits CNN, default tolerance",
        f"{statistics.median(coarse):.3f}",
        f"{statistics.median(fine):.3f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        "≤ 1.3",
        _errors(_ours(model, data, FINE), model, data),
    ]
