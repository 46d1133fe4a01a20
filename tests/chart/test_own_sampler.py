"""A sampler of the user's own: queries go out, answers come in, and its error is measured whatever it says."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

import lossatlas as la
from lossatlas.chart import Answer, Grid, Values


def coarse(grid: Grid):
    """Every fourth row and column, cubic in between."""
    rows, columns = (np.arange(0, n, 4) for n in grid.shape)
    cells = (rows[:, None] * grid.shape[1] + columns).ravel()
    answer = yield Values(torch.from_numpy(grid.coords(cells)))
    assert isinstance(answer, Answer)
    values = answer.values.numpy().reshape(len(rows), len(columns))
    between = RegularGridInterpolator((rows, columns), values, method="cubic")
    return between(np.stack(np.indices(grid.shape), -1))


def everything(grid: Grid):
    yield Values(torch.from_numpy(grid.coords()))
    return np.full(grid.shape, np.nan)


def wrong(grid: Grid):
    """Evaluates two cells one after the other, and says that all is one."""
    for cell in (0, 7):
        yield Values(torch.from_numpy(grid.coords(np.array([cell]))))
    return {"loss": np.ones(grid.shape), "accuracy": np.zeros(grid.shape)}


GROUND = la.landscapes.himmelblau()
PLANE = la.Plane.of(GROUND, [1.0, 0.0], [0.0, 1.0])


def chart(sampler, **settings):
    return la.chart(GROUND, PLANE, **{"span": 4.0, "points": 25, "progress": False} | settings, sampler=sampler)


TRUTH = la.chart(GROUND, PLANE, span=4.0, points=25, exact=True, progress=False).loss


def test_what_it_evaluated_is_exact_and_the_rest_is_held_against_cells_it_never_saw():
    made = chart(coarse, probes=40, seed=3)
    nodes = np.zeros((25, 25), dtype=bool)
    nodes[::4, ::4] = True
    assert (made.exactly & nodes).sum() == 49 and made.exactly.sum() == 49 + 40  # the center is a node
    assert np.array_equal(made.loss[made.exactly], TRUTH[made.exactly])
    off = (made.loss - TRUTH)[~made.exactly]
    assert made.certificate.probes == 40 and not made.certificate.exact
    low, high = made.certificate.interval
    assert low < np.sqrt((off**2).mean()) < high
    assert made.certificate.worst <= np.abs(off).max() * 3
    assert (made.error > 0).sum() == (~made.exactly).sum() and len(made.samples) == 1 + 49 + 40
    assert made.meter.values == 1 + 49 + 40
    assert made.provenance["sampler"] == "coarse, a sampler of the user's own"
    assert np.array_equal(made.held_out, made.samples[-40:])


def test_a_sampler_of_everything_gives_the_exact_chart():
    made = chart(everything)
    assert np.array_equal(made.loss, TRUTH) and made.certificate.exact and not made.error.any()
    assert made.held_out.shape == (0, 2)


def test_a_sampler_that_makes_things_up_is_found_out():
    made = chart(wrong, probes=30)
    off = 1 - TRUTH[~made.exactly]
    low, high = made.certificate.interval
    assert low < np.sqrt((off**2).mean()) < high and not made.certificate.reached
    assert "accuracy" not in made.extras


def test_further_channels_have_their_error_too():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    surface = la.NetworkSurface(model, "cross_entropy", (torch.randn(60, 4), torch.arange(60) % 3))
    line = la.Line.random(surface)
    made = la.chart(surface, line, points=21, sampler=wrong, probes=8, progress=False)
    truth = la.chart(surface, line, points=21, exact=True, progress=False)
    seen = made.exactly[0]
    assert made.extras["accuracy"][0, seen] == pytest.approx(truth.extras["accuracy"][0, seen])
    assert made.certificate.extras["accuracy"] > 0.1  # 0 was made up, a third is right


def test_it_is_saved_loaded_and_resumed(tmp_path):
    first = chart(coarse, ledger=tmp_path / "ledger")
    again = chart(coarse, ledger=tmp_path / "ledger")
    assert np.array_equal(first.loss, again.loss) and again.meter.values == 0
    first.save(tmp_path)
    back = la.load(tmp_path)
    assert np.array_equal(back.loss, first.loss) and back.certificate == first.certificate


def yields_numbers(grid):
    yield 3
    return np.zeros(grid.shape)


def yields_triples(grid):
    yield Values(torch.zeros(2, 3))
    return np.zeros(grid.shape)


def returns_rows(grid):
    yield Values(torch.zeros(1, 2, dtype=torch.float64))
    return np.zeros(3)


@pytest.mark.parametrize(
    ("sampler", "settings", "words"),
    [
        (lambda grid: np.zeros(grid.shape), {}, "no generator function"),
        (3, {}, "no generator function"),
        (yields_numbers, {}, "yielded something else"),
        (yields_triples, {}, r"of shape \(2, 3\)"),
        (returns_rows, {}, r"returned loss \(3,\)"),
        (coarse, {"exact": True}, "one of them"),
    ],
)
def test_what_is_no_sampler_is_refused(sampler, settings, words):
    with pytest.raises(la.InputError, match=words):
        chart(sampler, **settings)
