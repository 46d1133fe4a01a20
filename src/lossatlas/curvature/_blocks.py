"""Curvature layer by layer: the trace of every block from the same products, and its own sharpest directions."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, _statistics, archive
from lossatlas._errors import InputError
from lossatlas._progress import Show, counted
from lossatlas.curvature._extremes import extremes
from lossatlas.curvature._operator import How, Operator
from lossatlas.curvature._trace import FLOOR, ROWS, Signs, check_width
from lossatlas.probe import Probe
from lossatlas.surface import PointLike, Surface

if TYPE_CHECKING:
    from lossatlas.draw import BarsDisplay

KIND = "blocks"


@dataclass(frozen=True, eq=False)
class BlockCurvature:
    """The diagonal blocks of a Hessian, one per layer or group of layers.

    Attributes:
        names: of the blocks, in the order of θ or as asked for.
        sizes: (b,) entries of each.
        traces: (b,) tr H_bb.
        intervals: (b, 2) Student's interval of each at the confidence asked for.
        largest: (b,) largest eigenvalue of each block; NaN where that was not asked for.
        smallest: (b,) smallest eigenvalue of each.
        residuals: (b, 2) of the largest and the smallest.
        samples: random vectors behind the traces.
        meter: what was asked for it.
        provenance: surface, point and settings, plain JSON values.
        status: ``converged``, or what has not.
    """

    names: tuple[str, ...]
    sizes: np.ndarray
    traces: np.ndarray
    intervals: np.ndarray
    largest: np.ndarray
    smallest: np.ndarray
    residuals: np.ndarray
    samples: int
    meter: dict[str, Any]
    provenance: dict[str, Any]
    status: str

    def plot(self, ax: Any = None, *, of: Literal["trace", "largest", "smallest"] = "trace") -> BarsDisplay:
        """One row per block.

        Args:
            ax: matplotlib axes, or None for a new figure.
            of: ``trace`` with its interval, or the ``largest`` or ``smallest`` eigenvalue with its residual.
        """
        from lossatlas.draw import BarsDisplay

        if of == "trace":
            values, (low, high) = self.traces, self.intervals.T
            label = "trace of the block with its interval"
        elif of in ("largest", "smallest"):
            values = self.largest if of == "largest" else self.smallest
            off = self.residuals[:, 0 if of == "largest" else 1]
            low, high, label = values - off, values + off, f"{of} eigenvalue of the block ± residual"
        else:
            raise InputError(f"got of={of!r}; expected 'trace', 'largest' or 'smallest'.")
        note = f"{self.status}. Intervals at {self.provenance['confidence']:.0%}, from {self.samples:,} random vectors"
        note = note if of == "trace" else self.status
        return BarsDisplay(list(self.names), values, low, high, xlabel=label, note=note[:1].upper() + note[1:]).plot(ax)

    def record(self) -> dict[str, Any]:
        """Everything but the arrays, as plain JSON values."""
        return {
            "names": list(self.names),
            "samples": self.samples,
            "meter": self.meter,
            "provenance": self.provenance,
            "status": self.status,
        }

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder: `blocks.json` and `blocks.safetensors`, atomically.

        Raises:
            OutputError: if the folder cannot be written; nothing is then half-written.
        """
        names = ("sizes", "traces", "intervals", "largest", "smallest", "residuals")
        return archive.save(folder, KIND, {name: getattr(self, name) for name in names}, self.record())

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> BlockCurvature:
        """The blocks that were saved."""
        parts: dict[str, Any] = {name: record[name] for name in ("samples", "meter", "provenance", "status")}
        return cls(**{**parts, **arrays, "names": tuple(record["names"])})

    def _repr_html_(self) -> str:
        head = "<tr><th>block</th><th>entries</th><th>trace</th><th>interval</th><th>λmax</th><th>λmin</th></tr>"
        rows = [
            f"<tr><td>{html.escape(name)}</td><td>{size:,}</td><td>{trace:.4g}</td><td>{low:.4g} to {high:.4g}</td>"
            f"<td>{top:.4g}</td><td>{least:.4g}</td></tr>"
            for name, size, trace, (low, high), top, least in zip(
                self.names, self.sizes, self.traces, self.intervals, self.largest, self.smallest, strict=True
            )
        ]
        return f"<table>{head}{''.join(rows)}</table><p>{html.escape(self.status)}</p>"


