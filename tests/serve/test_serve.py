"""The server: who may talk to it, what it evaluates, and that it ends when its client does."""

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch
import uvicorn

import lossatlas as la
from lossatlas.serve import Folder
from lossatlas.serve._app import app
from lossatlas.serve._work import along

TOKEN = "t" * 43


class _Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x):
        time.sleep(0.05)
        return self.layer(x)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("results")
    la.race(la.landscapes.four_wells(), ["gd", "adam"], steps=20, progress=False).save(place / "race")
    return place


@pytest.fixture(scope="module")
def slow():
    torch.manual_seed(0)
    x, y = torch.randn(8, 2), torch.arange(8) % 2
    surface = la.NetworkSurface(_Slow(), "cross_entropy", (x, y))
    return surface.on(la.Plane.random(surface, seed=0))


@pytest.fixture(scope="module")
def running(folder, slow):
    """Port of a server in a thread."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    held = Folder(folder, {"four wells": slow})
    server = uvicorn.Server(uvicorn.Config(app(held, port, TOKEN), log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield port, held
    server.should_exit = True
    thread.join(5)


def _ask(port, path, body=None, **headers):
    headers = {"x-atlas-token": TOKEN, "content-type": "application/json", **headers}
    headers = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    return httpx.post(f"http://127.0.0.1:{port}{path}", content=json.dumps(body or {}), headers=headers, timeout=30)


def _frames(content):
    while content:
        head, body = struct.unpack("<II", content[:8])
        yield json.loads(content[8 : 8 + head])
        content = content[8 + head + body :]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-atlas-token": None},
        {"x-atlas-token": "wrong"},
        {"host": "evil.example:8765"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1:1"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/api/scene", "/api/job", "/api/list"])
def test_a_stranger_is_refused(running, path, headers):
    answer = _ask(running[0], path, **headers)
    assert answer.status_code == 403 and answer.text.count("\n") == 1
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.slow
def test_the_page_itself_is_refused_across_sites_and_under_another_name(running):
    port = running[0]
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    for headers in ({"sec-fetch-site": "cross-site"}, {"host": f"evil.example:{port}"}):
        assert httpx.get(f"http://127.0.0.1:{port}/", headers=headers).status_code == 403
    assert httpx.options(f"http://127.0.0.1:{port}/api/scene").status_code == 403


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/%2e%2e/pyproject.toml", "/atlas.py", "/race/race.json", "/api/nothing"]
)
def test_no_path_leads_to_a_file(running, path):
    port = running[0]
    with socket.create_connection(("127.0.0.1", port)) as line:
        kind = "POST" if path.startswith("/api") else "GET"
        head = [f"{kind} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"x-atlas-token: {TOKEN}", "Content-Length: 0"]
        line.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode())
        assert line.recv(100).split()[1] == b"404"


def test_headers_keep_the_page_to_itself(running):
    headers = httpx.get(f"http://127.0.0.1:{running[0]}/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.slow
def test_a_huge_body_is_refused(running):
    port = running[0]
    answer = httpx.post(f"http://127.0.0.1:{port}/api/job", content=b"x" * 1_000_001, headers={"x-atlas-token": TOKEN})
    assert answer.status_code == 413

    def chunks():
        for _ in range(40):
            yield b"x" * 50_000

    try:
        answer = httpx.post(f"http://127.0.0.1:{port}/api/job", content=chunks(), headers={"x-atlas-token": TOKEN})
        assert answer.status_code in (400, 413)
    except httpx.TransportError:
        pass


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "delete"},
        {"kind": "evaluate", "at": [[1, 2, 3]]},
        {"kind": "evaluate", "at": [[1, "x"]]},
        {"kind": "evaluate", "at": [[1, 1e300]]},
        {"kind": "evaluate", "at": [[1, 10**400]]},
        {"kind": "race", "optimizers": [{"name": "gd", "settings": {"name": "x"}}], "steps": 3, "start": [0, 0]},
        {"kind": "evaluate", "at": [[0, 0]] * 300},
        {"kind": "check", "at": [[0, 0]]},
        {"kind": "race", "optimizers": [], "steps": 3, "start": [0, 0]},
        {"kind": "race", "optimizers": [{"name": "gd"}], "steps": 10**9, "start": [0, 0]},
        {"kind": "race", "optimizers": [{"name": "gd", "settings": {"lr": -1}}], "steps": 3, "start": [0, 0]},
        {
            "kind": "race",
            "optimizers": [{"name": "restart", "settings": {"restarts": 4000}}],
            "steps": 30,
            "start": [0, 0],
        },
        {
            "kind": "race",
            "optimizers": [{"name": "genetic", "settings": {"population": 10**9}}],
            "steps": 3,
            "start": [0, 0],
        },
        {"kind": "race", "optimizers": [{"name": "os.system"}], "steps": 3, "start": [0, 0]},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_a_job_that_is_none_is_refused_with_a_sentence(running, body):
    answer = _ask(running[0], "/api/job", {"surface": "four-wells", **body})
    assert answer.status_code == 400 and answer.text.count("\n") == 1, answer.text
    assert "Traceback" not in answer.text


@pytest.mark.slow
def test_what_is_no_json_and_what_is_not_there_get_a_sentence(running):
    port = running[0]
    headers = {"x-atlas-token": TOKEN}
    assert httpx.post(f"http://127.0.0.1:{port}/api/job", content=b"[1,", headers=headers).status_code == 400
    assert _ask(port, "/api/job", {"surface": "nowhere", "kind": "evaluate", "at": [[0, 0]]}).status_code == 404
    assert _ask(port, "/api/live", {"id": "../../etc"}).status_code == 404


def test_the_scene_is_the_folders(running):
    scene = la.Scene.from_json(_ask(running[0], "/api/scene").text)
    assert [run["label"] for run in scene.head["runs"]] == ["gd", "adam"]


def test_a_true_loss_comes_with_a_forecast_before_and_its_cost_after(running, slow):
    answer = _ask(running[0], "/api/job", {"surface": "four-wells", "kind": "evaluate", "at": [[0.1, 0.2], [0, 0]]})
    frames = list(_frames(answer.content))
    assert [one["kind"] for one in frames] == ["forecast", "point", "point", "done"]
    assert frames[0]["losses"] == 2 and frames[0]["seconds"] > 0.05
    points = torch.tensor([[0.1, 0.2], [0.0, 0.0]], dtype=slow.dtype)
    assert [one["loss"] for one in frames[1:3]] == pytest.approx(slow.values(points).tolist(), abs=1e-6)
    assert frames[-1]["losses"] == 2 and frames[-1]["examples"] == 16
    told = _ask(running[0], "/api/forecast", {"surface": "four-wells", "kind": "check", "at": [[0, 0], [1, 0]]}).json()
    assert told["losses"] == 24


def test_a_path_is_checked_at_even_distances():
    import numpy as np

    points = along(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]]), 5)
    assert points.tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [3, 1]]


def test_a_race_on_the_slice_is_the_race_of_python(running, slow):
    body = {
        "surface": "four-wells",
        "kind": "race",
        "start": [0.3, 0.1],
        "steps": 4,
        "optimizers": [{"name": "gd", "settings": {"lr": 0.1}}],
    }
    frames = list(_frames(_ask(running[0], "/api/job", body).content))
    rows = [row for one in frames if one["kind"] == "steps" for row in one["rows"]]
    race = la.race(slow, [la.optimizer("gd", lr=0.1)], start=[0.3, 0.1], steps=4, progress=False)
    track = race.tracks["gd"]
    torch.testing.assert_close(
        torch.tensor([row[:2] for row in rows], dtype=torch.float64), track.positions[0, :4].double(), atol=1e-6, rtol=0
    )
    assert frames[-1]["gradients"] == 4


def test_leaving_ends_the_job_within_a_second(running):
    port, _ = running
    body = {"surface": "four-wells", "kind": "evaluate", "at": [[0.01 * k, 0] for k in range(200)]}
    with httpx.stream(
        "POST", f"http://127.0.0.1:{port}/api/job", content=json.dumps(body), headers={"x-atlas-token": TOKEN}
    ) as answer:
        next(answer.iter_bytes())
    begin = time.perf_counter()
    frames = list(
        _frames(_ask(port, "/api/job", {"surface": "four-wells", "kind": "evaluate", "at": [[0, 0]]}).content)
    )
    assert frames[-1]["kind"] == "done"
    assert time.perf_counter() - begin < 2.5


@pytest.mark.slow
def test_two_tabs_take_turns(running):
    port = running[0]
    found = []

    def tab(k):
        body = {"surface": "four-wells", "kind": "evaluate", "at": [[0.1 * k, 0]] * 5}
        found.append([one["kind"] for one in _frames(_ask(port, "/api/job", body).content)])

    tabs = [threading.Thread(target=tab, args=(k,)) for k in range(2)]
    for one in tabs:
        one.start()
    for one in tabs:
        one.join(30)
    assert len(found) == 2 and all(one[-1] == "done" and one.count("point") == 5 for one in found)
    assert any("waiting" in one for one in found)


@pytest.mark.slow
def test_a_folder_that_changes_is_read_again(running, folder):
    port = running[0]
    la.lesson("A2").run().save(folder)
    scene = la.Scene.from_json(_ask(port, "/api/scene").text)
    assert [one["id"] for one in scene.head["lessons"]] == ["A2"]
    for path in folder.glob("lesson-*"):
        path.unlink()
    assert la.Scene.from_json(_ask(port, "/api/scene").text).head["lessons"] == []


@pytest.mark.slow
def test_a_ledger_is_watched_while_it_grows_through_a_kill(running, folder):
    from lossatlas.probe import Ledger, Probe, Values
    from lossatlas.serve._live import LedgerWatch

    place = folder / "growing"
    surface = la.landscapes.himmelblau()

    def evaluate(seed):
        generator = torch.Generator().manual_seed(seed)
        with Ledger.open(place, {"surface": surface.fingerprint()}) as ledger:
            Probe(surface, ledger=ledger.channel("exact")).evaluate(
                Values(torch.rand(5, 2, generator=generator, dtype=torch.float64))
            )

    evaluate(0)
    watch = LedgerWatch(place / "ledger.sqlite")
    (first,) = list(watch.news())
    assert first["known"] == 5 and len(first["rows"]) == 5 and list(watch.news()) == []
    code = (
        "import os, signal, sys, torch, lossatlas as la\n"
        "from lossatlas.probe import Ledger, Probe, Values\n"
        "s = la.landscapes.himmelblau()\n"
        "ledger = Ledger.open(sys.argv[1], {'surface': s.fingerprint()})\n"
        "Probe(s, ledger=ledger.channel('exact')).evaluate(Values(torch.full((1, 2), 0.5, dtype=torch.float64)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(place)], env=os.environ)
    assert ran.returncode == -9
    (second,) = list(watch.news())
    assert second["known"] == 6 and second["rows"][0][1:3] == [0.5, 0.5]
    evaluate(1)
    assert next(iter(watch.news()))["known"] == 11
    (listed,) = [one for one in _ask(running[0], "/api/list").json()["live"] if one["title"] == "growing"]
    with httpx.stream("POST", f"http://127.0.0.1:{running[0]}/api/live", content=json.dumps({"id": listed["id"]}),
                      headers={"x-atlas-token": TOKEN}) as answer:  # fmt: skip
        assert next(_frames(next(answer.iter_bytes())))["known"] == 11


def test_a_journal_is_followed_by_whole_lines(tmp_path):
    from lossatlas.serve._live import JournalWatch

    path = tmp_path / "steps.jsonl"
    row = {"step": 1, "seconds": 0.5, "point": True, "stride": 1, "notes": {"loss": [[1, 2.0]]}}
    path.write_text(json.dumps(row) + "\n" + '{"step": 2')
    watch = JournalWatch(path)
    (frame,) = list(watch.news())
    assert [one["step"] for one in frame["rows"]] == [1] and list(watch.news()) == []
    with path.open("a") as file:
        file.write(', "seconds": 1, "notes": {}}\n')
    (frame,) = list(watch.news())
    assert [one["step"] for one in frame["rows"]] == [2]


@pytest.mark.slow
def test_fifty_clients_at_once(running):
    import resource

    port = running[0]
    seconds = float(os.environ.get("LOSSATLAS_SECONDS", "10"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failures, done = [], []

    async def client(k, line):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            if k % 5:
                answer = await line.post("/api/scene", content="{}")
                if answer.status_code != 200:
                    failures.append(answer.status_code)
            else:
                body = {"surface": "four-wells", "kind": "evaluate", "at": [[0.1, 0.1 * k]]}
                answer = await line.post("/api/job", content=json.dumps(body))
                if [*_frames(answer.content)][-1]["kind"] != "done":
                    failures.append(answer.content[:100])
            done.append(k)

    async def everyone():
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers={"x-atlas-token": TOKEN}, timeout=60, limits=limits
        ) as line:
            await asyncio.gather(*(client(k, line) for k in range(50)))

    # In a thread, since tests of the page leave an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, everyone()).result()
    assert not failures and len(set(done)) == 50
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000, f"{grown / 1000:.0f} MB"


def test_another_host_needs_a_second_flag_and_says_why(folder):
    from lossatlas.serve import serve

    with pytest.raises(la.InputError, match="--anyone"):
        serve(folder, host="0.0.0.0")
    with pytest.raises(la.InputError, match="no folder"):
        serve(folder / "nothing")


@pytest.mark.slow
def test_the_command_prints_an_address_whose_token_opens_it(folder):
    code = f"from lossatlas.cli import main; main(['serve', {str(folder)!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline().split()[1]
        address, token = line.split("#token=")
        answer = httpx.post(f"{address}api/scene", content="{}", headers={"x-atlas-token": token.strip()}, timeout=60)
        assert answer.status_code == 200 and len(token) >= 43
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


SLOW = """
import time
import torch


