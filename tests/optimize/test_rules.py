"""The rules torch does not have, or has otherwise: against published values, other libraries and slow computations."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

import lossatlas as la
from lossatlas.optimize import Posterior, Streams, TorchOptimizer
from lossatlas.optimize.gradient._muon import newton_schulz, scalar_map
from lossatlas.optimize.search._surrogate import log_h
from lossatlas.probe import Answer, Gradients, Products
from lossatlas.surface import Block, Layout

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries held against

MATRIX = Layout((Block("w", (4, 3), "linear", 0),))
TALL = Layout((Block("w", (6, 4), "linear", 0),))


def gradients(shape, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(steps)]


def walk(optimizer, layout, start, slopes, products=None):
    """Where a walk goes on given gradients (one run)."""
    walker = optimizer.walk(start.reshape(1, -1), layout, Streams(0, 1))
    query, path = next(walker), []
    slopes = iter(slopes)
    while True:
        if isinstance(query, Gradients):
            path.append(query.points[0].clone())
            slope = next(slopes, None)
            if slope is None:
                return torch.stack(path)
            query = walker.send(Answer(torch.zeros(1, dtype=torch.float64), slope.reshape(1, -1)))
        else:
            assert isinstance(query, Products)
            query = walker.send(Answer(torch.empty(0), products=products(query.points, query.vectors)))


def theirs(make, start, slopes, dtype=torch.float64):
    parameter = torch.nn.Parameter(start.clone().to(dtype))
    optimizer, path = make([parameter]), [parameter.detach().reshape(-1).clone()]
    for slope in slopes:
        parameter.grad = slope.clone().to(dtype)
        optimizer.step()
        path.append(parameter.detach().reshape(-1).clone())
    return torch.stack(path)


# -- Lion ---------------------------------------------------------------------------------------------------------------


def test_lion_is_pytorch_optimizers():
    from pytorch_optimizer import Lion

    start, slopes = gradients((4, 3), 1, seed=9)[0], gradients((4, 3), 50)
    ours = walk(la.optimizer("lion", lr=0.01, weight_decay=0.1), MATRIX, start, slopes)
    other = theirs(lambda p: Lion(p, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, weight_decouple=True), start, slopes)
    assert torch.allclose(ours, other, rtol=0, atol=1e-14)


def test_lion_lands_on_zero_from_a_multiple_of_its_step():
    """The lattice trap: from (1, 1) at 0.01 it is exactly at the minimum of a bowl after 100 steps."""
    bowl = la.landscapes.quadratic(condition=1.0)
    race = la.race(bowl, [la.optimizer("lion", lr=0.01)], start=bowl.wells[0].minimum + 1.0, steps=100)
    assert float(race.tracks["lion"].loss) < 1e-25


# -- Shampoo ------------------------------------------------------------------------------------------------------------


def test_shampoo_of_a_matrix_is_the_papers_formula():
    """L^(−1/4) G R^(−1/4) with scipy's matrix powers, step by step."""
    start, slopes = torch.zeros(4, 3, dtype=torch.float64), gradients((4, 3), 12)
    ours = walk(la.optimizer("shampoo", lr=0.1, eps=1e-4), MATRIX, start, slopes)
    left, right, w = 1e-4 * np.eye(4), 1e-4 * np.eye(3), np.zeros((4, 3))
    for t, slope in enumerate(slopes):
        g = slope.numpy()
        left, right = left + g @ g.T, right + g.T @ g
        w = w - 0.1 * linalg.fractional_matrix_power(left, -0.25) @ g @ linalg.fractional_matrix_power(right, -0.25)
        assert np.allclose(ours[t + 1].reshape(4, 3), w, rtol=0, atol=1e-9), t


def test_shampoo_is_pytorch_optimizers():
    from pytorch_optimizer import Shampoo

    start, slopes = torch.ones(4, 3, dtype=torch.float64), gradients((4, 3), 10)
    ours = walk(la.optimizer("shampoo", lr=0.1, eps=1e-4), MATRIX, start, slopes)
    other = theirs(
        lambda p: Shampoo(p, lr=0.1, momentum=0.0, preconditioning_compute_steps=1, matrix_eps=1e-4), start, slopes
    )
    assert torch.allclose(ours, other, rtol=0, atol=1e-6)


