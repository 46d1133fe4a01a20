"""What numbers a setting may have: each check refuses with what was given and what was expected."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from lossatlas._errors import InputError


def positive(where: str, **values: float) -> None:
    """Refuse numbers that are not finite and above zero."""
    for name, value in values.items():
        if not (_number(value) and math.isfinite(value) and value > 0):
            raise InputError(f"{where} got {name}={value!r}; expected a finite number above 0.")


def below_one(where: str, **values: float) -> None:
    """Refuse averaging factors outside [0, 1)."""
    for name, value in values.items():
        if not (_number(value) and 0 <= value < 1):
            raise InputError(f"{where} got {name}={value!r}; expected a number in [0, 1).")


def not_negative(where: str, **values: float) -> None:
    """Refuse negative or non-finite numbers."""
    for name, value in values.items():
        if not (_number(value) and math.isfinite(value) and value >= 0):
            raise InputError(f"{where} got {name}={value!r}; expected a finite number of at least 0.")


def probability(where: str, **values: float) -> None:
    """Refuse numbers outside [0, 1]."""
    for name, value in values.items():
        if not (_number(value) and 0 <= value <= 1):
            raise InputError(f"{where} got {name}={value!r}; expected a probability in [0, 1].")


def whole(where: str, least: int, **values: int) -> None:
    """Refuse what is no whole number of at least `least`."""
    for name, value in values.items():
        if not (_number(value) and math.isfinite(value) and value == int(value) and value >= least):
            raise InputError(f"{where} got {name}={value!r}; expected a whole number of at least {least}.")


def seeded(where: str, seed: int) -> None:
    """Refuse what cannot be a seed: anything but a whole number in [0, 2⁶³)."""
    whole(where, 0, seed=seed)
    if seed >= 2**63:
        raise InputError(f"{where} got seed={seed!r}; expected a whole number below 2⁶³.")


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