class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x):
        time.sleep(0.05)
        return self.layer(x)


def make_data():
    return torch.linspace(-1, 1, 16).reshape(8, 2), torch.arange(8) % 2
"""


@pytest.mark.slow
def test_a_server_that_is_killed_within_a_job_loses_nothing(tmp_path):
    (tmp_path / "my.py").write_text(SLOW)
    network = ["--model", f"{tmp_path / 'my.py'}:Slow", "--data", f"{tmp_path / 'my.py'}:make_data"]
    out = tmp_path / "chart"

    def command(*words):
        return [sys.executable, "-c", f"from lossatlas.cli import main; main({[str(word) for word in words]!r})"]

    subprocess.run(
        command("chart", *network, "--points", 3, "--exact", "--no-card", "--out", out), check=True, capture_output=True
    )
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def served(job, kill):
        with subprocess.Popen(command("serve", out, *network), stdout=subprocess.PIPE, text=True) as process:
            try:
                address, token = process.stdout.readline().split()[1].split("#token=")
                headers, got = {"x-atlas-token": token.strip()}, b""
                scene = la.Scene.from_json(
                    httpx.post(f"{address}api/scene", content="{}", headers=headers, timeout=60).text
                )
                body = json.dumps({"surface": scene.head["surfaces"][0]["id"], "kind": "evaluate", "at": job})
                with httpx.stream("POST", f"{address}api/job", content=body, headers=headers, timeout=60) as answer:
                    assert answer.status_code == 200
                    try:
                        for part in answer.iter_bytes():
                            got += part
                            if kill:
                                process.kill()
                    except httpx.HTTPError:
                        assert kill
                return got
            finally:
                process.kill()

    for _ in range(2):
        cut = served([[0.001 * k, 0.0] for k in range(100)], kill=True)
        assert b"done" not in cut
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    frames = list(_frames(served([[0.0, 0.0]], kill=False)))
    assert frames[-1]["kind"] == "done"
    (point,) = [one for one in frames if one["kind"] == "point"]
    assert point["loss"] == pytest.approx(float(la.load(out).loss[1, 1]), rel=1e-6)


@pytest.mark.slow
def test_the_slice_of_a_chart_is_found_by_its_provenance(tmp_path):
    from lossatlas.cli._network import Network
    from lossatlas.cli._serve import _slices

    script = tmp_path / "my.py"
    script.write_text(
        "import torch\n\ndef make_model():\n    torch.manual_seed(0)\n    return torch.nn.Linear(4, 3)\n\n"
        "def make_data():\n    g = torch.Generator().manual_seed(1)\n    return torch.randn(20, 4, generator=g), torch.arange(20) % 3\n"
    )
    own = Network(model=f"{script}:make_model", data=f"{script}:make_data")
    from lossatlas.cli._network import network

    surface = network(own, own.module())
    # Two planes through one network, so that both charts have the same title.
    charts = [la.chart(surface, la.Plane.random(surface, seed=k), points=5, progress=False) for k in (3, 4)]
    for k, chart in enumerate(charts):
        chart.save(tmp_path / f"chart-{k}")
    held = Folder(tmp_path, _slices(tmp_path, own))
    assert len({chart.title for chart in charts}) == 1
    for entry, chart in zip(held.scene().head["surfaces"], charts, strict=True):
        slice_ = held.surface(entry["id"])
        at = torch.tensor([[chart.alpha[1], chart.beta[3]]], dtype=slice_.dtype)
        assert float(slice_.values(at)[0]) == pytest.approx(chart.loss[3, 1], rel=1e-4)
    # By that title alone there is no telling which plane is meant.
    with pytest.raises(la.InputError, match="not at hand"):
        Folder(tmp_path, {charts[0].title: slice_}).surface(entry["id"])


@pytest.mark.slow
def test_landscapes_of_one_name_are_told_apart(tmp_path):
    places = [la.landscapes.quadratic(), la.landscapes.quadratic(condition=3.0)]
    for k, place in enumerate(places):
        la.race(place, ["gd"], steps=3, progress=False).save(tmp_path / f"race-{k}")
    held = Folder(tmp_path)
    at = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    for entry, place in zip(held.scene().head["surfaces"], places, strict=True):
        assert float(held.surface(entry["id"]).values(at)) == float(place.values(at))


@pytest.mark.slow
def test_without_the_extra_a_sentence_says_what_to_install(tmp_path):
    code = f"import sys; sys.modules['starlette'] = None; from lossatlas.cli import main; main(['serve', {str(tmp_path)!r}])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 2 and "lossatlas[serve]" in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr
