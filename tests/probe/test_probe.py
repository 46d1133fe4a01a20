"""The probe: what is counted, what is refused, what reaches the surface."""

import pytest
import torch

import lossatlas as la
from lossatlas._errors import BudgetError, InputError, NotApplicableError
from lossatlas.probe import Answer, At, Budget, Exchange, Gradients, Meter, Probe, Products, Request, Values
from lossatlas.surface import Reading, Sample, Surface

SURFACE = la.landscapes.regression()


def points(*shape):
    return torch.rand(*shape, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_each_kind_is_counted_as_what_it_is():
    probe = Probe(SURFACE)
    probe.evaluate(Values(points(4)))
    probe.evaluate(Values(points(4, 3)))
    probe.evaluate(Gradients(points(5)))
    probe.evaluate(Gradients(points(2), Sample(10, torch.tensor([1, 2]))))
    probe.evaluate(Products(points(2), torch.ones(2, 3, 2, dtype=torch.float64)))
    meter = probe.meter
    assert (meter.calls, meter.values, meter.gradients, meter.products) == (5, 16, 7, 6)
    assert meter.examples == 50 * (16 + 5 + 6) + 10 * 2
    assert meter.cost() == 16 + 3 * 7 + 6 * 6
    assert meter.cost(Exchange(1, 1, 1)) == meter.queries == 29
    assert meter.surface_seconds > 0


def test_answers_are_what_the_surface_says_in_the_shape_of_the_query():
    probe, grid = Probe(SURFACE), points(4, 3)
    answer = probe.evaluate(Values(grid))
    assert answer.values.shape == (4, 3)
    assert torch.equal(answer.values.reshape(-1), SURFACE.values(grid.reshape(-1, 2)))
    queried = probe.evaluate(Gradients(points(5)))
    assert torch.equal(queried.gradients, SURFACE.gradients(points(5))[1])
    vectors = points(2, 3)
    products = probe.evaluate(Products(points(2), vectors)).products
    assert torch.allclose(products[1], SURFACE.products(points(2)[1], vectors[1]))


def test_runs_that_do_not_query_are_neither_answered_nor_counted():
    probe = Probe(SURFACE)
    active = torch.tensor([True, False, True])
    answer = probe.evaluate(Values(points(3), active=active))
    assert answer.values.isnan().tolist() == [False, True, False]
    assert probe.meter.values == 2 and probe.meter.per_run.tolist() == [1, 0, 1]
    assert torch.equal(answer.values[active], SURFACE.values(points(3))[active])


def test_algorithms_are_answered_together_as_if_alone():
    probe = Probe(SURFACE)
    meters = [Meter(), Meter(), Meter()]
    queries = [Values(points(3)), Gradients(points(2)), Values(points(2, 4), At(points(2), torch.zeros(2)))]
    answers = probe.answer([Request(q, m) for q, m in zip(queries, meters, strict=True)])
    alone = [Probe(SURFACE).evaluate(q) for q in queries]
    for one, other in zip(answers, alone, strict=True):
        assert torch.equal(one.values, other.values)
    assert [m.values for m in meters] == [3, 0, 8]
    assert [m.gradients for m in meters] == [0, 2, 0]


def test_the_budget_is_checked_before_anything_is_evaluated():
    probe = Probe(SURFACE)
    with pytest.raises(BudgetError, match="nothing was evaluated"):
        probe.evaluate(Values(points(1, 3)), Budget(2))
    assert probe.meter.queries == 0
    probe.evaluate(Values(points(1, 2)), Budget(2))
    with pytest.raises(BudgetError):
        probe.evaluate(Values(points(1)), Budget(2))


@pytest.mark.parametrize("bad", [0, -3, 1.5, True])
def test_a_budget_below_one_query_is_refused(bad):
    with pytest.raises(InputError, match="at least 1"):
        Budget(bad)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (3, "got 3; expected a query"),
        (None, "got None; expected a query"),
        (points(2), "got Tensor of shape .*; expected a query"),
        (Values("x"), "got points as str"),
        (Values(points(2).numpy()), "got points as ndarray .*torch.from_numpy"),
        (Values(points(2)[0]), r"got points of shape \(2,\) .*expected a tensor \(B, 2\).*point\[None\]"),
        (Values(torch.zeros(1, 3)), r"got points of shape \(1, 3\)"),
        (Gradients(points(1, 3)), r"got points of shape \(1, 3, 2\)"),
        (Products(points(1, 3), points(1, 3)), r"got points of shape \(1, 3, 2\)"),
    ],
)
def test_what_is_no_query_of_the_surface_is_refused_in_a_sentence(query, said):
    probe = Probe(SURFACE)
    with pytest.raises(InputError, match=said) as refused:
        probe.evaluate(query)
    assert "\n" not in str(refused.value) and probe.meter.queries == 0


