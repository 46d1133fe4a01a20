"""Forecasts held against what then happens: counts and bytes exactly or within a share, the time model with a fake clock."""

import itertools
import math
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas._errors import InputError
from lossatlas.chart import _sizes
from lossatlas.chart._forecast import without_card
from lossatlas.chart.sampling._cost import Rates, bisected, interpolated, looks, work
from lossatlas.chart.sampling._dense import CHECKED, LATTICE
from lossatlas.chart.sampling._grid import grid
from lossatlas.chart.sampling._rates import algebra_rate, fill_rates, solve

X = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 3


@pytest.fixture
def surface():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    return la.NetworkSurface(model, "cross_entropy", (X, Y))


def taken(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("with_ledger", [False, True])
@pytest.mark.parametrize("settings", [{"points": 21, "exact": True}, {"points": (9, 7)}, {"points": 13, "exact": True}])
def test_every_cell_is_counted_and_every_byte_within_a_tenth(surface, settings, with_ledger, tmp_path):
    plane = la.Plane.random(surface, seed=1)
    ledger = tmp_path / "run" if with_ledger else None
    said = la.forecast(surface, plane, ledger=ledger, **settings)
    assert not list(tmp_path.iterdir())
    made = la.chart(surface, plane, ledger=ledger, progress=False, **settings)
    made.save(tmp_path / "run")
    assert (said.evaluations, said.examples) == (made.meter.values, made.meter.examples)
    assert said.evaluations_within == (said.evaluations, said.evaluations)
    assert said.bytes == pytest.approx(taken(tmp_path), rel=0.1)
    assert said.measured_on > 0 and said.seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [la.Plane, la.Line])
def test_an_interpolated_chart_ends_between_what_is_said_and_its_bytes_follow(surface, kind, tmp_path):
    frame = kind.random(surface, seed=1)
    points = 31 if kind is la.Plane else 201
    said = la.forecast(surface, frame, points=points, ledger=tmp_path)
    made = la.chart(surface, frame, points=points, ledger=tmp_path, progress=False)
    made.save(tmp_path)
    least, most = said.evaluations_within
    count = made.meter.values
    assert least <= count <= most and least <= said.evaluations <= most
    # Bytes are straight in the number of nodes: for the true one they are those on disk.
    low, high = said.bytes_within
    share = (count - least) / max(1, said.evaluations - least)
    assert low + share * (said.bytes - low) == pytest.approx(taken(tmp_path), rel=0.1)
    assert low <= said.bytes <= high


def test_a_formula_has_no_examples_and_its_exact_chart_is_counted(tmp_path):
    ground = la.landscapes.himmelblau()
    plane = la.Plane.random(ground, seed=0)
    said = la.forecast(ground, plane, points=21, exact=True, ledger=tmp_path / "l")
    made = la.chart(ground, plane, points=21, exact=True, ledger=tmp_path / "l", progress=False)
    made.save(tmp_path / "l")
    assert (said.evaluations, said.examples) == (made.meter.values, 0)
    assert said.bytes == pytest.approx(taken(tmp_path), rel=0.1)


