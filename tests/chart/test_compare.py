"""Several models in one picture: roughness by its definitions, planes that belong together, the table, the way to disk."""

import itertools
import json

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

import lossatlas as la
from lossatlas.chart import compare, roughness
from lossatlas.demo import digits

GRID = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(-1, 1, 9))


def wavy(x, y):
    return x**2 + 0.5 * y**2 + 0.4 * np.cos(9 * x) * np.cos(7 * y)


def slow_roughness(field):
    """The three numbers cell by cell, with NumPy's own eigenvalues and polynomial fit."""
    ny, nx = field.shape
    h, k = 2 / (nx - 1), 2 / (ny - 1)
    down = pits = cells = 0
    for j, i in itertools.product(range(1, ny - 1), range(1, nx - 1)):
        f = field[j - 1 : j + 2, i - 1 : i + 2]
        cross = (f[2, 2] - f[2, 0] - f[0, 2] + f[0, 0]) / (4 * h * k)
        form = np.array([[(f[1, 2] - 2 * f[1, 1] + f[1, 0]) / h**2, cross],
                         [cross, (f[2, 1] - 2 * f[1, 1] + f[0, 1]) / k**2]])  # fmt: skip
        cells += 1
        down += np.linalg.eigvalsh(form)[0] < 0
        pits += (np.delete(f.ravel(), 4) > f[1, 1]).all()
    x, y = (part.ravel() for part in np.meshgrid(np.linspace(-1, 1, nx), np.linspace(-1, 1, ny)))
    design = np.stack([x**a * y**b for a, b in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))], 1)
    left = field.ravel() - design @ np.linalg.pinv(design) @ field.ravel()
    return down / cells, np.sqrt((left**2).mean()) / np.ptp(field), pits, cells


@pytest.mark.parametrize("field", [wavy(*GRID), np.exp(GRID[0]) + GRID[1] ** 4], ids=["wavy", "smooth"])
def test_roughness_is_what_its_definition_says(field):
    share, misfit, minima, cells = slow_roughness(field)
    found = roughness(field)
    assert (found.nonconvex, found.minima, found.cells) == (share, minima, cells)
    assert found.misfit == pytest.approx(misfit, rel=1e-9)


def test_a_bowl_has_no_roughness_and_a_saddle_is_nowhere_convex():
    x, y = GRID
    bowl = roughness(1e6 * (3 * x**2 + x * y + y**2 + x) + 5)
    assert bowl.nonconvex == 0 and bowl.misfit < 1e-12
    assert roughness(x**2 - y**2).nonconvex == 1.0
    assert roughness(np.ones((9, 9))).nonconvex == 0 and roughness(np.ones((9, 9))).misfit == 0


def test_roughness_does_not_change_with_scale_and_shift():
    field = wavy(*GRID)
    one, two = roughness(field), roughness(1e-3 * field - 7)
    assert (one.nonconvex, one.minima) == (two.nonconvex, two.minima)
    assert one.misfit == pytest.approx(two.misfit, rel=1e-9)


def test_noise_makes_no_valleys():
    x, y = GRID
    rng = np.random.default_rng(0)
    flat = 1e-9 * (x**2 + y**2) + 1e-3 * rng.uniform(-1, 1, x.shape)
    assert roughness(flat).nonconvex > 0.3 and roughness(flat).minima > 0
    # Every value is off by at most 1e-3, so that second differences are off by at most 4e-3 and neighbors by 2e-3.
    told = roughness(flat, noise=2e-3)
    assert told.nonconvex == 0 and told.minima == 0


def test_holes_are_not_judged():
    field = wavy(*GRID)
    field[4, 6] = np.inf
    found = roughness(field)
    assert found.cells == 7 * 11 - 9 and np.isfinite(found.misfit)
    assert np.isnan(roughness(np.full((5, 5), np.nan)).nonconvex)


def test_lines_have_roughness_too():
    t = np.linspace(-1, 1, 41)
    found = roughness(np.cos(12 * t)[None])
    curved = np.diff(np.cos(12 * t), 2)
    assert found.nonconvex == (curved < 0).mean() and found.minima == 4 and found.cells == 39
    with pytest.raises(la.InputError, match="three cells"):
        roughness(np.zeros((2, 9)))


# Comparisons.


def network(width, seed, activation=nn.ReLU):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, width), activation(), nn.Linear(width, 10)).eval()
    x, y = digits("test")
    return la.NetworkSurface(model, "cross_entropy", (x[:80], y[:80]), name=f"width {width}")


@pytest.fixture(scope="module")
def made():
    surfaces = {"narrow": network(5, 0), "tanh": network(5, 1, nn.Tanh), "wide": network(9, 0)}
    return surfaces, compare(surfaces, seeds=3, points=(9, 7), span=0.8, progress=False)


