"""The lessons by their number. A new one is a file and a line here."""

from __future__ import annotations

from lossatlas._errors import UnknownNameError
from lossatlas.lessons import (
    _a1,
    _a2,
    _a3,
    _a4,
    _a5,
    _b1,
    _b2,
    _b3,
    _b4,
    _b5,
    _b6,
    _b7,
    _c1,
    _c2,
    _c3,
    _c4,
    _c5,
    _c6,
    _c7,
    _d1,
    _d2,
    _d3,
    _d4,
    _d5,
    _d6,
    _d7,
    _e1,
    _e2,
    _e3,
    _e4,
    _e5,
    _f2,
)
from lossatlas.lessons._lesson import Lesson

_FILES = (
    _a1,
    _a2,
    _a3,
    _a4,
    _a5,
    _b1,
    _b2,
    _b3,
    _b4,
    _b5,
    _b6,
    _b7,
    _c1,
    _c2,
    _c3,
    _c4,
    _c5,
    _c6,
    _c7,
    _d1,
    _d2,
    _d3,
    _d4,
    _d5,
    _d6,
    _d7,
    _e1,
    _e2,
    _e3,
    _e4,
    _e5,
    _f2,
)
catalog: dict[str, Lesson] = {one.LESSON.id: one.LESSON for one in _FILES}


def lesson(name: str) -> Lesson:
    """A lesson by its number.

    Raises:
        UnknownNameError: if there is none of that number.

    Example:
        >>> import lossatlas as la
        >>> la.lesson("A2").run().outcome
        'supported'
    """
    key = str(name).upper()
    if key not in catalog:
        raise UnknownNameError("lesson", name, catalog)
    return catalog[key]
