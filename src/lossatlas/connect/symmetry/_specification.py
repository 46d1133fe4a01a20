"""Which axes of which weights carry which permutation, and how one is applied to all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError, ModelError
from lossatlas.connect.symmetry._labels import Dim, Places
from lossatlas.connect.symmetry._nested import nested, outer_labels
from lossatlas.connect.symmetry._rules import OUTPUT, SPACE, TOKENS
from lossatlas.connect.symmetry._trace import EXAMPLES, INPUT, Trace, trace
from lossatlas.connect.symmetry._verify import compare
from lossatlas.probe import Probe
from lossatlas.surface import StateSurface

NOISE = 0.05  # of the point at which groups within groups are tried

Permutations = dict[str, Tensor]
Given = Mapping[str, Sequence[tuple[Any, ...]]]


@dataclass(frozen=True, eq=False)
class Axis(archive.Result):
    """An axis of a tensor along which units lie.

    Attributes:
        name: of the parameter or running statistic, or of the module whose output it is.
        axis: which axis of it.
        places: (units, k) the positions along it that belong to each unit: one, or more where channels were flattened,
            split into heads, padded or joined with others.
        length: of the axis.
        sign: for rescaling: 1 where the unit is made, −1 where it is read.
    """

    name: str
    axis: int
    places: Places
    length: int
    sign: int = 1

    @classmethod
    def block(cls, name: str, axis: int, outer: int, units: int, inner: int) -> Axis:
        """Position (o · units + u) · inner + i belongs to unit u."""
        whole = np.arange(outer * units * inner).reshape(outer, units, inner)
        return cls(name, axis, np.moveaxis(whole, 1, 0).reshape(units, -1), outer * units * inner)

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.places)

    @property
    def plain(self) -> bool:
        """Whether the axis is nothing but the units."""
        return self.length == self.units and bool((self.places[:, 0] == np.arange(self.units)).all())

    def rows(self, tensor: Tensor) -> Tensor:
        """One row per unit, (units, everything else)."""
        first = tensor.movedim(self.axis, 0)
        if not self.plain:
            first = first[torch.from_numpy(self.places.ravel()).to(tensor.device)]
        return first.reshape(self.units, -1)

    def permuted(self, tensor: Tensor, order: Tensor) -> Tensor:
        """Unit i of the result is unit order[i] of the tensor."""
        index = np.arange(self.length)
        index[self.places] = self.places[order.cpu().numpy()]
        return tensor.index_select(self.axis, torch.from_numpy(index).to(tensor.device))

    def scaled(self, tensor: Tensor, scales: Tensor) -> Tensor:
        """Every unit times its scale, or divided by it where the unit is read."""
        factors = torch.ones(self.length, dtype=torch.float64)
        factors[torch.from_numpy(self.places)] = (scales if self.sign > 0 else 1 / scales).double().cpu()[:, None]
        shape = [1] * tensor.ndim
        shape[self.axis] = self.length
        return tensor * factors.reshape(shape).to(tensor)


@dataclass(frozen=True)
class Tap(archive.Result):
    """A module's output in which units can be seen.

    Attributes:
        axis: where they lie in it.
        size: numbers per example.
    """

    axis: Axis
    size: int


@dataclass(frozen=True)
class Group(archive.Result):
    """Units that are permuted together.

    Attributes:
        name: that of the first weight that makes them.
        units: how many.
        axes: of parameters and running statistics that carry the permutation.
        taps: outputs of modules in which each unit can be seen, with nothing else permuted.
        within: the group and the unit of it (an attention head) in which these units lie, or None.
    """

    name: str
    units: int
    axes: tuple[Axis, ...]
    taps: tuple[Tap, ...] = ()
    within: tuple[str, int] | None = None


@dataclass(frozen=True)
class Kept(archive.Result):
    """Units that may not be permuted.

    Attributes:
        name: of the first weight along which they lie.
        units: how many.
        reason: why.
    """

    name: str
    units: int
    reason: str


# What is no hidden unit in the first place.
_ENDS = (INPUT, OUTPUT, SPACE, TOKENS)


@final
@dataclass(frozen=True)
class Specification(archive.Result):
    """All permutations (or rescalings) that leave a network's function as it is, as far as they were found.

    Attributes:
        groups: of units that may be permuted, each by itself; one that lies within a unit of another comes after that,
            and permutes what lies there once the other has been permuted.
        fixed: axes that may not be, as (parameter, axis, reason).
        source: ``traced`` or ``given``.
        kept: hidden units that may not be permuted; inputs, outputs, positions and tokens are none.
    """

    groups: tuple[Group, ...]
    fixed: tuple[tuple[str, int, str], ...]
    source: str
    kept: tuple[Kept, ...] = ()

    @property
    def sentence(self) -> str:
        """What may be moved, and what not."""
        count, units = len(self.groups), sum(group.units for group in self.groups)
        return f"{count} group{'s' * (count != 1)} of {units:,} unit{'s' * (units != 1)} may be moved ({self.source}); {self.left}"

    @property
    def left(self) -> str:
        """Which hidden units are not permuted, how many and why."""
        if self.source != "traced":
            return "units outside the given groups are not looked at"
        if not self.kept:
            return "no group of hidden units is left out"
        reasons: dict[str, list[Kept]] = {}
        for one in self.kept:
            reasons.setdefault(one.reason, []).append(one)
        said = []
        for reason, own in reasons.items():
            names = list(dict.fromkeys(one.name for one in own))
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            count = sum(one.units for one in own)
            said.append(f"{count:,} unit{'s' * (count != 1)} of {', '.join(names[:3])}{more} ({reason})")
        return f"not permuted: {'; '.join(said)}"

    @classmethod
    def traced(cls, states: StateSurface, *, scaling: bool = False) -> Specification:
        """Found by watching the network run.

        Args:
            states: the network.
            scaling: which units may be rescaled, instead of permuted.
        """
        seen = trace(states, scaling=scaling)
        found: dict[int, list[Axis]] = {}
        fixed, kept = [], dict[int, list[tuple[str, int, int, str]]]()
        for name, dims in seen.axes.items():
            for k, dim in enumerate(dims):
                for label, axis in _axes(seen, name, k, dim):
                    reason = seen.labels.fixed(label)
                    if reason is None:
                        found.setdefault(label, []).append(axis)
                    else:
                        fixed.append((name, k, reason))
                        if reason not in _ENDS and not scaling:
                            first = kept.setdefault(label, [(name, k, 0, reason)])
                            if first[0][:2] == (name, k):  # further places along the same axis, as those of gates
                                first.append((name, k, axis.units, reason))
        taken, taps = set[str](), _taps(seen)
        several = {(n, k) for n, dims in seen.axes.items() for k, dim in enumerate(dims) if len(_labels(seen, dim)) > 1}
        named = {
            label: Group(_name(axes, taken, several), axes[0].units, tuple(axes), tuple(taps.get(label, ())))
            for label, axes in found.items()
        }
        within = {} if scaling else outer_labels(seen, found)
        groups = nested(
            list(named.values()),
            {named[inner].name: named[outer].name for inner, outer in within.items()},
            partial(_hold, states),
        )
        return cls(
            groups,
            tuple(dict.fromkeys(fixed)),
            "traced",
            tuple(Kept(own[0][0], sum(n for _, _, n, _ in own), own[0][3]) for own in kept.values()),
        )

    @classmethod
    def given(cls, states: StateSurface, spec: Given) -> Specification:
        """As the user writes it: names of permutations to (parameter, axis) or (parameter, axis, outer, inner).

        Raises:
            InputError: where it does not fit the network's parameters.
        """
        expected = (
            "a mapping of names to lists of (parameter, axis), such as {'hidden': [('0.weight', 0), ('2.weight', 1)]}"
        )
        shapes = {block.name: block.shape for block in states.layout.blocks}
        groups = []
        for name, entries in _checks.instance("spec", spec, Mapping, expected).items():
            _checks.instance(f"spec[{name!r}]", entries, (list, tuple), expected)
            units = min((_length(shapes, name, entry) for entry in entries), default=0)
            if units < 1:
                raise InputError(f"the permutation {name!r} acts on no axis; expected a list of (parameter, axis).")
            axes = []
            for entry in entries:
                length = _length(shapes, name, entry)
                outer, inner = (entry[2], entry[3]) if len(entry) == 4 else (1, length // units)
                if outer * units * inner != length:
                    raise InputError(
                        f"the permutation {name!r} of {units} units does not fit axis {entry[1]} of {entry[0]!r}, which is "
                        f"{length} long; expected a multiple of {units}, or (parameter, axis, outer, inner) with outer · "
                        f"{units} · inner = {length}. Check the specification."
                    )
                axes.append(Axis.block(entry[0], entry[1] % len(shapes[entry[0]]), outer, units, inner))
            groups.append(Group(name, units, tuple(axes)))
        return cls(tuple(groups), (), "given")

    def permuted(self, tensors: Mapping[str, Tensor], orders: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors with the permutations applied; unit i of the result is unit order[i]."""
        found = dict(tensors)
        for group in self.groups:
            if group.name in orders:
                for axis in (axis for axis in group.axes if axis.name in found):
                    found[axis.name] = axis.permuted(found[axis.name], orders[group.name])
        return found

    def scaled(self, tensors: Mapping[str, Tensor], scales: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors with units rescaled: made times s, read divided by s."""
        found = dict(tensors)
        for group in self.groups:
            if group.name in scales:
                for axis in group.axes:
                    found[axis.name] = axis.scaled(found[axis.name], scales[group.name])
        return found

    def random(self, generator: torch.Generator) -> Permutations:
        """A uniform permutation of every group."""
        return {group.name: torch.randperm(group.units, generator=generator) for group in self.groups}

    def identity(self) -> Permutations:
        """No permutation."""
        return {group.name: torch.arange(group.units) for group in self.groups}

    def require_groups(self, what: str, name: str) -> None:
        """Refuse a network in which nothing can be permuted, and say why.

        Raises:
            ModelError: with the reasons that were found.
        """
        if self.groups:
            return
        reasons: dict[str, list[str]] = {}
        for parameter, axis, reason in self.fixed:
            reasons.setdefault(reason, []).append(f"{parameter} axis {axis}")
        listed = "; ".join(
            f"{', '.join(where[:2])}{f' and {len(where) - 2} more' if len(where) > 2 else ''}: {reason}"
            for reason, where in reasons.items()
        )
        raise ModelError(
            f"no units of {name!r} can be {what} without changing its function ({listed}). Expected hidden units: axes that "
            "one weight makes and another reads. If the network has some, give spec={name: [(parameter, axis), …]}, or "
            "(parameter, axis, outer, inner) where units lie within an axis, as those of the gates of a recurrent layer."
        )


def _axes(seen: Trace, name: str, axis: int, dim: Dim) -> list[tuple[int, Axis]]:
    """The labels of one axis with their places in it."""
    length = seen.labels.size(dim)
    return [(label, Axis(name, axis, places, length, sign)) for (label, sign), places in seen.labels.places(dim)]


def _hold(states: StateSurface, groups: Sequence[Group]) -> bool:
    """Whether permuting groups at random changes no output, at a point at which no two units are alike."""
    outputs = Probe(StateSurface(states.base, outputs=True, limit=EXAMPLES))
    generator = torch.Generator().manual_seed(0)
    assert states.start is not None
    point = states.start.clone()
    noise = torch.randn(states.parameters, generator=generator, dtype=torch.float64)
    point[: states.parameters] += NOISE * noise.to(point)
    tried = Specification(tuple(groups), (), "traced")
    moved = states.join(tried.permuted(states.split(point), tried.random(generator)))
    return compare(outputs, point, moved).holds


def _labels(seen: Trace, dim: Dim) -> set[int]:
    return seen.labels.members(dim)


def _name(axes: list[Axis], taken: set[str], several: set[tuple[str, int]]) -> str:
    """That of the first weight that makes the units; told apart where it makes several kinds of them."""
    first = next((axis for axis in axes if axis.axis == 0), axes[0])
    name = first.name.removesuffix(".weight").removesuffix(".bias") + ("" if first.axis == 0 else f"[{first.axis}]")
    if (first.name, first.axis) in several:
        name += f" ({first.units} units of {first.places.shape[1]} from {first.places.min()})"
    while name in taken:
        name += "′"
    taken.add(name)
    return name


def _taps(seen: Trace) -> dict[int, list[Tap]]:
    """By label, the module outputs in which its units are seen, and nothing else that may be permuted."""
    found: dict[int, list[Tap]] = {}
    for name, dims in seen.taps:
        own = [(label, axis) for k, dim in enumerate(dims) for label, axis in _axes(seen, name, k, dim)]
        free = [(label, axis) for label, axis in own if not seen.labels.fixed(label)]
        if len(free) == 1:
            size = math.prod(seen.labels.size(dim) for dim in dims[1:])
            found.setdefault(free[0][0], []).append(Tap(free[0][1], size))
    return found


def _length(shapes: Mapping[str, tuple[int, ...]], name: str, entry: Sequence[Any]) -> int:
    fits = isinstance(entry, list | tuple) and len(entry) in (2, 4) and entry[0] in list(shapes)
    fits = fits and all(isinstance(part, int) and not isinstance(part, bool) for part in entry[1:])
    if not (fits and -len(shapes[entry[0]]) <= entry[1] < len(shapes[entry[0]])):
        known = ", ".join(list(shapes)[:4])
        raise InputError(
            f"the entry {_checks.shown(entry)} of the permutation {name!r} is no axis of the network; expected (parameter, axis) or "
            f"(parameter, axis, outer, inner) with parameters such as {known}. Check the specification."
        )
    return int(shapes[entry[0]][entry[1]])
