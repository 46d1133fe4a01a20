"""The lessons by their number. A new one is a file and a line here."""

from __future__ import annotations

from lossatlas._errors import UnknownNameError
from lossatlas.lessons import _a1, _a2, _a4, _c1, _c3
from lossatlas.lessons._lesson import Lesson

catalog: dict[str, Lesson] = {one.LESSON.id: one.LESSON for one in (_a1, _a2, _a4, _c1, _c3)}


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
