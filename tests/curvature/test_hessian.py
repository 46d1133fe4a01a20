"""The Hessian as an operator: products of any form, one check, one count per result, and every measure as its method."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import aslinearoperator, eigsh
from torch import nn

import lossatlas as la
from lossatlas._errors import UnknownNameError
from lossatlas.curvature._samples import FEWEST, HELD_BYTES, samples
from lossatlas.surface import Block, Layout

F64 = torch.float64


def symmetric(n, seed=0):
    raw = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return (raw + raw.T) / 2


@pytest.fixture
def known(matrix_surface):
    """½ θᵀAθ of 100 parameters in two blocks: past the size that is taken as a dense matrix."""
    matrix = symmetric(100)
    layout = Layout((Block("a", (60,), "vector", 0), Block("b", (40,), "vector", 60)))
    return matrix_surface(matrix, layout=layout), matrix


def test_products_take_vectors_and_matrices_and_keep_their_kind(known):
    surface, matrix = known
    H = la.Hessian(surface)
    v, columns = torch.randn(100, dtype=F64), torch.randn(100, 3, dtype=F64)
    assert H.shape == (100, 100) and H.dtype == np.float64
    for given, expected in ((v, matrix @ v), (columns, matrix @ columns)):
        found, array = H @ given, H @ given.numpy()
        assert isinstance(found, torch.Tensor) and isinstance(array, np.ndarray) and found.shape == given.shape
        assert torch.allclose(found, expected) and np.allclose(array, expected.numpy())
    assert np.allclose(v.numpy() @ H, matrix @ v) and np.allclose(columns.numpy().T @ H, columns.T @ matrix)
    assert torch.allclose(v @ H, matrix @ v) and torch.allclose(columns.T @ H, columns.T @ matrix)
    row = list(range(100))
    assert np.allclose(row @ H, matrix @ torch.tensor(row, dtype=F64)) and np.allclose(H @ row, row @ H)
    assert not (H @ torch.zeros(100)).any()
    with pytest.raises(la.InputError, match="100"):
        H @ np.ones(99)


def test_scipy_takes_it_as_it_is(known):
    surface, matrix = known
    H = la.Hessian(surface)
    values, vectors = eigsh(H, k=3, which="LA")
    assert np.allclose(values, torch.linalg.eigvalsh(matrix)[-3:])
    assert np.allclose(H @ vectors, vectors * values, atol=1e-8)
    assert np.allclose(aslinearoperator(H).matmat(np.eye(100)), matrix)


@pytest.mark.slow
def test_every_function_is_a_method_of_it(known):
    surface, matrix = known
    H, quiet = la.Hessian(surface), {"progress": False}
    assert np.array_equal(H.extremes(2, **quiet).largest.values, la.extremes(surface, 2, **quiet).largest.values)
    assert H.trace(limit=40, **quiet).value == la.trace(surface, limit=40, **quiet).value
    assert np.array_equal(H.diagonal(limit=40, **quiet).values, la.diagonal(surface, limit=40, **quiet).values)
    settings = {"probes": 2, "steps": 9, "dense": False, "progress": False}
    assert np.array_equal(H.spectrum(**settings).nodes, la.spectrum(surface, **settings).nodes)
    assert np.array_equal(H.per_block(**quiet).traces, la.per_block(surface, **quiet).traces)
    assert torch.allclose(H.dense(), matrix) and torch.equal(H.dense(), la.hessian(surface))


def test_it_is_checked_once_and_every_result_counts_its_own(known):
    surface, _ = known
    H = la.Hessian(surface)
    first, second = (H.trace(limit=32, progress=False) for _ in range(2))
    assert (first.meter.products, second.meter.products, second.products) == (32 + 3, 32, 32)
    H @ torch.ones(100)
    assert H.diagonal(limit=32, progress=False).meter.products == 32, "what came between is not in it"
    elsewhere = H.at(torch.ones(100)).trace(limit=32, progress=False)
    assert elsewhere.meter.products == 32 and elsewhere.provenance["point"] != first.provenance["point"]
    assert H.probe.meter.products == 3 + 4 * 32 + 1


@pytest.mark.slow
def test_points_scalings_and_blocks_are_those_of_the_matrix(oracles):
    oracle = oracles("MLP")
    H, n = la.Hessian(oracle.surface), oracle.surface.dimension
    d, there = torch.linspace(0.5, 2, n, dtype=F64), oracle.surface.theta + 0.1
    scaled = d[:, None] * oracle.matrix * d
    assert torch.allclose(H.scaled(d).dense(), scaled, atol=1e-10)
    assert torch.allclose(H.at(there).dense(), la.hessian(oracle.surface, there), atol=1e-12)
    module = slice(oracle.surface.layout.blocks[2].span.start, oracle.surface.layout.blocks[3].span.stop)
    layer, bias = H.scaled(d).block("2"), oracle.surface.layout.blocks[3].span
    assert torch.allclose(layer.dense(), scaled[module, module], atol=1e-10) and layer.blocks == ["2.weight", "2.bias"]
    assert torch.allclose(layer.block("2.bias").dense(), scaled[bias, bias], atol=1e-10)
    assert torch.allclose(layer.rows_of("2.bias"), torch.arange(bias.start, bias.stop) - module.start)
    with pytest.raises(UnknownNameError, match=r"0\.weight"):
        layer.block("0.weight")
    blocks = H.scaled(d).block("2").per_block(eigenvalues=False, limit=400, relative=0.02, progress=False)
    assert blocks.names == ("2.weight", "2.bias")
    # Of an interval at 95 %, three half widths: a false alarm once in some millions.
    assert abs(blocks.traces[1] - float(scaled[bias, bias].trace())) <= 3 * np.ptp(blocks.intervals[1]) / 2


def test_once_the_matrix_is_known_all_is_exact_and_free(known):
    surface, matrix = known
    H = la.Hessian(surface)
    H.dense()
    before, values = H.probe.meter.products, torch.linalg.eigvalsh(matrix).numpy()
    found, density, d = H.extremes(2), H.spectrum(), torch.linspace(-1, 2, 100, dtype=F64)
    assert np.allclose(found.largest.values, values[::-1][:2]) and found.provenance["method"] == "dense"
    assert density.dense and np.allclose(density.nodes[0], values) and H.trace().status == "exact"
    assert np.allclose(H.diagonal().values, matrix.diagonal()) and H.diagonal().status == "exact"
    trace, weighted = H.traces(d)
    assert trace.value == pytest.approx(float(matrix.trace())) and trace.interval == (trace.value, trace.value)
    assert weighted.value == pytest.approx(float(d @ matrix.diagonal()))
    assert torch.allclose(H.scaled(d).dense(), d[:, None] * matrix * d) and torch.allclose(H @ d, matrix @ d)
    d[d == 0] = 1.0
    first = H.block("a")
    layer, back = first.scaled(d), H.scaled(d).scaled(None)
    assert torch.allclose(first.dense(), matrix[:60, :60]) and first.block("a").trace().status == "exact"
    assert torch.allclose(layer.dense(), (d[:, None] * matrix * d)[:60, :60], atol=1e-12)
    assert torch.allclose(layer.scaled(2 * d).dense(), 4 * layer.dense(), atol=1e-12) and torch.equal(
        back.dense(), H.dense()
    )
    blocks = H.per_block()
    assert blocks.samples == 0 and blocks.status == "exact" and not np.ptp(blocks.intervals, axis=1).any()
    for b, part in enumerate((slice(0, 60), slice(60, 100))):
        own = torch.linalg.eigvalsh(matrix[part, part])
        assert blocks.traces[b] == pytest.approx(float(own.sum()))
        assert (blocks.smallest[b], blocks.largest[b]) == pytest.approx((float(own[0]), float(own[-1])))
    assert H.probe.meter.products == before == 103
    assert H.at(torch.ones(100)).known is False


def test_what_is_known_of_one_point_is_not_told_of_another():
    """Σ relu(x)³ + ||x| − 1| is curved where x > 0; elsewhere it has kinks only."""
    surface = la.Function(lambda p: (p.relu().pow(3) + (p.abs() - 1).abs()).sum(), box=[(-2, 2)] * 2)
    H = la.Hessian(surface, [0.5, 0.5])
    there = H.at([-1.0, -1.0])
    found, again = there.trace(), there.at([0.5, 0.5]).trace()
    assert "kinks" in found.status and "kinks" not in again.status
    assert again.provenance["warning"] is None and again.value == pytest.approx(6 * (0.5 + 0.5))
    # How far differences are off is measured at each point.
    quartic = la.Function(lambda p: p.pow(4).sum(), box=[(-2, 2)] * 2)
    one, two = (la.Hessian(quartic, point, how="differences") for point in ([0.5, 1.0], [1e-3, 1e-3]))
    assert one.at(two.point).rounding == two.rounding != one.rounding


def test_weighted_traces_are_those_of_the_vectors(known):
    """From the same signs as the trace; each draw is Σ wᵢ vᵢ(Hv)ᵢ."""
    surface, matrix = known
    H, w = la.Hessian(surface), torch.linspace(0, 3, 100, dtype=F64)
    trace, first, second = H.traces(w, np.ones(100), limit=64, relative=1e-9, progress=False)
    alone = H.trace(limit=64, relative=1e-9, progress=False)
    assert np.allclose(trace.draws, alone.draws) and trace.frobenius.value == pytest.approx(alone.frobenius.value)
    bits = torch.randint(0, 2, (64, 100), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    v = 2 * bits.double() - 1
    assert np.allclose(first.draws, (v * (v @ matrix) * w).sum(1)) and np.allclose(second.draws, trace.draws)
    assert (first.quantity, second.quantity, first.samples) == ("tr W₁H", "tr W₂H", 64)
    with pytest.raises(la.InputError, match="weights, number 2"):
        H.traces(w, torch.ones(3))


def test_samples_are_the_same_whatever_their_blocks(known, monkeypatch):
    surface, matrix = known
    H = la.Hessian(surface)
    whole = torch.cat([torch.stack(pair) for pair in samples(H, 3, 45)], dim=1)
    sizes = [len(v) for v, _ in samples(H, 3, 45)]
    assert sizes == [FEWEST, 8, 5] and torch.allclose(whole[0] @ matrix, whole[1])
    monkeypatch.setattr("lossatlas.curvature._samples.HELD_BYTES", 5 * 8 * 100)
    small = list(samples(H, 3, 45))
    assert max(len(v) for v, _ in small) == 5 and HELD_BYTES > 0
    assert torch.equal(torch.cat([v for v, _ in small]), whole[0])
    assert torch.equal(next(samples(H, 3, 45, skip=40))[0], whole[0][40:])
    basis = torch.linalg.qr(torch.randn(100, 4, dtype=F64))[0].T
    assert float((next(samples(H, 3, 45, basis=basis))[0] @ basis.T).abs().max()) < 1e-12
    # Fewer vectors than a fair interval takes at once never end an estimate.
    assert la.trace(surface, relative=100.0, progress=False).samples == FEWEST
    assert la.diagonal(surface, relative=100.0, limit=64, progress=False).samples == FEWEST


def test_progress_is_a_flag_or_a_function(known):
    surface, _ = known
    H, seen = la.Hessian(surface), []
    for measure in (H.trace, H.diagonal, H.per_block, H.traces):
        measure(limit=40, relative=1e-9, progress=lambda done, total: seen.append((done, total)))
        assert seen[-1] == (40, 40)
    with pytest.raises(la.InputError, match="progress"):
        H.trace(progress="yes")


@pytest.mark.slow
def test_what_one_function_gives_every_other_takes(tmp_path):
    """Each line of the review that once was refused."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5)).double()
    s = la.NetworkSurface(model, "mse", (torch.randn(9, 3).double(), torch.randn(9, 5).double()))
    e = la.extremes(s, k=1)
    v, w = e.largest.vectors[0], e.smallest.vectors[0]
    assert isinstance(v, np.ndarray)
    assert np.allclose(la.Plane.of(s, v, w).frame.directions, np.stack([v, w]))
    assert la.descend_both_sides(s, direction=w, limit=3).sides[0].distance[0] == 0
    assert la.extremes(s, k=1, start=v).largest.values == pytest.approx(e.largest.values)
    assert la.extremes(s, k=1, start=e.largest).largest.values == pytest.approx(e.largest.values)
    sum_ = la.trace(s).value
    for point in (model, model.state_dict(), s.theta, s.theta.numpy(), la.critical_point(s)):
        assert la.extremes(s, k=1, point=point).largest.values == pytest.approx(e.largest.values)
        assert la.trace(s, point=point).value == pytest.approx(sum_)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    H = la.Hessian(s, tmp_path / "w.pt")
    assert np.allclose(H @ v, e.largest.values[0] * v, atol=1e-6) and np.allclose(H @ e.largest, H @ v)
    assert la.race(s, ["gd"], start=model.state_dict(), steps=2).final("gd") is not None
    assert H.trace(seed=np.int64(3), limit=np.int64(40)).provenance["seed"] == 3
    assert len(H.extremes(np.int64(2), limit=np.int32(60)).largest.values) == 2
