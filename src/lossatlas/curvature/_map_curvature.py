"""The verb: measure both ends of the Hessian's spectrum at the points of a plane, cell by cell, and resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossatlas import _checks, archive
from lossatlas._errors import InputError, LossError, OutputError, StartError
from lossatlas._progress import Show, counted
from lossatlas._said import several
from lossatlas.curvature._curvature_map import CONVERGED, MISSING, NOT_FINITE, UNCONVERGED, CurvatureMap
from lossatlas.curvature._hessian import Hessian
from lossatlas.curvature._numbers import numbers_in
from lossatlas.curvature._operator import SMALL, How
from lossatlas.probe import Forecast, Meter, Probe
from lossatlas.surface import Framed, Surface, need_surface

Span = float | Sequence[float] | Sequence[Sequence[float]]
# Products that a map may be expected to take where nobody says otherwise; cells of a map.
MOST, CELLS = 50_000, 10_000
# Seconds between two savings of a map that is being measured.
EVERY = 5.0


def curvature_map(
    surface: Surface,
    plane: Framed,
    *,
    points: int | tuple[int, int] = 9,
    span: Span = 1.0,
    k: int = 1,
    tolerance: float = 1e-3,
    limit: int | None = None,
    most: int = MOST,
    seed: int = 0,
    how: How = "auto",
    folder: str | Path | None = None,
    on_forecast: Callable[[Forecast], None] | None = None,
    probe: Probe | None = None,
    progress: Show = True,
) -> CurvatureMap:
    """The largest and smallest eigenvalues of the Hessian at the points of a plane, with |λmin/λmax|.

    A picture of a plane shows curvature along two directions; the Hessian of all parameters at its points may still have
    eigenvalues of the other sign. Where the ratio is near 0 the picture's convexity is close to the truth, where it is not
    the plane hides negative curvature. The cell nearest to the origin is measured first: what it took says what the map takes.

    Args:
        surface: any surface that knows gradients.
        plane: a `Plane`, or a frame of two directions.
        points: cells per axis, or (columns, rows).
        span: the coordinates: s for −s to s, (low, high), or a pair of these for each axis.
        k: eigenvalues from each end.
        tolerance: of the eigenvalues, see `Hessian.extremes`.
        limit: products at most in one cell, 100 + 20k by default; what has not converged by then is marked.
        most: products at most for the whole map; one that is expected to take more is refused after its first cell.
        seed: of the starting vector, the same one in every cell.
        how: as of `Hessian`: ``exact``, ``differences`` or ``auto``.
        folder: the map is kept there while it is measured; the same call resumes. None to keep it in memory only.
        on_forecast: called with the `Forecast` after the first cell; its evaluations are Hessian products.
        probe: what evaluates and counts; a new one by default.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (cells done, all).

    Returns:
        The `CurvatureMap`. If it is interrupted with Ctrl-C, of the cells that were done.

    Raises:
        InputError: for a line, or points, a span or a k that do not fit; and if the map would take too many products.
        PlaneError: for what is no plane of this surface.
        OutputError: if the folder holds another map, or cannot be written.

    Source:
        Li, Xu, Taylor, Studer and Goldstein, Visualizing the loss landscape of neural nets, NeurIPS 2018, arXiv:1712.09913,
        section 6: maps of |λmin/λmax| over filter-normalized planes.

    Example:
        >>> import lossatlas as la
        >>> bowl = la.landscapes.quadratic(condition=9.0, dimension=3)
        >>> found = la.curvature_map(bowl, la.Plane.random(bowl, seed=0), points=3)
        >>> found.ratio.round(6).tolist()[0], found.status
        ([0.111111, 0.111111, 0.111111], 'complete')
    """
    need_surface(surface, "curvature_map")
    sliced = surface.on(plane)  # refuses a frame of another architecture
    frame = sliced.frame
    if frame.dimension != 2:
        raise InputError(
            f"curvature_map got {'a line' if frame.dimension == 1 else f'{frame.dimension} directions'}; expected a plane. Along a "
            "line or a run la.curvature_along measures the same at points of your choice."
        )
    columns, rows = _counts(points)
    alpha, beta = (np.linspace(*ends, n) for ends, n in zip(_spans(span), (columns, rows), strict=True))
    k = _checks.whole("k", k, 1, surface.dimension, do=f"There are {surface.dimension:,} eigenvalues.")
    tolerance = _checks.number("tolerance", tolerance, above=0, below=1, do="It is a share, such as 1e-3.")
    limit = 100 + 20 * k if limit is None else _checks.whole("limit", limit, 2 * k + 2, _checks.MOST_WORK - 1)
    most, seed = _checks.whole("most", most), _checks.seed(seed)
    _checks.optional(
        _checks.function, "on_forecast", on_forecast, "a function of the forecast, or None", where="curvature_map"
    )
    root = _checks.optional(_checks.path, "folder", folder, where="curvature_map", error=OutputError)
    operator = Hessian(surface, frame.points(torch.zeros(1, 2))[0], how=how, probe=probe)
    settings = {
        "plane": frame.digests(), "alpha": alpha.tolist(), "beta": beta.tolist(), "k": k, "tolerance": tolerance,
        "limit": limit, "seed": seed,
    }  # fmt: skip
    notes = (
        "Hessians are taken with the surface's own running statistics of batch norm, which the plane moves"
        if frame.statistics is not None
        else ""
    )
    labels = tuple(getattr(plane, "labels", None) or ("α", "β"))
    map_ = _Cells(
        operator,
        alpha,
        beta,
        k,
        (labels[0], labels[1]),
        operator.provenance(**settings),
        notes,
        None if root is None else root,
    )
    every = [(i, j) for i in range(rows) for j in range(columns)]
    every.sort(key=lambda cell: cell != _nearest(alpha, beta))
    ahead = [cell for cell in every if map_.states[cell] == MISSING]
    status, saved = "complete", time.monotonic()
    try:
        with counted("cells", len(every), progress) as report:
            for done, (i, j) in enumerate(ahead, start=len(every) - len(ahead) + 1):
                begin = time.perf_counter()
                coords = torch.tensor([[alpha[j], beta[i]]], dtype=torch.float64)
                map_.measure(i, j, frame.points(coords)[0], tolerance=tolerance, limit=limit, seed=seed)
                if done == 1:
                    foreseen = map_.foreseen(i, j, time.perf_counter() - begin, limit)
                    if on_forecast is not None:
                        on_forecast(foreseen)
                    _refuse_dear(foreseen, (columns, rows), most)
                report(done)
                if root is not None and time.monotonic() - saved > EVERY:
                    map_.made("unfinished").save(root)
                    saved = time.monotonic()
    except KeyboardInterrupt:
        status = "interrupted"
    found = map_.made(status)
    if root is not None:
        found.save(root)
    return found


class _Cells:
    """What is known so far of every cell.

    Args:
        operator: the Hessian at the origin.
        alpha: (nx,) coordinates.
        beta: (ny,).
        k: eigenvalues from each end.
        labels: of the axes.
        record: the provenance.
        note: what a reader must know beside the status, or an empty string.
        folder: of an earlier map with the same record, or None.
    """

    def __init__(
        self, operator: Hessian, alpha: np.ndarray, beta: np.ndarray, k: int, labels: tuple[str, str],
        record: dict[str, Any], note: str, folder: Path | None,
    ) -> None:  # fmt: skip
        shape = len(beta), len(alpha)
        self.operator, self.alpha, self.beta, self.labels = operator, alpha, beta, labels
        self.record, self.note, self.hidden = record, note, 0
        self.values = np.full((4, *shape, k), np.nan)
        self.states, self.products = np.zeros(shape, dtype=np.int8), np.zeros(shape, dtype=np.int64)
        self.before = Meter()
        if folder is not None and CurvatureMap.KIND in archive.kinds(archive.prepare(folder)):
            self._take_up(folder)

    def measure(self, i: int, j: int, point: torch.Tensor, *, tolerance: float, limit: int, seed: int) -> None:
        """Both ends at the point of one cell."""
        k, start = self.values.shape[-1], self.operator.probe.meter.products
        try:
            here = self.operator.at(point)
            found = here.extremes(k, tolerance=tolerance, limit=limit, seed=seed, progress=False)
        except (LossError, StartError):
            self.states[i, j] = NOT_FINITE
        else:
            pairs = found.largest, found.smallest
            self.values[:, i, j] = [*(pair.values for pair in pairs), *(pair.residuals for pair in pairs)]
            self.states[i, j] = CONVERGED if all(pair.converged.all() for pair in pairs) else UNCONVERGED
            self.hidden += bool(found.provenance["warning"])
            self.record["warning"] = found.provenance["warning"] or self.record["warning"]
        self.products[i, j] = self.operator.probe.meter.products - start

    def foreseen(self, i: int, j: int, seconds: float, limit: int) -> Forecast:
        """What the whole map will take, by one cell."""
        cells, surface = self.states.size, self.operator.surface
        each = max(1, int(self.products[i, j]))
        dense = surface.dimension <= max(SMALL, 2 * self.values.shape[-1] + 2)
        low, high = (each, each) if dense else (2 * self.values.shape[-1] + 2, limit)
        rate = seconds / each
        return Forecast(
            cells * each, cells * each * surface.examples, cells * seconds, each,
            evaluations_within=(cells * low, cells * high), seconds_within=(cells * low * rate, cells * high * rate),
            notes=("an evaluation of this map is a Hessian-vector product", f"every cell is taken to cost what the first did: {each:,}"),
        )  # fmt: skip

    def made(self, status: str) -> CurvatureMap:
        """The map as far as it is known."""
        measured = int((self.states != MISSING).sum())
        short, gone = (int((self.states == state).sum()) for state in (UNCONVERGED, NOT_FINITE))
        of = several(measured, "cell")
        self.operator.warning = f"at {self.hidden} of {of} {self.record['warning']}" if self.hidden else ""
        status = self.operator.remark(status)
        status += f"; at {short} of {of} not all eigenvalues converged" if short else ""
        status += f"; at {gone} of {of} the Hessian is not finite" if gone else ""
        status += f"; {self.note}" if self.note else ""
        top, low, over, off = (part.copy() for part in self.values)
        return CurvatureMap(
            self.alpha, self.beta, top, low, over, off, self.states.copy(), self.products.copy(), self.labels,
            self.operator.dimension, self.before + self.operator.spent(), dict(self.record), status,
        )  # fmt: skip

    def _take_up(self, folder: Path) -> None:
        """Go on from a map that lies in a folder.

        Raises:
            OutputError: if it is another one.
        """
        _, arrays, record = archive.load(folder, CurvatureMap.KIND)
        earlier = CurvatureMap.restore(arrays, record)
        mine, theirs = (
            {name: one for name, one in each.items() if name not in ("versions", "warning")}
            for each in (archive.parse(archive.dump(self.record)), archive.parse(archive.dump(earlier.provenance)))
        )
        apart = [name for name in mine | theirs if mine.get(name) != theirs.get(name)]
        if apart:
            raise OutputError(
                f"the folder {str(folder)!r} holds a curvature map with another {', '.join(apart[:4])}; expected the same surface, "
                "plane and settings to resume it. Choose another folder."
            )
        self.values = np.stack(
            [earlier.largest, earlier.smallest, earlier.largest_residuals, earlier.smallest_residuals]
        )
        self.states, self.products, self.before = earlier.states.copy(), earlier.products.copy(), earlier.meter


def _refuse_dear(foreseen: Forecast, shape: tuple[int, int], most: int) -> None:
    if foreseen.evaluations > most:
        raise InputError(
            f"got a map of {shape[0]} × {shape[1]} cells, which would take about {foreseen.evaluations:,} Hessian products, about "
            f"{foreseen.seconds:,.0f} s, by what its first cell took; expected at most {most:,}. Give fewer points, a larger tolerance, "
            f"or a higher limit: most={foreseen.evaluations} (--map-limit)."
        )


def _counts(points: Any) -> tuple[int, int]:
    """Columns and rows."""
    pair = tuple(points) if isinstance(points, tuple | list) and len(points) == 2 else (points, points)
    how = "These are cells per axis, or (columns, rows)."
    columns, rows = (_checks.whole("points", one, 2, CELLS, do=how) for one in pair)
    if columns * rows > CELLS:
        raise InputError(
            f"got {columns:,} × {rows:,} points; expected at most {CELLS:,} cells, each of which takes tens of Hessian products. "
            "Give fewer points."
        )
    return columns, rows


def _spans(span: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """Low and high of both axes."""
    how = "It is a number, (low, high), or a pair of these for each axis."
    if isinstance(span, tuple | list) and len(span) == 2 and all(isinstance(one, tuple | list) for one in span):
        first, second = (_ends(one, how) for one in span)
        return first, second
    if isinstance(span, tuple | list | np.ndarray):
        return _ends(span, how), _ends(span, how)
    reach = _checks.number("span", span, above=0, do=how)
    return (-reach, reach), (-reach, reach)


def _ends(given: Any, how: str) -> tuple[float, float]:
    low, high = numbers_in("span", given, 2)
    if not low < high:
        raise InputError(f"got span={_checks.shown(given)}; expected low below high. {how}")
    return float(low), float(high)


def _nearest(alpha: np.ndarray, beta: np.ndarray) -> tuple[int, int]:
    """The cell nearest to the origin."""
    return int(np.abs(beta).argmin()), int(np.abs(alpha).argmin())
