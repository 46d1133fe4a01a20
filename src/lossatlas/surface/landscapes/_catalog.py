"""The landscapes by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from lossatlas._errors import InputError, UnknownNameError
from lossatlas.surface._surface import Surface
from lossatlas.surface.landscapes._bbob import Bbob
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
_PLACE = {"shift", "rotation", "noise"}


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
    factory = catalog.get(name.replace("_", "-")) if isinstance(name, str) else None
    if factory is None:
        raise UnknownNameError("landscape", name, catalog)
    return factory(**settings)


def rebuilt(fingerprint: Mapping[str, Any]) -> Surface | None:
    """The surface that a record tells of, if it is one of these; None if it is another, or was made otherwise.

    Args:
        fingerprint: what the surface's own `fingerprint` gave, read back from a file.
    """
    name = str(fingerprint.get("surface"))
    constants = dict(fingerprint.get("constants") or {})
    spectrum = constants.get("eigenvalues")
    told = {**constants, **fingerprint} | ({"condition": spectrum[-1] / spectrum[0]} if spectrum else {})
    try:
        if fingerprint.get("suite") == "bbob":
            made: Surface = Bbob(told["function"], told["dimension"], told["instance"])
        elif name in catalog:
            known = set(inspect.signature(catalog[name]).parameters)
            made = catalog[name](**{key: value for key, value in told.items() if key in known - _PLACE})
            made = made.moved(**{key: told[key] for key in _PLACE})
        else:
            return None
    except (InputError, KeyError, TypeError):
        return None
    return made if made.fingerprint() == fingerprint else None
