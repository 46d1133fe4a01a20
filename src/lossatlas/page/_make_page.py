"""A scene as one HTML file that works from a folder, from a mail, without a network, and refuses to reach for one."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from pathlib import Path
from typing import Any

from lossatlas import archive
from lossatlas.page._bundle import bundle
from lossatlas.page._fallback import record
from lossatlas.page._make_scene import scene
from lossatlas.page._plain import plain
from lossatlas.page._scene import Scene


def page(*results: Any, path: str | Path = "atlas.html", title: str | None = None) -> Path:
    """Write results as one page that can be explored: one file, offline, small enough to be mailed.

    The page shows charts as maps and reliefs with the error of every cell, races optimizers from where one clicks, paints
    basins, compares, and asks before it shows what came out. Without JavaScript its tables, sentences and pictures are
    still there. It loads nothing and sends nothing: its Content-Security-Policy allows only what is in the file.

    Args:
        *results: as for `lossatlas.scene`; or one `Scene`.
        path: the file.
        title: of the page.

    Returns:
        The file's path.

    Raises:
        InputError: for no results, or what is none.
        OutputError: if the file cannot be written.

    Example:
        >>> import tempfile, lossatlas as la
        >>> race = la.race(la.landscapes.four_wells(), ["gd", "momentum"], steps=50)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     la.page(race, path=f"{folder}/atlas.html").name
        'atlas.html'
    """
    archive.prepare_file(path)
    one = results[0] if len(results) == 1 and isinstance(results[0], Scene) else scene(*results, title=title)
    if title is not None and one.title != title:
        one = Scene({**one.head, "title": str(title)}, one.arrays)
    return archive.write_text(path, document(one))


def document(one: Scene, *, main: str | None = None) -> str:
    """The page's HTML.

    Args:
        one: what it shows.
        main: what stands there without scripts; drawn from the scene by default.
    """
    one = Scene(plain(one.head), one.arrays)
    script, style = (
        bundle("atlas.js"),
        resources.files("lossatlas.page").joinpath("static", "record.css").read_text("utf-8"),
    )
    style += bundle("atlas.css")
    main = record(one) if main is None else main
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data: blob:; worker-src blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    title = html.escape(one.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<style>{style}</style>\n</head>\n<body>\n'
        f'<div id="atlas"></div>\n<main id="record">\n{main}\n</main>\n'
        f'<script type="application/json" id="scene">{inline(one)}</script>\n<script>{script}</script>\n</body>\n</html>\n'
    )


def inline(one: Scene) -> str:
    """The scene's JSON as it may stand inside a script element: no tag can begin or end in it."""
    return one.to_json().replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _hash(text: str) -> str:
    # Browsers read line ends as \n before they hash.
    found = hashlib.sha256(text.replace("\r\n", "\n").encode()).digest()
    return f"'sha256-{base64.b64encode(found).decode('ascii')}'"
