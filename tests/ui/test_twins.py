"""What the page computes itself, held to Python: walks, ten thousand ends, contours, fields."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.ui
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "walks.json").read_text())
WALK = """one => {
  const run = atlas.walk(one.formula, one.optimizer, one.settings, one.start, one.steps, one.tape, one.box);
  return {positions: run.positions, losses: run.losses};
}"""


@pytest.fixture(scope="module")
def page(browsers, folder):
    context = browsers["no webgl"].new_context()
    made = context.new_page()
    made.goto((folder / "atlas.html").as_uri())
    made.wait_for_function("window.atlas && window.atlas.ready")
    yield made
    context.close()


def _off(found, one):
    """The largest difference of positions, relative where they are large."""
    kept = np.array(one["positions"])
    positions = np.array([found["positions"][min(k, len(found["positions"]) - 1)] for k in one["kept"]])
    return float((np.abs(positions - kept) / (1 + np.abs(kept))).max())


@pytest.mark.parametrize("one", GOLDEN["walks"], ids=lambda one: f"{one['place']}-{one['optimizer']}")
def test_a_walk_is_pythons(page, one):
    found = page.evaluate(WALK, one)
    assert _off(found, one) < 1e-9


def test_a_rule_with_another_constant_is_caught(page):
    numbers = {"lr": 1.0001, "momentum": 1.0001, "alpha": 0.9999, "gamma": 1.01, "step": 1.001, "temperature": 1.5}
    off = {}
    for one in GOLDEN["walks"]:
        changed = {k: v * numbers[k] for k, v in one["settings"].items() if k in numbers and isinstance(v, float)}
        if "betas" in one["settings"]:
            changed["betas"] = [0.8 * one["settings"]["betas"][0], one["settings"]["betas"][1]]
        for name, value in changed.items():
            found = page.evaluate(WALK, {**one, "settings": {**one["settings"], name: value}})
            off.setdefault((one["optimizer"], name), []).append(_off(found, one))
    assert {name for name, _ in off} >= {"gd", "momentum", "rmsprop", "adam", "adamw", "lion", "sophia", "annealing"}
    assert {key: worst for key, each in off.items() if (worst := max(each)) <= 1e-9} == {}


def test_ten_thousand_ends_are_pythons(page):
    grid = GOLDEN["grid"]
    script = """async one => Array.from(await atlas.basins(one.formula, one.optimizer, one.settings, one.box, one.points, one.points,
      one.steps, one.wells))"""
    ends = np.array(page.evaluate(script, grid)).reshape(grid["points"], grid["points"])
    held = np.array([[int(k) for k in row] for row in grid["ends"]])
    off = np.where(ends == 255, 9, ends) != held
    # Python finds the basin of an end by descending from there; ends that have not settled may be judged otherwise.
    assert off.mean() <= 0.001, f"{int(off.sum())} of {off.size} ends differ"


def test_contours_of_a_cone_are_circles(page):
    n = 81
    axis = np.linspace(-2, 2, n)
    z = np.sqrt(axis[None] ** 2 + axis[:, None] ** 2)
    rings = page.evaluate(
        "([a, b, z, l]) => atlas.contours(a, b, z, l)", [axis.tolist(), axis.tolist(), z.ravel().tolist(), [1.0]]
    )
    points = np.array(list(_points(rings)))
    # What is above a level is bounded by the frame as well.
    points = points[np.abs(points).max(1) < 1.9]
    radius = np.hypot(points[:, 0], points[:, 1])
    assert len(points) > 100
    assert np.abs(radius - 1).max() < 0.01


def test_a_hole_changes_no_ring_outside_of_it(page):
    n = 41
    axis = np.linspace(-2, 2, n)
    z = (axis[None] ** 2 - 1) ** 2 + axis[:, None] ** 2
    holed = z.copy()
    holed[30:35, 5:9] = np.nan
    filled = page.evaluate(
        "([z, n]) => atlas.fill(z, n, n)", [[None if math.isnan(v) else v for v in holed.ravel()], n]
    )
    levels = [0.2, 0.6, 1.0, 1.5]
    counts = []
    for field in (z.ravel().tolist(), filled):
        rings = page.evaluate(
            "([a, b, z, l]) => atlas.contours(a, b, z, l)", [axis.tolist(), axis.tolist(), field, levels]
        )
        counts.append([_rings(level) for level in rings])
    assert counts[0] == counts[1]
    kept = np.isfinite(holed.ravel())
    np.testing.assert_array_equal(np.array(filled)[kept], z.ravel()[kept])


def test_the_center_is_the_charts_own(page, scene):
    for surface in scene.head["surfaces"]:
        if surface["field"] is None:
            continue
        held = page.evaluate("id => atlas.scene.surfaces.find(one => one.id === id).field.center.loss", surface["id"])
        assert held == surface["field"]["center"]["loss"]


def _points(value):
    """Every [x, y] inside nested lists and records."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(one, int | float) for one in value):
            yield value
        else:
            for one in value:
                yield from _points(one)


def _rings(level):
    """How many rings a level has, however they are nested."""
    if isinstance(level, dict):
        level = level.get("coordinates", level.get("rings", list(level.values())))
    if (
        isinstance(level, list)
        and level
        and isinstance(level[0], list)
        and level[0]
        and isinstance(level[0][0], int | float)
    ):
        return 1
    return sum(_rings(one) for one in level) if isinstance(level, list) else 0
