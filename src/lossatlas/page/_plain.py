"""Values as strict JSON knows them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """A value as strict JSON knows it: numbers that are not finite become null, NumPy's become Python's."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, np.ndarray) or hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, str):
        # Half of a pair of surrogates is no text that UTF-8 could hold.
        return str(value).encode("utf-8", "replace").decode("utf-8")
    return value if value is None or isinstance(value, bool | int) else str(value)


def digested(value: Any) -> str:
    """SHA-256 of a value as strict JSON knows it: the same before and after it was saved."""
    return hashlib.sha256(repr(plain(value)).encode()).hexdigest()
