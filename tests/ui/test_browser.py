"""How a browser is found: what is installed first, then Playwright's, then the system's, then one line of what to do."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("_browser", Path(__file__).with_name("_browser.py"))
browser = importlib.util.module_from_spec(spec)
spec.loader.exec_module(browser)


@pytest.mark.parametrize("there", [("installed",), ("_playwrights",), ("_systems",), ("_playwrights", "_systems")])
def test_the_first_that_is_there_is_taken(monkeypatch, there):
    for name in ("installed", "_playwrights", "_systems"):
        monkeypatch.setattr(browser, name, lambda name=name: name if name in there else None)
    assert browser.find() == there[0]


def test_where_there_is_none_one_line_says_what_to_do(monkeypatch):
    for name in ("installed", "_playwrights", "_systems"):
        monkeypatch.setattr(browser, name, lambda: None)
    with pytest.raises(browser.NoBrowser, match="apt-get install chromium") as caught:
        browser.find()
    assert "\n" not in str(caught.value)


def test_what_is_installed_is_found_by_any_of_its_names(monkeypatch):
    monkeypatch.delenv("LOSSATLAS_BROWSER", raising=False)
    monkeypatch.setattr(browser.shutil, "which", lambda name: f"/bin/{name}" if name == "chromium" else None)
    assert browser.installed() == "/bin/chromium"
    monkeypatch.setenv("LOSSATLAS_BROWSER", "/mine")
    assert browser.installed() == "/mine"
