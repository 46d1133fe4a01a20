"""The Morse–Smale complex against descents cell by cell, a checkerboard that is known, and Euler's number; SMAD by hand."""

import math

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas._errors import InputError
from lossatlas.chart import Chart
from lossatlas.chart._descent import Descent
from lossatlas.chart._merge_tree import basins, merge_tree
from lossatlas.chart.sampling._certificate import Certificate
from lossatlas.probe import Meter

NEIGHBORS = [(dj, di) for dj in (-1, 0, 1) for di in (-1, 0, 1) if (dj, di) != (0, 0)]


def charted(loss, error=None, *, dtype="torch.float64", span=1.0):
    loss = np.asarray(loss, dtype=np.float64)
    alpha, beta = (np.linspace(-span, span, n) if n > 1 else np.zeros(1) for n in reversed(loss.shape))
    off = np.zeros_like(loss) if error is None else np.broadcast_to(error, loss.shape) / 2
    labels = ("α", "β") if loss.shape[0] > 1 else ("t",)
    certificate = Certificate() if error is None else Certificate(rms=float(off.mean()), exact=False, range=1.0)
    provenance = {"surface": {"dtype": dtype}}
    return Chart(alpha, beta, loss, {}, labels, "planted", certificate, Meter(), provenance, error=np.array(off))


def wells(n=51, noise=0.0, seed=0):
    """A bowl with wells of depth 1, 0.5 and 0.25 far enough from each other that depth and saddle are known."""
    x = np.linspace(-1, 1, n)
    x, y = np.meshgrid(x, x)
    field = 1e-3 * (x**2 + y**2)
    for cx, cy, depth in ((-0.5, -0.4, 1.0), (0.5, -0.4, 0.5), (0.0, 0.52, 0.25)):
        field = field - depth * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 0.13**2))
    return field + noise * np.random.default_rng(seed).uniform(-1, 1, field.shape)


def slowly(field):
    """For each cell the minimum that it descends to, step by step to the lowest neighbor; None at walls."""
    ny, nx = field.shape
    ends = {}
    for start in np.ndindex(ny, nx):
        at = start if np.isfinite(field[start]) else None
        while at is not None:
            around = [(at[0] + dj, at[1] + di) for dj, di in NEIGHBORS]
            around = [(j, i) for j, i in around if 0 <= j < ny and 0 <= i < nx and np.isfinite(field[j, i])]
            lowest = min([at, *around], key=lambda cell: (field[cell], cell))
            if lowest == at:
                break
            at = lowest
        ends[start] = at
    return ends


def drained(field, standing):
    """The same once minima that do not stand are filled: a slow flood in which each pit drains over its lowest pass."""
    ends = slowly(field)
    order = sorted((cell for cell in ends if ends[cell] is not None), key=lambda cell: (field[cell], cell))
    rank = {cell: k for k, cell in enumerate(order)}
    label = {cell: cell for cell in standing}
    group = {end: {end} for end in set(ends.values()) if end is not None}
    passes = {}
    for j, i in order:
        for dj, di in NEIGHBORS:
            other = (j + dj, i + di)
            if rank.get(other, math.inf) < rank[j, i]:
                one, two = ends[j, i], ends[other]
                if one != two:
                    key = frozenset((one, two))
                    passes[key] = min(passes.get(key, (math.inf,)), (rank[j, i], rank[other], one, two))
    for _, _, one, two in sorted(passes.values()):
        first, second = group[one], group[two]
        if first is second:
            continue
        known = [any(end in label for end in x) for x in (first, second)]
        if not all(known) and any(known):
            empty, end = (second, one) if known[0] else (first, two)
            for pit in empty:
                label[pit] = label[end]
        first |= second
        for end in second:
            group[end] = first
    return {cell: label[end] for cell, end in ends.items() if end is not None}


