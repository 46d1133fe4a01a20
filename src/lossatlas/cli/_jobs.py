"""Many commands from one file: which there are, and running them side by side."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any, final

import click

from lossatlas import archive
from lossatlas._errors import InputError, UnknownNameError
from lossatlas.cli._programs import FAILED, MISSED

COMMANDS = ("chart", "curvature", "connect", "race")
DONE, LOG = "job.json", "log.txt"
# Exit codes of a command: done, the input does not fit, interrupted. Any other than these, and those of conditions and
# tolerances that are not met, is a death.
FINE, REFUSED, INTERRUPTED = 0, 2, 130
# How long an interrupted command may take to keep what it has.
GRACE = 10.0


@final
@dataclass(frozen=True)
class Job:
    """One command with its options.

    Attributes:
        name: of its folder.
        command: of `COMMANDS`.
        options: as typed in the file, lists expanded.
        arguments: for the command line.
    """

    name: str
    command: str
    options: Mapping[str, Any]
    arguments: tuple[str, ...]


@dataclass
class State:
    """How a job stands.

    Attributes:
        status: ``waiting``, ``running``, ``done``, ``done before``, ``failed`` or ``interrupted``.
        seconds: that it took.
        says: why it failed.
    """

    status: str = "waiting"
    seconds: float = 0.0
    says: str = ""


def read(path: Path) -> list[Job]:
    """The jobs of a file.

    Args:
        path: TOML, with ``[defaults]`` for all and a ``[[job]]`` each: ``command``, and its options by their names. A list is
            one job for each entry; several lists are one for every combination. A list within a list is an option that is
            given several times.

    Raises:
        InputError: for a file that cannot be read, no jobs, or two of one name.
        UnknownNameError: for other commands, or options that a command does not have.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")
        told = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{str(path)!r} cannot be read: {error}. Expected a TOML file with a [[job]] for each command, as 'lossatlas run --help' "
            "shows."
        ) from error
    if unknown := set(told) - {"defaults", "job"}:
        raise UnknownNameError("part of a jobs file", sorted(unknown)[0], ("defaults", "job"))
    entries = told.get("job")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{str(path)!r} has no [[job]]; expected one for each command.")
    jobs = [job for entry in entries for job in _expanded({**told.get("defaults", {}), **entry}, entry)]
    names = [job.name for job in jobs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f'got two jobs of the name {name!r}; expected a folder for each. Give them a name = "…" that tells them apart, with '
                "{seed} or other options in braces."
            )
    return jobs


def _expanded(entry: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Job]:
    options = dict(entry)
    command = options.pop("command", None)
    if command not in COMMANDS:
        raise UnknownNameError("command of a job", str(command), COMMANDS)
    pattern = options.pop("name", None)
    # Defaults of other commands are not for this one; its own entry is held to what it has.
    known = _parameters(command)
    for name in own:
        if name not in known and name not in ("command", "name"):
            raise UnknownNameError(f"option of {command}", name, known)
    options = {name: value for name, value in options.items() if name in known}
    if "out" in options:
        raise InputError(
            "got out = … in a job; expected none: each job has a folder of its own. Give --out to lossatlas run."
        )
    lists = {name: value for name, value in options.items() if isinstance(value, list)}
    for values in itertools.product(*lists.values()):
        one = {**options, **dict(zip(lists, values, strict=True))}
        told = {name: _short(value) for name, value in one.items()}
        try:
            name = pattern.format(**told) if pattern else "-".join([command, *(told[name] for name in lists)])
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise InputError(
                f"got the name {pattern!r} of a job; expected a text with options of it in braces ({error})."
            ) from None
        yield Job(re.sub(r"[^\w.=+-]+", "-", name).strip("-."), command, one, tuple(_arguments(known, one)))


def _parameters(command: str) -> dict[str, click.Parameter]:
    """The options and arguments of a command by the names that they have in a file."""
    made: click.Command = import_module(f"lossatlas.cli._{command}").command
    found: dict[str, click.Parameter] = {}
    for parameter in made.params:
        longest = max(parameter.opts, key=len).lstrip("-").replace("-", "_")
        found[longest] = parameter
    return {
        name: parameter
        for name, parameter in found.items()
        if name not in ("workers", "ray", "part", "quiet", "json", "forecast")
    }


def _arguments(known: Mapping[str, click.Parameter], options: Mapping[str, Any]) -> Iterator[str]:
    positional: list[tuple[int, str]] = []
    order = list(known)
    for name, value in options.items():
        parameter = known[name]
        several = value if isinstance(value, list) else [value]
        if isinstance(parameter, click.Argument):
            positional += [(order.index(name), str(one)) for one in several]
            continue
        flag = max(parameter.opts, key=len)
        for one in several:
            if isinstance(one, bool):
                if one:
                    yield flag
                elif parameter.secondary_opts:
                    yield parameter.secondary_opts[0]
            else:
                yield f"{flag}={one}"
    if positional:
        yield "--"
        yield from (text for _, text in sorted(positional, key=lambda pair: pair[0]))


def _short(value: Any) -> str:
    """What names a value in a folder's name: of a file its stem, or of its folder where that says more."""
    text = "+".join(map(_short, value)) if isinstance(value, list) else str(value)
    if "/" in text or "\\" in text or text.endswith((".safetensors", ".pt", ".pth", ".bin", ".ckpt")):
        path = Path(text.partition("::")[0])
        return path.stem if path.suffix else path.name
    return text


