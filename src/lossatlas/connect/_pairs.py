"""Barriers over many pairs of networks: their mean, with an interval over networks and not only over examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas._statistics import mean_interval, quantile
from lossatlas.connect._barrier import DEFINITIONS, Interval, check
from lossatlas.connect._path import Path

if TYPE_CHECKING:
    from lossatlas.draw import LadderDisplay

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Barriers(archive.Result):
    """The barriers of several pairs of networks.

    Attributes:
        values: one per pair.
        definition: of each.
        data: ``train`` or ``test``.
        mean: over the pairs.
        interval: 95 % interval of the mean over networks.
        method: how the interval was made.
        networks: how many different ones there are.
    """

    KIND: ClassVar[str] = "barriers"

    values: Array
    definition: str
    data: str
    mean: float
    interval: Interval
    method: str
    networks: int

    @property
    def sentence(self) -> str:
        """The mean in words."""
        low, high = self.interval
        return (
            f"mean {self.data} barrier {self.mean:.3g} over {len(self.values)} pairs of {self.networks} networks "
            f"({self.definition}; 95 % {low:.3g} to {high:.3g}, {self.method})"
        )


def barriers(
    paths: Sequence[Path],
    *,
    definition: str | None = None,
    data: str = "train",
    networks: Sequence[tuple[Any, Any]] | None = None,
) -> Barriers:
    """Put the barriers of several paths together.

    Where no network is in two pairs, the interval is Student's: mean ± t s/√n. Where pairs share networks they are not
    independent: then the interval is the jackknife's, each network left out once with all of its pairs.

    Args:
        paths: between pairs of networks, at least two.
        definition: of the barrier; that of the first path by default.
        data: ``train`` or ``test``.
        networks: for each path what its ends are, for example their seeds; by default their parameters tell. Aligned
            copies have other parameters than what they are copies of: then it must be given.

    Raises:
        InputError: for fewer than two paths, or paths without that barrier.
        UnknownNameError: if there is no such definition.
    """
    if len(paths) < 2:
        raise InputError(f"got {len(paths)} paths; expected at least two, for an interval over networks.")
    definition = check(definition or paths[0].definition)
    for path in paths:
        if data not in path.barriers or definition not in path.barriers[data]:
            raise InputError(f"a path has no {definition!r} barrier on {data!r} data; it has {path.barriers.keys()}.")
    values = np.array([path.barriers[data][definition].value for path in paths])
    pairs = (
        [tuple(path.provenance["ends"]) for path in paths] if networks is None else [tuple(pair) for pair in networks]
    )
    if len(pairs) != len(paths):
        raise InputError(f"got the ends of {len(pairs)} paths for {len(paths)} paths; expected one pair for each.")
    names = sorted({str(end) for pair in pairs for end in pair})
    interval, method = mean_interval(values), "Student's t over pairs"
    if len(names) < 2 * len(paths):
        places = np.array([[names.index(str(end)) for end in pair] for pair in pairs])
        interval, method = over_networks(values, places, len(names)), "jackknife over networks"
    return Barriers(values, definition, data, float(values.mean()), interval, method, len(names))


def ladder(rungs: Mapping[str, Mapping[float, Barriers]], ax: Any = None, *, note: str | None = None) -> LadderDisplay:
    """Draw barriers against a size.

    Args:
        rungs: name of a way to connect, to size (such as the width of layers), to the barriers of the same pairs.
        ax: matplotlib axes, or None for a new figure.
        note: a sentence of small print.

    Raises:
        InputError: if the ways have other sizes, or the barriers are by several definitions.
    """
    from lossatlas.draw import LadderDisplay

    sizes = sorted({size for found in rungs.values() for size in found})
    every = [one for found in rungs.values() for one in found.values()]
    kinds = {(one.definition, one.data) for one in every}
    if not every or any(len(found) != len(sizes) for found in rungs.values()) or len(kinds) > 1:
        raise InputError(
            "the rungs do not fit together; expected barriers of one definition, for every way at every size."
        )
    ((definition, data),) = kinds
    most = max(len(one.values) for one in every)
    padded = {
        name: np.array(
            [np.pad(found[s].values, (0, most - len(found[s].values)), constant_values=np.nan) for s in sizes]
        )
        for name, found in rungs.items()
    }
    low, high = (
        {name: np.array([found[s].interval[end] for s in sizes]) for name, found in rungs.items()} for end in (0, 1)
    )
    says = f"dots: pairs of networks; bars: 95 % interval of their mean ({every[0].method}); {DEFINITIONS[definition]}"
    return LadderDisplay(
        np.array(sizes, dtype=np.float64),
        padded,
        low,
        high,
        ylabel=f"barrier ({data})",
        title="Barrier against width",
        note=" · ".join([*([note] if note else []), says]),
    ).plot(ax)


def over_networks(values: Array, places: NDArray[np.intp], count: int, confidence: float = 0.95) -> Interval:
    """Interval of the mean over pairs that share networks: the jackknife, a network left out with all its pairs.

    s² = (n − 1)/n Σᵢ (m₋ᵢ − m̄₋)² over the n networks, and Student's t with n − 1 degrees of freedom.

    Args:
        values: (K,) one per pair.
        places: (K, 2) the numbers of the networks of each pair.
        count: n, at least 3.
        confidence: of the interval.

    Source:
        Arvesen: Jackknifing U-statistics, Annals of Mathematical Statistics 40 (1969).
    """
    if not np.isfinite(values).all():
        return (-np.inf, np.inf)
    without = [values[(places != k).all(1)] for k in range(count)]
    if any(len(kept) == 0 for kept in without):
        return (-np.inf, np.inf)
    means = np.array([kept.mean() for kept in without])
    deviation = np.sqrt((count - 1) / count * ((means - means.mean()) ** 2).sum())
    half = quantile(confidence, count - 1) * float(deviation)
    return float(values.mean()) - half, float(values.mean()) + half
