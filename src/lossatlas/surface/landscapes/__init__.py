"""Analytic loss surfaces: known minima, closed-form gradients, one file per family."""

from lossatlas.surface.landscapes._bbob import Bbob as Bbob
from lossatlas.surface.landscapes._catalog import catalog, landscape, rebuilt
from lossatlas.surface.landscapes._fields import FieldIndices, field_indices, random_field
from lossatlas.surface.landscapes._gaussians import deep_wells, four_wells, plateau
from lossatlas.surface.landscapes._landscape import Formula, Landscape, Minimum, total
from lossatlas.surface.landscapes._polynomials import beale, himmelblau, monkey_saddle, rosenbrock
from lossatlas.surface.landscapes._quadratics import quadratic, regression
from lossatlas.surface.landscapes._ripples import ackley, rastrigin

__all__ = [
    "FieldIndices",
    "Formula",
    "Landscape",
    "Minimum",
    "ackley",
    "beale",
    "catalog",
    "deep_wells",
    "field_indices",
    "four_wells",
    "himmelblau",
    "landscape",
    "monkey_saddle",
    "plateau",
    "quadratic",
    "random_field",
    "rastrigin",
    "rebuilt",
    "regression",
    "rosenbrock",
    "total",
]
