"""The page in every host, with and without WebGL, on a wide screen and on a phone: it opens, works, and reaches for nothing."""

import pytest

pytestmark = pytest.mark.ui
ALLOWED = ("file:", "blob:", "data:", "about:", "http://127.0.0.1:")
VIEWS = ("atlas", "explore", "race", "basins", "compare", "paths", "lessons", "provenance")


# Every two of the three choices meet.
@pytest.mark.parametrize(
    ("gl", "host", "screen"),
    [
        ("webgl", "file", "wide"),
        ("webgl", "served", "phone"),
        ("webgl", "frame", "wide"),
        ("no webgl", "file", "phone"),
        ("no webgl", "served", "wide"),
        ("no webgl", "frame", "phone"),
    ],
)
def test_the_page_opens_and_every_tab_works(opened, gl, host, screen):
    page = opened(gl, host, screen)
    assert page.ask("atlas.refused") is None
    for view in VIEWS:
        page.show(v=view)
        assert page.ask("atlas.state.v") == view
        wider = page.ask("document.documentElement.scrollWidth - window.innerWidth")
        assert wider <= 1, f"{view} scrolls sideways by {wider} px"
    page.show(v="race", s="four-wells", x=[-3.8, -3.5])
    page.wait("atlas.runs.length >= 3")
    canvas = page.frame.locator("canvas.over").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    before = page.ask("JSON.stringify(atlas.state.x)")
    press = page.page.touchscreen.tap if screen == "phone" else page.page.mouse.click
    press(box["x"] + box["width"] * 0.62, box["y"] + box["height"] * 0.4)
    page.wait(f"JSON.stringify(atlas.state.x) !== {before!r} && atlas.state.x !== null")
    sentence = page.ask("document.body.innerText.includes('No 3-D here')")
    if gl == "no webgl" and screen == "wide":
        assert sentence
    assert not page.said, page.said
    assert [url for url in page.reached if not url.startswith(ALLOWED)] == []


def test_a_page_without_scripts_shows_tables_sentences_and_pictures(browsers, folder):
    context = browsers["no webgl"].new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "atlas.html").as_uri())
    text = page.inner_text("#record")
    assert "gd ended in the basin of A" in text and "annealing" in text and "95 % interval" in text
    assert page.locator("#record img").count() >= 3
    assert page.evaluate("[...document.images].every(one => one.naturalWidth > 100 && one.alt.length > 20)")
    context.close()


def test_the_screens_of_a_dark_theme_are_dark(opened):
    page = opened("no webgl", color_scheme="dark")
    tone = page.ask("getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)")
    assert sum(tone) < 200, tone


def test_a_broken_scene_is_refused_with_a_sentence(opened, folder, tmp_path):
    text = (folder / "atlas.html").read_text()
    for change in (('"version":1', '"version":9'), ('"format":"lossatlas-scene"', '"format":"x"')):
        (tmp_path / "broken.html").write_text(text.replace(*change))
        page = opened(path=tmp_path / "broken.html")
        assert page.ask("atlas.refused")
        assert "scene" in page.ask("document.querySelector('[role=alert]').textContent").lower()


def test_a_hostile_title_is_shown_as_text(opened, scene, tmp_path):
    import lossatlas as la

    title = "</script><script>window.bad=1</script><img src=x onerror='window.bad=2'>"
    head = {**scene.head, "title": title, "surfaces": [{**one, "title": title} for one in scene.head["surfaces"]]}
    la.page(la.Scene(head, scene.arrays), path=tmp_path / "hostile.html")
    page = opened(path=tmp_path / "hostile.html")
    for view in VIEWS:
        page.show(v=view)
    assert page.ask("window.bad === undefined")
    assert title in page.ask("document.body.innerText")
    assert not page.said
