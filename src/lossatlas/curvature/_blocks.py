"""Curvature layer by layer: the trace of every block from the same products, and its own sharpest directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, _statistics, archive
from lossatlas._progress import Show
from lossatlas._said import several
from lossatlas.curvature._extremes import find_extremes
from lossatlas.curvature._operator import Operator, names_of
from lossatlas.curvature._samples import FEWEST, check_width, samples
from lossatlas.draw import Table
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.draw import BarsDisplay


@dataclass(frozen=True, eq=False)
class BlockCurvature(archive.Result):
    """The diagonal blocks of a Hessian, one per layer or group of layers.

    Attributes:
        names: of the blocks, in the order of θ or as given.
        sizes: (b,) entries of each.
        traces: (b,) tr H_bb.
        intervals: (b, 2) Student's interval of each at the requested confidence; a point where the trace is exact.
        largest: (b,) largest eigenvalue of each block; NaN where eigenvalues were not requested.
        smallest: (b,) smallest eigenvalue of each.
        residuals: (b, 2) of the largest and the smallest.
        samples: random vectors behind the traces; 0 where they are exact.
        meter: what was evaluated for it.
        provenance: surface, point and settings, plain JSON values.
        status: ``converged``, ``exact``, or what has not converged.
    """

    KIND: ClassVar[str] = "blocks"

    names: tuple[str, ...]
    sizes: np.ndarray
    traces: np.ndarray
    intervals: np.ndarray
    largest: np.ndarray
    smallest: np.ndarray
    residuals: np.ndarray
    samples: int
    meter: Meter
    provenance: dict[str, Any]
    status: str

    @property
    def sentence(self) -> str:
        """How many blocks, and what is known of them."""
        return (
            f"{several(len(self.names), 'block')} of {several(int(self.sizes.sum()), 'entry', 'entries')}, traces up to "
            f"{self.traces.max():.4g}; {self.status}"
        )

    def table(self) -> Table:
        """One row per block: its entries, its trace with the interval, and both ends of its spectrum."""
        numbers = zip(self.traces, *self.intervals.T, self.largest, self.smallest, strict=True)
        rows = [
            [name, f"{size:,}", f"{trace:.4g}", f"{low:.4g} to {high:.4g}", f"{top:.4g}", f"{least:.4g}"]
            for name, size, (trace, low, high, top, least) in zip(self.names, self.sizes, numbers, strict=True)
        ]
        return Table("Blocks of the Hessian", ["block", "entries", "trace", "interval", "λmax", "λmin"], rows)

    def plot(self, ax: Any = None, *, of: Literal["trace", "largest", "smallest"] = "trace") -> BarsDisplay:
        """One row per block.

        Args:
            ax: matplotlib axes, or None for a new figure.
            of: ``trace`` with its interval, or the ``largest`` or ``smallest`` eigenvalue with its residual.
        """
        from lossatlas.draw import BarsDisplay

        _checks.one_of("number of a block", of, ("trace", "largest", "smallest"))
        if of == "trace":
            values, (low, high) = self.traces, self.intervals.T
            label = "trace of the block with its interval"
        else:
            values = self.largest if of == "largest" else self.smallest
            off = self.residuals[:, 0 if of == "largest" else 1]
            low, high, label = values - off, values + off, f"{of} eigenvalue of the block ± residual"
        note = self.status
        if of == "trace" and self.samples:
            note += f". Intervals at {self.provenance['confidence']:.0%}, from {self.samples:,} random vectors"
        return BarsDisplay(
            list(self.names), values, low, high, xlabel=label, note=note[:1].upper() + note[1:], rates=False
        ).plot(ax)


def estimate_blocks(
    operator: Operator, blocks: str | Sequence[str] | None, eigenvalues: bool, relative: float, confidence: float, limit: int,
    tolerance: float, seed: int, progress: Show,
) -> BlockCurvature:  # fmt: skip
    """See `Hessian.per_block`."""
    (relative, confidence, limit), seed = check_width(relative, confidence, limit), _checks.seed(seed)
    own = [block.name for block in operator.surface.layout.blocks] if operator.blocks is None else operator.blocks
    names = tuple(own if blocks is None else names_of(blocks))
    eigenvalues = _checks.flag("eigenvalues", eigenvalues)
    rows = [operator.rows_of(name) for name in names]
    if operator.known:
        diagonal = operator.dense().diagonal()
        traces = np.array([float(diagonal[index.cpu()].sum()) for index in rows])
        half, count, enough = np.zeros(len(rows)), 0, True
    else:
        traces, half, count, enough = _estimated(operator, rows, relative, confidence, limit, seed, progress)
    short = [] if enough else [f"traces within {limit} products"]
    pairs, offs, fine = np.full((len(names), 2), np.nan), np.full((len(names), 2), np.nan), 0
    for b, name in enumerate(names if eigenvalues else ()):
        found = find_extremes(operator.block(name), 1, seed, tolerance, limit, "both", None, False)
        pairs[b] = found.largest.values[0], found.smallest.values[0]
        offs[b] = found.largest.residuals[0], found.smallest.residuals[0]
        fine += bool(found.largest.converged[0] and found.smallest.converged[0])
    if eigenvalues and fine < len(names):
        short.append(f"eigenvalues of {several(len(names) - fine, 'block')} within {limit} products each")
    status = ("exact" if operator.known else "converged") if not short else f"not converged: {' and '.join(short)}"
    settings = {"relative": relative, "confidence": confidence, "limit": limit, "tolerance": tolerance, "seed": seed}
    return BlockCurvature(
        names,
        np.array([len(index) for index in rows]),
        traces,
        np.stack([traces - half, traces + half], 1),
        pairs[:, 0],
        pairs[:, 1],
        offs,
        count,
        operator.spent(),
        operator.provenance(**settings),
        operator.remark(status),
    )


def _estimated(
    operator: Operator, rows: list[Tensor], relative: float, confidence: float, limit: int, seed: int, progress: Show
) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """The traces (b,), half their intervals, from how many vectors, and whether those were enough."""
    draws = np.empty((len(rows), 0))
    for vectors, products in samples(operator, seed, limit, progress=progress):
        entries = vectors * products
        sums = torch.stack([entries[:, index].sum(1) for index in rows])
        draws = np.append(draws, sums.cpu().numpy(), axis=1)
        traces, _, half = np.array([_statistics.mean(row, confidence) for row in draws]).T
        enough = bool((half <= relative * np.abs(traces).max()).all())
        if draws.shape[1] >= FEWEST and enough:
            break
    return traces, half, draws.shape[1], enough
