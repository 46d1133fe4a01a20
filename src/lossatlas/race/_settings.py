"""Settings of an optimizer that are single numbers, by name: of a pair as `betas` each by its place, ``betas[0]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from lossatlas.optimize import Optimizer


def numbers_of(optimizer: Optimizer) -> dict[str, float]:
    """Every setting that is a number, with its value."""
    found: dict[str, float] = {}
    for field in fields(optimizer):
        value = getattr(optimizer, field.name)
        several = isinstance(value, tuple)
        for name, one in [(f"{field.name}[{k}]", v) for k, v in enumerate(value)] if several else [(field.name, value)]:
            if isinstance(one, int | float) and not isinstance(one, bool):
                found[name] = one
    return found


def changed(optimizer: Optimizer, settings: Mapping[str, float]) -> Optimizer:
    """The same optimizer with other numbers.

    Raises:
        InputError: for a number out of its range.
    """
    new: dict[str, Any] = {}
    for name, value in settings.items():
        field, bracket, place = name.partition("[")
        if bracket:
            parts = list(new.get(field, getattr(optimizer, field)))
            parts[int(place.removesuffix("]"))] = value
            new[field] = tuple(parts)
        else:
            new[name] = value
    return replace(optimizer, **new)
