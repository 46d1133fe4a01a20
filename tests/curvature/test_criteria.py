"""The criteria r_e and K_Hn of Gabdullin (2024), against sums written out and known matrices."""

import math

import numpy as np
import pytest
import torch

import lossatlas as la


def matrix(values):
    n = len(values)
    basis = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    found = basis @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ basis.T
    return (found + found.T) / 2


def test_of_all_eigenvalues_the_weights_cancel(matrix_surface):
    surface = matrix_surface(matrix([4.0, 1.0, -0.25, -1.0]))
    found = la.spectrum(surface)
    assert found.dense and found.r_e.value == pytest.approx(0.25)
    assert found.k_hn().value == pytest.approx((0.5 + 1.0) / (2.0 + 1.0))
    assert found.k_hn(1).value == pytest.approx(1.25 / 5.0)
    assert found.k_hn().status == "exact" and found.k_hn().interval == (found.k_hn().value,) * 2
    ends = la.extremes(surface, 1)
    assert ends.r_e == pytest.approx(0.25) and ends.r_e_bounds[0] <= 0.25 <= ends.r_e_bounds[1] < 0.2501
    assert ends.record()["r_e"] == ends.r_e


def test_of_an_estimate_they_are_means_over_the_probes(matrix_surface):
    surface = matrix_surface(matrix([10.0, 6.0, *np.linspace(-1, 1, 98)]))
    found = la.spectrum(surface, probes=3, steps=7, dense=False, progress=False)
    ratios, shares = [], []
    for nodes, weights in zip(found.nodes.tolist(), found.weights.tolist(), strict=True):
        pairs = [(node, weight) for node, weight in zip(nodes, weights, strict=True) if not math.isnan(node)]
        ratios.append(abs(min(node for node, _ in pairs) / max(node for node, _ in pairs)))
        up = sum((node * weight) ** 0.3 for node, weight in pairs if node > 0)
        shares.append(sum((-node * weight) ** 0.3 for node, weight in pairs if node < 0) / up)
    assert found.r_e.draws.tolist() == pytest.approx(ratios) and found.r_e.value == pytest.approx(sum(ratios) / 3)
    assert found.k_hn(0.3).draws.tolist() == pytest.approx(shares)
    low, high = found.k_hn(0.3).interval
    assert low < found.k_hn(0.3).value < high and found.k_hn(0.3).samples == 3
    # Of n = 1 many steps come to the sums of all eigenvalues.
    many = la.spectrum(surface, probes=60, steps=60, dense=False, progress=False).k_hn(1)
    truth = np.linspace(-1, 1, 98)
    assert abs(many.value - (-truth[truth < 0].sum() / (16 + truth[truth > 0].sum()))) < 4 * many.error


def test_what_has_no_ratio_is_said(matrix_surface):
    down = la.spectrum(matrix_surface(matrix([-1.0, -2.0])))
    with pytest.raises(la.NotApplicableError, match="found none"):
        down.k_hn()
    for n in (0, -0.5, "half", math.inf):
        with pytest.raises(la.InputError, match="n="):
            down.k_hn(n)
    flat = la.extremes(matrix_surface(torch.zeros(3, 3)), 1)
    assert math.isnan(flat.r_e)
    # A largest eigenvalue within its residual of zero: no upper end.
    hidden = la.extremes(matrix_surface(matrix([0.0, -1.0])), 1)
    assert hidden.r_e_bounds[1] == math.inf
