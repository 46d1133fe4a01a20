"""`lossatlas record`: a script that knows nothing of it runs as it would, and is recorded; and what is made of that."""

from __future__ import annotations

import json
import runpy
import sys

import pytest
import torch
from torch.optim.optimizer import _global_optimizer_pre_hooks

import lossatlas as la
from lossatlas.cli import main

SCRIPT = """
import sys
import torch
from neighbor import data, make
torch.manual_seed(int(sys.argv[1]))
model = make()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
x, y = data()
for step in range(35):
    rows = torch.randint(len(y), (32,))
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
    optimizer.step()
torch.save((model.state_dict(), optimizer.state_dict(), torch.get_rng_state()), sys.argv[3])
print(__name__, *sys.argv[1:])
"""
NEIGHBOR = """
from lossatlas.demo import digits, digits_mlp
def data():
    return digits("test")
def make():
    return digits_mlp((12,))
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "neighbor.py").write_text(NEIGHBOR)
    yield
    torch.set_num_threads(before)
    sys.modules.pop("neighbor", None)


def call(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(args))
    return int(ended.value.code or 0)


def plain(*args: str) -> None:
    """The script as Python runs it."""
    before = sys.argv, sys.path[:]
    sys.argv, sys.path[0:0] = ["train.py", *args], ["."]
    try:
        runpy.run_path("train.py", run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before


def bits(path: str) -> list[torch.Tensor]:
    weights, state, random = torch.load(path)
    moments = [v for part in state["state"].values() for v in part.values()]
    return [*weights.values(), *moments, random]


@pytest.mark.slow
def test_an_unchanged_script_runs_as_it_would_and_is_recorded(tmp_path, capsys):
    plain("5", "--lr", "plain.pt")
    capsys.readouterr()
    assert call("record", "--out", "run", "--every", "5", "train.py", "5", "--lr", "recorded.pt") == 0
    out, said = capsys.readouterr()
    assert out.strip() == "__main__ 5 --lr recorded.pt"
    assert "recording model (Sequential) as Adam steps it" in said and "recorded 8 points on the way to step 35" in said
    ours, theirs = bits("recorded.pt"), bits("plain.pt")
    assert len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    found = la.load("run")
    assert isinstance(found, la.Recording) and found.steps.tolist() == [0, 5, 10, 15, 20, 25, 30, 35]
    assert torch.equal(found.state(35)["0.weight"], torch.load("recorded.pt")[0]["0.weight"])
    assert not _global_optimizer_pre_hooks


@pytest.mark.slow
def test_a_run_is_charted_with_its_path(tmp_path, capsys, drawn):
    for name, seed in (("one", "1"), ("two", "2")):
        assert call("record", "--out", name, "--every", "5", "--quiet", "train.py", seed, "x", "x.pt") == 0
    assert capsys.readouterr().err == ""
    command = ["chart", "--model", "neighbor.py:make", "--data", "neighbor.py:data", "--plane", "pca", "--points", "7"]
    command += ["--through", "one", "--through", "two", "--exact", "--quiet", "--no-card"]
    assert call(*command, "--out", "out", "--json", "chart.json") == 0
    said = capsys.readouterr().out
    assert "- one: 8 points" in said and "- two: 8 points" in said and "random walk of 8 points" in said
    made = json.loads((tmp_path / "chart.json").read_text())
    seen = la.load("out/trajectory.json")
    assert made["provenance"]["plane"]["kind"] == "pca"
    assert (
        made["alpha"][0] < seen.runs["one"].coords[:, 0].min() < seen.runs["one"].coords[:, 0].max() < made["alpha"][-1]
    )
    # Without --checkpoint, the plane goes through the last point of the first run.
    assert seen.runs["one"].coords[-1] == pytest.approx([0, 0], abs=1e-6)
    assert (tmp_path / "out" / "path.png").stat().st_size > 10_000
    mean = [*command, "--centering", "mean", "--span", "2"]
    assert call(*mean, "--json", "mean.json") == 0
    assert json.loads((tmp_path / "mean.json").read_text())["alpha"][0] == -2
    capsys.readouterr()
    assert call(*command, "--through", "x.pt") == 2
    assert "got runs and single checkpoints together" in capsys.readouterr().err


@pytest.mark.slow
def test_a_script_that_fails_fails_as_it_would(tmp_path, capsys):
    (tmp_path / "bad.py").write_text(SCRIPT.replace("torch.save", "raise KeyError('mine')\ntorch.save"))
    assert call("record", "--out", "run", "bad.py", "1", "2", "3") == 1
    said = capsys.readouterr().err
    assert said.rstrip().endswith("KeyError: 'mine'") and "runpy" not in said and "bad.py" in said
    assert la.load("run").status == "ended by KeyError"
    (tmp_path / "leaves.py").write_text(SCRIPT.replace("torch.save", "sys.exit(3)\ntorch.save"))
    assert call("record", "--out", "other", "leaves.py", "1", "2", "3") == 3
    assert la.load("other").status == "ended by SystemExit"
    assert not _global_optimizer_pre_hooks


@pytest.mark.slow
def test_what_cannot_be_recorded_is_said(tmp_path, capsys):
    assert call("record", "none.py") == 2
    assert "there is no script 'none.py'" in capsys.readouterr().err
    for other in ("jobs.toml", "train.sh", "train.ipynb"):
        (tmp_path / other).write_text("[jobs]\n")
        assert call("record", "--out", "other", other) == 2
        assert f"the script {other!r} is no Python program" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    (tmp_path / "idle.py").write_text("print('ran')")
    assert call("record", "--out", "idle", "idle.py") == 2
    out, said = capsys.readouterr()
    assert out == "ran\n" and "no torch optimizer stepped while idle.py ran" in said
    (tmp_path / "loose.py").write_text(
        "import torch\nw = torch.zeros(3, requires_grad=True)\no = torch.optim.SGD([w], lr=1.0)\n"
        "w.sum().backward()\no.step()\nprint(w.tolist())"
    )
    assert call("record", "--out", "loose", "loose.py") == 2
    out, said = capsys.readouterr()
    assert out == "[-1.0, -1.0, -1.0]\n" and "are not all parameters of one torch.nn.Module" in said
    assert call("record", "--out", "run", "--every", "50", "--quiet", "train.py", "1", "2", "x.pt") == 0
    capsys.readouterr()
    assert call("record", "--out", "run", "train.py", "1", "2", "x.pt") == 2
    assert "holds a recording already" in capsys.readouterr().err


TWO = """
import torch
from neighbor import data, make
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = make(), torch.nn.Linear(10, 10)
    def forward(self, x):
        return self.head(self.body(x))
