"""`lossatlas lessons` before a class: what is said when, what is kept of a lesson that was stopped, and how long it takes."""

import inspect
import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import lossatlas as la
from lossatlas.cli import main
from lossatlas.lessons import Check, Ending, Evidence, Lesson, Part, claims, durations, register

OWN = """
import os, signal
from lossatlas.lessons import Check, Ending, Lesson

def experiment(runs, seed):
    yield "Two rows, and then the end of the world."
    yield Check("the first row is kept", "it is", True)
    os.kill(os.getpid(), signal.SIGKILL)
    yield Check("the second is not", "it is not", True)
    yield Ending({})

MINE = Lesson("X1", "What is known is kept.", experiment, depends="nothing.")
"""


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["lessons", *words])
    return ended.value.code


@pytest.fixture
def events(tmp_path, monkeypatch):
    """A lesson that notes when it computes, in one list with what is printed; it can be stopped after its first row."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lossatlas.lessons._catalog._registered", {})
    happened = []
    monkeypatch.setattr("lossatlas.cli._lessons.click.echo", lambda text="", **_: happened.append(text))

    def experiment(runs, seed, quick=False):
        yield f"What will be done, {runs} times."
        happened.append("computes the first")
        yield Check("the first holds", "yes", True)
        happened.append("computes the second")
        if "stop" in happened:
            raise KeyboardInterrupt
        yield Check("the second holds", "3 of 4", quick)
        yield Ending({"values": 7}, caveats=("It is small.",))

    register(Lesson("X1", "Two things hold.", experiment, runs=20, quick=4, depends="the weather."))
    return happened


def test_claim_and_experiment_come_before_anything_is_computed_and_rows_as_they_are_known(events):
    assert run("X1", "--quick") == 0
    assert [line for line in events if line][:-1] == [
        "X1  Two things hold.",
        "Experiment: What will be done, 4 times.",
        "computes the first",
        "  Holds: The first holds. Yes.",
        "computes the second",
        "  Holds: The second holds. 3 of 4.",
        "2 of 2 parts hold: every part of the claim holds here.",
        "Note: It is small.",
        "Depends on: the weather.",
    ]
    assert re.fullmatch(r"Cost: 7 values; 4 runs from seed 0; \d+\.\d s\.", [line for line in events if line][-1])


def test_an_interrupted_lesson_keeps_its_rows_and_resume_runs_what_is_left(events):
    events.append("stop")
    assert run("X1", "--quick", "--out", "atlas") == 130
    assert "X1 was stopped after 1 row; what it had is in atlas/lesson-X1.json." in events
    kept = Evidence.load("atlas/lesson-X1.json")
    assert not kept.complete and [check.what for check in kept.checks] == ["the first holds"]
    assert kept.caveats[0].startswith("The experiment was stopped")
    events.clear()
    # Not finished, so run; then finished, so not run; with other settings run again.
    for words, computes in ((("--quick",), True), (("--quick",), False), ((), True), (("--seed", "1"), True)):
        events.clear()
        assert run("X1", "--out", "atlas", "--resume", *words) == 0
        assert ("computes the second" in events) is computes, words
    assert run("X1", "--resume") == 2


@pytest.mark.slow
def test_a_killed_lesson_leaves_the_rows_it_had(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    line = "from lossatlas.cli import main; main(['lessons', 'own.py:MINE', '--out', 'atlas'])"
    ended = subprocess.run([sys.executable, "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL and "Holds: The first row is kept." in ended.stdout
    record = json.loads((tmp_path / "atlas/lesson-X1.json").read_text())
    assert not record["complete"] and len(record["checks"]) == 1
    assert [path.name for path in Path(tmp_path / "atlas").iterdir()] == ["lesson-X1.json"]


def test_what_is_kept_as_finished_has_its_pictures(tmp_path):
    """Killed between the two files of a lesson: --resume must run it again."""

    class Killed:
        def save(self, path, dpi):
            raise KeyboardInterrupt

    rows = Evidence("X1", "Claim.", (Part("e", (Check("a", "b", True),), {}, pictures={"one": Killed()}),))
    replace(rows, complete=False).save(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        rows.save(tmp_path)
    assert not Evidence.load(tmp_path / "lesson-X1.json").complete


@pytest.mark.slow
def test_every_lesson_hands_over_its_rows_one_by_one():
    """One that returns all of them at its end says nothing while it runs."""
    assert [name for name in claims() if not inspect.isgeneratorfunction(la.lesson(name).experiment)] == []


def test_a_stopped_lesson_says_so_on_the_page():
    stopped = Evidence("X1", "Claim.", (Part("e", (Check("a", "b", True),), {}),), depends="luck.", complete=False)
    (told,) = la.scene(stopped).head["lessons"]
    assert told["caveats"] == ["The experiment was stopped before its end: rows are missing.", "Depends on: luck."]


@pytest.mark.slow
def test_the_list_shows_how_long_each_lesson_took_where_it_was_measured(monkeypatch, capsys):
    took = {"A2": {"quick": 4.4, "full": 4.6}, "G1": {"quick": 7.6}}
    monkeypatch.setattr("lossatlas.lessons.durations", lambda: took)
    assert run() == 0
    listed = capsys.readouterr().out
    for name, claim in claims().items():
        full, quick = (f"{took[name][form]:.0f} s" if form in took.get(name, {}) else "" for form in ("full", "quick"))
        assert f"{full:>6} {quick:>6}  {name}  {claim}\n" in listed


@pytest.mark.slow
def test_what_was_measured_is_of_lessons_and_short_forms_fit_into_a_class():
    assert set(durations()) <= set(claims())
    assert all(0 < took["quick"] < 20 for took in durations().values() if "quick" in took)


@pytest.mark.slow
def test_every_lesson_says_what_it_depends_on():
    assert all(la.lesson(name).depends.endswith(".") for name in claims())


def test_an_experiment_that_yields_something_else_is_refused():
    def without_end(runs, seed):
        yield "What is done."
        yield Check("a", "b", True)

    def strange(runs, seed):
        yield 3

    with pytest.raises(la.InputError, match="ended without an Ending"):
        Lesson("X", "Claim.", without_end).run()
    with pytest.raises(la.InputError, match="yielded 3"):
        Lesson("X", "Claim.", strange).run()


def test_short_forms_have_a_tenth_of_the_runs_unless_said():
    def experiment(runs, seed):
        return Part("e", (Check("a", str(runs), True),), {})

    one = Lesson("X", "Claim.", experiment, runs=50)
    assert [one.run(quick=True).runs, one.run().runs, one.run(quick=True, runs=3).runs] == [5, 50, 3]
    assert Lesson("X", "Claim.", experiment, runs=50, quick=7).run(quick=True).runs == 7
    assert Lesson("X", "Claim.", experiment, runs=3).run(quick=True).runs == 1
