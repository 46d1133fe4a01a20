"""Nothing is unpickled, evaluated or fetched by any verb, nothing is written elsewhere, and names stay text."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import lossatlas as la

sys.path.insert(0, str(Path(__file__).parent))

import audited
import command_lines

from lossatlas.cli._jobs import Job, State
from lossatlas.cli._summary import write

HOSTILE = "</script><script>alert(1)</script>"
TRAIN = """import torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
"""


class Evil:
    """What a file of weights may hold: a call of its own choice."""

    def __reduce__(self):
        return (os.mkdir, ("unpickled",))


@pytest.mark.slow
def test_no_verb_unpickles_evaluates_or_opens_a_socket(tmp_path):
    command_lines.prepared(tmp_path)
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "out").mkdir()
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"0.weight": Evil()}))
    network, quiet = command_lines.NETWORK, ["--quiet"]
    lines = [
        ["race", "four-wells", "--optimizers", "gd", "--steps", "3", "--out", "out/race", "--json", "out/race.json"],
        ["chart", *network, "--points", "3", "--exact", *quiet, "--out", "out/chart", "--export", "out/chart.csv"],
        ["volume", *network, "--points", "2", *quiet, "--out", "out/volume", "--export", "out/volume.vti"],
        ["connect", "a.pt", "b.pt", *network, "--points", "3", *quiet, "--json", "out/connect.json"],
        ["barriers", "a.pt", "b.pt", "c.pt", *network, "--points", "3", *quiet, "--json", "out/barriers.json"],
        ["curvature", "four-wells", "--k", "1", *quiet, "--json", "out/curvature.json"],
        ["advise", "four-wells", "--budget", "60", "--forecast", *quiet],
        ["dimension", "lenet5", "--json", "out/dimension.json"],
        ["page", "out/race", "--out", "out/page.html"],
        ["merge", "one", "--out", "out/merged"],
        ["run", "jobs.toml", "--list"],
        ["lessons", "A2", "--quick", "--json", "out/lessons.json"],
        ["record", "--out", "out/run", "train.py"],
        ["chart", *network, "--checkpoint", "evil.pt", "--points", "3", *quiet, "--json", "out/evil.json"],
        ["page", "out", "--out", "out/all.html"],
    ]
    (tmp_path / "lines.json").write_text(json.dumps(lines))
    done = subprocess.run(
        [sys.executable, audited.__file__, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "seen.json").read_text())
    ended = dict(zip([" ".join(line[:2]) for line in lines], found["codes"], strict=True))
    assert found["codes"] == [2 if "evil.pt" in line else 0 for line in lines], (ended, done.stderr[-2000:])
    assert found["seen"] == []
    assert not (tmp_path / "unpickled").exists() and not (tmp_path / "out" / "evil.json").exists()


def test_the_hook_sees_what_it_is_there_for(tmp_path, monkeypatch):
    monkeypatch.setattr(audited, "seen", [])
    monkeypatch.setattr(audited, "allowed", (str(tmp_path),))
    audited.hook("pickle.find_class", ("os", "mkdir"))
    audited.hook("socket.connect", (None, ("127.0.0.1", 80)))
    audited.hook("open", (str(tmp_path / "in"), "w", os.O_WRONLY))
    audited.hook("open", ("/elsewhere", "r", os.O_RDONLY))
    audited.hook("open", ("/elsewhere", "w", os.O_WRONLY | os.O_CREAT))
    monkeypatch.setattr(audited, "SOURCE", str(Path(__file__).parent))
    audited.hook("exec", ("1 + 1",))
    assert [one.split()[0] for one in audited.seen] == ["pickle.find_class", "socket.connect", "open", "exec"]


@pytest.mark.slow
def test_names_stay_text_in_the_summary_of_jobs_and_in_pages(tmp_path):
    (tmp_path / HOSTILE.replace("/", "|")).mkdir()
    job = Job(HOSTILE, "race", {}, (HOSTILE,))
    write(tmp_path, [job], {HOSTILE: State("failed", 0.0, HOSTILE)})
    surface = la.Function(
        lambda x: (x * x).sum(), box=[(-1, 1), (-1, 1)], start=[0.5, 0.5], name=HOSTILE, names=[HOSTILE, "b"]
    )
    race = la.race(surface, {HOSTILE: "gd"}, steps=2, progress=False)
    page = la.page(race, path=tmp_path / "page.html", title=HOSTILE).read_text()
    texts = {"summary": (tmp_path / "summary.html").read_text(), "page": page, "race": race._repr_html_()}
    for name, text in texts.items():
        assert "<script>alert" not in text and "</script><script" not in text, name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fifo", "stdout"])
def test_numbers_for_other_programs_go_into_a_pipe(tmp_path, kind):
    (tmp_path / "pipe").symlink_to("/dev/stdout") if kind == "stdout" else os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK) if kind == "fifo" else None
    command = [
        sys.executable,
        "-c",
        "from lossatlas import archive; archive.write_json('pipe', {'a': 1}); print('after')",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    got = done.stdout if reader is None else os.read(reader, 1000).decode() + done.stdout
    assert json.loads(got.removesuffix("after\n")) == {"a": 1} and got.endswith("after\n")
    assert (tmp_path / "pipe").is_symlink() if reader is None else (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