def test_shampoo_of_a_vector_is_full_matrix_adagrad_and_its_first_step_has_length_eta():
    """Golden: from (1, 1) on (x² + 10y²)/2 with η = 0.1, θ₁ = (0.9900, 0.9005)."""
    flat = Layout.vector(2)
    start = torch.ones(2, dtype=torch.float64)
    first = walk(la.optimizer("shampoo", lr=0.1), flat, start, [torch.tensor([1.0, 10.0]).double()])[1]
    assert first.tolist() == pytest.approx([0.9900, 0.9005], abs=6e-5)
    slopes = gradients((2,), 8)
    ours = walk(la.optimizer("shampoo", lr=0.1, eps=1e-3), flat, start, slopes)
    h, w = 1e-3 * np.eye(2), np.ones(2)
    for t, slope in enumerate(slopes):
        h = h + np.outer(slope, slope)
        w = w - 0.1 * np.linalg.inv(np.real(linalg.sqrtm(h))) @ slope.numpy()
        assert np.allclose(ours[t + 1], w, atol=1e-10)


def test_shampoo_of_three_axes_takes_the_sixth_root_of_each():
    layout = Layout((Block("w", (2, 3, 4), "conv", 0),))
    slopes = gradients((2, 3, 4), 5)
    ours = walk(la.optimizer("shampoo", lr=0.1, eps=1e-3), layout, torch.zeros(24).double(), slopes)
    history, w = [1e-3 * np.eye(d) for d in (2, 3, 4)], np.zeros((2, 3, 4))
    for slope in slopes:
        g = slope.numpy()
        step = g
        for axis in range(3):
            unfolded = np.moveaxis(g, axis, 0).reshape(g.shape[axis], -1)
            history[axis] = history[axis] + unfolded @ unfolded.T
            root = linalg.fractional_matrix_power(history[axis], -1 / 6)
            step = np.moveaxis(np.tensordot(root, step, axes=(1, axis)), 0, axis)
        w = w - 0.1 * step
    assert np.allclose(ours[-1].reshape(2, 3, 4), w, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [2, 3, 7])
def test_distributed_shampoo_is_the_same_rule(shards):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()
    data = (torch.randn(20, 4).double(), torch.randint(3, (20,)))
    surface = la.NetworkSurface(model, "cross_entropy", data)
    whole, sharded = (
        la.race(surface, [la.optimizer("shampoo", lr=0.1, shards=k)], steps=15).final("shampoo") for k in (1, shards)
    )
    assert torch.equal(whole, sharded)


def test_shampoo_survives_what_breaks_it_in_float32():
    """Gradients of some hundreds on a 2-vector: the first term is below float32's resolution beside g gᵀ."""
    slopes = [torch.tensor([300.0, -200.0]), torch.tensor([300.0, -200.0]), torch.tensor([299.0, -201.0])]
    path = walk(la.optimizer("shampoo", lr=0.1), Layout.vector(2), torch.zeros(2), slopes)
    assert bool(torch.isfinite(path).all())


# -- Muon ---------------------------------------------------------------------------------------------------------------


def test_newton_schulz_scalar_map_is_the_published_one():
    golden = [0.7010, 1.1136202, 0.7207059, 1.0899742, 0.6964364, 1.1187681]
    for steps, value in enumerate(golden, start=1):
        assert scalar_map(1.0, steps) == pytest.approx(value, abs=6e-5)


def test_newton_schulz_moves_singular_values_only():
    (matrix,) = gradients((6, 4), 1)
    u, values, vt = np.linalg.svd(matrix.numpy(), full_matrices=False)
    expected = [scalar_map(v / np.linalg.norm(values), 5) for v in values]
    ours = newton_schulz(matrix[None], 5)[0]
    assert np.allclose(ours, u @ np.diag(expected) @ vt, atol=1e-6)


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_muon_is_torchs_up_to_its_bfloat16(adjust):
    start, slopes = torch.zeros(6, 4, dtype=torch.float64), gradients((6, 4), 6)
    ours = walk(la.optimizer("muon", lr=0.02, adjust=adjust), TALL, start, slopes)
    other = theirs(
        lambda p: torch.optim.Muon(p, lr=0.02, momentum=0.95, weight_decay=0.0, adjust_lr_fn=adjust),
        start, slopes, torch.float32,
    )  # fmt: skip
    moved = ours[-1].norm()
    assert float((ours[-1] - other[-1].double()).norm() / moved) < 0.02
    cosine = torch.nn.functional.cosine_similarity(ours[-1], other[-1].double(), dim=0)
    assert float(cosine) > 0.9995


