"""Spectra against the true eigenvalues, and the probability of a saddle against planes that were really drawn."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, ttest_1samp, wasserstein_distance
from scipy.stats import f as fisher

import lossatlas as la
from lossatlas import archive
from lossatlas._errors import NotApplicableError
from lossatlas.curvature import Spectrum
from lossatlas.probe import Meter

NETS = ["MLP", "CNN with batch norm", "transformer, tied", "regression", "frozen and unused"]


def rotated(values, seed=0):
    n = len(values)
    basis = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    matrix = basis @ torch.diag(torch.as_tensor(values, dtype=torch.float64)) @ basis.T
    return (matrix + matrix.T) / 2


def wigner(n=500, outliers=(), shift=0.0):
    """A semicircle of radius 1 around a shift, and some eigenvalues far out."""
    noise = torch.randn(n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = torch.linalg.eigvalsh((noise + noise.T) / (2 * (2 * n) ** 0.5)).numpy() + shift
    values[: len(outliers)] = outliers
    return rotated(values)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_the_earth_movers_distance_to_the_truth(oracles, matrix_surface, name):
    """Below 2e-3 λmax with 16 probes, on the exact Hessians of the networks."""
    oracle = oracles(name)
    found = la.spectrum(matrix_surface(oracle.matrix), probes=16, dense=False)
    values, counts = found.multiplicities()
    assert counts.sum() == pytest.approx(len(oracle.matrix)) and (counts >= 0).all()
    distance = wasserstein_distance(oracle.values.numpy(), values, None, counts)
    assert distance < 2e-3 * float(oracle.values[-1])
    assert found.ends == pytest.approx((float(oracle.values[0]), float(oracle.values[-1])), rel=1e-6)
    # Resolved eigenvalues are the true ones, counted from the ends.
    truth, above = oracle.values.numpy()[::-1], found.above
    below = len(found.resolved) - above
    expected = np.concatenate([truth[:above], truth[len(truth) - below :]])
    assert (np.abs(found.resolved - expected) <= found.residuals + 1e-10).all()


@pytest.mark.slow
def test_a_spectrum_through_the_network_itself(oracles):
    """Dense where that is no dearer, and both roads give one density up to their band."""
    oracle = oracles("regression")
    dense = la.spectrum(oracle.surface)
    assert dense.dense and dense.status == "exact" and dense.meter.products == len(oracle.matrix) + 3
    assert np.allclose(dense.nodes[0], oracle.values.numpy(), atol=1e-10)
    found = la.spectrum(oracle.surface, dense=False, probes=2, steps=40)
    assert found.meter.products == 2 * 40 + 3 and found.meter.calls == 40 + 2
    assert found.ends == pytest.approx(dense.ends, rel=1e-3)


def test_moments_of_quadrature_are_those_of_the_vectors(matrix_surface):
    """Σ w θᵏ = vᵀHᵏv exactly up to degree 2·steps − 1: Gauss quadrature, with no loss of orthogonality."""
    matrix = rotated(np.r_[30.0, 20.0, np.linspace(-1, 1, 198)])
    found = la.spectrum(matrix_surface(matrix), probes=3, steps=12, dense=False)
    bits = torch.randint(0, 2, (3, 200), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    vectors = (2 * bits.double() - 1) / 200**0.5
    power = vectors
    for degree in range(1, 24):
        power = power @ matrix
        expected = (power * vectors).sum(1).numpy()
        assert np.allclose((found.weights * found.nodes**degree).sum(1), expected, rtol=1e-10)
    assert np.allclose(found.weights.sum(1), 1)
    assert found.trace.value == pytest.approx(200 * float(((vectors @ matrix) * vectors).sum(1).mean()))


def test_no_ghosts(matrix_surface):
    """Plain Lanczos shows the far eigenvalue many times over by now; each is met once."""
    matrix = rotated(np.r_[100.0, np.linspace(-1, 1, 299)])
    found = la.spectrum(matrix_surface(matrix), probes=1, steps=150, dense=False)
    assert (found.nodes > 50).sum() == 1 and np.diff(np.sort(found.nodes[0])).min() > 1e-6


@pytest.mark.slow
def test_planted_outliers_are_counted(matrix_surface):
    planted = (9.0, 7.5, 6.0, -5.0)
    surface = matrix_surface(wigner(outliers=planted))
    for found in (la.spectrum(surface), la.spectrum(surface, dense=True)):
        assert np.allclose(found.outliers(), [9.0, 7.5, 6.0, -5.0], atol=1e-8)
        assert "3 outliers above the bulk and 1 below it" in " ".join(found.reading())
        mean, deviation = found.bulk
        assert abs(mean) < 0.1 and deviation == pytest.approx(0.5, rel=0.1), "a semicircle of radius 1"
    assert not len(la.spectrum(matrix_surface(wigner())).outliers())
    shifted = la.spectrum(matrix_surface(wigner(shift=8.0)))
    assert not len(shifted.outliers()), "a bulk away from zero holds no outliers"


def test_the_index_is_exact_or_not_given(matrix_surface):
    for negative in (0, 1, 37):
        values = np.r_[-np.linspace(0.1, 1, 37)[:negative], np.zeros(20), np.linspace(0.5, 3, 120 - negative)]
        surface = matrix_surface(rotated(values))
        found = la.spectrum(surface)
        assert found.index == negative and "20 are zero to rounding" in " ".join(found.reading())
        assert found.share_below(0.05).value == pytest.approx(negative / 140)
        with pytest.raises(NotApplicableError, match="dense=True"):
            _ = la.spectrum(surface, dense=False, steps=20).index


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_shares_below_hold_the_truth(oracles, matrix_surface, name):
    """Intervals of four probes and of what quadrature leaves open; 15 statements per network, 95 % each."""
    oracle = oracles(name)
    found = [la.spectrum(matrix_surface(oracle.matrix), seed=seed, dense=False, steps=40) for seed in range(5)]
    top, inside = float(oracle.values[-1]), []
    for eps in (1e-6 * top, 1e-3 * top, 1e-2 * top):
        truth = float((oracle.values < -eps).double().mean())
        for one in found:
            share = one.share_below(eps)
            inside.append(share.interval[0] - 1e-12 <= truth <= share.interval[1] + 1e-12)
            assert 0 <= share.interval[0] <= share.value <= share.interval[1] <= 1
    assert sum(inside) >= 12, inside
    with pytest.raises(la.InputError, match="eps"):
        found[0].share_below(0.0)


def test_the_density_is_one(matrix_surface):
    found = la.spectrum(matrix_surface(wigner(outliers=(4.0,))))
    at, middle, low, high = found.density()
    assert np.trapezoid(middle, at) == pytest.approx(1.0, abs=1e-3)
    assert (low <= middle + 1e-12).all() and (middle <= high + 1e-12).all() and (low < high).any()
    peak = np.interp(4.0, at, middle)
    width = 1e-5**0.5 * (found.ends[1] - found.ends[0])
    assert peak == pytest.approx(1 / (500 * width * (2 * np.pi) ** 0.5), rel=0.05), "one eigenvalue of 500"
    exact = la.spectrum(matrix_surface(wigner(outliers=(4.0,))), dense=True).density(at, width=0.1)[1]
    many = la.spectrum(matrix_surface(wigner(outliers=(4.0,))), probes=16)
    assert np.abs(many.density(at, width=0.1)[1] - exact).max() < 0.1 * exact.max()
    with pytest.raises(la.InputError, match="width"):
        found.density(width=0.0)


def test_layers_and_scalings(oracles, matrix_surface):
    oracle = oracles("MLP")
    surface = matrix_surface(oracle.matrix, layout=oracle.surface.layout)
    block = oracle.surface.layout.blocks[2].span
    layer = la.spectrum(surface, blocks=["2.weight"], dense=True)
    assert np.allclose(layer.nodes[0], torch.linalg.eigvalsh(oracle.matrix[block, block]).numpy(), atol=1e-12)
    assert layer.provenance["blocks"] == ["2.weight"]
    scale = torch.linspace(0, 2, len(oracle.matrix), dtype=torch.float64)
    scaled = la.spectrum(surface, scaling=scale, dense=True)
    assert np.allclose(
        scaled.nodes[0], torch.linalg.eigvalsh(scale[:, None] * oracle.matrix * scale).numpy(), atol=1e-12
    )


@pytest.mark.slow
def test_saved_spectra_come_back_and_are_drawn(matrix_surface, tmp_path):
    for name, found in (
        ("quadrature", la.spectrum(matrix_surface(wigner(outliers=(5.0,))), probes=3, steps=30)),
        ("dense", la.spectrum(matrix_surface(wigner(100)))),
        ("one probe", la.spectrum(matrix_surface(wigner()), probes=1, steps=20)),
    ):
        found.save(tmp_path / name)
        back = la.load(tmp_path / name)
        assert back.record() == found.record() and np.array_equal(back.density()[1], found.density()[1])
        display = found.plot()
        assert display.ax_.get_yscale() == "log" and (display.low is None) == (name != "quadrature")
        assert len(display.outliers) == (1 if name == "quadrature" else 0)
        assert f"{found.dimension:,} eigenvalues" in found._repr_html_()
    again = la.spectrum(matrix_surface(wigner(outliers=(5.0,))), probes=3, steps=30)
    first = Spectrum.restore(*archive.load(tmp_path / "quadrature")[1:])
    assert np.array_equal(again.nodes, first.nodes), "one seed, one spectrum"
    for wrong in ({"probes": 0}, {"steps": 1}, {"probes": 1.5}):
        with pytest.raises(la.InputError, match="expected a whole number"):
            la.spectrum(matrix_surface(wigner()), **wrong)


def drawn_planes(values, draws, seed=1):
    """The slow obvious oracle: random planes of the whole space, orthonormal, and the signs of H on each."""
    generator = torch.Generator().manual_seed(seed)
    matrix = rotated(values, seed=2)
    planes = torch.randn(draws, len(values), 2, generator=generator, dtype=torch.float64)
    planes = torch.linalg.qr(planes)[0]
    forms = planes.transpose(1, 2) @ matrix @ planes
    curvatures = torch.linalg.eigvalsh(forms)
    return curvatures, forms[:, 0, 0]


@pytest.mark.parametrize("positive,negative", [(6, 2), (20, 5), (3, 3), (30, 1)])
def test_planted_saddles_against_planes_that_were_drawn(matrix_surface, positive, negative):
    """diag(+,−) with known index; 4,000 planes against 10,000 forms: both within 4 standard errors (6e-5)."""
    values = np.r_[np.linspace(0.5, 2, positive), -np.linspace(0.5, 1.5, negative)]
    curvatures, lines = drawn_planes(values, 4000)
    for directions, hits in ((2, curvatures[:, 0] * curvatures[:, 1] < 0), (1, lines < 0)):
        share = float(hits.double().mean())
        for given in (values, la.spectrum(matrix_surface(rotated(values)))):
            found = la.p_saddle(given, directions=directions)
            error = (max(share * (1 - share), 2.5e-4) * (1 / 4000 + 1 / 10000)) ** 0.5
            assert abs(found.value - share) < 4 * error
    assert la.spectrum(matrix_surface(rotated(values))).index == negative
    below = float((curvatures[:, 0] < 0).double().mean())
    assert la.p_saddle(values).negative == pytest.approx(below, abs=4 * (0.25 * (1 / 4000 + 1 / 10000)) ** 0.5)


def test_probabilities_that_are_known_in_closed_form():
    """Each within its own 99.99 % range of 10,000 draws."""
    for a, b in ((1.0, 1.0), (1.0, 3.0), (5.0, 1.0)):
        # In three dimensions the sign of a plane's form is that of H⁻¹ along its normal, uniform on the sphere.
        assert la.p_saddle(np.array([a, a, -b])).value == pytest.approx((b / (a + b)) ** 0.5, abs=0.02)
    for p, q, c in ((4, 4, 1.0), (10, 3, 2.0), (50, 20, 1.5)):
        exact = fisher.cdf(c * q / p, p, q)
        assert la.p_saddle(np.r_[np.ones(p), -c * np.ones(q)], directions=1).value == pytest.approx(exact, abs=0.02)
    assert la.p_saddle(np.array([2.0, -1.0])).value == 1.0
    definite = la.p_saddle(np.linspace(0.1, 1, 50))
    assert (definite.value, definite.negative, definite.interval[0]) == (0.0, 0.0, 0.0)
    assert 0 < definite.interval[1] < 5e-4, "none of 10,000 is no proof of none"
    assert la.p_saddle(-np.linspace(0.1, 1, 50)).negative == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("shift,expected", [(0.0, 0.5**0.5), (0.035, None)])
def test_the_gaussian_formula_where_no_eigenvalue_dominates(shift, expected):
    values = np.linalg.eigvalsh(wigner(1000, shift=shift).numpy())
    found = la.p_saddle(values, draws=2000)
    assert found.gaussian == pytest.approx(found.value, abs=0.05)
    if expected:
        assert found.gaussian == pytest.approx(expected, abs=0.01) and abs(found.ratio) < 0.2
    else:
        assert found.ratio > 2
    line = la.p_saddle(values, directions=1, draws=2000)
    assert line.gaussian == pytest.approx(line.value, abs=0.05)


@pytest.mark.slow
def test_multiplicities_stand_for_many_eigenvalues(matrix_surface):
    """A pooled node of weight n/N enters as n eigenvalues: the same probability as from all of them, one by one."""
    values = np.r_[np.ones(40), -0.7 * np.ones(25), 0.1 * np.ones(135)]
    exact = la.p_saddle(values)
    found = la.spectrum(matrix_surface(torch.diag(torch.from_numpy(values))), dense=False, steps=5)
    pooled, counts = found.multiplicities()
    assert len(pooled) < 20 and counts.sum() == pytest.approx(200)
    assert la.p_saddle(found).value == pytest.approx(exact.value, abs=4 * (0.5 / 10000) ** 0.5)


@pytest.mark.slow
def test_a_trace_corrects_the_probability_from_a_few_probes(matrix_surface):
    surface = matrix_surface(wigner(300, outliers=(3.0, 2.5, -2.0), shift=0.05))
    truth = la.p_saddle(la.spectrum(surface, dense=True))
    assert 0.1 < truth.value < 0.6
    rough = [la.spectrum(surface, seed=seed, dense=False) for seed in range(6)]
    known = la.extremes(surface, 3)
    alone = [la.p_saddle(one) for one in rough]
    corrected = [
        la.p_saddle(one, trace=la.trace(surface, seed=100 + seed, known=known)) for seed, one in enumerate(rough)
    ]
    assert np.std([one.value for one in corrected]) < np.std([one.value for one in alone])
    assert np.mean([one.interval[1] - one.interval[0] for one in corrected]) < np.mean(
        [one.interval[1] - one.interval[0] for one in alone]
    )
    held = sum(one.interval[0] - 0.01 <= truth.value <= one.interval[1] + 0.01 for one in corrected)
    assert held >= 4, "95 % intervals, and 1 % of Monte Carlo in the truth itself: fewer twice in 1,000"
    assert "95 % interval" in corrected[0].sentence and "single probes" in alone[0].sentence
    assert corrected[0].record()["ratio"] == corrected[0].ratio


def by_hand(*rows):
    """A spectrum of 50 eigenvalues estimated by one probe a row."""
    nodes = np.array(rows, dtype=float)
    provenance = {"steps": nodes.shape[1], "rounding": 1e-16}
    empty = np.empty(0)
    return Spectrum(
        nodes=nodes, weights=np.full(nodes.shape, 1 / nodes.shape[1]), resolved=empty, residuals=empty, above=0, dimension=50,
        dense=False, meter=Meter(products=nodes.size), provenance=provenance, status="by hand",
    )  # fmt: skip


def test_the_interval_spans_the_single_probes():
    """Two probes that say 0 and much, of which the pooled draws alone would say something sharp in between."""
    found = la.p_saddle(by_hand([1.0, 1.0], [-1.0, 1.1]), draws=4000)
    sharp = binomtest(round(found.value * 4000), 4000).proportion_ci(0.95, method="exact")
    assert len(found.alone) == 2 and found.alone[0] == 0 and found.alone[1] > sharp.high + 0.05
    assert found.interval == (0.0, found.alone[1])
    near = la.p_saddle(by_hand([-1.0, 1.1], [-1.0, 1.1]), draws=4000)
    sharp = binomtest(round(near.value * 4000), 4000).proportion_ci(0.95, method="exact")
    low, high = min(sharp.low, *near.alone), max(sharp.high, *near.alone)
    assert near.interval == pytest.approx((low, high), abs=1e-12) and low <= sharp.low < sharp.high <= high
    one = la.p_saddle(by_hand([-1.0, 1.1]), draws=4000)
    sharp = binomtest(round(one.value * 4000), 4000).proportion_ci(0.95, method="exact")
    assert one.interval == pytest.approx((sharp.low, sharp.high), abs=1e-12) and not len(one.alone)


def test_the_share_below_holds_probes_and_what_quadrature_leaves_open():
    """Two probes of four nodes: Chebyshev, Markov and Stieltjes bounds by hand, each with Student's interval."""
    spectrum = by_hand([-2.0, -1.0, 1.0, 2.0], [-2.0, -1.0, -0.5, 2.0], [-3.0, -1.0, -0.7, 4.0])
    found = spectrum.share_below(0.2, confidence=0.5)
    assert found.value == pytest.approx((2 + 3 + 3) / 12)
    low, high = (ttest_1samp(ends, 0.0).confidence_interval(0.5) for ends in ([1 / 4, 2 / 4, 2 / 4], [3 / 4, 1.0, 1.0]))
    assert found.interval == pytest.approx((low.low, min(1.0, high.high)))
    assert by_hand([-2.0, 2.0]).share_below(0.2).interval == (0.0, 1.0), "one probe knows nothing of its spread"


