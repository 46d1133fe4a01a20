"""Reading what gives data one item at a time: once, under fixed seeds, with errors that name the item."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from lossatlas._errors import DataError
from lossatlas.surface._caption import Caption
from lossatlas.surface.network import _nested
from lossatlas.surface.network._batch import Batch, fields
from lossatlas.surface.network._collate import plain
from lossatlas.surface.network._digest import digest_of, shapes
from lossatlas.surface.network._private import private
from lossatlas.surface.network._randomness import OTHER_SEED, SEED, seeded
from lossatlas.surface.network._rows import has_edges, has_no_rows

_T = TypeVar("_T")
# What may be read of an iterable whose length nobody has stated.
MOST_EXAMPLES, MOST_BYTES = 2**20, 2**32


def guarded(items: Iterable[Any], source: str, what: str) -> Generator[Any]:
    """The items, where the user's own exceptions arrive as ours, each with its cause and the number of its item.

    Args:
        items: to be iterated once.
        source: what they come from, for messages.
        what: "item" or "batch".

    Raises:
        DataError: for any exception while an item is read.
    """
    number, iterator = 0, None
    try:
        iterator = iter(items)
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                return
            yield item
            number += 1
    except DataError:
        raise
    except Exception as error:
        raise DataError(reason(error, f"{what} {number} of the {source}")) from error
    finally:
        # Workers that were started for this reading end with it, not when a traceback is thrown away.
        stop = getattr(iterator, "_shutdown_workers", None)
        if stop is not None:
            stop()


def reason(error: Exception, where: str) -> str:
    """One paragraph for an exception that reading the user's data raised."""
    said = " ".join(str(error).split())
    ragged = "stack expects each tensor to be equal size" in said or "different lengths" in said
    unread = isinstance(error, TypeError) and "default_collate" in said
    advice = "Fix the dataset; the exception above this one shows where."
    if ragged:
        advice = "The samples have different shapes: give the DataLoader a collate_fn that pads them, or batch_size=1."
    elif unread:
        advice = "Turn the samples into tensors, or give the DataLoader a collate_fn that does."
    return (
        f"{where} could not be read: {type(error).__name__}{': ' + said if said else ''}. Expected data that can be read "
        f"from beginning to end. {advice}"
    )


def once(
    source: Any,
    items: Callable[[], Generator[Any]],
    consume: Callable[[Iterator[Any]], _T],
    first: int,
    device: torch.device,
) -> tuple[_T, tuple[str, ...]]:
    """Read data once under a fixed seed, and see by their first items whether the seed, or each reading, changes them.

    Args:
        source: a loader or dataset, whose own random generators are fixed too.
        items: begins a reading.
        consume: makes what is wanted of all items.
        first: how many items are read twice more; 0 for data that can be read only once.
        device: that data may be made on.

    Returns:
        What `consume` made, and a note where another seed gives other data.

    Raises:
        DataError: if the same seed gives other data.
    """
    seen: list[str] = []

    def watched() -> Generator[Any]:
        for item in items():
            if len(seen) < first:
                seen.append(digest_of(item))
            yield item

    def again(seed: int) -> list[str]:
        with seeded(seed, source, device), closing(items()) as reading:
            return [digest_of(item) for item in itertools.islice(reading, len(seen))]

    with seeded(SEED, source, device), closing(watched()) as reading:
        found = consume(reading)
    if not seen:
        return found, ()
    if again(SEED) != seen:
        whole = "list(data)" if isinstance(source, DataLoader) else "[data[k] for k in range(len(data))]"
        raise DataError(
            f"the {type(source).__name__} gives other data each time it is read, even under the same seed of torch, NumPy "
            "and random; expected the same, as a loss surface is fixed by its data. It may shuffle or augment by a random "
            "generator of its own, or go on where it stopped: write shuffle=False, give a dataset without random "
            f"augmentation, or give {whole}, which is read once and stays."
        )
    return found, () if again(OTHER_SEED) == seen else (Caption(_moves(source)),)


