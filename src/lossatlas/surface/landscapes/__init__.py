"""Analytic loss surfaces: known minima, closed-form gradients, one file per family."""

from lossatlas.surface.landscapes._bbob import Bbob as Bbob
from lossatlas.surface.landscapes._catalog import catalog, landscape
from lossatlas.surface.landscapes._gaussians import deep_wells, four_wells, plateau
from lossatlas.surface.landscapes._landscape import Formula, Landscape, Minimum
from lossatlas.surface.landscapes._polynomials import beale, himmelblau, monkey_saddle, rosenbrock
from lossatlas.surface.landscapes._quadratics import quadratic, regression
from lossatlas.surface.landscapes._ripples import ackley, rastrigin

__all__ = [
    "Formula",
    "Landscape",
    "Minimum",
    "ackley",
    "beale",
    "catalog",
    "deep_wells",
    "four_wells",
    "himmelblau",
    "landscape",
    "monkey_saddle",
    "plateau",
    "quadratic",
    "rastrigin",
    "regression",
    "rosenbrock",
]
