"""What is minimized, as the commands on networks take it: --loss or --objective, declared once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

DEFAULT_LOSS = "cross_entropy"
_LOSS = click.option(
    "--loss",
    show_default=DEFAULT_LOSS,
    help="cross_entropy, nll, mse, l1, huber, bce_with_logits, model, or FILE.py:FUNCTION of (output, target).",
)
_OBJECTIVE = click.option(
    "--objective",
    metavar="FILE.py:FUNCTION",
    help="Instead of --loss: a function of (model, batch) that returns the loss of a batch, or (loss, weight).",
)


def loss_options(command: _Command) -> _Command:
    """Declare --loss and --objective on a command."""
    return _LOSS(_OBJECTIVE(command))


def criterion(loss: str | None, objective: str | None) -> dict[str, Any]:
    """What a `NetworkSurface` is to be given for --loss and --objective.

    Raises:
        InputError: for both, or where one cannot be imported.
    """
    from lossatlas._errors import InputError
    from lossatlas.cli._user import function

    if objective is not None:
        if loss is not None:
            raise InputError(
                f"got --loss {loss} and --objective {objective}; expected one of them: a loss of (output, target), or an "
                "objective of (model, batch)."
            )
        return {"objective": function(objective, "--objective")}
    loss = loss or DEFAULT_LOSS
    return {"loss": function(loss, "--loss") if ":" in loss else loss}
