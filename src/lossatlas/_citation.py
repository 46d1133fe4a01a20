"""BibTeX of the methods that a result used."""

from __future__ import annotations

from lossatlas.optimize import Optimizer
from lossatlas.optimize import citation as citation_of
from lossatlas.race import Race


def citation(result: Race) -> str:
    """BibTeX of exactly the methods used.

    Args:
        result: a race.

    Returns:
        Entries separated by blank lines.

    Example:
        >>> import lossatlas as la
        >>> race = la.race(la.landscapes.himmelblau(), ["adam"], steps=2)
        >>> la.citation(race).splitlines()[0]
        '@inproceedings{kingma2015,'
    """
    used: list[Optimizer] = []
    for track in result.tracks.values():
        inner = getattr(track.optimizer, "inner", None)
        used += [track.optimizer, *([inner] if isinstance(inner, Optimizer) else [])]
    return citation_of(used)
