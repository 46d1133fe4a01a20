"""What the catalog says of every optimizer: how it is drawn, and its place in history."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest

from lossatlas.optimize import Adam, Optimizer, by_year, catalog, describe, looks, optimizer, strokes_of
from lossatlas.page._optimizers import entry

# Linear RGB as eyes without one kind of cone see it: Machado, Oliveira & Fernandes 2009, table 1, severity 1.
EYES = {
    "three cones": np.eye(3),
    "no green cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no red cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}


@dataclass(frozen=True)
class Mine(Optimizer):
    """One of the user's."""

    name = "mine"

    def walk(self, start, layout, rng):
        yield from ()


def lab(color, eye):
    """CIE L*a*b* of a color, D65."""
    c = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    c = np.clip(np.asarray(eye) @ np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ c
    x, y, z = np.where(
        xyz / (0.9505, 1, 1.089) > 0.008856,
        np.cbrt(xyz / (0.9505, 1, 1.089)),
        7.787 * xyz / (0.9505, 1, 1.089) + 16 / 116,
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_every_optimizer_has_a_color_and_marker_of_its_own():
    assert set(catalog) <= set(looks)
    assert len(set(looks.values())) == len(looks)
    markers = {marker for _, marker in looks.values()}
    assert not markers & {"*", "v"}, "these are wells"


@pytest.mark.parametrize(("eye", "least"), [("three cones", 25), ("no green cones", 14), ("no red cones", 14)])
def test_colors_stay_apart_for_every_eye(eye, least):
    """A difference of 2.3 is just noticed; 14 is six times that."""
    spots = [lab(color, EYES[eye]) for color in {color for color, _ in looks.values()}]
    assert min(np.linalg.norm(a - b) for a, b in combinations(spots, 2)) > least


@pytest.mark.parametrize(
    "raced",
    [
        ("gd", "momentum", "annealing", "restart"),
        ("gd", "rmsprop", "nesterov", "adam", "adamw", "annealing", "restart"),
        ("gd", "sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"),
        ("hill-climbing", "annealing", "beam", "genetic", "evolution", "de", "cma", "bayes", "random"),
    ],
)
def test_what_is_raced_together_differs_in_color(raced):
    assert len({looks[name][0] for name in raced}) == len(raced)


@pytest.mark.parametrize("name", sorted(catalog))
def test_the_catalog_tells_the_history_of_each(name):
    said = describe(name)
    assert said.year is None or 1800 < said.year < 2030
    assert all(0 < len(text) <= 90 and "\n" not in text and text != "not said" for text in (said.idea, said.used))
    # A source is never older than the first publication.
    cited = [int(year) for year in re.findall(r"\b(?:1[89]|20)\d\d\b", said.source)]
    assert said.year is None or min(cited) >= said.year
    assert (said.color, said.marker) == looks[name]


def test_by_year_is_the_whole_catalog_in_order():
    years = [one.year for one in by_year()]
    known = [year for year in years if year is not None]
    assert known == sorted(known) and years[len(known) :] == [None] * (len(years) - len(known))
    assert {one.name for one in by_year()} == set(catalog) and by_year()[0].name == "gd"


@pytest.mark.parametrize("name", sorted(catalog))
def test_the_page_gets_the_same_color_and_marker(name):
    assert (entry(name)["color"], entry(name)["marker"]) == (looks[name][0].lower(), looks[name][1])


def test_a_racer_looks_the_same_whatever_runs_beside_it():
    racers = {name: optimizer(name) for name in catalog}
    for name, stroke in strokes_of(racers).items():
        alone = strokes_of({name: racers[name]})[name]
        assert (stroke.color, stroke.marker) == (alone.color, alone.marker) == looks[name]
    whole = list(strokes_of(racers).values())
    assert len({(s.color, s.marker) for s in whole}) == len(whole)


def test_a_second_of_a_kind_and_one_of_the_users_are_told_apart():
    drawn = strokes_of(
        {"adam": Adam(), "adam-2": Adam(lr=0.1), "fast": Adam(lr=1.0), "mine": Mine(), "gd": optimizer("gd")}
    )
    assert {drawn[name].color for name in ("adam", "adam-2", "fast")} == {looks["adam"][0]}
    assert len({(s.color, s.marker) for s in drawn.values()}) == 5
    assert len({str(drawn[name].dashes) for name in ("adam", "adam-2", "fast")}) == 3
    assert drawn["mine"].color not in {looks["adam"][0], looks["gd"][0]}
    assert drawn["mine"] == strokes_of({"gd": optimizer("gd"), "mine": Mine(), "adam": Adam()})["mine"]
    said = describe(Mine())
    assert (said.year, said.idea, said.color) == (None, "not said", None)
