"""`kill -9` at random moments of one chart: nothing that was acknowledged is lost or asked again, and the end is the same.

The charts are made by children of a process that has torch loaded already: this file run as a script. A child writes every
point into a log before it asks the surface for it, so that what was asked is known even of a child that was killed.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import lossatlas as la
from lossatlas._errors import OutputError, PlaneError
from lossatlas.cli._chart import _cost
from lossatlas.cli._main import group
from lossatlas.probe import Inline, Probe

POINTS = 31


class Network(nn.Module):
    """A small convolution with batch norm and a shortcut, so that no exact structure is found."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.last = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 10)
        with torch.no_grad():
            self.norm.running_mean.normal_(0.0, 0.1)
            self.norm.running_var.uniform_(0.5, 1.5)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        return self.last((x + self.second(x)).relu().mean((2, 3)))


def network():
    torch.manual_seed(0)
    return Network().eval()


def data():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(300, 1, 8, 8, generator=generator), torch.randint(10, (300,), generator=generator)


def make(ground, folder, points=POINTS, **how):
    plane = la.Plane.random(ground, seed=1)
    return la.chart(ground, plane, span=1.0, points=points, ledger=folder, progress=False, **how)


def command(folder):
    """The same from the command line, with everything that it writes."""
    words = ["chart", "--model", f"{__file__}:network", "--data", f"{__file__}:data", "--out", str(folder)]
    group.main([*words, "--points", "61", "--no-card", "--quiet"], standalone_mode=False)
    return la.load(folder)


def arrays(chart):
    """Everything that is drawn, to the bit."""
    found = {"loss": chart.loss, "alpha": chart.alpha, "beta": chart.beta, **chart.extras}
    numbers = [chart.certificate.rms, *chart.certificate.interval, chart.certificate.worst]
    return {name: np.asarray(a).tobytes().hex() for name, a in {**found, "certificate": np.array(numbers)}.items()}


def child(ground, folder, how, threads, asked, result):
    """One run of the chart in a process of its own; returns its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        torch.set_num_threads(threads)
        log, read = os.open(asked, os.O_CREAT | os.O_WRONLY | os.O_APPEND), Inline.read

        def told(self, slice_, points):
            field = b"cheap" if "examples" in slice_.name else b"exact"
            os.write(log, b"".join(b"%s %d %d\n" % (field, *key) for key in points.view(torch.int64).tolist()))
            return read(self, slice_, points)

        Inline.read = told
        outputs = Probe.outputs

        def told_outputs(self, source, coords, keep=None):
            os.write(log, b"".join(b"exact %d %d\n" % tuple(key) for key in _keys(coords)))
            return outputs(self, source, coords, keep)

        Probe.outputs = told_outputs
        os.dup2(2, 1)  # what it says is not this script's answer
        chart = make(ground, folder, **how) if how else command(folder)
        record = {"arrays": arrays(chart), "meter": chart.meter.record()}
        temporary = Path(f"{result}.new")
        temporary.write_text(json.dumps(record))
        temporary.replace(result)
        os._exit(0)
    except BaseException as error:
        os.write(2, repr(error).encode())
    finally:
        os._exit(1)


def _keys(coords):
    """Coordinates by their bits, as the ledger names points; a line has no second one."""
    coords = np.ascontiguousarray(coords, dtype=np.float64)
    return np.pad(coords, ((0, 0), (0, 2 - coords.shape[1]))).view(np.int64).tolist()


def kept_outputs(folder):
    """The outputs at nodes that the ledger holds, by coordinates."""
    found = {}
    for blob in Path(folder).glob("blobs/*"):
        held = load_file(blob) if blob.suffix == ".safetensors" else {}
        places = held.pop("outputs at", torch.zeros(0, 2)).numpy()
        for row, key in enumerate(_keys(places)):
            found["exact {} {}".format(*key)] = tuple(part[row].numpy().tobytes() for part in held.values())
    return found


def acknowledged(folder):
    """What the ledger holds, read from a copy: its own recovery is left to the next run."""
    return points_of(folder) | kept_outputs(folder)


def points_of(folder):
    """Values in its table."""
    with tempfile.TemporaryDirectory() as copy:
        for part in Path(folder).glob("ledger.sqlite*"):
            shutil.copy(part, copy)
        if not (path := Path(copy) / "ledger.sqlite").exists():
            return {}
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = connection.execute("SELECT channel, a, b, status, value, extras FROM points").fetchall()
    return {f"{channel.split()[0]} {a} {b}": tuple(rest) for channel, a, b, *rest in rows}


def wait_for(asked, points, pid):
    """Until a child has asked for so many points, or has ended."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if points <= 0 or (asked.exists() and asked.read_bytes().count(b"\n") >= points):
            return
        time.sleep(0.0005)


