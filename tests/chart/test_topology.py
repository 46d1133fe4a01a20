"""Topology: the merge tree against GUDHI, planted wells found, noise below the error left out, laws of persistence."""

import math
import time

import gudhi
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import lossatlas as la
from lossatlas.chart import Chart
from lossatlas.chart._features import measured, spacing_error, ways_out
from lossatlas.chart._merge_tree import merge_tree
from lossatlas.chart._topology_words import amount
from lossatlas.chart.sampling._certificate import Certificate
from lossatlas.probe import Meter


def charted(loss, error=None, *, dtype="torch.float64", span=1.0):
    loss = np.asarray(loss, dtype=np.float64)
    alpha, beta = (np.linspace(-span, span, n) if n > 1 else np.zeros(1) for n in reversed(loss.shape))
    off = np.zeros_like(loss) if error is None else np.broadcast_to(error, loss.shape) / 2
    labels = ("α", "β") if loss.shape[0] > 1 else ("t",)
    certificate = Certificate() if error is None else Certificate(rms=float(off.mean()), exact=False, range=1.0)
    provenance = {"surface": {"dtype": dtype}}
    return Chart(alpha, beta, loss, {}, labels, "planted", certificate, Meter(), provenance, error=np.array(off))


def pairs(loss, sign=1, **options):
    """(birth, death) of each minimum (sign 1) or maximum (sign −1) on the cells."""
    found = charted(loss).topology(spacing=False, **options)
    kind = "minimum" if sign == 1 else "maximum"
    chosen = [p for p in found.pairs if p.extremum.kind == kind]
    return sorted((p.extremum.value, p.saddle.value if p.saddle else sign * np.inf) for p in chosen)


def oracle(loss, sign=1):
    """The same by GUDHI: sublevel sets of a complex of closed squares, one per cell."""
    filled = np.where(np.isfinite(loss), sign * np.asarray(loss, dtype=np.float64), np.inf)
    cubes = gudhi.CubicalComplex(top_dimensional_cells=filled)
    cubes.compute_persistence()
    found = cubes.persistence_intervals_in_dimension(0)
    return sorted((sign * birth, sign * death) for birth, death in found if np.isfinite(birth))


def wells(n=51, noise=0.0, seed=0):
    """A bowl with wells of depth 1, 0.5 and 0.25 far enough from each other that depth and saddle are known."""
    x = np.linspace(-1, 1, n)
    x, y = np.meshgrid(x, x)
    field = 1e-3 * (x**2 + y**2)
    for cx, cy, depth in ((-0.5, -0.4, 1.0), (0.5, -0.4, 0.5), (0.0, 0.52, 0.25)):
        field = field - depth * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 0.13**2))
    return field + noise * np.random.default_rng(seed).uniform(-1, 1, field.shape)


SHAPES = [(7, 9), (1, 20), (20, 1), (2, 2), (1, 1), (25, 30)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["random", "holes", "plateaus", "plateaus and holes"])
@pytest.mark.parametrize("sign", [1, -1])
def test_pairs_are_those_of_gudhi(shape, kind, sign):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        loss = rng.integers(0, 4, shape).astype(float) if "plateaus" in kind else rng.normal(size=shape)
        if "holes" in kind:
            loss[rng.random(shape) < 0.2] = (np.nan, np.inf, -np.inf)[seed % 3]
        assert pairs(loss, sign) == oracle(loss, sign)


@pytest.mark.parametrize("sign", [1, -1])
def test_minimum_and_saddle_of_each_pair_are_the_cells_that_gudhi_names(sign):
    loss = np.random.default_rng(3).normal(size=(12, 15))  # no two values are equal
    tree = merge_tree(sign * loss)
    graph = gudhi.SimplexTree()
    for cell in range(loss.size):
        graph.insert([cell], sign * loss.flat[cell])
        j, i = divmod(cell, 15)
        for dj, di in ((0, 1), (1, -1), (1, 0), (1, 1)):
            if j + dj < 12 and 0 <= i + di < 15:
                other = (j + dj) * 15 + i + di
                graph.insert([cell, other], max(sign * loss.flat[cell], sign * loss.flat[other]))
    graph.compute_persistence()
    born = {a[0]: max(b, key=lambda v: sign * loss.flat[v]) for a, b in graph.persistence_pairs() if len(b) == 2}
    mine = {int(m): int(s) for m, s in zip(tree.minima, tree.saddles, strict=True) if s >= 0}
    assert mine == {m: s for m, s in born.items() if m != s}


