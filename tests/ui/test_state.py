"""The page's state: what clicks, keys and addresses do to it, and that the address says it again."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.ui


def test_an_address_becomes_the_state_and_the_address_again(opened):
    hash = "#v=race&s=four-wells&x=-3,2&r=adam:lr=0.1;betas=0.8~0.99,momentum&n=120&t=40&axis=evaluations&fog=1&hide=wells,sliders"
    page = opened(hash=hash)
    state = page.ask("atlas.state")
    assert state["v"] == "race" and state["x"] == [-3, 2] and state["t"] == 40 and state["fog"] is True
    assert state["r"] == [
        {"name": "adam", "settings": {"lr": 0.1, "betas": [0.8, 0.99]}},
        {"name": "momentum", "settings": {}},
    ]
    assert dict(p.split("=", 1) for p in page.ask("atlas.hash()")[1:].split("&")) == dict(
        p.split("=", 1) for p in hash[1:].split("&")
    )
    page.page.evaluate("location.hash = '#v=explore&s=himmelblau&log=0'")
    page.wait("atlas.state.v === 'explore'")
    assert page.ask("atlas.state.s") == "himmelblau"


def test_what_is_out_of_range_or_unknown_is_ignored(opened):
    page = opened(
        hash="#v=nonsense&s=nowhere&levels=1e9&clip=-3&x=1,NaN&r=nobody,adam:lr=1e9&w=3,3,1,1&hide=<b>&%E0%A4%A=1&t=-5"
    )
    state = page.ask("atlas.state")
    assert state["v"] == "atlas" and state["levels"] == 40 and state["clip"] == 0.5
    assert state["x"] is None or all(isinstance(v, int | float) for v in state["x"])
    assert state["w"] is None and state["hide"] == [] and state["t"] >= 0
    assert not page.said


@given(
    view=st.sampled_from(["explore", "race", "basins", "compare", "provenance"]),
    levels=st.integers(3, 40),
    clip=st.floats(0.5, 1).map(lambda v: round(v, 4)),
    x=st.none() | st.tuples(st.floats(-4, 4), st.floats(-4, 4)).map(lambda p: [round(v, 5) for v in p]),
    lr=st.floats(1e-3, 1).map(lambda v: float(f"{v:.5g}")),
    flags=st.fixed_dictionaries({name: st.booleans() for name in ("fog", "reveal", "projector")}),
    theme=st.sampled_from(["auto", "light", "dark"]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_state_is_told_by_its_address(shared, view, levels, clip, x, lr, flags, theme):
    racers = [{"name": "adam", "settings": {"lr": lr}}, {"name": "gd", "settings": {}}]
    wanted = {
        "v": view,
        "s": "four-wells",
        "levels": levels,
        "clip": clip,
        "x": x,
        "r": racers,
        "theme": theme,
        **flags,
    }
    shared.show(**wanted)
    hash = shared.ask("atlas.hash()")
    shared.show(v="atlas", levels=16, clip=1, x=None, r=[], theme="auto", fog=False, reveal=False, projector=False)
    shared.page.evaluate(
        "hash => { history.replaceState(null, '', hash); dispatchEvent(new HashChangeEvent('hashchange')); }", hash
    )
    shared.settle()
    state = shared.ask("atlas.state")
    assert {key: state[key] for key in wanted} == wanted, hash


def test_keys_play_step_and_lift_the_fog(opened):
    page = opened(hash="#v=race&s=four-wells&n=50")
    page.frame.locator("canvas.over").first.focus()
    fog = page.ask("atlas.state.fog")
    page.page.keyboard.press("f")
    page.wait(f"atlas.state.fog === {json.dumps(not fog)}")
    page.show(t=10)
    page.page.keyboard.press("Period")
    page.wait("atlas.state.t === 11")
    page.page.keyboard.press("Comma")
    page.wait("atlas.state.t === 10")


def test_the_keyboard_alone_drops_a_start(opened):
    page = opened(hash="#v=race&s=four-wells&x=0,0")
    page.frame.locator("canvas.over").first.focus()
    for _ in range(6):
        page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("Enter")
    page.wait("atlas.state.x && (atlas.state.x[0] !== 0 || atlas.state.x[1] !== 0)")
    assert page.ask("[...document.querySelectorAll('[aria-live]')].some(one => one.textContent.trim().length > 3)")


def test_every_tab_is_reached_by_keys(opened, scene):
    page = opened()
    for _ in range(40):
        page.page.keyboard.press("Tab")
        if page.ask("document.activeElement.getAttribute('role') === 'tab'"):
            break
    seen = set()
    for _ in range(9):
        seen.add(page.ask("document.activeElement.textContent.trim().split(' ')[0]"))
        page.page.keyboard.press("ArrowRight")
    assert {"Atlas", "Explore", "Race", "Basins", "Compare", "Paths", "Lessons", "Provenance"} <= seen


def test_what_a_link_hides_is_hidden(opened):
    page = opened(hash="#v=race&s=four-wells&hide=sliders")
    assert page.frame.locator("input[type=range]:visible").count() < 5
    plain = opened(hash="#v=race&s=four-wells")
    assert (
        plain.frame.locator("input[type=range]:visible").count()
        > page.frame.locator("input[type=range]:visible").count()
    )


def test_a_prediction_comes_before_what_came_out(opened, scene):
    lesson = scene.head["lessons"][0]
    page = opened(hash="#v=lessons&lesson=0")
    before = page.ask("document.querySelector('#atlas').innerText")
    assert lesson["claim"][:30] in before
    assert lesson["verdict"] not in before


def test_a_page_of_other_numbers_says_other_numbers(opened, scene, tmp_path):
    import copy

    import lossatlas as la

    head = copy.deepcopy(scene.head)
    head["lessons"][0] |= {
        "verdict": "0 of 4 parts hold: no part of the claim holds here.",
        "outcome": "not supported here",
    }
    la.page(la.Scene(head, scene.arrays), path=tmp_path / "other.html")
    page = opened(path=tmp_path / "other.html")
    assert "no part of the claim holds here" in page.ask("document.querySelector('#record').textContent")
