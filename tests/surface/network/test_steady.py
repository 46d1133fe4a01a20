"""Steady readings: the bits of a loss depend on its point alone, so that a run may be resumed anywhere."""

import threading
import time

import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.surface import Frame, Layout, Reading, Surface
from lossatlas.surface._threads import same_algorithms, steadily
from lossatlas.surface.network._fold import folded


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


X, Y = torch.randn(333, 64, generator=seeded()), torch.randint(3, (333,), generator=seeded(1))
IMAGES, LABELS = torch.randn(150, 1, 8, 8, generator=seeded(2)), torch.randint(10, (150,), generator=seeded(3))


class Residual(nn.Module):
    """No chain: read one copy of the model at a time."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(64, 40), nn.Linear(40, 3)

    def forward(self, x):
        return self.two(self.one(x).tanh() + x.sum(1, keepdim=True))


def chain():
    return nn.Sequential(nn.Linear(64, 100), nn.Tanh(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 3))


def convolution():
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 1), nn.AdaptiveAvgPool2d(2)
    )
    model[1].running_mean.normal_(generator=seeded(4))
    model[1].running_var.uniform_(0.5, 2.0, generator=seeded(5))
    return nn.Sequential(model, nn.Flatten(), nn.Linear(32, 10)).eval()


SURFACES = {
    "chain": lambda: la.NetworkSurface(chain(), "cross_entropy", (X, Y)),
    "chain in batches, double": lambda: la.NetworkSurface(
        chain().double(), "cross_entropy", (X.double(), Y), batch_size=100
    ),
    "no chain": lambda: la.NetworkSurface(Residual(), "cross_entropy", (X, Y)),
    "no loss of ours": lambda: la.NetworkSurface(Residual(), lambda o, t: (o - t).abs().mean(), (X, X.sum(1)[:, None])),
    "convolution": lambda: la.NetworkSurface(convolution(), "cross_entropy", (IMAGES, LABELS)),
    "recomputed": lambda: la.NetworkSurface(
        convolution(), "cross_entropy", (IMAGES, LABELS), batch_size=40, batchnorm="recompute"
    ),
    "fewer examples": lambda: la.NetworkSurface(convolution(), "cross_entropy", (IMAGES, LABELS)).cheaper(60),
    "landscape": la.landscapes.himmelblau,
    "matrix products": lambda: Products(),
    "slice of a slice": lambda: framed(la.NetworkSurface(Residual(), "cross_entropy", (X, Y))),
}


class Products(Surface):
    """A surface of someone else: its rows meet in one matrix product, and it knows nothing of steadiness."""

    name = "matrix products"
    layout = Layout.vector(70)

    def __init__(self):
        self.matrix = torch.randn(70, 300, generator=seeded(7), dtype=torch.float64)

    def read(self, points):
        return Reading((points @ self.matrix).cos().sum(1), {"norm": points.norm(dim=1)})

    def gradients(self, points, sample=None):
        raise NotImplementedError

    def products(self, point, vectors):
        raise NotImplementedError


def framed(surface):
    start = torch.zeros(surface.dimension, dtype=surface.dtype) if surface.start is None else surface.start
    scale = 0.3 if surface.dimension > 2 else 1.0
    directions = scale * torch.randn(2, surface.dimension, generator=seeded(8), dtype=torch.float64)
    return surface.on(Frame(start, directions.to(surface.dtype)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SURFACES)
def test_the_bits_of_a_reading_depend_on_its_point_alone(kind):
    torch.manual_seed(0)
    surface = SURFACES[kind]()
    frame = framed(surface).frame
    coords = torch.rand(13, 2, generator=seeded(9), dtype=torch.float64) * 2 - 1
    before = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        steady = surface.on(frame, steady=True)
        order = torch.randperm(13, generator=seeded(threads))
        whole, shuffled = steady.read(coords), steady.read(coords[order])
        alone = [steady.read(coords[k : k + 1]).values for k in range(0, 13, 4)]
        with torch.autocast("cpu", dtype=torch.bfloat16):  # a mode of the caller's thread only
            cast = steady.read(coords[:9])
        assert torch.get_num_threads() == threads
        found += [whole, Reading(shuffled.values[order.argsort()], {})]
        assert torch.equal(torch.cat(alone), whole.values[::4]) and torch.equal(cast.values, whole.values[:9])
    torch.set_num_threads(before)
    for reading in found[1:]:
        assert torch.equal(reading.values, found[0].values)
    assert all(torch.equal(channel, found[2].extras[name]) for name, channel in found[0].extras.items())
    plain = surface.on(frame).read(coords)
    assert torch.allclose(found[0].values, plain.values, rtol=2e-6, atol=1e-7)
    assert found[0].extras.keys() == plain.extras.keys()
    assert steady.read(coords[:0]).values.shape == (0,)


def test_a_reader_that_knows_nothing_of_it_is_not_told():
    class Own(Products):
        def reader(self, frame):
            return lambda coords: self.read(frame.points(coords))

    assert framed(Own()).read(torch.zeros(2, 2).double()).values.shape == (2,)


def test_a_folded_convolution_that_is_copied_runs_on_its_own_weights():
    """Copies run side by side; one on another's weights would give whatever that one is at."""
    import copy

    torch.manual_seed(0)
    model = convolution()
    one = folded(model)
    two = copy.deepcopy(one)
    with torch.no_grad():
        two[0][0].weight.mul_(3.0)
        model[0][0].weight.mul_(3.0)
        assert torch.allclose(two(IMAGES), model(IMAGES), atol=1e-4)
        assert not torch.allclose(two(IMAGES), one(IMAGES), atol=1e-2)
    assert [name for name, _ in one.named_parameters()] == [name for name, _ in model.named_parameters()]


def test_every_share_has_a_worker_to_itself_and_one_thread():
    at_work, most, lock = set(), [0], threading.Lock()

    def evaluate(worker, share):
        with lock:
            assert worker not in at_work
            at_work.add(worker)
            most[0] = max(most[0], len(at_work))
        time.sleep(0.002)
        with lock:
            at_work.remove(worker)
        assert torch.get_num_threads() == 1 and not torch.is_grad_enabled() and worker < 3
        return 10 * share

    before = torch.get_num_threads()
    assert steadily(evaluate, range(20), 3) == [10 * k for k in range(20)]
    assert 1 < most[0] <= 3
    inside = []
    threading.Thread(target=lambda: inside.append(torch.get_num_threads())).start()
    time.sleep(0.05)
    assert torch.get_num_threads() == before == inside[0]


def test_an_interrupt_waits_for_no_share_that_has_not_begun():
    begun = []

    def evaluate(worker, share):
        begun.append(share)
        time.sleep(0.01)
        if share == 2:
            raise KeyboardInterrupt
        return share

    with pytest.raises(KeyboardInterrupt):
        steadily(evaluate, range(200), 2)
    assert len(begun) < 20


def test_cudnn_is_as_it_was_before():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    with same_algorithms():
        assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
    assert (cudnn.benchmark, cudnn.deterministic) == before
