"""The lockstep race: records, verdicts, statistics, and what happens when something goes wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import lossatlas as la
from lossatlas._errors import InputError, StartError
from lossatlas.race import named, wilson
from lossatlas.race._verdict import basins
from lossatlas.surface import Frame

WELLS = la.landscapes.four_wells()


@pytest.mark.slow
def test_a_race_is_the_same_racers_alone():
    names = ["gd", "momentum", "adam", "annealing", "restart"]
    together = la.race(WELLS, names, steps=60, seed=4, runs=3)
    for name in names:
        alone = la.race(WELLS, [name], steps=60, seed=4, runs=3)
        assert torch.equal(together.trajectories[name], alone.trajectories[name])
        assert torch.equal(together.losses[name], alone.losses[name])
        assert together.meter[name].record().keys() == alone.meter[name].record().keys()
        assert together.meter[name].queries == alone.meter[name].queries


@pytest.mark.slow
def test_run_b_of_many_is_run_b_of_few():
    many = la.race(WELLS, ["annealing"], steps=80, seed=1, runs=50)
    few = la.race(WELLS, ["annealing"], steps=80, seed=1, runs=3)
    assert torch.equal(many.trajectories["annealing"][:3], few.trajectories["annealing"])
    other = la.race(WELLS, ["annealing"], steps=80, seed=2, runs=3)
    assert not torch.equal(other.trajectories["annealing"], few.trajectories["annealing"])


@pytest.mark.slow
def test_losses_are_the_surface_at_the_trajectory():
    race = la.race(WELLS, ["gd", "momentum", "annealing", "restart"], steps=50, runs=2, seed=0)
    for name, path in race.trajectories.items():
        true = WELLS.values(path.reshape(-1, 2)).reshape(path.shape[:2])
        assert torch.allclose(race.losses[name], true, rtol=0, atol=1e-14), name


def test_meters_count_steps():
    race = la.race(WELLS, ["gd", "annealing", la.optimizer("restart", restarts=4)], steps=30, runs=5)
    assert (race.meter["gd"].values, race.meter["gd"].gradients) == (0, 150)
    assert (race.meter["annealing"].values, race.meter["annealing"].gradients) == (150, 0)
    assert race.meter["restart"].gradients == 5 * 4 * 30
    assert race.referee.queries > 0


@pytest.mark.slow
def test_final_is_the_last_point_or_the_best_for_those_that_wander():
    race = la.race(WELLS, ["gd", "annealing"], steps=200, runs=4, seed=0)
    assert torch.equal(race.final("gd"), race.trajectories["gd"][:, -1])
    assert torch.equal(race.last("annealing"), race.trajectories["annealing"][:, -1])
    assert torch.equal(WELLS.values(race.final("annealing")), race.tracks["annealing"].loss)
    assert bool((race.tracks["annealing"].loss <= race.losses["annealing"][:, :-1].min(1).values).all())


@pytest.mark.slow
def test_verdicts_name_the_well_by_a_second_opinion():
    """The referee's basins against scipy's own gradient flow from the same points."""
    from scipy.integrate import solve_ivp

    points = torch.rand(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 9 - 4.5
    names, distance = basins(WELLS, points)
    agree = 0
    for point, name in zip(points, names, strict=True):
        flow = solve_ivp(
            lambda t, x: -WELLS.gradients(torch.tensor(x)[None])[1][0].numpy(),
            (0, 400),
            point.numpy(),
            method="LSODA",
            rtol=1e-8,
        )
        gaps = [np.linalg.norm(flow.y[:, -1] - w.minimum.numpy()) for w in WELLS.wells]
        agree += WELLS.wells[int(np.argmin(gaps))].name == name
    # Steps of finite length may cut a corner where a point lies within a step of a boundary.
    assert agree >= 38
    assert bool((distance > 0).all())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["rosenbrock", *(pytest.param(n, marks=pytest.mark.slow) for n in ("beale", "plateau"))]
)
def test_valleys_and_plains_lead_where_the_flow_does(name):
    """Ground where plain steps get nowhere: the referee's basins against a stiff integration of the gradient flow."""
    from scipy.integrate import solve_ivp

    surface = la.landscapes.landscape(name)
    low, high = surface.box.unbind(1)
    points = low + (high - low) * torch.rand(3, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    names, _ = basins(surface, points)
    flown = []
    for point in points:
        flow = solve_ivp(
            lambda t, x: -surface.gradients(torch.tensor(x)[None])[1][0].numpy(),
            (0, 1e5),
            point.numpy(),
            method="Radau",
            rtol=1e-4,
            atol=1e-7,
        )
        near = np.linalg.norm(flow.y[:, -1] - surface.wells[0].minimum.numpy()) < 0.05
        flown.append("global" if near else None)
    assert list(names) == flown
    # Beale's ground falls away to infinity too; the others lead to their one minimum from everywhere.
    assert (None in flown) == (name == "beale") and "global" in flown


def test_rate_and_interval():
    race = la.race(WELLS, ["annealing"], steps=100, runs=40, seed=0)
    count = race.verdicts["annealing"].wells.count("global")
    assert race.rate("annealing", "global") == count / 40
    low, high = race.interval("annealing", "global")
    oracle = binomtest(count, 40).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)
    assert sum(race.rate("annealing", w.name) for w in WELLS.wells) <= 1 + 1e-12
    with pytest.raises(la.LossAtlasError, match="global"):
        race.rate("annealing", "globl")
    with pytest.raises(la.LossAtlasError, match="annealing"):
        race.final("anneal")


