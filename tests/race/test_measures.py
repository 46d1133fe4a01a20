"""What a race measures: kinds of ends, memory, costs; basin maps, blind tuning, counterfactuals, and a suite of others."""

import json
import math

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas import archive
from lossatlas.optimize import TorchOptimizer
from lossatlas.race import ert, searched
from lossatlas.surface import Reading, Surface

WELLS = la.landscapes.four_wells()


def end(surface, optimizer, steps, **settings):
    race = la.race(surface, {"x": optimizer}, steps=steps, **settings)
    return race.verdicts["x"].ends[0]


# -- kinds of ends: each on ground where the answer is plain -----------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "rotation"),
    [((0.0, 0.0), 0.0), ((1.3, -0.7), 0.8)],
)
def test_the_kinds_of_ends_on_ground_where_they_are_plain(shift, rotation):
    bowl = la.landscapes.quadratic(condition=4.0).moved(shift=shift, rotation=rotation)
    assert end(bowl, la.optimizer("gd", lr=0.2), 400) == "minimum"
    assert end(bowl, la.optimizer("gd", lr=0.002), 20) == "on its way"
    assert end(bowl, la.optimizer("gd", lr=5.0), 400) == "divergence"
    assert end(bowl, la.optimizer("lion", lr=0.0213), 1500) == "step-size cycle"
    assert end(bowl, la.optimizer("muon", lr=0.05), 800) == "step-size cycle"
    monkey = la.landscapes.monkey_saddle().moved(shift=shift, rotation=rotation)
    center = torch.tensor(shift, dtype=torch.float64)
    plateau = la.landscapes.plateau().moved(shift=shift, rotation=rotation)
    assert end(plateau, la.optimizer("gd"), 200) == "plateau"
    assert end(monkey, la.optimizer("gd", lr=1e-3), 5, start=center) in ("plateau", "saddle")


def test_a_saddle_is_no_minimum_and_an_edge_is_a_boundary():
    class Saddle(Surface):
        name = "saddle"

        def __init__(self):
            box = torch.tensor([[-2.0, 2.0], [-2.0, 2.0]], dtype=torch.float64)
            self.layout, self.start = la.Layout.vector(2, box), torch.tensor([1.0, 0.0], dtype=torch.float64)

        def read(self, points):
            x, y = points.unbind(1)
            return Reading(x * x - y * y)

        def gradients(self, points, sample=None):
            x, y = points.unbind(1)
            return x * x - y * y, torch.stack([2 * x, -2 * y], 1)

        def products(self, point, vectors):
            return vectors * torch.tensor([2.0, -2.0])

    assert end(Saddle(), la.optimizer("gd", lr=0.1), 400) == "saddle"
    assert end(Saddle(), la.optimizer("hill-climbing", step=0.1), 400, start=(1.0, 0.05)) == "boundary"


@pytest.mark.slow
def test_weight_decay_is_named_as_what_holds_adamw_off_the_minimum():
    bowl = la.landscapes.quadratic(condition=2.0).moved(shift=(2.0, 1.0))
    held = la.optimizer("adamw", lr=0.01, weight_decay=0.2)
    race = la.race(bowl, {"with": held, "without": la.optimizer("adam", lr=0.01)}, steps=6000)
    assert race.verdicts["with"].ends == ("decay offset",) and race.verdicts["without"].ends == ("minimum",)
    assert float(race.verdicts["with"].distance) > 1e-3 > 1e-6 > float(race.verdicts["without"].distance)


def test_methods_that_stop_by_themselves_say_so():
    race = la.race(WELLS, {"h": la.optimizer("hill-climbing", step=0.3), "c": "center"}, steps=500, runs=2)
    assert race.status["h"] == race.status["c"] == ("finished", "finished")
    assert race.meter["c"].values == 2
    assert race.verdicts["h"].ends[0] in ("off the grid", "minimum")


