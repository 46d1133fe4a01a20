"""The advisor: never over its budget, blind to what it must not see, honest about what it cannot tell."""

import hashlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas.advise import _thresholds
from lossatlas.surface import Layout, Reading, Surface

ROOM = Path(_thresholds.__file__).parent


class Plain(Surface):
    """A formula on a box, values only, that counts its own calls."""

    gradients_known = False

    def __init__(self, f, box, wells=(), start=None):
        self.f, self.name, self.wells = f, "plain", wells
        self.layout = Layout.vector(len(box), torch.tensor(box, dtype=torch.float64))
        self.start = start
        self.points = []

    def read(self, points):
        self.points += points.tolist()
        return Reading(self.f(points))

    def gradients(self, points, sample=None):
        raise la.NotApplicableError("values only")

    def products(self, point, vectors):
        raise la.NotApplicableError("values only")


def bowl(points):
    return ((points - 0.3) ** 2 * torch.tensor([1.0, 30.0])).sum(1)


def bumps(points):
    return (points**2 + 3 * (1 - torch.cos(5 * points))).sum(1)


BOX = [(-2.0, 2.0), (-1.0, 3.0)]


@pytest.mark.slow
@pytest.mark.parametrize("budget", [36, 37.5, 61, 100, 333, 500, 777])
@pytest.mark.parametrize("f", [bowl, bumps])
def test_never_one_query_over_the_budget(f, budget):
    surface = Plain(f, BOX)
    advice = la.advise(surface, budget=budget, seed=int(budget), progress=False)
    assert len(surface.points) == advice.meter.values == len(advice.seen) <= budget
    assert advice.spent == len(surface.points)
    # All of it is used but what no query fits in.
    assert advice.spent > budget - 35


@pytest.mark.slow
def test_every_query_of_a_surface_with_gradients_is_paid():
    for budget in (60, 101, 250):
        advice = la.advise(la.landscapes.four_wells(), budget=budget, progress=False)
        assert advice.meter.cost() == pytest.approx(advice.spent) and advice.spent <= budget


def test_what_is_lowest_is_what_was_evaluated():
    surface = Plain(bumps, BOX)
    advice = la.advise(surface, budget=300, progress=False)
    assert advice.loss == advice.seen.min() == float(bumps(advice.point[None]))
    assert min(advice.lowest.values()) >= advice.loss


@pytest.mark.slow
def test_wells_and_start_are_out_of_reach():
    well = la.landscapes.four_wells().wells
    hidden, known = Plain(bumps, BOX), Plain(bumps, BOX, well, torch.zeros(2, dtype=torch.float64))
    a, b = (la.advise(one, budget=200, progress=False) for one in (hidden, known))
    assert hidden.points == known.points
    assert (a.seen == b.seen).all() and a.advised == b.advised and a.facts[:2] == b.facts[:2]


@pytest.mark.slow
def test_the_center_of_the_box_and_zero_are_not_favored():
    shift = torch.tensor([7.25, -3.5], dtype=torch.float64)
    moved = [(low + float(s), high + float(s)) for (low, high), s in zip(BOX, shift, strict=True)]
    here, there = Plain(bumps, BOX), Plain(lambda points: bumps(points - shift), moved)
    a, b = (la.advise(one, budget=150, progress=False) for one in (here, there))
    for one, other in zip(a.facts, b.facts, strict=True):
        assert one.name == other.name
        if one.name != "price":
            assert one.value == pytest.approx(other.value, rel=1e-4, abs=1e-6, nan_ok=True), one.name
    assert a.advised == b.advised
    centered = Plain(bumps, [(-2.0, 2.0), (-2.0, 2.0)])
    advice = la.advise(centered, budget=400, progress=False)
    assert np.abs(advice.design).max(1).min() > 0


def test_no_suite_is_named_where_it_decides():
    for path in ROOM.glob("*.py"):
        assert not re.search(r"bbob|coco|ioh", path.read_text(), re.IGNORECASE), path


@pytest.mark.slow
def test_the_digest_is_that_of_the_file_of_thresholds():
    advice = la.advise(Plain(bowl, BOX), budget=60, progress=False)
    whole = hashlib.sha256((ROOM / "_thresholds.py").read_bytes()).hexdigest()
    assert advice.provenance["thresholds"] == whole[:16]