def per_block(
    surface: Surface,
    *,
    point: PointLike | None = None,
    blocks: Sequence[str] | None = None,
    eigenvalues: bool = True,
    relative: float = 0.05,
    confidence: float = 0.95,
    limit: int = 200,
    tolerance: float = 1e-3,
    seed: int = 0,
    how: How = "auto",
    probe: Probe | None = None,
    progress: Show = False,
) -> BlockCurvature:
    """Trace and extreme eigenvalues of every diagonal block of the Hessian.

    One product Hv with random signs v serves the traces of all blocks, tr H_bb = E v_b·(Hv)_b, so that a hundred
    layers cost no more than one. The eigenvalues are those of H restricted to the block, and cost a run each.

    Args:
        surface: any surface that knows gradients.
        point: where, whatever describes a point (a vector, state dict, module or file); the surface's own by default.
        blocks: names of layout blocks, or of modules that hold several; every block of the layout by default.
        eigenvalues: whether to ask for the largest and smallest eigenvalue of each.
        relative: stop once the interval of every trace reaches no farther than this share of the largest of them.
        confidence: of the intervals.
        limit: products at most for the traces, and for the eigenvalues of each block.
        tolerance: of the eigenvalues, as in `extremes`.
        seed: of the random vectors.
        how: to take products, as in `Operator`.
        probe: the door to ask at; a new one by default.
        progress: True for a bar, or a function of (products done, limit), for the traces.

    Returns:
        The `BlockCurvature`.

    Raises:
        UnknownNameError: for a block that is not in the layout.

    Example:
        >>> import torch, lossatlas as la
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        >>> surface = la.NetworkSurface(model, "mse", (torch.ones(5, 3), torch.zeros(5, 1)))
        >>> la.per_block(surface, blocks=["0", "2"]).sizes.tolist()
        [16, 5]
    """
    limit, seed = check_width(relative, confidence, limit), _checks.seed(seed)
    operator = Operator(surface, point, probe=probe, how=how)
    names = tuple(block.name for block in surface.layout.blocks) if blocks is None else tuple(blocks)
    if not names:
        raise InputError("got no blocks; expected at least one name, or None for every block of the layout.")
    rows = [operator.rows_of(name) for name in names]
    draws = _draws(operator, rows, seed, relative, confidence, limit, progress)
    means = np.array([_statistics.mean(row, confidence) for row in draws])
    traces, half = means[:, 0], means[:, 2]
    short = [] if (half <= relative * np.abs(traces).max()).all() else [f"traces within {limit} products"]
    pairs, offs, fine = np.full((len(names), 2), np.nan), np.full((len(names), 2), np.nan), 0
    for b, name in enumerate(names if eigenvalues else ()):
        found = extremes(
            surface, 1, point=point, blocks=[name], seed=seed, tolerance=tolerance, limit=limit, how=how,
            probe=operator.probe,
        )  # fmt: skip
        pairs[b] = found.largest.values[0], found.smallest.values[0]
        offs[b] = found.largest.residuals[0], found.smallest.residuals[0]
        fine += bool(found.largest.converged[0] and found.smallest.converged[0])
    if eigenvalues and fine < len(names):
        short.append(f"eigenvalues of {len(names) - fine} blocks within {limit} products each")
    status = "converged" if not short else f"not converged: {' and '.join(short)}"
    settings = {"relative": relative, "confidence": confidence, "limit": limit, "tolerance": tolerance, "seed": seed}
    return BlockCurvature(
        names,
        np.array([len(index) for index in rows]),
        traces,
        np.stack([traces - half, traces + half], 1),
        pairs[:, 0],
        pairs[:, 1],
        offs,
        draws.shape[1],
        operator.bill(),
        operator.provenance(**settings),
        operator.remark(status),
    )


def _draws(
    operator: Operator, rows: list[Tensor], seed: int, relative: float, confidence: float, limit: int, progress: Show
) -> np.ndarray:
    """v_b·(Hv)_b of every block (b, draws), until the intervals of all are narrow enough."""
    signs, draws = Signs(operator, seed), np.empty((len(rows), 0))
    with counted("Hessian products", limit, progress) as report:
        while True:
            vectors = signs.draw(min(ROWS if draws.size else FLOOR, limit - draws.shape[1]))
            entries = vectors * operator.apply(vectors)
            new = torch.stack([entries[:, index].sum(1) for index in rows]).cpu().numpy()
            draws = np.concatenate([draws, new], axis=1)
            report(draws.shape[1])
            means = np.array([_statistics.mean(row, confidence) for row in draws])
            if (means[:, 2] <= relative * np.abs(means[:, 0]).max()).all() or draws.shape[1] >= limit:
                return draws
