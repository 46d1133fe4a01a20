"""How a chart or a path came to its end: a state that can be compared, and the sentence that says it."""

from __future__ import annotations

import enum
from typing import Self


class Status(enum.StrEnum):
    """How a chart or a path came to its end; equal to its own text, so that ``result.status == "complete"`` holds.

    Attributes:
        sentence: what it means.
    """

    COMPLETE = "complete", "everything was evaluated"
    INTERRUPTED = "interrupted", "it was interrupted; what was done by then is here"
    NOT_FINITE = "not finite", "a loss on the way is not finite"

    sentence: str

    def __new__(cls, text: str, sentence: str = "") -> Self:
        """A member: its text, and what it means."""
        member = str.__new__(cls, text)
        member._value_ = text
        member.sentence = sentence
        return member