def test_the_parent_is_the_lower_minimum_that_is_met_at_the_saddle():
    # Along a line: 0 | 5 | 2 | 3 | 1 : the third joins the fifth at 3, the fifth the first at 5.
    found = charted([[9, 0, 5, 2, 3, 1, 9]]).topology(spacing=False)
    chosen = [p for p in found.pairs if p.extremum.kind == "minimum"]
    assert [(p.extremum.value, p.saddle and p.saddle.value, p.parent) for p in chosen] == [
        (0, None, None), (1, 5, 0), (2, 3, 1)
    ]  # fmt: skip
    assert [f.position for f in found.minima] == [(found.alpha[1],), (found.alpha[5],), (found.alpha[3],)]


def test_a_well_reached_over_a_plateau_ends_in_the_well_below_and_keeps_its_parent():
    loss = np.array([[9, 0, 5, 5, 5, 1, 5, 5, 3, 9.0]])
    chosen = [p for p in charted(loss).topology(spacing=False).pairs if p.extremum.kind == "minimum"]
    assert [(p.extremum.value, p.parent) for p in chosen] == [(0, None), (1, 0), (3, 0)]


@pytest.mark.parametrize("n", [51, 101])
def test_planted_wells_are_recovered_with_depth_and_saddle(n):
    found = charted(wells(n)).topology()
    assert found.count == 3 and len(found.minima) == 3
    whole, half, quarter = found.minima
    assert math.isinf(whole.persistence)
    # The bowl adds at most 2e-3, and the tails of other wells 1e-3; the saddles lie at the level of the bowl.
    assert half.persistence == pytest.approx(0.5, abs=5e-3 + half.spacing)
    assert quarter.persistence == pytest.approx(0.25, abs=5e-3 + quarter.spacing)
    # In parabolas of curvature d/σ² second differences bound how far a cell may miss the bottom.
    assert 0 < half.spacing < 0.5 * 3 * (2 / (n - 1) / 0.13) ** 2
    assert max(np.abs(np.subtract(half.position, (0.5, -0.4)))) <= 2 / (n - 1)
    assert max(np.abs(np.subtract(quarter.position, (0.0, 0.52)))) <= 2 / (n - 1)
    assert found.sentence.startswith("3 minima, separated by 0.24") or found.sentence.startswith(
        "3 minima, separated by 0.25"
    )


@pytest.mark.parametrize(("error", "count"), [(0.02, 3), (0.11, 3), (0.14, 2), (0.23, 2), (0.27, 1)])
def test_wells_stand_exactly_as_long_as_their_persistence_exceeds_the_error(error, count):
    """Depths are 0.25 and 0.5: two cells of error e each hide what is shallower than 2e."""
    found = charted(wells(), error=error).topology(spacing=False)
    assert found.count == count
    assert all(f.error == pytest.approx(2 * error, rel=1e-6) for f in found.minima[1:])


@pytest.mark.slow
def test_noise_within_the_stated_error_makes_no_minima_and_noise_above_it_does():
    for seed in range(5):
        noisy = wells(noise=0.02, seed=seed)
        assert len(charted(noisy).topology().minima) > 100
        assert charted(noisy, error=0.02).topology(spacing=False).count == 3
        assert charted(noisy, error=0.02).topology().count == 3
        assert charted(noisy, error=0.002).topology(spacing=False).count > 10


def test_the_stability_theorem_holds_for_kept_pairs():
    """Noise of at most e moves the persistence of a planted well by at most 2e, and new pairs stay below 2e."""
    clean = {f.value: f for f in charted(wells()).topology().minima}
    for seed in range(5):
        moved = charted(wells(noise=0.02, seed=seed)).topology(spacing=False)
        chosen = sorted(f.persistence for f in moved.minima if f.persistence > 0.04)
        before = sorted(f.persistence for f in clean.values())
        assert len(chosen) == len(before)
        assert all(abs(a - b) <= 0.04 for a, b in zip(chosen[:-1], before[:-1], strict=True))


