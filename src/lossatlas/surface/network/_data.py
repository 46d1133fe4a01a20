"""The user's data, whatever their form, as a fixed tuple of batches that stay on the device.

Forms:

* tensors or arrays ``(X, y)``, longer tuples, a dictionary of them, nested structures, one graph: one batch, which the
  surface may cut if every part has rows;
* a `Dataset` (map-style or iterable), anything with ``len`` and ``[k]`` (Hugging Face datasets), a list of samples:
  samples, stacked to one batch;
* a `DataLoader`, a list, generator or other iterable of batches: those batches.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from lossatlas import _checks
from lossatlas._errors import DataError
from lossatlas.surface._caption import Caption
from lossatlas.surface.network import _nested
from lossatlas.surface.network._batch import TARGET_KEYS, Batch, cut, describe, digest, join, subset
from lossatlas.surface.network._collate import collated, plain
from lossatlas.surface.network._digest import shapes
from lossatlas.surface.network._forms import WANTED, has_numbers, is_record, listed, refuse
from lossatlas.surface.network._private import moved, private
from lossatlas.surface.network._randomness import untouched_randomness
from lossatlas.surface.network._read import classified, count_of, endless, gathered, guarded, once, reason
from lossatlas.surface.network._rows import has_no_rows

__all__ = [
    "ELEMENTS_PER_BATCH",
    "TARGET_KEYS",
    "Batch",
    "Data",
    "cut",
    "describe",
    "digest",
    "join",
    "load",
    "moved",
    "subset",
    "untouched_randomness",
]

ELEMENTS_PER_BATCH = 2**19
# Items of a dataset, and batches of a loader, that are read again to see whether they change.
_PROBED_ITEMS, _PROBED_BATCHES = 4, 1


@final
@dataclass(frozen=True)
class Data:
    """Data that were read.

    Attributes:
        batches: in order.
        whole: whether they are one batch of examples that the surface may cut, and not batches of the user's own.
        notes: what a reader of the surface must know of them, in sentences.
    """

    batches: tuple[Batch, ...]
    whole: bool
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of examples."""
        return sum(batch.size for batch in self.batches)


def load(data: Any, device: torch.device, *, batch_size: int | None = None, examples: int | None = None) -> Data:
    """Read data once and keep it.

    What depends on random numbers (the order of a loader that shuffles, augmentation) is read under a fixed seed; all
    random states, those of loader and dataset too, are as before afterwards. The first items are read twice more, to
    see whether they depend on the seed or change each time.

    A tuple is one record of inputs and target, a list is a sequence: of batches or of samples, by `classified`. What an iterable dataset
    gives are samples. A tuple
    without a tensor of its own whose items are all alike is a sequence too.

    Args:
        data: in one of the forms above.
        device: where the batches are to stay.
        batch_size: what the user gave; checked here, cut elsewhere.
        examples: read at most so many; the last batch is cut. To be stated for data without end.

    Returns:
        The batches; tensors, datasets and samples as one.

    Raises:
        DataError: for no data, tensors of unequal length, samples of different shapes, data that change each time they
            are read, an exception in the user's code, or a form that is none of these.
    """
    batch_size = _checks.optional(_checks.whole, "batch_size", batch_size)
    examples = _checks.optional(_checks.whole, "examples", examples)
    if type(data) is TensorDataset:
        data = tuple(data.tensors)
    found = _read(data, device, examples)
    if not found.batches:
        raise DataError(
            f"the {type(data).__name__} gave no examples; expected at least one. A loss surface is fixed by its data: "
            "give a loader or dataset that is not empty (a generator, or a loader made of one, can be read only once: "
            "make it anew)."
        )
    notes = list(found.notes)
    kept = tuple(batch for batch in found.batches if batch.size)
    if not kept:
        raise DataError("the data hold 0 examples; expected at least one. A loss surface is fixed by its data.")
    if len(kept) < len(found.batches):
        notes.append(f"{len(found.batches) - len(kept)} of {len(found.batches)} batches were empty and are left out.")
    if batch_size is not None and not found.whole and len(kept) > 1:
        notes.append(f"batch_size={batch_size} is not used: the data came in batches of their own, which are kept.")
    if not all(batch.rows_known for batch in kept):
        notes.append("Examples have no rows (a graph, sparse tensors or objects): batches are only used whole.")
    return Data(_limited(kept, examples), found.whole, tuple(notes))


def _read(data: Any, device: torch.device, examples: int | None) -> Data:
    refuse(data)
    if examples is None and endless(data):
        raise DataError(
            f"the {type(data).__name__} never ends; expected data of a known length. State how many examples to read, for "
            "example examples=10000."
        )
    if is_record(data):
        return Data((Batch.of(private(listed(data), device)),), True)
    if isinstance(data, list | tuple | deque):
        return _sequence([private(item, device) for item in data], device, examples)
    if isinstance(data, DataLoader):
        return _loader(data, device, examples)
    if isinstance(data, IterableDataset):
        return _stream(data, device, examples, samples=True)
    if isinstance(data, Dataset) or hasattr(data, "__getitem__"):
        return _dataset(data, device, examples)
    if isinstance(data, Iterable):
        return _stream(data, device, examples, samples=False)
    if _nested.opaque(data) or _nested.parts(data) is not None:
        return Data((Batch.of(private(data, device)),), True)
    raise DataError(f"got data of type {type(data).__name__}; {WANTED}.")


