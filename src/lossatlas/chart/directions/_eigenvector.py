"""Directions of extreme curvature: eigenvectors of the Hessian, with the residual of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast, final

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.chart.directions._direction import EUCLIDEAN, Direction, Drawn
from lossatlas.curvature import How, extremes
from lossatlas.surface import Surface

_NAME = re.compile(r"(largest|smallest)(?:-([1-9]\d*))?")


@final
@dataclass(frozen=True)
class Eigenvector(Direction):
    """An eigenvector of the Hessian at the origin, of unit length, its largest entry positive.

    Eigenvalue, residual and cost are on record; a vector that has not converged is named in the notes.

    Args:
        which: ``largest``, ``smallest``, or further in as ``largest-2``, ``smallest-3``.
        seed: of the starting vector.
        tolerance: of the residual, relative to the eigenvalue.
        limit: Hessian products at most.
        how: products are taken, as of `Hessian`: ``exact``, ``differences`` or ``auto``.
    """

    which: str = "largest"
    seed: int = 0
    tolerance: float = 1e-4
    limit: int | None = None
    how: str = "auto"

    kind: ClassVar[str] = "hessian"

    def draw(self, surface: Surface, origin: Tensor) -> Drawn:
        """The eigenvector, from one Lanczos iteration."""
        (drawn,), record = _eigenvectors([self], surface, origin)
        return replace(drawn, record=record)

    @classmethod
    def together(
        cls, several: Sequence[Eigenvector], surface: Surface, origin: Tensor
    ) -> tuple[list[Drawn], dict[str, Any]] | None:
        """Both ends, or several pairs of one end, come out of one iteration."""
        if any(replace(one, which=several[0].which) != several[0] for one in several):
            return None
        return _eigenvectors(several, surface, origin)


def _eigenvectors(
    several: Sequence[Eigenvector], surface: Surface, origin: Tensor
) -> tuple[list[Drawn], dict[str, Any]]:
    which, seed = [one.which for one in several], _checks.seed(several[0].seed)
    tolerance, limit, how = several[0].tolerance, several[0].limit, cast(How, several[0].how)
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
        how=how,
    )
    reason = found.provenance["reason"]
    differences = () if reason is None else (f"Hessian products by central differences of gradients ({reason})",)
    drawn, values, residuals, converged = [], [], [], []
    for name, (end, k) in zip(which, places, strict=True):
        pairs = found.largest if end == "largest" else found.smallest
        vector = torch.from_numpy(pairs.vectors[k - 1])
        # The sign of an eigenvector is arbitrary; its largest entry is made positive.
        row = (vector * (1.0 if vector[vector.abs().argmax()] > 0 else -1.0)).to(origin)
        values.append(float(pairs.values[k - 1]))
        residuals.append(float(pairs.residuals[k - 1]))
        converged.append(bool(pairs.converged[k - 1]))
        lost = f"the {name} eigenvector has not converged: eigenvalue {values[-1]:.4g}, residual {residuals[-1]:.2g}"
        notes = (*(() if converged[-1] else (lost,)), *differences)
        drawn.append(Drawn(row, label=f"{name} curvature {values[-1]:.4g}", notes=notes, unit=EUCLIDEAN))
    record = {
        "which": which,
        "eigenvalues": values,
        "residuals": residuals,
        "converged": converged,
        "products": found.meter.products,
        "seed": seed,
        "tolerance": tolerance,
        **({"by": found.provenance["products"]} if differences else {}),
    }
    return drawn, record


def _place(name: str) -> tuple[str, int]:
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise InputError(
            f"got the eigenvector {_checks.shown(name)}; expected 'largest', 'smallest', or one further in such as 'largest-2'."
        )
    return match[1], int(match[2] or 1)
