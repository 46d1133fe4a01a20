"""Small pictures inside a page: few colors, a few kilobytes, for readers without scripts."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from lossatlas._errors import LossAtlasError, OutputError

# Pixels of a card's picture, and of one that a class looks at.
WIDTH, LARGE = 600, 800
COLORS = 32


def drawn(made: Any, **settings: Any) -> str | None:
    """The picture of a result as a data URI, or None where it draws none by itself."""
    plot = getattr(made, "plot", None)
    if not callable(plot):
        return None
    try:
        display = plot(**settings)
    except (LossAtlasError, TypeError, ValueError):
        return None
    return of_figure(getattr(display, "figure_", None))


def of_figure(figure: Any, width: int = WIDTH) -> str | None:
    """A matplotlib figure as a PNG of few colors, so many pixels wide."""
    if figure is None:
        return None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=width / figure.get_figwidth())
    return _reduced(buffer, width)


def of_display(display: Any) -> str | None:
    """A display as a PNG that a class looks at; drawn first if it was not yet."""
    return of_figure((display if hasattr(display, "figure_") else display.plot()).figure_, LARGE)


def of_file(path: Path) -> str:
    """A picture that was saved, as a PNG of few colors and no wider than a page needs.

    Raises:
        OutputError: if it cannot be read.
    """
    try:
        return _reduced(path, LARGE)
    except (OSError, ValueError) as error:
        raise OutputError(f"{str(path)!r} is no picture that can be read ({error}); run its lesson again.") from None


def _reduced(source: Path | io.BytesIO, width: int) -> str:
    from PIL import Image

    with Image.open(source) as image:
        small = image.convert("RGB")
        if small.width > width:
            small = small.resize((width, round(small.height * width / small.width)), Image.Resampling.LANCZOS)
        small = small.quantize(COLORS, dither=Image.Dither.NONE)
    out = io.BytesIO()
    small.save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
