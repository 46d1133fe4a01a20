"""The contract of everything that walks: a frozen record of hyper-parameters, and a generator of queries."""

from __future__ import annotations

import abc
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, fields
from inspect import get_annotations, signature
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Answer, Gradients, Products, Query, Values

# What a walk returns is an `At`, where its runs stand at its end, or nothing: they stand where they made their last query.
Walk: TypeAlias = Generator[Query, Answer, Any]
# What its methods are called with.
CALLS = {"walk": ("start", "layout", "rng"), "plan": ("steps",), "breaks": ("answered",), "becomes": ("layout",)}
# Between so many units long a side of a box is taken as it is.
SIDE = (2.0, 20.0)
# What a class says of itself, beside its name.
TRAITS = ("title", "evaluates", "remembers", "source", "reference", "wanders", "batched")


def hyphened(name: str) -> str:
    """The name of a class or a function with hyphens."""
    return _words(name).lower().replace(" ", "-").replace("_", "-").strip("<>")


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.strip("_"))


@dataclass(frozen=True)
class Optimizer(abc.ABC):
    """An algorithm with its hyper-parameters.

    A walk yields queries and is sent answers; it never holds the surface. It may return an `At`, where its runs stand at its
    end. Tensors that it has yielded are never written again. Row b of a batch of runs is exactly what run b would be alone.

    A subclass is a frozen dataclass, whose fields are its settings, and needs `walk` and nothing else: what it does not
    say of itself is said by its class, as `name` and `title` are, or is not known.

    Attributes:
        name: in the catalog and in races; the class's own name with hyphens by default.
        title: for pictures and tables; the class's own name by default.
        queries: the kinds of queries that it makes, of `Values`, `Gradients` and `Products`; any of them by default.
        evaluates: what it queries at each step, one sentence for tables.
        remembers: what it keeps between steps, one sentence for tables.
        source: where the rule is published; the class's module by default.
        reference: key of its BibTeX entry, or the entry itself, or None.
        wanders: whether it may move uphill or start again; then its result is the best point it has evaluated.
        batched: whether all runs step in one tensor operation; surrogates, libraries and torch classes think run by run.

    Raises:
        InputError: when a subclass is made whose name, texts, queries or methods are of another kind, and when one is used that is
            no dataclass but has settings: an ``__init__`` of its own, or annotations.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    queries: ClassVar[frozenset[type]] = frozenset({Values, Gradients, Products})
    evaluates: ClassVar[str] = "not said"
    remembers: ClassVar[str] = "not said"
    source: ClassVar[str]
    reference: ClassVar[str | None] = None
    wanders: ClassVar[bool] = False
    batched: ClassVar[bool] = True

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        defaults = {"name": hyphened(cls.__name__), "title": _words(cls.__name__), "source": cls.__module__}
        for key, default in defaults.items():
            if key not in vars(cls):
                setattr(cls, key, default)
        said = {key: getattr(cls, key) for key in ("name", "title", "evaluates", "remembers", "source")}
        wrong = [key for key, text in said.items() if not isinstance(text, str | property) or not text]
        if not isinstance(cls.reference, str | None):
            wrong.append("reference")
        queries = cls.queries
        if not isinstance(queries, property) and not (
            isinstance(queries, frozenset) and queries and queries <= {Values, Gradients, Products}
        ):
            wrong.append("queries")
        if wrong:
            given = ", ".join(f"{key}={vars(cls).get(key)!r}" for key in wrong)
            raise InputError(
                f"the optimizer {cls.__name__} got {given}; expected text for name, title, evaluates, remembers, source and "
                "reference, and for queries a frozenset of Values, Gradients and Products."
            )
        taken = sorted(get_annotations(cls).keys() & {"outside", "record", "settings", *CALLS})
        if taken:
            raise InputError(
                f"the optimizer {cls.__name__} has settings named {', '.join(taken)}, which every optimizer has for something else; "
                "expected other names."
            )
        for key in CALLS.keys() & vars(cls).keys():
            try:
                signature(vars(cls)[key]).bind(cls, *CALLS[key])
            except TypeError as error:
                raise InputError(
                    f"the optimizer {cls.__name__} has a {key} that does not take what it is called with ({error}); expected "
                    f"{key}(self, {', '.join(CALLS[key])})."
                ) from None

    def __new__(cls, /, *_: Any, **__: Any) -> Self:
        """Refuse a class whose settings no record could hold."""
        for kind in cls.__mro__[: cls.__mro__.index(Optimizer)]:
            settings = ["__init__"] * ("__init__" in vars(kind))
            settings += [key for key, text in get_annotations(kind).items() if "ClassVar" not in str(text)]
            if settings and "__dataclass_fields__" not in vars(kind):
                raise InputError(
                    f"the optimizer {kind.__name__} has {', '.join(settings)} and is no dataclass; expected a frozen one, whose "
                    "fields are its settings. Write @dataclass(frozen=True) above the class, and fields such as lr: float in "
                    "place of an __init__."
                )
        return super().__new__(cls)

    @abc.abstractmethod
    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Begin at start (runs, N) and hand out queries for as long as they are answered."""

    def plan(self, steps: int) -> tuple[Optimizer, int]:
        """The optimizer as it runs in a race of so many steps, and how many queries that takes."""
        return self, steps

    def breaks(self, answered: int) -> list[int]:
        """Which of its positions begin a new descent elsewhere: no line leads there."""
        return []

    def becomes(self, layout: Layout) -> str | None:
        """What the rule degenerates to on a layout, or None where it is itself."""
        return None

    @property
    def outside(self) -> str | None:
        """The full name of its class, where that is not one of this package."""
        kind = type(self)
        own = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
        return None if own else f"{kind.__module__}.{kind.__qualname__}"

    def record(self) -> dict[str, Any]:
        """What is saved with a result: under ``optimizer`` the name, and the settings.

        Of a class that is not this package's also what it says of itself, so that the result opens without the class.
        """
        found: dict[str, Any] = {"optimizer": self.name, "settings": self.settings()}
        if self.outside is not None:
            found["outside"] = {
                "class": self.outside,
                "shown": [f.name for f in fields(self) if not _is_plain(getattr(self, f.name))],
                "queries": sorted(kind.__name__ for kind in self.queries),
                **{key: getattr(self, key) for key in TRAITS},
            }
        return found

    def settings(self) -> dict[str, Any]:
        """Hyper-parameters by name, as plain values that JSON can hold."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}


def planned(one: Optimizer, steps: int) -> tuple[Optimizer, int]:
    """The optimizer as it runs in a race of so many steps, and how many queries that takes.

    Raises:
        InputError: if its `plan` returns something else; and whatever that raises.
    """
    found: Any = one.plan(steps)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Optimizer)):
        raise InputError(f"the plan of {one.name} returned {_checks.shown(found)}; expected (optimizer, queries).")
    return found[0], _checks.whole("queries", found[1], where=f"the plan of {one.name}")


def begun(one: Optimizer, start: Tensor, layout: Layout, rng: Streams) -> Walk:
    """The walk of an optimizer.

    Raises:
        InputError: if it is no generator; and whatever `walk` raises.
    """
    walk: Any = one.walk(start, layout, rng)
    if not isinstance(walk, Generator):
        raise InputError(
            f"the walk of {one.name} returned {_checks.shown(walk)}; expected a generator. Yield queries in it, as in "
            "answer = yield Gradients(theta)."
        )
    return walk


def known(values: Tensor) -> Tensor:
    """Losses in which one that is not a number counts as infinitely high."""
    return torch.where(values.isnan(), float("inf"), values)


def within(points: Tensor, layout: Layout) -> Tensor:
    """Points moved to the edge of the box where they lie outside."""
    if layout.box is None:
        return points
    box = layout.box.to(points)
    return points.clamp(box[:, 0], box[:, 1])


def units(layout: Layout, like: Tensor) -> Tensor:
    """What one unit of a step is in each coordinate, (N,): 1, but at most half a side of the box and at least a twentieth of it.

    Sides of the box may be of any length, and of unequal ones: a step is a share of each, without a setting of its own.
    """
    if layout.box is None:
        return torch.ones(layout.dimension).to(like)
    side = (layout.box[:, 1] - layout.box[:, 0]).double()
    return (side / side.clamp(*SIDE)).to(like)


def scatter(start: Tensor, count: int, layout: Layout, rng: Streams, spread: float) -> Tensor:
    """The start and count − 1 points uniform in the box (Gaussian around the start where there is none).

    Returns:
        Shape (runs, count, N).
    """
    n = start.shape[1]
    if layout.box is None:
        others = start[:, None] + spread * rng.normal(count - 1, n).to(start)
    else:
        box = layout.box.to(start)
        others = box[:, 0] + (box[:, 1] - box[:, 0]) * rng.uniform(count - 1, n).to(start)
    return torch.cat([start[:, None], others], 1)


def plain(value: Any) -> Any:
    """A setting as JSON can hold it."""
    if isinstance(value, Optimizer):
        return value.record()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return tuple(plain(one) for one in value)
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


def _is_plain(value: Any) -> bool:
    """Whether a record holds all of a setting, and not only how it is printed."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str | np.generic | Optimizer | None)
