"""The notebook widget: its script in a page with a stand-in for the notebook's model, in both directions."""

import json

import pytest

import lossatlas as la

pytestmark = pytest.mark.ui
MODEL = """
const held = DATA, changed = [];
const model = { get: (k) => held[k], set: (k, v) => { held[k] = v; }, save_changes: () => {}, on: (_, f) => changed.push(f) };
window.held = held; window.change = (k, v) => { held[k] = v; for (const f of changed) f(); };
render({ model, el: document.body });
"""


def test_what_is_chosen_in_the_page_comes_back_and_what_is_set_goes_there(browsers, scene):
    from lossatlas.page._make_page import document
    from lossatlas.page._widget import _SCRIPT

    data = {"_page": document(scene, main=""), "title": "t", "tall": 600, "start": None, "selected": "", "runs": []}
    script = _SCRIPT.replace("export default { render };", "") + MODEL.replace("DATA", json.dumps(data))
    context = browsers["no webgl"].new_context(viewport={"width": 1000, "height": 700})
    page = context.new_page()
    page.set_content("<!doctype html><title>notebook</title><body></body>")
    page.evaluate(f"(() => {{ {script} }})()")
    page.wait_for_function("held.selected !== '' && Array.isArray(held.start)", timeout=20_000)
    frame = page.frames[-1]
    frame.evaluate("atlas.set({v: 'race', s: 'four-wells', x: [1, 2]})")
    page.wait_for_function("held.start && held.start[0] === 1 && held.runs.length > 0")
    assert page.evaluate("held.selected") == "four-wells"
    page.evaluate("change('start', [-2, 0.5])")
    frame.wait_for_function("atlas.state.x && atlas.state.x[0] === -2 && atlas.state.x[1] === 0.5")
    assert page.evaluate("held.runs[0].optimizer") in ("gd", "momentum")
    context.close()


def test_without_the_extra_there_is_a_sentence(monkeypatch, scene):
    import sys

    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(la.InputError, match="notebook"):
        la.widget(scene)


def test_with_the_extra_the_traits_are_there(scene):
    made = la.widget(scene, height=500)
    assert made.tall == 500 and made.start is None and made.runs == []
    made.start = [1.0, 2.0]
