"""`lossatlas`: the commands, each imported when it is called, so that --help does not wait for torch."""

from __future__ import annotations

import errno
import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, final

import click

from lossatlas import _checks
from lossatlas._errors import LossAtlasError
from lossatlas._printable import printable
from lossatlas.cli._log import LEVELS, level, logging_to_errors

_log = logging.getLogger("lossatlas")
_COMMANDS = {
    "tour": "Train a small network, chart it, race optimizers, and write one page about it.",
    "race": "Race optimizers on a landscape or a network, with every query counted.",
    "chart": "Chart the loss surface around your own network.",
    "volume": "Evaluate the loss around your network along three and more directions.",
    "run": "Run many charts, curvatures, connections and races from one file.",
    "merge": "Join the ledgers of a chart that was evaluated in parts.",
    "connect": "Measure the loss barrier between two trained networks, along a line or a trained curve.",
    "barriers": "Measure the loss barrier between every two of several checkpoints.",
    "curvature": "Measure the curvature of the loss around your network, with error bars.",
    "advise": "Find out which optimizer suits a surface, and check it by a race.",
    "record": "Run your own training script and record its path through weight space.",
    "animate": "Write saved races, training paths and basin maps as animations.",
    "page": "Write a folder of results as one page that can be explored.",
    "serve": "Serve a folder of results as a page that can also evaluate the network.",
    "dimension": "Count the dimensions of a loss surface.",
    "lessons": "Test claims about loss surfaces by experiment.",
    "lecture": "Write the lecture on loss surfaces as one page, every statement beside its experiment.",
}


@final
class _Place(click.Path):
    """A path of any command: refused where no file can have that name, before anything asks the disk for it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name = (
            max(param.opts, key=len)
            if isinstance(param, click.Option)
            else str(param and (param.metavar or param.name))
        )
        return super().convert(_checks.path(name, value), param, ctx)


@final
class _Rooms(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"lossatlas.cli._{cmd_name}").command
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                parameter.type = _Place(path_type=Path)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"there is no command {args[0]!r}.{hint} Commands: {', '.join(_COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=_Rooms, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lossatlas")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="Show messages from this level on; they go to the error stream.",
)
def group(log_level: str) -> None:
    """Charts of loss surfaces, and races on them.

    A model, a loss and data define a loss surface, which can only be evaluated point by point. These commands evaluate
    it for you, and report what was evaluated and how accurate the result is.

    \b
      lossatlas tour --out atlas
      lossatlas chart --model my.py:make_model --data my.py:make_data --loss cross_entropy --out DIR
      lossatlas race four-wells --optimizers gd,momentum,annealing,restart --runs 1000

    Exit codes: 0 done; 2 the input does not fit (one paragraph says why, and what to do); 3 a --fail-if condition is met; 4 a
    tolerance that was given is not; 130 interrupted. Results go to the output stream, messages to the error stream.
    """
    level(log_level)


def main(args: list[str] | None = None) -> None:
    """Run the command line; errors of ours become one paragraph and exit code 2."""
    # Tables and messages hold Greek letters and bars: a terminal of another encoding shows replacements, not a crash.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    typed = sys.argv[1:] if args is None else args
    with logging_to_errors():
        code = _run(typed)
    sys.exit(code)


def _run(typed: list[str]) -> int:
    """Run what was typed; the exit code."""
    code: object
    try:
        code = group.main(args=list(typed), prog_name="lossatlas", standalone_mode=False, obj=typed)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message)
        error.show()
        code = 2
    except LossAtlasError as error:
        _log.error("lossatlas: %s", str(error))
        code = 2
    except SystemExit as ended:
        # Commands end by returning: this is the user's own code, run on the way; or click's, where who reads has left.
        left = isinstance(ended.__context__, OSError) and ended.__context__.errno == errno.EPIPE
        if not left:
            _log.error(
                "lossatlas: your code ended the program while it was running (sys.exit(%r)); expected a model, loss and data that "
                "return. Remove the call to exit.",
                ended.code,
            )
        code = 1 if left else 2
    except (KeyboardInterrupt, click.exceptions.Abort):
        _log.error("lossatlas: interrupted; nothing half-written was left behind.")
        code = 130
    return code if isinstance(code, int) else 0