def classified(items: list[Any]) -> str:
    """Whether the items of a list or an iterable are ``batches`` or ``samples``, by their structure alone.

    An item is a batch if all its tensors have the same number of rows, or if it holds a sign that it has no rows
    (`without_rows`). It is a sample if its target is a number or a tensor without dimensions, if it holds numbers only,
    or if its tensors differ in their first sizes while all items have the same shapes. What could be both (every
    tensor of an item has the same first size) is read as a batch.

    Raises:
        DataError: for one item that could be a sample or a batch with a constant target.
    """
    forms = [_form(item) for item in items]
    # Items of one form are of one kind.
    kinds = [_kind(item) for item in dict(zip(forms, items, strict=True)).values()]
    if "sample" in kinds:
        if len(items) == 1 and any(t.ndim > 1 for t in _nested.tensors(items[0])):
            raise DataError(
                f"got one item of the form {shapes(items[0])}, whose target has no rows; expected samples or batches, and "
                "this could be either. For one sample give the tensors with a first dimension of 1, as in (x[None], "
                "y[None]); for a batch give a target with one row per example, or None."
            )
        return "samples"
    if "mixed" in kinds and len(items) > 1 and len(kinds) == 1:
        return "samples"
    return "batches"


def count_of(item: Any) -> int:
    """How many examples an item of an iterable holds."""
    item = plain(item)
    return Batch.of(item).size if _kind(item) in ("batch", "graph") else 1


def endless(data: Any) -> bool:
    """Whether an iterator of itertools never ends."""
    return isinstance(data, itertools.cycle | itertools.count) or (
        isinstance(data, itertools.repeat) and "," not in repr(data).rsplit(")", 2)[-2]
    )


def gathered(
    items: Iterable[Any],
    source: str,
    counted: Callable[[Any], int],
    device: torch.device,
    *,
    most: int | None,
    ends: bool,
) -> list[Any]:
    """The items of an iterable as private copies, up to so many examples.

    Args:
        items: to be iterated once.
        source: what they come from, for messages.
        counted: how many examples an item holds.
        device: for the copies.
        most: examples to read; None for all.
        ends: whether it is known to end.

    Raises:
        DataError: if it goes on for longer than anyone means who does not say so.
    """
    found: list[Any] = []
    total = held = 0
    for item in items:
        found.append(private(item, device))
        total += counted(found[-1])
        if most is not None and total >= most:
            break
        held += sum(t.numel() * t.element_size() for t in _nested.tensors(found[-1]) if not t.is_nested)
        if not ends and most is None and (total > MOST_EXAMPLES or held > MOST_BYTES):
            raise DataError(
                f"the {source} gave {total:,} examples ({held / 2**30:.1f} GiB) and did not end; expected data of a known "
                "length. State how many examples to read, for example examples=10000."
            )
    return found


def _kind(item: Any) -> str:
    target = fields(item).target
    if has_no_rows(item) or has_edges(item, target):
        return "graph"
    tensors = list(_nested.tensors(item))
    if not tensors or all(t.ndim == 0 for t in tensors):
        return "sample"
    bare = isinstance(target, torch.Tensor) and target.ndim == 0
    if bare or (isinstance(target, int | float | complex) and not isinstance(target, str)):
        return "sample"
    try:
        return "batch" if Batch.of(item).rows_known else "mixed"
    except DataError:
        return "mixed"


def _form(item: Any) -> tuple[Any, ...]:
    """Keys, types and shapes of a structure."""
    found = _nested.parts(item)
    if found is not None:
        return (type(item).__name__, *((key, _form(inner)) for key, inner in found))
    return (tuple(item.shape), item.dtype) if isinstance(item, torch.Tensor) else (type(item).__name__,)


def _moves(source: Any) -> str:
    name = type(source).__name__
    if isinstance(source, DataLoader):
        kind = type(getattr(source, "sampler", None)).__name__
        if kind == "SequentialSampler":
            return (
                f"The {name}'s data are drawn at random (augmentation): this surface is of the one draw that seed {SEED} "
                "gives, not of the mean over draws; its order does not shuffle. Give a dataset without random "
                "augmentation for the loss of the data themselves."
            )
        return (
            f"The {name} shuffles (or augments) its data: they were read once, in the order and draw that seed {SEED} gives, "
            "which is not that of your training; the same command gives the same surface. Write shuffle=False for the "
            "order of the dataset itself."
        )
    return (
        f"The {name} gives random data (it augments, or shuffles): this surface is of the one draw that seed {SEED} gives. "
        "Give a dataset without random augmentation, and shuffle=False, for the loss of the data themselves."
    )
