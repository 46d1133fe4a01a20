"""Where a command evaluates: --workers and --ray, declared once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def engine_options(command: _Command) -> _Command:
    """Declare --workers on a command, which then runs with that engine."""

    @wraps(command)
    def chosen(*, workers: int | None, **typed: Any) -> Any:
        if workers is None:
            return command(**typed)
        from lossatlas.probe.engine import engine

        with engine(f"pool:{workers}"):
            return command(**typed)

    made: Any = click.option(
        "--workers",
        type=click.IntRange(1),
        metavar="N",
        help="Evaluate in N worker processes on this machine. The numbers are the same to the bit, whatever N is.",
    )(chosen)
    return made  # type: ignore[no-any-return]