def rough(seed, n=21, waves=6):
    """A smooth rough field in a bowl: all of its critical points but those of the rim lie inside."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*2 * [np.linspace(-1, 1, n)])
    field = 12 * (x**2 + y**2) ** 3
    for _ in range(waves):
        a, b, phase = rng.integers(-4, 5), rng.integers(-4, 5), rng.uniform(0, 2 * np.pi)
        field = field + rng.normal() * np.cos(np.pi * (a * x + b * y) / 1.3 + phase)
    return field


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["noise", "plateaus", "holes"])
def test_every_cell_has_the_minimum_that_its_steepest_descent_leads_to(seed, kind):
    rng = np.random.default_rng(seed)
    field = rng.integers(0, 5, (9, 11)).astype(float) if kind == "plateaus" else rng.normal(size=(9, 11))
    if kind == "holes":
        field[rng.random(field.shape) < 0.2] = np.nan
    found = basins(field)
    every = [int(found.order[k]) for k in found.minima]
    descent, ends = Descent(field, every), slowly(field)
    for cell, end in ends.items():
        number = descent.region[cell]
        assert (number < 0) == (end is None) and (end is None or every[number] == end[0] * 11 + end[1])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("keep", [1, 3, 6])
def test_pits_that_do_not_stand_drain_over_their_lowest_pass(seed, keep):
    field = np.random.default_rng(seed).normal(size=(10, 12))
    tree = merge_tree(field)
    # Any choice that holds the lowest: which minima stand need not follow their persistence.
    rng = np.random.default_rng(seed + 50)
    chosen = [int(tree.minima[0]), *rng.permutation(tree.minima[1:])[: keep - 1].tolist()]
    descent = Descent(field, chosen)
    wanted = drained(field, [divmod(cell, 12) for cell in chosen])
    assert {cell: divmod(chosen[descent.region[cell]], 12) for cell in wanted} == wanted
    assert len(descent.passes) == keep - 1 and (descent.region >= 0).all()
    for cell in range(field.size):
        path = descent.path(cell)
        steps = np.abs(np.diff([divmod(one, 12) for one in path], axis=0)).reshape(-1, 2)
        assert path[0] == cell and path[-1] == chosen[descent.region.flat[cell]]
        assert len(set(path)) == len(path) and (steps.max(1, initial=0) == 1).all()


def test_a_product_of_cosines_is_the_checkerboard_that_is_known():
    n = 65
    axis = np.linspace(-1.5 * np.pi, 1.5 * np.pi, n)
    x, y = np.meshgrid(axis, axis)
    # Turned by 45° the regions are squares between lines on which one cosine is extreme.
    chart = charted(np.cos(x) + np.cos(y), span=1.5 * np.pi)
    found = chart.morse_smale()
    inside = [one for one in found.minima if not one.border]
    assert sorted(tuple(np.round(np.divide(one.position, np.pi))) for one in inside) == [
        (a, b) for a in (-1, 1) for b in (-1, 1)
    ]
    for k, one in enumerate(found.minima):
        own = (np.sign(x) == np.sign(one.position[0])) & (np.sign(y) == np.sign(one.position[1]))
        assert (found.descending[own] == k).all(), "the basin of a minimum is its quarter, up to the lines between"
    (top,) = (k for k, one in enumerate(found.maxima) if max(map(abs, one.position)) < 0.1)
    middle = (np.abs(x) < np.pi - 0.1) & (np.abs(y) < np.pi - 0.1)
    assert (found.ascending[middle] == top).all() and (found.ascending[0, 0] != top)
    crossing = [one for one in found.saddles if max(map(abs, one.position)) < 3.3]
    assert sorted(tuple(np.round(np.divide(one.position, np.pi)) + 0.0) for one in crossing) == [
        (-1, 0),
        (0, -1),
        (0, 1),
        (1, 0),
    ]
    for one in crossing:
        assert len(set(one.minima)) == 2 and len(set(one.maxima)) == 2 and top in one.maxima
        for line, end in zip((*one.descents, *one.ascents), (*one.minima, *one.maxima), strict=True):
            group = found.minima if any(line is way for way in one.descents) else found.maxima
            assert tuple(line[0]) == one.position and tuple(line[-1]) == group[end].position


@pytest.mark.parametrize("seed", range(12))
def test_minima_less_saddles_plus_maxima_is_the_number_of_a_disk(seed):
    chart = charted(rough(seed, 61))
    found = chart.morse_smale(spacing=False)
    assert found.euler == 1, found.sentence
    one = chart.morse_smale(spacing=False, minimum_persistence=0.8)
    assert one.euler == 1 and len(one.minima) <= len(found.minima)
    topology = chart.topology(spacing=False)
    assert found.minima == tuple(f for f in topology.minima if f.real)
    assert found.maxima == tuple(f for f in topology.maxima if f.real)


@pytest.mark.parametrize("seed", range(6))
def test_lines_of_descent_fall_and_lines_of_ascent_rise_where_every_pit_stands(seed):
    found = charted(rough(seed, 41)).morse_smale(spacing=False)
    value = {(a, b): found.loss[j, i] for j, b in enumerate(found.beta) for i, a in enumerate(found.alpha)}
    assert found.left_out == (0, 0) and found.saddles
    for one in found.saddles:
        assert 1 <= len(one.maxima) <= 2 and 1 <= len(one.minima) <= 2
        for line in one.descents:
            assert (np.diff([value[tuple(place)] for place in line[1:]]) < 0).all() and value[
                tuple(line[1])
            ] <= one.value
        for line in one.ascents:
            assert (np.diff([value[tuple(place)] for place in line[1:]]) > 0).all() and value[
                tuple(line[1])
            ] >= one.value


def test_noise_within_the_error_divides_nothing():
    clean = charted(wells(41)).morse_smale()
    assert len(clean.minima) >= 3
    noisy = charted(wells(41, noise=0.02, seed=1), error=0.02).morse_smale(spacing=False)
    deep = {tuple(np.round(one.position, 1)) for one in clean.minima if not one.border}
    assert deep <= {tuple(np.round(one.position, 1)) for one in noisy.minima}
    assert noisy.left_out[0] > 20 and "within its error" in noisy.sentence
    flat = charted(np.ones((7, 9))).morse_smale()
    assert len(flat.minima) <= 1 and not flat.saddles
    empty = charted(np.full((5, 5), np.nan)).morse_smale()
    assert empty.sentence == "no region: no cell has a finite loss" and (empty.descending == -1).all()


def test_walls_cut_the_plane_into_parts():
    x, y = np.meshgrid(np.linspace(-1, 1, 11), np.linspace(-1, 1, 9))
    field = (np.abs(x) - 0.6) ** 2 + y**2
    field[:, 5] = np.inf
    found = charted(field).morse_smale(spacing=False)
    assert len(found.minima) == 2 and (found.descending[:, 5] == -1).all()
    assert len(np.unique(found.descending[:, :5])) == len(np.unique(found.descending[:, 6:])) == 1


def himmelblau(points=61):
    frame = la.Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    return la.chart(la.landscapes.himmelblau(), frame, span=5.0, points=points, exact=True, progress=False)


@pytest.mark.slow
def test_himmelblau_has_its_published_critical_points():
    # Himmelblau (1972): minima at four points, one maximum at (−0.271, −0.923), four saddles between.
    found = himmelblau().morse_smale()
    assert found.sentence.startswith("4 minima, 4 saddles and 1 maximum inside the chart") and found.euler == 1
    (top,) = (one for one in found.maxima if max(map(abs, one.position)) < 4.9)
    assert np.allclose(top.position, (-0.270845, -0.923039), atol=0.1)
    saddles = [(3.385154, 0.073852), (0.086678, 2.884255), (-3.073026, -0.081353), (-0.127961, -1.953715)]
    inside = sorted(one.position for one in found.saddles if max(map(abs, one.position)) < 4.9)
    assert np.allclose(inside, sorted(saddles), atol=0.15)


@pytest.mark.slow
def test_a_complex_is_saved_drawn_and_said(tmp_path):
    found = himmelblau(31).morse_smale(metric="loss")
    again = la.load(found.save(tmp_path))
    assert again.record() == found.record() and np.array_equal(again.ascending, found.ascending)
    assert np.array_equal(again.saddles[0].descents[1], found.saddles[0].descents[1])
    picture = found.plot()
    drawn = [line.get_gid() for line in picture.ax_.lines]
    along = sum(not found._along_rim(line) for one in found.saddles for line in one.descents)
    assert drawn.count("saddle to minimum") == along and "saddle to maximum" in drawn and "maximum" in drawn
    colors = {tuple(found_) for found_ in picture._colors().reshape(-1, 3)}
    assert len(colors) == 4
    assert "4 minima" in repr(found) and "27" in str(found.table()) and "divide" not in found.sentence


def test_a_line_has_no_complex():
    with pytest.raises(InputError, match=r"a chart of a line.*topology"):
        charted(np.arange(9.0)[None]).morse_smale()
    with pytest.raises(InputError, match="log"):
        charted(wells(9)).morse_smale(metric="log")


# -- SMAD -------------------------------------------------------------------------------------------------------------


def by_hand(field, weighted=False):
    """Landscaper's number: each minimum of the merge tree with the saddle at which its branch first meets another."""
    ends = slowly(field)
    minima = sorted(set(ends.values()), key=lambda cell: field[cell])
    if len(minima) < 2:
        return 0.0
    gaps = []
    for minimum in minima:
        for level in np.sort(field.ravel()):
            part, ahead = {minimum}, [minimum]
            while ahead:
                j, i = ahead.pop()
                for dj, di in NEIGHBORS:
                    near = (j + dj, i + di)
                    if near not in part and near in ends and field[near] <= level:
                        part.add(near)
                        ahead.append(near)
            if any(other in part for other in minima if other != minimum) and field[minimum] <= level:
                share = sum(end == minimum for end in ends.values()) / field.size
                gaps.append((level - field[minimum]) * (share if weighted else 1.0))
                break
    return float(np.mean(gaps))


