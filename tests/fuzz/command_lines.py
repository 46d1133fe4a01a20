"""Commands as they are typed, with odd words in the place of their options and arguments."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import click
import odd_values as odd
import torch
from watch import Outcome, Watch, quiet

from lossatlas.cli import main
from lossatlas.cli._main import group

MINE = """
import torch
from torch import nn

def make_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))

def make_data():
    return torch.linspace(-1, 1, 96).reshape(24, 4), torch.arange(24) % 3

def objective(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])

def bowl(x):
    return (x * x).sum()

def raises():
    raise KeyError("boom")

def ends():
    raise SystemExit(3)

def nothing():
    return None

def wide():
    return torch.zeros(24, 9), torch.arange(24) % 3

def nans(*_):
    return torch.tensor(float("nan"))

number = 3
"""
BROKEN = {"syntax.py": "def (:\n", "exits.py": "import sys\nsys.exit(0)\n",
          "parses.py": "import sys\nassert len(sys.argv) == 1\nmake = 3\n",
          "jobs.toml": '[[job]]\ncommand = "race"\nlandscape = "four-wells"\n', "bad.toml": "[[job]\n", "none.toml": ""}  # fmt: skip
NETWORK = ["--model", "my.py:make_model", "--data", "my.py:make_data", "--loss", "cross_entropy"]
# A valid command of each name, as short as it gets. What is not here only waits or runs for minutes.
LINES: dict[str, list[str]] = {
    "race": ["four-wells", "--optimizers", "gd", "--steps", "3"],
    "chart": [*NETWORK, "--points", "3", "--exact", "--quiet"],
    "volume": [*NETWORK, "--points", "2", "--quiet"],
    "connect": ["a.pt", "b.pt", *NETWORK, "--points", "3", "--quiet"],
    "barriers": ["a.pt", "b.pt", "c.pt", *NETWORK, "--points", "3", "--quiet"],
    "curvature": ["four-wells", "--k", "1", "--quiet"],
    "advise": ["four-wells", "--budget", "60", "--forecast", "--quiet"],
    "page": ["race", "--out", "page.html"],
    "merge": ["one", "--out", "merged"],
    "run": ["jobs.toml", "--list"],
    "dimension": ["lenet5"],
    "animate": ["race", "--frames", "3"],
    "record": ["exits.py"],
}
LEFT_OUT = {"tour": "minutes", "serve": "waits for visitors", "lessons": "minutes", "lecture": "minutes"}
# These start processes: tests/probe/engine.
PROCESSES = ("ray", "workers")
WORDS = [
    "", " ", "x" * 5000, "nan", "inf", "-inf", "-1", "0", "1", "1.5", "1e400", "9" * 30, "9223372036854775808", "1,2",
    "1,2,3", "nan,nan", "1:2", "2:1,nan:3", "a,,b", "\x1b[31mred", "[red]a[/b]", "<script>", "a\nb", "\ud800", "None",
    "True", "auto", "-", "--", "a/b/c", "n" * 300, "gd,gd", "adam,nonsense", "four-wells", "cross_entropy", "mse",
    "model", "pool:-1", "3x3", "1000000000x3", "1000000000", "1/2", "0/0", "3/2", "largest", "png,png", "pdf", "exe",
    "3.3in", "0in", "-1cm", "viridis", "my.py:make_model", "my.py:make_data", "my.py:objective", "my.py:raises",
    "my.py:ends", "my.py:nothing", "my.py:wide", "my.py:nans", "my.py:number", "my.py:none", "my.py:", ":x", "my.py",
    "syntax.py:a", "exits.py:a", "parses.py:make", "no.py:a", "no.module:a", "a.pt", "b.pt", "race", "one",
    "text.txt", "pipe", "full", "dangling", "loop", "n" * 300 + ".json", "text.txt/x.json", "odd.pt", "nan.pt",
    "jobs.toml", "bad.toml", "none.toml", "new.json", "new.csv", "new.vts", "new.png", "locked/x",
]  # fmt: skip


def prepared(folder: Path) -> None:
    """The files that the words name."""
    from public_calls import World

    (folder / "my.py").write_text(MINE)
    for name, text in BROKEN.items():
        (folder / name).write_text(text)
    for k, name in enumerate("abc"):
        torch.save(odd.mlp(k).state_dict(), folder / f"{name}.pt")
    torch.save({"a": float("nan")}, folder / "odd.pt")
    torch.save({name: value * float("nan") for name, value in odd.mlp().state_dict().items()}, folder / "nan.pt")
    (folder / "text.txt").write_text("no numbers\n")
    odd._fifo(folder)
    if os.geteuid() == 0:
        os.mknod(folder / "full", 0o666 | 0o020000, os.makedev(1, 7))
    (folder / "dangling").symlink_to("nowhere/there")
    (folder / "loop").symlink_to("loop")
    world = World(folder)
    world.race.save(folder / "race")
    world.ledgers(folder)
    shutil.move(folder / "1", folder / "one")


def commands() -> dict[str, click.Command]:
    """Every command by its name."""
    context = click.Context(group)
    return {name: found for name in group.list_commands(context) if (found := group.get_command(context, name))}


def lines(seed: int) -> list[list[str]]:
    """Every option of every command with every odd word, and some with two, in the order of the seed."""
    order, found = random.Random(seed), []
    for name, command in commands().items():
        if name not in LINES:
            continue
        places = []
        for option in command.params:
            if isinstance(option, click.Option) and option.name not in PROCESSES:
                words = [[option.opts[0]]] if option.is_flag else [[option.opts[0], word] for word in WORDS]
                places += [(option.name, word) for word in words]
        for at in range(len(LINES[name])):
            if not LINES[name][at].startswith("-"):
                found += [[name, *LINES[name][:at], word, *LINES[name][at + 1 :]] for word in WORDS]
        found += [[name, *LINES[name], *words] for _, words in places]
        for _ in range(len(places) // 2):
            (one, first), (two, second) = order.choice(places), order.choice(places)
            if one != two:
                found.append([name, *LINES[name], *first, *second])
    order.shuffle(found)
    return found


def fuzz(
    folder: Path, count: int, seed: int, limit: float = 8.0, seconds: float = float("inf")
) -> Iterator[tuple[str, Outcome]]:
    """Type `count` commands, each in a folder of its own kind, and look at what they leave."""
    home = folder / "home"
    home.mkdir()
    with quiet(), torch.random.fork_rng(devices=[]):
        prepared(home)
    before = Path.cwd()
    os.chdir(home)
    held = {path.name for path in home.iterdir()}
    watch = Watch(folder, {}, {}, limit)
    end = time.monotonic() + seconds
    try:
        for line in lines(seed)[:count]:
            if time.monotonic() > end:
                return
            said = " ".join(word if len(word) < 40 else f"{word[:20]}…" for word in line)
            yield said, watch(lambda line=line: typed(line))
            for path in home.iterdir():
                if path.name not in held:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            if held - {path.name for path in home.iterdir()} or not (home / "pipe").is_fifo():
                yield f"after {line}", Outcome("file", f"gone: {held - {path.name for path in home.iterdir()}}")
                return
    finally:
        os.chdir(before)


def typed(line: list[str]) -> None:
    """Run a command in this process; its exit code says how it ended."""
    try:
        main(line)
    except SystemExit as done:
        if done.code == 2:
            raise click.exceptions.Exit(2) from None
        if done.code not in (0, None):
            raise RuntimeError(f"exit code {done.code}") from done
