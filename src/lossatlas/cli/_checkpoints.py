"""Checkpoints named on the command line: checked before the work begins, and what was done to them printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


def tell(sentence: str) -> None:
    """Print what was done to make a checkpoint fit, if anything was."""
    if sentence:
        click.echo(f"note: {sentence}", err=True)


def fits(model: Any, checkpoints: tuple[Path, ...]) -> None:
    """Refuse checkpoints that do not fit a model, without loading them.

    Args:
        model: the module.
        checkpoints: files or folders.

    Raises:
        CheckpointError: for the first that does not.
    """
    from lossatlas.surface import check_checkpoint

    for path in checkpoints:
        check_checkpoint(model, path)
