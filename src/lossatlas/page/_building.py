"""What a scene is built up in: lists by part, arrays by number, each surface and each optimizer once."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np

from lossatlas.chart import Chart
from lossatlas.page._arrays import TYPES, Array
from lossatlas.page._scene import PARTS
from lossatlas.probe import Meter


class Building:
    """Collects parts.

    Attributes:
        parts: by name, lists of plain JSON values that refer to arrays by number.
        arrays: the arrays.
        notes: what a reader must know of the scene.
        known: numbers of surfaces by what tells them apart.
        charts: those of planes, by id.
    """

    def __init__(self) -> None:
        self.parts: dict[str, list[dict[str, Any]]] = {name: [] for name in PARTS}
        self.arrays: list[Array] = []
        self.notes: list[str] = []
        self.known: dict[str, str] = {}
        self.charts: dict[str, Chart] = {}
        self._refs: dict[str, int] = {}
        self._ids: set[str] = set()

    def array(self, given: Any, dtype: str = "f4") -> int:
        """The number of an array; one that is there already is not stored twice."""
        with np.errstate(over="ignore", invalid="ignore"):
            array = np.ascontiguousarray(np.asarray(given), dtype=np.dtype(TYPES[dtype]))
        key = hashlib.sha256(f"{dtype} {array.shape}".encode() + array.tobytes()).hexdigest()
        if key not in self._refs:
            self._refs[key] = len(self.arrays)
            self.arrays.append(array)
        return self._refs[key]

    def maybe(self, given: Any, dtype: str = "f4") -> int | None:
        """The same; None for nothing, or where no number is finite."""
        if given is None or np.size(given) == 0 or not np.isfinite(np.asarray(given, dtype=np.float64)).any():
            return None
        return self.array(given, dtype)

    def id(self, title: str) -> str:
        """A short name of letters, digits and hyphens that nothing else in the scene has."""
        stem = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-") or "one"
        name, k = stem, 2
        while name in self._ids:
            name, k = f"{stem}-{k}", k + 1
        self._ids.add(name)
        return name


def metered(meter: Meter) -> dict[str, int]:
    """A meter as the page shows it."""
    return {"losses": int(meter.values), "gradients": int(meter.gradients), "products": int(meter.products)}
