"""Units within units: the numbers within each attention head may be put in an order of that head's own.

Watching tells that one order for the numbers within all heads leaves the function as it is. Where these numbers never
appear but within their heads, each head may have an order for itself (a wreath product): that is tried, and kept if it
holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lossatlas.connect.symmetry._trace import Trace

if TYPE_CHECKING:
    from lossatlas.connect.symmetry._specification import Axis, Group


def outer_labels(seen: Trace, axes: Mapping[int, Sequence[Axis]]) -> dict[int, int]:
    """For labels that may be free within another one: which.

    Args:
        seen: what was seen.
        axes: by label that may be permuted, where it lies in the parameters.
    """
    with_it: dict[int, set[int]] = {}
    for held in seen.held:
        for label in held & axes.keys():
            with_it[label] = with_it[label] & held if label in with_it else set(held)
    found: dict[int, int] = {}
    for label, others in with_it.items():
        for other in sorted((others & axes.keys()) - {label}):
            both = label in with_it.get(other, set())  # each within the other: the slower one is the outer one
            if other in found or label in found.values() or (both and _stride(axes[other]) < _stride(axes[label])):
                continue
            if _within(axes[label], axes[other]):
                found[label] = other
                break
    return found


def split(inner: Group, outer: Group) -> list[Group]:
    """One group for each unit of the outer one, of the units within that."""
    found = []
    for slot in range(outer.units):
        axes = []
        for axis in inner.axes:
            own = np.concatenate([o.places[slot] for o in outer.axes if (o.name, o.axis) == (axis.name, axis.axis)])
            places = [row[np.isin(row, own)] for row in axis.places]
            if len(places[0]):
                axes.append(replace(axis, places=np.stack(places)))
        found.append(
            replace(
                inner,
                name=f"{inner.name}, {slot + 1} of {outer.units}",
                axes=tuple(axes),
                taps=(),
                within=(outer.name, slot),
            )
        )
    return found


def nested(
    groups: Sequence[Group], within: Mapping[str, str], holds: Callable[[Sequence[Group]], bool]
) -> tuple[Group, ...]:
    """Split every group that lies within another one, if that holds; outer ones first.

    Args:
        groups: as they were found.
        within: by name of a group, that of the one it lies within.
        holds: whether permuting the split groups at random leaves the function as it is.
    """
    named = {group.name: group for group in groups}
    parts = {name: split(named[name], named[outer]) for name, outer in within.items()}
    parts = {name: own for name, own in parts.items() if all(len(part.axes) for part in own)}
    if parts and not holds([part for own in parts.values() for part in own]):
        parts = {name: own for name, own in parts.items() if holds(own)}
    kept = [group for group in groups if group.name not in parts]
    return (*kept, *(part for own in parts.values() for part in own))


def _stride(axes: Sequence[Axis]) -> int:
    return int(axes[0].places[1, 0] - axes[0].places[0, 0])


def _within(inner: Sequence[Axis], outer: Sequence[Axis]) -> bool:
    """Whether every place of the inner units is one of the outer ones too, with all inner units in each outer one."""
    for axis in inner:
        over = [o for o in outer if (o.name, o.axis) == (axis.name, axis.axis)]
        if not over or not np.isin(axis.places, np.concatenate([o.places.ravel() for o in over])).all():
            return False
        for slot in range(over[0].units):
            own = np.concatenate([o.places[slot] for o in over])
            if len(set(np.isin(axis.places, own).sum(1).tolist())) != 1:
                return False
    return True
