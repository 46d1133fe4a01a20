"""`lossatlas advise`: on a landscape, on the user's own function, on a suite, on a network."""

import json
from pathlib import Path

import pytest

import lossatlas as la
from lossatlas.cli import main

MINE = """
import torch
from lossatlas.demo import digits, digits_mlp

def f(x):
    return (x[0] - 1) ** 2 + 3 * (x[1] - x[0]) ** 2

def make_model():
    return digits_mlp((4,))

def make_data():
    return digits("test")
"""


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(["advise", *words])
    return end.value.code


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.py").write_text(MINE)


@pytest.mark.slow
def test_a_landscape_is_forecast_then_advised_on_written_and_read_back(capsys):
    assert run("himmelblau", "--budget", "150", "--seed", "2", "--out", "out", "--json", "a.json") == 0
    said = capsys.readouterr().out
    assert said.index("forecast: 150 evaluations") < said.index("himmelblau: ") < said.index("threshold 30: no")
    advice = la.load("out")
    assert advice.spent <= 150 and advice.sentence in said
    record = json.loads(Path("a.json").read_text())
    assert record["advised"] == advice.advised and record["meter"]["values"] == advice.meter.values
    assert {"tree.png", "race.png"} <= {path.name for path in Path("out").iterdir()}


def test_the_forecast_alone_writes_nothing(capsys):
    assert run("himmelblau", "--forecast", "--out", "out") == 0
    assert "forecast: 500" in capsys.readouterr().out and not Path("out").exists()


@pytest.mark.slow
def test_a_function_of_ones_own():
    assert run("--function", "my.py:f", "--box", "-2:2,-1:3", "--budget", "100", "--out", "out") == 0
    assert la.load("out").loss < 1e-3


def test_a_function_of_a_suite(capsys):
    pytest.importorskip("ioh")
    assert run("--bbob", "f1", "--dim", "3", "--budget", "100") == 0
    assert "bbob f1 in 3-D" in capsys.readouterr().out


@pytest.mark.slow
def test_a_budget_too_small_says_how_much_would_do(capsys):
    assert run("rastrigin", "--budget", "15", "--out", "out") == 0
    assert "would do" in capsys.readouterr().out and not Path("out/race.png").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["himmelblau", "--dim", "3"], "--dim without --bbob"),
        (["himmelblau", "--batch-size", "8"], "--batch-size on a landscape"),
        (["himmelblau", "--budget", "0"], "budget=0"),
        (["--function", "my.py:f"], "--function alone"),
        ([], "no landscape"),
        (["himmelblau", "--model", "my.py:make_model", "--data", "my.py:make_data"], "with --model"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(words, says, capsys):
    assert run(*words) == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_an_interruption_keeps_what_was_found(capsys):
    Path("stops.py").write_text(
        "calls = []\ndef f(x):\n    calls.append(1)\n    if len(calls) > 150:\n        raise KeyboardInterrupt\n"
        "    return float((x[0] - 1) ** 2 + abs(float(x[1])))\n"
    )
    assert run("--function", "stops.py:f", "--box", "-2:2,-1:3", "--out", "out") == 130
    advice = la.load("out")
    assert advice.status.startswith("interrupted after 1") and advice.status in capsys.readouterr().out
    assert 100 < len(advice.seen) <= 150 and advice.loss < 1


@pytest.mark.slow
def test_a_network_is_advised_a_rate(capsys):
    assert run("--model", "my.py:make_model", "--data", "my.py:make_data", "--budget", "600", "--out", "out") == 0
    advice = la.load("out")
    assert 0 < advice.spent <= 600 and set(advice.rates) == {"gd", "momentum", "adam"}
    assert "Is the mini-batch mostly noise?" in capsys.readouterr().out
