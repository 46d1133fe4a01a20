"""The same laws on a Ray cluster of one machine: bits, counts, a killed worker. Skipped where Ray is not installed."""

import os
import signal

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas._errors import WorkerError
from lossatlas.chart import Plane
from lossatlas.probe import Gradients, Inline, Probe, Products, Ray, Values

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("sent"), pytest.mark.filterwarnings("default")]
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'lossatlas[ray]'")


@pytest.fixture(scope="module")
def cluster(own_file):
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    made = Ray(workers=2)
    yield made
    made.close()
    ray.shutdown()


@pytest.mark.parametrize("name", ["an MLP on digits", "the user's file"])
def test_bits_and_counts_are_those_of_this_process(cluster, grounds, name):
    surface = grounds[name]
    points = surface.own_point + 0.1 * torch.randn(5, surface.dimension, generator=torch.Generator().manual_seed(0))
    queries = [Values(points), Gradients(points), Products(points[:1], points[None, :2])]
    here, there = Probe(surface, engine=Inline(steady=True)), Probe(surface, engine=cluster)
    for query in queries:
        one, other = here.evaluate(query), there.evaluate(query)
        assert torch.equal(one.values, other.values) and torch.equal(one.gradients, other.gradients)
        assert torch.equal(one.products, other.products)
    assert here.meter.cost() == there.meter.cost() and there.meter.worker_seconds > 0


def test_a_killed_worker_loses_nothing(cluster, grounds, tmp_path):
    surface = grounds["an MLP on digits"]
    plane = Plane.random(surface, seed=1)
    here = la.chart(surface, plane, points=9, exact=True, engine="inline", progress=False)
    Probe(surface, engine=cluster).evaluate(Values(surface.own_point.repeat(4, 1)))
    deaths = cluster.deaths
    # What it was given after its death comes back.
    os.kill(ray.get(cluster._actors["1"].process.remote()), signal.SIGKILL)
    there = la.chart(surface, plane, points=9, exact=True, engine=cluster, ledger=tmp_path, progress=False)
    assert np.array_equal(here.loss, there.loss) and cluster.deaths == deaths + 1
    assert there.ledger["evaluated"] == there.ledger["points"] == 81


def test_a_cluster_that_is_not_there_is_said(monkeypatch):
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(WorkerError, match="cannot be reached") as refused:
        Ray("127.0.0.1:1")
    assert "\n" not in str(refused.value)
