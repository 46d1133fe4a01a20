"""What is Ray's own, on a cluster of two nodes: killed workers and nodes, no cluster, no token, no Ray."""

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

import lossatlas as la
from lossatlas._errors import InputError, WorkerError
from lossatlas.chart import Plane
from lossatlas.probe import Probe, Ray, Values
from lossatlas.probe.engine import _ray

pytestmark = [pytest.mark.usefixtures("sent"), pytest.mark.filterwarnings("default")]


@pytest.mark.slow
def test_a_cluster_without_a_token_is_said(cluster, grounds):
    assert any("asks for no token" in note for note in cluster.engine.notes)
    surface = grounds["an MLP on digits"]
    made = la.chart(surface, Plane.random(surface, seed=1), points=3, exact=True, engine=cluster.engine, progress=False)
    assert any("asks for no token" in note for note in made.provenance["notes"])


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(cluster, grounds, tmp_path):
    import ray

    surface, engine = grounds["an MLP on digits"], cluster.engine
    plane = Plane.random(surface, seed=1)
    here = la.chart(surface, plane, points=9, exact=True, engine="inline", progress=False)
    Probe(surface, engine=engine).evaluate(Values(surface.own_point.repeat(4, 1)))
    deaths = engine.deaths
    # What it was given after its death comes back.
    os.kill(ray.get(engine._actors["1"].process.remote()), signal.SIGKILL)
    there = la.chart(surface, plane, points=9, exact=True, engine=engine, ledger=tmp_path, progress=False)
    assert np.array_equal(here.loss, there.loss) and engine.deaths == deaths + 1
    assert there.ledger["evaluated"] == there.ledger["points"] == 81


@pytest.mark.slow
def test_a_killed_node_loses_nothing(cluster, grounds, tmp_path, monkeypatch):
    surface, engine = grounds["an MLP on digits"], cluster.engine
    plane = Plane.random(surface, seed=2)
    here = la.chart(surface, plane, points=13, exact=True, engine="inline", progress=False)
    monkeypatch.setattr("lossatlas.probe.engine._workers.BATCH_SECONDS", 1e-9)  # one row a batch
    deaths, killed = engine.deaths, threading.Event()

    def progress(done, total):
        if done >= 20 and not killed.is_set():
            killed.set()
            cluster.kill_node()

    there = la.chart(surface, plane, points=13, exact=True, engine=engine, ledger=tmp_path, progress=progress)
    cluster.add_node()
    assert np.array_equal(here.loss, there.loss) and killed.is_set()
    assert there.ledger["evaluated"] == there.ledger["points"] == 169
    # The worker that was lost comes back where there is room again.
    until = time.monotonic() + 60
    while engine.deaths == deaths and time.monotonic() < until:
        Probe(surface, engine=engine).evaluate(Values(surface.own_point.repeat(8, 1)))
    assert engine.deaths > deaths


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_said_at_once(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    begin = time.monotonic()
    with pytest.raises(WorkerError, match=r"'127.0.0.1:1' cannot be reached \(ConnectionRefusedError") as refused:
        Ray("127.0.0.1:1")
    assert "\n" not in str(refused.value) and "RAY_AUTH_TOKEN" in str(refused.value)
    assert time.monotonic() - begin < 10


def test_no_ray_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(InputError, match=r"without Ray.*pip install 'lossatlas\[ray\]'.*engine='pool'"),
        la.engine("ray"),
    ):
        pass


@pytest.mark.slow
def test_an_old_ray_is_refused(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "__version__", "2.40.1")
    with pytest.raises(InputError, match=r"got Ray 2.40.1; expected at least 2.52"):
        _ray._imported()
