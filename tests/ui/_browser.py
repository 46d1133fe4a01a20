"""Chromium for the tests: what is installed, else Playwright's own, else the system's, else one line of what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "chrome")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
WHAT_TO_DO = (
    "the browser tests found no Chrome or Chromium and could install none: install one (apt-get install chromium, or "
    "python -m playwright install chromium), then run make test again"
)


class NoBrowser(Exception):
    """There is none, and none could be had."""


def find() -> str:
    """The path of a browser; installs one where there is none.

    Raises:
        NoBrowser: if none can be had.
    """
    return installed() or _playwrights() or _systems() or _none()


def installed() -> str | None:
    """One that is there already."""
    given = os.environ.get("LOSSATLAS_BROWSER")
    found = [given, *map(shutil.which, NAMES), *(place for place in PLACES if Path(place).is_file())]
    return next((one for one in found if one), None)


def _playwrights() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        place = playwright.chromium.executable_path
    if not Path(place).is_file() and not _ran([sys.executable, "-m", "playwright", "install", "chromium"]):
        return None
    return place if Path(place).is_file() else None


def _systems() -> str | None:
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        _ran(["apt-get", "update", "-qq"])
        _ran(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"])
    return installed()


def _none() -> str:
    raise NoBrowser(WHAT_TO_DO)


def _ran(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=900).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


if __name__ == "__main__":
    try:
        find()
    except NoBrowser as error:
        sys.exit(str(error))
