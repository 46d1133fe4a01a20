"""Several networks side by side: each value with the error of its estimate and that of the data."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la


def draw(count, seed):
    """Data whose labels are a noisy function of the inputs."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return x, (x[:, :1] + 0.5 * torch.randn(count, 1, generator=generator, dtype=torch.float64)).sin()


def network(seed, data):
    torch.manual_seed(seed)
    return la.NetworkSurface(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double(), "mse", data)


DATA = draw(80, 0)


@pytest.fixture(scope="module")
def table():
    surfaces = {f"net_{seed}": network(seed, DATA) for seed in range(3)}
    return la.sharpness(surfaces, "sam", rho=0.1, halves=6, progress=False), surfaces


@pytest.mark.slow
def test_every_row_is_what_sharpness_says_of_that_network(table):
    found, surfaces = table
    for name, row, surface in zip(found.names, found.rows, surfaces.values(), strict=True):
        alone = la.sharpness(surface, "sam", rho=0.1, progress=False)
        assert (name in surfaces, row.value, row.interval, row.definition) == (
            True,
            alone.value,
            alone.interval,
            alone.definition,
        )
    assert la.sharpness(list(surfaces.values()), "sam", rho=0.1, halves=0).values.tolist() == found.values.tolist()


@pytest.mark.slow
def test_halves_are_the_networks_on_halves_of_the_data(table):
    found, surfaces = table
    chosen = torch.randperm(80, generator=torch.Generator().manual_seed(5))[:40].sort().values
    half = network(1, (DATA[0][chosen], DATA[1][chosen]))
    assert found.halves[1, 5] == pytest.approx(la.sharpness(half, "sam", rho=0.1).value, rel=1e-12)
    part = surfaces["net_1"].part(40, seed=5)
    assert part.loss_at_theta == pytest.approx(half.loss_at_theta, rel=1e-14) and part.examples == 40
    torch.testing.assert_close(la.hessian(part), la.hessian(half), rtol=1e-12, atol=1e-14)
    assert part.fingerprint()["data"] != surfaces["net_1"].part(40, seed=6).fingerprint()["data"]


@pytest.mark.slow
def test_the_error_over_the_data_is_that_of_new_data(table):
    found = la.sharpness(table[1], "sam", rho=0.1, halves=40, progress=False)
    many = np.array(
        [[la.sharpness(network(k, draw(80, s)), "sam", rho=0.1).value for k in range(3)] for s in range(1, 41)]
    )
    # 40 halves and 40 new data sets know a deviation to 11 % each, and the halves are of one data set: 45 % is three times that.
    np.testing.assert_allclose(found.data_errors, many.std(0, ddof=1), rtol=0.45)
    value, error = found.difference("net_0", "net_1")
    assert value == found.values[0] - found.values[1]
    assert error == pytest.approx((many[:, 0] - many[:, 1]).std(ddof=1), rel=0.45)


@pytest.mark.slow
def test_the_table_in_every_form(table, tmp_path):
    found, _ = table
    frame = found.to_dataframe()
    assert (
        frame["sharpness"].tolist() == found.values.tolist()
        and frame["data_error"].tolist() == found.data_errors.tolist()
    )
    latex = found.to_latex()
    assert r"net\_0 &" in latex and r"\toprule" in latex and r"$\rho$ = 0.1" in latex and latex.count(r"\\") == 4
    assert "standard error over the data" in str(found.table()) and found.sentence.startswith(
        "sam of 3 networks: from "
    )
    again = la.load(found.save(tmp_path))
    assert again.sentence == found.sentence and again.to_latex() == latex
    assert found.meter.gradients == sum(row.meter.gradients for row in found.rows) * 7


def test_what_has_no_error_over_the_data_says_so():
    found = la.sharpness(
        [la.landscapes.quadratic(condition=9.0), la.landscapes.quadratic(condition=4.0)], progress=False
    )
    assert found.names == ("1: quadratic", "2: quadratic") and math.isnan(found.data_errors[0])
    assert "not known of 2 networks" in found.status and "not known" in str(found.table())
    assert math.isnan(found.difference(*found.names)[1])


@pytest.mark.parametrize(
    "settings",
    [{"halves": 1}, {"halves": -1}, {"point": torch.zeros(21)}, {"kind": "flat"}],
    ids=lambda settings: next(iter(settings)),
)
def test_what_does_not_fit_is_refused(settings):
    with pytest.raises(la.InputError):
        la.sharpness([network(0, DATA)], **settings)
    with pytest.raises(la.InputError):
        la.sharpness([])
    with pytest.raises(la.InputError):
        la.sharpness([nn.Linear(3, 1)])
