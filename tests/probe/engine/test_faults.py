"""Workers and drivers killed at random moments, many times: no point lost, none evaluated twice, the same chart at the end."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import lossatlas as la
from lossatlas.chart import Plane
from lossatlas.probe import Pool
from lossatlas.probe.engine import _workers

# Ray warns of what is its own.
pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("sent"), pytest.mark.filterwarnings("default")]
WORKERS, DRIVERS, NODES = 20, 6, 3

# One driver: a chart of the user's file with two workers, resumed from the ledger, its arrays written at the end.
DRIVER = """
import sys
import numpy as np
import torch
import lossatlas as la
from lossatlas.cli._network import Network, network
from lossatlas.probe.engine import _workers

_workers.WORTH = _workers.QUICK = 0.0
if __name__ == "__main__":
    file, folder, engine, out = sys.argv[1:]
    with la.engine(engine):
        own = Network(model=f"{file}:make_model", data=f"{file}:make_data", loss=f"{file}:loss")
        torch.manual_seed(0)  # the file's model is drawn at random
        surface = network(own, own.module())
        plane = la.Plane.random(surface, seed=1)
        chart = la.chart(surface, plane, points=13, exact=True, ledger=folder, progress=False)
        assert chart.ledger["evaluated"] == chart.ledger["points"] == 169, chart.ledger
        np.save(out, chart.loss)
"""


def test_twenty_killed_workers_lose_nothing_and_count_nothing_twice(own_surface, tmp_path, monkeypatch):
    surface = own_surface()
    plane = Plane.random(surface, seed=1)
    here = la.chart(surface, plane, points=41, exact=True, engine="inline", progress=False)
    monkeypatch.setenv("OWN_SECONDS", "0.05")
    with Pool(2) as pool:
        rng, done, killed = random.Random(0), threading.Event(), []

        def kill():
            # Faster than a new worker begins, and one point would meet three of them, which stops the chart, as it should.
            while not done.wait(rng.uniform(0.3, 1.5)) and len(killed) < WORKERS:
                at_work = [slot.name for slot in pool._slots.values() if slot.state == "busy"]
                if at_work:
                    killed.append(pool._processes[rng.choice(at_work)].pid)
                    os.kill(killed[-1], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        there = la.chart(surface, plane, points=41, exact=True, engine=pool, ledger=tmp_path, progress=False)
        done.set()
        killer.join()
        assert len(killed) == WORKERS and pool.deaths >= WORKERS - 1
    assert np.array_equal(here.loss, there.loss)
    assert there.meter.values == 41**2 and there.meter.lost == pool.lost > 0
    assert there.ledger["evaluated"] == there.ledger["points"] == 41**2


def test_nodes_of_a_cluster_that_are_killed_one_after_another_lose_nothing(cluster, grounds, tmp_path, monkeypatch):
    surface, engine = grounds["a CNN with batch norm"], cluster.engine
    plane = Plane.random(surface, seed=1)
    here = la.chart(surface, plane, points=21, exact=True, engine="inline", progress=False)
    monkeypatch.setattr(_workers, "BATCH_SECONDS", 1e-9)  # one row a batch
    killed = []

    def progress(done, total):
        if len(killed) < NODES and done >= 60 * (len(killed) + 1):
            killed.append(done)
            cluster.kill_node()
            cluster.add_node()

    there = la.chart(surface, plane, points=21, exact=True, engine=engine, ledger=tmp_path, progress=progress)
    assert len(killed) == NODES and np.array_equal(here.loss, there.loss)
    assert there.ledger["evaluated"] == there.ledger["points"] == there.meter.values == 441


def test_drivers_that_are_killed_and_resumed_with_another_engine_end_with_the_same_chart(own_file, tmp_path, cluster):
    if "engine" in vars(cluster):
        cluster.engine.close()  # room for the workers of the drivers
        del cluster.engine
    engines = ("pool:2", "inline", f"ray:{cluster.made.address}")
    script, rng = tmp_path / "driver.py", random.Random(1)
    script.write_text(DRIVER)
    environment = os.environ | {"OWN_SECONDS": "0.05", "PYTHONPATH": os.pathsep.join(sys.path)}

    def begin(folder, engine):
        arguments = [
            sys.executable,
            str(script),
            str(own_file),
            str(folder),
            engine,
            str(tmp_path / f"{folder.name}.npy"),
        ]
        return subprocess.Popen(arguments, env=environment)

    def written(folder):
        """When the files of a ledger were last written to: by a driver that is at work, not by one that begins."""
        return {path.name: path.stat().st_mtime_ns for path in folder.glob("ledger.sqlite*")}

    assert begin(tmp_path / "alone", "inline").wait(300) == 0
    for number in range(DRIVERS):
        before = written(tmp_path / "killed")
        driver = begin(tmp_path / "killed", engines[number % 3])
        until = time.monotonic() + 120
        while written(tmp_path / "killed") == before and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(rng.uniform(0.5, 4.0))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert begin(tmp_path / "killed", "pool:2").wait(300) == 0
    assert (tmp_path / "alone.npy").read_bytes() == (tmp_path / "killed.npy").read_bytes()
