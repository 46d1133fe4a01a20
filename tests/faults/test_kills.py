"""Every command that writes, killed at random moments: what it had acknowledged is there, the same command goes on, and the end is
bit-identical to that of a run that nothing disturbed.

Acknowledged is what lies in a finished file, a row of a ledger, a line of a recording, a row of a lesson, and what was printed as
a result. Commands run in forks of this process, in which everything is imported: a kill costs a fraction of a second.
"""

import argparse
import contextlib
import json
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest
from safetensors.numpy import load_file

MODEL = """
import torch
from torch import nn

def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

def make_data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(60, 6, generator=generator), torch.arange(60) % 3

def slow_loss(output, target):
    import time
    time.sleep(0.002)
    return nn.functional.cross_entropy(output, target)
"""
# Resumes by itself, as a training script that may be killed does.
TRAIN = """
import os, torch
from my import make_data, make_model
x, y = make_data()
model = make_model()
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
begin = 0
if os.path.exists("mine.pt"):
    begin, weights, state = torch.load("mine.pt")
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
for step in range(begin, 120):
    if step % 20 == 0 and step > begin:
        torch.save((step, model.state_dict(), optimizer.state_dict()), "mine.new")
        os.replace("mine.new", "mine.pt")
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[step % 3 :: 3]), y[step % 3 :: 3]).backward()
    optimizer.step()
"""
LESSON = """
import time
from lossatlas.lessons import Check, Ending, Lesson

def experiment(runs, seed):
    yield "Six numbers, one after another."
    for k in range(6):
        time.sleep(0.05)
        yield Check(f"row {k} is there", f"it is {k * k}", True)
    yield Ending({"values": 6})

SIX = Lesson("X1", "What is known is kept.", experiment, depends="nothing.")
"""
JOBS = """
[[job]]
command = "chart"
model = "my.py:make_model"
data = "my.py:make_data"
loss = "my.py:slow_loss"
points = 5
seed = [0, 1]
exact = true
card = false
[[job]]
command = "race"
landscape = "four-wells"
optimizers = "gd,adam"
steps = 20
runs = 2
"""
PICTURE = b"\x89PNG" + 2**16 * b"." + b"IEND\xaeB\x60\x82"
OWN = "--model my.py:make_model --data my.py:make_data"


class Forked:
    """A job of `lossatlas run` as a fork in place of a fresh interpreter, which has what is passed on and no other open file."""

    def __init__(self, args, *, cwd, stdin, stdout, stderr, env, pass_fds):
        self.args = args
        self.pid = os.fork()
        if self.pid:
            return
        try:
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            # Those of pytest are files that are closed here.
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            for number in set(range(3, 256)) - set(pass_fds):
                with contextlib.suppress(OSError):
                    os.close(number)
            os.chdir(cwd)
            os.environ.update(env)
            from lossatlas.cli import main
            from lossatlas.cli._job import end_with
            from lossatlas.probe.engine import engine

            end_with(int(args[3]))
            with engine("inline"):
                main(args[5:])
        except SystemExit as ended:
            os._exit(ended.code or 0)
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            os._exit(70)

    def wait(self, timeout=None):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@dataclass(frozen=True)
class Verb:
    """A command that writes into `out`; what it prints and what must then lie there, by patterns of one group or none."""

    line: str
    told: dict[str, str] = field(default_factory=dict)
    out: str = "out"

    @property
    def words(self):
        return self.line.split()


