"""What numbers the settings of an optimizer may have, several at a time: `lossatlas._checks` says the rest.

Each puts the number back as Python's own type, so that NumPy's serve as well and a record of them is plain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossatlas import _checks
from lossatlas._errors import InputError

if TYPE_CHECKING:
    from lossatlas.optimize._optimizer import Optimizer


def positive(one: Optimizer, *names: str) -> None:
    """Refuse settings that are not finite and above zero."""
    _each(one, names, lambda name, value: _checks.number(name, value, above=0, where=one.name))


def not_negative(one: Optimizer, *names: str) -> None:
    """Refuse settings that are negative or not finite."""
    _each(one, names, lambda name, value: _checks.number(name, value, least=0, where=one.name))


def below_one(one: Optimizer, *names: str) -> None:
    """Refuse averaging factors outside [0, 1)."""
    _each(one, names, lambda name, value: _inside(one, name, value, "a number in [0, 1)", least=0, below=1))


def probability(one: Optimizer, *names: str) -> None:
    """Refuse settings outside [0, 1]."""
    _each(one, names, lambda name, value: _inside(one, name, value, "a probability in [0, 1]", least=0, most=1))


def whole(one: Optimizer, least: int, *names: str) -> None:
    """Refuse settings that are no whole number of at least `least`."""
    _each(one, names, lambda name, value: _checks.whole(name, value, least, where=one.name))


def flag(one: Optimizer, *names: str) -> None:
    """Refuse settings that are neither True nor False."""
    _each(one, names, lambda name, value: _checks.flag(name, value, where=one.name))


def one_of(one: Optimizer, name: str, choices: Sequence[str]) -> None:
    """Refuse a setting that is none of these words."""
    given: Any = getattr(one, name)
    if not isinstance(given, str) or given not in choices:
        raise InputError(f"{one.name} got {name}={_checks.shown(given)}; expected one of {', '.join(choices)}.")


def two_below_one(one: Optimizer, name: str) -> None:
    """Refuse what is not two averaging factors in [0, 1)."""
    given: Any = getattr(one, name)
    row = isinstance(given, tuple | list) or (isinstance(given, np.ndarray) and given.ndim == 1)
    pair = tuple(given) if row else ()
    if len(pair) != 2:
        raise InputError(f"{one.name} got {name}={_checks.shown(given)}; expected two numbers in [0, 1), (β₁, β₂).")
    _set(one, name, tuple(_inside(one, name, each, "two numbers in [0, 1)", least=0, below=1) for each in pair))


def _inside(one: Optimizer, name: str, value: Any, what: str, **bounds: Any) -> float:
    try:
        return _checks.number(name, value, **bounds)
    except InputError:
        raise InputError(f"{one.name} got {name}={_checks.shown(value)}; expected {what}.") from None


def _each(one: Optimizer, names: tuple[str, ...], check: Callable[[str, Any], float | bool]) -> None:
    for name in names:
        _set(one, name, check(name, getattr(one, name)))


def _set(one: Optimizer, name: str, value: Any) -> None:
    object.__setattr__(one, name, value)