def test_budgets_and_prices_are_refused_where_they_are_none():
    with pytest.raises(InputError, match=r"got budget=3; expected a Budget or None. Give Budget\(3\)"):
        Probe(SURFACE).evaluate(Values(points(1)), 3)
    with pytest.raises(InputError, match="got exchange=2; expected an Exchange or None"):
        Meter().cost(2)


class Remembering:
    """The slow obvious memory: a dictionary."""

    def __init__(self):
        self.known, self.told = {}, []

    def recall(self, queried):
        rows = [self.known.get(tuple(p.tolist())) for p in queried]
        found = [row for row in rows if row is not None]
        return torch.tensor([row is not None for row in rows]), Reading(torch.tensor(found, dtype=torch.float64))

    def record(self, queried, reading, examples, seconds):
        self.told.append(len(queried))
        assert examples == SURFACE.examples and seconds > 0
        self.known.update(zip(map(tuple, queried.tolist()), reading.values.tolist(), strict=True))


def counted(surface):
    calls, read = [], surface.read
    surface.read = lambda p: (calls.append(p.clone()), read(p))[1]
    return surface, calls


def test_only_what_no_ledger_knows_is_evaluated_and_counted():
    memory = Remembering()
    surface, calls = counted(la.landscapes.regression())
    some, all_of_them = points(6)[::2], points(6)
    first = Probe(surface, ledger=memory)
    assert torch.equal(first.evaluate(Values(some)).values, SURFACE.values(some))
    second = Probe(surface, ledger=memory)
    assert torch.equal(second.evaluate(Values(all_of_them)).values, SURFACE.values(all_of_them))
    assert torch.equal(torch.cat(calls[-2:]).sort(0).values, points(6)[1::2].sort(0).values)
    assert (first.meter.values, first.meter.recalled, first.meter.examples) == (3, 0, 150)
    assert (second.meter.values, second.meter.recalled, second.meter.examples) == (3, 3, 150)
    assert second.meter.record()["recalled"] == 3 and sum(memory.told) == 6


def test_a_point_named_twice_in_one_query_is_evaluated_once():
    surface, calls = counted(la.landscapes.regression())
    twice = torch.cat([points(3), points(3), -0.0 * points(1), 0.0 * points(1)])
    probe = Probe(surface, ledger=Remembering())
    assert torch.equal(probe.evaluate(Values(twice)).values, SURFACE.values(twice))
    assert len(torch.cat(calls)) == probe.meter.values == 4 and probe.meter.recalled == 4


def test_recalled_points_are_shared_out_among_joined_askers_and_count_against_budgets():
    memory, meters = Remembering(), [Meter(runs=2), Meter(runs=2)]
    Probe(SURFACE, ledger=memory).evaluate(Values(points(3)))
    probe = Probe(SURFACE, ledger=memory)
    probe.answer([Request(Values(points(2)), meters[0]), Request(Values(points(4)[2:]), meters[1])])
    assert [(m.values, m.recalled) for m in meters] == [(0, 2), (1, 1)]
    # A resumed run must end where an uninterrupted one would.
    assert [m.per_run.tolist() for m in meters] == [[1, 1], [1, 1]]
    with pytest.raises(BudgetError):
        for _ in range(2):
            probe.evaluate(Values(points(1, 2)), Budget(3))


def test_pieces_are_kept_one_by_one():
    """What a crash costs is one piece, however much was queried in one query."""
    memory, surface = Remembering(), la.landscapes.regression()
    read, calls = surface.read, 0

    def dies(p):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return read(p)

    surface.read = dies
    with pytest.raises(KeyboardInterrupt):
        Probe(surface, ledger=memory).evaluate(Values(points(500)))
    assert len(memory.told) == 2 and sum(memory.told) == len(memory.known) > 0


def test_what_a_surface_cannot_answer_is_refused():
    class ValuesOnly(Surface):
        gradients_known = False
        name = "values only"
        layout = SURFACE.layout

        def read(self, points):
            return Reading(points.square().sum(1))

        def gradients(self, points, sample=None):
            raise AssertionError("evaluated all the same")

        def products(self, point, vectors):
            raise AssertionError("evaluated all the same")

    with pytest.raises(NotApplicableError, match="values only"):
        Probe(ValuesOnly()).evaluate(Gradients(points(1)))
    race = la.race(ValuesOnly(), ["gd", "annealing"], start=[1.0, 1.0], steps=20)
    assert race.status == {"gd": ("not applicable",), "annealing": ("steps",)}
    assert "did not run" in race.verdicts["gd"].sentence
    assert race.meter["gd"].queries == 0
    assert isinstance(Answer(torch.zeros(1)), Answer)