def sweep(folder, kills, how, seed):
    """One uninterrupted chart, and one of the same that is killed again and again; what came of both."""
    torch.set_num_threads(1)
    folder, moments = Path(folder), random.Random(seed)
    ground = la.NetworkSurface(network(), "cross_entropy", data(), name="a small convolution")
    make(ground, None, points=3)  # all modules are loaded before the first fork
    pid = child(ground, folder / "calm", how, 1, folder / "calm.asked", folder / "calm.json")
    assert os.waitpid(pid, 0)[1] == 0
    total = len(acknowledged(folder / "calm"))
    sessions, killed, result = [], 0, folder / "rough.json"
    while not result.exists():
        before, asked = acknowledged(folder / "rough"), folder / f"rough.{len(sessions)}.asked"
        pid = child(ground, folder / "rough", how, 1 + len(sessions) % 2, asked, result)
        if killed < kills:
            # By progress, not by the clock, so that a busy machine kills no less; then at any moment of what follows.
            # Interpolated charts ask for a round of nodes at once, and begin every session with what is left.
            rounds = moments.uniform(0.1, 0.6) * (total - len(before))
            wait_for(asked, moments.uniform(-0.3, 1.7) * total / kills if "exact" in how else rounds, pid)
            time.sleep(moments.uniform(0, 0.02))
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        killed += os.WIFSIGNALED(status)
        asks = asked.read_text().split("\n")[:-1] if asked.exists() else []
        after = acknowledged(folder / "rough")
        sessions.append(
            {
                "killed": os.WIFSIGNALED(status),
                "known": len(before),
                "asked": len(asks),
                # A few cells of each field are evaluated again on purpose, before anything is recalled.
                "asked again": max(0, len(set(asks) & set(before)) - 3 * len({key.split()[0] for key in before})),
                "new": len(after) - len(before),
                "lost or changed": sum(after.get(key) != row for key, row in before.items()),
            }
        )
    with contextlib.closing(sqlite3.connect(folder / "rough" / "ledger.sqlite")) as connection:
        events = connection.execute("SELECT sum(points), sum(kept) FROM events WHERE kind = 'answered'").fetchone()
    calm, rough = (json.loads((folder / f"{name}.json").read_text()) for name in ("calm", "rough"))
    return {
        "sessions": sessions,
        "events": events,
        "rows": len(points_of(folder / "rough")),
        "points": len(acknowledged(folder / "rough")),
        "same ledger": acknowledged(folder / "rough") == acknowledged(folder / "calm"),
        "same arrays": calm["arrays"] == rough["arrays"],
        "meters": [calm["meter"], rough["meter"]],
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "how"),
    [
        pytest.param(20, {"exact": True}, marks=pytest.mark.faults),
        (4, {"exact": True}),
        pytest.param(5, {"points": 101}, marks=pytest.mark.faults),
        pytest.param(3, {}, marks=pytest.mark.faults),
    ],
    ids=["exact, 20 kills", "exact, 4 kills", "two fidelities, 5 kills", "command, 3 kills"],
)
def test_a_chart_killed_at_random_moments_ends_as_if_nothing_had_happened(tmp_path, kills, how):
    arguments = [sys.executable, __file__, str(tmp_path), str(kills), json.dumps(how)]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    sessions = found["sessions"]
    assert sum(session["killed"] for session in sessions) == kills
    assert found["same arrays"] and found["same ledger"]
    # No acknowledged point asked twice, none lost: by the log of the asks, by the ledger's events, and by the meter.
    assert sum(session["asked again"] for session in sessions) == 0
    assert sum(session["lost or changed"] for session in sessions) == 0
    assert [events or 0 for events in found["events"]] == [found["rows"], found["rows"]]
    calm, rough = found["meters"]
    assert calm["recalled"] == 0 and calm["values"] == found["points"]
    assert rough["recalled"] == sessions[-1]["known"] and rough["values"] + rough["confirmed"] == sessions[-1]["asked"]
    assert rough["values"] + rough["recalled"] == calm["values"]
    # The kills hit a sweep that was under way.
    assert sum(session["asked"] > 0 for session in sessions) >= kills / 2
    assert sum(0 < session["known"] < found["points"] for session in sessions) >= kills / 2


