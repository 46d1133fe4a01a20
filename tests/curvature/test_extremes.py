"""Both ends of the spectrum: within their residuals of the truth, and honest about what has not converged."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

import lossatlas as la
from lossatlas import archive
from lossatlas.curvature import Extremes
from lossatlas.curvature import _extremes as room

NETS = ["MLP", "CNN with batch norm", "transformer, tied", "regression", "frozen and unused"]


def spectrum_of(values, seed=0):
    """A full symmetric matrix with these eigenvalues."""
    n = len(values)
    basis = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    matrix = basis @ torch.diag(torch.as_tensor(values, dtype=torch.float64)) @ basis.T
    return (matrix + matrix.T) / 2


def true_residuals(matrix, pairs):
    vectors = torch.from_numpy(pairs.vectors)
    return (vectors @ matrix - torch.from_numpy(pairs.values)[:, None] * vectors).norm(dim=1).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_extremes_of_networks_lie_within_their_residuals_of_the_truth(oracles, name):
    oracle = oracles(name)
    found = la.extremes(oracle.surface, 5)
    truth = oracle.values.numpy()
    assert found.status == "converged"
    for pairs, expected in ((found.largest, truth[::-1][:5]), (found.smallest, truth[:5])):
        assert (np.abs(pairs.values - expected) <= pairs.residuals + 1e-12).all()
        # The residuals cost no products of their own, and are those of the dense matrix all the same.
        assert np.allclose(pairs.residuals, true_residuals(oracle.matrix, pairs), atol=1e-12)
        assert np.allclose(pairs.vectors @ pairs.vectors.T, np.eye(5), atol=1e-10)
        assert (pairs.residuals <= 1e-4 * np.abs(pairs.values) + 1e-11).all()
    assert found.meter.products <= 100 + 20 * 5 + 3
    assert found.norm == pytest.approx(float(oracle.values.abs().max()), rel=1e-6)


@pytest.mark.slow
def test_extremes_are_those_of_eigsh_at_half_the_products(oracles):
    """Another library's numbers, and what it takes for them."""
    matrix, asked = oracles("CNN with batch norm").matrix.numpy(), 0

    def multiply(vector):
        nonlocal asked
        asked += 1
        return matrix @ vector

    from scipy.sparse.linalg import LinearOperator

    operator = LinearOperator(matrix.shape, matvec=multiply, dtype=float)
    start = np.random.default_rng(0).standard_normal(len(matrix))
    ends = {which: np.sort(eigsh(operator, 5, which=which, tol=1e-4, v0=start)[0]) for which in ("LA", "SA")}
    found = la.extremes(oracles("CNN with batch norm").surface, 5)
    assert np.allclose(found.largest.values, ends["LA"][::-1], rtol=1e-6)
    assert np.allclose(found.smallest.values, ends["SA"], rtol=1e-6)
    assert found.meter.products < 0.75 * asked


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rows", [2**30, 1], ids=["whole basis", "restarted"])
def test_a_basis_that_does_not_fit_is_restarted(matrix_surface, monkeypatch, dtype, rows):
    monkeypatch.setattr(room, "BASIS_BYTES", rows)
    noise = torch.randn(500, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = (noise + noise.T) / (2 * 500**0.5)  # both ends dense: a hard case
    found = la.extremes(matrix_surface(matrix, dtype), 3, limit=400)
    assert found.status == "converged" and ("restarted" in found.provenance["method"]) == (rows == 1)
    truth = torch.linalg.eigvalsh(matrix).numpy()
    for pairs, expected in ((found.largest, truth[::-1][:3]), (found.smallest, truth[:3])):
        assert (np.abs(pairs.values - expected) <= pairs.residuals + 1e-6 * (dtype == torch.float32)).all()
        rounding = 4e-6 if dtype == torch.float32 else 1e-12
        assert np.allclose(pairs.residuals, true_residuals(matrix, pairs), atol=rounding)


def test_what_has_not_converged_is_returned_and_marked(matrix_surface):
    matrix = spectrum_of(np.r_[9.0, 7.0, np.linspace(-0.01, 0.5, 298)])
    found = la.extremes(matrix_surface(matrix), 3, limit=14)
    assert found.largest.converged[:2].all() and not found.smallest.converged.any()
    assert found.status.startswith("not converged within 14 products") and "3 of 3 smallest" in found.status
    assert len(found.smallest.values) == 3 and (found.smallest.residuals > 1e-3 * np.abs(found.smallest.values)).all()
    assert "does not prove a minimum" in " ".join(found.reading()) or found.smallest.values[0] < 0
    # The bound that a residual is holds for these as well: some eigenvalue lies within it.
    truth = torch.linalg.eigvalsh(matrix).numpy()
    for pairs in (found.largest, found.smallest):
        assert (np.abs(truth[:, None] - pairs.values).min(0) <= pairs.residuals + 1e-12).all()
    assert found.smallest.values[0] >= truth[0] - 1e-12 and found.largest.values[0] <= truth[-1] + 1e-12
    assert found.meter.products == 14 + 3


@pytest.mark.slow
def test_one_end_alone_is_cheaper_and_a_hint_helps(matrix_surface):
    values = np.r_[5.0, 4.0, 3.0, np.linspace(-0.3, 0.3, 297)]
    surface = matrix_surface(spectrum_of(values))
    both, top = la.extremes(surface, 2), la.extremes(surface, 2, ends="largest")
    assert top.status == "converged" and top.meter.products < both.meter.products
    assert np.allclose(top.largest.values, [5.0, 4.0], rtol=1e-7)
    warm = la.extremes(surface, 1, ends="largest", start=torch.from_numpy(top.largest.vectors[0]), tolerance=1e-6)
    cold = la.extremes(surface, 1, ends="largest", tolerance=1e-6)
    assert warm.meter.products <= cold.meter.products
    assert warm.largest.values[0] == pytest.approx(5.0)
    low = la.extremes(matrix_surface(-surface.matrix), 2, ends="smallest")
    assert np.allclose(low.smallest.values, [-5.0, -4.0], rtol=1e-7)


@pytest.mark.parametrize("values", [[1.0] * 60 + [-1.0] * 40, [3.0] * 4 + [0.0] * 100, [2.0] * 90])
def test_multiple_eigenvalues_and_invariant_spaces(matrix_surface, values):
    found = la.extremes(matrix_surface(spectrum_of(values)), 4)
    assert np.allclose(found.largest.values, sorted(values)[::-1][:4], atol=1e-9)
    assert np.allclose(found.smallest.values, sorted(values)[:4], atol=1e-9)
    assert found.status == "converged"


def test_small_hessians_are_dense_and_exact():
    surface = la.landscapes.quadratic(condition=100.0, dimension=30, rotation=0.4)
    found = la.extremes(surface, 30)
    assert found.provenance["method"] == "dense" and found.largest.converged.all()
    assert np.allclose(found.largest.values, found.smallest.values[::-1])
    assert np.allclose(found.largest.values, torch.linalg.eigvalsh(la.hessian(surface)).flip(0).numpy(), rtol=1e-9)
    saddle = la.extremes(la.landscapes.monkey_saddle(), 1, point=torch.tensor([0.3, 0.2], dtype=torch.float64))
    assert saddle.largest.values[0] == pytest.approx(-saddle.smallest.values[0]), "the Hessian of xyz has no trace"
    assert "negative curvature" in " ".join(saddle.reading())


@pytest.mark.slow
def test_seeds_blocks_and_scaling(oracles, matrix_surface):
    oracle = oracles("MLP")
    surface = matrix_surface(oracle.matrix, layout=oracle.surface.layout)
    again = [la.extremes(surface, 3, seed=4).largest.vectors for _ in range(2)]
    assert np.array_equal(*again)
    other = la.extremes(surface, 3, seed=5).largest
    assert np.allclose(np.abs((other.vectors * again[0]).sum(1)), 1.0, atol=1e-6)
    scale = torch.linspace(0.2, 2.0, oracle.surface.dimension, dtype=torch.float64)
    scaled = torch.linalg.eigvalsh(scale[:, None] * oracle.matrix * scale)
    assert la.extremes(surface, 1, scaling=scale).largest.values[0] == pytest.approx(float(scaled[-1]), rel=1e-6)
    layer = la.extremes(surface, 2, blocks="2.weight").largest
    block = oracle.surface.layout.blocks[2].span
    assert layer.values[0] == pytest.approx(float(torch.linalg.eigvalsh(oracle.matrix[block, block])[-1]), rel=1e-6)
    outside = np.ones(oracle.surface.dimension, dtype=bool)
    outside[block] = False
    assert not layer.vectors[:, outside].any() and np.allclose(np.linalg.norm(layer.vectors, axis=1), 1)


def test_what_cannot_be_is_refused(matrix_surface):
    surface = matrix_surface(torch.eye(100, dtype=torch.float64))
    for k in (0, 101, -1, True):
        with pytest.raises(la.InputError, match="1 to 100"):
            la.extremes(surface, k)
    with pytest.raises(la.InputError, match="limit=5"):
        la.extremes(surface, 5, limit=5)
    with pytest.raises(la.InputError, match="tolerance"):
        la.extremes(surface, 5, tolerance=0.0)
    with pytest.raises(la.InputError, match="largest"):
        la.extremes(surface, 5, ends="lagest")


def test_progress_and_interruption(matrix_surface):
    surface = matrix_surface(spectrum_of(np.linspace(-1, 1, 200)))
    seen = []
    la.extremes(surface, 2, limit=30, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (30, 30) and [done for done, _ in seen] == list(range(1, 31))

    def interrupt(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        la.extremes(surface, 2, progress=interrupt)


@pytest.mark.slow
def test_saved_extremes_come_back(oracles, tmp_path):
    found = la.extremes(oracles("regression").surface, 2)
    found.save(tmp_path)
    kind, arrays, record = archive.load(tmp_path)
    back = Extremes.restore(arrays, record)
    assert kind == "extremes" and back.record() == found.record()
    assert np.array_equal(back.smallest.vectors, found.smallest.vectors)
    assert "λmax" in back._repr_html_()
    labels = [text.get_text() for text in found.plot().ax_.get_yticklabels()]
    assert labels == ["largest 1", "largest 2", "smallest 2", "smallest 1"]


@pytest.mark.slow
@pytest.mark.parametrize("names", [None, ["0", "2.weight"]])
def test_every_layer_from_the_same_products(oracles, matrix_surface, names, tmp_path):
    oracle = oracles("MLP")
    layout = oracle.surface.layout
    spans = {
        None: [block.span for block in layout.blocks],
        "some": [slice(0, layout.blocks[1].span.stop), layout.blocks[2].span],
    }["some" if names else None]
    surface = matrix_surface(oracle.matrix, layout=layout)
    found = la.per_block(surface, blocks=names, relative=0.02, limit=400, tolerance=1e-4)
    blocks = [oracle.matrix[span, span] for span in spans]
    assert found.sizes.tolist() == [len(block) for block in blocks]
    truth = np.array([float(block.trace()) for block in blocks])
    # Student's intervals at 99.99 % of eight traces: a false alarm once in a thousand seeds.
    half = 2.1 * (found.intervals[:, 1] - found.intervals[:, 0]) / 2
    assert (np.abs(found.traces - truth) <= half).all()
    for block, top, low, (off_top, off_low) in zip(blocks, found.largest, found.smallest, found.residuals, strict=True):
        values = torch.linalg.eigvalsh(block)
        assert abs(top - float(values[-1])) <= off_top + 1e-12 and abs(low - float(values[0])) <= off_low + 1e-12
    assert found.meter.products >= found.samples
    found.save(tmp_path)
    back = type(found).restore(*archive.load(tmp_path)[1:])
    assert back.record() == found.record() and np.array_equal(back.traces, found.traces)
    found.plot(), found.plot(of="largest")
    assert found.names[0] in found._repr_html_()


@pytest.mark.slow
def test_extremes_of_a_user_model_in_float32_agree_with_float64():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))
    x, y = torch.randn(80, 12), torch.randint(4, (80,))
    single = la.extremes(la.NetworkSurface(model, "cross_entropy", (x, y)), 3)
    double = la.extremes(la.NetworkSurface(model.double(), "cross_entropy", (x.double(), y)), 3)
    for a, b in ((single.largest, double.largest), (single.smallest, double.smallest)):
        assert (np.abs(a.values - b.values) <= a.residuals + b.residuals + 1e-6).all()