FIELDS = arrays(
    np.float64,
    st.tuples(st.integers(1, 7), st.integers(2, 7)),
    elements=st.one_of(st.integers(-3, 3).map(float), st.floats(-8, 8, width=32)),
)


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(FIELDS)
def test_pairs_do_not_change_when_a_field_is_turned_mirrored_or_negated(loss):
    expected = pairs(loss)
    if min(loss.shape) > 1:
        assert pairs(loss.T) == expected
    assert pairs(loss[::-1]) == pairs(loss[:, ::-1]) == pairs(loss[::-1, ::-1]) == expected
    assert sorted((-a, -b) for a, b in pairs(-loss, -1)) == expected


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(FIELDS, st.sampled_from([0.25, 1.0, 8.0]), st.sampled_from([-4.0, 0.0, 16.0]))
def test_pairs_follow_scale_and_shift(loss, scale, shift):
    loss = np.round(loss * 64) / 64  # so that the arithmetic is exact
    assert pairs(scale * loss + shift) == sorted((scale * a + shift, scale * b + shift) for a, b in pairs(loss))


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(FIELDS, st.integers(0, 2**31), st.floats(1e-3, 2.0))
def test_noise_moves_the_diagram_by_at_most_its_size(loss, seed, size):
    """Cohen-Steiner, Edelsbrunner and Harer (2007), against GUDHI's bottleneck distance."""
    noise = size * np.random.default_rng(seed).uniform(-1, 1, loss.shape)
    one, two = pairs(loss), pairs(loss + noise)
    distance = gudhi.bottleneck_distance(np.array(one).reshape(-1, 2), np.array(two).reshape(-1, 2))
    assert distance <= np.abs(noise).max() * (1 + 1e-9) + 1e-12
    # Hence of the persistences, sorted, no one moves by more than twice that; what is missing counts as 0.
    lived = [sorted((b - a for a, b in found if np.isfinite(b)), reverse=True) for found in (one, two)]
    length = max(map(len, lived))
    lived = [np.array(found + [0.0] * (length - len(found))) for found in lived]
    assert np.abs(lived[0] - lived[1]).max(initial=0.0) <= 2 * np.abs(noise).max() * (1 + 1e-9) + 1e-12


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(FIELDS)
def test_there_is_one_pair_less_than_there_are_minima_and_one_root(loss):
    found = charted(loss).topology(spacing=False)
    for kind in ("minimum", "maximum"):
        chosen = [p for p in found.pairs if p.extremum.kind == kind]
        assert sum(p.saddle is None for p in chosen) == 1
        assert all(p.saddle is None or p.extremum.persistence > 0 for p in chosen)
        # A parent is at least as persistent, so it comes first.
        assert all(p.parent is None or p.parent < k for k, p in enumerate(chosen))
    again = charted(loss).topology(spacing=False)
    assert again.pairs == found.pairs


