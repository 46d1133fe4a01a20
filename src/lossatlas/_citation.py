"""BibTeX of the methods that a result used."""

from __future__ import annotations

from lossatlas._errors import InputError
from lossatlas.optimize import Optimizer
from lossatlas.optimize import citation as citation_of
from lossatlas.race import BasinMap, NetworkRace, Race, Sweep, Tuning


def citation(result: Race | NetworkRace | BasinMap | Sweep | Tuning | Optimizer) -> str:
    """BibTeX of exactly the methods used, those inside wrappers included.

    Args:
        result: a race on a landscape or a network, a basin map, a sweep, a tuning, or an optimizer itself.

    Returns:
        Entries separated by blank lines.

    Raises:
        InputError: for anything else.

    Example:
        >>> import lossatlas as la
        >>> race = la.race(la.landscapes.himmelblau(), ["adam"], steps=2)
        >>> la.citation(race).splitlines()[0]
        '@inproceedings{kingma2015,'
    """
    match result:
        case Race():
            outer = [track.optimizer for track in result.tracks.values()]
        case NetworkRace():
            outer = [runner.optimizer for runner in result.runners.values()]
        case BasinMap() | Sweep():
            outer = [result.optimizer]
        case Tuning():
            outer = [result.best]
        case Optimizer():
            outer = [result]
        case _:
            raise InputError(
                f"got a {type(result).__name__}; expected a race, a basin map, a sweep, a tuning or an optimizer, whose "
                "methods are then cited."
            )
    used: list[Optimizer] = []
    for one in outer:
        layer: object = one
        while isinstance(layer, Optimizer):
            used.append(layer)
            layer = getattr(layer, "inner", None)
    return citation_of(used)
