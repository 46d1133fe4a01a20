"""Rows on mini-batches of their own, side by side: the same numbers as one after another, whatever the model."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lossatlas as la
from lossatlas._errors import InputError
from lossatlas.demo import digits, digits_cnn, digits_mlp
from lossatlas.optimize import Streams
from lossatlas.probe import Answer, Probe, Products
from lossatlas.surface import Sample

ROWS, SIZE = 5, 12


class Attention(nn.Module):
    """Tokens with fused attention, layer norm and an embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.place = nn.Embedding(8, 16)
        self.norm = nn.LayerNorm(16)
        self.qkv, self.out, self.head = nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 10)
        self.register_buffer("numbers", torch.arange(8))

    def forward(self, x):
        h = self.embed(x.reshape(-1, 8, 8)) + self.place(self.numbers)
        q, k, v = self.qkv(self.norm(h)).reshape(-1, 8, 3, 2, 8).permute(2, 0, 3, 1, 4)
        h = h + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.head(h.mean(1))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.EmbeddingBag(7, 5), nn.Linear(5, 3)

    def forward(self, words, scale):
        return self.head(self.embed(words)) * scale[:, None]


class Stubborn(nn.Module):
    """Looks at its numbers: cannot be vectorized."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        out = self.head(x)
        return out if out.sum().item() > 0 else 2 * out


def _words():
    generator = torch.Generator().manual_seed(0)
    words, scale = torch.randint(7, (40, 4), generator=generator), torch.rand(40, generator=generator)
    return {"words": words, "scale": scale.double(), "labels": torch.randint(3, (40,), generator=generator)}


def _surface(kind: str) -> la.NetworkSurface:
    torch.manual_seed(0)
    x, y = digits("test")
    x = x.double()
    match kind:
        case "mlp":
            return la.NetworkSurface(digits_mlp((12,)).double(), "cross_entropy", (x, y))
        case "several batches":
            loader = DataLoader(TensorDataset(x, y), batch_size=100)
            return la.NetworkSurface(digits_mlp((12,)).double(), "cross_entropy", loader)
        case "attention":
            return la.NetworkSurface(Attention().double(), "cross_entropy", (x, y))
        case "words":
            return la.NetworkSurface(Words().double(), "cross_entropy", _words())
        case "norm":
            model = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10)).double().eval()
            return la.NetworkSurface(model, "cross_entropy", (x, y))
        case "norm by batch":
            model = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10)).double().eval()
            return la.NetworkSurface(model, "cross_entropy", (x, y), batchnorm="batch")
        case "cnn":
            return la.NetworkSurface(digits_cnn().double(), "cross_entropy", (x.reshape(-1, 1, 8, 8), y))
        case _:
            return la.NetworkSurface(Stubborn().double(), "cross_entropy", (x, y))


KINDS = ("mlp", "several batches", "attention", "words", "norm", "norm by batch", "cnn", "stubborn")
TOGETHER = KINDS[:6]


def _rows(surface, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(ROWS, surface.dimension, generator=generator, dtype=surface.dtype)
    return surface.theta + 0.1 * noise, torch.randint(2**40, (ROWS,), generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_rows_side_by_side_are_the_rows_alone(kind):
    """Six calls: the operations are recorded on the way, and nothing changes by it."""
    surface = _surface(kind)
    points, seeds = _rows(surface)
    first = surface.gradients(points, Sample(SIZE, seeds))
    assert surface._evaluation.minibatches.possible == (kind in TOGETHER)
    for _ in range(5):
        again = surface.gradients(points, Sample(SIZE, seeds))
        assert torch.equal(again[0], first[0]) and torch.equal(again[1], first[1])
    assert bool(surface._evaluation.minibatches._traced.get((ROWS, SIZE))) == (kind in TOGETHER)
    for b in range(ROWS):
        value, slope = surface.gradients(points[b : b + 1], Sample(SIZE, seeds[b : b + 1]))
        assert torch.allclose(first[0][b], value[0], rtol=1e-12) and torch.allclose(first[1][b], slope[0], atol=1e-13)


@pytest.mark.parametrize("kind", ["mlp", "several batches"])
def test_a_row_is_the_gradient_of_a_plain_model_on_the_examples_drawn(kind):
    surface = _surface(kind)
    points, seeds = _rows(surface)
    values, slopes = surface.gradients(points, Sample(SIZE, seeds))
    x, y = digits("test")
    model = digits_mlp((12,)).double()
    for b in range(ROWS):
        rows = torch.randperm(len(y), generator=torch.Generator().manual_seed(int(seeds[b])))[:SIZE]
        nn.utils.vector_to_parameters(points[b], model.parameters())
        model.zero_grad()
        loss = nn.functional.cross_entropy(model(x[rows].double()), y[rows])
        loss.backward()
        assert values[b] == pytest.approx(float(loss.detach()), rel=1e-12)
        slope = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
        assert torch.allclose(slopes[b], slope, atol=1e-13)


@pytest.mark.slow
def test_new_points_are_evaluated_and_not_the_recorded_ones():
    surface = _surface("attention")
    points, seeds = _rows(surface)
    for _ in range(5):
        surface.gradients(points, Sample(SIZE, seeds))
    fresh = _surface("attention")
    others, more = _rows(surface, seed=1)
    ours, theirs = (s.gradients(others, Sample(SIZE, more)) for s in (surface, fresh))
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    assert not torch.allclose(ours[1], surface.gradients(points, Sample(SIZE, seeds))[1])


def test_the_mean_over_seeds_is_the_gradient_over_all_data():
    """2,000 mini-batches; each coordinate's mean within 5 standard errors (one false alarm in 1,000 for all of them)."""
    surface = _surface("mlp")
    points = surface.theta.expand(2000, -1)
    _, slopes = surface.gradients(points, Sample(SIZE, torch.arange(2000)))
    _, whole = surface.gradients(surface.theta[None])
    error = slopes.std(0) / 2000**0.5
    assert ((slopes.mean(0) - whole[0]).abs() <= 5 * error + 1e-15).all()