def test_a_chart_made_again_asks_nothing_and_a_finer_one_asks_what_is_missing(tmp_path):
    ground = la.landscapes.himmelblau()
    first = make(ground, tmp_path, points=9, exact=True)
    again = make(ground, tmp_path, points=9, exact=True)
    assert (again.meter.values, again.meter.recalled) == (0, 81)
    assert arrays(again) == arrays(first) == arrays(make(ground, None, points=9, exact=True))
    finer = make(ground, tmp_path, points=17, exact=True)
    assert (finer.meter.values, finer.meter.recalled) == (17**2 - 81, 81)


@pytest.mark.slow
def test_another_model_data_or_plane_is_refused_before_anything_is_asked(tmp_path):
    torch.manual_seed(0)
    pixels, labels = torch.randn(20, 4), torch.randint(3, (20,))

    def ground(width=5, scale=1.0, shift=0.0):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3))
        with torch.no_grad():
            model[0].weight.mul_(scale)
        return la.NetworkSurface(model, "cross_entropy", (pixels + shift, labels))

    class Colder(nn.Sequential):
        """The same weights under the same names, and another function."""

        def forward(self, x):
            return 0.5 * super().forward(x)

    torch.manual_seed(1)
    colder = Colder(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    make(ground(), tmp_path, points=3, exact=True)
    before = (tmp_path / "ledger.sqlite").read_bytes()
    plane = la.Plane.random(ground(), seed=7)
    for other, part in (
        (lambda: make(ground(width=6), tmp_path, points=3), "surface.dimension was 43, now 51"),
        (lambda: make(ground(scale=1.01), tmp_path, points=3), "surface.model was"),
        (lambda: make(ground(shift=1e-6), tmp_path, points=3), "surface.data was"),
        (
            lambda: make(la.NetworkSurface(colder, "cross_entropy", (pixels, labels)), tmp_path, points=3),
            "surface.loss_at_theta was",
        ),
        (lambda: la.chart(ground(), plane, points=3, ledger=tmp_path, progress=False), "plane.seed was 1, now 7"),
    ):
        with pytest.raises(OutputError, match="is of something else") as refused:
            other()
        assert part in str(refused.value)
    with pytest.raises(PlaneError):  # of another architecture; it leaves nothing behind in a new folder either
        la.chart(ground(width=6), plane, points=3, ledger=tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "ledger.sqlite").read_bytes() == before


LOSS = """import os
import torch
import torch.nn.functional as F

FACTOR = [1.0]


def my_loss(o, t):
    return F.cross_entropy(o, t)


def reads_a_file(o, t):
    with open(os.path.join(os.path.dirname(__file__), "factor.txt")) as file:
        return F.cross_entropy(o, t) * float(file.read())


def reads_the_environment(o, t):
    return F.cross_entropy(o, t) * float(os.environ.get("LOSS_FACTOR", "1"))


def reads_a_list(o, t):
    return F.cross_entropy(o, t) * FACTOR[0]


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def data():
    torch.manual_seed(1)
    return torch.randn(24, 4), torch.randint(0, 3, (24,))
"""
CUT = LOSS.replace(
    "return F.cross_entropy(o, t)\n\n\ndef reads_a_file",
    "return F.cross_entropy(o, t).clamp(max=2)\n\n\ndef reads_a_file",
)


def module(folder, text):
    """A file of the user's, as it is now."""
    made = types.ModuleType("lo")
    made.__file__ = str(folder / "lo.py")
    exec(compile(text, made.__file__, "exec"), made.__dict__)
    return made


def charted(loss, parts, folder, **how):
    """A chart of a small network, and its surface."""
    ground = la.NetworkSurface(parts.model(), loss, parts.data())
    plane = la.Plane.random(ground, seed=0, **{name: how.pop(name) for name in ("normalization",) if name in how})
    return la.chart(ground, plane, span=5, points=9, ledger=folder, progress=False, **{"exact": True, **how})


@pytest.mark.slow
def test_an_edited_loss_is_refused_and_charted_elsewhere(tmp_path, capsys):
    first, second = module(tmp_path, LOSS), module(tmp_path, CUT)
    assert charted(first.my_loss, first, tmp_path / "O").loss.max() > 3
    before = (tmp_path / "O" / "ledger.sqlite").read_bytes()
    with pytest.raises(OutputError, match=r"surface.code was .*The code of the loss computes something else now"):
        charted(second.my_loss, second, tmp_path / "O")
    assert (tmp_path / "O" / "ledger.sqlite").read_bytes() == before
    assert charted(second.my_loss, second, tmp_path / "other").loss.max() == 2.0
    # Lambdas have no names; comments are no edits.
    one, two = (eval(f"lambda o, t: F.cross_entropy(o, t){cut}", vars(first)) for cut in ("", ".clamp(max=2)"))
    charted(one, first, tmp_path / "lambda")
    with pytest.raises(OutputError, match=r"surface.code was"):
        charted(two, first, tmp_path / "lambda")
    commented = module(
        tmp_path,
        LOSS.replace("    return F.cross_entropy(o, t)\n", "    # as ever\n\n    return F.cross_entropy(o, t)\n"),
    )
    again = charted(commented.my_loss, commented, tmp_path / "O")
    assert (again.meter.values, again.meter.recalled, again.meter.confirmed) == (0, 81, 3)
    assert again.meter.examples == 3 * 24
    _cost(again)
    assert "81 more came from the ledger (3 of those were evaluated again and agreed)" in capsys.readouterr().out


@pytest.mark.slow
def test_an_edited_loss_is_refused_by_the_command_too(tmp_path):
    file = tmp_path / "lo.py"
    words = ["chart", "--model", f"{file}:model", "--data", f"{file}:data", "--loss", f"{file}:my_loss"]
    words += ["--points", "9", "--span", "5", "--exact", "--no-card", "--quiet", "--out", str(tmp_path / "O1")]
    file.write_text(LOSS)
    group.main(words, standalone_mode=False)
    file.write_text(CUT)
    with pytest.raises(OutputError, match="The code of the loss computes something else now"):
        group.main(words, standalone_mode=False)


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"exact": True}, {"exact": False, "subset": 8, "probes": 8}], ids=["exact", "cheap"])
@pytest.mark.parametrize("loss", ["reads_a_file", "reads_the_environment", "reads_a_list"])
def test_what_a_loss_reads_that_is_no_code_is_caught_by_cells_evaluated_again(tmp_path, monkeypatch, loss, how):
    parts = module(tmp_path, LOSS)

    def factor(value):
        (tmp_path / "factor.txt").write_text(value)
        monkeypatch.setenv("LOSS_FACTOR", value)
        parts.FACTOR[0] = float(value)

    # The loss at the center and the code that can be followed are the same: no name and no number tells the two apart.
    def only_far(o, t):
        whole = getattr(parts, loss)(o, t)
        plain = F.cross_entropy(o, t)
        return plain if plain < 1.5 else whole

    factor("1")
    charted(only_far, parts, tmp_path / "O", **how)
    assert charted(only_far, parts, tmp_path / "O", **how).meter.confirmed >= 3
    factor("0.5")
    with pytest.raises(
        OutputError, match=r"at cell \(.* the ledger has .*, the surface now gives .*\(a file, a global"
    ):
        charted(only_far, parts, tmp_path / "O", **how)


