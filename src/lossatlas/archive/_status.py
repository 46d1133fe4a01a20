"""How a result came to its end: a state that can be compared, and the sentence that says it."""

from __future__ import annotations

import enum
from typing import Self


class Status(enum.StrEnum):
    """How a result came to its end; equal to its own text, so that ``result.status == "complete"`` can be asked.

    Attributes:
        sentence: what it means.
    """

    COMPLETE = "complete", "everything was evaluated"
    INTERRUPTED = "interrupted", "it was interrupted; what was done by then is here"
    CONVERGED = "converged", "every interval or residual is as small as was wanted"
    EXACT = "exact", "exact up to rounding"
    ESTIMATED = "estimated", "an estimate from random vectors"
    NOT_CONVERGED = "not converged", "the limit came first"
    NOT_FINITE = "not finite", "a loss on the way is not finite"

    sentence: str

    def __new__(cls, text: str, sentence: str = "") -> Self:
        """A member: its text, and what it means."""
        member = str.__new__(cls, text)
        member._value_ = text
        member.sentence = sentence
        return member