VERBS = {
    "chart": Verb(f"chart {OWN} --out out --points 13 --no-card --quiet"),
    "chart, exact": Verb(f"chart {OWN} --loss my.py:slow_loss --out out --points 9 --exact --no-card --quiet"),
    "volume": Verb(f"volume {OWN} --out out --points 6 --quiet"),
    "compare": Verb(
        f"chart {OWN} --out out --points 5 --no-card --quiet --checkpoint a.safetensors --compare b.safetensors --seeds 2"
    ),
    "curvature": Verb(
        f"curvature {OWN} --out out --k 2 --probes 2 --steps 10 --limit 32 --quiet",
        {"extremes": "extremes.json", "trace": "estimate.json", "spectrum": "spectrum.json"},
    ),
    "connect": Verb(f"connect a.safetensors b.safetensors {OWN} --out out --quiet", {"barrier": "path.json"}),
    "connect, curve": Verb(
        f"connect a.safetensors b.safetensors {OWN} --kind bezier --steps 150 --resume out/training --out out --quiet",
        {"barrier": "path.json"},
    ),
    "record": Verb("record --out out --every 5 --resume --quiet train.py"),
    "race": Verb(
        "race four-wells --optimizers gd,annealing --steps 40 --runs 4 --out out --sweep lr=0.01:0.1:2 --map 6",
        {r"- gd[: ]": "race.json", r"gradient descent on .*: 6 × 6": "basins-gd/basins.json"},
    ),
    "lessons": Verb("lessons lesson.py:SIX --out out --resume"),
    "page": Verb("page results --out out/page.html", {"page.html": "page.html"}),
    "jobs": Verb("run jobs.toml --out out --workers 1", {r"\d/\d (\S+): done": "{}/job.json"}),
}
# Of a run and no result: what it cost, which a run that was killed has partly paid before.
COST = re.compile(
    r"second|meter|referee|cost|recalled|ledger|worker|clock|memory|forecast|asked|created|written|session|time|begun|digest|reading"
)


def prepared(folder):
    """Everything the commands read."""
    import torch
    from safetensors.torch import save_file

    import lossatlas as la

    for name, text in {"my.py": MODEL, "train.py": TRAIN, "lesson.py": LESSON, "jobs.toml": JOBS}.items():
        (folder / name).write_text(text)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        save_file(model.state_dict(), folder / f"{name}.safetensors")
    # What is imported and set up here is there in every fork.
    for module in pkgutil.walk_packages(la.__path__, "lossatlas."):
        if not re.search(r"ray|serve|widget|_job$|__main__", module.name):
            import_module(module.name)
    wells = la.landscapes.four_wells()
    plane = la.Frame(torch.zeros(2).double(), torch.eye(2).double())
    chart = la.chart(wells, plane, points=15, exact=True, progress=False)
    chart.save(folder / "results/chart")
    chart.plot().save(folder / "chart.png")


def quick_pictures():
    """Figures without their layout and rendering, which take ten times as long as all the rest: kills would meet little else."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from lossatlas.draw._display import Display

    Display.render = lambda self, *kind, **settings: PICTURE
    Figure.draw_without_rendering = lambda self: None
    ConstrainedLayoutEngine.execute = lambda self, figure: None


def begun(verb, folder, log):
    """The command in a fork; its process."""
    log.write_text("")  # one that is killed at once would leave what the last one printed
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        text = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(text, 1)
        os.dup2(text, 2)
        os.chdir(folder)
        sys.argv = ["lossatlas", *verb.words]
        from lossatlas.cli import main

        quick_pictures()
        subprocess.Popen = Forked

        main(verb.words)
    except SystemExit as ended:
        os._exit(ended.code or 0)
    except BaseException as error:
        os.write(2, repr(error).encode())
    os._exit(70)


def plain(value):
    """A record without what its run cost."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items() if not COST.search(name)}
    return [plain(one) for one in value] if isinstance(value, list) else value


def bare(record):
    """A record without its notes: a chart is written before its pictures are, and notes on them come later."""
    if isinstance(record, dict):
        return {name: bare(one) for name, one in record.items() if name != "notes"}
    return [bare(one) for one in record] if isinstance(record, list) else record


