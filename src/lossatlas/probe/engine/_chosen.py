"""Which engine is used: chosen once, for everything that is done in a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TypeAlias

from lossatlas import _checks
from lossatlas._errors import InputError, UnknownNameError
from lossatlas.probe.engine._base import Engine
from lossatlas.probe.engine._inline import Inline
from lossatlas.probe.engine._pool import Pool
from lossatlas.probe.engine._ray import Ray

EngineLike: TypeAlias = str | Engine

_chosen: ContextVar[Engine | None] = ContextVar("lossatlas engine", default=None)


@contextlib.contextmanager
def engine(given: EngineLike | None) -> Iterator[Engine | None]:
    """Choose where surfaces are evaluated, for everything within the block.

    Whatever is evaluated with a chosen engine has bits that depend neither on the engine nor on how many workers there
    are: the same chart comes from ``"inline"``, from two workers and from a hundred. Without one, rows of a query may be
    evaluated together, which is equal to rounding.

    Args:
        given: ``"inline"``, ``"pool"`` for a worker process per core, ``"pool:8"`` for eight; ``"ray"`` or
            ``"ray:ADDRESS"`` for a cluster, ``"ray:local"`` to start one;
            an engine, which is not closed at the end; or None to leave everything as it is.

    Yields:
        Engine | None: the engine.

    Raises:
        UnknownNameError: for another name.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.himmelblau()
        >>> with la.engine("inline"):
        ...     race = la.race(surface, ["gd"], steps=5, progress=False)
    """
    if given is None:
        yield _chosen.get()
        return
    made = _made(given) if isinstance(given, str) else _needed(given)
    token = _chosen.set(made)
    try:
        yield made
    finally:
        _chosen.reset(token)
        if isinstance(given, str):
            made.close()


def chosen() -> Engine | None:
    """The engine of the block that this is in, or None."""
    return _chosen.get()


def _made(name: str) -> Engine:
    kind, _, setting = name.partition(":")
    if kind == "inline" and not setting:
        return Inline(steady=True)
    if kind == "pool":
        if setting and not setting.isdigit():
            raise InputError(f"got the engine {name!r}; expected a number of workers, as in 'pool:8'.")
        return Pool(int(setting) if setting else None)
    if kind == "ray":
        return Ray(None if setting == "local" else setting or "auto")
    raise UnknownNameError("engine", name, ("inline", "pool", "pool:8", "ray", "ray:ADDRESS"))


def _needed(given: object) -> Engine:
    if all(hasattr(given, name) for name in ("width", "stream", "gradients", "products", "outputs", "close")):
        return given  # type: ignore[return-value]
    raise InputError(
        f"got engine={_checks.shown(given)}; expected an engine, or its name: 'inline', 'pool' or 'pool:8'."
    )
