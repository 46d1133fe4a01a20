"""Laws of every optimizer in the catalog, on every kind of ground. A new one is in the catalog: it is held to them."""

import dataclasses

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas.optimize import Streams, catalog, citation, describe, resolve
from lossatlas.probe import Answer, Gradients, Products, Values
from lossatlas.surface import Block, Layout, Reading, Surface

NAMES = sorted(catalog)
GROUNDS = ("four-wells", "rosenbrock", "rastrigin", "quadratic")
SETTINGS = {name: {"lr": 1e-3} for name in ("gd", "sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "lion")}
SETTINGS["bayes"] = {"initial": 4, "candidates": 64}
MATRICES = Layout((Block("w", (2, 3), "linear", 0), Block("b", (2,), "bias", 6), Block("c", (2, 1, 2), "conv", 8)))


def asked(optimizer, surface, layout, starts, rows, steps):
    """The points that each run asked about, one array per run, in order; what it did not ask is left out."""
    walker = optimizer.walk(starts[rows].clone(), layout, Streams(4, rows))
    seen, query = [[] for _ in rows], None
    try:
        query = next(walker)
        for _ in range(steps):
            active = torch.ones(len(rows), dtype=torch.bool) if query.active is None else query.active
            kept = query.points.clone()
            for b in range(len(rows)):
                if active[b]:
                    seen[b].append(query.points[b].reshape(-1).clone())
            match query:
                case Gradients():
                    answer = Answer(*surface.gradients(query.points, query.sample))
                case Products():
                    found = [surface.products(p, v) for p, v in zip(query.points, query.vectors, strict=True)]
                    answer = Answer(torch.empty(0), products=torch.stack(found))
                case Values():
                    flat = query.points.reshape(-1, query.points.shape[-1])
                    answer = Answer(surface.values(flat).reshape(query.points.shape[:-1]))
            before, query = query, walker.send(answer)
            assert torch.equal(before.points, kept) or bool(kept.isnan().any()), "a yielded tensor was written again"
    except StopIteration:
        pass
    return [torch.cat(points) for points in seen]


class Smooth:
    """Ten parameters in matrices: L = ½ Σ cᵢ tᵢ² + Σ cos tᵢ, elementwise and in one order whatever the batch."""

    def gradients(self, points, sample=None):
        c = torch.linspace(1, 5, points.shape[1], dtype=torch.float64)
        return self.values(points), c * points - points.sin()

    def values(self, points):
        c = torch.linspace(1, 5, points.shape[1], dtype=torch.float64)
        total = torch.zeros(len(points), dtype=torch.float64)
        for term in (0.5 * c * points * points + points.cos()).unbind(1):
            total = total + term
        return total

    def products(self, point, vectors):
        return (torch.linspace(1, 5, len(point), dtype=torch.float64) - point.cos()) * vectors


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "bayes" else n for n in NAMES])
def test_a_row_of_a_batch_has_the_bits_of_that_run_alone(name, ground):
    surface = la.landscapes.landscape(ground)
    optimizer, steps = la.optimizer(name, **SETTINGS.get(name, {})).plan(12 if name == "bayes" else 25)
    box = surface.box
    starts = box[:, 0] + (box[:, 1] - box[:, 0]) * torch.rand(7, 2, generator=torch.Generator().manual_seed(1)).double()
    together = asked(optimizer, surface, surface.layout, starts, [0, 1, 2, 3, 4, 5, 6], steps)
    for b in (0, 3, 6):
        (alone,) = asked(optimizer, surface, surface.layout, starts, [b], steps)
        # A walk may leave the numbers there are (Rosenbrock is steep): those runs must then agree in that too.
        length = min(len(alone), len(together[b]))
        assert length and (len(alone) == len(together[b]) or name == "restart")
        assert torch.allclose(alone[:length], together[b][:length], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "name", [n for n in NAMES if not la.optimizer(n).wanders and n not in ("center", "hill-climbing")]
)
def test_matrices_of_one_run_do_not_meet_those_of_another(name):
    starts = torch.randn(5, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    optimizer, steps = la.optimizer(name, **SETTINGS.get(name, {})).plan(20)
    together = asked(optimizer, Smooth(), MATRICES, starts, [0, 1, 2, 3, 4], steps)
    for b in (0, 2, 4):
        (alone,) = asked(optimizer, Smooth(), MATRICES, starts, [b], steps)
        assert torch.equal(alone, together[b])


@pytest.mark.parametrize("budget", [1, 2, 7, 100])
@pytest.mark.parametrize("name", NAMES)
def test_never_one_query_over_the_budget(name, budget):
    surface = la.landscapes.four_wells()
    calls = []
    read, gradients, products = surface.read, surface.gradients, surface.products
    surface.read = lambda points: (calls.append(len(points)), read(points))[1]
    surface.gradients = lambda points, sample=None: (calls.append(len(points)), gradients(points, sample))[1]
    surface.products = lambda point, vectors: (calls.append(len(vectors)), products(point, vectors))[1]
    race = la.race(surface, [name], steps=20 if name == "bayes" else 150, budget=budget, runs=3)
    spent = race.meter[name]
    assert all(one <= budget for one in spent.per_run.tolist())
    assert spent.queries == int(spent.per_run.sum()) == spent.values + spent.gradients + spent.products
    # The referee asks too, on a meter of its own: what is counted at the surface is both.
    assert sum(calls) == spent.queries + race.referee.queries
    # A generation that would overrun is not begun; every other method spends its budget to the last query.
    if not la.optimizer(name).wanders and name not in (
        "center",
        "hill-climbing",
        "sophia",
        "lbfgs",
        "finite-differences",
    ):
        assert spent.per_run.tolist() == [budget] * 3 and race.status[name] == ("budget",) * 3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_surface_that_is_infinite_in_half_its_box_ends_no_race(name):
    class Half(Surface):
        name = "half"

        def __init__(self):
            inner = la.landscapes.four_wells()
            self.layout, self.start, self.inner = inner.layout, inner.start, inner

        def read(self, points):
            values = self.inner.values(points)
            return Reading(torch.where(points[:, 0] > -3.0, float("inf"), values))

        def gradients(self, points, sample=None):
            return self.values(points), torch.where(points > -3.0, float("nan"), self.inner.gradients(points)[1])

        def products(self, point, vectors):
            return torch.where(point > -3.0, float("nan"), self.inner.products(point, vectors))

    race = la.race(Half(), [name, "gd"], steps=10 if name == "bayes" else 60, runs=2)
    for label in race.tracks:
        assert set(race.status[label]) <= {"steps", "diverged", "finished"}
        assert race.verdicts[label].sentence
    if la.optimizer(name).wanders and name != "best-so-far":
        assert bool(torch.isfinite(race.tracks[name].loss).all())


@pytest.mark.parametrize("name", NAMES)
def test_where_there_are_no_gradients_those_that_ask_for_them_say_so_and_the_others_go_on(name):
    class Mute(Surface):
        name, gradients_known = "mute", False

        def __init__(self):
            inner = la.landscapes.beale()
            self.layout, self.start, self.inner = inner.layout, inner.start, inner

        def read(self, points):
            return self.inner.read(points)

        def gradients(self, points, sample=None):
            raise AssertionError("asked for a gradient that is not there")

        def products(self, point, vectors):
            raise AssertionError("asked for a product that is not there")

    race = la.race(Mute(), {"one": la.optimizer(name), "other": "random"}, steps=8)
    wants = la.optimizer(name).queries != {Values}
    assert (race.status["one"] == ("not applicable",)) == wants
    assert race.status["other"] == ("steps",)
    assert "did not run" in race.verdicts["one"].sentence or not wants


@pytest.mark.parametrize("name", NAMES)
def test_the_catalog_tells_all_there_is_to_know(name):
    entry = describe(name)
    assert entry.name == name and entry.evaluates and entry.remembers and entry.source and entry.bibtex.startswith("@")
    assert set(entry.settings) == {f.name for f in dataclasses.fields(catalog[name])}


@pytest.mark.parametrize("name", NAMES)
def test_the_queries_that_are_declared_are_those_that_are_made(name):
    surface, made = la.landscapes.four_wells(), set()
    walk = la.steps(la.optimizer(name, **SETTINGS.get(name, {})), surface, steps=12)
    for query in walk:
        made.add(type(query))
        if isinstance(query, Products):
            pairs = zip(query.points, query.vectors, strict=True)
            walk.tell(products=torch.stack([surface.products(point, vectors) for point, vectors in pairs]))
        elif isinstance(query, Gradients):
            walk.tell(surface.gradients(query.points, query.sample))
        else:
            walk.tell(surface.values(query.points.reshape(-1, 2)))
    assert made == la.optimizer(name).queries


def test_degeneracies_are_labeled_on_the_layout_at_hand():
    flat, matrices = Layout.vector(2), MATRICES
    assert "AdaGrad" in describe("shampoo", flat).becomes and describe("shampoo", matrices).becomes is None
    assert "0.6964" in describe("muon", flat).becomes and describe("muon", matrices).becomes is None
    assert "cycle" in describe("lion").becomes and describe("gd").becomes is None


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_says_what_it_is(name):
    kind = catalog[name]
    assert kind.name == name
    for text in (kind.title, kind.evaluates, kind.remembers, kind.source):
        assert text
    assert citation([la.optimizer(name)]).startswith("@")
    assert kind.__doc__ and ("Args:" in kind.__doc__) == bool(dataclasses.fields(kind))
    assert resolve(la.optimizer(name)) == la.optimizer(name)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gd", {"lr": -1.0}),
        ("gd", {"lr": float("nan")}),
        ("gd", {"lr": "fast"}),
        ("momentum", {"momentum": 1.0}),
        ("rmsprop", {"alpha": -0.1}),
        ("adam", {"betas": (1.0, 0.999)}),
        ("adam", {"betas": (0.9, 1.5)}),
        ("adamw", {"weight_decay": -0.1}),
        ("annealing", {"temperature": 0.0}),
        ("annealing", {"cooling": 1.2}),
        ("restart", {"restarts": 0}),
        ("sgd", {"batch_size": 0}),
        ("lion", {"betas": 0.9}),
        ("sophia", {"every": 0}),
        ("sophia", {"probes": "uniform"}),
        ("shampoo", {"eps": 0.0}),
        ("muon", {"vector": "diagonal"}),
        ("lbfgs", {"decrease": 0.95}),
        ("hill-climbing", {"choice": "best"}),
        ("beam", {"beams": 1, "successors": 1}),
        ("genetic", {"population": 1}),
        ("genetic", {"elite": 20}),
        ("evolution", {"population": 3}),
        ("de", {"crossover": 1.5}),
        ("bayes", {"initial": 1}),
        ("cma", {"population": 2}),
        ("best-so-far", {"inner": 3}),
        ("gradient-noise", {"scale": -1.0}),
        ("restart", {"inner": "gd"}),
        ("gd", {"speed": 1.0}),
        ("gd", {"lr": True}),
        ("genetic", {"population": 2.5}),
        ("genetic", {"mutation": -0.1}),
        ("beam", {"beams": 2.5}),
        ("restart", {"restarts": 2.5}),
        ("restart", {"length": 3.5}),
        ("muon", {"steps": 2.5}),
        ("sophia", {"every": 2.5}),
        ("shampoo", {"shards": 0.5}),
        ("de", {"dither": 0.5}),
        ("de", {"dither": (1.0, 0.5)}),
        ("de", {"population": 0.5}),
        ("lbfgs", {"tolerance": float("nan")}),
        ("lbfgs", {"window": 0.5}),
        ("hill-climbing", {"finer": 1.5}),
        ("bayes", {"initial": 2.5}),
        ("bayes", {"apart": 0.5}),
        ("cma", {"restarts": -1}),
        ("nelder-mead", {"size": 0.0}),
        ("nelder-mead", {"adaptive": 1}),
        ("nelder-mead", {"restarts": 0.5}),
        ("nelder-mead", {"fatol": -1e-8}),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(name, settings):
    with pytest.raises(la.LossAtlasError, match=r"expected|has no setting"):
        la.optimizer(name, **settings)


@pytest.mark.parametrize(
    ("name", "setting", "says"),
    [
        ("muon", "vector", "one of row, column"), ("muon", "adjust", "one of"), ("hill-climbing", "choice", "one of steepest, first"),
        ("sophia", "estimate", "one of hutchinson, exact"), ("sophia", "probes", "one of"), ("sophia", "correct", "True or False"),
    ],
)  # fmt: skip
def test_words_and_flags_are_no_arrays_lists_or_numbers(name, setting, says):
    for given in (np.array(["row", "first"]), ["exact"], 3, None):
        with pytest.raises(la.InputError, match=f"{setting}=.*; expected {says}"):
            la.optimizer(name, **{setting: given})


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
