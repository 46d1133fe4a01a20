"""Other packages that are imported where they are used, since they take long."""

from __future__ import annotations

import random
from importlib import import_module
from types import ModuleType


def imported(name: str) -> ModuleType:
    """A module, imported if it was not yet; Python's random state is as it was, which some packages draw from as they are imported.

    Example:
        >>> imported("json").__name__
        'json'
    """
    state = random.getstate()
    try:
        return import_module(name)
    finally:
        random.setstate(state)
