"""Directions of extreme curvature: eigenvectors of the Hessian, with the residual of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas.curvature import extremes
from lossatlas.surface import Surface

_NAME = re.compile(r"(largest|smallest)(?:-([1-9]\d*))?")


def eigenvectors(
    surface: Surface, origin: Tensor, which: Sequence[str], *, seed: int, tolerance: float, limit: int | None
) -> tuple[Tensor, dict[str, Any], tuple[str, ...]]:
    """Eigenvectors (k, N) of unit length by name, for the record what they are worth, and what has not converged.

    Args:
        surface: any that knows gradients.
        origin: where the Hessian is taken.
        which: ``largest``, ``smallest``, or further in as ``largest-2``, ``smallest-3``.
        seed: of the starting vector.
        tolerance: of the residual, relative to the eigenvalue.
        limit: products at most.
    """
    places = [_place(name) for name in which]
    if len(set(places)) < len(places):
        raise InputError(
            f"got which={tuple(which)}; expected different eigenvectors. Give 'largest-2' for the next one."
        )
    ends: Any = places[0][0] if len({end for end, _ in places}) == 1 else "both"
    found = extremes(
        surface,
        max(k for _, k in places),
        point=origin,
        seed=seed,
        tolerance=tolerance,
        limit=limit,
        ends=ends,
        progress=False,
    )
    rows, values, residuals, converged, notes = [], [], [], [], []
    for name, (end, k) in zip(which, places, strict=True):
        pairs = found.largest if end == "largest" else found.smallest
        vector = torch.from_numpy(pairs.vectors[k - 1])
        # The sign of an eigenvector is arbitrary; its largest entry is made positive.
        rows.append(vector * (1.0 if vector[vector.abs().argmax()] > 0 else -1.0))
        values.append(float(pairs.values[k - 1]))
        residuals.append(float(pairs.residuals[k - 1]))
        converged.append(bool(pairs.converged[k - 1]))
        if not converged[-1]:
            notes.append(
                f"the {name} eigenvector has not converged: eigenvalue {values[-1]:.4g}, residual {residuals[-1]:.2g}"
            )
    record = {
        "which": list(which),
        "eigenvalues": values,
        "residuals": residuals,
        "converged": converged,
        "products": found.meter.products,
        "seed": seed,
        "tolerance": tolerance,
    }
    return torch.stack(rows).to(origin), record, tuple(notes)


def _place(name: str) -> tuple[str, int]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"got the eigenvector {name!r}; expected 'largest', 'smallest', or one further in such as 'largest-2'."
        )
    return match[1], int(match[2] or 1)
