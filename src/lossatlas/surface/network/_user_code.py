"""What a user's own code raises, passed on as what it is, with one line that names the batch and the point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lossatlas._errors import DataError, LossAtlasError, ModelError
from lossatlas.surface.network._data import Batch, describe

_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@contextmanager
def in_user_code(
    batch: Batch,
    number: int,
    count: int,
    place: str | Callable[[], str],
    *,
    backward: bool = False,
    keep: Any = (),
) -> Iterator[None]:
    """Errors of the user's code arrive as one of ours that is one of theirs too, with their traceback as its cause.

    Args:
        batch: what the code is run on.
        number: of the batch, from 0.
        count: of all batches.
        place: the point, in words, or what gives them where they are wanted.
        backward: whether it is the backward pass.
        keep: types that are left as they are.
    """
    try:
        yield
    except LossAtlasError:
        raise
    except Exception as error:
        if keep and isinstance(error, keep):
            raise
        where = place() if callable(place) else place
        raise both(error, _paragraph(error, batch, number, count, where, backward)) from error


def both(error: Exception, message: str) -> Exception:
    """An error of ours with this message that an ``except`` for the user's own type catches as well."""
    ours = DataError if isinstance(error, RuntimeError | TypeError | ValueError | LookupError) else ModelError

    def text(self: Exception) -> str:
        return message

    try:
        kind: Any = type(ours.__name__, (ours, type(error)), {"__str__": text, "__module__": ours.__module__})
        made: Exception = kind.__new__(kind)
        made.args = (message,)
    except TypeError:  # types whose objects are laid out differently, as OSError's are
        return ours(message)
    return made


def _paragraph(error: Exception, batch: Batch, number: int, count: int, place: str, backward: bool) -> str:
    said = " ".join(str(error).split()) or "no message"
    said = said if len(said) <= 300 else said[:297] + "…"
    which = f"batch {number + 1} of {count}" if count > 1 else "the data"
    step = "the backward pass of the model and loss" if backward else "the model and loss"
    return (
        f"{step} could not be run on {which} ({describe(batch)}) {place}: {type(error).__name__}: {said.rstrip('.')}. "
        f"{_advice(error, said, backward)}"
    )


def _advice(error: Exception, said: str, backward: bool) -> str:
    """What to do, for the causes that can be told from the error itself."""
    low = said.lower()
    if isinstance(error, MemoryError) or any(words in low for words in _MEMORY):
        return (
            "Expected a batch that fits into memory. Give a smaller batch_size, or a DataLoader with smaller batches."
        )
    if "inplace operation" in low or "in-place operation" in low or "leaf variable" in low or "leaf view" in low:
        return "Expected a forward that does not write into its parameters or into what the backward pass needs."
    if "target" in low and "out of bounds" in low:
        return "Expected class numbers from 0 up to the number of outputs, or -100 for labels to be ignored. Check the labels."
    if "scalar type" in low or "dtype" in low or "not implemented for" in low:
        return (
            "Expected inputs and targets of the types that the model and the loss take. Convert them, for example with "
            ".long() or .float()."
        )
    if isinstance(error, TypeError) and "positional argument" in low and "forward" in low:
        return (
            "Expected as many inputs as the model's forward takes: data=(x, z, target) for two, or objective=f with f(model, batch) → "
            "loss, which calls the model as it likes."
        )
    if "device" in low and ("cuda" in low or "cpu" in low):
        return (
            "Expected model and data on devices that fit together. Move the model, or let its forward move its inputs."
        )
    if backward:
        return "Expected a loss that can be differentiated there. Call loss.backward() on this batch to see the same error."
    if not isinstance(error, RuntimeError | TypeError | ValueError | LookupError | AssertionError):
        return "Expected a model and loss that return at every point. The traceback of your own error is the cause of this one."
    return "Expected inputs of the shape that the model takes, and targets that fit its output and the loss."
