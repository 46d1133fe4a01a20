"""The lecture: every statement has its lesson and its command, what the page asks was measured, and nothing is run twice."""

import json
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest

import lossatlas as la
from lossatlas.cli._main import group, main
from lossatlas.draw import CurvesDisplay
from lossatlas.lessons import LECTURE, Check, Ending, Evidence, Lesson, Part, Section, Statement, claims
from lossatlas.page import _make_lecture, _schema
from lossatlas.page._building import Building
from lossatlas.page._lecture import Lecture
from lossatlas.page._predictions import predicted
from lossatlas.page._races import add_race
from lossatlas.page._surfaces import add_surface

STATEMENTS = [one for section in LECTURE for one in section.statements]
HOSTILE = "</script><script>window.bad=1</script>"


def evidence(name="A2", claim=None):
    part = Part("Counted.", (Check("it is so", "3", True), Check("and so", "4", False)), {"values": 7})
    return Evidence(name, claim or claims()[name], (part,))


def test_sections_and_statements_are_told_apart_and_say_something():
    assert len({section.id for section in LECTURE}) == len(LECTURE)
    assert all(re.fullmatch(r"[a-z0-9-]+", section.id) and section.text and section.statements for section in LECTURE)
    assert len({one.says for one in STATEMENTS}) == len(STATEMENTS)
    assert all(one.says.rstrip("”").endswith(".") for one in STATEMENTS)


def test_the_order_is_the_notes():
    titles = [section.id for section in LECTURE]
    assert titles == [
        "surface", "dimensions", "drawable", "pictures", "algorithms", "memory", "bowl", "four-wells", "deep-wells", "modern",
        "experimental", "high", "looking", "search", "choosing", "misconceptions",
    ]  # fmt: skip


@pytest.mark.slow
def test_every_statement_has_its_lesson_and_every_lesson_its_statement():
    assert {one.lesson for one in STATEMENTS} == claims().keys()


@pytest.mark.parametrize("command", sorted({one.typed for one in STATEMENTS}))
def test_every_command_is_one_that_the_program_takes(command):
    program, name, *rest = shlex.split(command)
    assert program == "lossatlas"
    found = group.get_command(click.Context(group), name)
    assert found is not None
    found.make_context(name, rest)


DOCS = Path(__file__).parents[2] / "docs" / "lecture.md"
BEGIN, END = "<!-- statements -->\n", "<!-- /statements -->"


def test_the_documentation_says_where_each_statement_is_shown():
    """After a change of the lecture: LOSSATLAS_WRITE=1 pytest -k documentation_says."""
    rows = "".join(
        f"| {one.says} | `{section.id}.{k}` | {one.lesson} | `{one.typed}` |\n"
        for section in LECTURE
        for k, one in enumerate(section.statements, start=1)
    )
    text = DOCS.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    wanted = f"{head}{BEGIN}| statement | slide | lesson | in a terminal |\n|---|---|---|---|\n{rows}{END}{rest.split(END)[1]}"
    if os.environ.get("LOSSATLAS_WRITE"):
        DOCS.write_text(wanted, encoding="utf-8")
    assert DOCS.read_text(encoding="utf-8") == wanted


@pytest.mark.slow
def test_the_answers_are_what_was_measured():
    building = Building()
    surface = la.landscapes.four_wells()
    many = la.race(surface, ["annealing"], steps=30, runs=20, progress=False)
    add_race(building, many)
    where = add_surface(building, surface)

    def answer(asked):
        return predicted(building, asked, "four-wells", where)["answer"]

    assert answer("rate:annealing") == round(20 * many.rate("annealing", "global"))
    assert predicted(building, "rate:annealing", "four-wells", where)["sentence"] == many.verdicts["annealing"].sentence
    # Four neighbors of a point with two coordinates; one proposal; one gradient a step, and the one of the start.
    assert answer("step:hill-climbing") == 4 and answer("step:annealing") == 1
    assert answer("seen:gd") == la.race(surface, ["gd"], steps=50, progress=False).meter["gd"].gradients
    assert answer("end:gd") == la.race(surface, ["gd"], steps=300, progress=False).final("gd")[0].tolist()
    assert answer("dimension:regression") == 3
    for asked in ("rate:restart", "rate", "never:gd", "end:"):
        with pytest.raises(la.LossAtlasError):
            predicted(building, asked, "four-wells", where)