@pytest.mark.parametrize(("vector", "length"), [("row", 0.6964364), ("column", 0.6964364 * math.sqrt(2))])
def test_muon_on_a_vector_steps_by_a_constant_length(vector, length):
    path = walk(
        la.optimizer("muon", lr=0.1, vector=vector), Layout.vector(2), torch.zeros(2).double(), gradients((2,), 9)
    )
    lengths = (path[1:] - path[:-1]).norm(dim=1)
    assert torch.allclose(lengths, torch.full((9,), 0.1 * length, dtype=torch.float64), rtol=2e-5)


def test_muon_gives_biases_adam():
    layout = Layout((Block("w", (2, 2), "linear", 0), Block("b", (2,), "bias", 4)))
    slopes = gradients((6,), 7)
    ours = walk(la.optimizer("muon", lr_others=0.01, momentum=0.9), layout, torch.zeros(6).double(), slopes)
    adam = theirs(lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.9, 0.999)), torch.zeros(2), [s[4:] for s in slopes])
    assert torch.allclose(ours[:, 4:], adam, atol=1e-12)


# -- Sophia -------------------------------------------------------------------------------------------------------------


def test_sophia_by_hand():
    """The paper's algorithm 3 in plain numbers, the diagonal refreshed every second step."""
    diagonal = torch.tensor([3.0, -1.0, 0.5]).double()
    slopes = gradients((3,), 9)
    settings = {"lr": 0.1, "betas": (0.9, 0.95), "gamma": 0.5, "every": 2, "weight_decay": 0.1}
    ours = walk(
        la.optimizer("sophia", **settings), Layout.vector(3), torch.ones(3).double(), slopes, lambda p, v: diagonal * v
    )
    theta, m, h = np.ones(3), np.zeros(3), np.zeros(3)
    for t, slope in enumerate(slopes):
        m = 0.9 * m + 0.1 * slope.numpy()
        if t % 2 == 0:
            h = 0.95 * h + 0.05 * diagonal.numpy()
        theta = theta * (1 - 0.1 * 0.1) - 0.1 * np.clip(m / np.maximum(0.5 * h, 1e-12), -1, 1)
        assert np.allclose(ours[t + 1], theta, atol=1e-13)


@pytest.mark.parametrize("correct", [False, True])
def test_sophias_mean_diagonal_warms_up_as_slowly_as_published(correct):
    """It holds 1 − 0.99ⁿ of the diagonal after n refreshes: 4.9 % after 45 steps with a refresh every 10."""
    diagonal, slope = torch.tensor([2.0, 5.0]).double(), torch.tensor([1.0, -1.0]).double()
    sophia = la.optimizer("sophia", lr=1e-3, betas=(0.0, 0.99), gamma=1e3, estimate="exact", correct=correct)
    path = walk(sophia, Layout.vector(2), torch.zeros(2).double(), [slope] * 45, lambda p, v: diagonal * v)
    held = 1e-3 * slope / (1e3 * diagonal) / (path[-2] - path[-1])
    share = 1.0 if correct else 0.049
    assert held.tolist() == pytest.approx([share, share], abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("probes", "expected"), [("rademacher", (3.6, 3.6)), ("gaussian", (65.0, 11.5))])
def test_hutchinsons_spread_is_the_published_one(probes, expected):
    """Himmelblau at (0.3, −1.2): the standard deviations of optimisers.md, from 20,000 draws."""
    surface = la.landscapes.himmelblau()
    point = torch.tensor([0.3, -1.2]).double()
    sophia = la.optimizer("sophia", probes=probes)
    vectors = sophia._vectors(point.repeat(20_000, 1), Streams(0, 20_000))
    hessian = surface.products(point, torch.eye(2).double())
    assert torch.diagonal(hessian).tolist() == pytest.approx([-45.7, -7.5], abs=0.1)
    estimates = vectors[:, 0] * (vectors[:, 0] @ hessian)
    assert estimates.std(0).tolist() == pytest.approx(expected, rel=0.03)
    assert estimates.mean(0).tolist() == pytest.approx(torch.diagonal(hessian).tolist(), abs=2.0)