@pytest.mark.slow
def test_nothing_is_left_behind():
    surface = _surface("mlp")
    points, seeds = _rows(surface)
    torch.manual_seed(5)
    state, theta = torch.get_rng_state(), surface.theta.clone()
    for _ in range(5):
        surface.gradients(points, Sample(SIZE, seeds))
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(surface.theta, theta)
    _, slopes = surface.gradients(points, Sample(SIZE, seeds))
    slopes += 1  # the caller's own
    assert not torch.equal(surface.gradients(points, Sample(SIZE, seeds))[1], slopes)


@pytest.mark.slow
def test_copies_and_pickles_answer_alike():
    surface = _surface("mlp")
    points, seeds = _rows(surface)
    for _ in range(5):
        expected = surface.gradients(points, Sample(SIZE, seeds))[1]
    for twin in (copy.deepcopy(surface), pickle.loads(pickle.dumps(surface))):
        assert torch.equal(twin.gradients(points, Sample(SIZE, seeds))[1], expected)


def test_many_rows_go_in_parts(monkeypatch):
    surface = _surface("mlp")
    points, seeds = _rows(surface)
    expected = surface.gradients(points, Sample(SIZE, seeds))
    monkeypatch.setattr(
        "lossatlas.surface.network._minibatch.LARGEST", 2 * SIZE * surface._evaluation.minibatches.width
    )
    surface._evaluation.minibatches._calls.clear()
    found = surface.gradients(points, Sample(SIZE, seeds))
    assert torch.allclose(found[1], expected[1], atol=1e-14) and len(found[0]) == ROWS
    assert {rows for rows, _ in surface._evaluation.minibatches._calls} == {2, ROWS % 2} - {0}


def test_bad_sizes():
    surface = _surface("mlp")
    points, seeds = _rows(surface)
    for size in (0, 361):
        with pytest.raises(InputError, match=f"a mini-batch of {size} of 360 examples"):
            surface.gradients(points, Sample(size, seeds))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "several batches", "attention"])
def test_products_of_a_mini_batch_are_differences_of_its_gradients(kind):
    """And the door bills the examples of the mini-batch, run by run."""
    surface = _surface(kind)
    points, seeds = _rows(surface)
    vectors = torch.randn(ROWS, 2, surface.dimension, generator=torch.Generator().manual_seed(3)).double()
    probe = Probe(surface)
    found = probe.evaluate(Products(points, vectors, sample=Sample(SIZE, seeds))).products
    assert probe.meter.products == 2 * ROWS and probe.meter.examples == 2 * ROWS * SIZE
    h = 1e-6
    for b in range(ROWS):
        for k in range(2):
            both = points[b] + h * torch.stack([vectors[b, k], -vectors[b, k]])
            _, slopes = surface.gradients(both, Sample(SIZE, seeds[b].expand(2)))
            expected = (slopes[0] - slopes[1]) / (2 * h)
            assert torch.allclose(found[b, k], expected, atol=1e-6 * float(expected.abs().max()) + 1e-9)
    only = torch.tensor([True, False, True, False, False])
    part = probe.evaluate(Products(points, vectors, active=only, sample=Sample(SIZE, seeds)))
    assert torch.equal(part.products[only], found[only]) and bool(part.products[~only].isnan().all())
    plane = surface.on(la.Plane.random(surface, seed=0))
    at = torch.tensor([0.1, -0.2]).double()
    small = plane.sampled_products(at, torch.eye(2).double(), Sample(SIZE, seeds[:1]))
    full = surface.sampled_products(plane.frame.points(at[None])[0], plane.frame.directions, Sample(SIZE, seeds[:1]))
    assert torch.allclose(small, full @ plane.frame.directions.T, atol=1e-8)


def test_products_without_data_are_those_of_the_whole():
    surface = la.landscapes.himmelblau()
    point, eye = torch.tensor([1.0, 2.0]).double(), torch.eye(2).double()
    assert torch.equal(surface.sampled_products(point, eye, Sample(3, torch.tensor([1]))), surface.products(point, eye))


def test_any_rule_goes_on_mini_batches():
    """Adam by hand on the batches that the wrapper drew; two rules with the same streams see the same ones."""
    surface = _surface("mlp")
    inner = la.optimizer("adam", lr=0.01)
    walks = [
        la.optimizer("mini-batches", inner=one, batch_size=SIZE).walk(
            surface.theta[None], surface.layout, Streams(3, 1)
        )
        for one in (inner, la.optimizer("sophia"))
    ]
    queries = [next(walk) for walk in walks]
    assert torch.equal(queries[0].sample.seeds, queries[1].sample.seeds)
    theta, mean, square = surface.theta.clone(), 0.0, 0.0
    query, seen = queries[0], set()
    for t in range(1, 6):
        assert torch.allclose(query.points[0], theta, atol=1e-12)
        seen.add(int(query.sample.seeds[0]))
        value, slope = surface.gradients(query.points, query.sample)
        mean, square = 0.9 * mean + 0.1 * slope[0], 0.999 * square + 0.001 * slope[0] ** 2
        theta = theta - 0.01 * (mean / (1 - 0.9**t)) / ((square / (1 - 0.999**t)).sqrt() + 1e-8)
        query = walks[0].send(Answer(value, slope))
    assert len(seen) == 5
    second = walks[1].send(Answer(*surface.gradients(queries[1].points, queries[1].sample)))
    assert isinstance(second, Products) and second.sample.size == SIZE