def test_filter_scaled_slices_see_the_scaled_spectrum(matrix_surface):
    """p of DHD is the probability for directions Dz: against drawn ones, as in the survey's filter-normalized slices."""
    values = np.r_[np.linspace(0.2, 2, 40), -np.linspace(0.1, 1, 20)]
    matrix = rotated(values)
    scale = torch.cat([torch.full((30,), 0.2), torch.full((30,), 1.5)]).double()
    found = la.p_saddle(la.spectrum(matrix_surface(matrix), scaling=scale))
    draws = torch.randn(4000, 2, 60, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * scale
    forms = draws @ matrix @ draws.transpose(1, 2)
    share = float((torch.linalg.det(forms) < 0).double().mean())
    assert abs(found.value - share) < 4 * (share * (1 - share) * (1 / 4000 + 1 / 10000)) ** 0.5


def test_what_cannot_be_is_refused():
    for wrong, said in (
        ({"directions": 3}, "from 1 to 2. A line has one, a plane two"),
        ({"draws": 0}, "draws=0; expected a whole number"),
    ):
        with pytest.raises(la.InputError, match=said):
            la.p_saddle(np.ones(4), **wrong)
    for values in (np.ones((2, 2)), np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(la.InputError, match="finite"):
            la.p_saddle(values)
    with pytest.raises(la.InputError, match="at least two"):
        la.p_saddle(np.ones(1))
