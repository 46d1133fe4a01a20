"""`lossatlas race` on what the user's own file holds: a function of a vector, or a landscape."""

import json
from pathlib import Path

import pytest

import lossatlas as la
from lossatlas.cli import main

MINE = """
from lossatlas.surface.landscapes import Formula, Landscape, Minimum

def f(x):
    return (x[0] - 1) ** 2 + 3 * (x[1] - x[0]) ** 2

class Bowl(Formula):
    def value(self, u):
        return u[0] ** 2 + 4 * u[1] ** 2

bowl = Landscape("bowl", Bowl(), bounds=[(-3, 3)] * 2, start=(-2.5, 2.0), minima=[Minimum("global", (0.0, 0.0))])

def moved():
    return bowl.moved(shift=(0.5, 0.0))

number = 3
"""


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(["race", *words, "--optimizers", "gd", "--steps", "200", "--json", "r.json", "--out", "out"])
    return end.value.code


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.py").write_text(MINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "end"),
    [
        (("--function", "my.py:f", "--box", "-2:2,-1:3"), (1.0, 1.0)),
        pytest.param(("my.py:bowl",), (0.0, 0.0), marks=pytest.mark.slow),
        pytest.param(("my.py:moved",), (0.5, 0.0), marks=pytest.mark.slow),
    ],
)
def test_a_race_on_ones_own_surface_is_saved_and_loaded(mine, words, end, capsys):
    assert run(*words) == 0, capsys.readouterr().err
    found = json.loads(Path("r.json").read_text())["racers"]["gd"]["final"][0]
    assert found == pytest.approx(end, abs=0.05)
    assert la.load("out").final("gd")[0].tolist() == pytest.approx(found)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--function", "my.py:f"), "--box LOW:HIGH"),
        (("four-wells", "--box", "-1:1"), "--function"),
        (("four-wells", "--function", "my.py:f", "--box", "-2:2,-1:3"), "four-wells"),
        (("--bbob", "f1", "--function", "my.py:f", "--box", "-2:2,-1:3"), "f1"),
        (("--function", "my.py:f", "--box", "-2,3:1"), "low, high"),
        (("--function", "my.py:f", "--box", "1:-1,0:1"), "low ≤ high"),
        (("--function", "my.py:f", "--box", "a:b"), "--box"),
        (("--function", "my.py:number", "--box", "0:1"), "expected a function"),
        (("my.py:number",), "a function that returns one"),
        (("my.py:f",), "without arguments"),
    ],
)
def test_what_cannot_be_raced_on_is_refused_in_one_paragraph(mine, words, says, capsys):
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said