@pytest.mark.slow
def test_what_a_ledger_knows_is_not_forecast_again_and_the_ledger_is_not_touched(surface, tmp_path):
    plane = la.Plane.random(surface, seed=1)
    la.chart(surface, plane, points=11, exact=True, ledger=tmp_path, progress=False)
    before = {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    said = la.forecast(surface, plane, points=11, exact=True, ledger=tmp_path)
    assert said.evaluations == 0 and "knows 121 points" in said.notes[0]
    assert before == {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    assert _sizes.known(tmp_path / "nothing") == 0


@pytest.mark.slow
def test_nodes_that_a_ledger_knows_count_too(surface, tmp_path):
    plane = la.Plane.random(surface, seed=1)
    made = la.chart(surface, plane, points=31, ledger=tmp_path, progress=False)
    assert _sizes.known(tmp_path) == made.meter.values


@pytest.mark.slow
def test_the_card_is_a_part_of_its_own_and_can_be_left_out(surface):
    plane = la.Plane.random(surface, seed=1)
    said = la.forecast(surface, plane, points=13, exact=True, card=True, pictures=True)
    assert said.parts["card"] > 0 and said.card_bytes > 100_000 and said.sizes["pictures"] > said.card_bytes
    assert sum(said.parts.values()) == pytest.approx(said.seconds)
    bare = without_card(said)
    assert bare.card_bytes == 0 and bare.bytes == said.bytes - said.card_bytes
    assert bare.seconds == pytest.approx(said.seconds - said.parts["card"])


def test_the_sentence_and_the_repr_say_it_in_one_line(surface):
    plane = la.Plane.random(surface, seed=1)
    said = la.forecast(surface, plane, points=31)
    assert said.sentence.startswith("forecast: about ") and "(between 53 and " in said.sentence
    assert "\n" not in repr(said) and repr(said).startswith("<Forecast: about ")
    assert f"{said.measured_on:,} points were evaluated and timed" in said.sentence
    assert said.record()["bytes"] == said.bytes and any(line.startswith("bytes: ") for line in said.lines())


def test_settings_of_a_chart_can_be_handed_on_and_bad_ones_are_refused(surface):
    plane, heard = la.Plane.random(surface, seed=1), []
    settings = {"points": 9, "exact": True, "progress": False, "on_forecast": heard.append}
    said = la.forecast(surface, plane, **settings)
    assert heard == [said]
    for wrong in ({"points": 1}, {"tolerance": 0}, {"span": "far"}, {"probes": 3}, {"memory": 5}):
        with pytest.raises(InputError):
            la.forecast(surface, plane, **wrong)


def test_a_span_that_is_looked_for_adds_its_search(surface):
    plane = la.Plane.random(surface, seed=1)
    said = la.forecast(surface, plane, points=9, exact=True, span="auto")
    made = la.chart(surface, plane, points=9, exact=True, span="auto", progress=False)
    least, most = said.evaluations_within
    assert least <= made.meter.values <= most and most == 81 + 1 + 2 * 2 * (12 + 3)


def test_time_is_additive_and_a_fill_is_its_three_rates():
    rates = Rates(2.0, algebra=0.5, score=0.25, multiply=0.125, gather=0.0625)
    assert rates.fill(7, 5, 3) == 3 * (7 * (0.25 + 5 * 0.125) + 5 * 0.0625)
    cells = grid(1.0, 21, 2)
    job = work(77, grid=cells, held=14, first=25, elements=3, most=600)
    assert job.looks == (25, 37, 49, 77)
    parts = job.parts(rates)
    assert parts["evaluations"] == 154
    assert parts["nodes"] == sum(0.5 * 441 * n + 2 * rates.fill(n, n, 3) for n in (25, 37, 49, 77))
    filled = min(441, LATTICE**2 + 2 * CHECKED)
    assert parts["fill"] == 0.5 * 441 * 77 + rates.fill(filled, 77, 3) + rates.fill(77, 77, 3)


def test_three_times_give_three_rates():
    s, g, h = 3e-9, 2e-10, 5e-9
    plan = ((64, 25), (256, 25), (256, 100))
    times = [m * (s + n * g) + n * h for m, n in plan]
    assert solve(plan, times) == pytest.approx((s, g, h), rel=1e-6)
    assert min(solve(plan, [3.0, 1.0, 0.5])) >= 0


def test_rates_are_what_the_clock_says():
    ticks = itertools.count(0, 5)

    scorer = types.SimpleNamespace(
        shapes=[(40, 3)],
        examples=40,
        fused="cross_entropy",
        targets=[torch.arange(40) % 3],
        accurate=True,
        dtype=torch.float32,
    )

    # Every timing takes five seconds, however many cells: all of it is done once for all of them.
    score, multiply, gather = fill_rates(scorer, torch.randn(2, 40, 3), clock=lambda: next(ticks))
    assert (score, multiply) == (0, 0) and gather == pytest.approx(5 / 120 / 25)
    rate = algebra_rate(grid(1.0, 21, 2), held=14, clock=lambda: next(ticks))
    assert rate == pytest.approx(5 / (441 * 49))


def test_a_smaller_tolerance_takes_more_nodes_and_room_is_kept():
    cells = grid(1.0, 51, 2)
    how = {"held": 14, "first": 25, "whole": 6}
    usual = interpolated(cells, tolerance=0.02, room=600, **how)
    assert (usual.least, usual.expected, usual.most) == (53, 89, 628 + 2601)
    # Errors fall as n^-3: a tolerance an eighth as large takes twice the nodes.
    finer = interpolated(cells, tolerance=0.0025, room=600, **how)
    assert abs((finer.expected - 28) / (usual.expected - 28) - 2) < 0.2
    assert interpolated(cells, tolerance=1e-9, room=100, **how).expected <= 100 + 12
    assert looks(53, grid=cells, held=14, first=25) == (25, 53)
    assert bisected(grid(1.0, 9, 2), 32).expected == 81


@pytest.mark.slow
def test_the_chart_forecasts_itself_with_the_fill_and_the_algebra(surface):
    said = []
    made = la.chart(surface, la.Plane.random(surface, seed=1), points=31, progress=False, on_forecast=said.append)
    (one,) = said
    assert set(one.parts) == {"evaluations", "nodes", "fill"} and sum(one.parts.values()) == pytest.approx(one.seconds)
    least, most = one.evaluations_within
    assert least <= made.meter.values <= most
    assert made.forecast_seconds == one.seconds and math.isfinite(one.seconds)


@pytest.mark.slow
def test_outputs_are_counted_by_their_own_type(surface):
    double = la.NetworkSurface(nn.Sequential(nn.Linear(5, 3)).double(), "cross_entropy", (X.double(), Y))
    for ground, size in ((surface, 4), (double, 8)):
        said = la.forecast(ground, la.Plane.random(ground, seed=1), points=31)
        assert said.sizes["outputs"] == said.evaluations * 60 * 3 * size


@pytest.mark.slow
def test_a_chart_of_a_few_examples_says_how_many_evaluations_to_expect():
    """Held against charts of other networks and data than the constants were taken from."""
    off = []
    for seed in range(3, 9):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1500, 8, generator=generator)
        y = (x[:, 0] * x[:, 1] > 0).long() + 2 * (x[:, 2] > 0.5).long()
        torch.manual_seed(seed)
        last = nn.Tanh() if seed % 2 else nn.ReLU()
        model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), last, nn.Linear(32, 4))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        ground = la.NetworkSurface(model, "cross_entropy", (x, y))
        plane = la.Plane.random(ground, seed=seed, normalization="filter")
        said = la.forecast(ground, plane)
        made = la.chart(ground, plane, progress=False)
        assert any("the same chart of 128 of the 1,500 examples" in note for note in said.notes)
        off.append(abs(said.evaluations / made.meter.values - 1))
    assert sorted(off)[3] <= 0.15 and max(off) <= 0.45, off


