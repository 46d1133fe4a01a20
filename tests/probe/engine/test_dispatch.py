"""The dispatcher: every row is answered once, whatever workers do; each death has the consequence that is written down."""

import itertools
import random

import pytest

from lossatlas.probe.engine._dispatch import MOST, Breaker, Death, Dispatch


def test_rows_are_given_in_order_and_taken_once():
    dispatch = Dispatch(5)
    assert dispatch.give("a", 2) == (0, 1) and dispatch.give("b", 2) == (2, 3)
    assert dispatch.running == {"a": (0, 1), "b": (2, 3)} and dispatch.waiting == 1
    assert dispatch.took("b") == (2, 3) and dispatch.took("b") == ()
    assert dispatch.give("b", 9) == (4,) and dispatch.give("c", 1) == ()
    assert not dispatch.finished
    assert dispatch.took("a") == (0, 1) and dispatch.took("b") == (4,)
    assert dispatch.finished and dispatch.answered == 5 and dispatch.lost == 0


def test_a_worker_gets_nothing_before_it_has_answered_and_a_batch_has_rows():
    dispatch = Dispatch(5)
    dispatch.give("a", 2)
    with pytest.raises(ValueError, match="evaluating"):
        dispatch.give("a", 1)
    with pytest.raises(ValueError, match="at least 1"):
        dispatch.give("b", 0)


def test_what_a_dead_worker_had_is_given_next_row_by_row():
    dispatch = Dispatch(6)
    dispatch.give("a", 3)
    assert dispatch.died("a") == Death((0, 1, 2), ())
    assert dispatch.lost == 3 and dispatch.waiting == 6
    assert [dispatch.give(worker, 3) for worker in "bcde"] == [(0,), (1,), (2,), (3, 4, 5)]


def test_a_worker_that_dies_idle_costs_nothing():
    dispatch = Dispatch(2)
    assert dispatch.died("a") == Death((), ()) and dispatch.lost == 0 and dispatch.waiting == 2


def test_a_row_that_ends_three_workers_is_found_among_its_neighbors():
    dispatch, killed = Dispatch(8), 0
    for worker in itertools.count():
        batch = dispatch.give(str(worker), 8)
        if 5 not in batch:
            dispatch.took(str(worker))
            continue
        killed += 1
        death = dispatch.died(str(worker))
        if death.fatal:
            break
    assert death.fatal == (5,) and killed == MOST == 3


def test_rows_beside_a_deadly_one_are_not_blamed_for_it():
    dispatch = Dispatch(2)
    for worker in "abc":
        dispatch.give(worker, 2)
        death = dispatch.died(worker)
    # Together once, then the first of them alone twice.
    assert death == Death((0,), (0,))
    assert dispatch.give("d", 1) == (1,)


def test_rows_of_a_worker_out_of_reach_wait_again_and_count_no_death():
    dispatch = Dispatch(3)
    for _ in range(5):
        dispatch.give("a", 2)
        assert dispatch.returned("a") in ((0, 1), (0,))
    assert dispatch.lost == 0 and dispatch.give("b", 1) == (0,) and dispatch.returned("nobody") == ()
    assert dispatch.died("b") == Death((0,), ())


def test_nothing_is_given_once_it_is_cancelled_and_what_runs_may_still_answer():
    dispatch = Dispatch(9)
    dispatch.give("a", 2), dispatch.give("b", 2)
    dispatch.died("b")
    assert dispatch.cancelled() == 7
    assert dispatch.give("c", 1) == () and not dispatch.finished
    assert dispatch.took("a") == (0, 1) and dispatch.finished


@pytest.mark.parametrize("seed", range(30))
def test_every_row_is_answered_once_whatever_happens(seed):
    """A thousand random events against the slow obvious count. Rows die at most twice each, so that none is fatal."""
    rng = random.Random(seed)
    rows, workers = rng.randint(1, 60), [str(k) for k in range(rng.randint(1, 5))]
    dispatch, answers, deaths, lost = Dispatch(rows), [], dict.fromkeys(range(rows), 0), 0
    while not dispatch.finished:
        worker = rng.choice(workers)
        batch = dispatch.running.get(worker)
        if batch is None:
            given = dispatch.give(worker, rng.randint(1, 7))
            assert all(row not in other for other in dispatch.running.values() if other is not given for row in given)
        elif rng.random() < 0.4 and all(deaths[row] < MOST - 1 for row in batch):
            assert dispatch.died(worker) == Death(batch, ())
            lost += len(batch)
            for row in batch:
                deaths[row] += 1
        else:
            answers += dispatch.took(worker)
        running = sum(map(len, dispatch.running.values()))
        assert dispatch.waiting + running + dispatch.answered == rows
    assert sorted(answers) == list(range(rows)) and dispatch.lost == lost


def test_a_worker_that_keeps_ending_is_not_started_again_but_one_that_answers_is():
    breaker = Breaker()
    assert [breaker.died("a") for _ in range(3)] == [True, True, False]
    assert [breaker.died("b"), breaker.died("b")] == [True, True]
    breaker.answered("b")
    assert [breaker.died("b") for _ in range(3)] == [True, True, False]
