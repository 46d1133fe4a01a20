"""Ask and tell equals the race, bit for bit."""

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas.optimize import catalog
from lossatlas.probe import Gradients, Products, Values

WELLS = la.landscapes.four_wells()
SETTINGS = {"bayes": {"initial": 4, "candidates": 64}}


def answered(walk, surface, numpy=False):
    for query in walk:
        assert walk.ask() is query
        if isinstance(query, Products):
            pairs = zip(query.points, query.vectors, strict=True)
            walk.tell(products=torch.stack([surface.products(point, vectors) for point, vectors in pairs]))
        elif isinstance(query, Gradients):
            found = surface.gradients(query.points, query.sample)
            walk.tell(*(part.numpy() for part in found) if numpy else found)
        else:
            values = surface.values(query.points.reshape(-1, surface.dimension))
            walk.tell(values.reshape(query.points.shape[:-1]).numpy() if numpy else values)
    return walk


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(catalog))
def test_told_what_the_surface_says_it_does_what_it_does_in_a_race(name):
    one, steps = la.optimizer(name, **SETTINGS.get(name, {})), 8 if name == "bayes" else 40
    race = la.race(WELLS, [one, "gd"] if name != "gd" else ["gd"], steps=steps, runs=3, seed=2)
    walk = answered(la.steps(one, WELLS, steps=steps, runs=3, seed=2), WELLS, numpy=name in ("adam", "beam"))
    assert walk.done and torch.equal(walk.final, race.final(name))
    lowest = race.tracks[name].seen.nan_to_num(nan=float("inf")).amin(1)
    assert torch.equal(walk.loss, lowest)


def test_runs_that_diverge_stop_where_they_stop_in_a_race():
    wild = la.optimizer("gd", lr=0.9)
    starts = torch.tensor([[-3.8, -3.5], [3.0, -4.0], [0.5, 0.5]], dtype=torch.float64)
    race = la.race(la.landscapes.rosenbrock(), [wild], start=starts[:, :2] / 3, steps=60, runs=3)
    walk = answered(
        la.steps(wild, la.landscapes.rosenbrock(), start=starts / 3, steps=60, runs=3), la.landscapes.rosenbrock()
    )
    assert "diverged" in race.status["gd"]
    assert torch.allclose(walk.final, race.final("gd"), rtol=0, atol=0, equal_nan=True)


def test_the_public_lines_work():
    adam = la.optimizer("adam", lr=0.05)
    walk = la.steps(adam, WELLS)
    query = walk.ask()
    walk.tell(WELLS.gradients(query.points))
    assert not torch.equal(walk.ask().points, query.points) and repr(walk) == f"Steps({adam!r}: 1 of 300 answers)"
    many = la.steps("random", WELLS, runs=np.int64(4), seed=np.int64(1), steps=np.int64(2))
    for _ in range(2):
        many.tell(np.arange(4.0))
    assert many.done and many.best.shape == (4, 2) and many.loss.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_what_does_not_fit_is_refused_in_a_sentence():
    walk = la.steps("adam", WELLS, steps=1)
    with pytest.raises(la.InputError, match=r"expected tell\(values, gradients\)"):
        walk.tell(np.zeros(1))
    with pytest.raises(la.InputError, match=r"shape \(1, 3\); expected \(1, 2\)"):
        walk.tell(np.zeros(1), np.zeros((1, 3)))
    with pytest.raises(la.InputError, match="expected numbers"):
        walk.tell("low", np.zeros((1, 2)))
    walk.tell(np.zeros(1), np.zeros((1, 2)))
    with pytest.raises(la.InputError, match="has ended after 1 answers"):
        walk.ask()
    with pytest.raises(la.InputError, match="expected a Surface"):
        la.steps("adam", 3)
    boxless = la.landscapes.four_wells()
    boxless.layout = la.Layout.vector(2)
    with pytest.raises(la.NotApplicableError, match="needs a box"):
        la.steps("bayes", boxless, start=[0.0, 0.0])


def told(walk, *given, **named):
    walk.tell(*given, **named)
    return walk.loss.tolist()


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("gd", (np.zeros(3), np.zeros((2, 3))), r"shape \(2, 3\); expected \(3, 2\)"),
        ("gd", (np.zeros(3), np.zeros(6)), r"shape \(6,\); expected \(3, 2\)"),
        ("gd", (np.zeros((3, 2)), np.zeros((3, 2))), r"shape \(3, 2\); expected \(3,\)"),
        ("gd", (np.zeros(3) > 1, np.zeros((3, 2))), "expected numbers of shape"),
        ("gd", (np.zeros(3) + 1j, np.zeros((3, 2))), "expected numbers of shape"),
        ("gd", (["a", "b", "c"], np.zeros((3, 2))), "expected numbers of shape"),
        ("gd", ([[0.0], [0.0, 1.0], 0.0], np.zeros((3, 2))), "expected numbers of shape"),
        ("random", (np.zeros(3), np.zeros((3, 2))), r"got gradients for a query of Values; expected tell\(values\)"),
        ("random", (np.zeros(2),), r"shape \(2,\); expected \(3,\)"),
    ],
)
def test_shapes_and_parts_that_the_query_did_not_want_are_refused(name, given, says):
    walk = la.steps(name, WELLS, runs=3)
    with pytest.raises(la.InputError, match=says):
        walk.tell(*given)
    assert walk.ask() is walk.ask() and walk.loss.isinf().all()  # nothing has been told


def test_numbers_are_told_as_they_come():
    each = [float(v) for v in WELLS.values(WELLS.start[None].repeat(3, 1))]
    for given in (
        each,
        tuple(each),
        np.array(each),
        torch.tensor(each),
        [torch.tensor(v) for v in each],
        np.array(each)[:, None],
    ):
        assert told(la.steps("random", WELLS, runs=3), given) == pytest.approx(each, rel=1e-6)
    many = la.steps("genetic", WELLS, runs=2, steps=4)
    runs, k, n = many.ask().points.shape
    flat = WELLS.values(many.ask().points.reshape(-1, n))
    assert told(many, flat) == flat.reshape(runs, k).amin(1).tolist()
    with pytest.raises(la.InputError, match="label=3; expected text"):
        la.steps("gd", WELLS, label=3)


def test_nan_and_infinity_are_data():
    walk = la.steps("annealing", WELLS, steps=3)
    for value in (1.0, float("nan"), float("inf")):
        walk.tell(value)
    assert walk.done and float(walk.loss[0]) == 1.0 and isinstance(walk._racer.query, Values)


def test_points_of_a_query_are_evaluated_in_parallel_by_anyone():
    from concurrent.futures import ThreadPoolExecutor

    def f(x):
        return float(((x - 0.25) ** 2).sum())

    box = [(-1.0, 1.0)] * 2
    truth = la.race(la.Function(f, box), ["de", "genetic"], steps=5, runs=2, seed=3)
    with ThreadPoolExecutor(4) as pool:
        for name in truth.tracks:
            walk = la.steps(name, la.Function(f, box), steps=5, runs=2, seed=3)
            for query in walk:
                points = query.points.reshape(-1, 2)
                found = [0.0] * len(points)
                # Answers may come in any order.
                jobs = {k: pool.submit(f, points[k]) for k in reversed(range(len(points)))}
                for k, job in jobs.items():
                    found[k] = job.result()
                walk.tell(found)
            assert torch.equal(walk.final, truth.final(name)) and len(points) > 8
