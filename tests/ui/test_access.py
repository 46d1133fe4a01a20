"""axe-core finds nothing serious in any tab, light or dark; without the network, from the copy that a development package holds."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.ui
VIEWS = ("atlas", "explore", "race", "basins", "compare", "paths", "lessons", "provenance")


@pytest.fixture(scope="module")
def axe():
    try:
        import axe_playwright_python
    except ImportError:
        pytest.fail("the tests of access need axe-playwright-python: pip install -e '.[ui]'", pytrace=False)
    return Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, axe, theme):
    page = opened(bypass_csp=True, hash=f"#v=atlas&theme={theme}")
    page.page.evaluate(axe)
    found = []
    for view in VIEWS:
        page.show(v=view, theme=theme)
        page.page.wait_for_timeout(100)
        for one in page.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]:
            if one["impact"] in ("serious", "critical"):
                found.append((view, one["id"], [node["html"][:160] for node in one["nodes"]][:3]))
    assert not found, "\n".join(map(str, found))


def test_axe_finds_nothing_serious_in_what_stands_without_scripts(browsers, folder, axe):
    context = browsers["no webgl"].new_context(bypass_csp=True)
    page = context.new_page()
    text = (folder / "atlas.html").read_text()
    page.set_content(text[: text.index('<script type="application/json"')] + "</body></html>")
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    context.close()