@pytest.mark.slow
def test_the_typical_run_ended_where_most_did_with_their_median_loss():
    race = la.race(WELLS, ["annealing", "gd"], steps=60, runs=11, seed=0)
    wells, losses = race.verdicts["annealing"].wells, race.tracks["annealing"].loss.tolist()
    common = max(set(wells), key=lambda well: (wells.count(well), -wells.index(well)))
    there = sorted(loss for loss, well in zip(losses, wells, strict=True) if well == common)
    run = race.typical("annealing")
    assert 1 < len(there) < 11 and wells[run] == common and losses[run] == there[(len(there) - 1) // 2]
    drawn = race.plot()
    assert np.array_equal(drawn.pieces["annealing"][0], race.trajectories["annealing"][run].numpy())
    assert f"of 11 runs of each racer, annealing ended in {named(common)} in {len(there)}" in drawn.note
    assert "the run of median loss among those of the most common outcome" in drawn.note
    assert (
        race.plot(run=3, others=0).note == "Run 3 of 11" and la.race(WELLS, ["gd"], steps=3).plot(points=5).note is None
    )


@pytest.mark.slow
def test_a_race_of_ends_alone_says_of_them_what_it_said_before():
    """Here all runs end in one point, to the bit, from different starts: they are not one and the same run."""
    starts = torch.tensor([[-3.8, -3.5], [-3.0, -3.0], [-2.0, -2.0], [-3.5, -2.5]], dtype=torch.float64)
    race = la.race(WELLS, ["nesterov", "annealing"], start=starts, runs=4, steps=1500)
    cut = race.only_ends()
    assert (race.last("nesterov") == race.last("nesterov")[0]).all() and race.interval("nesterov", "A")[0] < 1
    assert str(cut.table()) == str(race.table()) and str(cut.accounting()) == str(race.accounting())
    for label in race.tracks:
        assert cut.interval(label, "A") == race.interval(label, "A") and cut.typical(label) == race.typical(label)


def test_several_runs_are_spoken_of_as_several():
    ended = la.race(WELLS, ["annealing"], steps=5, runs=3).verdicts["annealing"]
    assert "; all used up the steps" in ended.sentence
    mixed = replace(ended, stopped=("finished", "steps", "diverged"))
    for said in ("1 finished early", "1 used up the steps", "1 met a loss or gradient that was not finite"):
        assert said in mixed.sentence


@pytest.mark.parametrize(
    "job",
    [
        lambda race: race.costs("gd", 0.0),
        lambda race: race.ert("gd", 0.0),
        la.Race.plot,
        la.Race.plot_losses,
        lambda race: race.plot_ecdf([0.0]),
        la.Race.plot_surrogate,
    ],
)
def test_what_needs_the_way_of_a_run_is_refused_where_only_ends_are_kept(job, tmp_path):
    for cut in (MANY.only_ends(), la.load(MANY.only_ends().save(tmp_path))):
        with pytest.raises(la.InputError, match="only the ends of its runs"):
            job(cut)


MANY = la.race(WELLS, ["gd", "bayes"], steps=6, runs=2)
MAP = la.basin_map(WELLS, "gd", points=3, steps=2)
SWEEP = la.sweep(WELLS, "gd", [0.1], steps=2)


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (lambda: MANY.interval("gd", "A", 95), "confidence=95; expected .*below 1"),
        (lambda: MAP.interval("A", 95), "confidence=95"),
        (lambda: SWEEP.intervals("B", 95), "confidence=95"),
        *((lambda made=made: made(["A"]), "no well") for made in (MAP.share, SWEEP.shares, SWEEP.count, MANY.plot_rates)),
        (lambda: MANY.rate(None, "A"), "no racer"),
        (lambda: MANY.typical(["gd"]), "no racer"),
        (lambda: MANY.costs("gd", "low"), "target='low'; expected a finite number"),
        (lambda: MANY.ert("gd", None), "target=None"),
        *((lambda given=given: MANY.plot_ecdf(given), "expected numbers|finite number") for given in ("abc", 3.0, [], ["a"])),
        *((lambda given=given: MANY.plot_surrogate(after=given), "expected") for given in (5, [], [2.5], [0], [50])),
        (lambda: MANY.plot_surrogate(points=1), "points=1"),
        (lambda: MANY.plot_surrogate("gd"), "expected Bayesian"),
        *((lambda run=run: MANY.plot(run=run), f"run={run!r}; expected a whole number from 0 to 1") for run in (2, -1, "a")),
        (lambda: MANY.plot_surrogate(run=2), "from 0 to 1"),
        *((lambda given=given: la.sweep(WELLS, "gd", given), "expected") for given in (3, "0.1", [], None, ["a"], np.ones((2, 2)))),
        (lambda: la.sweep(WELLS, "gd", [0.1], setting=["lr"]), "no setting of gd"),
        (lambda: la.sweep(WELLS, "gd", [0.1], setting="speed"), "no setting of gd"),
        (lambda: la.sweep(WELLS.on(Frame(torch.zeros(2).double(), torch.eye(2).double())), "gd", [0.1]), "wells are not known"),
        (lambda: la.counterfactual(MAP, "gd"), "expected a race"),
        (lambda: la.counterfactual(MANY, ["gd"]), "no racer"),
        *((lambda pair=pair: wilson(*pair), "whole number") for pair in ((5, 3), ("a", 3), (0, 0), (-1, 3))),
        (lambda: la.race(WELLS, {1: "gd", "1": "adam"}), "labels 1, '1'.*same as text"),
    ],
)  # fmt: skip
def test_wrong_arguments_of_results_are_refused_in_a_sentence(job, says):
    with pytest.raises(InputError, match=says):
        job()


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (8, 10), (731, 1000)])
def test_wilson_against_scipy(k, n):
    oracle = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((oracle.low, oracle.high), abs=1e-12)


