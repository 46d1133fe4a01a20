"""What the commands say: results on the output stream, line by line or as tables, whatever names they hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from lossatlas._printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a line; control characters in it are shown and not obeyed.

    Args:
        text: what to say.
        err: whether it goes to the error stream.
        nl: whether the line ends.
    """
    click.echo(printable(str(text)), err=err, nl=nl)


def screen(width: int = 140) -> Console:
    """Where tables are printed: as wide as the terminal, and elsewhere of one width; their texts are printable.

    Args:
        width: in characters, where there is no terminal.
    """
    from rich.console import Console
    from rich.segment import Segment

    class Printable(Console):
        """Shows the control characters of every text that it renders; its own codes for colors stay."""

        def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else printable(text), style, control)

    return Printable(width=None if Console().is_terminal else width)