def test_the_way_out_is_the_lowest_pass_to_the_rim_or_to_a_lower_minimum():
    loss = np.random.default_rng(5).normal(size=(9, 11))
    ways = ways_out(loss)
    for cell in merge_tree(loss).minima.tolist():
        # The obvious way: raise the water from the cell until it is at the rim or at something lower.
        for level in np.sort(loss.ravel()):
            if level < loss.flat[cell]:
                continue
            wet, found = {cell}, [cell]
            while found:
                j, i = divmod(found.pop(), 11)
                near = [(j + a, i + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
                near = [(a, b) for a, b in near if 0 <= a < 9 and 0 <= b < 11 and loss[a, b] <= level]
                fresh = [a * 11 + b for a, b in near if a * 11 + b not in wet]
                wet |= set(fresh)
                found += fresh
            out = any(c // 11 in (0, 8) or c % 11 in (0, 10) or loss.flat[c] < loss.flat[cell] for c in wet)
            if out:
                break
        at_sea = cell // 11 in (0, 8) or cell % 11 in (0, 10)
        assert ways[cell] == -1 if at_sea else loss.flat[ways[cell]] == level


def test_minima_on_the_rim_at_holes_or_open_to_them_are_told_apart():
    x = np.linspace(-1, 1, 31)
    slope = np.add.outer(x, 2 * x)
    found = charted(slope).topology()
    assert found.count == 0 and found.minima[0].border and found.minima[0].index == (0, 0)
    assert "no minimum inside the chart: the lowest loss, -3 at α = -1, β = -1, is on the edge" in found.sentence
    holed = np.add.outer(x**2, x**2)
    assert charted(holed).topology().count == 1
    holed[14, 15] = np.nan
    assert charted(holed).topology().count == 0
    # A trough that rises by 0.01 from its middle to a lip and falls by 0.005 from there to the rim.
    trough = np.add.outer(5 * x**2, np.where(np.abs(x) < 0.9, 0.01 * x**2, 0.005))
    for error, count in ((0.003, 1), (0.006, 0)):
        found = charted(trough, error=error).topology(spacing=False)
        assert found.count == count and found.minima[0].real
    assert "no minimum that is surely inside the chart: the lowest loss, 0 at α = 0, β = 0" in found.sentence


def test_plateaus_count_once_and_as_border_where_any_cell_of_them_is():
    flat = np.full((9, 9), 5.0)
    flat[3:6, 3:6] = 1.0
    found = charted(flat).topology(spacing=False)
    assert [f.value for f in found.minima] == [1.0] and found.count == 1
    flat[4, 3:] = 1.0
    assert charted(flat).topology(spacing=False).count == 0
    assert charted(np.full((5, 5), 0.7)).topology().sentence == "no minimum: every finite cell has the same loss, 0.7"
    assert charted(np.full((5, 5), np.nan)).topology().sentence == "no minimum: no cell has a finite loss"


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("across", [1.0, 3.0])
def test_a_thin_oblique_valley_is_no_string_of_pits(mirrored, across):
    """Along a diagonal no pit is seen at all; along another direction pits of the sampling are not resolved."""
    x = np.linspace(-1, 1, 41)
    a, b = np.meshgrid(x, x)
    valley = 200 * (a - b / across) ** 2 + a**2 + b**2
    loss = valley[:, ::-1] if mirrored else valley
    found = charted(loss).topology()
    assert sum(f.real for f in found.minima) == 1
    if across == 1:
        assert len(found.minima) == 1


def test_the_bound_between_cells_holds_the_surface():
    """A surface lies within the bound of the linear interpolation of its cells."""
    n, k = 21, 8
    fine = np.linspace(-1, 1, (n - 1) * k + 1)
    a, b = np.meshgrid(fine, fine)
    surface = np.sin(3 * a + 1) * np.cos(2 * b) + 0.3 * a * b**2
    cells = surface[::k, ::k]
    bound = spacing_error(cells)
    # Squares at the rim, where the differences are those of the next square, would need more.
    for j in range(1, n - 2):
        for i in range(1, n - 2):
            part = surface[j * k : (j + 1) * k + 1, i * k : (i + 1) * k + 1]
            u = np.linspace(0, 1, k + 1)
            corners = cells[j : j + 2, i : i + 2]
            linear = np.stack([1 - u, u], 1) @ corners @ np.stack([1 - u, u])
            assert np.abs(part - linear).max() <= 1.02 * bound[j : j + 2, i : i + 2].max()
    parabola = np.add.outer(np.zeros(5), np.arange(5.0) ** 2)
    np.testing.assert_array_equal(spacing_error(parabola), 0.25)
    np.testing.assert_array_equal(spacing_error(parabola[:1]), 0.25)
    assert np.isinf(spacing_error(np.zeros((2, 5)))).all()


def test_errors_are_twice_the_expected_error_of_both_cells_and_rounding():
    loss = np.array([[9.0, 1.0, 4.0, 2.0, 9.0]])
    error = np.array([[0.0, 0.25, 0.5, 0.125, 0.0]])
    found = charted(loss, error=error).topology(spacing=False)
    assert found.minima[1].error == pytest.approx(0.5 + 0.125, abs=1e-12)
    exact = charted(loss, dtype="torch.float32").topology(spacing=False).minima[1]
    assert exact.error == 8 * np.finfo(np.float32).eps * (4 + 4)  # the median is 4, and the well is below it
    log = charted(loss, error=error).topology(spacing=False, metric="log").minima[1]
    assert log.persistence == pytest.approx(math.log(2))
    assert log.error == pytest.approx(-math.log(1 - 0.5 / 4) - math.log(1 - 0.125 / 2), abs=1e-12)
    assert np.isinf(measured(charted(loss, error=1.5), "log")[1][0, 1])


def test_the_logarithm_counts_wells_far_below_the_rim():
    x = np.linspace(-1, 1, 41)
    loss = 10.0 ** (-3 + 4 * np.minimum(np.hypot(x[:, None], x - 0.5), np.hypot(x[:, None], x + 0.5)))
    found = charted(loss, error=1e-4).topology(metric="log", spacing=False)
    assert found.count == 2
    assert "a factor of 1" in found.sentence and found.minima[1].persistence == pytest.approx(
        2 * math.log(10), rel=1e-6
    )
    with pytest.raises(la.InputError, match="above 0"):
        charted(loss - 1).topology(metric="log")


@pytest.mark.parametrize("bad", [{"metric": "cubic"}, {"minimum_persistence": -1}, {"minimum_persistence": math.nan},
                                 {"minimum_persistence": math.inf}, {"minimum_persistence": True}])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(bad):
    with pytest.raises(la.InputError, match=r"got|metric"):
        charted(wells(9)).topology(**bad)


def test_a_smallest_persistence_leaves_out_what_is_below_it():
    loss = wells(noise=0.02)
    whole, few = charted(loss).topology(), charted(loss).topology(minimum_persistence=0.1)
    assert few.minima == tuple(f for f in whole.minima if f.persistence >= 0.1)
    assert few.pairs[0].parent is None


@pytest.mark.slow
def test_landscapes_have_the_minima_they_are_known_for():
    frame = la.Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    for surface, span, count in ((la.landscapes.himmelblau(), 5.0, 4), (la.landscapes.rastrigin(), 1.6, 9)):
        found = la.chart(surface, frame, span=span, points=61, exact=True, progress=False).topology()
        assert found.count == count
        assert found.minima[0].value == found.loss.min() and not found.minima[0].border
    # Himmelblau's saddle between (3.58, −1.85) and (3, 2) lies at 13.31; its lowest is at 0.
    found = la.chart(la.landscapes.himmelblau(), frame, span=5.0, points=61, exact=True, progress=False).topology()
    shallow = found.minima[-1]
    assert abs(shallow.persistence - 13.3119) <= shallow.uncertainty
    rosenbrock = la.chart(la.landscapes.rosenbrock(), frame, span=2.0, points=51, exact=True, progress=False)
    assert sum(f.real for f in rosenbrock.topology().minima) == 1
    assert sum(f.real for f in rosenbrock.topology(spacing=False).minima) > 5


def test_numbers_carry_no_more_digits_than_they_have():
    assert amount(0.8, 0.0213) == "0.800 ± 0.021"
    assert amount(103.67, 1.78) == "103.7 ± 1.8"
    assert amount(12345.6, 123.0) == "12346 ± 123"
    assert amount(0.5, 1e-9) == "0.5" and amount(3e-7, 2e-8) == "3e-07 ± 2e-08"
    assert amount(math.log(3), 1.0, "log") == "a factor of 3 (1.1 to 8.15)"


@pytest.mark.slow
def test_a_topology_is_saved_loaded_listed_and_drawn(tmp_path):
    loss = wells(noise=0.02)
    loss[3, 4] = np.nan
    found = charted(loss, error=0.02).topology()
    found.save(tmp_path)
    again = la.load(tmp_path)
    assert again.pairs == found.pairs and again.sentence == found.sentence and again.provenance == found.provenance
    rows = found.to_dataframe()
    assert isinstance(rows, pd.DataFrame) and len(rows) == len(found.minima) + len(found.maxima) + len(found.saddles)
    assert (rows[rows.kind == "minimum"].real & ~rows[rows.kind == "minimum"].border).sum() == found.count == 3
    assert len(repr(found)) < 200 and found.sentence in repr(found) and found.sentence in found._repr_html_()
    display = again.plot()
    counted = {line.get_gid(): len(line.get_xdata()) for line in display.ax_.lines if line.get_gid()}
    assert counted["minimum"] == 3 and counted["saddle"] == sum(f.real for f in found.minima[1:])
    assert display.render()[:4] == b"\x89PNG"
    tree = found.plot_tree()
    assert len(tree.places()) == sum(f.real for f in found.minima)
    assert found.plot_tree(unresolved=True).render()[:4] == b"\x89PNG"


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [np.full((5, 5), 0.7), np.full((4, 6), np.nan), [[1.0, 2.0], [3.0, 4.0]], [[1.0, np.inf]], [[0.0, 0.0, 0.0]]],
    ids=["constant", "holes", "2×2", "two on a line", "constant line"],
)
def test_fields_with_nothing_in_them_are_drawn_saved_and_put_into_words(loss, tmp_path):
    found = charted(loss).topology()
    assert found.count == 0 and found.sentence.startswith("no minimum")
    for display in (found.plot(), found.plot_tree()):
        assert display.render(dpi=40)[:4] == b"\x89PNG"
    found.save(tmp_path)
    assert la.load(tmp_path).sentence == found.sentence and len(found.to_dataframe()) >= 0 and str(found)


def test_regions_walled_off_by_holes_are_said_to_be_apart():
    x = np.linspace(-1, 1, 31)
    loss = np.add.outer(x**2, np.minimum((x - 0.5) ** 2, (x + 0.5) ** 2 + 0.01))
    loss[:, 15] = np.inf
    found = charted(loss).topology()
    assert found.count == 2 and all(math.isinf(f.persistence) for f in found.minima if f.real and not f.border)
    assert "2 minima; cells that are not finite keep 2 of them apart" in found.sentence


@pytest.mark.slow
def test_a_line_has_a_topology_too(tmp_path):
    t = np.linspace(-1, 1, 41)
    found = charted((t**2 - 0.25)[None] ** 2).topology()
    assert found.count == 2 and found.minima[1].persistence == pytest.approx(0.0625, abs=2e-3)
    assert found.minima[0].position == pytest.approx((-0.5,), abs=1e-9)
    assert found.plot().render()[:4] == b"\x89PNG" and found.plot_tree().render()[:4] == b"\x89PNG"
    found.save(tmp_path)
    assert la.load(tmp_path).pairs == found.pairs


@pytest.mark.slow
def test_a_tree_is_drawn_without_crossings():
    rng = np.random.default_rng(1)
    tree = charted(rng.normal(size=(15, 15))).topology(spacing=False).plot_tree()
    places, heights = tree.places(), tree.saddles
    for k in np.flatnonzero(tree.parents >= 0):
        low, high = sorted((places[k], places[tree.parents[k]]))
        between = (places > low) & (places < high)
        assert np.all(heights[between] <= heights[k])
    with pytest.raises(la.InputError, match="ring"):
        type(tree)(np.zeros(2), np.ones(2), np.array([1, 0]), top=1.0)


def test_comparisons_count_resolved_minima():
    made = la.compare(
        {"bowl": la.landscapes.quadratic(condition=4.0), "egg box": la.landscapes.rastrigin()},
        planes=la.Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)),
        points=61, span=1.6, progress=False,
    )  # fmt: skip
    for name, charts in made.charts.items():
        assert made.roughness["resolved"][name].tolist() == [one.topology().count for one in charts]
    assert (made.roughness["resolved"]["bowl"] == 1).all() and (made.roughness["resolved"]["egg box"] == 9).all()
    assert "resolved minima" in str(made.table())
    assert "resolved minima: egg box − bowl = +8" in " ".join(made.reading())


@pytest.mark.slow
@pytest.mark.parametrize(("n", "seconds"), [(51, 0.03), (401, 3.0)])
def test_topology_takes_no_time(n, seconds):
    x = np.linspace(-1, 1, n)
    smooth = charted(np.cos(9 * x[:, None]) * np.cos(7 * x) + x**2)
    rough = charted(np.random.default_rng(0).normal(size=(n, n)))
    # White noise, with 36,000 extrema in 401×401 cells, is the worst there is.
    for chart, allowed in ((smooth, seconds), (rough, 2 * seconds)):
        taken = []
        for _ in range(3):
            start = time.process_time()
            chart.topology()
            taken.append(time.process_time() - start)
        assert min(taken) < allowed
