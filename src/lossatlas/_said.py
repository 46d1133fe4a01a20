"""How a thing says itself: in one short line for a console, in escaped HTML for a notebook; an exception in a sentence."""

from __future__ import annotations

import html
import traceback
from collections.abc import Sequence
from pathlib import Path

from lossatlas._errors import LossAtlasError
from lossatlas._printable import printable

# Characters of a line.
SHORT = 160
# Of an exception's text.
LONG = 300


def line(thing: object, text: str) -> str:
    """``<Class: text>``, cut at a word where the text is long."""
    text = printable(" ".join(text.split()))
    if len(text) > SHORT:
        text = text[:SHORT].rsplit(" ", 1)[0] + " …"
    return f"<{type(thing).__name__}: {text}>"


def several(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: ``1 line``, ``3,000 lines``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def exception(error: BaseException, own: str = "") -> str:
    """An exception in one sentence, with the line that it came from; one of this package as it says itself.

    Args:
        error: what was raised.
        own: the file that called the user's code; its own lines are not named.
    """
    if isinstance(error, LossAtlasError):
        return str(error)
    whole = traceback.extract_tb(error.__traceback__)
    frames = [one for one in whole if one.filename != own and not one.filename.startswith("<frozen")]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split()).rstrip(".")
    text = text if len(text) <= LONG else f"{text[:LONG]}…"
    return f"{type(error).__name__}{': ' * bool(text)}{text}{where}."


def an(noun: str) -> str:
    """A noun with its article, by its first letter."""
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def block(sentences: Sequence[str], title: str = "", body: str = "") -> str:
    """A title, what is HTML already, and sentences, one as a paragraph and several as a list."""
    head = f"<p><b>{html.escape(printable(title))}</b></p>" if title else ""
    said = [html.escape(printable(sentence)) for sentence in sentences]
    if len(said) == 1:
        return f"{head}{body}<p>{said[0]}</p>"
    items = "".join(f"<li>{sentence}</li>" for sentence in said)
    return f"{head}{body}<ul>{items}</ul>" if items else head + body
