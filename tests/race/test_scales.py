"""Boxes of any scale and losses of any finite size: the same race in other units."""

import pytest
import torch

import lossatlas as la
from lossatlas.optimize import Posterior

SEARCHES = ["hill-climbing", "annealing", "beam", "evolution"]


def bowl(box, size=1.0):
    """A quadratic whose minimum lies at (0.3, −0.2) half sides from the center of its box."""
    low, high = torch.tensor(box, dtype=torch.float64).unbind(1)
    middle, half = (low + high) / 2, (high - low) / 2
    aim, weights = torch.tensor([0.3, -0.2]).double(), torch.tensor([1.0, 2.0]).double()
    return la.Function(
        lambda u: size * ((((u - middle) / half - aim) ** 2 * weights).sum(-1) + 0.125),
        box=box, start=middle + 0.75 * half, batched=True, name="bowl",
    )  # fmt: skip


def shares(race, label, box):
    low, high = torch.tensor(box, dtype=torch.float64).unbind(1)
    return (race.trajectories[label][0] - (low + high) / 2) / (high - low)


@pytest.mark.parametrize(
    ("box", "like"),
    [
        ([(-1e-9, 1e-9)] * 2, 1.0),
        ([(-1e9, 1e9)] * 2, 10.0),
        ([(-1e-6, 1e-6), (0.0, 1e-3)], 1.0),
        ([(-2e6, 2e6), (-5e4, 5e4)], 10.0),
    ],
)
def test_steps_are_shares_of_the_box(box, like):
    usual = [(-like, like)] * 2
    found, truth = (la.race(bowl(one), SEARCHES, steps=12) for one in (box, usual))
    for label in SEARCHES:
        assert torch.allclose(shares(found, label, box), shares(truth, label, usual), atol=1e-6), label
        assert torch.allclose(found.losses[label], truth.losses[label], atol=1e-6)
        # A climb takes a tenth of a twentieth.
        assert float(shares(found, label, box).diff(dim=0).norm(dim=1).max()) > 0.0049


def test_a_box_of_ordinary_sides_takes_steps_in_units_of_theta():
    for half in (1.0, 3.0, 10.0):
        box = [(-half, half)] * 2
        walk = la.steps(la.optimizer("hill-climbing", step=0.125), bowl(box), steps=2)
        begin = walk.ask().points[0]
        walk.tell(1.0)
        assert (walk.ask().points[0] - begin).abs().max() == 0.125


def test_unequal_sides_are_walked_alike():
    box = [(-2e6, 2e6), (-2e-6, 2e-6)]
    race = la.race(bowl(box), {"climb": la.optimizer("hill-climbing", finer=9), "lbfgs": "lbfgs"}, steps=60)
    for label in ("climb", "lbfgs"):
        assert torch.allclose(shares(race, label, box)[-1], torch.tensor([0.15, -0.1]).double(), atol=2e-3)
    assert race.verdicts["lbfgs"].ends == ("minimum",)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_losses_of_any_finite_size_are_raced_and_judged(size):
    box = [(-4.0, 4.0)] * 2
    race = la.race(bowl(box, size), ["lbfgs", "hill-climbing", "nelder-mead", "gd", "adam"], steps=60)
    assert set(race.status["gd"]) <= {"steps", "diverged"} and not any(track.why for track in race.tracks.values())
    for label in ("lbfgs", "hill-climbing", "nelder-mead"):
        assert float(race.tracks[label].loss[0]) / size == pytest.approx(0.125, abs=2e-3)
    assert race.verdicts["lbfgs"].ends == ("minimum",)
    assert torch.isfinite(race.verdicts["hill-climbing"].gradient_norm).all()


@pytest.mark.slow
def test_a_surrogate_believes_the_same_in_any_unit():
    points, box = torch.rand(9, 2, generator=torch.Generator().manual_seed(0)).double().numpy(), [[0.0, 1.0]] * 2
    values = ((points - 0.4) ** 2).sum(1)
    usual = Posterior(points, values, torch.tensor(box).numpy())
    for size in (2.0**990, 2.0**-990):
        other = Posterior(points, size * values, torch.tensor(box).numpy())
        for a, b in zip(usual.predict(points + 0.01), other.predict(points + 0.01), strict=True):
            assert b / size == pytest.approx(a, rel=1e-9)
