"""`lossatlas race --model … --data …`."""

from __future__ import annotations

import json
import sys

import pytest
import torch

import lossatlas as la
from lossatlas.cli import main
from lossatlas.demo import digits

MINE = """
import torch
from lossatlas.demo import digits, digits_mlp
def data():
    return digits("train")
def test():
    return digits("test")
def make():
    return torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(8, 10))
def fixed():
    return digits_mlp((8,))
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    yield
    torch.set_num_threads(before)
    sys.modules.pop("mine", None)


def call(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["race", *args])
    return int(ended.value.code or 0)


BASE = ("--model", "mine.py:make", "--data", "mine.py:data", "--eval", "--steps", "15")


@pytest.mark.slow
def test_a_network_is_raced_on(tmp_path, capsys):
    more = ("--test", "mine.py:test", "--optimizers", "adam(lr=0.01),muon", "--runs", "2", "--tune", "2")
    assert call(*BASE, *more, "--batch-size", "32", "--out", "out", "--json", "race.json") == 0
    said, messages = capsys.readouterr()
    assert (
        "2 runs each on mini-batches of 32, tuned blindly over 2 settings each" in said and "written: out" in messages
    )
    record = json.loads((tmp_path / "race.json").read_text())
    assert record["runners"]["adam"]["meter"]["gradients"] == 30 and record["provenance"]["trials"] == 2
    race = la.load("out")
    assert isinstance(race, la.NetworkRace) and race.final("muon").shape == (2, 610)
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    axes = ("queries", "examples", "seconds")
    assert pictures == {"ends.png", *(f"{what}-{axis}.png" for what in ("loss", "test-error") for axis in axes)}
    # Every run begins at the weights that its own seed gives.
    assert not torch.equal(torch.tensor(race.runners["muon"].loss[0, 0]), torch.tensor(race.runners["muon"].loss[1, 0]))


@pytest.mark.slow
def test_a_model_that_is_always_the_same_is_told_of(capsys):
    assert (
        call("--model", "mine.py:fixed", *BASE[2:], "--optimizers", "adam", "--runs", "2", "--batch-size", "all") == 0
    )
    out = capsys.readouterr().out
    assert "all runs began at the same point" in out and "on all data" in out


@pytest.mark.slow
def test_runs_begin_at_the_checkpoint(tmp_path, capsys):
    torch.manual_seed(9)
    net = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(8, 10))
    torch.save(net.state_dict(), "w.pt")
    words = (*BASE[:5], "--checkpoint", "w.pt", "--steps", "1", "--optimizers", "adam")
    assert call(*words, "--batch-size", "all", "--json", "race.json", "--out", "out") == 0
    surface = la.NetworkSurface(net.eval(), "cross_entropy", digits("train"))
    assert la.load("out").runners["adam"].loss[0, 0] == pytest.approx(surface.loss_at_theta, rel=1e-5)


def test_bad_input(capsys):
    for args, said in (
        (("--model", "mine.py:make"), "got --model; expected both"),
        (("--checkpoint", "w.pt", "--eval"), "got --checkpoint, --eval; expected both"),
        ((*BASE, "--batch-size", "many"), "got --batch-size 'many'"),
        (("four-wells", *BASE), "got LANDSCAPE with --model"),
        ((*BASE, "--start", "1,2", "--why"), "got --start, --why with --model"),
        ((*BASE, "--optimizers", "annealing"), "annealing queries no gradients"),
        ((*BASE[:4], "--steps", "3"), "training mode"),
        ((*BASE, "--dim", "3"), "got --dim with --model"),
        ((*BASE, "--box", "0:1"), "got --box with --model"),
        (("four-wells", "--batch-size", "8"), "got --batch-size on a landscape"),
        (("four-wells", "--dim", "3", "--instance", "2"), "got --dim, --instance without --bbob"),
    ):
        assert call(*args) == 2
        assert said in capsys.readouterr().err