@final
class Runner:
    """Runs jobs side by side, each in a process and a folder of its own.

    A process that ends without an exit code of ours is a death: the job is given out again, and resumes from what its ledger
    has; after three it has failed. What a job refuses fails it at once; the others go on.

    Args:
        jobs: to run.
        out: folder of all.
        home: that paths in the file are relative to.
        workers: jobs at a time; where there are fewer jobs than workers, each gets several for its points.
        say: told of each job that ends.
    """

    def __init__(self, jobs: Sequence[Job], out: Path, home: Path, workers: int, say: Callable[[str], None]) -> None:
        from lossatlas.probe.engine import Dispatch

        self.jobs, self.out, self.home, self.workers, self.say = jobs, out, home, workers, say
        self.states = {job.name: State() for job in jobs}
        self._left = [job for job in jobs if not self._known(job)]
        self._dispatch = Dispatch(len(self._left))
        self._ended: SimpleQueue[tuple[str, int]] = SimpleQueue()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._begun: dict[str, float] = {}
        self._alive: tuple[int, ...] = ()
        self._each = max(1, workers // max(1, len(self._left)))

    def run(self) -> None:
        """Run what is left, until nothing is.

        Raises:
            KeyboardInterrupt: when it is interrupted; what was done stays, and the same call goes on.
        """
        idle = [f"{number + 1}" for number in range(min(self.workers, len(self._left)))]
        # A pipe that nothing is written into: its end at the jobs says when this process is no more.
        self._alive = os.pipe() if os.name == "posix" else ()
        try:
            while not self._dispatch.finished:
                while idle and self._dispatch.waiting:
                    worker = idle.pop()
                    (row,) = self._dispatch.give(worker, 1)
                    self._start(worker, self._left[row])
                worker, code = self._ended.get()
                self._hear(worker, code)
                idle.append(worker)
        except KeyboardInterrupt:
            self._dispatch.cancelled()
            until = time.monotonic() + GRACE
            for worker, process in self._processes.items():
                try:
                    process.wait(max(0.1, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                for row in self._dispatch.took(worker):
                    self.states[self._left[row].name].status = "interrupted"
            raise
        finally:
            for end in self._alive:
                os.close(end)

    def _known(self, job: Job) -> bool:
        """Whether a job was done before, with the same options."""
        record = self.out / job.name / DONE
        if not record.is_file():
            return False
        told = archive.read_json(record)
        if told.get("command") != job.command or told.get("arguments") != list(job.arguments):
            raise InputError(
                f"the folder {str(record.parent)!r} holds a job that was done with other options; expected the same ones. Remove the "
                "folder, or give this job another name."
            )
        self.states[job.name] = State("done before", float(told["seconds"]))
        return True

    def _start(self, worker: str, job: Job) -> None:
        folder = archive.prepare(self.out / job.name)
        state = self.states[job.name]
        state.status = "running"
        self._begun[worker] = time.monotonic()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(part or str(Path.cwd()) for part in sys.path)
        typed = [
            job.command,
            f"--out={_seen_from(self.home, folder)}",
            *(["--quiet"] if job.command != "race" else []),
            *job.arguments,
        ]
        with (folder / LOG).open("wb") as log:
            program = [sys.executable, "-m", "lossatlas.cli._job", str(*self._alive[:1]), str(self._each), *typed]
            process = subprocess.Popen(
                program, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                pass_fds=self._alive[:1],
            )  # fmt: skip
        self._processes[worker] = process

        def wait() -> None:
            self._ended.put((worker, process.wait()))

        threading.Thread(target=wait, daemon=True).start()

    def _hear(self, worker: str, code: int) -> None:
        (row,) = self._dispatch.running[worker]
        job = self._left[row]
        state = self.states[job.name]
        state.seconds += time.monotonic() - self._begun[worker]
        if code not in (FINE, REFUSED, FAILED, MISSED, INTERRUPTED):
            death = self._dispatch.died(worker)
            if not death.fatal:
                self.say(f"{job.name} ended unexpectedly ({_how(code)}); it is started again and resumes")
                return
            # Not given to anyone any more: it counts as answered, by what it is.
            state.status, state.says = "failed", f"it ended {_how(code)} three times; {self._last(job)}"
        else:
            self._dispatch.took(worker)
            if code == INTERRUPTED:
                raise KeyboardInterrupt
            state.status = "done" if code == FINE else "failed"
            state.says = "" if code == FINE else self._last(job)
        if state.status == "done":
            told = {"command": job.command, "arguments": list(job.arguments), "seconds": state.seconds}
            archive.write_json(self.out / job.name / DONE, told)
        ended = sum(one.status in ("done", "failed", "done before") for one in self.states.values())
        self.say(
            f"{ended}/{len(self.jobs)} {job.name}: {state.status} in {state.seconds:.1f} s"
            + (f": {state.says}" if state.says else "")
        )

    def _last(self, job: Job) -> str:
        lines = (self.out / job.name / LOG).read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("lossatlas: ") if lines else "it said nothing"


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def _seen_from(home: Path, folder: Path) -> Path:
    """A folder as a command that runs at home names it: without the way to home, where it lies below."""
    whole = folder.resolve()
    return whole.relative_to(home.resolve()) if whole.is_relative_to(home.resolve()) else whole
