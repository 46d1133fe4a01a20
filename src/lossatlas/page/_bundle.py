"""The page's program as it lies in the package: built from web/, committed, and read here."""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from pathlib import Path

from lossatlas._errors import OutputError

# What the program is built from; DIGEST is made of these, sorted by name.
SOURCES = ("build.mjs", "package-lock.json", "package.json", "tsconfig.json")


@functools.cache
def bundle(name: str) -> str:
    """The text of a built file: ``atlas.js`` or ``atlas.css``.

    Raises:
        OutputError: if the package holds none, as in a checkout in which nothing was built.
    """
    file = resources.files("lossatlas.page").joinpath("static", name)
    if not file.is_file():
        raise OutputError(
            f"the package holds no {name}, so that a page would do nothing; expected it in lossatlas/page/static. Install "
            "lossatlas again, or run `make web` in a checkout."
        )
    return file.read_text(encoding="utf-8")


def digest(web: Path) -> str:
    """SHA-256 of the sources in a folder: each one's path and bytes, zero bytes between them, in order of the paths."""
    found = hashlib.sha256()
    files = {path.relative_to(web).as_posix(): path for path in (web / "src").rglob("*") if path.is_file()}
    files |= {name: web / name for name in SOURCES if (web / name).is_file()}
    for name in sorted(files):
        found.update(name.encode() + b"\0" + files[name].read_bytes() + b"\0")
    return found.hexdigest()
