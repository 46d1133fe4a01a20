"""Results in a notebook: the page in a frame of its own that can reach nothing, and the table below it."""

from __future__ import annotations

import html
from typing import Any

from lossatlas._errors import LossAtlasError
from lossatlas.page._make_page import document
from lossatlas.page._make_scene import scene
from lossatlas.page._scene import Scene

HEIGHT = 640
# Bytes of a page that a notebook's file is not asked to hold.
LARGEST = 3_000_000


def shown(made: Any, table: str) -> str:
    """HTML of a result: the explorer in a sandboxed frame, with its table folded away below.

    Args:
        made: a result or a scene.
        table: what is shown of it without the page; all there is where the page would be too large or cannot be made.
    """
    try:
        one = made if isinstance(made, Scene) else scene(made)
        inside = document(one, main="")
    except LossAtlasError:
        return table
    if len(inside) > LARGEST:
        return table
    title = html.escape(one.title, quote=True)
    return (
        f'<iframe sandbox="allow-scripts" title="{title}" srcdoc="{html.escape(inside, quote=True)}" '
        f'style="width:100%;height:{HEIGHT}px;border:0" loading="lazy"></iframe>'
        f"<details><summary>As text and tables</summary>{table}</details>"
    )
