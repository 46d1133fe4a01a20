"""`lossatlas record`: the user's own training program, unchanged, with a recorder listening."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lossatlas.cli._say import say


@click.command(
    "record",
    short_help="Run your own training script and record its path through weight space.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("script", metavar="SCRIPT")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("run"), show_default=True, help="Folder for the recording."
)
@click.option("--every", type=int, default=10, show_default=True, help="Number of steps between recorded points.")
@click.option(
    "--keep", type=int, help="Maximum number of full points to keep, evenly spaced; by default all, or 9 with --sketch."
)
@click.option(
    "--sketch",
    type=int,
    metavar="NUMBERS",
    help="For large models: keep a random projection of each recorded point to this many numbers.",
)
@click.option("--pack", is_flag=True, help="Write small points into one file, points.tar, instead of a file each.")
@click.option("--resume", is_flag=True, help="Continue the recording in --out, when the script resumes its own run.")
@click.option("-m", "module", is_flag=True, help="SCRIPT is the name of a module, as for python -m.")
@click.option("--quiet", is_flag=True, help="Print neither what is recorded nor what it cost.")
def command(
    script: str,
    args: tuple[str, ...],
    out: Path,
    every: int,
    keep: int | None,
    sketch: int | None,
    pack: bool,
    resume: bool,
    module: bool,
    quiet: bool,
) -> None:
    """Run SCRIPT with its ARGS as Python would, and record the models that its optimizers step.

    The script is not changed, and its run stays the same, bit for bit. Options of this command come before SCRIPT;
    everything after SCRIPT is passed to it. SCRIPT is a file, with -m a module, or the name of an installed command that
    is written in Python.

    \b
      lossatlas record train.py --lr 0.1
      lossatlas record --out run --every 50 --sketch 16384 train.py --config big.yaml
      lossatlas record -m pkg.train --lr 0.1
      torchrun --nproc-per-node 2 -m lossatlas record train.py --lr 0.1
      accelerate launch -m lossatlas record train.py --lr 0.1
      lossatlas chart --model my.py:make_model --data my.py:make_data --plane pca --through run

    Of several processes the first one writes. Of several models the first is recorded in DIR, each further one in a
    folder of its name within it.

    \b
    DIR then holds
      recording.json   what was recorded
      steps.jsonl      one line per recorded step
      points           the weights at these steps, as safetensors files
      sketches         with --sketch: the projections
      segment-2 …      where the model changed its shape, or parameters were unfrozen

    If recording fails, for example because the disk is full, it stops with a message and the script continues.
    """
    import traceback

    from lossatlas._errors import InputError
    from lossatlas.cli._program import Program
    from lossatlas.cli._user import prepare
    from lossatlas.record import Listener, Recording, rank

    program = Program.found(script, args, module=module)
    out = out.absolute()
    if rank() == 0:
        prepare(out)
    if Recording.is_in(out) and not resume and rank() == 0:
        raise InputError(
            f"the folder {str(out)!r} holds a recording already. Give another one with --out, or --resume to "
            "continue that run."
        )
    listener = Listener(out, every=every, keep=keep, sketch=sketch, pack=pack, resume=resume, quiet=quiet)
    try:
        with program.arguments(), listener:
            variables = program.run()
    except SystemExit as ended:
        # The script's own code is passed on, as Python would.
        if isinstance(ended.code, str):
            click.echo(ended.code, err=True)  # the user's own words
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise_or_tell(listener, program, failed=bool(code))
        raise click.exceptions.Exit(code) from None
    except Exception as error:
        # As Python shows it: from the script's own line on.
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename != program.file:
            frames = frames.tb_next
        traceback.print_exception(type(error), error, frames or error.__traceback__)
        raise click.exceptions.Exit(1) from None
    raise_or_tell(listener, program, failed=False)
    variables.clear()  # until here, what was made and never stepped is still there to be told of


def raise_or_tell(listener: Any, program: Any, *, failed: bool) -> None:
    """Say what was not recorded: an error where that is everything and the program itself went well."""
    from lossatlas._errors import InputError

    aside = listener.children
    where = (
        "Only what is trained in this process is recorded: put the launcher first (torchrun … -m lossatlas record "
        f"{program.name}), or use lossatlas.Recorder in the function that trains."
    )
    if listener.recorders:
        if aside and "optimizer" in aside:
            say(f"lossatlas: {aside}, which is not recorded. {where}", err=True)
        return
    if failed:
        return
    if listener.problem is not None:
        raise InputError(f"nothing was recorded: {listener.problem}")
    seen = f" {aside[0].upper()}{aside[1:]}. {where}" if aside else f" {listener.idle}"
    raise InputError(f"nothing was recorded: no torch optimizer stepped while {program.name} ran.{seen}".rstrip())
