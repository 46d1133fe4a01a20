"""What evaluations of a network take on each device, by arithmetic and by one pass of a few of its examples."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from lossatlas.surface.network import _nested
from lossatlas.surface.network._batch import Batch
from lossatlas.surface.network._reference import Reference


def taken(
    reference: Reference, batches: Sequence[Batch], small: Sequence[Batch], at_once: tuple[int, int, int]
) -> dict[str, int]:
    """Bytes by device: the user's model, θ, the data, and copies, points and activations of what is evaluated at a time.

    Activations are those of a few examples, a multiple of the largest of their tensors, times how many more the largest batch holds.

    Args:
        reference: the user's model.
        batches: the data.
        small: a few of them, which are run once.
        at_once: points θ that are held, copies that are bound, and passes that run, at a time.
    """
    model, theta, found = reference.model, reference.theta, Counter[str]()
    given = (one for batch in batches for one in _nested.tensors(batch.given))
    seen: set[int] = set()
    for one in itertools.chain(model.parameters(), model.buffers(), [theta], given):
        storage = one.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            found[str(one.device)] += _size(one)
    points, copies, passes = at_once
    found[str(theta.device)] += (points + copies) * _size(theta)
    few = sum(reference.bytes_of(batch) for batch in small) / sum(batch.size for batch in small)
    found[str(theta.device)] += round(passes * few * max(batch.size for batch in batches))
    return dict(found)


def _size(one: Tensor) -> int:
    return one.numel() * one.element_size()
