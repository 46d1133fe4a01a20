"""What a lecture is made of: sections of prose, and statements, each with the lesson that tests it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """One statement of a lecture.

    Attributes:
        says: the statement, in one sentence.
        lesson: number of the lesson that tests it.
        command: what prints the same in a terminal, in under a minute; of its lesson if it is empty.
        watch: what to watch beside it, ``PLACE STATE``: a landscape or a view of the lecture, and the page's state on it, of which
            ``{id}`` is the surface; what the lesson itself shows if it is empty.
        predict: what to predict before it is shown, ``KIND:NAME`` (`lossatlas.page` knows the kinds); what the lesson itself asks
            if it is empty.
        picture: name of a picture of the lecture that is revealed with the lesson's own.
    """

    says: str
    lesson: str
    command: str = ""
    watch: str = ""
    predict: str = ""
    picture: str = ""

    @property
    def typed(self) -> str:
        """The command that shows it."""
        return self.command or f"lossatlas lessons {self.lesson} --quick"


@dataclass(frozen=True)
class Section:
    """A section of a lecture.

    Attributes:
        id: in addresses: lowercase letters, digits and hyphens.
        title: its heading.
        text: paragraphs.
        statements: in order.
    """

    id: str
    title: str
    text: tuple[str, ...]
    statements: tuple[Statement, ...]
