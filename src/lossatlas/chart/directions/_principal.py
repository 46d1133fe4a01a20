"""Where a path moves most: principal components of its iterates, by the Gram trick, some parameters at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import CheckpointError, InputError, PlaneError
from lossatlas.chart.planes._origin import point_of
from lossatlas.chart.planes._policy import Ignore, rule
from lossatlas.chart.planes._walked import Walked, walked
from lossatlas.surface import Block, NetworkSurface, PointLike, Surface, as_vector, numbers_of

Centering = Literal["final", "mean"]
# Share of the first two components of an endless random walk, about its last point and about its mean.
LIMITS = {
    "final": tuple(8 / (np.pi**2 * (2 * k - 1) ** 2) for k in (1, 2)),
    "mean": tuple(6 / (np.pi**2 * k**2) for k in (1, 2)),
}
EXACT_NULL = 1000
# Numbers of all iterates together that are read at once.
AT_ONCE = 2**24
FLAT = 1e-12


def principal(
    surface: Surface,
    iterates: Tensor | Sequence[PointLike] | Walked | str | Path,
    *,
    centering: Centering = "final",
    ignore: Ignore | None = None,
) -> tuple[Tensor, Tensor, dict[str, Any], tuple[str, ...]]:
    """The two leading components of a path's iterates.

    With M the rows θ_i − θ_n (``final``; Li et al. 2018, section 7) or θ_i − mean (``mean``), K = M Mᵀ = U Σ² Uᵀ gives
    V = Mᵀ U Σ⁻¹. K is n×n and summed in float64 over slabs of `AT_ONCE` numbers of all iterates; no more than one is held.

    Returns:
        The last iterate, directions (2, N) of unit length at right angles, for the record how much they explain beside
        what a random walk would, and the same as a sentence.
    """
    _checks.one_of("centering", centering, LIMITS)
    run = walked(iterates)
    if run is not None:
        run.check(surface)
        if run.sketched:
            return _of_sketches(surface, run, centering, ignore)
        run.require(len(run.iterates))
        iterates = run.iterates
    path = _Path(surface, cast(Sequence[PointLike], iterates))
    last = point_of(surface, path.last)
    gram = torch.zeros(path.count, path.count, dtype=torch.float64, device=surface.device)
    for _, rows in path.slabs(centering, ignore):
        gram += rows @ rows.T
    lost = [k + 1 for k in range(path.count) if not bool(torch.isfinite(gram[k, k]))]
    if lost:
        raise PlaneError(
            f"{len(lost)} of {path.count} iterates hold numbers that are not finite, or too large for their squares, the "
            f"first of them number {lost[0]}; expected finite ones. Leave out what came after the run diverged."
        )
    squares, inside = torch.linalg.eigh(gram)
    squares, inside = squares.flip(0).clamp_min(0), inside.flip(1)
    if not bool(torch.isfinite(squares).all()) or float(squares[1]) <= FLAT * float(squares[0]):
        raise PlaneError(
            f"the {path.count} iterates span no plane: the second component holds {float(squares[1]):.1e} of a squared "
            f"length of {float(squares[0]):.1e}; expected a path that is not straight. Draw it as a line between two of them."
        )
    mix = inside[:, :2] / squares[:2].sqrt()
    mix = mix * torch.where(mix[0] < 0, -1.0, 1.0)  # the path begins on the positive side of both axes
    rows_out = torch.zeros(2, surface.dimension, dtype=surface.dtype, device=surface.device)
    for span, rows in path.slabs(centering, ignore):
        rows_out[:, span] = (mix.T @ rows).to(surface.dtype)
    shares = (squares[:2] / squares.sum()).tolist()
    null = _null(path.count, centering)
    record = {
        "iterates": path.count,
        "centering": centering,
        "ignore": ignore or "nothing",
        "shares": shares,
        "random_walk": {"shares": list(null), "limit": list(LIMITS[centering])},
    }
    note = (
        f"the two axes hold {shares[0]:.1%} and {shares[1]:.1%} of the path's squared length about its "
        f"{'last point' if centering == 'final' else 'mean'}; a random walk of {path.count} points in as many dimensions "
        f"gives {null[0]:.1%} and {null[1]:.1%}"
    )
    return last, rows_out, record, (note, *path.notes)


def _of_sketches(
    surface: Surface, run: Walked, centering: Centering, ignore: Ignore | None
) -> tuple[Tensor, Tensor, dict[str, Any], tuple[str, ...]]:
    """The same of a run whose points were sketched: the nearest plane through the points that were kept."""
    if ignore not in (None, "nothing"):
        raise InputError(
            f"got ignore={ignore!r} for a run of sketches; expected None: a sketch holds all parameters together. Record "
            "whole points to leave some out."
        )
    origin, rows, record = run.directions(centering)
    null = _null(len(run.steps), centering)
    record["random_walk"] = {"shares": list(null), "limit": list(LIMITS[centering])}
    first, two = record["shares"]
    note = (
        f"the two axes hold {first:.1%} and {two:.1%} of the path's squared length (estimated from sketches; its own "
        f"components hold {record['best_shares'][0]:.1%} and {record['best_shares'][1]:.1%}); a random walk of "
        f"{len(run.steps)} points in as many dimensions gives {null[0]:.1%} and {null[1]:.1%}"
    )
    return origin.to(surface.device), rows.to(surface.device, surface.dtype), record, (note,)


def _null(count: int, centering: Centering) -> tuple[float, float]:
    """The shares for a random walk of so many points in endless dimensions (Antognini and Sohl-Dickstein 2018)."""
    if count > EXACT_NULL:
        first, two = LIMITS[centering]
        return first, two
    steps = np.arange(count, 0.0, -1) - 1
    gram = np.minimum.outer(steps, steps)
    if centering == "mean":
        gram = gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
    values = np.linalg.eigvalsh(gram)[::-1]
    return float(values[0] / values.sum()), float(values[1] / values.sum())


@final
class _Path:
    """Iterates of any form, read some parameters at a time."""

    def __init__(self, surface: Surface, iterates: Tensor | Sequence[PointLike]) -> None:
        items = list(iterates)
        if len(items) < 3:
            raise InputError(f"got {len(items)} iterates; expected at least 3, since two points make a line.")
        self.layout, self.surface, self.count = surface.layout, surface, len(items)
        found = [_tensors(surface, item, k) for k, item in enumerate(items)]
        self.items = [tensors for tensors, _ in found]
        self.notes = tuple(sentence for _, sentence in found if sentence)[:1]
        self.last: Any = items[-1]

    def slabs(self, centering: Centering, ignore: Ignore | None) -> Iterator[tuple[slice, Tensor]]:
        """Where in θ each slab of a block that counts is, with its centered rows (n, size) in float64."""
        size = max(1, AT_ONCE // self.count)
        for block in self.layout.blocks:
            if ignore == "biasbn" and rule(block, "filter", ignore).action == "held":
                continue
            for begin in range(0, block.size, size):
                end = min(begin + size, block.size)
                parts = [_part(item, block)[begin:end].to(self.surface.device).double() for item in self.items]
                rows = torch.stack(parts)
                span = slice(block.offset + begin, block.offset + end)
                yield span, rows - (rows[-1] if centering == "final" else rows.mean(0))


def _part(item: Tensor | Mapping[str, Tensor], block: Block) -> Tensor:
    if isinstance(item, Tensor):
        return item[block.span]
    name = next(name for name in (block.name, *block.aliases) if name in item)
    return item[name].detach().reshape(-1)


def _tensors(surface: Surface, item: PointLike, place: int) -> tuple[Tensor | Mapping[str, Tensor], str]:
    """An iterate as a vector, or as tensors by the surface's names, which are read when they are needed."""
    if numbers_of(item, f"iterate {place + 1}") is not None or not isinstance(surface, NetworkSurface):
        return as_vector(surface, item, f"iterate {place + 1}"), ""
    try:
        found = surface.fitted(item)
    except CheckpointError as error:
        raise CheckpointError(f"iterate {place + 1}: {error} Give iterates of one training run.") from None
    assert found is not None
    return found.tensors, found.sentence