@pytest.mark.slow
def test_the_hedge_always_races():
    for budget in (40, 90, 400, 900, 1600):
        advice = la.advise(Plain(bumps, BOX), budget=budget, progress=False)
        assert advice.hedge in [one.label for one in advice.shortlist]
        assert advice.hedge in {leg.racer for leg in advice.legs}


@pytest.mark.slow
def test_a_budget_too_small_says_how_much_would_do_and_evaluates_nothing():
    surface = Plain(bowl, BOX)
    advice = la.advise(surface, budget=20, progress=False)
    assert surface.points == [] and advice.spent == 0 and advice.outcome == "not raced"
    enough = int(re.search(r"([\d,]+) would do", advice.status)[1].replace(",", ""))
    assert "too small" in advice.sentence and advice.hedge in advice.sentence
    assert la.advise(surface, budget=enough, progress=False).outcome != "not raced"
    assert la.advise(surface, budget=enough - 1, progress=False).outcome == "not raced"


def test_more_dimensions_than_the_budget_allows():
    surface = Plain(lambda points: (points**2).sum(1), [(-1.0, 1.0)] * 400)
    advice = la.advise(surface, budget=500, progress=False)
    assert surface.points == [] and "400 dimensions" in advice.status


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda points: torch.full((len(points),), math.nan, dtype=torch.float64), "finite at none"),
        (lambda points: torch.full((len(points),), 3.0, dtype=torch.float64), "is 3 at all"),
    ],
)
def test_what_cannot_be_advised_on_is_one_sentence(f, says):
    with pytest.raises(la.InputError, match=says):
        la.advise(Plain(f, BOX), budget=100, progress=False)


def test_a_function_that_raises_is_named_with_its_point():
    def breaks(x):
        if x[0] > 0.5:
            raise RuntimeError("the simulator failed")
        return float(x[0] ** 2 + x[1])

    with pytest.raises(la.InputError, match="the simulator failed"):
        la.advise(la.Function(breaks, BOX), budget=100, progress=False)


def test_a_surface_without_a_box_is_refused():
    surface = la.Function(lambda x: (x**2).sum(), start=[0.0, 0.0])
    with pytest.raises(la.InputError, match="no box"):
        la.advise(surface, budget=100, progress=False)


@pytest.mark.slow
def test_losses_that_are_no_number_in_half_of_the_box_are_data():
    surface = Plain(lambda points: torch.where(points[:, 0] > 0, math.nan, bowl(points)), BOX)
    advice = la.advise(surface, budget=200, progress=False)
    assert math.isfinite(advice.loss) and advice.point[0] <= 0


@pytest.mark.slow
def test_an_interruption_keeps_what_was_found():
    class Stops(Plain):
        def read(self, points):
            if len(self.points) > 150:
                raise KeyboardInterrupt
            return super().read(points)

    advice = la.advise(Stops(bumps, BOX), budget=500, progress=False)
    assert advice.status.startswith("interrupted after 1") and len(advice.seen) >= 150 and advice.legs


@pytest.mark.slow
def test_saved_loaded_shown_and_drawn(tmp_path):
    advice = la.advise(Plain(bumps, BOX), budget=200, progress=False)
    advice.save(tmp_path)
    again = la.load(tmp_path)
    assert again.record() == advice.record() and again.optimizer == advice.optimizer
    assert (again.seen == advice.seen).all() and repr(again) == repr(advice)
    assert advice.winner in advice._repr_html_()
    assert len(advice.to_dataframe()) == len(advice.legs)
    for display in (advice.plot(), advice.plot_race()):
        assert display.render()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_advice():
    a, b = (la.advise(Plain(bumps, BOX), budget=250, seed=3, progress=False) for _ in range(2))
    assert (a.seen == b.seen).all() and [leg.racer for leg in a.legs] == [leg.racer for leg in b.legs]
    other = la.advise(Plain(bumps, BOX), budget=250, seed=4, progress=False)
    assert not np.array_equal(a.seen, other.seen)
