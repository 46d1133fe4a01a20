"""What the page says of its own pictures: where a number comes from, which interval it has, which of two is higher."""

import pytest

import lossatlas as la

pytestmark = pytest.mark.ui


def _select(page, label):
    """What a choice shows."""
    return page.ask(
        """label => { const field = [...document.querySelectorAll('label')].find(one => one.textContent.startsWith(label));
        return field.querySelector('select').selectedOptions[0].textContent }""",
        label,
    )


def test_nothing_outside_of_a_chart_was_evaluated(opened, scene):
    page = opened()
    chart = next(one for one in scene.head["surfaces"] if one["field"])
    page.show(s=chart["id"])
    (left, bottom), (right, top) = chart["box"]["lower"], chart["box"]["upper"]
    reach = right - left
    for x, y in ((left - reach, bottom), (right + reach / 500, top), (right, top + reach)):
        found = page.ask("([x, y]) => atlas.at(x, y)", [x, y])
        assert found["statusText"] == "outside of this chart" and found["error"] is None
    for x, y in ((left, bottom), (right, top)):
        assert page.ask("([x, y]) => atlas.at(x, y)", [x, y])["statusText"] != "outside of this chart"


def test_the_difference_says_which_of_the_two_is_higher(opened):
    page = opened()
    page.show(v="compare")
    page.wait("document.body.innerText.includes('color grows with')")
    first, second = _select(page, "first"), _select(page, "minus")
    assert f"{first} minus {second}: red where the first of these is higher" in page.ask("document.body.innerText")


def test_the_interval_of_a_loss_is_a_band_and_no_channel(opened, scene, tmp_path):
    paths = [{**one, "channels": {"low": one["loss"], "high": one["loss"]}} for one in scene.head["paths"]]
    made = la.Scene({**scene.head, "paths": paths}, scene.arrays)
    page = opened(path=la.page(made, path=tmp_path / "band.html"))
    page.show(v="paths")
    labels = page.ask("[...document.querySelectorAll('.paths canvas')].map(one => one.getAttribute('aria-label'))")
    assert "Loss along the paths" in labels
    assert not {"low along the paths", "high along the paths"} & set(labels)
    assert "The band around the loss of a line is twice the error to expect." in page.ask("document.body.innerText")


def test_a_verdict_stands_only_beside_the_settings_that_it_was_given_for(opened, tmp_path):
    race = la.race(la.landscapes.four_wells(), [la.optimizer("gd", lr=0.2)], steps=50, progress=False)
    page = opened(path=la.page(race, path=tmp_path / "one.html"))
    page.show(v="race")
    page.wait("atlas.runs.length === 1 && atlas.runs[0].record !== null")
    page.show(r=[{"name": "gd", "settings": {}}])
    page.wait("atlas.runs[0].settings.lr !== 0.2")
    assert page.ask("atlas.runs[0].record") is None


def test_a_thousand_equal_runs_get_no_interval(opened):
    page = opened()
    button = "[...document.querySelectorAll('button')].some(one => one.textContent === 'Run 1,000')"
    page.show(v="basins", s="four-wells", r=[{"name": "gd", "settings": {}}])
    assert not page.ask(button)
    assert "would all be the same" in page.ask("document.body.innerText")
    page.show(r=[{"name": "gd", "settings": {}}, {"name": "annealing", "settings": {}}])
    assert page.ask(button)


def test_a_basin_map_is_painted_again_for_other_settings(opened):
    page = opened()
    page.show(v="basins", s="four-wells", steps=300)
    page.wait("document.body.innerText.includes('starts of 300 steps')", 30_000)
    page.show(v="race")
    page.show(steps=40)
    page.show(v="basins")
    page.wait("document.body.innerText.includes('starts of 40 steps')", 30_000)
