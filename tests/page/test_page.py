"""A page: one file that reaches for nothing, and reads well without its program."""

import base64
import hashlib
import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas.cli import main
from lossatlas.page import bundle, digest
from lossatlas.page._optimizers import TWINS

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\u2028\ud800"


class _Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)


@pytest.fixture(scope="module")
def race():
    return la.race(la.landscapes.four_wells(), ["gd", "momentum", "annealing"], steps=20, progress=False)


@pytest.mark.slow
def test_a_page_reads_without_its_program(race, tmp_path):
    text = la.page(race, path=tmp_path / "atlas.html").read_text()
    before = text[: text.index('<script type="application/json"')]
    for verdict in race.verdicts.values():
        assert verdict.sentence in before.replace("&#x27;", "'")
    images = [attrs for tag, attrs in _Reader(before).tags if tag == "img"]
    assert len(images) == 1 and images[0]["src"].startswith("data:image/png;base64,")
    assert "from -4.5 to 4.5" in images[0]["alt"]
    assert len(base64.b64decode(images[0]["src"].partition(",")[2])) < 60_000


@pytest.mark.slow
def test_the_policy_holds_the_hashes_of_what_is_in_the_file_and_allows_nothing_else(race, tmp_path):
    text = la.page(race, path=tmp_path / "atlas.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        found = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{found}'" in policy
    assert not [attrs for _, attrs in _Reader(text).tags if set(attrs) & {"style", "onclick", "onerror", "onload"}]


@pytest.mark.slow
def test_a_hostile_title_stays_text(race, tmp_path):
    scene = la.scene(race, title=HOSTILE)
    scene.head["surfaces"][0]["title"] = HOSTILE
    scene.head["cards"].append({"title": HOSTILE, "rows": [[HOSTILE, HOSTILE]], "sentences": [HOSTILE], "kind": HOSTILE,
                                "figure": None})  # fmt: skip
    text = la.page(scene, path=tmp_path / "atlas.html").read_text()
    tags = [tag for tag, _ in _Reader(text).tags]
    assert tags.count("script") == 2
    assert not [attrs for tag, attrs in _Reader(text).tags if tag == "img" and attrs.get("src") == "x"]
    again = la.Scene.from_json(re.search(r'id="scene">(.*?)</script>', text, re.DOTALL)[1])
    assert again.title.startswith("</script><script>alert(1)")


@pytest.mark.slow
def test_a_page_of_a_large_chart_with_seven_racers_fits_the_budget(tmp_path):
    frame = la.Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    chart = la.chart(la.landscapes.himmelblau(), frame, span=5.0, points=201, progress=False)
    race = la.race(la.landscapes.four_wells(), ["gd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "lion"],
                   steps=300, progress=False)  # fmt: skip
    size = la.page(chart, race, path=tmp_path / "atlas.html").stat().st_size
    assert size <= 1_000_000, f"{size:,} bytes"
    assert np.isfinite(chart.loss).all()


def test_the_bundle_is_fresh_and_carries_its_notices():
    static = Path(la.page.__code__.co_filename).parent / "static"
    assert (static / "DIGEST").read_text().strip() == digest(ROOT / "web"), "bundle is stale, run make web"
    notices = (static / "LICENSES.txt").read_text()
    for library in ("three", "d3-contour", "d3-array"):
        assert library in notices
    assert "Permission is hereby granted" in notices and "Permission to use, copy" in notices
    assert len(bundle("atlas.js")) <= 800_000


def test_the_page_writes_no_html_from_text():
    for path in (ROOT / "web" / "src").rglob("*.ts"):
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path
        )


def test_every_rule_of_the_catalog_is_walked_or_declared_playback():
    from lossatlas.optimize import catalog

    source = (ROOT / "web" / "src" / "walk" / "rules.ts").read_text()
    declared = re.search(r"PLAYBACK = \[(.*?)\]", source, re.DOTALL)[1]
    playback = set(re.findall(r'"([a-z-]+)"', declared))
    assert playback | set(TWINS) == set(catalog) and not playback & set(TWINS)


@pytest.fixture(scope="module")
def goldens():
    """The module that writes them, and what is written."""
    spec = importlib.util.spec_from_file_location("write", ROOT / "tests" / "golden" / "write.py")
    write = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(write)
    return write, json.loads(write.FILE.read_text())


def _as_written(one, now):
    np.testing.assert_allclose(
        one["positions"], now["positions"], atol=1e-11, err_msg=f"{one['place']} {one['optimizer']}"
    )
    assert one["settings"].keys() == now["settings"].keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "name"), [("four_wells", "momentum"), ("quadratic", "adam"), ("rosenbrock", "annealing")]
)
def test_a_golden_is_what_python_gives_now(goldens, place, name):
    write, held = goldens
    (one,) = [one for one in held["walks"] if (one["place"], one["optimizer"]) == (place, name)]
    _as_written(one, write._walk(place, name))


@pytest.mark.slow
def test_all_goldens_are_what_python_gives_now(goldens):
    write, held = goldens
    assert [(one["place"], one["optimizer"]) for one in held["walks"]] == [(p, n) for p in write.PLACES for n in TWINS]
    for one, now in zip(held["walks"], write.walks(), strict=True):
        _as_written(one, now)
    assert held["grid"]["ends"] == write.grid()["ends"]


@pytest.mark.slow
def test_a_folder_becomes_a_page_and_what_is_damaged_is_named(race, tmp_path, capsys):
    race.save(tmp_path / "results" / "race")
    (tmp_path / "results" / "bad").mkdir(parents=True)
    (tmp_path / "results" / "bad" / "chart.json").write_text("{")
    (tmp_path / "results" / "bad" / "chart.safetensors").write_bytes(b"")
    la.lesson("A2").run().save(tmp_path / "results" / "lessons")
    code = _lossatlas("page", tmp_path / "results", "--out", tmp_path / "atlas.html", "--title", "Mine")
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "bad/chart was left out" in said.err and "open " in said.err
    assert "<title>Mine</title>" in (tmp_path / "atlas.html").read_text()


@pytest.mark.parametrize("place", ["empty", "missing"])
def test_a_folder_without_results_is_refused(tmp_path, place, capsys):
    (tmp_path / "empty").mkdir()
    assert _lossatlas("page", tmp_path / place, "--out", tmp_path / "atlas.html") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert not (tmp_path / "atlas.html").exists()


@pytest.mark.slow
def test_a_notebook_shows_the_page_in_a_frame_and_the_table_below(race):
    from lossatlas.page import shown

    said = shown(race, "<table>rows</table>")
    (frame,) = [attrs for tag, attrs in _Reader(said).tags if tag == "iframe"]
    assert frame["sandbox"] == "allow-scripts" and frame["srcdoc"].startswith("<!doctype html>")
    assert "<table>rows</table>" in said[said.index("</iframe>") :]


def _lossatlas(*args):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    return end.value.code
