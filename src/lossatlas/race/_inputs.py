"""What every job of this room is given: a surface, counts, a seed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import InputError, StartError
from lossatlas.optimize._ranges import seeded, whole
from lossatlas.surface import Surface


def check(where: str, surface: Surface, seed: int, **counts: int) -> None:
    """Refuse what is no surface, no seed, or no count of at least one.

    Args:
        where: the function that was called, for the message.
        surface: what was given as one.
        seed: of all randomness.
        **counts: whole numbers of at least 1, by name.
    """
    if not isinstance(surface, Surface):
        raise InputError(
            f"{where} got a surface of type {type(surface).__name__}; expected a Surface, for example "
            "lossatlas.landscapes.four_wells() or lossatlas.NetworkSurface(model, loss, data)."
        )
    whole(where, 1, **counts)
    seeded(where, seed)


def starts(surface: Surface, start: Tensor | Iterable[float] | None, runs: int) -> Tensor:
    """Where each run begins, (runs, N).

    Raises:
        StartError: if there is none, or it has another dimension, is not finite, or lies outside the box.
    """
    given: Any = surface.start if start is None else start
    if given is None:
        raise StartError(f"{surface.name} declares no start; give start=… with {surface.dimension} numbers.")
    try:
        point = torch.as_tensor(given if isinstance(given, Tensor) else np.asarray(list(given), dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise StartError(
            f"got start={given!r}; expected {surface.dimension} numbers, or a row of them per run."
        ) from error
    point = point.detach().to(surface.device, surface.dtype)
    if point.shape not in ((surface.dimension,), (runs, surface.dimension)):
        raise StartError(
            f"got a start of shape {tuple(point.shape)}; expected ({surface.dimension},) for {surface.name}, or "
            f"({runs}, {surface.dimension}) for a start per run."
        )
    if not bool(torch.isfinite(point).all()):
        raise StartError(f"got a start that is not finite: {_shown(point)}; expected finite coordinates.")
    if surface.box is not None:
        low, high = surface.box[:, 0], surface.box[:, 1]
        if not bool(((point >= low) & (point <= high)).all()):
            box = " × ".join(f"[{a:g}, {b:g}]" for a, b in surface.box.tolist()[:4])
            raise StartError(f"got a start outside the box: {_shown(point)}; expected a point of {box}.")
    return point.expand(runs, -1).clone() if point.ndim == 1 else point.clone()


def _shown(point: Tensor) -> str:
    numbers = point.reshape(-1).tolist()
    return ", ".join(f"{x:g}" for x in numbers[:6]) + (", …" if len(numbers) > 6 else "")
