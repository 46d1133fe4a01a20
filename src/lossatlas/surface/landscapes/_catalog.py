"""The landscapes by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lossatlas._errors import UnknownNameError
from lossatlas.surface.landscapes._fields import random_field
from lossatlas.surface.landscapes._gaussians import deep_wells, four_wells, plateau
from lossatlas.surface.landscapes._landscape import Landscape
from lossatlas.surface.landscapes._polynomials import beale, himmelblau, monkey_saddle, rosenbrock
from lossatlas.surface.landscapes._quadratics import quadratic, regression
from lossatlas.surface.landscapes._ripples import ackley, rastrigin

catalog: dict[str, Callable[..., Landscape]] = {
    "four-wells": four_wells,
    "deep-wells": deep_wells,
    "regression": regression,
    "quadratic": quadratic,
    "rosenbrock": rosenbrock,
    "himmelblau": himmelblau,
    "beale": beale,
    "rastrigin": rastrigin,
    "ackley": ackley,
    "monkey-saddle": monkey_saddle,
    "plateau": plateau,
    "random-field": random_field,
}


def landscape(name: str, **settings: Any) -> Landscape:
    """A landscape by its name.

    Args:
        name: as in `catalog`; underscores are taken for hyphens.
        **settings: arguments of its factory.

    Returns:
        The landscape.

    Raises:
        UnknownNameError: if there is none of that name.

    Example:
        >>> landscape("four_wells").start.tolist()
        [-3.8, -3.5]
    """
    factory = catalog.get(name.replace("_", "-"))
    if factory is None:
        raise UnknownNameError("landscape", name, catalog)
    return factory(**settings)
