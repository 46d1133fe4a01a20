"""Barriers over many pairs of networks: their mean, with an interval over networks and not only over examples."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas._statistics import mean_interval, quantile
from lossatlas.connect._barrier import DEFINITIONS, Interval
from lossatlas.connect._connect import connect
from lossatlas.connect._path import Path
from lossatlas.connect.symmetry._align import align
from lossatlas.draw import Table
from lossatlas.surface import PointLike, Surface, need_surface

if TYPE_CHECKING:
    from lossatlas.draw import BarsDisplay, LadderDisplay, MatrixDisplay

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
        labels: of the pairs.
        low: (K,) lower ends of the 95 % intervals over examples; the values where there are none.
        high: (K,) their upper ends.
        pairs: (K, 2) names of the networks of each pair, where they have names.
    """

    KIND: ClassVar[str] = "barriers"

    values: Array
    definition: str
    data: str
    mean: float
    interval: Interval
    method: str
    networks: int
    labels: tuple[str, ...]
    low: Array
    high: Array
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the networks, in the order in which they were given."""
        return tuple(dict.fromkeys(name for pair in self.pairs for name in pair))

    @property
    def matrix(self) -> Array:
        """(n, n) barriers between all networks, 0 on the diagonal, nan where a pair is missing.

        Raises:
            InputError: if the networks have no names.
        """
        return self._square(self.values)

    def _square(self, values: Array) -> Array:
        names = self.names
        if not names:
            raise InputError(
                "these barriers are of paths whose networks have no names; expected barriers(surface, {'a': a, 'b': b, …}), or "
                "networks=[('a', 'b'), …]."
            )
        found = np.full((len(names),) * 2, np.nan)
        np.fill_diagonal(found, 0.0)
        for (one, two), value in zip(self.pairs, values, strict=True):
            i, j = names.index(one), names.index(two)
            found[i, j] = found[j, i] = value
        return found

    def table(self) -> Table:
        """One row per pair, with its interval over examples."""
        rows = [
            [label, f"{v:.4g}", f"[{a:.3g}, {b:.3g}]"]
            for label, v, a, b in zip(self.labels, self.values, self.low, self.high, strict=True)
        ]
        return Table(f"{self.data} barriers ({self.definition})", ["pair", "barrier", "95 % over examples"], rows)

    def plot_matrix(self, ax: Any = None) -> MatrixDisplay:
        """Every pair as a cell, with its interval over examples.

        Args:
            ax: matplotlib axes, or None for a new figure.

        Raises:
            InputError: if the networks have no names.
        """
        from lossatlas.draw import MatrixDisplay

        note = f"{self.sentence}; brackets: 95 % over examples; barrier: {DEFINITIONS[self.definition]}"
        return MatrixDisplay(
            list(self.names), self.matrix, self._square(self.low), self._square(self.high), label=f"{self.data} barrier",
            title=f"Barriers between {len(self.names)} networks", note=note,
        ).plot(ax)  # fmt: skip

    @property
    def sentence(self) -> str:
        """The mean in words."""
        low, high = self.interval
        return (
            f"mean {self.data} barrier {self.mean:.3g} over {len(self.values)} pairs of {self.networks} networks "
            f"({self.definition}; 95 % {low:.3g} to {high:.3g}, {self.method})"
        )

    def plot(self, ax: Any = None) -> BarsDisplay:
        """One dot per pair, with its interval over examples, and the mean in the small print.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import BarsDisplay

        xlabel = f"{self.data} barrier, with the interval over examples (level 0.95)"
        note = f"{self.sentence}; barrier: {DEFINITIONS[self.definition]}"
        return BarsDisplay(list(self.labels), self.values, self.low, self.high, xlabel=xlabel, note=note).plot(ax)


