"""Outputs at nodes in a ledger: what was evaluated is kept before it is used, and evaluated by nobody again."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas._errors import OutputError
from lossatlas.probe import Ledger, Probe
from lossatlas.probe.engine import Part

Array = NDArray[np.float64]
COORDS = "outputs at"
HALF = "outputs in half precision at"
# Whether nodes take less time in half precision: once found out, a chart that goes on does as it began. Whether they are
# exact enough is read off what is kept of them, since another chart in the same ledger may tolerate more.
DECIDED = "half precision is faster"
# Nodes that are evaluated again when a run is resumed.
CONFIRMED = 3


@final
class KeptOutputs:
    """Outputs by coordinates, in a ledger's blobs, one for each query.

    Args:
        ledger: open.
        coords: under what name the coordinates are kept, which says what kind of outputs are.
    """

    def __init__(self, ledger: Ledger, coords: str = COORDS) -> None:
        self._ledger, self._name = ledger, coords
        self._rows: dict[bytes, tuple[list[Tensor], int]] = {}
        self._unconfirmed = True

    def read(self, probe: Probe, source: Any, coords: Array) -> list[Tensor]:
        """By batch, outputs at coordinates (P, k); new ones are kept before they are handed on.

        Raises:
            OutputError: if a few of those that are kept come out as something else now.
        """
        coords = np.ascontiguousarray(coords)
        keys = [row.tobytes() for row in coords]
        if self._unconfirmed:
            self._recall(source)
            self._confirm(probe, source, coords.shape[1])
        missing = [k for k, key in enumerate(keys) if key not in self._rows]
        if missing:

            def keep(part: Part) -> None:
                rows = [missing[k] for k in part.rows.tolist()]
                self._ledger.keep({self._name: torch.from_numpy(coords[rows]), **part.answer})
                fresh = [part.answer[str(k)] for k in range(len(part.answer))]
                for row, k in enumerate(rows):
                    self._rows[keys[k]] = (fresh, row)

            probe.outputs(source, coords[missing], keep)
        probe.meter.recalled += len(coords) - len(missing)
        rows = [self._rows[key] for key in keys]
        return [torch.stack([parts[k][row] for parts, row in rows]) for k in range(len(source.shapes))]

    def _recall(self, source: Any) -> None:
        """What the ledger holds of the kind that is read: another limit of memory may have kept margins, or outputs."""
        shapes = [tuple(shape) for shape in source.shapes]
        for name in self._ledger.blobs:
            found = self._ledger.fetch(name)
            parts = [found[str(k)] for k in range(len(found) - 1)] if self._name in found else []
            if parts and [tuple(part.shape[1:]) for part in parts] == shapes:
                for row, place in enumerate(found[self._name].numpy()):
                    self._rows[place.tobytes()] = (parts, row)

    def decided(self) -> bool | None:
        """Whether half precision is faster, as it was found; None where it was not measured yet."""
        found = (kept[DECIDED] for name in self._ledger.blobs if DECIDED in (kept := self._ledger.fetch(name)))
        return next((bool(one) for one in found), None)

    def decide(self, faster: bool) -> None:
        """Keep what was found."""
        self._ledger.keep({DECIDED: torch.tensor(faster)})

    def _confirm(self, probe: Probe, source: Any, dimension: int) -> None:
        self._unconfirmed = False
        every = list(self._rows)
        if not every:
            return
        some = [every[k] for k in sorted({0, len(every) // 2, len(every) - 1})][:CONFIRMED]
        places = np.stack([np.frombuffer(key, dtype=np.float64) for key in some])
        if places.shape[1] != dimension:
            return
        values = probe.meter.values
        now = probe.outputs(source, places)
        probe.meter.values, probe.meter.confirmed = values, probe.meter.confirmed + len(some)
        for row, key in enumerate(some):
            parts, kept = self._rows[key]
            for part, again in zip(parts, now, strict=True):
                one, two = part[kept].double(), again[row].double()
                allowed = torch.finfo(again.dtype).eps ** 0.5 * (1 + float(two.abs().max()))
                if one.shape != two.shape or not float((one - two).abs().nan_to_num().max()) <= allowed:
                    place = ", ".join(f"{c:.3g}" for c in places[row])
                    raise OutputError(
                        f"the ledger holds other outputs at ({place}) than the model gives now: the code of the model, or what it "
                        "reads, has changed. Expected the same surface; choose another folder, or give it as it was."
                    )