def _sequence(items: list[Any], device: torch.device, examples: int | None, name: str = "list") -> Data:
    """Items that are private copies: batches, or samples to be stacked."""
    if not items:
        return Data((), False)
    read = [plain(item) for item in items]
    if not any(map(has_numbers, read)):
        raise DataError(f"got a {name} whose items hold no tensors and no numbers ({shapes(items[0])}); {WANTED}.")
    if classified(read) == "samples":
        if any(map(has_no_rows, read)):
            return _batches(read, name)
        count = len(read) if examples is None else min(examples, len(read))
        return _stacked(read[:count], count, device, f"the {name}")
    return _batches(read, name)


def _batches(items: list[Any], name: str, what: str = "item") -> Data:
    made = []
    for k, item in enumerate(items):
        try:
            made.append(Batch.of(item))
        except DataError as error:
            raise DataError(f"{what} {k} of the {name}: {error}") from error
    return Data(tuple(made), False)


def _stacked(samples: Iterable[Any], count: int, device: torch.device, name: str) -> Data:
    given = collated(samples, count, device, lambda k: f"item {k} of {name}")
    if given is None:
        return Data((), True)
    if not any(True for _ in _nested.tensors(given)):
        raise DataError(f"the samples of {name} hold no tensors and no numbers ({shapes(given)}); {WANTED}.")
    return Data((Batch.of(given, count),), True)


def _loader(loader: DataLoader[Any], device: torch.device, examples: int | None) -> Data:
    name, collates = type(loader).__name__, loader.batch_sampler is not None
    ends = not isinstance(loader.dataset, IterableDataset)

    def read(batches: Iterator[Any]) -> list[Any]:
        counted = _size if collates else count_of
        return gathered(batches, name, counted, device, most=examples, ends=ends)

    items, notes = once(loader, lambda: guarded(loader, name, "batch"), read, _PROBED_BATCHES, device)
    found = _batches(items, name, "batch") if collates else _sequence(items, device, examples, name)
    if ends and examples is None and getattr(loader, "drop_last", False):
        total = _length(loader.dataset) or 0
        if total > found.size:
            left = total - found.size
            dropped = f"The {name} drops its last batch: {left} of {total} examples are not read."
            notes = (*notes, Caption(dropped))
    return Data(found.batches, found.whole, (*notes, *found.notes))


def _size(item: Any) -> int:
    return Batch.of(item).size


def _dataset(data: Any, device: torch.device, examples: int | None) -> Data:
    name, count = type(data).__name__, examples
    try:
        length = len(data)
        count = length if examples is None else min(examples, length)
    except Exception as error:
        if examples is None:
            raise DataError(
                f"the length of the {name} could not be found ({type(error).__name__}: {error}); expected a dataset with "
                "a length. State how many examples to read, for example examples=10000, or give a DataLoader."
            ) from error
    assert count is not None

    def items() -> Generator[Any]:
        return guarded((data[k] for k in range(count)), name, "item")

    def read(samples: Iterator[Any]) -> Data:
        first = next(samples, None)
        if first is None:
            return Data((), True)
        rest = itertools.chain([first], samples)
        if has_no_rows(first):
            # Graphs and the like cannot be stacked.
            return _batches(gathered(rest, name, lambda _: 1, device, most=count, ends=True), name)
        return _stacked(rest, count, device, f"the {name}")

    found, notes = once(data, items, read, _PROBED_ITEMS, device)
    return Data(found.batches, found.whole, (*notes, *found.notes))


def _stream(data: Any, device: torch.device, examples: int | None, *, samples: bool) -> Data:
    """An iterable of samples, or of samples or batches."""
    name = type(data).__name__
    try:
        first = iter(data)
        # What is its own iterator, or hands out one and the same, can be read only once.
        single = first is data or iter(data) is first
    except Exception as error:
        raise DataError(reason(error, f"the first item of the {name}")) from error
    begun: list[Any] = [first]
    ends, limit = _length(data), examples

    def items() -> Generator[Any]:
        reading = begun.pop() if begun and single else data
        return guarded(_some(reading, ends), name, "item")

    def read(found: Iterator[Any]) -> list[Any]:
        counted: Callable[[Any], int] = (lambda _: 1) if samples else count_of
        return gathered(found, name, counted, device, most=limit, ends=ends is not None)

    given, notes = once(data, items, read, 0 if single else _PROBED_ITEMS, device)
    if samples and given and not any(map(has_no_rows, given)):
        made = _stacked(given, len(given), device, f"the {name}")
    else:
        made = _sequence(given, device, examples, name)
    return Data(made.batches, made.whole, (*notes, *made.notes))


def _length(data: Any) -> int | None:
    if isinstance(data, IterableDataset):
        return None
    try:
        return len(data)
    except Exception:
        return None


def _some(items: Iterable[Any], most: int | None) -> Iterator[Any]:
    """The items, no more than their number is said to be."""
    for k, item in enumerate(items):
        yield item
        if most is not None and k + 1 >= most:
            return


def _limited(batches: tuple[Batch, ...], examples: int | None) -> tuple[Batch, ...]:
    """The first examples, copied where a batch is cut, so that the rest is not kept."""
    kept: list[Batch] = []
    room = examples
    for batch in batches:
        if room is None or batch.size <= room:
            kept.append(batch)
            room = None if room is None else room - batch.size
        elif room > 0:
            if not batch.rows_known:
                raise DataError(
                    f"examples={examples} ends inside of a batch without rows ({describe(batch)}), which cannot be cut; "
                    f"expected a number of whole batches. Give examples={sum(b.size for b in kept) or batch.size}."
                )
            kept.append(batch.rows(torch.arange(room)))
            room = 0
    return tuple(kept)
