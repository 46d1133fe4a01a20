"""How results of races keep what is no number: surfaces by what is remembered of them, optimizers by name and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas.optimize import Optimizer, revived
from lossatlas.probe import differing
from lossatlas.surface import Remembered, Surface, landscapes, remember


def surface_of(saved: Mapping[str, Any], given: Surface | None) -> Surface:
    """The surface of a saved result: the given one, a landscape built again, or what is remembered of it.

    Raises:
        InputError: if the given one is not the one of the record.
    """
    if given is None:
        return landscapes.rebuilt(saved["fingerprint"]) or Remembered(saved)
    found = list(differing(saved["fingerprint"], given.fingerprint())) if isinstance(given, Surface) else []
    if not isinstance(given, Surface) or found:
        name = given.name if isinstance(given, Surface) else type(given).__name__
        differs = f" ({'; '.join(map(str, found[:3]))})" if found else ""
        raise InputError(
            f"got the surface {name!r}; expected the one that the result was made on, {saved['fingerprint']['surface']!r}, "
            f"with the same model, loss, data and plane{differs}. Make it again as it was."
        )
    return given


archive.translate(Optimizer, lambda one: one.record(), lambda record, _: revived(record))
archive.translate(Surface, remember, surface_of, "surface")
