"""Names to optimizers. A new algorithm is one file and one line here; every law in the tests then applies to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from lossatlas._errors import InputError, UnknownNameError
from lossatlas.optimize._adam import Adam
from lossatlas.optimize._adamw import AdamW
from lossatlas.optimize._annealing import Annealing
from lossatlas.optimize._bibliography import bibliography
from lossatlas.optimize._gd import GD
from lossatlas.optimize._momentum import Momentum
from lossatlas.optimize._nesterov import Nesterov
from lossatlas.optimize._optimizer import Optimizer
from lossatlas.optimize._restart import Restart
from lossatlas.optimize._rmsprop import RMSprop

catalog: dict[str, type[Optimizer]] = {
    kind.name: kind for kind in (GD, Momentum, Nesterov, RMSprop, Adam, AdamW, Annealing, Restart)
}


def optimizer(name: str, **settings: Any) -> Optimizer:
    """An optimizer by its name.

    Args:
        name: for example ``gd``, ``momentum``, ``adam``, ``annealing``, ``restart``.
        **settings: its hyper-parameters; those not given keep the defaults of the catalog.

    Returns:
        A frozen record of hyper-parameters that can be raced.

    Raises:
        UnknownNameError: if there is none of that name; the nearest is suggested.
        InputError: for a hyper-parameter that it does not have, or a value out of its range.

    Example:
        >>> import lossatlas as la
        >>> la.optimizer("momentum", rate=0.01).momentum
        0.92
    """
    key = str(name).lower().replace("_", "-")
    if key not in catalog:
        raise UnknownNameError("optimizer", name, catalog)
    kind = catalog[key]
    known = [f.name for f in fields(kind)]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise InputError(f"{key} has no setting {', '.join(unknown)}; it has {', '.join(known)}.")
    return kind(**settings)


def resolve(given: str | Optimizer) -> Optimizer:
    """An optimizer from its name, or itself.

    Raises:
        InputError: for anything else.
    """
    if isinstance(given, Optimizer):
        return given
    if isinstance(given, str):
        return optimizer(given)
    raise InputError(
        f"got {given!r} ({type(given).__name__}) as an optimizer; expected a name such as 'adam' or what "
        "lossatlas.optimizer(name, …) returns."
    )


def citation(optimizers: Iterable[Optimizer]) -> str:
    """BibTeX of the methods used, each once, sorted."""
    return "\n\n".join(bibliography[key] for key in sorted({optimizer.reference for optimizer in optimizers}))