def test_products_are_billed():
    surface = la.landscapes.himmelblau()
    race = la.race(surface, {"h": "sophia", "e": la.optimizer("sophia", estimate="exact", every=5)}, steps=30, runs=2)
    # Thirty answers: a gradient and, where it is due, a product.
    assert race.meter["h"].products == 2 * 3 and race.meter["h"].gradients == 2 * 27
    assert race.meter["e"].products == 2 * 5 * 2 and race.meter["e"].gradients == 2 * 25


# -- L-BFGS -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rosenbrock", "beale", "himmelblau"])
def test_lbfgs_reaches_a_minimum_about_as_fast_as_scipys(name):
    from scipy.optimize import minimize

    surface = la.landscapes.landscape(name)
    race = la.race(surface, ["lbfgs"], steps=300)
    assert race.verdicts["lbfgs"].wells[0] is not None
    assert float(race.verdicts["lbfgs"].gradient_norm) < 1e-8

    def both(x):
        value, slope = surface.gradients(torch.from_numpy(x)[None])
        return float(value), slope[0].numpy()

    other = minimize(both, surface.start.numpy(), jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 0})
    assert race.meter["lbfgs"].gradients < 2.5 * other.nfev


@pytest.mark.slow
def test_lbfgs_on_a_bowl_of_twenty_asks_about_as_much_as_scipys():
    from scipy.optimize import minimize

    surface = la.landscapes.quadratic(condition=100.0, dimension=20, rotation=0.3)
    race = la.race(surface, [la.optimizer("lbfgs", tolerance=1e-6)], steps=200)

    def both(x):
        value, slope = surface.gradients(torch.from_numpy(x)[None])
        return float(value), slope[0].numpy()

    settings = {"gtol": 1e-6, "ftol": 0}
    other = minimize(both, surface.start.numpy(), jac=True, method="L-BFGS-B", options=settings)
    assert float(race.tracks["lbfgs"].loss) < 1e-11
    assert race.meter["lbfgs"].gradients < 1.6 * other.nfev


# -- search -------------------------------------------------------------------------------------------------------------


def test_steepest_hill_climbing_stops_where_no_neighbor_is_lower():
    surface = la.landscapes.himmelblau()
    race = la.race(surface, [la.optimizer("hill-climbing", step=0.05)], steps=2000)
    end = race.final("hill-climbing")[0]
    neighbors = torch.cat([end + 0.05 * torch.eye(2), end - 0.05 * torch.eye(2)])
    assert bool((surface.values(neighbors) >= surface.values(end[None])).all())
    assert race.status["hill-climbing"] == ("finished",)
    path = race.losses["hill-climbing"][0]
    assert bool((path.diff() <= 0).all())
    meter = race.meter["hill-climbing"]
    assert meter.values == 1 + 4 * (meter.calls - 1)


def test_a_beam_pools_its_successors():
    """One good state takes the whole beam over: states after a step are the best of all children, not one of each."""
    surface = la.landscapes.quadratic(condition=1.0)
    beam = la.optimizer("beam", beams=3, successors=4)
    walker = beam.walk(surface.start[None], surface.layout, Streams(0, 1))
    states = next(walker).points
    children = walker.send(Answer(surface.values(states[0])[None])).points
    values = surface.values(children[0])
    following = walker.send(Answer(values[None])).points
    best = children[0][values.argsort()[:3]]
    centers = following[0].reshape(3, 4, 2).mean(1)
    assert torch.allclose(centers, best, atol=1.5)
    parents = values.argsort()[:3] // 4
    assert len(parents) == 3


@pytest.mark.slow
def test_differential_evolution_holds_its_population_in_the_box_and_never_gets_worse():
    surface = la.landscapes.rastrigin()
    race = la.race(surface, ["de"], steps=60, runs=3)
    assert bool((race.tracks["de"].loss < 1e-3).all())
    box = surface.box
    path = race.trajectories["de"]
    assert bool(((path >= box[:, 0]) & (path <= box[:, 1])).all())


