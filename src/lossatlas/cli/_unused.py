"""Options that were typed and would be left aside: refused in one sentence."""

from __future__ import annotations

import click
from click.core import ParameterSource

from lossatlas._errors import InputError


def refuse(*names: str, where: str) -> None:
    """Refuse parameters of the current command that were typed, since they have no effect there.

    Args:
        names: of the parameters.
        where: what makes them useless, for the message: ``with --exact``.

    Raises:
        InputError: if one was typed.
    """
    context = click.get_current_context()
    found = [
        one.opts[0] if isinstance(one, click.Option) else one.make_metavar(context)
        for one in context.command.params
        if one.name in names and context.get_parameter_source(one.name) is ParameterSource.COMMANDLINE
    ]
    if found:
        what, them = ("it has", "it") if len(found) == 1 else ("they have", "them")
        raise InputError(f"got {', '.join(found)} {where}, where {what} no effect. Leave {them} out.")
