"""The best point so far in place of the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from lossatlas.optimize.wrappers._wrapper import Wrapper


@final
@dataclass(frozen=True)
class BestSoFar(Wrapper):
    """Another optimizer, reported by the best point it has evaluated and not by where it stands.

    Args:
        inner: what is watched.
    """

    name: ClassVar[str] = "best-so-far"
    title: ClassVar[str] = "best so far"
    remembers: ClassVar[str] = "what the wrapped method remembers, and the best point"
    source: ClassVar[str] = "folklore"
    reference: ClassVar[str] = "russell2020"
    wanders: ClassVar[bool] = True
