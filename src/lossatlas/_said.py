"""How a thing says itself: in one short line for a console, and in escaped HTML for a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence

# Characters of a line.
SHORT = 160


def line(thing: object, text: str) -> str:
    """``<Class: text>``, cut at a word where the text is long."""
    text = " ".join(text.split())
    if len(text) > SHORT:
        text = text[:SHORT].rsplit(" ", 1)[0] + " …"
    return f"<{type(thing).__name__}: {text}>"


def an(noun: str) -> str:
    """A noun with its article, by its first letter."""
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def block(sentences: Sequence[str], title: str = "", body: str = "") -> str:
    """A title, what is HTML already, and sentences, one as a paragraph and several as a list."""
    head = f"<p><b>{html.escape(title)}</b></p>" if title else ""
    said = [html.escape(sentence) for sentence in sentences]
    if len(said) == 1:
        return f"{head}{body}<p>{said[0]}</p>"
    items = "".join(f"<li>{sentence}</li>" for sentence in said)
    return f"{head}{body}<ul>{items}</ul>" if items else head + body
