"""One Krylov space: its relation AQ = QT + βqeᵀ, before and after thick restarts, and residuals that hold what it lost."""

import numpy as np
import pytest
import torch

from lossatlas.curvature._lanczos import Krylov


def noisy(n=60, noise=1e-3):
    """A symmetric matrix with far ends, and products that lean to one side, as those in low precision do."""
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(n, n, generator=generator, dtype=torch.float64)
    basis, lean = torch.linalg.qr(raw)[0], raw - raw.T
    values = torch.cat([torch.tensor([9.0, 7.0, -6.0, -4.0]), torch.linspace(-1, 1, n - 4)]).double()
    return basis @ torch.diag(values) @ basis.T + noise * lean / torch.linalg.matrix_norm(lean, 2)


def grown(matrix, restarts, rows=14, after=6):
    """A Krylov space that was restarted from two Ritz vectors of each end so often, and grew a little since."""
    krylov = Krylov(torch.ones(len(matrix), dtype=torch.float64), rows)
    for _ in range(restarts):
        while not krylov.full:
            krylov.take(matrix @ krylov.next)
        krylov.restart(krylov.ritz()[1][:, [0, 1, -2, -1]])
    for _ in range(after):
        krylov.take(matrix @ krylov.next)
    return krylov


def rest(matrix, krylov):
    """‖AQ − Q₊T‖ column by column, with Q₊ the basis and the direction to come."""
    m = krylov.size
    q = krylov._basis[: m + 1].T
    return (matrix @ q[:, :m] - q @ torch.from_numpy(krylov._matrix[: m + 1, :m])).norm(dim=0).numpy()


def test_the_relation_holds_to_rounding_whatever_the_products():
    matrix = noisy()
    assert rest(matrix, grown(matrix, 0)).max() < 1e-13


def test_what_a_restart_loses_is_known_to_the_last_digit():
    """Only the columns that were kept have lost something: what leaned towards the vectors that were let go."""
    matrix = noisy()
    krylov = grown(matrix, 1)
    off = rest(matrix, krylov)
    assert off[:4].min() > 1e-5 and off[4:].max() < 1e-13
    assert np.allclose(krylov._lost[: krylov.size], off, atol=1e-12)


@pytest.mark.parametrize("restarts", [0, 1, 2, 5])
@pytest.mark.parametrize("noise", [1e-3, 0.0])
def test_residuals_hold_the_true_ones_after_restarts(restarts, noise):
    """‖Ay − θy‖ by a product of its own: never above what was stated, and near it where nothing was lost."""
    matrix = noisy(noise=noise)
    krylov = grown(matrix, restarts)
    values, inner, stated = krylov.ritz()
    vectors = krylov.vectors(inner)
    true = (vectors @ matrix.T - torch.from_numpy(values)[:, None] * vectors).norm(dim=1).numpy()
    assert (true <= stated * (1 + 1e-9) + 1e-13).all()
    if not restarts or not noise:
        assert np.allclose(true, stated, atol=1e-12)
    else:
        assert (stated[[0, -1]] < 10 * true[[0, -1]] + 1e-12).all(), "a bound, not a guess"
