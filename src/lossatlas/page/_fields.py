"""Fields of a scene: losses with what each cell is and how far it may be off, in as few bytes as that is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossatlas.archive import Status
from lossatlas.chart import Chart
from lossatlas.page._building import Building

Array = NDArray[np.float64]
EVALUATED, RECONSTRUCTED, NOT_A_NUMBER, INFINITE, NOT_YET = range(5)


def of_chart(building: Building, made: Chart) -> dict[str, Any]:
    """The field of a chart."""
    center = None
    i, j = np.flatnonzero(made.alpha == 0), np.flatnonzero(made.beta == 0)
    if len(i) and len(j):
        center = {"i": int(i[0]), "j": int(j[0]), "loss": float(made.loss[j[0], i[0]])}
    return {
        "alpha": building.array(made.alpha, "f8"),
        "beta": building.array(made.beta, "f8"),
        "loss": building.array(_rounded(made)),
        "status": building.array(status(made), "u1"),
        "error": _error(building, made),
        "channels": {name: building.array(_coarse(made, found)) for name, found in made.extras.items()},
        "center": center,
        "evaluated": _points(building, made.samples),
        "cheap": _points(building, made.cheaply),
        "held_out": _points(building, made.held_out),
    }


def of_values(building: Building, x: Array, y: Array, z: Array) -> dict[str, Any]:
    """The field of values that were all evaluated."""
    told = np.where(np.isnan(z), NOT_A_NUMBER, np.where(np.isinf(z), INFINITE, EVALUATED))
    none: dict[str, Any] = dict.fromkeys(("error", "center", "evaluated", "cheap", "held_out"))
    arrays = {"alpha": building.array(x, "f8"), "beta": building.array(y, "f8"), "loss": building.array(z)}
    return {**arrays, "status": building.array(told, "u1"), "channels": {}, **none}


def status(made: Chart) -> NDArray[np.uint8]:
    """What each cell is, by the codes above."""
    known = made.exactly.shape == made.loss.shape
    exact = made.exactly if known else np.full(made.loss.shape, made.certificate.exact)
    found = np.where(exact, EVALUATED, RECONSTRUCTED)
    missing = NOT_YET if made.status == Status.INTERRUPTED else NOT_A_NUMBER
    found = np.where(np.isnan(made.loss), np.where(exact & known, NOT_A_NUMBER, missing), found)
    return np.where(np.isinf(made.loss), INFINITE, found).astype(np.uint8)


def _rounded(made: Chart) -> NDArray[np.float32]:
    """Losses of which cells that are sure to fewer figures than float32 holds keep 16 bits: a third less to carry.

    What that changes is less than a sixteenth of the expected error of the cell. Evaluated cells stay as they are.
    """
    with np.errstate(over="ignore"):
        loss = made.loss.astype(np.float32)
    if made.error.shape != loss.shape:
        return loss
    return _cut(loss, np.isfinite(loss) & (made.error > 16 * 2.0**-16 * np.abs(made.loss)), 8)


def _coarse(made: Chart, channel: Array) -> NDArray[np.float32]:
    """A further channel, such as the accuracy: reconstructed cells keep 12 bits, evaluated ones are what they are."""
    found = channel.astype(np.float32)
    return _cut(found, np.isfinite(found) & (status(made) == RECONSTRUCTED), 11)


def _cut(numbers: NDArray[np.float32], where: NDArray[np.bool_], bits: int) -> NDArray[np.float32]:
    """Numbers rounded by so many bits at some places."""
    patterns = numbers.view(np.int32).astype(np.int64)
    kept = ((patterns + (1 << (bits - 1))) & ~((1 << bits) - 1)).astype(np.int32).view(np.float32)
    return np.where(where & np.isfinite(kept), kept, numbers)


def _error(building: Building, made: Chart) -> dict[str, Any] | None:
    """The expected error in 255 logarithmic steps, rounded up: 0 for none, else lowest · ratio^(code − 1)."""
    if made.error.shape != made.loss.shape:
        return None
    sound = np.isfinite(made.error) & (made.error > 0)
    if not sound.any():
        return None
    lowest, highest = float(made.error[sound].min()), float(made.error[sound].max())
    ratio = max((highest / lowest) ** (1 / 254), 1 + 1e-9)
    codes = np.zeros(made.error.shape)
    codes[sound] = 1 + np.ceil(np.log(made.error[sound] / lowest) / np.log(ratio))
    return {"array": building.array(np.clip(codes, 0, 255), "u1"), "lowest": lowest, "ratio": ratio}


def _points(building: Building, points: Array) -> int | None:
    return building.array(points) if points.ndim == 2 and points.shape[1] == 2 and len(points) else None