@pytest.mark.slow
def test_paired_planes_have_the_same_seeds_and_each_its_own_weights(made):
    surfaces, found = made
    assert found.planes == ("seed 0", "seed 1", "seed 2") and found.names == ("narrow", "tanh", "wide")
    for name, surface in surfaces.items():
        for seed in range(3):
            plane = la.Plane.random(surface, seed=seed)
            coords = torch.tensor([[0.8, -0.8], [-0.2, 0.0]], dtype=torch.float64)
            true = surface.on(plane).values(coords)
            chart = found.charts[name][seed]
            np.testing.assert_allclose([chart.loss[0, -1], chart.loss[3, 3]], true, rtol=1e-5)
            assert found.roughness["nonconvex"][name][seed] == roughness(chart.loss, noise=_rounding(chart)).nonconvex


def _rounding(chart):
    return torch.finfo(torch.float32).eps * np.abs(chart.loss).max()


@pytest.mark.slow
def test_differences_are_plane_by_plane_with_a_sign_test(made):
    _, found = made
    apart = found.difference("narrow", "wide", "misfit")
    np.testing.assert_array_equal(apart.apart, found.roughness["misfit"]["wide"] - found.roughness["misfit"]["narrow"])
    assert apart.rougher == (apart.apart > 0).sum()
    assert apart.p_value == binomtest(apart.rougher, 3).pvalue and "of 3 planes" in apart.sentence
    with pytest.raises(la.InputError, match="Did you mean 'narrow'"):
        found.difference("narow", "wide")


def test_one_plane_for_one_architecture(made):
    surfaces, _ = made
    plane = la.Plane.random(surfaces["narrow"], seed=0)
    shared = compare({"a": surfaces["narrow"], "b": surfaces["tanh"]}, planes=plane, points=5, progress=False)
    assert shared.planes == ("plane 1",)
    center = shared.charts["b"][0].center
    assert center == pytest.approx(float(surfaces["tanh"].values(plane.frame.origin[None])[0]), rel=1e-6)
    with pytest.raises(la.InputError, match="weight"):
        compare({"a": surfaces["narrow"], "b": surfaces["wide"]}, planes=plane, points=5, progress=False)


@pytest.mark.slow
def test_reconstructed_charts_say_so(made):
    surfaces, _ = made
    two = {name: surfaces[name] for name in ("narrow", "wide")}
    quick = compare(two, seeds=1, points=41, exact=False, tolerance=0.05, progress=False)
    assert any("reconstructed" in sentence for sentence in quick.reading())
    assert quick.meter.values < 2 * 41 * 41


def test_the_bill_is_that_of_all_charts(made):
    _, found = made
    assert found.meter.values == 3 * 3 * 63 and found.meter.examples == 3 * 3 * 63 * 80


@pytest.mark.slow
def test_it_comes_back_from_disk(made, tmp_path):
    _, found = made
    found.save(tmp_path)
    again = la.load(tmp_path)
    assert (
        isinstance(again, la.Comparison)
        and again.reading() == found.reading()
        and str(again.table()) == str(found.table())
    )
    for name in found.names:
        for one, two in zip(found.charts[name], again.charts[name], strict=True):
            np.testing.assert_array_equal(one.loss, two.loss)
            np.testing.assert_array_equal(one.extras["accuracy"], two.extras["accuracy"])
    assert json.dumps(again.record()["roughness"]) == json.dumps(found.record()["roughness"])


@pytest.mark.slow
def test_the_picture_has_one_scale_and_all_numbers(made, tmp_path):
    _, found = made
    shown = found.plot(planes=2)
    fields = [axes for axes in shown.figure_.axes if axes.collections and axes.get_xlim() == (-0.8, 0.8)]
    assert len(fields) == 6
    levels = [tuple(axes.collections[0].levels) for axes in fields]
    assert len(set(levels)) == 1
    every = np.concatenate([found.charts[name][k].loss.ravel() for name in found.names for k in (0, 1)])
    assert levels[0][0] <= every.min() or fields[0].collections[0].extend in ("min", "both")
    assert shown.save(tmp_path / "compare.png").stat().st_size > 20_000
    with pytest.raises(la.InputError, match="counted from 0"):
        found.plot(planes=[3])


@pytest.mark.slow
def test_words(made):
    _, found = made
    assert all(name in str(found) and name in found._repr_html_() for name in found.names)
    assert len(found.reading()) == 8 and "sign test" in found.reading()[0]


@pytest.mark.parametrize(
    "settings, says",
    [({"seeds": 0}, "from 1 to"), ({"planes": "random"}, "'paired'"), ({"scale": "root"}, "no scale of roughness")],
)
def test_bad_input_says_what_was_expected(made, settings, says):
    with pytest.raises(la.InputError, match=says):
        compare(made[0], points=5, progress=False, **settings)


def test_one_surface_is_no_comparison(made):
    with pytest.raises(la.InputError, match="at least two"):
        compare([made[0]["narrow"]], progress=False)


def test_a_logarithm_needs_positive_losses():
    surfaces = {"a": la.landscapes.quadratic(), "b": la.landscapes.random_field(2)}
    with pytest.raises(la.InputError, match="positive"):
        compare(surfaces, scale="log", seeds=1, points=7, span=2.0, progress=False)
