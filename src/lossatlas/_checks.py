"""Checks of plain arguments: whole numbers, numbers, flags, seeds. Each returns the value as Python's own type.

NumPy's integers and floats are numbers like Python's; ``True`` is no number, and a number is no flag. Every refusal
says what was given, what was expected, and, where ``do`` is given, what to do.
"""

from __future__ import annotations

import math
import operator
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

from lossatlas._errors import InputError, UnknownNameError

# What NumPy and torch can count, and seed with.
MOST = 2**63 - 1
# Evaluations of one call: at a microsecond each, a quarter of an hour; nothing that is meant takes more.
MOST_WORK = 10**9
# Entries that are drawn or held at once: a gigabyte of doubles.
MOST_HELD = 2**27
# Parameters of a landscape, whose bounds and minima are lists.
MOST_DIMENSIONS = 10**6
# Bytes of a name and of a path: the least that file systems in use allow.
LONGEST_NAME, LONGEST_PATH = 255, 4095
T = TypeVar("T")


def whole(name: str, value: Any, least: int = 1, most: int | None = None, *, where: str = "", do: str = "") -> int:
    """A whole number of at least `least` and at most `most`.

    Args:
        name: of the argument.
        value: any integer, or a float without a fraction.
        least: the smallest that is allowed.
        most: the largest that is allowed, or None for all below 2⁶³.
        where: the function or object that was given it, for the message.
        do: a sentence on what to do, for the message.

    Raises:
        InputError: for anything else.
    """
    found = _whole(value)
    if found is None or found < least or found > (MOST if most is None else most):
        large = most is None and found is not None and found > MOST
        raise _refusal(where, name, value, f"a whole number {_range(least, most)}{' and below 2⁶³' * large}", do)
    return found


def work(
    where: str, counts: Mapping[str, int], *, most: int = MOST_WORK, what: str = "evaluations", do: str = ""
) -> int:
    """How much is to be done: the product of counts, which is foreseen before anything is.

    Args:
        where: the function that was called, for the message.
        counts: whole numbers that were checked, by name.
        most: from here on it is too much.
        what: there is so much of, for the message.
        do: a sentence on what to do, for the message.

    Raises:
        InputError: from `most` on.
    """
    found = math.prod(counts.values())
    if found >= most:
        given = " and ".join(f"{name}={count:,}" for name, count in counts.items())
        times = f": {found:,} {what}" if len(counts) > 1 else f" {what}"
        raise InputError(
            f"{where} got {given}{times}; expected fewer than {most:,}. "
            f"{do or 'Take fewer, or several calls with seeds of their own.'}"
        )
    return found


def number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    where: str = "",
    do: str = "",
) -> float:
    """A finite number between bounds.

    Args:
        name: of the argument.
        value: any real number that is not a flag.
        least: the smallest that is allowed.
        most: the largest that is allowed.
        above: what it must be larger than.
        below: what it must be smaller than.
        where: the function or object that was given it, for the message.
        do: a sentence on what to do, for the message.

    Raises:
        InputError: for anything else.
    """
    found = _real(value)
    fits = found is not None and math.isfinite(found)
    if found is not None:
        fits = fits and (least is None or found >= least) and (most is None or found <= most)
        fits = fits and (above is None or found > above) and (below is None or found < below)
    if not fits or found is None:
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("of at least", least), ("above", above), ("of at most", most), ("below", below))
            if bound is not None
        ]
        raise _refusal(where, name, value, " ".join(["a finite number", " and ".join(bounds)]).strip(), do)
    return found


