"""Search methods against themselves written out for one run, member by member, with the same random numbers."""

import numpy as np
import torch

import lossatlas as la
from lossatlas.optimize import Streams
from lossatlas.probe import Answer

WELLS = la.landscapes.four_wells()
LOW, HIGH = WELLS.box.numpy().T


def loss(point):
    return float(WELLS.values(torch.from_numpy(np.asarray(point, dtype=np.float64))[None])[0])


def walked(optimizer, queries, seed=4):
    """Points of the first queries of one run, (members, 2) each."""
    walk = optimizer.walk(WELLS.start[None].clone(), WELLS.layout, Streams(seed, 1))
    query, found = next(walk), []
    for _ in range(queries):
        points = query.points.reshape(-1, 2)
        found.append(points.numpy())
        values = WELLS.values(points).reshape(query.points.shape[:-1])
        query = walk.send(Answer(values))
    return found


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, np.array(other).reshape(-1, 2), rtol=0, atol=1e-12)


def test_a_beam_is_the_best_of_all_successors_with_steps_that_cool():
    rng = Streams(4, 1)
    others = rng.uniform(2, 2)[0].numpy()
    states = [WELLS.start.numpy(), *(LOW + (HIGH - LOW) * u for u in others)]
    expected, size = [states], 0.8
    for _ in range(6):
        moves = size * rng.normal(3, 4, 2)[0].numpy()
        children = [np.clip(states[i] + moves[i, j], LOW, HIGH) for i in range(3) for j in range(4)]
        expected.append(children)
        states = sorted(children, key=loss)[:3]
        size *= 0.9
    same(walked(la.optimizer("beam", beams=3, successors=4, step=0.8, cooling=0.9), 7), expected)


def test_hill_climbing_takes_the_lowest_neighbor_and_halves_its_step_where_there_is_none():
    theta, size, expected, halved = WELLS.start.numpy(), 0.7, [[WELLS.start.numpy()]], 0
    for _ in range(30):
        ways = [(1, 0), (0, 1), (-1, 0), (0, -1)]
        neighbors = [np.clip(theta + size * np.array(way), LOW, HIGH) for way in ways]
        expected.append(neighbors)
        lowest = min(neighbors, key=loss)
        if loss(lowest) < loss(theta):
            theta = lowest
        else:
            size, halved = size / 2, halved + 1
    assert halved >= 3
    same(walked(la.optimizer("hill-climbing", choice="steepest", step=0.7, finer=40), 31), expected)


def test_a_genetic_algorithm_draws_parents_by_rank_blends_and_mutates_them():
    p, elite, rng = 6, 1, Streams(4, 1)
    others = rng.uniform(p - 1, 2)[0].numpy()
    people = [WELLS.start.numpy(), *(LOW + (HIGH - LOW) * u for u in others)]
    expected = [people]
    for _ in range(5):
        people = sorted(people, key=loss)
        # The best of six has six tickets of 21, the worst has one.
        owners = [k for k in range(p) for _ in range(p - k)]
        mothers, fathers = (
            [people[owners[int(np.ceil(u * len(owners))) - 1]] for u in rng.uniform(p - elite)[0].tolist()]
            for _ in range(2)
        )
        blends = 1.5 * rng.uniform(p - elite, 2)[0].numpy() - 0.25
        spread = np.maximum((np.max(people, 0) - np.min(people, 0)) / 4, 1e-9 * (HIGH - LOW))
        mutated = rng.uniform(p - elite, 2)[0].numpy() < 0.3
        shakes = rng.normal(p - elite, 2)[0].numpy()
        children = [
            np.clip(m + b * (f - m) + on * spread * shake, LOW, HIGH)
            for m, f, b, on, shake in zip(mothers, fathers, blends, mutated, shakes, strict=True)
        ]
        expected.append(children)
        people = people[:elite] + children
    same(walked(la.optimizer("genetic", population=p, elite=elite), 6), expected)


def test_differential_evolution_crosses_the_best_and_a_difference_into_each_member():
    one = la.optimizer("de", population=3)
    size, rng = 6, Streams(4, 1)

    def hypercube():
        slices = rng.uniform(2, size)[0].numpy().argsort(axis=1).T
        return LOW + (HIGH - LOW) * (slices + rng.uniform(size, 2)[0].numpy()) / size

    people = list(hypercube())
    people[0] = WELLS.start.numpy()
    expected, kept, crossed = [list(people)], 0, 0
    for _ in range(5):
        best, keys = min(people, key=loss), rng.uniform(size, size)[0].numpy()
        factor = one.dither[0] + (one.dither[1] - one.dither[0]) * float(rng.uniform(1, 1))
        forced = np.minimum((rng.uniform(size, 1)[0].numpy()[:, 0] * 2).astype(int), 1)
        chances, again = rng.uniform(size, 2)[0].numpy(), rng.uniform(size, 2)[0].numpy()
        hypercube()  # for a population that has collapsed, drawn in any case
        trials = []
        for i in range(size):
            a, b = [k for k in keys[i].argsort() if k != i][:2]
            trial = people[i].copy()
            for axis in range(2):
                if chances[i, axis] < one.crossover or axis == forced[i]:
                    trial[axis] = best[axis] + factor * (people[a][axis] - people[b][axis])
                    crossed += 1
                    if not LOW[axis] <= trial[axis] <= HIGH[axis]:
                        trial[axis] = LOW[axis] + (HIGH - LOW)[axis] * again[i, axis]
                else:
                    kept += 1
            trials.append(trial)
        expected.append(trials)
        people = [t if loss(t) <= loss(p) else p for t, p in zip(trials, people, strict=True)]
    assert kept and crossed
    same(walked(one, 6), expected)


def test_an_evolution_strategy_sums_its_noise_by_rank_over_its_size():
    rng, theta, half, sigma = Streams(4, 1), WELLS.start.numpy(), 3, 0.3
    expected = [[theta]]
    for _ in range(4):
        noise = rng.normal(half, 2)[0].numpy()
        noise = np.concatenate([noise, -noise])
        cloud = [np.clip(theta + sigma * one, LOW, HIGH) for one in noise]
        expected.append(cloud)
        heights = sorted(loss(one) for one in cloud)
        pull = sum(
            (heights.index(loss(one)) / (2 * half - 1) - 0.5) * way for one, way in zip(cloud, noise, strict=True)
        )
        theta = np.clip(theta - 0.2 / (2 * half * sigma) * pull, LOW, HIGH)
    same(walked(la.optimizer("evolution", population=2 * half, sigma=sigma, lr=0.2), 5), expected)
