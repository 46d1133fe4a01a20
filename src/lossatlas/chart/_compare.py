"""Charting several models on the same plane, or on paired seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lossatlas import _checks
from lossatlas._errors import InputError, OutputError
from lossatlas._progress import Progress
from lossatlas.chart._chart import Chart
from lossatlas.chart._comparison import COMPARED, Comparison, Scale, judged
from lossatlas.chart._make_chart import chart
from lossatlas.chart.planes._plane import Plane
from lossatlas.chart.sampling._grid import Span, counts_of
from lossatlas.probe import Meter
from lossatlas.surface import Frame, Surface, need_surface


def compare(
    surfaces: Sequence[Surface] | Mapping[str, Surface],
    *,
    planes: Literal["paired"] | Plane | Frame | Sequence[Plane | Frame] = "paired",
    seeds: int | Sequence[int] = 5,
    normalization: str = "filter",
    span: Span = 1.0,
    points: int | tuple[int, int] = 21,
    scale: Scale = "linear",
    exact: bool = True,
    tolerance: float | None = None,
    ledger: str | Path | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> Comparison:
    """Chart several surfaces on planes that belong together, in one color scale, with a number for their roughness.

    Args:
        surfaces: at least two, by name or in a list (they then go by their own names).
        planes: ``paired`` for random planes of every surface's own with the same seeds (the same Gaussian numbers where
            the architectures have the same blocks), each normalized to its own weights; or a plane, or several, on
            which all surfaces are sliced (only for one architecture).
        seeds: how many pairs, from seed 0, or which.
        normalization: of the paired planes.
        span: as in `chart`.
        points: as in `chart`; at least three per axis.
        scale: ``log`` to judge the roughness of the logarithm of the loss, for losses that span decades.
        exact: evaluate every cell. False lets `chart` reconstruct; what is finer than its nodes is then not judged.
        tolerance: of the reconstruction.
        ledger: a folder that remembers every answer, with one of its own for each chart, as in `chart`.
        progress: True for a bar, False for silence, or a function of (cells done, cells in all).

    Returns:
        The `Comparison`.

    Raises:
        InputError: for fewer than two surfaces, two of one name, or no seeds.
        PlaneError: if a plane is of another architecture than a surface.

    Example:
        >>> import lossatlas as la
        >>> made = compare(
        ...     {"bowl": la.landscapes.quadratic(), "egg box": la.landscapes.rastrigin()},
        ...     seeds=2,
        ...     points=15,
        ...     progress=False,
        ... )
        >>> made.difference("bowl", "egg box").rougher
        2
    """
    named = _named(surfaces)
    _checks.one_of("scale of roughness", scale, ("linear", "log"))
    labels, laid = _laid(named, planes, seeds, normalization)
    root = _checks.optional(_checks.path, "ledger", ledger, where="compare", error=OutputError)
    charts: dict[str, list[Chart]] = {name: [] for name in named}
    cells = math.prod(counts_of(points))
    bar = Progress(len(named) * len(labels) * cells, progress, "comparing")
    with bar:
        for k in range(len(labels)):
            for i, (name, surface) in enumerate(named.items()):
                charts[name].append(
                    chart(
                        surface,
                        laid[name][k],
                        span=span,
                        points=points,
                        exact=exact,
                        tolerance=tolerance,
                        ledger=None if root is None else root / f"{i}-{k}",
                        progress=False,
                    )
                )
                bar.advance(cells)
    return _finish(named, labels, charts, scale, {"exact": exact, "normalization": normalization})


def _named(surfaces: Sequence[Surface] | Mapping[str, Surface]) -> dict[str, Surface]:
    _checks.instance(
        "surfaces", surfaces, (list, tuple, Mapping), "a list of surfaces, or surfaces by name", where="compare"
    )
    for one in surfaces.values() if isinstance(surfaces, Mapping) else surfaces:
        need_surface(one, "compare")
    pairs = list(surfaces.items()) if isinstance(surfaces, Mapping) else [(one.name, one) for one in surfaces]
    named = dict(pairs)
    if len(named) < 2 or len(named) != len(pairs):
        raise InputError(
            f"got {len(pairs)} surfaces named {', '.join(repr(name) for name, _ in pairs)}; expected at least two with "
            "names of their own. Give them as {'name': surface}."
        )
    return named


def _laid(
    named: dict[str, Surface], planes: Any, seeds: int | Sequence[int], normalization: str
) -> tuple[list[str], dict[str, list[Plane | Frame]]]:
    """What each plane is called, and the planes of every surface."""
    if isinstance(planes, str):
        if planes != "paired":
            raise InputError(f"got planes={planes!r}; expected 'paired', a plane, or a list of planes.")
        listed = seeds if isinstance(seeds, Sequence | np.ndarray) else range(_checks.whole("seeds", seeds, 1, 10_000))
        chosen = [_checks.seed(seed, "seeds") for seed in listed]
        if not chosen:
            raise InputError(f"got seeds={seeds}; expected at least one.")
        laid = {
            name: [Plane.random(surface, seed=seed, normalization=normalization) for seed in chosen]
            for name, surface in named.items()
        }
        return [f"seed {seed}" for seed in chosen], laid  # type: ignore[return-value]
    expected = "'paired', a plane, or a list of planes"
    _checks.instance("planes", planes, (Plane, Frame, list, tuple), expected, where="compare")
    shared = [planes] if isinstance(planes, Plane | Frame) else list(planes)
    if not shared:
        raise InputError(f"compare got an empty list of planes; expected {expected}.")
    for plane in shared:
        _checks.instance("planes", plane, (Plane, Frame), expected, where="compare")
    for surface in named.values():
        for plane in shared:
            surface.on(plane)
    return [f"plane {k + 1}" for k in range(len(shared))], dict.fromkeys(named, shared)


def _finish(
    named: dict[str, Surface], labels: list[str], charts: dict[str, list[Chart]], scale: str, settings: dict[str, Any]
) -> Comparison:
    meter = sum((one.meter for made in charts.values() for one in made), Meter())
    first = next(iter(charts.values()))[0].provenance
    provenance = {
        "surfaces": {name: surface.fingerprint() for name, surface in named.items()},
        "settings": settings | first["settings"] | {"scale": scale},
        "measures": {name: definition for name, (_, definition) in COMPARED.items()},
        "versions": first["versions"],
    }
    made_of = {name: tuple(made) for name, made in charts.items()}
    return Comparison(tuple(named), tuple(labels), made_of, judged(made_of, scale), scale, meter, provenance)
