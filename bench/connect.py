"""Matching and lines: seconds to align wide MLPs and a ResNet-20, and what a line's profile costs at the error of 61 points."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from resnet import resnet

import lossatlas as la
from lossatlas.demo import digits, digits_mlp, fit

WIDTH, ROUNDS, PAIRS = 512, 3, 3
GRID, FINE = 61, 1201


def measure() -> list[list[str]]:
    """One row per claim."""
    return [_match_mlp(), _match_resnet(), _profile(64), _profile(256)]


def _timed(align: object) -> tuple[str, la.Alignment]:
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        found = align()  # type: ignore[operator]
        seconds.append(time.perf_counter() - begin)
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})", found


def _match_mlp() -> list[str]:
    data = digits("train")
    models = [digits_mlp((WIDTH, WIDTH), seed=seed) for seed in (0, 1)]
    for seed, model in enumerate(models):
        fit(model, data, epochs=5, seed=seed)
    surface = la.NetworkSurface(models[0], "cross_entropy", data)
    seconds, found = _timed(lambda: la.align(surface, *models, restarts=1))
    naive, matched = (
        la.connect(surface, models[0], b, resamples=0, progress=False).barrier for b in (models[1], found.permuted)
    )
    what = f"matching by weights, digits MLPs 64-{WIDTH}-{WIDTH}-10, one start, specification and checks included"
    return [what, seconds, "–", "–", "seconds", f"barrier {naive:.3g} before, {matched:.2g} after"]


def _match_resnet() -> list[str]:
    torch.manual_seed(0)
    data = torch.randn(256, 3, 32, 32), torch.randint(0, 10, (256,))
    one = resnet(seed=0)
    surface = la.NetworkSurface(one, "cross_entropy", data)
    planted = la.random_copy(surface, rescale=False, examples=32)
    seconds, found = _timed(lambda: la.align(surface, one, planted.state, restarts=1, examples=64))
    back = torch.equal(surface.vector(found.permuted), surface.theta)
    groups = len(found.specification.groups)
    what = f"matching by weights, ResNet-20 with {surface.dimension:,} parameters, {groups} groups, one start, planted"
    return [
        what,
        seconds,
        "–",
        "–",
        "seconds",
        "planted permutation recovered" if back else "planted one not recovered",
    ]


def _profile(width: int) -> list[str]:
    data = digits("train")
    asked, ours, theirs, tops = [], [], [], []
    for pair in range(PAIRS):
        models = [digits_mlp((width, width), seed=2 * pair + k) for k in (0, 1)]
        for k, model in enumerate(models):
            fit(model, data, epochs=20, lr=3e-3, seed=2 * pair + k)
        surface = la.NetworkSurface(models[0], "cross_entropy", data)
        path = la.connect(surface, *models, resamples=0, progress=False)
        fine = np.linspace(0, 1, FINE)
        line = surface.on(la.Line.between(surface, *models))
        truth = line.values(torch.from_numpy(fine)[:, None]).numpy()
        grid = truth[:: (FINE - 1) // (GRID - 1)]
        span = float(np.ptp(truth))
        asked.append(path.meter.values / GRID)
        ours.append(np.abs(path.profile(fine) - truth).max() / span)
        theirs.append(np.abs(np.interp(fine, fine[:: (FINE - 1) // (GRID - 1)], grid) - truth).max() / span)
        tops.append((truth.max() - path.loss.max()) / span)
    ratio = f"1 : {1 / statistics.median(asked):.2f} losses ({1 / max(asked):.2f} to {1 / min(asked):.2f})"
    return [
        f"profile of a straight line, digits MLPs of width {width}, {PAIRS} pairs, vs {GRID} points joined by straight lines",
        "–",
        "–",
        ratio,
        "≥ 3",
        f"largest error, of the range: ours {max(ours):.1e}, theirs {min(theirs):.1e} at least; ours misses the maximum by at most "
        f"{max(tops):.1e}",
    ]