@pytest.fixture(scope="module")
def small():
    sections = (
        Section("four-wells", f"First {HOSTILE}", (f"Prose {HOSTILE}", "More."), (
            Statement(f"It is so {HOSTILE}.", "A2", predict="dimension:mlp-100"),
            Statement("It is raced.", "Z9", "lossatlas race four-wells", "four-wells v=race&s={id}&r=gd", "end:gd"),
            Statement("It is charted.", "A2", watch="random v=explore&s={id}&r="),
        )),
    )  # fmt: skip
    return _make_lecture.assemble(sections, {"A2": evidence()}, [], {}, {})


@pytest.mark.slow
def test_a_lecture_is_a_part_of_the_scene(small):
    head = small.head
    (section,) = head["lecture"]
    ids = [one["id"] for one in section["statements"]]
    assert ids == ["four-wells.1", "four-wells.2", "four-wells.3"]
    counted, raced, charted = section["statements"]
    assert counted["predict"]["answer"] == 101 and counted["lesson"] == "A2"
    assert raced["surface"] == "four-wells" and raced["state"] == "v=race&s=four-wells&r=gd"
    assert charted["surface"] is None and charted["state"] is None
    assert not list(_schema.faults({**head, "arrays": []}))
    assert "1 lecture section" in small.sentence
    import jsonschema

    jsonschema.validate(json.loads(small.to_json()), _schema.schema())
    broken = {**head, "lecture": [{"id": "x"}], "arrays": []}
    assert list(_schema.faults(broken))


@pytest.mark.slow
def test_a_scene_from_before_there_were_lectures_is_read(small, tmp_path):
    old = {key: value for key, value in small.head.items() if key != "lecture"}
    again = la.Scene.from_json(la.Scene(old, small.arrays).to_json())
    assert "lecture section" not in again.sentence
    assert "First" not in la.page(again, path=tmp_path / "x.html").read_text()


@pytest.mark.slow
def test_the_page_needs_nothing_from_outside_and_text_stays_text(small, tmp_path):
    text = la.page(small, path=tmp_path / "lecture.html").read_text()
    assert "window.bad=1</script>" not in text.replace("&lt;/script&gt;", "")
    markup = re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.S)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", markup)
    assert "default-src 'none'" in text
    record = text[text.index('<main id="record">') : text.index("</main>")]
    assert "Prose" in record and "1 of 2 parts hold" in record and "not on this page" in record
    assert "lossatlas race four-wells" in record
    ids = re.findall(r'id="([^"]*)"', record)
    assert len(set(ids)) == len(ids)


@pytest.mark.slow
def test_pictures_of_lessons_come_along(tmp_path):
    from PIL import Image

    Image.new("RGB", (1600, 800), "white").save(tmp_path / "lesson-A2-all-of-it.png")
    Image.new("RGB", (10, 10), "white").save(tmp_path / "lesson-A20-other.png")
    sections = (Section("one", "One", ("Prose.",), (Statement("It is so.", "A2"),)),)
    made = _make_lecture.assemble(sections, {"A2": evidence()}, [], {}, {}, tmp_path)
    (figure,) = made.head["lessons"][0]["figures"]
    assert figure["name"] == "all of it" and figure["image"].startswith("data:image/png;base64,")
    # Some fifty of them must fit into a mail: each is in the page once.
    assert la.page(made, path=tmp_path / "x.html").read_text().count(figure["image"]) == 1
    (tmp_path / "lesson-A2-all-of-it.png").write_bytes(b"no picture")
    with pytest.raises(la.LossAtlasError, match="run its lesson again"):
        _make_lecture.assemble(sections, {"A2": evidence()}, [], {}, {}, tmp_path)


@pytest.mark.slow
def test_pictures_that_nobody_drew_yet_come_along():
    curve = CurvesDisplay({"a": (np.arange(3.0), np.arange(3.0))}, xlabel="x", ylabel="y")
    (part,) = evidence().parts
    (entry,) = la.scene(replace(evidence(), parts=(replace(part, pictures={"curve": curve}),))).head["lessons"]
    (figure,) = entry["figures"]
    assert figure["name"] == "curve" and figure["image"].startswith("data:image/png;base64,")


@pytest.mark.slow
def test_a_picture_of_the_lecture_stands_at_its_statement():
    from matplotlib.figure import Figure

    sections = (
        Section("one", "One", ("Prose.",), (Statement("It is so.", "A2", picture="tree"), Statement("No.", "A2"))),
    )
    made = _make_lecture.assemble(sections, {"A2": evidence()}, [], {}, {"tree": ("A tree.", Figure((4, 2)))})
    first, second = made.head["lecture"][0]["statements"]
    assert first["figures"][0]["name"] == "A tree." and first["figures"][0]["image"].startswith(
        "data:image/png;base64,"
    )
    assert second["figures"] == []
    assert {one.picture for one in STATEMENTS} == {"", "tree"}


