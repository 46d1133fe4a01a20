"""What other programs get from every command: JSON, conditions, exit codes, and two streams."""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lossatlas as la
from lossatlas import archive
from lossatlas.cli import main
from lossatlas.cli._programs import Condition

MINE = """
import torch
from torch import nn

def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()

def make_data():
    print("a line of the user's own")
    generator = torch.Generator().manual_seed(1)
    return torch.randn(20, 4, generator=generator, dtype=torch.float64), torch.arange(20) % 3
"""
NETWORK = ("--model", "net_programs.py:make_model", "--data", "net_programs.py:make_data", "--quiet")
LINE = ("connect", "a.safetensors", "b.safetensors", *NETWORK, "--points", "9")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net_programs.py").write_text(MINE)
    shapes = {"0.weight": (5, 4), "0.bias": (5,), "2.weight": (3, 5), "2.bias": (3,)}
    for seed, name in ((3, "a"), (4, "b")):  # a pair with a barrier
        torch.manual_seed(seed)
        save_file({key: 2 * torch.randn(shape).double() for key, shape in shapes.items()}, f"{name}.safetensors")
    return tmp_path


def run(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code


@pytest.mark.slow
def test_the_output_stream_holds_json_and_nothing_else(mine, capsys):
    assert run(*LINE, "--json", "-") == 0
    streams = capsys.readouterr()
    record = json.loads(streams.out)
    assert record["schema"] == archive.SCHEMA and record["command"] == "connect"
    assert record["barrier"] == pytest.approx(_barrier())
    assert "a line of the user's own" in streams.err and "- barrier: max over t" in streams.err
    assert run(*LINE, "--json", "c.json") == 0
    streams = capsys.readouterr()
    assert "- barrier: max over t" in streams.out and not streams.err


@pytest.mark.slow
def test_where_something_was_written_is_a_message(mine, capsys, caplog):
    assert run(*LINE, "--out", "out") == 0
    streams = capsys.readouterr()
    assert "- barrier: max over t" in streams.out and "written" not in streams.out
    assert "written: out" in streams.err and "barrier" not in streams.err
    assert ("lossatlas", logging.INFO, "written: out") in caplog.record_tuples


@pytest.mark.slow
def test_a_condition_decides_the_exit_code(mine, capsys):
    truth = _barrier()
    assert truth > 0
    assert run(*LINE, "--fail-if", f"barrier > {truth / 2}", "--json", "c.json") == 3
    assert f"lossatlas: failed, since barrier > {truth / 2}: barrier is {truth:.6g}" in capsys.readouterr().err
    (tested,) = json.loads(Path("c.json").read_text())["conditions"]
    assert tested == {"condition": f"barrier > {truth / 2}", "holds": True, "says": f"barrier is {truth:.6g}"}
    assert run(*LINE, "--fail-if", f"barrier>{2 * truth}", "--fail-if", "status != complete") == 0
    assert run(*LINE, "--fail-if", "barier>1", "--json", "d.json") == 2
    assert "Did you mean 'barrier'?" in capsys.readouterr().err
    assert json.loads(Path("d.json").read_text())["barrier"] == pytest.approx(truth)


def _barrier():
    surface = la.NetworkSurface(_model(), "cross_entropy", _data())
    return la.connect(surface, "a.safetensors", "b.safetensors", points=9, progress=False).barrier


def _model():
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()


def _data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(20, 4, generator=generator, dtype=torch.float64), torch.arange(20) % 3


@pytest.mark.parametrize("text", ["", "barrier", ">1", "barrier>", "a>1>2", "a>x", "a<nan", "a=1", "__import__('os')"])
def test_what_is_no_condition_is_refused_before_the_work(mine, capsys, text):
    assert run(*LINE, "--fail-if", text, "--json", "never.json") == 2
    streams = capsys.readouterr()
    assert "got --fail-if" in streams.err and not streams.out and not Path("never.json").exists()


RECORD = {
    "barrier": 0.3, "lost": float("nan"), "none": None, "status": "complete", "fine": True, "top": {"values": [3.0, 1.0]},
    "racers": {"gd, lr=0.1": {"rate": 0.5}, "adam": {"rate": 1.0}}, "parts": [{"size": 4}, {"size": 7}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("barrier>0.1", True), ("barrier >= 0.3", True), ("barrier<0.3", False), ("barrier<=3e-1", True), ("barrier==0.3", True),
        ("barrier!=0.3", False), ("status==complete", True), ("status != 'complete'", False), ("fine==1", True),
        ("top.values > 2", True), ("top.values < 1", False), ("values.1 <= 1", True), ("gd, lr=0.1.rate > 1", None),
        ("adam.rate > 0.9", True), ("parts.1.size > 4", True), ("lost > 5", True), ("lost < 5", True), ("none > 5", True),
        ("status > 5", True), ("rate > 0", None), ("size>3", None), ("top>1", None), ("ba>1", None), ("barrier>-inf", True),
    ],
)  # fmt: skip
def test_a_condition_on_a_record(text, holds):
    if holds is None:
        with pytest.raises(la.InputError):
            Condition.read(text).holds(RECORD)
    else:
        assert Condition.read(text).holds(RECORD)[0] is holds


@pytest.mark.slow
def test_a_tolerance_that_was_typed_and_missed_has_an_exit_code_of_its_own(mine, capsys):
    words = ("curvature", *NETWORK, "--k", "1", "--probes", "0", "--sharpness", "none")
    Path("wide.py").write_text(MINE.replace("5)", "20)").replace("(5,", "(20,").replace("net_programs", "wide"))
    wide = [word.replace("net_programs", "wide") for word in words]
    assert run(*wide, "--relative", "1e-6", "--limit", "32", "--json", "c.json") == 4
    assert "the trace reached ±" in capsys.readouterr().err
    assert json.loads(Path("c.json").read_text())["missed"][0].endswith("not ± 1e-06")
    assert run(*wide, "--limit", "32") == 0  # the default was not asked for


@pytest.mark.slow
def test_messages_have_levels_and_are_logged(mine, capsys, caplog):
    with caplog.at_level(logging.DEBUG, "lossatlas"):
        assert run("--log-level", "debug", *LINE, "--json", "c.json") == 0
    assert "wrote c.json" in capsys.readouterr().err and any(
        "wrote c.json" in text for *_, text in caplog.record_tuples
    )
    assert run("--log-level", "error", *LINE, "--json", "c.json") == 0
    assert not capsys.readouterr().err
    assert not logging.getLogger("lossatlas").handlers


def test_options_that_measure_nothing_meet_no_condition(mine, capsys):
    assert run("chart", *NETWORK, "--policy", "--fail-if", "rms>1") == 2
    assert "measure nothing" in capsys.readouterr().err
