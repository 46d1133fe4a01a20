"""Checks of plain rows of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas._said import several


def is_row(given: object) -> TypeGuard[Sequence[Any] | np.ndarray | Tensor]:
    """Whether it is a sequence, array or tensor along one axis; a text is none."""
    if isinstance(given, np.ndarray | Tensor):
        return given.ndim == 1
    return isinstance(given, Sequence) and not isinstance(given, str | bytes)


def numbers_in(name: str, given: Any, count: int | None = None, *, of: str = "") -> np.ndarray:
    """A row (count,) of finite numbers, float64.

    Args:
        name: of the argument.
        given: a sequence, array or tensor of them.
        count: how many; at least one by default.
        of: what there are so many of, for the message.

    Raises:
        InputError: for anything else.
    """
    wanted = "finite numbers" if count is None else f"{several(count, 'entry', 'entries')} of {name}"
    wanted = f"expected {wanted}, one for each {of}" if of else f"expected {wanted} in a row"
    if not is_row(given):
        raise InputError(f"got {name}={_checks.shown(given)}; {wanted}.")
    if len(given) != count and (count is not None or not len(given)):
        raise InputError(f"got {name} of length {len(given)}; {wanted}.")
    if isinstance(given, Tensor):
        _checks.tensor(name, given)
    row = given.tolist() if isinstance(given, np.ndarray | Tensor) else given
    return np.array([_checks.number(f"{name}[{k}]", one) for k, one in enumerate(row)])
