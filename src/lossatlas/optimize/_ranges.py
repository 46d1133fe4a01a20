"""What numbers the settings of an optimizer may have, several at a time: `lossatlas._checks` says the rest."""

from __future__ import annotations

from typing import Any

from lossatlas import _checks
from lossatlas._errors import InputError


def positive(where: str, **values: float) -> None:
    """Refuse numbers that are not finite and above zero."""
    for name, value in values.items():
        _checks.number(name, value, above=0, where=where)


def below_one(where: str, **values: float) -> None:
    """Refuse averaging factors outside [0, 1)."""
    _inside(where, "a number in [0, 1)", values, least=0, below=1)


def not_negative(where: str, **values: float) -> None:
    """Refuse negative or non-finite numbers."""
    for name, value in values.items():
        _checks.number(name, value, least=0, where=where)


def probability(where: str, **values: float) -> None:
    """Refuse numbers outside [0, 1]."""
    _inside(where, "a probability in [0, 1]", values, least=0, most=1)


def whole(where: str, least: int, **values: int) -> None:
    """Refuse what is no whole number of at least `least`."""
    for name, value in values.items():
        _checks.whole(name, value, least, where=where)


def seeded(where: str, seed: int) -> None:
    """Refuse what cannot be a seed: anything but a whole number in [0, 2⁶³)."""
    _checks.seed(seed, where=where)


def _inside(where: str, what: str, values: dict[str, float], **bounds: Any) -> None:
    for name, value in values.items():
        try:
            _checks.number(name, value, **bounds)
        except InputError:
            raise InputError(f"{where} got {name}={_checks.shown(value)}; expected {what}.") from None
