"""What every job of this room is given: a surface, counts, a seed, and points to start from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from lossatlas import _checks
from lossatlas._checks import one_of as one_of
from lossatlas._errors import InputError, StartError
from lossatlas.surface import PointLike, Surface, as_point, as_points, finite, need_surface

# Bytes of the largest record that is kept.
LARGEST_RECORD = 2**33


def check(where: str, surface: Surface, seed: int, **counts: int) -> list[int]:
    """Refuse what is no surface, no seed, or no count of at least one.

    Args:
        where: the function that was called, for the message.
        surface: what was given as one.
        seed: random seed.
        **counts: whole numbers of at least 1, by name.

    Returns:
        The counts in their order, and the seed, as Python's own numbers.
    """
    need_surface(surface, where)
    found = {name: _checks.whole(name, count, where=where) for name, count in counts.items()}
    _checks.work(where, {name: count for name, count in found.items() if name in ("steps", "runs", "trials")})
    return [*found.values(), _checks.seed(seed, where=where)]


def numbers(where: str, name: str, given: Iterable[float]) -> list[float]:
    """Finite numbers, at least one.

    Args:
        where: the function that was called, for the message.
        name: of the argument.
        given: what was given.
    """
    if (
        isinstance(given, str)
        or not isinstance(given, Iterable)
        or getattr(given, "ndim", 1) != 1
        or not (found := list(given))
    ):
        raise InputError(f"{where} got {name}={_checks.shown(given)}; expected numbers in a list, at least one.")
    return [_checks.number(name, each, where=where) for each in found]


def check_record(runs: int, steps: int, dimension: int) -> None:
    """Refuse runs and steps whose record would not fit into memory.

    Raises:
        InputError: beyond `LARGEST_RECORD` bytes.
    """
    size = 8 * runs * steps * (dimension + 2)
    if size > LARGEST_RECORD:
        raise InputError(
            f"the record of {runs:,} runs of {steps:,} steps in {dimension:,} dimensions would take {size / 2**30:,.0f} GiB; "
            f"expected at most {LARGEST_RECORD / 2**30:.0f}. Take fewer runs or steps, or basin_map, which keeps only where "
            "runs end."
        )


def starts(surface: Surface, start: PointLike | Sequence[PointLike] | None, runs: int) -> Tensor:
    """Where each run begins, (runs, N).

    Raises:
        InputError: for more runs than fit into memory.
        StartError: if there is none, or it has another dimension, is not finite, or lies outside the box.
    """
    if start is None:
        point = as_point(surface, None, "a start", error=StartError)[None]
    else:
        point = finite(as_points(surface, start, "a start", error=StartError), "a start", error=StartError)
    check_record(runs, 1, surface.dimension)
    if len(point) not in (1, runs):
        raise StartError(
            f"got {len(point)} starts for {runs} runs on {surface.name}; expected one, or one per run: a point, or rows of "
            f"shape ({runs}, {surface.dimension})."
        )
    if surface.box is not None:
        low, high = surface.box[:, 0], surface.box[:, 1]
        if not bool(((point >= low) & (point <= high)).all()):
            box = " × ".join(f"[{a:g}, {b:g}]" for a, b in surface.box.tolist()[:4])
            raise StartError(f"got a start outside the box: {_shown(point)}; expected a point of {box}.")
    return point.expand(runs, -1).clone()


def _shown(point: Tensor) -> str:
    numbers = point.reshape(-1).tolist()
    return ", ".join(f"{x:g}" for x in numbers[:6]) + (", …" if len(numbers) > 6 else "")
