"""What a card evaluates on the plane itself: its two curvatures, their check by second differences, and points off it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas._errors import LossError, NotApplicableError
from lossatlas.curvature import Hessian
from lossatlas.probe import Gradients, Probe, Products, Values
from lossatlas.surface import Frame, Surface, inner

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Local:
    """The plane around its origin.

    Attributes:
        loss: L₀.
        rise: (k,) Dg.
        form: (k, k) P = DHDᵀ.
        gram: (k, k) G = DDᵀ.
        gradient: (N,) g, float64; None where the surface knows values only.
        curvatures: (k,) eigenvalues of G⁻¹P, descending.
        steps: (k,) from cell to cell in coordinates.
        fitted: the curvatures by second differences over one step; None where a loss is not finite.
    """

    loss: float
    rise: Array
    form: Array
    gram: Array
    gradient: Tensor | None
    curvatures: tuple[float, ...]
    steps: Array
    fitted: tuple[float, ...] | None

    def held(self, along: Array) -> float:
        """|Qᵀv|² from Dv (k,), for a v of unit length."""
        return float(along @ np.linalg.solve(self.gram, along))


def local(surface: Surface, frame: Frame, chart: Chart, *, probe: Probe, slice_probe: Probe) -> Local:
    """Gradient and Hessian on the plane: k products, two gradients, and 3ᵏ losses where the chart lacks them.

    Args:
        surface: what is sliced.
        frame: the plane's.
        chart: of it.
        probe: of the surface.
        slice_probe: of its slice.
    """
    k = frame.dimension
    gram = inner(frame.directions, frame.directions).cpu().numpy()
    steps = np.array([_step(chart.alpha), _step(chart.beta)][:k])
    near = _fit(steps, slice_probe, _central(chart, k))
    if not surface.gradients_known:
        if near is None:
            raise LossError(f"{surface.name} knows values only, and those around the center are not all finite.")
        return Local(*near, gram, None, principal(near[2], gram), steps, None)
    here = slice_probe.evaluate(Gradients(torch.zeros(1, k, dtype=torch.float64)))
    gradient = probe.evaluate(Gradients(frame.origin.to(surface.device, surface.dtype)[None])).gradients[0].double()
    form = form_of(surface, frame, probe=probe, slice_probe=slice_probe)
    return Local(
        float(here.values[0]),
        here.gradients[0].double().cpu().numpy(),
        form,
        gram,
        gradient,
        principal(form, gram),
        steps,
        None if near is None else principal(near[2], gram),
    )


def form_of(surface: Surface, frame: Frame, *, probe: Probe, slice_probe: Probe) -> Array:
    """P = DHDᵀ (k, k), symmetric; through the slice, so that what moves along with θ counts."""
    k = frame.dimension
    try:
        answer = slice_probe.evaluate(
            Products(torch.zeros(1, k, dtype=torch.float64), torch.eye(k, dtype=torch.float64)[None])
        )
        form = answer.products[0].double()
    except NotApplicableError:
        products = Hessian(surface, frame.origin, probe=probe, how="differences").apply(frame.directions.double())
        form = inner(products, frame.directions)
    found: Array = ((form + form.T) / 2).cpu().numpy()
    return found


def principal(form: Array, gram: Array) -> tuple[float, ...]:
    """Eigenvalues of G⁻¹P, descending: curvatures per unit of length for directions of any length and angle."""
    return tuple(float(one) for one in scipy.linalg.eigh(form, gram, eigvals_only=True)[::-1])


def _step(axis: Array) -> float:
    return float((axis[-1] - axis[0]) / max(1, len(axis) - 1))


def curvatures_of(
    surface: Surface, frame: Frame, steps: Array, *, probe: Probe, slice_probe: Probe
) -> tuple[float, ...]:
    """Principal curvatures on a frame: k products, or 3ᵏ losses of a surface that knows values only."""
    gram = inner(frame.directions, frame.directions).cpu().numpy()
    if surface.gradients_known:
        return principal(form_of(surface, frame, probe=probe, slice_probe=slice_probe), gram)
    near = _fit(steps, slice_probe)
    return (float("nan"),) * len(steps) if near is None else principal(near[2], gram)


def _fit(steps: Array, slice_probe: Probe, field: Array | None = None) -> tuple[float, Array, Array] | None:
    """Loss, gradient (k,) and form (k, k) from the 3ᵏ losses around the origin, evaluated where they are not known.

    None where one of them is not finite.
    """
    k = len(steps)
    if field is None:
        offsets = np.stack([part.ravel() for part in np.meshgrid(*[np.arange(-1, 2)] * k, indexing="xy")], 1)
        losses = slice_probe.evaluate(Values(torch.from_numpy(offsets * steps))).values
        field = losses.cpu().numpy().reshape([3] * k)
    if not np.isfinite(field).all():
        return None
    if k == 1:
        gradient = (field[2] - field[0]) / 2
        return (
            float(field[1]),
            np.array([gradient]) / steps,
            np.array([[field[0] - 2 * field[1] + field[2]]]) / steps**2,
        )
    # Least squares over all nine: differences are means over three rows or columns.
    gradient = np.array([(field[:, 2] - field[:, 0]).mean(), (field[2] - field[0]).mean()]) / 2
    xx = float((field[:, 0] - 2 * field[:, 1] + field[:, 2]).mean())
    yy = float((field[0] - 2 * field[1] + field[2]).mean())
    xy = float(field[2, 2] - field[2, 0] - field[0, 2] + field[0, 0]) / 4
    return float(field[1, 1]), gradient / steps, np.array([[xx, xy], [xy, yy]]) / np.outer(steps, steps)


def _central(chart: Chart, k: int) -> Array | None:
    """The chart's own 3ᵏ cells around the origin, or None where they are not all exact."""
    at = [np.flatnonzero(axis == 0) for axis in (chart.alpha, chart.beta)][:k]
    if any(len(i) == 0 for i in at) or chart.exactly.shape != chart.loss.shape:
        return None
    spans = [slice(int(i[0]) - 1, int(i[0]) + 2) for i in at]
    if any(s.start < 0 for s in spans):
        return None
    window = (slice(0, 1), spans[0]) if k == 1 else (spans[1], spans[0])
    field, exact = chart.loss[window], chart.exactly[window]
    if field.size != 3**k or not exact.all():
        return None
    return field[0] if k == 1 else field