net, other = torch.compile(Net(), backend="eager"), make()
first, second = torch.optim.SGD(net.body.parameters(), lr=0.1), torch.optim.SGD(net.head.parameters(), lr=0.1)
x, y = data()
for step in range(4):
    net._orig_mod(x).square().mean().backward()
    first.step(), second.step()
"""


@pytest.mark.slow
def test_the_model_is_found_behind_a_wrapper_and_all_its_optimizers_make_one_step(tmp_path, capsys):
    (tmp_path / "two.py").write_text(TWO)
    assert call("record", "--out", "run", "--every", "2", "two.py") == 0
    said = capsys.readouterr().err
    assert said.count("recording net (Net) as 2 optimizers (SGD) step it") == 1
    found = la.load("run")
    assert found.steps.tolist() == [0, 2, 4] and [b.name for b in found.layout.blocks][-1] == "head.bias"
    assert found.ends[-1]["made"] == [4, 4]


GAN = """
import torch
from torch import nn
torch.manual_seed(0)
D, G = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)), nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
od, og = torch.optim.Adam(D.parameters()), torch.optim.Adam(G.parameters())
for _ in range(20):
    z, x = torch.randn(16, 3), torch.randn(16, 2)
    od.zero_grad(); (D(G(z).detach()).mean() - D(x).mean()).backward(); od.step()
    og.zero_grad(); (-D(G(z)).mean()).backward(); og.step()
torch.save((D.state_dict(), G.state_dict()), "both.pt")
"""


@pytest.mark.slow
def test_both_networks_of_a_gan_are_recorded_under_their_names(tmp_path, capsys):
    (tmp_path / "gan.py").write_text(GAN)
    assert call("record", "--out", "run", "gan.py") == 0
    said = capsys.readouterr().err
    assert "recording D (Sequential) as Adam steps it" in said and "recording G (Sequential) as Adam steps it" in said
    critic, generator = torch.load("both.pt")
    found = la.load("run")
    assert list(found.models) == ["D", "G"] and found.models["G"].folder.name == "G"
    for one, truth in zip(found.models.values(), (critic, generator), strict=True):
        assert one.steps.tolist() == [0, 10, 20] and one.manifest["name"] in one.sentence
        assert all(torch.equal(one.state(20)[key], truth[key]) for key in truth)
    assert "Recorded beside it: G." in found.sentence


@pytest.mark.slow
def test_an_optimizer_over_several_modules_records_them_together(tmp_path, capsys):
    (tmp_path / "pair.py").write_text(
        "import torch\nencoder, decoder = torch.nn.Linear(3, 2), torch.nn.Linear(2, 3)\n"
        "o = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.1)\n"
        "for _ in range(3):\n    decoder(encoder(torch.ones(4, 3))).sum().backward()\n    o.step()\n"
    )
    assert call("record", "--out", "run", "--every", "1", "pair.py") == 0
    assert [b.name for b in la.load("run").layout.blocks][::2] == ["encoder.weight", "decoder.weight"]


HOOKS = """
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
each = {p: torch.optim.SGD([p], lr=0.1) for p in net.parameters()}
def hook(p):
    each[p].step()
    each[p].zero_grad()