def test_budgets_do_not_wake_those_that_have_stopped():
    """A run that stopped and one whose budget is spent, in one batch: both statuses, and no query over."""
    starts = torch.tensor([[3.0, -1.0], [-4.4, 4.4]], dtype=torch.float64)
    race = la.race(WELLS, [la.optimizer("hill-climbing", step=0.05)], start=starts, runs=2, steps=500, budget=41)
    assert set(race.status["hill-climbing"]) == {"finished", "budget"}
    assert max(race.meter["hill-climbing"].per_run.tolist()) <= 41


# -- memory and costs ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_is_what_the_rule_says_it_remembers():
    bowl = la.landscapes.quadratic(dimension=500)
    names = {"gd": 1, "sgd": 1, "momentum": 2, "nesterov": 2, "rmsprop": 2, "lion": 2, "adam": 3, "adamw": 3}
    race = la.race(bowl, {name: la.optimizer(name, lr=1e-3) for name in names}, steps=40, runs=3)
    for name, vectors in names.items():
        held = race.tracks[name].memory[-1][1]
        assert held == pytest.approx(vectors * 500 * 8, abs=64), name
        assert abs(race.tracks[name].growth) < 1e-9


@pytest.mark.slow
def test_the_surrogate_is_the_only_one_that_grows():
    race = la.race(WELLS, ["bayes", "annealing", "genetic", "de"], steps=30)
    assert race.tracks["bayes"].growth > 100
    assert all(abs(race.tracks[n].growth) < 8 for n in ("annealing", "genetic", "de"))


