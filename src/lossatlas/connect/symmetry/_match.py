"""Which unit of b is which unit of a: matching by weights, or by what units do on data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lossatlas.connect.symmetry._specification import Axis, Group, Permutations, Specification, Tap

SWEEPS = 100
# A gain below this share of |a||b| is rounding.
GAIN = {torch.float32: 1e-7, torch.float64: 1e-12}
WIDE = 2**24  # numbers above which matching keeps to single precision
TOLD = 2**26  # numbers of activations that are held at once


@dataclass(frozen=True, eq=False)
class Match:
    """One matching.

    Attributes:
        permutations: by group; unit i of the permuted b is unit order[i] of b.
        objective: Σ ⟨a, π(b)⟩ over the weights that carry a permutation.
        sweeps: through all groups.
    """

    permutations: Permutations
    objective: float
    sweeps: int


@dataclass(frozen=True, eq=False)
class Nest:
    """What the units of one group hold.

    Attributes:
        kinds: groups that lie within them, one list over the units for each kind.
        told: for each kind, which of the axes of its groups carry no other kind, or all of them if each does.
        own: axes of the units without what the kinds carry.
    """

    kinds: tuple[tuple[Group, ...], ...]
    told: tuple[tuple[int, ...], ...]
    own: tuple[Axis, ...]

    @classmethod
    def of(cls, group: Group, kinds: Sequence[Sequence[Group]], names: Mapping[str, Tensor]) -> Nest:
        """That of a group.

        Args:
            group: the units.
            kinds: what lies within them.
            names: weights that are compared.
        """
        kept = [[replace(g, axes=tuple(x for x in g.axes if x.name in names)) for g in kind] for kind in kinds]
        kept = [kind for kind in kept if kind[0].axes]
        told = []
        for kind in kept:
            others = [axis for other in kept if other is not kind for axis in other[0].axes]
            alone = [n for n, axis in enumerate(kind[0].axes) if not any(_meet(axis, other) for other in others)]
            told.append(tuple(alone or range(len(kind[0].axes))))
        own = []
        for axis in (axis for axis in group.axes if axis.name in names):
            over = [
                x for kind in kept for part in kind for x in part.axes if (x.name, x.axis) == (axis.name, axis.axis)
            ]
            free = (
                ~np.isin(axis.places, np.concatenate([x.places.ravel() for x in over]))
                if over
                else np.ones_like(axis.places, bool)
            )
            if free.any():
                own.append(replace(axis, places=axis.places[free].reshape(axis.units, -1)))
        return cls(tuple(map(tuple, kept)), tuple(told), tuple(own))


def _meet(one: Axis, two: Axis) -> bool:
    return (one.name, one.axis) == (two.name, two.axis) and bool(np.isin(one.places, two.places).any())


class Weights:
    """The weights of a and of b as they are compared.

    Args:
        specification: of permutations.
        a: state dict.
        b: state dict.
        parameters: names to compare; running statistics are carried along and not compared.
    """

    def __init__(
        self, specification: Specification, a: Mapping[str, Tensor], b: Mapping[str, Tensor], parameters: set[str]
    ) -> None:
        self.specification = specification
        names = {axis.name for group in specification.groups for axis in group.axes} & parameters
        numbers = sum(a[name].numel() for name in names)
        self.dtype = torch.float64 if numbers < WIDE else torch.float32
        self.a = {name: a[name].detach().to("cpu", self.dtype) for name in names}
        self.b = {name: b[name].detach().to("cpu", self.dtype) for name in names}
        norms = [sum(float((t**2).sum()) for t in side.values()) ** 0.5 for side in (self.a, self.b)]
        self.smallest = GAIN[self.dtype] * max(norms[0] * norms[1], 1e-300)
        self.norms = norms[0] * norms[1]
        self.groups = {group.name: self._own(group) for group in specification.groups}
        kinds = self._nested()
        self.nests = {g.name: Nest.of(g, kinds[g.name], self.a) for g in specification.groups if g.name in kinds}
        self.carriers: dict[str, set[str]] = {}
        for name, axes in self.groups.items():
            for axis in axes:
                self.carriers.setdefault(axis.name, set()).add(name)

    def _nested(self) -> dict[str, list[list[Group]]]:
        """By name of a group, what lies within its units: for each kind one group for each unit."""
        found: dict[str, list[list[Group]]] = {}
        for group in self.specification.groups:
            if group.within is not None:
                outer, slot = group.within
                kinds = found.setdefault(outer, [])
                if slot == 0:
                    kinds.append([])
                kinds[-1].append(group)
        return found

    def _own(self, group: Group) -> list[Axis]:
        return [axis for axis in group.axes if axis.name in self.a]

    def inner(self, b: Mapping[str, Tensor], names: set[str] | None = None) -> float:
        """Σ ⟨a, b⟩ over some of the weights, all by default."""
        return sum(float((self.a[n] * b[n]).sum()) for n in (self.a if names is None else names))


def by_weights(weights: Weights, start: Permutations | None, generator: torch.Generator) -> Match:
    """Coordinate descent over the groups: each is assigned best while the others stay.

    Args:
        weights: what to compare.
        start: permutations to begin with, or None to grow them from the axes that are fixed.
        generator: of the order of the groups.

    Returns:
        A local maximum of Σ ⟨a, π(b)⟩; the exact problem is NP-hard.

    Source:
        Ainsworth, Hayase and Srinivasa: Git Re-Basin, ICLR 2023, section 3.2, algorithm 1.
    """
    specification = weights.specification
    orders = dict(specification.identity() if start is None else start)
    current = specification.permuted(weights.b, orders)
    if start is None:
        _grow(weights, orders, current)
    sweeps = _descend(weights, specification.groups, orders, current, generator)
    return Match(orders, weights.inner(current), sweeps)


def by_activations(weights: Weights, correlation: Mapping[str, Tensor], generator: torch.Generator) -> Match:
    """Each group by itself, by the correlation of its units on data; the groups that show nowhere by their weights.

    Args:
        weights: for the objective, and for groups without a correlation.
        correlation: by group, (units of a, units of b).
        generator: of the order of the groups that are matched by weights.

    Source:
        Li et al.: Convergent learning, ICLR 2016; Ainsworth et al. 2023, section 3.1; Jordan et al.: REPAIR, ICLR 2023
        (correlation instead of inner product).
    """
    specification = weights.specification
    orders = specification.identity()
    for name, matrix in correlation.items():
        orders[name] = _best(matrix)
    current = specification.permuted(weights.b, orders)
    rest = [group for group in specification.groups if group.name not in correlation]
    sweeps = _descend(weights, rest, orders, current, generator)
    return Match(orders, weights.inner(current), sweeps)


def correlations(
    specification: Specification, read: Callable[[list[str]], dict[str, Tensor]], examples: int
) -> dict[str, Tensor]:
    """For each group that shows in some module's output: Σ over modules of the correlation of a's and b's units.

    Args:
        specification: of permutations.
        read: names of modules to their outputs (2, n, …) for a and b.
        examples: n.
    """
    found: dict[str, Tensor] = {}
    taps = [(group.name, tap) for group in specification.groups for tap in group.taps]
    while taps:
        now = [taps.pop(0)]
        size = now[0][1].size
        while taps and 2 * examples * (size + taps[0][1].size) <= TOLD:
            size += taps[0][1].size
            now.append(taps.pop(0))
        outputs = read(sorted({tap.axis.name for _, tap in now}))
        for name, tap in now:
            one, two = (_standard(tap, output) for output in outputs[tap.axis.name])
            found[name] = found.get(name, 0) + one @ two.T / one.shape[1]
    return found


def _standard(tap: Tap, output: Tensor) -> Tensor:
    """One row per unit, with mean 0 and variance 1; a unit that never changes is 0."""
    rows = tap.axis.rows(output).float().cpu()
    rows = rows - rows.mean(1, keepdim=True)
    deviation = rows.square().mean(1, keepdim=True).sqrt()
    return torch.where(deviation > 1e-8, rows / deviation.clamp_min(1e-8), torch.zeros_like(rows))


def _grow(weights: Weights, orders: Permutations, current: dict[str, Tensor]) -> None:
    """From the fixed axes inwards: a group is assigned by the weights whose other axes are settled already."""
    open_groups = {group.name: group for group in weights.specification.groups}

    def settled(group: Group) -> set[str]:
        names = {axis.name for axis in weights.groups[group.name]}
        nest = weights.nests.get(group.name)
        own = {group.name} | ({part.name for kind in nest.kinds for part in kind} if nest else set())
        return {n for n in names if not (weights.carriers[n] - own) & open_groups.keys()}

    def share(group: Group) -> float:
        names = {axis.name for axis in weights.groups[group.name]}
        total = sum(weights.a[n].numel() for n in names)
        return sum(weights.a[n].numel() for n in settled(group)) / max(total, 1)

    while open_groups:
        group = max(open_groups.values(), key=share)
        _assign(weights, group, orders, current, settled(group) or None)
        del open_groups[group.name]


def _descend(
    weights: Weights,
    groups: Sequence[Group],
    orders: Permutations,
    current: dict[str, Tensor],
    generator: torch.Generator,
) -> int:
    """Assign group by group, in a new random order each time, until none of them gains; the number of sweeps."""
    for sweep in range(1, SWEEPS + 1):
        gains = 0
        for k in torch.randperm(len(groups), generator=generator).tolist():
            gains += _assign(weights, groups[k], orders, current, None)
        if not gains:
            return sweep
    return SWEEPS


def _assign(
    weights: Weights, group: Group, orders: Permutations, current: dict[str, Tensor], only: set[str] | None
) -> bool:
    """Permute one group of the current b so that it fits a best; whether that was a gain."""
    if group.name in weights.nests:
        return _assign_nested(weights, group, orders, current, only)
    axes = [axis for axis in weights.groups[group.name] if only is None or axis.name in only]
    if not axes:
        return False
    matrix = _products(weights, axes, current, group.units)
    order = _best(matrix)
    gain = float(matrix[torch.arange(group.units), order].sum() - matrix.trace())
    if gain <= weights.smallest:
        return False
    names = {axis.name for axis in weights.groups[group.name]}
    trial = {name: current[name] for name in names}
    for axis in weights.groups[group.name]:
        trial[axis.name] = axis.permuted(trial[axis.name], order)
    # A weight that carries the group on two axes is only linear in each: what counts is the objective itself.
    if only is None and weights.inner(trial, names) - weights.inner(current, names) <= weights.smallest:
        return False
    current.update(trial)
    orders[group.name] = orders[group.name][order]
    return True


def _assign_nested(
    weights: Weights, group: Group, orders: Permutations, current: dict[str, Tensor], only: set[str] | None
) -> bool:
    """Permute units that hold others, and what each of them holds; whether that was a gain.

    What a unit holds may be in any order, so two units are worth to each other what the best assignment of what they
    hold is worth: an assignment problem for every pair, within the one over the units.
    """
    nest, units = weights.nests[group.name], range(group.units)
    worth = _products(weights, [axis for axis in nest.own if only is None or axis.name in only], current, group.units)
    held: list[list[list[Tensor]]] = []
    for kind, told in zip(nest.kinds, nest.told, strict=True):
        one, two = (
            [torch.cat([part.axes[n].rows(side[part.axes[n].name]) for n in told], 1) for part in kind]
            for side in (weights.a, current)
        )
        held.append([])
        for h in units:
            held[-1].append([])
            for k in units:
                matrix = one[h] @ two[k].T
                order = _best(matrix)
                worth[h, k] += matrix[torch.arange(len(order)), order].sum()
                held[-1][h].append(order)
    best = _best(worth)
    trial = {axis.name: current[axis.name] for axis in weights.groups[group.name]}
    for axis in weights.groups[group.name]:
        trial[axis.name] = axis.permuted(trial[axis.name], best)
    found = {group.name: orders[group.name][best]}
    for kind, rows in zip(nest.kinds, held, strict=True):
        for h, part in enumerate(kind):
            inner = rows[h][int(best[h])]
            found[part.name] = orders[kind[int(best[h])].name][inner]
            for axis in part.axes:
                if axis.name in trial:
                    trial[axis.name] = axis.permuted(trial[axis.name], inner)
    names = set(trial) if only is None else set(trial) & only
    if weights.inner(trial, names) - weights.inner(current, names) <= weights.smallest:
        return False
    current.update(trial)
    orders.update(found)
    return True


def _products(weights: Weights, axes: Sequence[Axis], current: Mapping[str, Tensor], units: int) -> Tensor:
    """⟨unit of a, unit of b⟩ (units, units), summed over some axes."""
    matrix = torch.zeros(units, units, dtype=weights.dtype)
    for axis in axes:
        matrix += axis.rows(weights.a[axis.name]) @ axis.rows(current[axis.name]).T
    return matrix


def _best(matrix: Tensor) -> Tensor:
    return torch.from_numpy(linear_sum_assignment(matrix.numpy(), maximize=True)[1])
