"""The served page in a browser: the token leaves the address, jobs stream and end, and no other page gets in."""

import socket
import threading
import time

import pytest
import torch

import lossatlas as la

pytestmark = pytest.mark.ui
TOKEN = "u" * 43


class _Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x):
        time.sleep(0.02)
        return self.layer(x)


def _until(page, script, seconds=15.0):
    """Until a script gives something true; polled from outside, since the page's policy knows no eval."""
    end = time.perf_counter() + seconds
    while not page.evaluate(script):
        assert time.perf_counter() < end, script
        page.wait_for_timeout(30)


@pytest.fixture(scope="module")
def served_atlas(tmp_path_factory):
    import uvicorn

    from lossatlas.serve import Folder
    from lossatlas.serve._app import app

    place = tmp_path_factory.mktemp("served")
    la.race(la.landscapes.four_wells(), ["gd"], steps=20, progress=False).save(place / "race")
    torch.manual_seed(0)
    surface = la.NetworkSurface(_Slow(), "cross_entropy", (torch.randn(6, 2), torch.arange(6) % 2))
    plane = la.Plane.random(surface, seed=0)
    la.chart(surface, plane, points=7, progress=False).save(place / "chart")
    held = Folder(place, {"slow": surface.on(plane)})
    held.surfaces = {
        one["title"]: held.surfaces["slow"] for one in held.scene().head["surfaces"] if one["kind"] == "field"
    }
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app(held, port, TOKEN), log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield port
    server.should_exit = True
    thread.join(5)


@pytest.fixture
def tab(browsers, served_atlas):
    context = browsers["no webgl"].new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    said = []
    page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: said.append(str(e)))
    page.goto(f"http://127.0.0.1:{served_atlas}/#token={TOKEN}")
    _until(page, "window.atlas && window.atlas.served", 20)
    yield page
    assert not said, said
    context.close()


def test_the_token_leaves_the_address_and_the_folder_is_shown(tab):
    assert "token" not in tab.evaluate("location.href")
    assert tab.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
    assert tab.evaluate("atlas.scene.surfaces.length") == 2


def test_true_losses_are_evaluated_where_one_clicked_and_a_job_is_cancelled(tab):
    field = tab.evaluate("atlas.scene.surfaces.find(one => one.kind === 'field').id")
    tab.evaluate(
        "id => atlas.set({v: 'race', s: id, x: [0.2, 0.1], r: [{name: 'gd', settings: {}}], steps: 2000})", field
    )
    tab.get_by_role("button", name="Evaluate here").click()
    _until(tab, "!!atlas.job && !atlas.job.running && atlas.job.frames.length === 3")
    assert "true loss" in tab.inner_text("#live") and "evaluated: 1 losses" in tab.inner_text("#live")
    tab.get_by_role("button", name="Race on the true surface").click()
    _until(tab, "atlas.job.running && atlas.job.frames.some(one => one.kind === 'steps')")
    assert "Forecast: 2,000 gradients" in tab.inner_text("#live")
    tab.get_by_role("button", name="Cancel").click()
    _until(tab, "!atlas.job.running")
    assert "Cancelled" in tab.inner_text("#live")
    tab.get_by_role("button", name="Evaluate here").click()
    _until(tab, "!atlas.job.running && atlas.job.frames.some(one => one.kind === 'done')", 3)


def test_a_path_is_checked(tab):
    tab.evaluate("atlas.set({v: 'race', s: 'four-wells', x: [-3, -3], r: [{name: 'gd', settings: {}}], steps: 50})")
    tab.wait_for_timeout(200)
    tab.get_by_role("button", name="Check this path").click()
    _until(tab, "atlas.job && !atlas.job.running && atlas.job.frames.filter(one => one.kind === 'point').length === 24")


def test_a_page_elsewhere_does_not_get_in_even_with_the_token(browsers, served_atlas):
    context = browsers["no webgl"].new_context()
    page = context.new_page()
    page.goto("data:text/html,<title>elsewhere</title>")
    script = """async ([port, token]) => { try { const a = await fetch(`http://127.0.0.1:${port}/api/scene`,
      {method: 'POST', headers: {'x-atlas-token': token}}); return a.status; } catch (error) { return 'blocked'; } }"""
    assert page.evaluate(script, [served_atlas, TOKEN]) == "blocked"
    context.close()


def test_a_name_that_is_made_to_resolve_here_is_refused(browsers, served_atlas, request):
    kind = browsers["no webgl"].browser_type
    path = request.getfixturevalue("browser_path")
    rebound = kind.launch(
        executable_path=path, args=["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    )
    page = rebound.new_page()
    answer = page.goto(f"http://evil.example:{served_atlas}/#token={TOKEN}")
    assert answer.status == 403
    rebound.close()


def test_a_server_that_is_gone_is_told_in_a_sentence(browsers, served_atlas):
    context = browsers["no webgl"].new_context()
    page = context.new_page()
    page.route("**/api/scene", lambda route: route.abort())
    page.goto(f"http://127.0.0.1:{served_atlas}/#token={TOKEN}")
    page.wait_for_selector("[role=alert]")
    assert "cannot be reached" in page.inner_text("[role=alert]")
    context.close()
