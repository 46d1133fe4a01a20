"""The exact chart over the same matrix products alone: what of its time is not arithmetic.

The products are what one forward of the plain model asks of torch (mm, addmm, bmm, convolution), replayed on their own
tensors as often as the chart has cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from chart_interpolated import SMALL, _cnn, _mlp
from pairs import pairs
from resnet import cifar, resnet
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import lossatlas as la

POINTS, ROUNDS = (5, 3) if SMALL else (15, 5)
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::convolution"}


class _Products(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in PRODUCTS:
            self.calls.append(lambda: func(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def _row(what: str, target: str, model: nn.Module, data: tuple[Tensor, Tensor], points: int = POINTS) -> list[str]:
    surface = la.NetworkSurface(model, "cross_entropy", data)
    plane = la.Plane.random(surface, seed=0, normalization="filter")
    la.chart(surface, plane, points=3, exact=True, progress=False)
    with torch.no_grad(), _Products() as seen:
        model(data[0])

    def ours() -> object:
        return la.chart(surface, plane, points=points, exact=True, progress=False)

    def products() -> None:
        with torch.no_grad():
            for _ in range(points**2):
                for call in seen.calls:
                    call()

    alone, mine, ratio = pairs(products, ours, ROUNDS)
    said = f"{len(seen.calls)} products a forward; {torch.get_num_threads()} threads"
    return [f"exact {points}×{points} chart over its matrix products alone, {what}", mine, alone, ratio, target, said]


def measure() -> list[list[str]]:
    """MLP and CNN on digits, ResNet-20 on CIFAR images."""
    rows = [_row("digits MLP", "≤ 1.7", *_mlp()), _row("digits CNN", "≤ 1.2", *_cnn())]
    data = cifar(64 if SMALL else 250)
    if data is not None:
        rows.append(_row("ResNet-20, CIFAR images", "≤ 1.2", resnet(seed=0).eval(), data, points=3))
    return rows