@pytest.mark.slow
def test_costs_count_every_billed_query_by_hand():
    race = la.race(WELLS, ["genetic", "annealing", "gd"], steps=25, runs=4, seed=2)
    for name in race.tracks:
        track = race.tracks[name]
        assert track.seen.shape == (4, track.meter.queries // 4)
        for target in (0.5, -0.4, -3.0):
            expected = []
            for row in track.seen.tolist():
                hit = next((k + 1 for k, value in enumerate(row) if value <= target), math.inf)
                expected.append(hit)
            assert race.costs(name, target).tolist() == expected
            reached = [c for c in expected if math.isfinite(c)]
            spent = sum(c if math.isfinite(c) else len(row) for c, row in zip(expected, track.seen, strict=True))
            assert race.ert(name, target) == (spent / len(reached) if reached else math.inf)
        best = track.seen.min(1).values
        assert torch.allclose(best, track.loss) or not track.optimizer.wanders


def test_ert_and_ecdf_by_cocos_definitions():
    assert ert([10, math.inf, 20], [50, 50, 50]) == (10 + 50 + 20) / 2
    assert ert([math.inf], [9]) == math.inf


def test_the_accounting_table_renders_what_was_measured():
    race = la.race(WELLS, ["gd", "beam", "sophia"], steps=20, runs=2)
    table = race.accounting()
    row = {cells[0]: dict(zip(table.columns, cells, strict=True)) for cells in table.rows}
    assert row["gd"]["per step"] == "1 gradient" and row["gd"]["gradients"] == "40"
    assert row["sophia"]["products"] == str(race.meter["sophia"].products)
    assert "sign-momentum" in row["sophia"]["becomes"] and "<table>" in table._repr_html_()


def test_a_record_too_large_for_memory_is_refused_with_a_way_out():
    with pytest.raises(la.InputError, match="GiB"):
        la.race(WELLS, ["gd"], steps=9_000_000, runs=100)


# -- basin maps ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gd", "momentum", "adam", "annealing", "genetic"])
def test_a_basin_map_is_a_race_from_every_start(name):
    made = la.basin_map(WELLS, name, points=(6, 5), steps=120, seed=3)
    x, y = (torch.linspace(-4.5, 4.5, n, dtype=torch.float64) for n in (6, 5))
    starts = torch.stack([x.repeat(5), y.repeat_interleave(6)], 1)
    assert made.ends.shape == (5, 6) and np.allclose(made.x, x) and np.allclose(made.y, y)
    race = la.race(WELLS, {name: name}, start=starts, runs=30, steps=120, seed=3)
    assert np.allclose(made.final.reshape(-1, 2), race.final(name), atol=0, rtol=0)
    wells = [made.names[k] if k >= 0 else None for k in made.ends.reshape(-1)]
    assert tuple(wells) == race.verdicts[name].wells
    assert made.meter.queries == race.meter[name].queries
    assert sum(made.share(well) for well in made.names) == pytest.approx((made.ends >= 0).mean())
    low, high = made.interval("global")
    assert low <= made.share("global") <= high


def test_the_boundary_of_a_straight_divide_has_its_length():
    """Two halves of a square of side 9, divided at any angle: the mean over angles is their length."""
    made = la.basin_map(WELLS, "gd", points=60, steps=1)
    lengths, expected = [], []
    for angle in np.linspace(0, np.pi, 60, endpoint=False):
        xx, yy = np.meshgrid(made.x, made.y)
        side = np.cos(angle) * xx + np.sin(angle) * yy > 0
        object.__setattr__(made, "ends", side.astype(int))
        lengths.append(made.boundary)
        expected.append(9 / max(abs(np.cos(angle)), abs(np.sin(angle))))
    assert np.mean(lengths) == pytest.approx(np.mean(expected), rel=0.05)


@pytest.mark.slow
def test_a_basin_map_is_saved_drawn_and_refused_where_there_is_none(tmp_path):
    made = la.basin_map(la.landscapes.himmelblau(), "adam", points=9, steps=60)
    assert made.plot().save(tmp_path / "map.png").stat().st_size > 3000
    made.save(tmp_path / "m")
    json.loads((tmp_path / "m" / "basins.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert "Adam" in str(made.table()) and "<table>" in made._repr_html_()
    for surface in (la.landscapes.monkey_saddle(), la.landscapes.quadratic(dimension=3)):
        with pytest.raises(la.InputError, match="basin map"):
            la.basin_map(surface, "gd", points=4)
    with pytest.raises(la.InputError, match="well"):
        made.share("nowhere")


# -- tuning, counterfactuals, surrogates --------------------------------------------------------------------------------


@pytest.mark.slow
def test_tuning_is_blind_bills_its_trials_and_gives_everyone_as_many():
    found = {name: la.tune(name, WELLS, trials=6, steps=40, seed=1) for name in ("gd", "adam", "sophia", "annealing")}
    for name, tuning in found.items():
        assert len(tuning.trials) == 6 and tuning.meter.queries == 6 * 40, name
        assert tuning.score == min(score for _, score in tuning.trials) <= tuning.trials[0][1]
        assert set(tuning.trials[0][0]) == set(searched(la.optimizer(name)))
        again = la.race(WELLS, {f"{name} {k}": tuning.best for k in range(1)}, steps=40, seed=1)
        assert again.tracks[f"{name} 0"].loss.shape == (1,)
    # The same search on the same surface without its wells: the wells were not looked at.
    hidden = la.landscapes.four_wells()
    hidden.wells = ()
    assert la.tune("adam", hidden, trials=6, steps=40, seed=1).best == found["adam"].best
    with pytest.raises(la.InputError, match="no setting"):
        la.tune("random", WELLS, trials=3)
    with pytest.raises(la.InputError, match="trials"):
        la.tune("gd", WELLS, trials=0)


@pytest.mark.slow
def test_the_smallest_fix_is_the_first_of_its_ladder_that_gets_out():
    race = la.race(WELLS, ["gd"], steps=300)
    why = la.counterfactual(race, "gd", runs=20)
    fixes = {fix.kind: fix for fix in why.fixes}
    assert set(fixes) == {"momentum", "temperature", "restarts", "gradient noise", "larger lr"}
    for fix in fixes.values():
        assert all(share < 0.5 for _, share in fix.tried[:-1])
        assert (fix.setting is None) == (fix.tried[-1][1] < 0.5)
    found = fixes["momentum"]
    alone = la.race(WELLS, [la.optimizer("momentum", momentum=found.setting)], steps=300)
    assert alone.verdicts["momentum"].wells == ("global",)
    assert found.price == alone.ert("momentum", why.target)
    smaller = [m for m, _ in found.tried[:-1]]
    for m in smaller:
        assert la.race(WELLS, [la.optimizer("momentum", momentum=m)], steps=300).verdicts["momentum"].wells != (
            "global",
        )
    assert "momentum" in why.sentence and "queries" in str(why.table())
    archive.dump(why.record())
    with pytest.raises(la.InputError, match="no racer"):
        la.counterfactual(race, "adam")
    with pytest.raises(la.InputError, match="known wells"):
        la.counterfactual(la.race(la.landscapes.monkey_saddle(), ["gd"], steps=5), "gd")


@pytest.mark.slow
def test_the_surrogate_is_drawn_beside_the_surface(tmp_path):
    race = la.race(WELLS, ["bayes", "gd"], steps=8)
    display = race.plot_surrogate(after=(5, 8), points=21)
    assert [n for n, *_ in display.rows] == [5, 8]
    _, mean, deviation, asked = display.rows[1]
    assert asked.shape == (8, 2) and mean.shape == (21, 21) and deviation.min() >= 0
    assert display.save(tmp_path / "s.png").stat().st_size > 5000
    with pytest.raises(la.InputError, match="Bayesian"):
        race.plot_surrogate("gd")


# -- BBOB ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", range(1, 25))
def test_bbob_is_cocos(function):
    """ioh's values behind our surface against coco-experiment's, on random points of three instances."""
    import cocoex

    points = torch.rand(5, 5, generator=torch.Generator().manual_seed(function), dtype=torch.float64) * 10 - 5
    for instance in (1, 2, 3):
        suite = cocoex.Suite("bbob", f"instances: {instance}", f"function_indices: {function} dimensions: 5")
        theirs = [suite[0](point.numpy()) for point in points]
        ours = la.landscapes.Bbob(function, 5, instance)
        assert np.allclose(ours.values(points), theirs, rtol=1e-11, atol=1e-11)
        best = ours.wells[0]
        assert float(ours.values(best.minimum[None])) == pytest.approx(best.value, abs=1e-7)


def test_bbob_golden_and_refusals():
    first = la.landscapes.Bbob(1, 2, 1)
    assert first.wells[0].minimum.tolist() == pytest.approx([0.2528, -1.1568], abs=1e-4)
    assert first.optimum == pytest.approx(79.48)
    for wrong in ((0, 2, 1), (25, 2, 1), (1, 1, 1), (1, 2, 0)):
        with pytest.raises(la.InputError, match=r"(?i)bbob"):
            la.landscapes.Bbob(*wrong)


def test_gradients_on_bbob_are_billed_as_values():
    surface = la.landscapes.Bbob(1, 3, 1)
    race = la.race(
        surface, {"fd": la.optimizer("finite-differences", inner=la.optimizer("gd", lr=0.2)), "gd": "gd"}, steps=60
    )
    assert race.status["gd"] == ("not applicable",)
    assert race.meter["fd"].values == 60 * 4 and race.meter["fd"].gradients == 0
    assert float(race.tracks["fd"].loss) - surface.optimum < 1e-5


@pytest.mark.slow
def test_de_and_random_search_on_bbob_are_near_the_published_baselines():
    """One instance of each function, a fifth of the table that `make bench-bbob` writes: wide bands."""
    targets = np.logspace(2, -8, 51)
    for name, low, high in (("random", 0.18, 0.34), ("de", 0.72, 0.97)):
        shares = []
        for function in range(1, 25):
            surface = la.landscapes.Bbob(function, 2, 1)
            race = la.race(surface, [name], steps=2000, budget=2000, seed=1000 * function + 1)
            best = float(np.nanmin(race.tracks[name].seen)) - surface.optimum
            shares.append((best <= targets).mean())
        assert low < np.mean(shares) < high, name


def test_torch_classes_are_marked_as_unbatched():
    assert not TorchOptimizer(torch.optim.SGD, lr=0.1).batched and la.optimizer("adam").batched