def test_annealing_takes_uphill_steps_as_metropolis_says():
    """At a fixed temperature a step up by ΔL is taken with probability exp(−ΔL/T): counted over 4,000 runs."""
    runs, temperature, rise = 4000, 2.0, 1.5
    annealing = la.optimizer("annealing", temperature=temperature, cooling=1.0)
    walker = annealing.walk(torch.zeros(runs, 2).double(), Layout.vector(2), Streams(0, runs))
    next(walker)
    query = walker.send(Answer(torch.zeros(runs).double()))
    after = walker.send(Answer(torch.full((runs,), rise).double()))
    taken = float((after.at.theta == query.points).all(1).double().mean())
    expected = math.exp(-rise / temperature)
    assert taken == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / runs))


def test_evolution_strategies_follow_the_gradient_of_the_smoothed_loss():
    plane = Layout.vector(3)
    slope = torch.tensor([1.0, -2.0, 0.5]).double()
    es = la.optimizer("evolution", population=40, lr=1.0)
    walker = es.walk(torch.zeros(200, 3).double(), plane, Streams(0, 200))
    cloud = walker.send(Answer(torch.zeros(200).double())) if next(walker) else None
    after = walker.send(Answer(cloud.points @ slope))
    steps = -after.at.theta.mean(0)
    assert float(torch.nn.functional.cosine_similarity(steps, slope, dim=0)) > 0.999


# -- Bayesian optimization ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_bayes_never_asks_a_point_twice_and_finds_the_well():
    surface = la.landscapes.four_wells()
    race = la.race(surface, ["bayes"], steps=40, seed=3)
    points = race.trajectories["bayes"][0][:-1]
    gaps = torch.cdist(points, points) + torch.eye(40) * 1e9
    assert float(gaps.min()) > 1e-6
    assert race.verdicts["bayes"].wells == ("global",)


@pytest.mark.slow
def test_bayes_on_a_flat_surface_still_asks_new_points():
    walker = la.optimizer("bayes").walk(torch.zeros(1, 2).double(), la.landscapes.beale().layout, Streams(0, 1))
    query, seen = next(walker), []
    for _ in range(14):
        seen.append(query.points[0])
        query = walker.send(Answer(torch.ones(1).double()))
    gaps = torch.cdist(torch.stack(seen), torch.stack(seen)) + torch.eye(14) * 1e9
    assert float(gaps.min()) > 1e-6


def test_the_logarithm_of_the_expected_improvement_against_mpmath():
    import mpmath

    for z in (-300.0, -40.0, -5.0, -1.0, 0.0, 0.7, 3.0, 12.0):
        exact = mpmath.log(mpmath.npdf(z) + z * mpmath.ncdf(z))
        with mpmath.workdps(400):
            exact = mpmath.log(mpmath.npdf(mpmath.mpf(z)) + mpmath.mpf(z) * mpmath.ncdf(mpmath.mpf(z)))
        assert float(log_h(np.array(z))) == pytest.approx(float(exact), rel=1e-7, abs=1e-9), z
    assert np.isfinite(log_h(np.array([-1e6, 1e6]))).all()


def test_the_posterior_interpolates_and_is_unsure_far_away():
    box = np.array([[-2.0, 2.0], [-2.0, 2.0]])
    points = np.random.default_rng(0).uniform(-1, 1, (12, 2))
    values = np.sin(points[:, 0]) + points[:, 1] ** 2
    posterior = Posterior(points, values, box)
    mean, deviation = posterior.predict(points)
    assert np.allclose(mean, values, atol=1e-3) and deviation.max() < 0.02
    assert posterior.predict(np.array([[2.0, -2.0]]))[1][0] > 5 * deviation.max()


# -- torch's own classes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_users_torch_class_races_as_our_rule_does():
    surface = la.landscapes.himmelblau()
    race = la.race(
        surface,
        {"theirs": TorchOptimizer(torch.optim.AdamW, lr=0.05, weight_decay=0.01), "ours": la.optimizer("adamw")},
        steps=100, runs=3,
    )  # fmt: skip
    assert torch.allclose(race.final("theirs"), race.final("ours"), atol=1e-11)
    assert not TorchOptimizer.batched and "torch.optim" in race.provenance["racers"]["theirs"]["settings"]["class"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TorchOptimizer(torch.optim.SGD, speed=1.0), "could not be made with {'speed': 1.0}"),
        (lambda: TorchOptimizer("SGD"), "subclass"),
    ],
)
def test_torch_classes_that_cannot_race_are_refused(make, words):
    with pytest.raises(la.InputError, match=words):
        la.race(la.landscapes.beale(), {"x": make()}, steps=3)
