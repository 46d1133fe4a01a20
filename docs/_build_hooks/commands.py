"""Makes the help of the commands readable as a page: what click keeps line by line becomes a block of text."""

from __future__ import annotations

import inspect
import re
from typing import Any

# A paragraph after \b, perhaps with a first line that introduces the indented ones.
KEPT = re.compile(r"^\x08\n((?:\S.*\n)?)((?:[ \t]+\S.*(?:\n|$))+)", re.MULTILINE)


def page_of(text: str) -> str:
    """The help of a command as Markdown."""
    text = inspect.cleandoc(text) + "\n"
    text = KEPT.sub(lambda found: f"{found[1]}\n```text\n{inspect.cleandoc(found[2])}\n```\n", text)
    parts = text.split("```")
    parts[::2] = [re.sub(r"(?<!\S)--[\w-]+", r"`\g<0>`", part) for part in parts[::2]]
    return "```".join(parts)


def on_config(config: Any) -> Any:
    """Rewrite the help, in this process only, before mkdocs-click reads it."""
    import click

    from lossatlas.cli._main import group

    context = click.Context(group)
    for command in [group, *(group.get_command(context, name) for name in group.list_commands(context))]:
        if command is not None and command.help:
            command.help = page_of(command.help)
    return config


def on_page_content(html: str, **_: Any) -> str:
    """Leave out defaults that are not there, which mkdocs-click shows by click's internal name."""
    return html.replace("<code>Sentinel.UNSET</code>", "").replace("<code>None</code></td>", "</td>")