@pytest.mark.slow
def test_the_loss_itself_is_tried_on_a_few_examples_too():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(500, 8, generator=generator), torch.randint(4, (500,), generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))

    def penalized(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1]) + 1e-3 * model[0].weight.square().sum()

    ground = la.NetworkSurface(model, objective=penalized, data=(x, y))
    plane = la.Plane.random(ground, seed=0, normalization="filter")
    said, made = la.forecast(ground, plane), la.chart(ground, plane, progress=False)
    assert said.evaluations == pytest.approx(made.meter.values, rel=0.25)
    assert any("the same chart of 64 of the 500 examples" in note for note in said.notes)


def test_bytes_are_told_by_device_and_by_hand(surface):
    """The model and data that are there, θ and two directions; of points and activations at least a few and at most many times that."""
    plane = la.Plane.random(surface, seed=0)
    told = la.forecast(surface, plane, points=3, exact=True)
    theta = 4 * surface.dimension
    held = 4 * theta + X.nbytes + Y.nbytes
    points, activations = 9 * theta, 60 * 8 * 4
    assert set(told.memory) == {"cpu"} and "on cpu" in told.sentence
    assert held + points + theta < told.memory["cpu"] < held + points + 3 * theta + 16 * activations
    more = la.forecast(surface, plane, points=2, exact=True).memory["cpu"]
    assert told.memory["cpu"] - more == 5 * theta
    assert (
        la.forecast(
            la.landscapes.himmelblau(), la.Plane.random(la.landscapes.himmelblau()), points=3, exact=True
        ).memory
        == {}
    )


MEMORY = """
import gc, sys
from pathlib import Path
import torch
from torch import nn
import lossatlas as la

torch.set_num_threads(1)

def kilobytes(name):
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)).split()[1])

def charted(width):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, width), nn.Tanh(), nn.Linear(width, 1024), nn.Tanh(), nn.Linear(1024, 10))
    surface = la.NetworkSurface(model, "cross_entropy", (torch.randn(256, 256), torch.zeros(256, dtype=torch.long)))
    plane = la.Plane.random(surface, seed=0)
    told = la.forecast(surface, plane, points=3, exact=True)
    la.chart(surface, plane, points=3, exact=True, progress=False)
    return told

charted(4)  # what is imported for it
gc.collect()
Path("/proc/self/clear_refs").write_text("5")
before = kilobytes("VmRSS")
print(charted(8192).memory["cpu"], 1024 * (kilobytes("VmHWM") - before))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from Linux")
def test_bytes_are_those_that_a_chart_takes():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    told, taken = map(int, done.stdout.split())
    # Making the plane takes more for a moment.
    assert 0.6 * taken < told < 1.5 * taken
