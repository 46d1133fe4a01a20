"""Laws of every optimizer in the catalog, on every kind of ground. A new one is in the catalog: it is held to them."""

import pytest
import torch

import lossatlas as la
from lossatlas.optimize import Streams, catalog, citation, resolve
from lossatlas.probe import Answer, Gradients

NAMES = sorted(catalog)
GROUNDS = ("four-wells", "rosenbrock", "rastrigin", "quadratic")


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_a_batch_has_the_bits_of_that_run_alone(name, ground):
    surface = la.landscapes.landscape(ground)
    optimizer, steps = la.optimizer(name, **({"rate": 1e-3} if name != "annealing" and name != "restart" else {})).plan(
        25
    )
    box = surface.box
    starts = box[:, 0] + (box[:, 1] - box[:, 0]) * torch.rand(7, 2, generator=torch.Generator().manual_seed(1)).double()

    def walk(rows):
        points = starts[rows]
        walker = optimizer.walk(points, surface.layout, Streams(4, rows))
        query, seen = next(walker), []
        for _ in range(steps):
            seen.append(query.points)
            wants_slopes = isinstance(query, Gradients)
            answer = Answer(*surface.gradients(query.points)) if wants_slopes else Answer(surface.values(query.points))
            try:
                query = walker.send(answer)
            except StopIteration:
                break
        return torch.stack(seen, 1)

    together = walk([0, 1, 2, 3, 4, 5, 6])
    for b in range(7):
        # A walk may leave the numbers there are (Rosenbrock is steep): those runs must then agree in that too.
        assert torch.allclose(walk([b])[0], together[b], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("budget", [1, 2, 7, 100])
@pytest.mark.parametrize("name", NAMES)
def test_never_one_query_over_the_budget(name, budget):
    surface = la.landscapes.four_wells()
    calls = []
    read, gradients = surface.read, surface.gradients
    surface.read = lambda points: (calls.append(len(points)), read(points))[1]
    surface.gradients = lambda points, sample=None: (calls.append(len(points)), gradients(points, sample))[1]
    race = la.race(surface, [name], steps=150, budget=budget, runs=3)
    spent = race.meter[name]
    assert spent.per_run.tolist() == [budget] * 3
    assert spent.queries == 3 * budget
    # The referee asks too, on a meter of its own; what the racer asked comes first.
    assert sum(calls[:budget]) == 3 * budget
    assert race.status[name] == ("budget",) * 3


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_says_what_it_is(name):
    kind = catalog[name]
    assert kind.name == name
    for text in (kind.title, kind.asks, kind.remembers, kind.source):
        assert text
    assert citation([la.optimizer(name)]).startswith("@")
    assert kind.__doc__ and "Args:" in kind.__doc__
    assert resolve(la.optimizer(name)) == la.optimizer(name)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gd", {"rate": -1.0}),
        ("gd", {"rate": float("nan")}),
        ("gd", {"rate": "fast"}),
        ("momentum", {"momentum": 1.0}),
        ("rmsprop", {"alpha": -0.1}),
        ("adam", {"beta1": 1.0}),
        ("adam", {"beta2": 1.5}),
        ("adamw", {"decay": -0.1}),
        ("annealing", {"temperature": 0.0}),
        ("annealing", {"cooling": 1.2}),
        ("restart", {"restarts": 0}),
        ("restart", {"inner": "gd"}),
        ("gd", {"speed": 1.0}),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(name, settings):
    with pytest.raises(la.LossAtlasError, match=r"expected|has no setting"):
        la.optimizer(name, **settings)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(la.LossAtlasError, match="'momentum'"):
        la.optimizer("momentun")


def test_streams_are_independent_of_their_company_and_differ_between_runs():
    many, one = Streams(3, 5), Streams(3, [2])
    for shape in ((2,), (700,), (3, 4), ()):
        a, b = many.normal(*shape), one.normal(*shape)
        assert torch.equal(a[2], b[0])
        c, d = many.uniform(*shape), one.uniform(*shape)
        assert torch.equal(c[2], d[0])
    draws = Streams(0, 4).normal(20_000)
    # Correlation of independent columns: standard deviation 1/√20000 = 0.007; 6 of them never by chance.
    assert float((torch.corrcoef(draws) - torch.eye(4)).abs().max()) < 0.043
    assert float(draws.mean().abs()) < 6 / (80_000**0.5)
    assert float((draws.std() - 1).abs()) < 0.02
