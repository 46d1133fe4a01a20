"""Results from folders: whatever kind was saved there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Their classes are known to the archive once they are imported.
import lossatlas.chart
import lossatlas.connect
import lossatlas.curvature
import lossatlas.race  # noqa: F401
from lossatlas import archive
from lossatlas._errors import InputError, OutputError
from lossatlas.record import Recording
from lossatlas.surface import Surface


def load(folder: str | Path, *, surface: Surface | None = None) -> Any:
    """The result that was saved in a folder, whatever it is; a user's own `lossatlas.archive.Result` too, once imported.

    Args:
        folder: what the `save` of a result wrote.
        surface: for a race, a sweep or a basin map, what it was made on. A landscape of ours is built again from the record; of
            another surface only its name, box and wells are left if it is not given.

    Raises:
        OutputError: if there is none, it is damaged, or another version wrote it.
        InputError: if the surface is not the one that the result was made on, or the result is about none.
    """
    if Recording.is_in(folder):
        return Recording.load(folder, surface)
    kind, arrays, record = archive.load(folder)
    if kind not in archive.results:
        raise OutputError(
            f"{str(folder)!r} holds a {kind}; expected one of {', '.join(sorted(archive.results))}. Read its JSON for the "
            "record, or import the module whose class it is."
        )
    found = archive.results[kind]
    if surface is not None and not archive.needs(found, "surface"):
        raise InputError(
            f"{str(folder)!r} holds a {kind}, which needs no surface; expected surface=… for a race, a sweep or a map."
        )
    return found.restore(arrays, record, surface=surface)
