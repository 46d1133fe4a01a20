"""Strict JSON for plain data: non-finite floats come back, scalars of numpy and torch become plain numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lossatlas import _said
from lossatlas._errors import OutputError


def dump(obj: Any) -> bytes:
    """Strict JSON of dicts with string keys, lists, tuples, strings, numbers, truth values and None.

    A non-finite float is written as ``{"$float": "nan"}`` (``inf``, ``-inf``).

    Raises:
        OutputError: naming the entry that is something else.
    """
    try:
        # Escaped, because a file name in a record may hold characters that UTF-8 cannot.
        return (json.dumps(_encode(obj, ""), allow_nan=False, indent=1) + "\n").encode("ascii")
    except RecursionError:
        raise OutputError(
            "the record is nested too deeply or contains itself; expected plain data. Flatten it."
        ) from None
    except OutputError:
        raise
    except ValueError as error:
        raise OutputError(f"the record cannot be stored ({error}); expected ordinary numbers. Shorten it.") from None


def parse(text: bytes) -> Any:
    """The inverse of ``dump``.

    Raises:
        ValueError: if the text is no strict JSON.
    """
    try:
        return _decode(json.loads(text, parse_constant=_no_constant))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except TypeError as error:
        raise ValueError(f"it holds a number that is none: {error}") from None


def _encode(obj: Any, where: str) -> Any:
    if obj is None or isinstance(obj, bool | int | str):
        return obj
    if isinstance(obj, float | np.floating):
        return float(obj) if math.isfinite(obj) else {"$float": str(float(obj))}
    if isinstance(obj, Mapping):
        for key in obj:
            if not isinstance(key, str):
                raise OutputError(f"{_at(where)} has the key {key!r}; expected strings as keys. Convert it with str.")
        # A key of the user's own that starts with the mark is told apart by a second one.
        return {
            f"${key}" if key.startswith("$") else key: _encode(value, f"{where}.{key}") for key, value in obj.items()
        }
    if isinstance(obj, list | tuple):
        return [_encode(value, f"{where}[{index}]") for index, value in enumerate(obj)]
    if getattr(obj, "ndim", None) == 0 and hasattr(obj, "item"):
        plain = obj.item()
        if isinstance(plain, bool | int | float | str):
            return _encode(plain, where)
    advice = "Put arrays among the arrays." if hasattr(obj, "shape") else "Convert it first."
    raise OutputError(
        f"{_at(where)} is {_said.an(f'{type(obj).__module__}.{type(obj).__qualname__}')}; expected dicts, lists, strings, numbers, "
        f"truth values or None. {advice}"
    )


def _at(where: str) -> str:
    return f"the entry {where.lstrip('.')!r}" if where else "the record"


def _decode(obj: Any) -> Any:
    if isinstance(obj, list):
        return [_decode(value) for value in obj]
    if not isinstance(obj, dict):
        return obj
    if obj.keys() == {"$float"}:
        return float(obj["$float"])
    return {key.removeprefix("$"): _decode(value) for key, value in obj.items()}


def _no_constant(name: str) -> float:
    raise ValueError(f"it holds a bare {name}")
