"""The self-test of a measure of sharpness: does it change when the function does not?"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from lossatlas import _checks, archive
from lossatlas._errors import InputError, ModelError
from lossatlas.curvature._gauge import joints, rescale, spread
from lossatlas.curvature._sharpness import Sharpness, sharpness
from lossatlas.draw import Table
from lossatlas.probe import Meter
from lossatlas.surface import LossFunction, NetworkSurface, load

COPIES = ("original", "layer-wise", "neuron-wise")
MEASURES: tuple[dict[str, Any], ...] = (
    {"kind": "lambda-max"},
    {"kind": "trace"},
    {"kind": "trace", "scaling": "filter"},
    {"kind": "trace", "scaling": "elementwise"},
    {"kind": "keskar"},
    {"kind": "sam"},
    {"kind": "asam"},
    {"kind": "average", "scaling": "none"},
    {"kind": "average", "scaling": "elementwise"},
)
EQUAL = {torch.float64: 1e-10, torch.float32: 1e-4}


@dataclass(frozen=True, eq=False)
class Invariance(archive.Result):
    """Measures of one function in three sets of weights.

    Attributes:
        names: of the measures, with their settings.
        values: (measures, 3): the network as it is, one layer rescaled, every unit rescaled.
        tolerance: a value that changes by less than this share counts as the same.
        gaps: (3,) largest difference of an output from the original's, as a share of the largest output.
        measures: the `Sharpness` behind every value, in rows of three.
        meter: what was evaluated for it.
        provenance: surfaces, factors and seed, plain JSON values.
        status: what the copies have in common.
    """

    KIND: ClassVar[str] = "sharpness-invariance"
    SAYS: ClassVar[tuple[str, ...]] = ("invariant_to",)

    names: tuple[str, ...]
    values: np.ndarray
    tolerance: float
    gaps: np.ndarray
    measures: tuple[tuple[Sharpness, ...], ...]
    meter: Meter
    provenance: dict[str, Any]
    status: str

    @property
    def invariant_to(self) -> dict[str, str]:
        """For each measure what left it as it was: ``both``, ``layer-wise``, ``neuron-wise`` or ``none``."""
        found = {}
        for name, (first, layer, neuron) in zip(self.names, self.values.tolist(), strict=True):
            near = [math.isclose(first, other, rel_tol=self.tolerance) for other in (layer, neuron)]
            found[name] = {(True, True): "both", (True, False): "layer-wise", (False, True): "neuron-wise"}.get(
                (near[0], near[1]), "none"
            )
        return found

    @property
    def sentence(self) -> str:
        """What left each measure as it was."""
        return "invariant to rescaling: " + "; ".join(f"{name}, {what}" for name, what in self.invariant_to.items())

    def table(self) -> Table:
        """One row per measure: its value in each set of weights, and what leaves it as it is."""
        unchanged = self.invariant_to
        rows = [
            [name, *(f"{value:.4g}" for value in row), unchanged[name]]
            for name, row in zip(self.names, self.values.tolist(), strict=True)
        ]
        heads = ["measure", *COPIES, "invariant to"]
        return Table("sharpness of one function in three sets of weights", heads, rows)


def sharpness_invariance(
    model: nn.Module,
    loss: str | LossFunction,
    data: Any,
    *,
    measures: Sequence[dict[str, Any]] = MEASURES,
    factor: float = 5.0,
    ratio: float = 4.5,
    seed: int = 0,
    tolerance: float = 1e-3,
) -> Invariance:
    """Measure one function in three sets of weights: as it is, one layer rescaled, every unit rescaled.

    A ReLU network does not change when the weights into a unit are multiplied by a > 0 and those out of it divided
    (Dinh et al. 2017). A property of the function cannot change then; curvature does. That the function is the same is checked
    on the data given, not assumed. Everything random has the same seed in the three.

    Args:
        model: a chain of layers with ReLU; see `joints`.
        loss: as for `NetworkSurface`.
        data: as for `NetworkSurface`.
        measures: settings of `sharpness`, each with its ``kind``.
        factor: a of the first hidden layer in the layer-wise copy.
        ratio: units of the neuron-wise copy get factors between 1/ratio and ratio, uniform in their logarithm.
        seed: random seed, of the factors and of the measures.
        tolerance: a value that changes by less than this share counts as the same.

    Returns:
        The `Invariance`, with a table.

    Raises:
        ModelError: where units cannot be rescaled, with the reason.
        InputError: for a factor or ratio that rescales nothing, or measures that are none.

    Source: Dinh et al., Sharp minima can generalize for deep nets, ICML 2017.
    """
    factor, ratio = _checks.number("factor", factor, above=0), _checks.number("ratio", ratio, above=1)
    tolerance, seed = _checks.number("tolerance", tolerance, above=0, below=1), _checks.seed(seed)
    if factor == 1:
        raise InputError("got factor=1; expected another one: nothing would be rescaled.")
    measures = _measures(measures)
    joints(model)
    model = copy.deepcopy(model).eval()
    copies = (model, rescale(model, factor), rescale(model, spread(model, seed=seed, ratio=ratio)))
    surfaces = [NetworkSurface(one, loss, data, name=name) for one, name in zip(copies, COPIES, strict=True)]
    gaps = _gaps(copies, data, surfaces[0])
    if gaps.max() > EQUAL.get(surfaces[0].dtype, 1e-2):
        raise ModelError(
            f"the rescaled copies are not the same function: their outputs differ by {gaps.max():.1e} of the largest one. "
            "The model computes something else than its layers in order; expected a plain chain."
        )
    rows = [
        tuple(sharpness(surface, **{"seed": seed, "progress": False, **settings}) for surface in surfaces)
        for settings in measures
    ]
    names = [_name(settings) for settings in measures]
    provenance = {
        "surfaces": [surface.fingerprint() for surface in surfaces],
        "factor": factor,
        "ratio": ratio,
        "seed": seed,
    }
    return Invariance(
        tuple(names),
        np.array([[one.value for one in row] for row in rows]),
        tolerance,
        gaps,
        tuple(rows),
        sum((one.meter for row in rows for one in row), Meter()),
        provenance,
        f"outputs equal to {gaps.max():.1e} of the largest one",
    )


def _gaps(copies: Sequence[nn.Module], data: Any, surface: NetworkSurface) -> np.ndarray:
    """How far the outputs of each copy are from those of the first, on all data."""
    largest, gaps = 0.0, [0.0] * len(copies)
    with torch.no_grad():
        for batch in load(data, surface.device).batches:
            outputs = [model(*batch.inputs, **batch.keywords) for model in copies]
            largest = max(largest, float(outputs[0].abs().max()))
            gaps = [max(gap, float((out - outputs[0]).abs().max())) for gap, out in zip(gaps, outputs, strict=True)]
    return np.array(gaps) / (largest or 1.0)


def _measures(given: Any) -> list[dict[str, Any]]:
    """Settings of `sharpness`, refused here where it would refuse them in the words of Python."""
    example = '[{"kind": "sam", "rho": 0.05}]'
    listed = isinstance(given, Sequence) and len(given) > 0
    if not (listed and all(isinstance(one, dict) and "kind" in one for one in given)):
        raise InputError(
            f"got measures={_checks.shown(given)}; expected settings of sharpness with their kind, such as {example}."
        )
    known = list(inspect.signature(sharpness).parameters)[1:]
    for name in (name for one in given for name in one):
        _checks.one_of("setting of sharpness", name, known)
    return list(given)


def _name(settings: dict[str, Any]) -> str:
    rest = [f"{key} {value}" for key, value in settings.items() if key not in ("kind", "seed")]
    return str(settings["kind"]) + (f" ({', '.join(rest)})" if rest else "")
