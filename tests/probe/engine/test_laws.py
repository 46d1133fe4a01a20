"""Whoever answers: the same keys, the same bits, the same cost, also when workers are killed."""

import os
import random
import signal
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import lossatlas as la
from lossatlas.chart import Line, Plane
from lossatlas.chart.sampling import _pace
from lossatlas.probe import Gradients, Inline, Ledger, Pool, Probe, Products, Values
from lossatlas.surface import Sample

NAMES = ("an MLP on digits", "a CNN with batch norm", "a function of values only", "the user's file")
# Ray warns of what is its own.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("sent"), pytest.mark.filterwarnings("default")]


def points_of(surface, count):
    generator = torch.Generator().manual_seed(3)
    around = 0.1 * torch.randn(count, surface.dimension, generator=generator, dtype=torch.float64)
    return surface.own_point + around.to(surface.dtype)


COUNTS = ("values", "gradients", "products", "examples", "recalled", "confirmed")


def cost(meter):
    """Without the number of calls, which is as many as the pace of the machine made it."""
    return {name: getattr(meter, name) for name in COUNTS}


@pytest.mark.parametrize("name", NAMES)
def test_values_gradients_and_products_have_the_bits_and_the_cost_of_this_process(workers, grounds, name):
    surface = grounds[name]
    points = points_of(surface, 7)
    queries = [Values(points)]
    if surface.gradients_known:
        vectors = torch.randn(2, 3, surface.dimension, generator=torch.Generator().manual_seed(4)).to(surface.dtype)
        queries += [Gradients(points), Products(points[:2], vectors)]
    if surface.gradients_known and surface.examples:
        queries += [Gradients(points, Sample(20, torch.arange(7)))]
        queries += [Products(points[:2], vectors, sample=Sample(20, torch.arange(2)))]
    here, there = Probe(surface, engine=Inline(steady=True)), Probe(surface, engine=workers)
    for query in queries:
        one, other = here.evaluate(query), there.evaluate(query)
        assert torch.equal(one.values, other.values) and one.extras.keys() == other.extras.keys()
        assert torch.equal(one.gradients, other.gradients) and torch.equal(one.products, other.products)
        assert all(torch.equal(channel, other.extras[key]) for key, channel in one.extras.items())
    assert cost(here.meter) == cost(there.meter)
    assert there.meter.worker_seconds > 0 == here.meter.worker_seconds


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exact", [True, False])
def test_a_chart_is_the_same_to_the_bit_and_so_is_its_ledger(workers, grounds, tmp_path, name, exact):
    surface = grounds[name]
    plane = Plane.random(surface, seed=1) if surface.examples else Line.of(surface, torch.tensor([1.0, 0.5, 0.2]))
    made, rows, costs = {}, {}, {}
    for engine in ("inline", workers):
        folder = tmp_path / ("here" if engine == "inline" else "there")
        chart = la.chart(surface, plane, points=9, exact=exact, engine=engine, ledger=folder, progress=False)
        made[engine], costs[engine] = chart, cost(chart.meter)
        with Ledger.open(folder, {"surface": surface.fingerprint(), "plane": _identity(plane)}) as ledger:
            assert ledger.evaluated == len(ledger)
            query = "SELECT channel, a, b, status, value, extras, examples FROM points ORDER BY channel, a, b"
            rows[engine] = ledger._store.connection.execute(query).fetchall()
    here, there = made["inline"], made[workers]
    assert np.array_equal(here.loss, there.loss) and np.array_equal(here.error, there.error)
    assert np.array_equal(here.samples, there.samples) and here.certificate.record() == there.certificate.record()
    assert rows["inline"] == rows[workers] and costs["inline"] == costs[workers]


def _identity(plane):
    from lossatlas.chart.planes._identity import identity

    return identity(plane)


def test_a_chart_without_a_ledger_has_the_same_bits_too(workers, grounds):
    surface = grounds["a CNN with batch norm"]
    plane = Plane.random(surface, seed=1)
    charts = [la.chart(surface, plane, points=5, exact=True, engine=e, progress=False) for e in ("inline", workers)]
    assert np.array_equal(charts[0].loss, charts[1].loss)
    assert np.array_equal(charts[0].extras["accuracy"], charts[1].extras["accuracy"])


def test_workers_that_are_killed_change_nothing_but_what_was_lost(own_surface, tmp_path, monkeypatch):
    surface = own_surface()
    plane = Plane.random(surface, seed=1)
    here = la.chart(surface, plane, points=9, exact=True, engine="inline", progress=False)
    monkeypatch.setenv("OWN_SECONDS", "0.05")
    with Pool(2) as pool:
        rng, done, killed = random.Random(0), threading.Event(), []

        def kill():
            # A third might meet the point of both others, which then stops the chart, as it should.
            while not done.wait(rng.uniform(0.05, 0.3)) and len(killed) < 2:
                at_work = [slot.name for slot in pool._slots.values() if slot.state == "busy"]
                if at_work:
                    killed.append(pool._processes[rng.choice(at_work)].pid)
                    os.kill(killed[-1], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        there = la.chart(surface, plane, points=9, exact=True, engine=pool, ledger=tmp_path, progress=False)
        done.set()
        killer.join()
        assert pool.deaths >= 1 and there.meter.lost == pool.lost
    assert np.array_equal(here.loss, there.loss) and len(killed) == 2
    assert (there.meter.values, there.meter.examples) == (here.meter.values, here.meter.examples) == (81, 81 * 64)
    assert there.ledger["evaluated"] == there.ledger["points"] == 81


class EndedError(Exception):
    pass


def test_what_one_engine_began_another_ends_to_the_same_files(pool, cluster, grounds, tmp_path, monkeypatch):
    """Each is stopped on its way, by an error that stands for the end of the driver, and the next one goes on."""
    monkeypatch.setattr(_pace, "CHUNK_SECONDS", 0.0)
    surface = grounds["an MLP on digits"]
    plane = Plane.random(surface, seed=1)
    settings = {"points": 13, "exact": True}

    def stops(at):
        def progress(done, total):
            if done >= at:
                raise EndedError

        return progress

    la.chart(surface, plane, **settings, engine="inline", ledger=tmp_path / "alone", progress=False).save(
        tmp_path / "a"
    )
    for engine, at in ((cluster.engine, 40), (pool, 80), ("inline", 120)):
        with pytest.raises(EndedError):
            la.chart(surface, plane, **settings, engine=engine, ledger=tmp_path / "shared", progress=stops(at))
    made = la.chart(surface, plane, **settings, engine=cluster.engine, ledger=tmp_path / "shared", progress=False)
    assert made.ledger["evaluated"] == made.ledger["points"] == 169 and 120 <= made.meter.recalled < 169
    made.save(tmp_path / "b")
    one, other = (load_file(tmp_path / name / "chart.safetensors") for name in "ab")
    # But for what was spent in this session, the files are the same to the bit.
    assert one.keys() == other.keys() and {"loss", "samples", "extras/accuracy"} <= one.keys()
    assert all(torch.equal(one[name], other[name]) for name in one if not name.startswith("meter/"))
