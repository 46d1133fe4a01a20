"""Names to optimizers. A new algorithm is one file and one line here; every law in the tests then applies to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lossatlas import _checks
from lossatlas._errors import InputError, UnknownNameError
from lossatlas._layout import Layout
from lossatlas.optimize._bibliography import bibliography
from lossatlas.optimize._history import UNKNOWN, history
from lossatlas.optimize._looks import looks
from lossatlas.optimize._optimizer import Optimizer, name_of
from lossatlas.optimize._recorded import revived_outside
from lossatlas.optimize.gradient._adam import Adam
from lossatlas.optimize.gradient._adamw import AdamW
from lossatlas.optimize.gradient._gd import GD
from lossatlas.optimize.gradient._lbfgs import LBFGS
from lossatlas.optimize.gradient._lion import Lion
from lossatlas.optimize.gradient._momentum import Momentum
from lossatlas.optimize.gradient._muon import Muon
from lossatlas.optimize.gradient._nesterov import Nesterov
from lossatlas.optimize.gradient._rmsprop import RMSprop
from lossatlas.optimize.gradient._sgd import SGD
from lossatlas.optimize.gradient._shampoo import Shampoo
from lossatlas.optimize.gradient._sophia import Sophia
from lossatlas.optimize.gradient._torch import TorchOptimizer
from lossatlas.optimize.search._annealing import Annealing
from lossatlas.optimize.search._bayes import Bayes
from lossatlas.optimize.search._beam import Beam
from lossatlas.optimize.search._center import Center
from lossatlas.optimize.search._cma import CMAES
from lossatlas.optimize.search._de import DifferentialEvolution
from lossatlas.optimize.search._evolution import Evolution
from lossatlas.optimize.search._genetic import Genetic
from lossatlas.optimize.search._hillclimbing import HillClimbing
from lossatlas.optimize.search._neldermead import NelderMead
from lossatlas.optimize.search._random import RandomSearch
from lossatlas.optimize.wrappers._bestsofar import BestSoFar
from lossatlas.optimize.wrappers._finitedifferences import FiniteDifferences
from lossatlas.optimize.wrappers._gradientnoise import GradientNoise
from lossatlas.optimize.wrappers._minibatches import MiniBatches
from lossatlas.optimize.wrappers._restart import Restart

_GRADIENT = (GD, SGD, Momentum, Nesterov, RMSprop, Adam, AdamW, Lion, Sophia, Shampoo, Muon, LBFGS)
_LOCAL = (HillClimbing, NelderMead, Annealing, Beam)
_GLOBAL = (Genetic, Evolution, DifferentialEvolution, CMAES, Bayes, RandomSearch, Center)
_WRAPPERS = (Restart, BestSoFar, GradientNoise, MiniBatches, FiniteDifferences)

# What `Optimizer.record` writes of every optimizer.
_RECORD = {"optimizer", "settings"}

catalog: dict[str, type[Optimizer]] = {kind.name: kind for kind in (*_GRADIENT, *_LOCAL, *_GLOBAL, *_WRAPPERS)}


@dataclass(frozen=True)
class Entry:
    """What the catalog says of one optimizer, on a layout.

    Attributes:
        name: in the catalog.
        title: for pictures and tables.
        evaluates: what it queries at each step.
        remembers: what it keeps between steps.
        settings: hyper-parameters with their defaults.
        source: where the rule is published.
        becomes: what it degenerates to on the layout at hand, or None.
        bibtex: of the source.
        year: of its first publication, or None where none is known.
        idea: in one line.
        used: where it is used.
        color: in every picture, as "#RRGGBB"; None for an optimizer of one's own, which gets one beside the others of its race.
        marker: in every picture, as matplotlib calls it; None likewise.
    """

    name: str
    title: str
    evaluates: str
    remembers: str
    settings: dict[str, Any]
    source: str
    becomes: str | None
    bibtex: str
    year: int | None
    idea: str
    used: str
    color: str | None
    marker: str | None


def describe(given: str | Optimizer, layout: Layout | None = None) -> Entry:
    """What there is to say of an optimizer: of the catalog, or one's own.

    Args:
        given: a name of `catalog`, or an optimizer.
        layout: of the surface it would walk on, for what it becomes there; two plain coordinates by default.

    Raises:
        UnknownNameError: if there is none of that name.
    """
    one = resolve(given)
    becomes = one.becomes(Layout.vector(2) if layout is None else layout)
    past = history.get(one.name, UNKNOWN) if one.outside is None else UNKNOWN
    color, marker = looks.get(one.name, (None, None)) if one.outside is None else (None, None)
    return Entry(
        one.name, one.title, one.evaluates, one.remembers, one.settings(), one.source, becomes, bibtex(one),
        past.year, past.idea, past.used, color, marker,
    )  # fmt: skip


def by_year() -> list[Entry]:
    """What the catalog says of all its optimizers, the oldest first; those of no known origin last."""
    found = [describe(name) for name in catalog]
    return sorted(found, key=lambda entry: (entry.year is None, entry.year or 0))


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
        >>> la.optimizer("momentum", lr=0.01).momentum
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


def labeled(optimizers: Iterable[str | Optimizer] | Mapping[str, str | Optimizer]) -> dict[str, Optimizer]:
    """Optimizers by label, one of torch's kind by the name of its class; of several of one name each but the first gets a number.

    Raises:
        InputError: for what is no optimizer, none at all, or labels that are the same as text.
    """
    if isinstance(optimizers, str | Optimizer):
        optimizers = [optimizers]
    if not isinstance(optimizers, Iterable) or getattr(optimizers, "ndim", 1) == 0:
        raise InputError(
            f"got optimizers={_checks.shown(optimizers)}; expected names or optimizers in a list, or labels to them."
        )
    if isinstance(optimizers, Mapping):
        found = {str(label): resolve(given) for label, given in optimizers.items()}
        if len(found) < len(optimizers):
            raise InputError(
                f"got the labels {', '.join(map(repr, optimizers))}, of which some are the same as text; expected a label of its "
                "own for each optimizer."
            )
    else:
        found = {}
        for one in map(resolve, optimizers):
            # Classes of torch's kind are told apart by their own names, and keep their colors from race to race.
            called = name_of(one.cls) if isinstance(one, TorchOptimizer) else one.name
            label, k = called, 2
            while label in found:
                label, k = f"{called}-{k}", k + 1
            found[label] = one
    if not found:
        raise InputError("got no optimizers; expected at least one name or optimizer to race.")
    return found


def revived(record: Mapping[str, Any]) -> Optimizer:
    """An optimizer from what `Optimizer.record` wrote. No code is imported or run for one that is not of this package.

    Returns:
        The optimizer; of a class that is not at hand, and of torch's classes, a `RecordedOptimizer`.

    Raises:
        InputError: if this version has no such optimizer in its catalog, or no such setting of it.
    """
    if not set(record) >= _RECORD:
        raise InputError(
            f"got a record of {', '.join(record) or 'nothing'}, which is no optimizer's; expected {', '.join(sorted(_RECORD))}."
        )
    outside = record.get("outside")
    # What a record only shows is as it is: a mapping there is the user's own.
    shown = outside["shown"] if outside else ()
    settings = {key: value if key in shown else _revived(value) for key, value in record["settings"].items()}
    return revived_outside(record, settings) if outside else optimizer(str(record["optimizer"]), **settings)


def _revived(value: Any) -> Any:
    """A setting as it was before JSON held it."""
    if isinstance(value, Mapping):
        return revived(value) if _RECORD <= set(value) <= _RECORD | {"outside"} else value
    return tuple(map(_revived, value)) if isinstance(value, list) else value


def citation(optimizers: Iterable[Optimizer]) -> str:
    """BibTeX of the methods used, each once, sorted."""
    return "\n\n".join(sorted({bibtex(one) for one in optimizers}))


def bibtex(one: Optimizer) -> str:
    """The BibTeX entry of an optimizer; of one whose reference is not known, an entry that names what it says of itself."""
    reference = one.reference or one.name
    if reference.lstrip().startswith("@"):
        return reference.strip()
    return bibliography.get(reference) or (
        f"@misc{{{re.sub(r'[^A-Za-z0-9:-]+', '-', reference)},\n  title = {{{one.title}}},\n  note = {{{one.source}}}\n}}"
    )
