"""Wrappers change what they say and hand on the rest."""

import dataclasses

import pytest
import torch

import lossatlas as la
from lossatlas.optimize import BestSoFar, FiniteDifferences, GradientNoise, MiniBatches, Restart, Wrapper, catalog
from lossatlas.probe import Gradients, Products, Values
from lossatlas.surface import Layout

WRAPPERS = [kind for kind in catalog.values() if issubclass(kind, Wrapper)]
INNER = ["gd", "sophia", "annealing", "bayes", "random", "lion", "shampoo", "restart"]


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("kind", WRAPPERS, ids=lambda kind: kind.name)
def test_a_wrapper_hands_on_what_it_does_not_change(kind, inner):
    one, _ = la.optimizer(inner).plan(60)
    around, length = kind(inner=la.optimizer(inner)).plan(60)
    assert around.batched == one.batched
    assert around.becomes(Layout.vector(2)) == one.becomes(Layout.vector(2))
    assert around.wanders == (one.wanders or kind in (BestSoFar, Restart))
    if kind is FiniteDifferences:
        assert around.queries == {Values if query is Gradients else query for query in one.queries}
    else:
        assert around.queries == one.queries
    if kind is not Restart:
        assert around.breaks(300) == one.breaks(300) and around.inner == one
        assert length == la.optimizer(inner).plan(60)[1]


def test_restarts_break_where_descents_begin_and_where_the_inner_method_breaks():
    assert Restart(la.optimizer("gd"), restarts=3, length=4).breaks(12) == [4, 8]
    assert Restart(la.optimizer("random"), restarts=2, length=3).breaks(6) == [1, 2, 3, 4, 5, 6]
    inner = Restart(la.optimizer("gd"), restarts=2, length=2)
    assert Restart(inner, restarts=2, length=4).breaks(8) == [2, 4, 6]


@pytest.mark.slow
@pytest.mark.parametrize("inner", ["restart", "annealing", "gd", "beam"])
def test_noise_of_scale_zero_changes_no_bit_of_a_race(inner):
    surface, one = la.landscapes.deep_wells(), la.optimizer(inner)
    plain = la.race(surface, {"x": one}, steps=60, runs=3, seed=1)
    shaken = la.race(surface, {"x": GradientNoise(one, scale=0.0)}, steps=60, runs=3, seed=1)
    a, b = plain.tracks["x"], shaken.tracks["x"]
    assert torch.equal(a.positions, b.positions) and torch.equal(a.final, b.final) and torch.equal(a.loss, b.loss)
    assert plain.status == shaken.status and plain.verdicts["x"].wells == shaken.verdicts["x"].wells


def test_noise_has_the_size_that_it_says():
    surface = la.landscapes.quadratic(dimension=2)
    lr = 1e-9  # it all but stands still: the gradient is that of the start
    walk = la.steps(GradientNoise(la.optimizer("gd", lr=lr), scale=0.5, fading=1.0), surface, steps=3, runs=4000)
    told, moved = None, []
    for query in walk:
        if told is not None:
            moved.append((told[0] - query.points) / lr - told[1])
        told = (query.points, surface.gradients(query.points)[1])
        walk.tell(surface.gradients(query.points))
    # Standard deviation ν / √(1 + t)^γ with ν = ½ and γ = 1, over 8,000 draws: 4 % is five standard errors.
    for t, noise in enumerate(moved):
        assert abs(float(noise.std()) / (0.5 / (1 + t) ** 0.5) - 1) < 0.04


@pytest.mark.slow
def test_noise_within_noise_is_independent_of_it():
    surface, lr, runs = la.landscapes.quadratic(dimension=2), 1e-9, 4000
    inner = GradientNoise(la.optimizer("gd", lr=lr), scale=0.3, fading=0.0)
    walk = la.steps(GradientNoise(inner, scale=0.4, fading=0.0), surface, steps=2, runs=runs)
    first = walk.ask().points
    walk.tell(surface.gradients(first))
    noise = (first - walk.ask().points) / lr - surface.gradients(first)[1]
    # Variances add, 0.3² + 0.4² = 0.5²; the same draws twice would have 0.7. Over 8,000 draws 4 % is five standard errors.
    assert abs(float(noise.std()) / 0.5 - 1) < 0.04


@pytest.mark.parametrize("kind", WRAPPERS, ids=lambda kind: kind.name)
def test_an_answer_keeps_all_that_a_wrapper_does_not_change(kind):
    heard = []

    @dataclasses.dataclass(frozen=True)
    class Listener(la.Optimizer):
        def walk(self, start, layout, rng):
            while True:
                heard.append((yield Gradients(start)))

    around = kind(inner=Listener())
    la.race(la.landscapes.four_wells(), [around], steps=4, runs=2)
    assert heard and all(answer.sound and bool(answer.values.isfinite().all()) for answer in heard)


def test_a_wandering_method_stays_one_on_mini_batches_and_a_surrogate_is_never_vectorized():
    assert MiniBatches(la.optimizer("annealing")).wanders and not BestSoFar(la.optimizer("bayes")).batched
    assert MiniBatches(la.optimizer("sophia")).queries == {Gradients, Products}


def test_finite_differences_end_where_the_rule_ends():
    surface = la.landscapes.regression()
    race = la.race(surface, {"fd": FiniteDifferences(la.optimizer("gd")), "gd": "gd"}, steps=40)
    assert float((race.final("fd") - race.final("gd")).abs().max()) < 1e-4
    assert torch.equal(race.final("fd"), race.last("fd"))
    assert bool(race.losses["fd"].isfinite().all()) and race.meter["fd"].values == 40 * 3
    made = la.basin_map(la.landscapes.himmelblau(), FiniteDifferences(la.optimizer("gd", lr=0.01)), points=5, steps=30)
    assert made.final.shape == (5, 5, 2)


def test_finite_differences_of_float32_do_not_vanish_in_its_rounding():
    torch.manual_seed(0)
    data = torch.randn(16, 3), torch.randint(0, 2, (16,))
    surface = la.NetworkSurface(torch.nn.Linear(3, 2), "cross_entropy", data)
    walk = la.steps(FiniteDifferences(la.optimizer("gd", lr=1.0)), surface, steps=1)
    queried = walk.ask().points[0]
    h = (queried[1:] - queried[0]).double().diagonal()
    true = surface.gradients(queried[:1])[1][0].double()
    values = surface.values(queried)
    error = ((values[1:] - values[0]) / h - true).abs().max()
    # ½ h |L''| from above plus 2 ε L / h from rounding, with h = √ε and L'' of order one.
    assert abs(float(h.mean()) / 2**-11.5 - 1) < 0.1 and float(error) < 2e-3


def test_finite_differences_of_mini_batches_are_refused():
    race = la.race(la.landscapes.himmelblau(), {"fd": FiniteDifferences(la.optimizer("sgd")), "gd": "gd"}, steps=3)
    assert (
        race.status["fd"] == ("not applicable",) and "takes gradients of mini-batches" in race.verdicts["fd"].sentence
    )
    assert MiniBatches(FiniteDifferences(la.optimizer("gd"))).plan(3)[1] == 3


def test_what_is_no_optimizer_is_refused():
    for kind in WRAPPERS:
        with pytest.raises(la.InputError, match="expected an optimizer"):
            kind(inner="gd")
