"""Surfaces that every engine has to answer alike."""

import functools
import importlib
import sys

import pytest
import torch

import lossatlas as la
from lossatlas.cli._network import Network, network
from lossatlas.demo import digits, digits_mlp
from lossatlas.probe import Pool, Ray
from lossatlas.probe.engine import _workers
from lossatlas.surface import Function

OWN = '''
import os
import time

import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(6, 16), torch.nn.Linear(16, 3)])

    def forward(self, x):
        time.sleep(float(os.environ.get("OWN_SECONDS", 0)))
        return self.layers[1](torch.sin(self.layers[0](x)) * SCALE)

SCALE = 1.0

def make_model():
    return Net()

def make_data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(64, 6, generator=generator), torch.randint(0, 3, (64,), generator=generator)

def rippled(point):
    """Of NumPy operations: values only."""
    return float((point**2).sum()) + 0.3 * abs(float(point[0])) ** 0.5

def loss(output, target):
    return torch.nn.functional.cross_entropy(output, target) + 0.01 * output.square().mean()
'''


@pytest.fixture(scope="session")
def own_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own_net.py"
    path.write_text(OWN)
    sys.path.insert(0, str(path.parent))
    yield path
    sys.path.remove(str(path.parent))


@pytest.fixture(scope="session")
def own_surface(own_file):
    """Makes the surface of the user's file as the command line does."""

    def make(**settings):
        own = Network(model=f"{own_file}:make_model", data=f"{own_file}:make_data", loss=f"{own_file}:loss", **settings)
        with la.engine("inline"):  # what is made for an engine knows how it was made
            return network(own, own.module())

    return make


def few(images=False):
    pixels, labels = digits(images=images)
    return pixels[:150], labels[:150]


@pytest.fixture(scope="session")
def grounds(own_file, own_surface):
    rippled = importlib.import_module(own_file.stem).rippled
    cnn = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10)
    )
    return {
        "an MLP on digits": la.NetworkSurface(digits_mlp(), "cross_entropy", few()),
        "a CNN with batch norm": la.NetworkSurface(cnn.eval(), "cross_entropy", few(images=True), batch_size=64),
        "a function of values only": Function(rippled, box=[(-2, 2), (-1, 3), (0, 1)]),
        "the user's file": own_surface(),
    }


@pytest.fixture(scope="session")
def pool(own_file):
    """Two workers, which evaluate everything but the first row of a kind."""
    made = Pool(2)
    yield made
    made.close()


NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


class RayCluster:
    """A head and two nodes of one core on the loopback of this machine, each with processes of its own."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        head = NODE | {"num_cpus": 0, "include_dashboard": False}
        self.made = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.made.add_node(**NODE) for _ in range(2)]

    @functools.cached_property
    def engine(self):
        """A worker on each node, as soon as somebody wants them."""
        return Ray(self.made.address, workers=2)

    def kill_node(self):
        """Kill a node and all that runs on it, as a machine that loses its power."""
        self.made.remove_node(self.nodes.pop(0), allow_graceful=False)

    def add_node(self):
        self.nodes.append(self.made.add_node(**NODE))

    def close(self):
        if "engine" in vars(self):
            self.engine.close()
        importlib.import_module("ray").shutdown()
        self.made.shutdown()


@pytest.fixture(scope="session")
def cluster(own_file):
    """Two workers on two nodes of a Ray cluster."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'lossatlas[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        # Tokens lie in the user's own folder.
        patch.setenv("RAY_AUTH_MODE", "disabled")
        made = RayCluster()
        yield made
        made.close()


@pytest.fixture(params=["pool", "ray"])
def workers(request):
    """Two workers of each engine that has some."""
    if request.param == "pool":
        return request.getfixturevalue("pool")
    return request.getfixturevalue("cluster").engine


@pytest.fixture
def sent(monkeypatch):
    """Whatever is queried goes to workers, however quick it is."""
    monkeypatch.setattr(_workers, "WORTH", 0.0)
    monkeypatch.setattr(_workers, "QUICK", 0.0)