@pytest.mark.slow
def test_a_racer_that_diverges_ends_while_the_others_go_on():
    surface = la.landscapes.rosenbrock()
    race = la.race(surface, {"wild": la.optimizer("gd", lr=1.0), "tame": la.optimizer("gd", lr=1e-4)}, steps=100)
    assert race.status["wild"] == ("diverged",)
    assert race.status["tame"] == ("steps",)
    assert race.meter["wild"].gradients < 100 == race.meter["tame"].gradients
    assert race.verdicts["wild"].wells == (None,)
    assert "not finite" in race.verdicts["wild"].sentence
    assert bool(torch.isfinite(race.final("tame")).all())


@pytest.mark.slow
def test_one_run_may_diverge_alone():
    surface = la.landscapes.rosenbrock()
    starts = torch.tensor([[1.0, 1.0], [-2.0, 2.0]], dtype=torch.float64)
    race = la.race(surface, [la.optimizer("gd", lr=0.003)], start=starts, steps=200, runs=2)
    assert race.status["gd"] == ("steps", "diverged")
    per_run = race.meter["gd"].per_run.tolist()
    assert per_run[0] == 200 > per_run[1]
    stop = per_run[1] - 1
    assert torch.equal(race.trajectories["gd"][1, stop], race.trajectories["gd"][1, -1])


def test_the_budget_ends_a_race_where_it_stands():
    race = la.race(WELLS, ["gd"], steps=100, budget=10)
    free = la.race(WELLS, ["gd"], steps=10)
    assert race.status["gd"] == ("budget",)
    assert torch.equal(race.final("gd"), free.final("gd"))


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ([9.0, 0.0], "outside the box"),
        ([1.0], "shape"),
        ([float("nan"), 0.0], "not finite"),
        ([[0.0, 0.0]] * 3, "shape"),
        ([[0.0, 0.0], [0.0]], "numbers"),
        ("here", "numbers"),
        (3.0, "numbers"),
    ],
    ids=str,
)
def test_a_bad_start_is_refused(start, says):
    with pytest.raises(StartError, match=says):
        la.race(WELLS, ["gd"], start=start, steps=5)


COUNTS = (0, -1, 2.5, "many", True, float("nan"))


@pytest.mark.parametrize("count", COUNTS, ids=str)
@pytest.mark.parametrize("name", ["steps", "runs", "budget", "trials", "points"])
def test_bad_counts_are_refused(name, count):
    job = {"trials": lambda **k: la.tune("gd", WELLS, **k), "points": lambda **k: la.basin_map(WELLS, "gd", **k)}
    with pytest.raises(InputError, match="whole number"):
        job.get(name, lambda **k: la.race(WELLS, ["gd"], **k))(**{name: count})


