"""Names in pictures: no control character is looked up in a font, and no dollar sign begins a formula.

matplotlib reads what stands between two dollar signs as a formula. The numbers of this room are some, and a title that the user
asks for by `figures` may hold some; names of models, files and layers are none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lossatlas._printable import printable
from lossatlas.draw._style import now

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The formulas that are ours: powers of ten, as `number` writes them, and Greek letters of tables.
_OURS = re.compile(r"(\$-?(?:[\d.]+\{\\times\})?10\^\{-?\d+\}\$|\$\\(?:rho|lambda)\$|\$\\mathdefault\{[^$]*\}\$)")
_DOLLAR = re.compile(r"(?<!\\)\$")


def legible(text: str) -> str:
    r"""A text as it is drawn.

    Example:
        >>> legible("a$b$ \x1b"), legible("up to $10^{5}$")
        ('a\\$b\\$ \\x1b', 'up to $10^{5}$')
    """
    text = printable(text).replace("\t", "    ")
    if "$" not in text or _asked_for(text):
        return text
    return "".join(part if k % 2 else _DOLLAR.sub(r"\\$", part) for k, part in enumerate(_OURS.split(text)))


def _asked_for(text: str) -> bool:
    """Whether it is the title that the user gave, with formulas that can be drawn."""
    from matplotlib.mathtext import MathTextParser

    given = now().title
    if given is None or text.split() != given.split():
        return False
    try:
        for line in text.split("\n"):
            MathTextParser("path").parse(line)
    except ValueError:
        return False
    return True


def make_legible(figure: Figure) -> None:
    """Let every text of a figure be drawn as it is written."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text) and (fit := legible(text.get_text())) != text.get_text():
            text.set_text(fit)