def flag(name: str, value: Any, *, where: str = "") -> bool:
    """True or False, and nothing that merely counts as one.

    Raises:
        InputError: for anything else.
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):  # NumPy's, without importing it
        return bool(value)
    raise _refusal(where, name, value, "True or False", "")


def seed(value: Any, name: str = "seed", *, where: str = "") -> int:
    """A seed: a whole number in [0, 2⁶³).

    Raises:
        InputError: for anything else.
    """
    found = _whole(value)
    if found is None or not 0 <= found <= MOST:
        raise _refusal(where, name, value, "a whole number of at least 0 and below 2⁶³", "")
    return found


def instance(name: str, value: Any, kind: Any, expected: str, *, where: str = "", do: str = "") -> Any:
    """An object of a kind, as it is.

    Args:
        name: of the argument.
        value: what was given.
        kind: a class, or several.
        expected: the kind in words, for the message.
        where: the function or object that was given it, for the message.
        do: a sentence on what to do, for the message.

    Raises:
        InputError: for anything else.
    """
    if isinstance(value, kind):
        return value
    raise _refusal(where, name, value, expected, do)


def text(name: str, value: Any, *, where: str = "") -> str:
    """A text, as it is.

    Raises:
        InputError: for anything else.
    """
    if isinstance(value, str):
        return value
    raise _refusal(where, name, value, "a text", "")


def function(name: str, value: Any, expected: str, *, where: str = "") -> Any:
    """Something that can be called, and is no class.

    Raises:
        InputError: for anything else.
    """
    if callable(value) and not isinstance(value, type):
        return value
    raise _refusal(where, name, value, expected, "")


def tensor(
    name: str, value: Any, width: int | None = None, *, where: str = "", error: type[InputError] = InputError
) -> Any:
    """A tensor of real numbers that are there: dense, and on a device that holds them.

    Args:
        name: of the argument.
        value: what was given.
        width: the numbers in each row, where rows (B, width) are wanted.
        where: the function or object that was given it, for the message.
        error: the class of the refusal.

    Raises:
        InputError: for anything else.
    """
    import torch

    kind = (
        shown(value) if not isinstance(value, torch.Tensor)
        else "a meta tensor, without numbers" if value.is_meta
        else "a nested tensor" if value.is_nested
        else "a quantized tensor" if value.is_quantized
        else f"a sparse tensor ({value.layout})" if value.layout is not torch.strided
        else f"a tensor of type {value.dtype}" if value.dtype == torch.bool or value.is_complex()
        else f"a tensor of shape {tuple(value.shape)}" if width is not None and (value.ndim != 2 or value.shape[1] != width)
        else ""
    )  # fmt: skip
    if kind:
        rows = (
            ""
            if width is None
            else f" of shape (B, {width}), one row per point or vector. A single one, p, goes in as p[None]"
        )
        raise error(f"{where + ' ' if where else ''}got {name}={kind}; expected a tensor of real numbers{rows}.")
    return value


def path(name: str, value: Any, *, where: str = "", error: type[InputError] = InputError) -> Path:
    """A path that was given as text or as a `pathlib.Path`.

    Raises:
        InputError: for anything else.
    """
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    said = where + " " if where else ""
    if not isinstance(found, str):
        raise error(f"{said}got {name}={shown(value)}; expected a path. Give it as text or as a pathlib.Path.")
    try:
        parts = os.fsencode(found).split(os.fsencode(os.sep))
    except UnicodeEncodeError:
        raise error(f"{said}got {name}={found!r}; expected a path, whose characters all have an encoding.") from None
    longest = max(map(len, parts))
    if longest > LONGEST_NAME or sum(map(len, parts)) + len(parts) > LONGEST_PATH or "\0" in found:
        what = "a zero byte in it" if "\0" in found else f"{len(found):,} characters, {longest:,} bytes in one name"
        raise error(
            f"{said}got {name}={_short(found)!r} with {what}; expected a path of at most {LONGEST_PATH} bytes whose names are at "
            f"most {LONGEST_NAME} bytes long. Shorten it."
        )
    return Path(found)


def listed(name: str, value: Any, expected: str, *, where: str = "", error: type[InputError] = InputError) -> list[Any]:
    """What an iterable holds, in order.

    Args:
        name: of the argument.
        value: anything that can be iterated over and is no text.
        expected: what it holds, for the message.
        where: the function or object that was given it, for the message.
        error: the class of the refusal.

    Raises:
        InputError: for what cannot be iterated over.
    """
    row = isinstance(value, Iterable) and not isinstance(value, str | bytes) and not getattr(value, "is_nested", False)
    if row and getattr(value, "ndim", 1) != 0:
        return list(value)
    raise error(f"{where + ' ' if where else ''}got {name}={shown(value)}; expected {expected}.")


def one_of(kind: str, name: T, known: Collection[str]) -> T:
    """A name that is known, as it is.

    Args:
        kind: what is looked up, for the message, for example ``"optimizer"``.
        name: what was given.
        known: the names there are.

    Raises:
        UnknownNameError: for any other, or what is no name; the nearest is suggested.
    """
    if not isinstance(name, str) or name not in known:
        raise UnknownNameError(kind, name if isinstance(name, str) else shown(name), known)
    return name


def is_stream(path: Path) -> bool:
    """Whether a path leads to what cannot be replaced by a file: a device, a pipe, a socket, or a stream that is open.

    ``/dev/stdout`` and ``/proc/self/fd/1`` are streams even where what is behind them is a regular file, which holds more
    than the one result.
    """
    here = Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow the links)
    try:
        mode = os.stat(here).st_mode  # noqa: PTH116
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return True
        while here.is_symlink():
            if here.parts[1:2] in (("dev",), ("proc",)):
                return True
            here = Path(os.path.abspath(here.parent / here.readlink()))  # noqa: PTH100
        # A folder on the way may be the link: /dev/fd leads to /proc/self/fd.
        resolved = here.parent.resolve()
        return resolved.parts[1:2] == ("proc",)
    except (OSError, ValueError):
        return False


def is_word(value: Any, *words: str) -> bool:
    """Whether it is one of these words; arrays, which compare entry by entry, are none."""
    return isinstance(value, str) and value in words


def optional(check: Any, name: str, value: T | None, *args: Any, **keywords: Any) -> Any:
    """None as it is, and anything else through a check of this module."""
    return None if value is None else check(name, value, *args, **keywords)


def shown(value: Any) -> str:
    """A value for a message: short, and never the numbers of an array."""
    kind = type(value).__name__
    try:
        if hasattr(value, "shape") and hasattr(value, "dtype") and getattr(value, "ndim", 0) > 0:
            return f"{kind} of shape {tuple(value.shape)}"
        said = repr(value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value)
    except Exception:  # a nested or a meta tensor, a number of a million digits, an object of the user's own
        return kind
    return said if len(said) <= 80 and said.isprintable() else kind


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return None
    try:
        return operator.index(value)
    except TypeError:
        real = _real(value)
        return int(real) if real is not None and math.isfinite(real) and real == int(real) else None


def _real(value: Any) -> float | None:
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return None
    single = isinstance(value, Real) or (hasattr(value, "item") and getattr(value, "ndim", 1) == 0)
    try:
        return float(value) if single else None
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last for tensors without numbers
        return None


def _range(least: int, most: int | None) -> str:
    return f"of at least {least}" if most is None else f"from {least} to {most:,}"


def _refusal(where: str, name: str, value: Any, expected: str, do: str) -> InputError:
    given = f"{where} got {name}={shown(value)}" if where else f"got {name}={shown(value)}"
    return InputError(f"{given}; expected {expected}.{' ' + do if do else ''}")