for p in net.parameters():
    p.register_post_accumulate_grad_hook(hook)
for _ in range(4):
    net(torch.ones(6, 4)).square().mean().backward()
    torch.save(net.state_dict(), f"{_ + 1}.pt")
"""


@pytest.mark.slow
def test_an_optimizer_per_parameter_is_one_line_and_one_step(tmp_path, capsys):
    (tmp_path / "hooks.py").write_text(HOOKS)
    assert call("record", "--out", "run", "--every", "1", "hooks.py") == 0
    assert capsys.readouterr().err.count("\n") == 2
    found = la.load("run")
    assert found.steps.tolist() == [0, 1, 2, 3, 4]
    for step in range(1, 5):
        truth = torch.load(f"{step}.pt")
        assert all(torch.equal(found.state(step)[key], truth[key]) for key in truth)


@pytest.mark.slow
def test_a_module_and_an_installed_command_are_programs(tmp_path, capsys, monkeypatch):
    (tmp_path / "training_package").mkdir()
    (tmp_path / "training_package" / "__init__.py").write_text("")
    (tmp_path / "training_package" / "inner.py").write_text("from . import train\n")
    (tmp_path / "training_package" / "train.py").write_text(
        SCRIPT.replace("import sys\n", "import sys\nfrom . import __name__ as p\n")
    )
    try:
        assert call("record", "--out", "a", "-m", "training_package.train", "5", "--lr", "a.pt") == 0
    finally:
        for name in ("training_package", "training_package.train"):
            sys.modules.pop(name, None)
    assert capsys.readouterr().out.strip() == "__main__ 5 --lr a.pt"
    tool = tmp_path / "bin" / "mytrain"
    tool.parent.mkdir()
    tool.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(tmp_path)!r})\n" + SCRIPT)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    assert call("record", "--out", "b", "mytrain", "5", "--lr", "b.pt") == 0
    a, b = la.load("a"), la.load("b")
    assert torch.equal(a.vector(35), b.vector(35))
    capsys.readouterr()
    assert call("record", "-m", "training_package.none") == 2
    assert "there is no module 'training_package.none' to run" in capsys.readouterr().err
    assert call("record", "torchrun", "--nproc-per-node", "2", "train.py") == 2
    assert "torchrun [its options] -m lossatlas record" in capsys.readouterr().err
    assert call("record", "x" * 300) == 2
    assert "there is no script" in capsys.readouterr().err


@pytest.mark.slow
def test_an_optimizer_that_was_made_and_never_stepped_is_named(tmp_path, capsys):
    (tmp_path / "never.py").write_text(
        "import torch\nn = torch.nn.Linear(2, 1)\no = torch.optim.RMSprop(n.parameters())\n"
    )
    assert call("record", "--out", "run", "never.py") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "no torch optimizer stepped while never.py ran" in said and "One (RMSprop) was made but never stepped" in said
    )


@pytest.mark.slow
def test_a_forked_child_that_trains_is_noticed(tmp_path, capsys):
    (tmp_path / "forks.py").write_text(
        "import os, torch\nn = torch.nn.Linear(2, 1)\no = torch.optim.SGD(n.parameters(), lr=0.1)\n"
        "child = os.fork()\nif child == 0:\n    o.step(); o.step(); os._exit(0)\nos.waitpid(child, 0)\n"
    )
    assert call("record", "--out", "run", "forks.py") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "1 forked child process stepped an optimizer. Only what is trained in this process is recorded" in said
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".run")]


@pytest.mark.slow
def test_of_a_launcher_s_processes_the_first_writes(tmp_path, capsys, monkeypatch):
    """As torchrun starts them: the second one begins while the first one's recording is there, and leaves it alone."""
    monkeypatch.setenv("RANK", "0")
    assert call("record", "--out", "run", "--every", "50", "train.py", "1", "2", "x.pt") == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    capsys.readouterr()
    monkeypatch.setenv("RANK", "1")
    assert call("record", "--out", "run", "--every", "50", "train.py", "2", "2", "x.pt") == 0
    assert capsys.readouterr().err == ""
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_sketched_recording(tmp_path):
    settings = ("--out", "run", "--every", "1", "--sketch", "128", "--keep", "4", "--quiet")
    assert call("record", *settings, "train.py", "1", "2", "x.pt") == 0
    found = la.load("run")
    assert len(found.rows) == 36 and found.sketches.shape == (36, 128) and len(found.kept) <= 5
    assert 0 < found.coordinates().error < 0.5
