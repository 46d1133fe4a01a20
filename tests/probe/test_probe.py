"""The door: what is billed, what is refused, what reaches the surface."""

import pytest
import torch

import lossatlas as la
from lossatlas._errors import BudgetError, InputError, NotApplicableError
from lossatlas.probe import Answer, At, Budget, Exchange, Gradients, Meter, Probe, Products, Request, Values
from lossatlas.surface import Reading, Sample, Surface

SURFACE = la.landscapes.regression()


def points(*shape):
    return torch.rand(*shape, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_each_kind_is_billed_as_what_it_is():
    probe = Probe(SURFACE)
    probe.ask(Values(points(4)))
    probe.ask(Values(points(4, 3)))
    probe.ask(Gradients(points(5)))
    probe.ask(Gradients(points(2), Sample(10, torch.tensor([1, 2]))))
    probe.ask(Products(points(2), torch.ones(2, 3, 2, dtype=torch.float64)))
    meter = probe.meter
    assert (meter.calls, meter.values, meter.gradients, meter.products) == (5, 16, 7, 6)
    assert meter.examples == 50 * (16 + 5 + 6) + 10 * 2
    assert meter.cost() == 16 + 3 * 7 + 6 * 6
    assert meter.cost(Exchange(1, 1, 1)) == meter.queries == 29
    assert meter.surface_seconds > 0


def test_answers_are_what_the_surface_says_in_the_shape_of_the_query():
    probe, grid = Probe(SURFACE), points(4, 3)
    answer = probe.ask(Values(grid))
    assert answer.values.shape == (4, 3)
    assert torch.equal(answer.values.reshape(-1), SURFACE.values(grid.reshape(-1, 2)))
    asked = probe.ask(Gradients(points(5)))
    assert torch.equal(asked.slopes, SURFACE.gradients(points(5))[1])
    vectors = points(2, 3)
    products = probe.ask(Products(points(2), vectors)).products
    assert torch.allclose(products[1], SURFACE.products(points(2)[1], vectors[1]))


def test_runs_that_do_not_ask_are_neither_answered_nor_billed():
    probe = Probe(SURFACE)
    active = torch.tensor([True, False, True])
    answer = probe.ask(Values(points(3), active=active))
    assert answer.values.isnan().tolist() == [False, True, False]
    assert probe.meter.values == 2 and probe.meter.per_run.tolist() == [1, 0, 1]
    assert torch.equal(answer.values[active], SURFACE.values(points(3))[active])


def test_askers_are_answered_together_as_if_alone():
    probe = Probe(SURFACE)
    meters = [Meter(), Meter(), Meter()]
    queries = [Values(points(3)), Gradients(points(2)), Values(points(2, 4), At(points(2), torch.zeros(2)))]
    answers = probe.answer([Request(q, m) for q, m in zip(queries, meters, strict=True)])
    alone = [Probe(SURFACE).ask(q) for q in queries]
    for one, other in zip(answers, alone, strict=True):
        assert torch.equal(one.values, other.values)
    assert [m.values for m in meters] == [3, 0, 8]
    assert [m.gradients for m in meters] == [0, 2, 0]


def test_the_budget_is_checked_before_anything_is_evaluated():
    probe = Probe(SURFACE)
    with pytest.raises(BudgetError, match="nothing was evaluated"):
        probe.ask(Values(points(1, 3)), Budget(2))
    assert probe.meter.queries == 0
    probe.ask(Values(points(1, 2)), Budget(2))
    with pytest.raises(BudgetError):
        probe.ask(Values(points(1)), Budget(2))


@pytest.mark.parametrize("bad", [0, -3, 1.5, True])
def test_a_budget_below_one_query_is_refused(bad):
    with pytest.raises(InputError, match="at least 1"):
        Budget(bad)


def test_a_ledger_answers_first_and_is_told_what_is_new():
    class Memory:
        def __init__(self):
            self.known, self.told = {}, 0

        def recall(self, asked):
            rows = [self.known.get(tuple(p.tolist())) for p in asked]
            return None if None in rows else Reading(torch.tensor(rows, dtype=torch.float64))

        def record(self, asked, reading):
            self.told += len(asked)
            self.known.update(zip(map(tuple, asked.tolist()), reading.values.tolist(), strict=True))

    memory, calls = Memory(), []
    surface = la.landscapes.regression()
    read = surface.read
    surface.read = lambda p: (calls.append(len(p)), read(p))[1]
    first = Probe(surface, ledger=memory).ask(Values(points(6))).values
    second = Probe(surface, ledger=memory).ask(Values(points(6))).values
    assert torch.equal(first, second)
    assert calls == [6] and memory.told == 6


def test_what_a_surface_cannot_answer_is_refused():
    class ValuesOnly(Surface):
        gradients_known = False
        name = "values only"
        layout = SURFACE.layout

        def read(self, points):
            return Reading(points.square().sum(1))

        def gradients(self, points, sample=None):
            raise AssertionError("asked all the same")

        def products(self, point, vectors):
            raise AssertionError("asked all the same")

    with pytest.raises(NotApplicableError, match="values only"):
        Probe(ValuesOnly()).ask(Gradients(points(1)))
    race = la.race(ValuesOnly(), ["gd", "annealing"], start=[1.0, 1.0], steps=20)
    assert race.status == {"gd": ("not applicable",), "annealing": ("steps",)}
    assert "did not run" in race.verdicts["gd"].sentence
    assert race.meter["gd"].queries == 0
    assert isinstance(Answer(torch.zeros(1)), Answer)