@pytest.mark.slow
def test_another_normalization_temperature_or_slice_is_another_chart(tmp_path):
    parts = module(tmp_path, LOSS)
    charted(parts.my_loss, parts, tmp_path / "O")
    with pytest.raises(OutputError, match=r'plane.normalization was "filter", now "layer"'):
        charted(parts.my_loss, parts, tmp_path / "O", normalization="layer")
    model = parts.model

    def hotter():
        net = model()
        net.forward = types.MethodType(lambda self, x: 3 * nn.Sequential.forward(self, x), net)
        return net

    parts.model = hotter
    with pytest.raises(
        OutputError, match=r"surface.model_code was .*The code of the model computes|surface.model_code was"
    ):
        charted(parts.my_loss, parts, tmp_path / "O")
    ground = la.NetworkSurface(model(), parts.my_loss, parts.data())
    slices = [ground.on(la.Plane.random(ground, seed=seed)) for seed in (0, 1)]
    frame = la.Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    la.chart(slices[0], frame, points=3, exact=True, ledger=tmp_path / "slice", progress=False)
    with pytest.raises(OutputError, match=r"surface.frame.direction 1 was"):
        la.chart(slices[1], frame, points=3, exact=True, ledger=tmp_path / "slice", progress=False)


@pytest.mark.slow
def test_a_comparison_resumes_and_refuses_an_edited_loss(tmp_path):
    first, second = module(tmp_path, LOSS), module(tmp_path, CUT)

    def compared(parts):
        grounds = {
            name: la.NetworkSurface(parts.model(), loss, parts.data())
            for name, loss in (("a", parts.my_loss), ("b", "cross_entropy"))
        }
        return la.compare(grounds, seeds=1, span=5, points=5, ledger=tmp_path / "C", progress=False)

    compared(first)
    assert (again := compared(first).meter).recalled == 50 and again.confirmed == 6
    with pytest.raises(OutputError, match=r"surface\.code was"):
        compared(second)


