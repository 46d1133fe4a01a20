"""Lessons run, say what came out, and can come out otherwise."""

import json
from importlib import import_module

import pytest

import lossatlas as la
from lossatlas.lessons import catalog
from lossatlas.lessons._lesson import Check, Evidence

FAST = {
    "E1": 1,
    "A2": None,
    "B2": None,
    "C1": None,
    "C2": None,
    "C4": None,
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
    "C7": 50,
    "F2": 10,
}

# Experiments on networks that take minutes are run on smaller ones: whether they run is tested here, not what comes out.
SMALLER = {
    "D4": {"WIDTHS": (16,), "STEPS": 60, "CNN_STEPS": 20},
    "D5": {"WIDTHS": (16, 64), "PLANTED": 3},
    "D6": {"WIDTHS": (16, 64)},
    "D7": {"NETWORKS": {"narrow": 3}, "FULL": 10},
    "E3": {"EPOCHS": 2, "POINTS": 7},
    "E4": {"WIDTHS": (16,)},
    "A5": {"HIDDEN": 4, "EPOCHS": (0, 1)},
    "E2": {"EPOCHS": 1, "DEEP": 2, "POINTS": 5, "EXAMPLES": 60},
    "E5": {"EPOCHS": 2, "EXAMPLES": 60, "POINTS": 5},
}


@pytest.mark.parametrize("name", sorted(FAST))
def test_a_lesson_runs_and_its_evidence_is_json(name):
    evidence = la.lesson(name).run(runs=FAST[name])
    record = json.loads(json.dumps(evidence.record(), allow_nan=False))
    assert record["id"] == name and record["claim"] == catalog[name].claim and record["checks"]
    assert record["outcome"] in ("supported", "not supported here", "depends")
    if name != "A2":
        assert sum(record["cost"].values()) > 0
    assert all(check["measured"] for check in record["checks"])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_a_long_lesson_runs_too(name, monkeypatch):
    for constant, value in SMALLER.get(name, {}).items():
        monkeypatch.setattr(import_module(f"lossatlas.lessons._{name.lower()}"), constant, value)
    record = json.loads(json.dumps(la.lesson(name.lower()).run(runs=SLOW[name]).record(), allow_nan=False))
    assert record["id"] == name and record["checks"] and sum(record["cost"].values()) > 0


def test_every_lesson_is_tried():
    assert set(catalog) == FAST.keys() | SLOW.keys()


def test_the_outcome_is_what_the_checks_say():
    yes, no = Check("a", "1", True), Check("b", "2", False)

    def outcome(*checks):
        return Evidence("X", "claim", "experiment", checks, {}).outcome

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
