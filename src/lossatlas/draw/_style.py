"""How figures are made: their width, kinds of files, colors and sizes, for every display at once.

A block ``with figures(width=3.3, formats=("pdf",)):`` holds for all that is drawn and saved in it. What a style sheet of
matplotlib sets (sizes of text, colors of ground and ink) is followed; what it leaves alone is ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas._printable import printable

# Inches: the text width of a page, and below which text is set smaller, as columns are.
PAGE, COLUMN = 6.5, 4.5
KINDS = ("png", "pdf", "svg")
# Points on a page and in a column, and what a style sheet calls them.
SIZES = {
    "TITLE": (10.0, 9.0, "axes.titlesize"),
    "LABEL": (9.0, 8.0, "axes.labelsize"),
    "TICK": (8.0, 7.0, "xtick.labelsize"),
    "SMALL": (7.5, 6.5, "legend.fontsize"),
}
_INCHES = {"in": 1.0, "mm": 1 / 25.4, "cm": 1 / 2.54, "pt": 1 / 72}
LEAST, MOST = 2.5, 40.0


@dataclass(frozen=True)
class Figures:
    """What holds for every figure.

    Attributes:
        width: in inches.
        formats: the kinds of files that are written, whatever the ending of a name; none for that of the name.
        title: above every picture, instead of its own; an empty one for none.
        cmap: of every field that has no other.
        dpi: dots per inch of what is made of dots, or None for what is asked for.
        command: that made them, written into the files.
    """

    width: float = PAGE
    formats: tuple[str, ...] = ()
    title: str | None = None
    cmap: str | None = None
    dpi: float | None = None
    command: str | None = None


_USUAL = Figures()
_NOW: ContextVar[Figures] = ContextVar("figures", default=_USUAL)


@contextmanager
def figures(
    *,
    width: float | str = PAGE,
    formats: Sequence[str] = (),
    title: str | None = None,
    cmap: str | None = None,
    dpi: float | None = None,
    command: str | None = None,
) -> Iterator[Figures]:
    """How every picture in the block is drawn and saved.

    Args:
        width: in inches, or with a unit: ``"84mm"``, ``"3.3in"``.
        formats: of ``"png"``, ``"pdf"`` and ``"svg"``: each picture is saved in all of them, whatever its name ends in.
        title: above every picture instead of its own; ``""`` for none.
        cmap: a matplotlib color map for fields.
        dpi: dots per inch.
        command: that makes the pictures, for their metadata.

    Raises:
        InputError: a width outside of 2.5 to 40 inches, another format, an unknown color map, or a resolution outside of 30 to
            2,400 dots per inch.

    Example:
        >>> with figures(width="84mm") as now:
        ...     round(now.width, 2)
        3.31
    """
    from lossatlas.draw._palette import ground

    ground(cmap)
    formats = _checks.listed("formats", formats, f"several of {', '.join(KINDS)} in a list")
    wrong = [_checks.shown(one) for one in formats if not _checks.is_word(one, *KINDS)]
    if wrong:
        raise InputError(f"got the format {', '.join(wrong)}; expected one or several of {', '.join(KINDS)}.")
    if dpi is not None:
        dpi = dots(dpi)
    title = _checks.optional(_checks.text, "title", title)
    command = None if command is None else printable(_checks.text("command", command))
    made = Figures(inches(width), tuple(dict.fromkeys(formats)), title, cmap, dpi, command)
    token = _NOW.set(made)
    try:
        yield made
    finally:
        _NOW.reset(token)


def now() -> Figures:
    """What holds here."""
    return _NOW.get()


def dots(dpi: float | None, otherwise: float = 0.0) -> float:
    """Dots per inch: as given, as `figures` says, or otherwise.

    Raises:
        InputError: outside of 30 to 2,400.
    """
    if dpi is None:
        return now().dpi or otherwise
    return _checks.number("dpi", dpi, least=30, most=2400, do="These are dots per inch, for example 300.")


def inches(width: float | str) -> float:
    """A width in inches, from a number of them or a text with a unit.

    Raises:
        InputError: for what is no width, or one outside of 2.5 to 40 inches.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(in|mm|cm|pt)?\s*", str(width))
    size = float(found[1]) * _INCHES[found[2] or "in"] if found and not isinstance(width, bool) else None
    if size is None or not LEAST <= size <= MOST:
        raise InputError(
            f"got the width {width!r}; expected {LEAST:g} to {MOST:g} inches, as in 3.3in, 84mm or 8.4cm. A column of a paper is "
            "3.3in wide, a page 6.5in."
        )
    return size


def narrow() -> bool:
    """Whether figures are as narrow as a column: what stands side by side on a page then stands one below the other."""
    return now().width < COLUMN


def titled(own: str | None) -> str | None:
    """The title of a picture: its own, or the one that holds here."""
    title = now().title
    return (own if title is None else title) or None


def size(name: str) -> float:
    """Points of a kind of text: that of a style sheet where it sets one, else ours."""
    import matplotlib as mpl
    from matplotlib.font_manager import FontProperties

    page, column, key = SIZES[name]
    set_to: Any = mpl.rcParams
    at_first: Any = mpl.rcParamsDefault
    given, usual = set_to[key], at_first[key]
    if given != usual:
        return float(FontProperties(size=given).get_size_in_points())
    base = float(mpl.rcParams["font.size"]) / float(mpl.rcParamsDefault["font.size"])
    return (page if not narrow() else column) * base


def shade(light: float) -> tuple[float, float, float]:
    """Between ink (0) and paper (1), as a style sheet has them: a gray on white paper."""
    import matplotlib as mpl
    from matplotlib.colors import to_rgb

    ink, paper = to_rgb(mpl.rcParams["text.color"]), to_rgb(mpl.rcParams["figure.facecolor"])
    red, green, blue = (a * (1 - light) + b * light for a, b in zip(ink, paper, strict=True))
    return red, green, blue
