"""Numbers that a training loop notes on its way, kept until the next row is written."""

from __future__ import annotations

from typing import final

from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError


@final
class Notes:
    """Numbers by name and step. Tensors are not read until they are written: a loop on a GPU does not wait for them."""

    def __init__(self) -> None:
        self._pairs: dict[str, list[tuple[int, float | Tensor]]] = {}

    def add(self, step: int, name: str, value: float | Tensor) -> None:
        """One number of a step.

        Raises:
            InputError: for anything but one real number.
        """
        if isinstance(value, Tensor) and value.numel() != 1:
            raise InputError(f"got {name} of shape {tuple(value.shape)}; expected one number. Give its mean, say.")
        try:
            kept = value.detach().clone() if isinstance(value, Tensor) and not value.is_complex() else float(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise InputError(
                f"got {name}={_checks.shown(value)}; expected one real number. Note words elsewhere, or give a number."
            ) from None
        self._pairs.setdefault(name, []).append((step, kept))

    def move(self, step: int) -> None:
        """What was noted so far belongs to this step: it was noted before anything told which one it is."""
        self._pairs = {name: [(step, value) for _, value in pairs] for name, pairs in self._pairs.items()}

    def __bool__(self) -> bool:
        return any(self._pairs.values())

    def take(self, before: int | None = None) -> dict[str, list[tuple[int, float]]]:
        """What was noted, averaged step by step, and forget it.

        Args:
            before: leave what was noted of this step and later ones, since more may come; None for everything.
        """
        found, left = {}, {}
        for name, pairs in self._pairs.items():
            sums: dict[int, list[float]] = {}
            for step, value in pairs:
                if before is None or step < before:
                    sums.setdefault(step, []).append(float(value))
            left[name] = [pair for pair in pairs if before is not None and pair[0] >= before]
            if sums:
                found[name] = [(step, sum(values) / len(values)) for step, values in sums.items()]
        self._pairs = left
        return found