@pytest.mark.parametrize("seed", range(3))
def test_smad_is_the_mean_gap_of_minima_and_their_first_saddles(seed):
    field = np.random.default_rng(seed).normal(size=(7, 8))
    chart = charted(field)
    assert float(chart.smad()) == pytest.approx(by_hand(field), rel=1e-12)
    assert float(chart.smad(weighted=True)) == pytest.approx(by_hand(field, weighted=True), rel=1e-12)
    assert float(chart.smad(normalize=True)) == pytest.approx(by_hand(field) / np.ptp(field), rel=1e-12)


def test_smad_of_two_wells_is_known():
    x = np.linspace(-1, 1, 201)
    # Depths 1 and 2 below a pass at 0: both wells first meet there, in the mean 1.5 above them.
    field = np.where(x < 0, -1.0, -2.0) * np.sin(np.pi * np.abs(x)) ** 2
    field = field + 4 * np.linspace(-0.4, 0.4, 41)[:, None] ** 2
    found = charted(field).smad()
    assert found.minima == 2 and found.value == pytest.approx(1.5, abs=1e-6) and found.resolved == 2
    assert charted(x[None] ** 2 + x[:, None] ** 2).smad().sentence == "SMAD 0: the chart shows a single well"


def test_smad_says_what_is_not_resolved_and_leaves_it_out_where_asked(tmp_path):
    noisy = charted(wells(41, noise=0.02, seed=1), error=0.02)
    every, some = noisy.smad(spacing=False), noisy.smad(spacing=False, resolved=True)
    assert every.minima > 20 and every.value < 0.1 and some.value > 0.2
    assert some.minima == some.resolved == every.resolved and "not resolved" in every.sentence
    assert every.uncertainty == pytest.approx(0.04, rel=1e-6)
    assert la.load(every.save(tmp_path)).record() == every.record()
    with pytest.raises(InputError, match="weighted"):
        noisy.smad(weighted=1)


def test_every_saddle_of_an_egg_box_is_there_where_many_are_equally_high():
    """Of 5 × 5 wells each two neighbors have a saddle, and a maximum lies between each four: 25 − 40 + 16 = 1."""
    x = np.linspace(-2.5, 2.5, 126)
    found = charted(-np.cos(2 * np.pi * x)[None] - np.cos(2 * np.pi * x)[:, None], span=2.5).morse_smale()
    assert found.inside == (25, 40, 16) and found.euler == 1
    expected = {(a + 0.5, float(b)) for a in range(-2, 2) for b in range(-2, 3)}
    expected |= {(b, a) for a, b in expected}
    assert {tuple(np.round(one.position, 1).tolist()) for one in found.saddles} == expected
    assert all(len(one.minima) == len(one.descents) == 2 and len(one.ascents) == 2 for one in found.saddles)