@pytest.mark.parametrize("seed", [-1, 1.5, "a", 2**63], ids=str)
def test_bad_seeds_are_refused(seed):
    for job in (
        lambda: la.race(WELLS, ["gd"], seed=seed),
        lambda: la.tune("gd", WELLS, trials=2, seed=seed),
        lambda: la.basin_map(WELLS, "gd", points=3, seed=seed),
    ):
        with pytest.raises(InputError, match="seed"):
            job()


def test_no_optimizers_and_wrong_kinds_are_refused():
    with pytest.raises(InputError, match="no optimizers"):
        la.race(WELLS, [])
    with pytest.raises(InputError, match="expected a name"):
        la.race(WELLS, [3])
    with pytest.raises(InputError, match="in a list"):
        la.race(WELLS, None)
    for job in (lambda s: la.race(s, ["gd"]), lambda s: la.basin_map(s, "gd"), lambda s: la.tune("gd", s)):
        with pytest.raises(InputError, match="expected a Surface"):
            job("four-wells")
    with pytest.raises(la.LossAtlasError, match="four-wells"):
        la.landscapes.landscape("four-well")


@pytest.mark.slow
def test_a_race_on_a_slice_and_in_higher_dimension():
    ground = la.landscapes.quadratic(condition=10.0, dimension=6)
    frame = Frame(torch.zeros(6, dtype=torch.float64), torch.eye(6, dtype=torch.float64)[:2] * 2)
    race = la.race(ground.on(frame), ["gd"], start=[0.5, 0.5], steps=400)
    assert float(race.final("gd").norm()) < 1e-6
    assert race.verdicts["gd"].wells == (None,)
    full = la.race(ground, [la.optimizer("gd", lr=0.1)], steps=300)
    assert full.verdicts["gd"].wells == ("global",)


def test_restart_without_a_box_is_not_applicable():
    ground = la.landscapes.quadratic(dimension=3)
    frame = Frame(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[:2])
    race = la.race(ground.on(frame), ["restart", "gd"], start=[0.1, 0.2], steps=10)
    assert race.status["restart"] == ("not applicable",)
    assert race.status["gd"] == ("steps",)
    assert "did not run" in str(race.verdicts["restart"].sentence)
    assert race.table().rows


@pytest.mark.slow
def test_labels_tables_frames_pictures_and_files(tmp_path):
    race = la.race(WELLS, ["gd", "gd", "annealing", "restart"], steps=20, runs=3, seed=0)
    assert list(race.tracks) == ["gd", "gd-2", "annealing", "restart"]
    assert len(race.table().rows) == 4 and "<table>" in race._repr_html_() and "gd-2" in str(race.table())
    frame = race.to_dataframe()
    assert len(frame) == 12 and set(frame["stopped"]) == {"steps"}
    race.plot().save(tmp_path / "paths.png")
    race.plot_losses().save(tmp_path / "losses.png")
    race.plot_rates("global").save(tmp_path / "rates.png")
    race.save(tmp_path / "race")
    assert {p.name for p in (tmp_path / "race").iterdir()} == {"race.json", "race.safetensors"}
    assert "kingma" not in la.citation(race) and "cauchy1847" in la.citation(race)


@pytest.mark.slow
def test_c3_is_reported_from_a_thousand_seeds():
    """What was measured when the constants were frozen; a change of these figures is a change of the algorithms."""
    race = la.race(WELLS, ["gd", "momentum", "annealing", "restart"], steps=300, runs=1000, seed=0)
    assert race.rate("gd", "A") == 1.0
    assert race.rate("momentum", "A") == 0.0 and race.rate("momentum", "global") == 1.0
    for name in ("annealing", "restart"):
        low, high = race.interval(name, "global")
        assert 0.5 < low < high < 1 and high - low < 0.06


@pytest.mark.slow
def test_progress_is_a_flag_or_a_function_everywhere():
    bowl, seen = la.landscapes.himmelblau(), []
    for progress in (True, False, None, np.True_):
        assert la.race(bowl, ["gd"], steps=2, progress=progress).verdicts
        assert la.basin_map(bowl, "gd", points=3, steps=2, progress=progress).ends.shape == (3, 3)
    la.basin_map(bowl, "gd", points=3, steps=2, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (9, 9)
    for call in (lambda: la.race(bowl, ["gd"], steps=2, progress="yes"), lambda: la.basin_map(bowl, "gd", progress=3)):
        with pytest.raises(la.InputError, match="progress"):
            call()
