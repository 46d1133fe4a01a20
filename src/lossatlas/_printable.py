"""Names come from users and their files: the one place that decides what of them may reach a terminal or a page as it is."""

from __future__ import annotations

import unicodedata

# Unicode's categories of what is obeyed and not seen: controls, formats (such as the direction of writing), halves of
# characters, and other ends of lines. Joiners are parts of words and emoji.
_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_KEPT = "\n\t\u200c\u200d"


def printable(text: str) -> str:
    r"""A text whose control characters are shown and not obeyed, as ``\x1b``; ends of lines and tabs stay.

    Example:
        >>> printable("net\x1b[31m, β")
        'net\\x1b[31m, β'
    """
    if text.isprintable():
        return text
    return "".join(_shown(c) if unicodedata.category(c) in _OBEYED and c not in _KEPT else c for c in text)


def _shown(character: str) -> str:
    return character.encode("unicode_escape").decode()