def test_what_no_seed_makes_again_is_kept(tmp_path):
    ground = la.landscapes.himmelblau()
    chart = {"points": 3, "exact": True, "progress": False}
    seeded = la.chart(ground, la.Plane.random(ground, seed=1), ledger=tmp_path / "seeded", **chart)
    assert seeded.ledger["blobs"] == []
    line = la.Line.between(ground, torch.tensor([0.0, 1.0]).double(), torch.tensor([3.0, 2.0]).double())
    made = la.chart(ground, line, ledger=tmp_path / "line", **chart)
    again = la.chart(ground, line, ledger=tmp_path / "line", **chart)
    assert made.ledger["blobs"] == again.ledger["blobs"] and again.meter.values == 0
    (name,) = made.ledger["blobs"]
    kept = load_file(tmp_path / "line" / "blobs" / name)
    assert torch.equal(kept["origin"], line.frame.origin) and torch.equal(kept["directions"], line.frame.directions)


@pytest.mark.slow
def test_a_chart_interrupted_by_hand_goes_on_and_its_forecast_is_of_what_is_missing(tmp_path):
    torch.manual_seed(0)
    model, data = (
        nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3)),
        (torch.randn(300, 4), torch.arange(300) % 3),
    )
    ground, said = la.NetworkSurface(model, "cross_entropy", data), []
    plane = la.Plane.random(ground, seed=1)

    def interrupts(done, total):
        if done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        la.chart(ground, plane, points=21, exact=True, ledger=tmp_path, progress=interrupts)
    resumed = make(ground, tmp_path, points=21, exact=True, on_forecast=said.append)
    known = resumed.meter.recalled
    assert 100 < known < 441 and resumed.meter.values == 441 - known
    assert said[0].evaluations == 441 - known and said[0].examples == 300 * (441 - known)
    assert (resumed.ledger["points"], resumed.ledger["evaluated"]) == (441, 441)
    again = make(ground, tmp_path, points=21, exact=True, on_forecast=said.append)
    assert len(said) == 1 and again.meter.values == 0 and arrays(again) == arrays(resumed)


if __name__ == "__main__":
    print(json.dumps(sweep(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), seed=0)))
