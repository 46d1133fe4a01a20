"""`lossatlas record`: the user's own training program, unchanged, with a recorder listening."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    "record",
    short_help="Run your own training script and record its path through weight space.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("script", type=click.Path(path_type=Path))
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
@click.option("--resume", is_flag=True, help="Continue the recording in --out, when the script resumes its own run.")
@click.option("--quiet", is_flag=True, help="Print neither what is recorded nor what it cost.")
def command(
    script: Path,
    args: tuple[str, ...],
    out: Path,
    every: int,
    keep: int | None,
    sketch: int | None,
    resume: bool,
    quiet: bool,
) -> None:
    """Run SCRIPT with its ARGS as Python would, and record the model that its optimizer steps.

    The script is not changed, and its run stays the same, bit for bit. Options of this command come before SCRIPT;
    everything after SCRIPT is passed to it.

    \b
      lossatlas record train.py --lr 0.1
      lossatlas record --out run --every 50 --sketch 16384 train.py --config big.yaml
      lossatlas chart --model my.py:make_model --data my.py:make_data --plane pca --through run

    \b
    DIR then holds
      recording.json   what was recorded
      steps.jsonl      one line per recorded step
      points           the weights at these steps, as safetensors files
      sketches         with --sketch: the projections

    If recording fails, for example because the disk is full, it stops with a message and the script continues.
    """
    import runpy
    import sys
    import traceback

    from lossatlas._errors import InputError
    from lossatlas.cli._user import prepare
    from lossatlas.record import Listener, Recording

    if not script.is_file():
        raise InputError(f"there is no script {str(script)!r}; expected a Python file, with its arguments after it.")
    out = out.absolute()
    prepare(out)
    if Recording.is_in(out) and not resume:
        raise InputError(
            f"the folder {str(out)!r} holds a recording already. Give another one with --out, or --resume to "
            "continue that run."
        )
    before = sys.argv, sys.path[:]
    sys.argv, sys.path[0:0] = [str(script), *args], [str(script.parent.resolve())]
    listener = Listener(out, every=every, keep=keep, sketch=sketch, resume=resume, quiet=quiet)
    try:
        with listener:
            runpy.run_path(str(script), run_name="__main__")
    except SystemExit as ended:
        # The script's own code is passed on, as Python would.
        if isinstance(ended.code, str):
            click.echo(ended.code, err=True)
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise click.exceptions.Exit(code) from None
    except Exception as error:
        # As Python shows it: from the script's own line on.
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename != str(script):
            frames = frames.tb_next
        traceback.print_exception(type(error), error, frames or error.__traceback__)
        raise click.exceptions.Exit(1) from None
    finally:
        sys.argv, sys.path[:] = before
    if listener.problem is not None:
        raise InputError(f"nothing was recorded: {listener.problem}")
    if listener.recorder is None:
        raise InputError(f"nothing was recorded: no torch optimizer stepped while {script.name} ran.")