def difference(one, other, where="", more=False):
    """Where two records differ first, and what stands there; empty where they are alike.

    With `more` the second may hold more: entries of a record that grows, and the end of what was unfinished.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        if more and one.get("status") == "unfinished":
            one = {key: value for key, value in one.items() if key != "status"}
        if not (one.keys() <= other.keys() if more else one.keys() == other.keys()):
            return f"{where}: without {sorted(one.keys() - other.keys())}, with {sorted(other.keys() - one.keys())}"
        return next((told for key in one if (told := difference(one[key], other[key], f"{where}/{key}", more))), "")
    if (
        isinstance(one, list)
        and isinstance(other, list)
        and (len(one) <= len(other) if more else len(one) == len(other))
    ):
        pairs = enumerate(zip(one, other, strict=False))
        return next((told for k, pair in pairs if (told := difference(*pair, f"{where}/{k}", more))), "")
    return "" if one == other else f"{where}: {str(one)[:80]} became {str(other)[:80]}"


def points(file):
    """The rows of a ledger, read from a copy: its recovery is left to the next run."""
    with tempfile.TemporaryDirectory() as copy:
        for part in file.parent.glob("ledger.sqlite*"):
            shutil.copy(part, copy)
        with contextlib.closing(sqlite3.connect(Path(copy) / "ledger.sqlite")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), file
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'points'").fetchone():
                return {}
            rows = connection.execute("SELECT channel, a, b, status, value, extras FROM points").fetchall()
    return {tuple(row[:3]): row[3:] for row in rows}


def kept(folder):
    """What lies in a folder, by what names it: everything in it can be read, or is marked as unfinished by its name."""
    found = {}
    for file in sorted(folder.rglob("*")) if folder.exists() else []:
        name = str(file.relative_to(folder))
        if not file.is_file() or file.name.startswith(".") or file.name in ("log.txt", "ledger.lock", "job.json"):
            continue
        if file.name == "ledger.sqlite":
            found |= {(name, *key): row for key, row in points(file).items()}
        elif file.suffix == ".json":
            record = json.loads(file.read_text())
            if file.name.startswith("lesson-"):
                found |= {(name, number): check for number, check in enumerate(record.get("checks", []))}
            else:
                found[name] = plain(record)
        elif file.suffix == ".jsonl":
            lines = file.read_text().split("\n")
            # A last line without its end was not acknowledged.
            for line in map(json.loads, lines[:-1]):
                if "loss" in line or "point" in line:
                    found[name, line["step"]] = plain(line)
        elif file.suffix == ".safetensors":
            found[name] = {
                key: (array.dtype.str, array.shape, array.tobytes())
                for key, array in load_file(file).items()
                if not COST.search(key)
            }
        elif file.suffix == ".png":
            assert file.read_bytes().endswith(b"IEND\xaeB\x60\x82"), file
            found[name] = True
        elif file.suffix == ".html":
            found[name] = len(file.read_text()) > 0
    return found


def unkept(verb, folder, text):
    """What was printed as a result and does not lie in the folder."""
    wanted = [place.format(*match.groups()) for said, place in verb.told.items() for match in re.finditer(said, text)]
    return [place for place in wanted if not (folder / verb.out / place).exists()]


def files(folder):
    return {
        str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file() and not f.name.startswith("ledger.sqlite-")
    }


def once(verb, folder, log):
    """A run to its end; the seconds it took."""
    begin = time.monotonic()
    status = os.waitpid(begun(verb, folder, log), 0)[1]
    assert status == 0, f"{verb.line} ended with {status}: {log.read_text()[-2000:]}"
    return time.monotonic() - begin


@dataclass
class Count:
    """What came of kills of one verb."""

    kills: int = 0
    ends: int = 0
    lost: list[str] = field(default_factory=list)


def killed(verb, home, kills, seed, most=3):
    """So many kills of one verb, up to three in a row and then a run to the end, compared with a run that nothing disturbed."""
    calm, count, moments = home / "calm", Count(), random.Random(seed)

    def fresh(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        prepared_once = home / "ground"
        for part in prepared_once.iterdir():
            (folder / part.name).symlink_to(part) if part.is_dir() else shutil.copy(part, folder)

    if not (home / "ground").exists():
        (home / "ground").mkdir(parents=True)
        prepared(home / "ground")
    fresh(calm)
    seconds = once(verb, calm, home / "calm.txt")
    end, names = kept(calm / verb.out), files(calm / verb.out)
    assert end and not unkept(verb, calm, (home / "calm.txt").read_text())
    while count.kills < kills:
        rough, log, known = home / "rough", home / "rough.txt", {}
        fresh(rough)
        for _ in range(moments.randint(1, most)):
            process = begun(verb, rough, log)
            time.sleep(moments.uniform(0.02, 0.98) * seconds)
            os.kill(process, signal.SIGKILL)
            if os.waitpid(process, 0)[1] != signal.SIGKILL:
                break
            count.kills += 1
            now = kept(rough / verb.out)
            count.lost += [f"{key} was there and is gone" for key in known if key not in now]
            count.lost += [
                f"{key} changed: {told}"
                for key, one in known.items()
                if key in now and (told := difference(bare(one), bare(now[key]), more=True))
            ]
            count.lost += [f"{place} was printed and is not there" for place in unkept(verb, rough, log.read_text())]
            known |= now
        once(verb, rough, log)
        count.ends += 1
        last = kept(rough / verb.out)
        count.lost += [f"{key} was there and is gone" for key in known if key not in last]
        count.lost += [
            f"{key} differs at the end: {told}" for key, one in end.items() if (told := difference(one, last.get(key)))
        ]
        count.lost += [f"{name} is left over" for name in sorted(files(rough / verb.out) - names) if _unwanted(name)]
        count.lost += [f"{name} is missing" for name in sorted(names - files(rough / verb.out))]
    return count


def _unwanted(name):
    # A resumed recording also keeps the point at which it went on, and a resumed ledger further blobs.
    return not re.match(r"points/|blobs/", name)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    home = tmp_path_factory.mktemp("ground")
    prepared(home)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("name", VERBS)
def test_a_killed_command_loses_nothing_and_ends_the_same(name, ground, tmp_path):
    shutil.copytree(ground, tmp_path / "ground")
    count = killed(VERBS[name], tmp_path, 1, seed=len(name), most=1)
    assert count.kills and count.ends and not count.lost, count.lost


@pytest.mark.faults
@pytest.mark.parametrize("name", VERBS)
def test_many_kills_lose_nothing(name, ground, tmp_path):
    shutil.copytree(ground, tmp_path / "ground")
    count = killed(VERBS[name], tmp_path, 20, seed=0)
    assert not count.lost, count.lost


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verbs", nargs="*", help=f"of {', '.join(VERBS)}; all by default")
    parser.add_argument("--kills", type=int, default=19, help="of each verb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the table there")
    given = parser.parse_args()
    rows = []
    for name in given.verbs or VERBS:
        with tempfile.TemporaryDirectory() as home:
            begin = time.monotonic()
            count = killed(VERBS[name], Path(home), given.kills, given.seed)
            rows.append(f"| {name} | {count.kills} | {count.ends} | {len(count.lost)} |")
            print(
                name,
                count.kills,
                "kills,",
                count.ends,
                "ends,",
                len(count.lost),
                "lost,",
                f"{time.monotonic() - begin:.0f} s",
            )
            for one in dict.fromkeys(count.lost):
                print("   ", one, flush=True)
    if given.out is not None:
        lines = [
            "# Kills",
            "",
            "`kill -9` at random moments of every command that writes (`make faults`): up to three in a row, then the",
            "same command to its end, whose files are held against those of a run that nothing disturbed.",
            "",
            "| command | kills | ends | lost or changed |",
            "|---|---:|---:|---:|",
            *rows,
        ]
        given.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
