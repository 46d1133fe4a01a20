"""What a saved result knows of an optimizer whose class is not at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import TRAITS, Optimizer, Walk
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients, Products, Values

_QUERIES = {kind.__name__: kind for kind in (Values, Gradients, Products)}


@final
@dataclass(frozen=True)
class RecordedOptimizer(Optimizer):
    """An optimizer of the user's own, or of torch's, as a saved result describes it. No code is run for it.

    It has the name, the texts and the settings of the one that ran, and everything but `walk`.

    Args:
        given: what `Optimizer.record` wrote.
        inner: what it wrapped, or None.
    """

    given: dict[str, Any]
    inner: Optimizer | None = None

    def __post_init__(self) -> None:
        outside = self.given["outside"]
        queries = frozenset(_QUERIES[kind] for kind in outside["queries"])
        said = {"name": self.given["optimizer"], "queries": queries, **{key: outside[key] for key in TRAITS}}
        for key, value in said.items():
            object.__setattr__(self, key, value)

    @property
    def outside(self) -> str:
        """The full name of the class that ran."""
        return str(self.given["outside"]["class"])

    def record(self) -> dict[str, Any]:
        """As it was recorded."""
        return dict(self.given)

    def settings(self) -> dict[str, Any]:
        """As they were recorded."""
        return dict(self.given["settings"])

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Refused."""
        raise InputError(
            f"{self.outside} was saved by its name and settings only; expected the class itself to walk again: import it, and give "
            "what you raced, for example TorchOptimizer(cls, …)."
        )
        yield

    def __hash__(self) -> int:
        return hash(repr(self.given))

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.settings().items() if key != "class")
        return f"{self.outside.rpartition('.')[2]}({settings})"


def class_at_hand(name: str) -> type[Optimizer] | None:
    """The subclass of this full name that this program has defined or imported already."""
    waiting: list[type[Optimizer]] = list(Optimizer.__subclasses__())
    while waiting:
        kind = waiting.pop()
        if f"{kind.__module__}.{kind.__qualname__}" == name:
            return kind
        waiting += kind.__subclasses__()
    return None


def revived_outside(given: Mapping[str, Any], settings: Mapping[str, Any]) -> Optimizer:
    """An optimizer of the user's own: of its class where that is at hand and the record holds all of it."""
    outside = given["outside"]
    kind = None if outside["shown"] else class_at_hand(str(outside["class"]))
    if kind is not None:
        try:
            return kind(**settings)
        except Exception:  # the class has changed since, and its code is the user's
            pass
    inner = settings.get("inner")
    return RecordedOptimizer(dict(given), inner if isinstance(inner, Optimizer) else None)