@pytest.mark.slow
def test_what_was_kept_is_taken_only_if_it_is_of_todays_claim(tmp_path):
    assert _make_lecture.kept(tmp_path, "A2") is None
    evidence().save(tmp_path)
    assert _make_lecture.kept(tmp_path, "A2") == evidence()
    replace(evidence(), complete=False).save(tmp_path)
    assert _make_lecture.kept(tmp_path, "A2") is None
    evidence(claim="Another.").save(tmp_path)
    assert _make_lecture.kept(tmp_path, "A2") is None
    (tmp_path / "lesson-A2.json").write_text("{")
    assert _make_lecture.kept(tmp_path, "A2") is None


def row(seed):
    return Check("it is so", str(seed), True)


@pytest.fixture
def short(monkeypatch):
    """A lecture of two statements whose lessons take no time, without races and charts; the lessons that ran."""
    sections = (Section("one", "One", ("Prose.",), (Statement("It is so.", "A2"), Statement("And so.", "C2"))),)
    ran = []

    def stub(name):
        def experiment(runs, seed):
            ran.append(name)
            yield "Counted."
            yield row(seed)
            yield Ending({"values": 7})

        return Lesson(name, claims()[name], experiment)

    monkeypatch.setattr(_make_lecture, "LECTURE", sections)
    monkeypatch.setattr(_make_lecture, "lesson", stub)
    monkeypatch.setattr(_make_lecture, "races", lambda seed: [])
    monkeypatch.setattr(_make_lecture, "views", lambda seed: {})
    monkeypatch.setattr(_make_lecture, "pictures", lambda seed: {})
    return ran


@pytest.mark.slow
def test_a_second_call_runs_only_what_is_missing(short, tmp_path):
    said = []
    la.lecture(tmp_path / "x.html", say=said.append)
    assert (
        short == ["A2", "C2"]
        and "2 lessons to run in the short form, about 1 minute on one core: A2, C2." in said[0]
        and f"  {row(0).sentence}" in said
    )
    assert {one.name for one in (tmp_path / "x-lessons").glob("*.json")} == {"lesson-A2.json", "lesson-C2.json"}
    (tmp_path / "x-lessons" / "lesson-C2.json").unlink()
    la.lecture(tmp_path / "x.html", say=said.append)
    assert short == ["A2", "C2", "C2"]
    la.lecture(tmp_path / "x.html", say=said.append)
    assert short == ["A2", "C2", "C2"] and any(line.startswith("All lessons are in") for line in said)
    la.lecture(tmp_path / "x.html", seed=1, say=said.append)
    assert short[3:] == ["A2", "C2"] and f"  {row(1).sentence}" in said


@pytest.mark.slow
def test_the_command_says_what_it_runs_and_what_to_open(short, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        main(["lecture", "--out", str(tmp_path / "x.html")])
    assert done.value.code == 0
    said, messages = capsys.readouterr()
    assert said.startswith("2 lessons to run") and f"open {tmp_path / 'x.html'}" in messages
    with pytest.raises(SystemExit) as done:
        main(["lecture", "--out", str(tmp_path / "x.html"), "--from", str(tmp_path / "nowhere")])
    assert done.value.code == 2
    said = capsys.readouterr().err
    assert "holds no evidence" in said and said.count("\n") == 1


@pytest.mark.slow
def test_of_a_folder_of_finished_lessons_none_is_run(short, tmp_path, monkeypatch):
    with pytest.raises(la.LossAtlasError, match="holds no evidence"):
        la.lecture(tmp_path / "x.html", source=tmp_path, say=lambda _: None)
    evidence().save(tmp_path / "done")
    monkeypatch.setattr(_make_lecture, "lesson", lambda name: pytest.fail(f"{name} was run"))
    text = la.lecture(tmp_path / "x.html", source=tmp_path / "done", say=lambda _: None).read_text()
    assert "1 of 2 parts hold" in text and not (tmp_path / "x-lessons").exists()


def test_a_seed_that_is_none_is_refused_before_anything_is_run(short, tmp_path):
    with pytest.raises(la.InputError, match="seed"):
        la.lecture(tmp_path / "x.html", seed=-1, say=lambda _: None)


def test_views_and_sections_belong_together():
    wanted = {one.watch.partition(" ")[0] for one in STATEMENTS if one.watch} - {one.name for one in _landscapes()}
    assert wanted == {"random", "path"}
    assert Lecture(LECTURE).views == {}


def _landscapes():
    return [
        la.landscapes.four_wells(),
        la.landscapes.deep_wells(),
        la.landscapes.regression(),
        la.landscapes.monkey_saddle(),
    ]
