"""Lessons run, say what came out, and can come out otherwise."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lossatlas as la
from lossatlas import archive
from lossatlas.lessons import Check, Evidence, Lesson, Part, claims, register
from lossatlas.lessons._catalog import MODULES

FAST = {
    "E1": 1,
    "A2": None,
    "B2": None,
    "C1": None,
    "C2": None,
    "C4": None,
    "H2": 2,
}
SLOW = {
    "C3": 40,
    "B6": 2,
    "A3": 2,
    "A1": None,
    "D1": 2,
    "D2": 2,
    "D3": 3,
    "A4": None,
    "A5": 20,
    "D4": 2,
    "D5": 2,
    "D6": 2,
    "D7": 2,
    "E3": 2,
    "E4": 2,
    "E2": 2,
    "E5": None,
    "B1": None,
    "B3": None,
    "B4": 2,
    "B5": 2,
    "B7": 2,
    "C5": 50,
    "C6": 50,
    "C7": 20,
    "F1": 2,
    "F2": 3,
    "G1": 2,
    "G2": 3,
    "G3": 2,
    "G4": 2,
    "H1": 2,
    "H3": 4,
}
# Names in the files of lessons, and what makes them shorter still: that they run does not hang on how far they train.
SHORTER = {
    "B4": {"STEPS": 60, "FEW": 15},
    "B5": {"BOWL_STEPS": 600, "SHORT": 60},
    "B6": {"BOWL_STEPS": 20},
    "B7": {"STEPS": 40},
    "C3": {"STEPS": 100, "ANNEALING_STEPS": 400},
    "C5": {"STEPS": 150, "ANNEALING_STEPS": 300, "RESTART_STEPS": 60},
    "C6": {"STEPS": 50},
    "C7": {"STEPS": 60, "QUICK_FULL": 10, "QUICK_SETTLING": 50},
    "D2": {"QUICK_STEPS": 150, "NETWORK_STEPS": 50},
    "D3": {"TARGET": 0.2},
    "D4": {"QUICK_STEPS": 20, "QUICK_CNN_STEPS": 4},
    "D5": {"QUICK_PLANTED": 2, "QUICK_EPOCHS": 1},
    "D7": {"QUICK_FULL": 8, "QUICK_SETTLING": 60},
    "E2": {"QUICK_EPOCHS": 1, "QUICK_EXAMPLES": 40, "QUICK_POINTS": 5, "DEEP": 2},
    "E3": {"QUICK_EPOCHS": 2, "QUICK_POINTS": 7},
    "F1": {"VALUES": 50},
    "F2": {"STEPS": 60, "CELLS": 8},
    "G3": {"QUICK_STEPS": 30, "QUICK_SETTLING": 100, "TRAPPED": 200},
    "G4": {"SETTLING": 150},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAST))
def test_a_lesson_runs_and_its_evidence_is_json(name, sketched):
    evidence = la.lesson(name).run(runs=FAST[name])
    record = json.loads(json.dumps(evidence.record(), allow_nan=False))
    assert record["id"] == name and record["claim"] == claims()[name] and record["checks"]
    assert record["outcome"] in ("supported", "not supported here", "depends")
    if name != "A2":
        assert sum(record["cost"].values()) > 0
    assert all(check["measured"] for check in record["checks"])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_a_long_lesson_runs_too(name, tmp_path, monkeypatch, sketched):
    file = la.lesson(name).experiment.__globals__
    assert SHORTER.get(name, {}).keys() <= file.keys()
    for constant, shorter in SHORTER.get(name, {}).items():
        monkeypatch.setitem(file, constant, shorter)
    # What no fix does has an infinite price, which plain JSON has no word for.
    record = la.lesson(name.lower()).run(runs=SLOW[name], quick=True).record()
    assert archive.read_json(archive.write_json(tmp_path / "lesson.json", record))["checks"] == record["checks"]
    assert record["id"] == name and record["checks"] and sum(record["cost"].values()) > 0


def test_every_lesson_is_tried():
    assert set(MODULES) == FAST.keys() | SLOW.keys()


def test_the_page_of_lessons_lists_every_one():
    page = (Path(__file__).parents[2] / "docs" / "lessons.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| ([A-Z]\d) \|", page, re.MULTILINE) == list(MODULES)


def test_the_outcome_is_what_the_checks_say():
    yes, no = Check("a", "1", True), Check("b", "2", False)

    def outcome(*checks):
        return Evidence("X", "claim", (Part("experiment", checks, {}),)).outcome

    assert outcome(yes, yes) == "supported"
    assert outcome(no, no) == "not supported here"
    assert outcome(yes, no) == "depends"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_evidence():
    one, two = (la.lesson("C3").run(runs=10, seed=3).record() for _ in range(2))
    one.pop("seconds"), two.pop("seconds")
    assert one == two


def test_an_unknown_lesson_names_the_nearest():
    with pytest.raises(la.LossAtlasError, match="Known: A1"):
        la.lesson("Q7")


@pytest.mark.slow
def test_the_list_states_every_claim_and_runs_no_lesson():
    """A list that imported the lessons would take the seconds that torch takes."""
    line = "import sys; from lossatlas.lessons import claims; print(len(claims()), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(len(MODULES)), "False"]
    assert all(claims()[name] == la.lesson(name).claim and la.lesson(name).id == name for name in ("A2", "B6", "C2"))


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setattr("lossatlas.lessons._catalog._registered", {})

    def experiment(runs, seed):
        return Part(
            f"Drawn {runs} times.", (Check("it is 3", str(seed), seed == 3),), {"values": runs}, data={"n": 0.1}
        )

    return Lesson("My-1", "The seed is 3.", experiment, runs=5)


def test_a_lesson_of_ones_own_is_found_listed_saved_and_loaded(own, tmp_path):
    assert register(own) is own and register(own) is own
    assert la.lesson("my-1") is own and claims()["My-1"] == "The seed is 3."
    found = la.lesson("My-1").run(runs=2, seed=3)
    assert found.outcome == "supported" and found.runs == 2 and found.cost["values"] == 2
    assert own.run().outcome == "not supported here" and own.run().runs == 5
    found.save(tmp_path)
    assert Evidence.load(tmp_path / "lesson-My-1.json") == found


CHECK = Check("a", "b", True)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: Check(3, "b", True), "what=3"),
        (lambda: Check("a", 3, True), "measured=3"),
        (lambda: Check("a", "b", 3), "holds=3"),
        (lambda: Part(3, (CHECK,), {}), "experiment=3"),
        (lambda: Part("e", (), {}), "at least one Check"),
        (lambda: Part("e", CHECK, {}), "at least one Check"),
        (lambda: Part("e", ("x",), {}), "checks='x'"),
        (lambda: Part("e", (CHECK,), 3), "cost=3"),
        (lambda: Part("e", (CHECK,), {"value": 1}), "Did you mean 'values'"),
        (lambda: Part("e", (CHECK,), {"values": "a"}), "whole number"),
        (lambda: Part("e", (CHECK,), {}, "abc"), "caveats='abc'"),
        (lambda: Part("e", (CHECK,), {}, (3,)), "caveats=3"),
        (lambda: Part("e", (CHECK,), {}, (), 3), "data=3"),
        (lambda: Part("e", (CHECK,), {}, (), {}, 3), "pictures=3"),
        (lambda: Lesson("X", 3, print), "claim=3"),
    ],
)
def test_a_part_of_a_lesson_that_cannot_be_is_refused(make, part):
    with pytest.raises(la.InputError, match=part):
        make()


def test_a_lesson_that_cannot_be_is_refused(own, tmp_path):
    register(own)
    with pytest.raises(la.InputError, match="there is a lesson My-1 already"):
        register(Lesson("My-1", "Another.", own.experiment))
    with pytest.raises(la.InputError, match="there is a lesson a2 already"):
        register(Lesson("a2", "Another.", own.experiment))
    with pytest.raises(la.InputError, match="got a dict"):
        register({})
    with pytest.raises(la.InputError, match="id='a/b'"):
        Lesson("a/b", "claim", own.experiment)
    with pytest.raises(la.InputError, match="expected a function"):
        Lesson("X", "claim", 3)
    with pytest.raises(la.InputError, match=r"returned \{\}"):
        Lesson("X", "claim", lambda runs, seed: {}).run()
    with pytest.raises(la.InputError, match="expected a Part"):
        Lesson("X", "claim", lambda runs, seed: ()).run()
    for bad in (0, -1, 1.5, True, float("nan"), float("inf"), "3"):
        with pytest.raises(la.InputError, match="runs"):
            own.run(runs=bad)
    (tmp_path / "x.json").write_text('{"id": "X"}')
    with pytest.raises(la.LossAtlasError, match="damaged"):
        Evidence.load(tmp_path / "x.json")
