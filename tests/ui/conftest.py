"""One browser with and one without WebGL for all tests, pages in every host, and a record of what a page said and reached for."""

from __future__ import annotations

import functools
import html
import http.server
import importlib.util
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lossatlas as la

HERE = Path(__file__).parent
FLAGS = {"webgl": [], "no webgl": ["--disable-3d-apis"]}
SCREENS = {"wide": {"viewport": {"width": 1280, "height": 900}},
           "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}}  # fmt: skip


def _browser_module() -> Any:
    spec = importlib.util.spec_from_file_location("_browser", HERE / "_browser.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def browser_path():
    """Where the browser is. Missing pieces fail the tests, with a line of what to do."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        pytest.fail("the browser tests need playwright: pip install -e '.[ui]'", pytrace=False)
    module = _browser_module()
    try:
        return module.find()
    except module.NoBrowser as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def browsers(browser_path):
    """By name: with WebGL and without."""
    from playwright.sync_api import sync_playwright

    path = browser_path
    with sync_playwright() as playwright:
        made = {
            name: playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *flags])
            for name, flags in FLAGS.items()
        }
        yield made
        for one in made.values():
            one.close()


@pytest.fixture(scope="session")
def scene():
    """Something for every tab."""
    surface = la.landscapes.four_wells()
    frame = la.Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    chart = la.chart(la.landscapes.himmelblau(), frame, span=5.0, points=41, progress=False)
    exact = la.chart(la.landscapes.himmelblau(), frame, span=5.0, points=21, exact=True, progress=False)
    race = la.race(
        surface, ["gd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "lion"], steps=300, progress=False
    )
    wild = la.race(surface, ["annealing", "restart", "bayes"], steps=20, progress=False)
    many = la.race(surface, ["annealing"], steps=40, runs=20, progress=False)
    basins = la.basin_map(surface, "momentum", points=12, steps=60, progress=False)
    sweep = la.sweep(surface, "adam", np.geomspace(0.01, 1, 4), steps=20, progress=False)
    line = la.chart(la.landscapes.himmelblau(), la.Line.between(la.landscapes.himmelblau(), [-3.0, -3.0], [3.0, 2.0]),
                    points=21, progress=False)  # fmt: skip
    lessons = [la.lesson(name).run() for name in ("A2", "C2")]
    return la.scene(race, wild, many, chart, exact, basins, sweep, line, lessons, la.landscapes.rosenbrock(),
                    la.extremes(surface, k=1, progress=False), title="Everything at once")  # fmt: skip


@pytest.fixture(scope="session")
def folder(scene, tmp_path_factory):
    """Pages by host, and a server of them on loopback."""
    place = tmp_path_factory.mktemp("pages")
    text = la.page(scene, path=place / "atlas.html").read_text()
    frame = f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(text, quote=True)}" style="width:100%;height:860px;border:0"></iframe>'
    (place / "frame.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>frame</title>'
        f"<body style='margin:0'>{frame}"
    )
    (place / "favicon.ico").write_bytes(b"")
    return place


@pytest.fixture(scope="session")
def served(folder):
    """The address of a server of the folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@dataclass
class Opened:
    """A page that is open.

    Attributes:
        page: the browser's page.
        frame: the frame in which the atlas runs.
        said: errors of the console and of scripts.
        reached: addresses that were asked for.
    """

    page: Any
    frame: Any = None
    said: list[str] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)

    def ask(self, script: str, *args: Any) -> Any:
        """What a script gives."""
        return self.frame.evaluate(script, *args)

    def wait(self, script: str, timeout: int = 15_000) -> None:
        """Until a script gives something true."""
        # Each look is a call of its own: a script that stays in the page and looks again is stopped by the page's policy.
        end = time.monotonic() + timeout / 1000
        while not self.ask(f"!!({script})"):
            assert time.monotonic() < end, f"waited {timeout / 1000:.0f} s for {script}"
            self.page.wait_for_timeout(30)

    def show(self, **state: Any) -> None:
        """Set parts of the state, and let the page settle."""
        self.ask("change => atlas.set(change)", state)
        self.settle()

    def settle(self) -> None:
        """Until the page has drawn."""
        self.ask(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 20))))"
        )


def _open(context: Any, address: str, inside: bool = False) -> Opened:
    one = Opened(context.new_page())
    one.page.on("console", lambda m: one.said.append(f"{m.type}: {m.text}") if m.type == "error" else None)
    one.page.on("pageerror", lambda e: one.said.append(f"script: {e}"))
    one.page.on("request", lambda r: one.reached.append(r.url))
    one.page.goto(address)
    one.frame = one.page.frames[-1] if inside else one.page.main_frame
    one.wait("window.atlas && window.atlas.ready")
    one.settle()
    return one


@pytest.fixture
def opened(browsers, folder, served):
    """Opens the atlas: ``opened(gl, host, screen, hash)``."""
    contexts = []

    def open_(
        gl: str = "no webgl", host: str = "file", screen: str = "wide", hash: str = "", path: Path | None = None, **more
    ):
        context = browsers[gl].new_context(**SCREENS[screen], **more)
        contexts.append(context)
        if host == "served":
            return _open(context, f"{served}/atlas.html{hash}")
        if host == "frame":
            return _open(context, (folder / "frame.html").as_uri(), inside=True)
        return _open(context, (path or folder / "atlas.html").as_uri() + hash)

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def shared(browsers, folder):
    """One atlas for many examples."""
    context = browsers["no webgl"].new_context(**SCREENS["wide"])
    yield _open(context, (folder / "atlas.html").as_uri())
    context.close()
