"""Small pictures inside a page: few colors, a few kilobytes, for readers without scripts."""

from __future__ import annotations

import base64
import io
from typing import Any

from lossatlas._errors import LossAtlasError

WIDTH = 600
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


def of_figure(figure: Any) -> str | None:
    """A matplotlib figure as a PNG of few colors."""
    if figure is None:
        return None
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=WIDTH / figure.get_figwidth())
    with Image.open(buffer) as image:
        small = image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    out = io.BytesIO()
    small.save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