def barriers(
    paths: Sequence[Path] | Surface,
    ends: Mapping[str, PointLike] | None = None,
    *,
    definition: str | None = None,
    data: str = "train",
    networks: Sequence[tuple[Any, Any]] | None = None,
    aligned: bool = False,
    **settings: Any,
) -> Barriers:
    """Put the barriers of several paths together, or of all pairs of several networks.

    Where no network is in two pairs, the interval is Student's: mean ± t s/√n. Where pairs share networks they are not
    independent: then the interval is the jackknife's, each network left out once with all of its pairs.

    Args:
        paths: between pairs of networks, at least two; or a surface, on which every pair of `ends` is connected.
        ends: points on that surface, by name, at least three: vectors, state dicts, modules or checkpoint files.
        definition: of the barrier; that of the first path by default.
        data: ``train`` or ``test``.
        networks: for each path what its ends are, for example their seeds; by default their parameters tell. Aligned
            copies have other parameters than what they are copies of: then it must be given.
        aligned: permute the units of the second network of every pair to match the first, with a surface and `ends`.
        **settings: of `connect`, with a surface and `ends`.

    Raises:
        InputError: for fewer than two paths, or paths without that barrier.
        UnknownNameError: if there is no such definition.
    """
    labels: list[str] = []
    aligned = _checks.flag("aligned", aligned, where="barriers")
    if ends is not None:
        need_surface(paths, "barriers")
        where = "barriers of a surface"
        expected = "names to points, at least three, as {'a': a, 'b': b, 'c': c}"
        if len(_checks.instance("ends", ends, Mapping, expected, where=where)) < 3 or networks is not None:
            raise InputError(f"{where} got {len(ends)} points and networks={networks}; expected {expected}, alone.")
        if definition is not None:
            settings["definition"] = definition
        both = list(itertools.combinations(ends, 2))
        labels, networks = [f"{one} – {two}" for one, two in both], both
        ground = cast("Surface", paths)
        moved = {pair: _matched(ground, ends, pair, settings) for pair in both} if aligned else {}
        paths = [connect(ground, ends[one], moved.get((one, two), ends[two]), **settings) for one, two in both]
    elif settings or aligned:
        raise InputError(
            f"barriers got {', '.join([*settings, *['aligned'] * aligned])} without points; expected them with a surface and points only."
        )
    expected = "a list of the paths that connect returned, at least two; or a surface and points by name"
    paths = tuple(_checks.instance("paths", paths, Sequence, expected, where="barriers"))
    if len(paths) < 2:
        raise InputError(f"got {len(paths)} paths; expected at least two, for an interval over networks.")
    for path in paths:
        _checks.instance("a path", path, Path, expected, where="barriers")
    definition = paths[0].definition if definition is None else definition
    _checks.one_of("definition of a barrier", definition, DEFINITIONS)
    _checks.text("data", data, where="barriers")
    for path in paths:
        if data not in list(path.barriers) or definition not in path.barriers[data]:
            known = ", ".join(path.barriers)
            raise InputError(f"a path has no {definition!r} barrier on {data!r} data; it was read on {known}.")
    values = np.array([path.barriers[data][definition].value for path in paths])
    pairs = [tuple(path.provenance["ends"]) for path in paths] if networks is None else _pairs(networks)
    if len(pairs) != len(paths):
        raise InputError(f"got the ends of {len(pairs)} paths for {len(paths)} paths; expected one pair for each.")
    names = sorted({str(end) for pair in pairs for end in pair})
    interval, method = mean_interval(values), "Student's t over pairs"
    if len(names) < 2 * len(paths):
        places = np.array([[names.index(str(end)) for end in pair] for pair in pairs])
        interval, method = over_networks(values, places, len(names)), "jackknife over networks"
    found = [path.barriers[data][definition].interval or (v, v) for path, v in zip(paths, values, strict=True)]
    low, high = np.array(found).T
    labels = labels or [f"pair {k + 1}" for k in range(len(paths))]
    return Barriers(
        values, definition, data, float(values.mean()), interval, method, len(names), tuple(labels),
        np.minimum(low, values), np.maximum(high, values), _named(networks),
    )  # fmt: skip


def _matched(surface: Surface, ends: Mapping[str, PointLike], pair: tuple[str, str], settings: dict[str, Any]) -> Any:
    own = {name: settings[name] for name in ("seed", "progress") if name in settings}
    return align(surface, ends[pair[0]], ends[pair[1]], **own).permuted


def _named(networks: Any) -> tuple[tuple[str, str], ...]:
    return () if networks is None else tuple((str(one), str(two)) for one, two in networks)


def _pairs(networks: Any) -> list[tuple[Any, ...]]:
    given: list[Any] = list(networks) if isinstance(networks, Sequence) else [None]
    if not all(isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2 for pair in given):
        raise InputError(
            f"got networks={_checks.shown(networks)}; expected a pair for each path, such as the seeds of its ends: [(0, 1), (0, 2)]."
        )
    return [tuple(pair) for pair in given]


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

    ways = rungs.values() if isinstance(rungs, Mapping) else [None]
    if not all(isinstance(w, Mapping) and all(isinstance(one, Barriers) for one in w.values()) for w in ways):
        raise InputError(
            f"got rungs={_checks.shown(rungs)}; expected the name of each way to its barriers by size, as "
            "{'straight line': {16: barriers(paths)}}."
        )
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
