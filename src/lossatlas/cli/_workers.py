"""Where a command evaluates: --workers and --ray, declared once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def engine_options(command: _Command) -> _Command:
    """Declare --workers and --ray on a command, which then runs with that engine."""

    @wraps(command)
    def chosen(*, workers: int | None, ray: str | None, **typed: Any) -> Any:
        if workers is None and ray is None:
            return command(**typed)
        from lossatlas.probe.engine import Ray, engine

        if ray is None:
            with engine(f"pool:{workers}"):
                return command(**typed)
        made = Ray(None if ray == "local" else ray, workers=workers)
        try:
            with engine(made):
                return command(**typed)
        finally:
            made.close()

    for option in (
        click.option(
            "--ray",
            metavar="auto | ADDRESS | local",
            help="Evaluate on a Ray cluster: the one that this machine belongs to, another, or one that is started here. With "
            "--workers: that many of its cores.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            metavar="N",
            help="Evaluate in N worker processes on this machine. The numbers are the same to the bit, whatever N is.",
        ),
    ):
        chosen = option(chosen)
    return chosen  # type: ignore[return-value]
