"""What every job of this room is given: a surface, counts, a seed."""

from __future__ import annotations

from lossatlas._errors import InputError
from lossatlas.optimize._ranges import seeded, whole
from lossatlas.surface import Surface


def check(where: str, surface: Surface, seed: int, **counts: int) -> None:
    """Refuse what is no surface, no seed, or no count of at least one.

    Args:
        where: the function that was called, for the message.
        surface: what was given as one.
        seed: of all randomness.
        **counts: whole numbers of at least 1, by name.
    """
    if not isinstance(surface, Surface):
        raise InputError(
            f"{where} got a surface of type {type(surface).__name__}; expected a Surface, for example "
            "lossatlas.landscapes.four_wells() or lossatlas.NetworkSurface(model, loss, data)."
        )
    whole(where, 1, **counts)
    seeded(where, seed)
