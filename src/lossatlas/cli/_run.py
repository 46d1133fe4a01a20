"""`lossatlas run`: many charts, curvatures, connections and races from one file."""

from __future__ import annotations

from pathlib import Path

import click

from lossatlas.cli._log import message
from lossatlas.cli._say import say


@click.command("run", short_help="Run many commands from one file, side by side.")
@click.argument("file", type=click.Path(path_type=Path), metavar="JOBS.toml")
@click.option("--workers", type=click.IntRange(1), help="Processes at a time; one per core by default.", metavar="N")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for all results; by default named after the file.")
@click.option("--list", "listed", is_flag=True, help="Print the jobs, and stop.")
def command(file: Path, workers: int | None, out: Path | None, listed: bool) -> None:
    """Run the commands of a file, several at a time, each into a folder of its own.

    Options have the names they have on the command line. A list makes one job for each entry, several lists one for each
    combination; a list within a list is an option given several times. Paths are relative to the file.

    \b
      [defaults]
      model = "my.py:make_model"
      data = "my.py:make_data"
      [[job]]
      command = "chart"
      checkpoint = ["early.safetensors", "late.safetensors"]
      seed = [0, 1, 2]
      [[job]]
      command = "connect"
      a = "early.safetensors"
      b = "late.safetensors"

    A job that is killed is started again and resumes. Running the same command again runs what is left. summary.html and
    summary.md in the folder show all jobs with their pictures.
    """
    from lossatlas import archive
    from lossatlas.cli._jobs import Runner, read
    from lossatlas.cli._summary import write
    from lossatlas.probe.engine import cores

    jobs = read(file)
    if listed:
        for job in jobs:
            say(f"{job.name}: lossatlas {job.command} {' '.join(job.arguments)}")
        return
    home = file.absolute().parent
    folder = archive.prepare(out or home / f"{file.stem}-results")
    runner = Runner(jobs, folder, home, workers or cores(), say)
    try:
        runner.run()
    finally:
        write(folder, jobs, runner.states)
        message(f"written: {folder / 'summary.html'}")
    failed = [name for name, state in runner.states.items() if state.status == "failed"]
    if failed:
        raise click.ClickException(
            f"{len(failed)} of {len(jobs)} jobs failed: {', '.join(failed)}. The others are done."
        )
