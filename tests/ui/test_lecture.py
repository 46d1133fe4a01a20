"""The lecture in a browser: a whole statement by keyboard, addresses of slides, and every slide on a wide screen and on a phone."""

import pytest

import lossatlas as la
from lossatlas.lessons import LECTURE, Check, Evidence, Part, claims
from lossatlas.page import _make_lecture

pytestmark = [pytest.mark.ui, pytest.mark.slow]


@pytest.fixture(scope="module")
def lecture(tmp_path_factory):
    """The lecture's page with three lessons; what the others measured does not matter to the browser."""
    part = Part(
        "Done as it was said.", (Check("first", "it is 1", True), Check("second", "it is 2", False)), {"values": 9}
    )
    found = {name: Evidence(name, claims()[name], (part,)) for name in ("A1", "C2", "C3")}
    raced = [
        la.race(one, ["annealing", "restart"], steps=30, runs=10, progress=False)
        for one in (la.landscapes.four_wells(), la.landscapes.deep_wells())
    ]
    made = _make_lecture.assemble(LECTURE, found, raced, {}, {})
    return la.page(made, path=tmp_path_factory.mktemp("lecture") / "lecture.html")


def test_a_presenters_button_goes_through_a_statement(opened, lecture):
    page = opened(path=lecture, hash="#v=lecture&at=four-wells.3")
    assert page.ask("atlas.state.s") == "four-wells" and [r["name"] for r in page.ask("atlas.state.r")] == [
        "gd",
        "momentum",
    ]
    assert page.ask("atlas.state.t") == 0 and "of 2 parts hold" not in page.ask(
        "document.querySelector('.lecture').innerText"
    )
    canvas = page.frame.locator(".lecture canvas.over").first
    box = canvas.bounding_box()
    page.page.mouse.click(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5)
    page.settle()
    assert "Your cross is on the map" in page.ask("document.querySelector('.lecture').innerText")
    page.page.keyboard.press("PageDown")
    page.wait("atlas.state.t > 0")
    page.page.keyboard.press("PageDown")
    page.wait("document.querySelector('.lecture').innerText.includes('1 of 2 parts hold')")
    text = page.ask("document.querySelector('.lecture').innerText")
    assert "lies" in text and "from it" in text and "lossatlas race four-wells --optimizers gd,momentum" in text
    page.page.keyboard.press("PageDown")
    page.wait("atlas.state.at === 'four-wells.4'")
    page.page.keyboard.press("ArrowLeft")
    page.wait("atlas.state.at === 'four-wells.3'")
    assert "1 of 2 parts hold" in page.ask("document.querySelector('.lecture').innerText")
    assert page.ask("atlas.hash()") == "#v=lecture&at=four-wells.3"
    assert not page.said


@pytest.mark.parametrize("screen", ["wide", "phone"])
def test_every_slide_fits_and_says_its_statement(opened, lecture, screen):
    page = opened(path=lecture, screen=screen)
    assert page.ask("atlas.state.v") == "lecture"
    for section in LECTURE:
        for at in (section.id, *(f"{section.id}.{k + 1}" for k in range(len(section.statements)))):
            page.show(at=at)
            wider = page.ask("document.documentElement.scrollWidth - window.innerWidth")
            assert wider <= 1, f"{at} scrolls sideways by {wider} px"
            said = page.ask("document.querySelector('.lecture .claim').textContent")
            assert said == (
                section.title if at == section.id else section.statements[int(at.rpartition(".")[2]) - 1].says
            )
    assert not page.said
    page.page.evaluate("location.hash = '#v=lecture&at=nowhere.9'")
    page.settle()
    assert page.ask("atlas.state.at") in ("", f"{LECTURE[-1].id}.{len(LECTURE[-1].statements)}")


def test_axe_finds_nothing_serious_in_a_slide(opened, lecture):
    from pathlib import Path

    import axe_playwright_python

    page = opened(path=lecture, bypass_csp=True, hash="#v=lecture&at=four-wells.2")
    page.page.evaluate(Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text())
    for theme in ("light", "dark"):
        for at in ("four-wells", "four-wells.2"):
            page.show(at=at, theme=theme)
            page.page.wait_for_timeout(150)
            found = page.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
