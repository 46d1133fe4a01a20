"""When a step of the run is complete, of one optimizer or of many that step in any order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import final

from torch.optim import Optimizer

# Steps of one optimizer after which another that has made none is not waited for.
PATIENCE = 10


@final
class Rounds:
    """Counts a step when all optimizers have stepped since the last one, in whatever order and however often.

    One optimizer per parameter, stepped from hooks within the backward pass, makes one step per backward pass; a GAN whose
    critic steps five times as often makes one step per step of its generator. An optimizer that makes no step while
    another makes `PATIENCE` (its parameters are frozen, or are not used) is not waited for, until it steps.

    Args:
        optimizers: known when recording begins.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self._known = {id(one): one for one in optimizers}
        self._made = dict.fromkeys(self._known, 0)
        self._since = dict.fromkeys(self._known, 0)
        self._awaited = set(self._known)
        self._missing = set(self._known)
        self._late: int | None = None

    @property
    def optimizers(self) -> list[Optimizer]:
        """Those that are listened to."""
        return list(self._known.values())

    @property
    def made(self) -> list[int]:
        """How often each has stepped."""
        return list(self._made.values())

    @property
    def begun(self) -> bool:
        """Whether some have stepped since the last counted step, and others have not."""
        return any(self._since.values())

    def __contains__(self, optimizer: Optimizer) -> bool:
        return id(optimizer) in self._known

    def stepped(self, optimizer: Optimizer) -> int:
        """Note that one has stepped; returns how many steps of the run are complete by that: mostly 0 or 1."""
        key = id(optimizer)
        if key not in self._known:
            return 0
        self._made[key] += 1
        if self._late == key:
            self._late = None
            return 0
        self._since[key] += 1
        self._awaited.add(key)
        self._missing.discard(key)
        if not self._missing:
            self._since = dict.fromkeys(self._known, 0)
            self._missing = set(self._awaited)
            return 1
        if self._since[key] < PATIENCE:
            return 0
        self._awaited = {one for one, count in self._since.items() if count}
        whole = min(self._since[one] for one in self._awaited)
        # What one of them is ahead by belongs to the round that the others have yet to complete.
        self._since = {one: max(0, count - whole) for one, count in self._since.items()}
        self._missing = {one for one in self._awaited if not self._since[one]}
        return whole

    def adopt(self, optimizer: Optimizer, own: AbstractSet[int]) -> list[Optimizer]:
        """Listen to one more that steps for the first time.

        Args:
            optimizer: over parameters of the model.
            own: the model's parameters, by their ids.

        Returns:
            Those it replaces: it has parameters of theirs, or the model has none of them any more.
        """
        replaced = [one for one in self._known.values() if held([optimizer]) & held([one]) or not held([one]) & own]
        key = id(optimizer)
        # Beside others, it completes the step that was just counted without it.
        beside = len(replaced) < len(self._known)
        self._late = key if beside and not self.begun else None
        for one in replaced:
            for entries in (self._known, self._made, self._since):
                entries.pop(id(one))
            self._awaited.discard(id(one))
            self._missing.discard(id(one))
        self._known[key] = optimizer
        self._made[key] = self._since[key] = 0
        self._awaited.add(key)
        self._missing.add(key)
        return replaced


def held(optimizers: Iterable[Optimizer]) -> frozenset[int]:
    """Which tensors optimizers step, by their ids."""
    return frozenset(id(parameter) for one in optimizers for group in one.param_groups for parameter in group["params"])
