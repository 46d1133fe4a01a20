"""Curvature along a run: eigenvalues, trace and shares as the dense Hessian has them, beside the line of stability."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lossatlas as la
from lossatlas import archive
from lossatlas.curvature import RunCurvature, curvature_along
from lossatlas.demo import digits
from lossatlas.draw import AlongDisplay

STEPS, RATE = 60, 0.4


@pytest.fixture(scope="module")
def run():
    """Full-batch gradient descent on a small tanh network, every 20 steps kept, in four forms."""
    x, y = digits("train")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 10)).double()
    surface = la.NetworkSurface(model, "cross_entropy", (x[:80].double(), y[:80]))
    theta, kept = surface.theta.clone(), []
    for step in range(STEPS + 1):
        if step % 20 == 0:
            kept.append(theta.clone())
        theta = theta - RATE * surface.gradients(theta[None])[1][0]
    return model, surface, torch.stack(kept)


@pytest.fixture(scope="module")
def found(run):
    _, surface, kept = run
    return curvature_along(surface, kept, t=range(0, STEPS + 1, 20), lr=RATE, k=3, tolerance=1e-6, relative=0.2)


@pytest.mark.slow
def test_every_number_is_that_of_the_dense_hessian(run, found):
    _, surface, kept = run
    inside = 0
    for i, theta in enumerate(kept):
        h = surface.products(theta, torch.eye(surface.dimension, dtype=torch.float64)).numpy()
        loss, g = surface.gradients(theta[None])
        values, basis = np.linalg.eigh(h)
        assert np.allclose(found.largest[i], values[::-1][:3], atol=1e-5 * values[-1])
        assert found.smallest[i] == pytest.approx(values[0], abs=1e-4 * values[-1])
        top = basis[:, -3:].T @ g[0].numpy()
        assert found.share[i] == pytest.approx(float(top @ top) / float(g[0] @ g[0]), abs=1e-4)
        assert (found.loss[i], found.gradient_norm[i]) == pytest.approx((float(loss), float(g.norm())))
        low, high = found.trace_interval[i]
        inside += low <= np.trace(h) <= high
    assert inside >= 3  # of 4 at 95 %: false alarm 1.4 %, were they independent
    assert np.all(found.residuals <= 1e-5 * found.largest) and found.status == "complete"
    assert found.t.tolist() == [0, 20, 40, 60] and np.allclose(found.edge, 2 / RATE)


@pytest.mark.slow
def test_checkpoints_come_in_any_form(run, found, tmp_path):
    model, surface, kept = run
    file = tmp_path / "last.safetensors"
    save_file({name: value.contiguous() for name, value in surface.layout.split(kept[3]).items()}, file)
    given = [surface.layout.split(kept[0]), kept[1], file, str(file), model]
    again = curvature_along(surface, given, k=1, with_trace=False)
    assert again.largest[[0, 1, 2], 0] == pytest.approx(found.largest[[0, 1, 3], 0], rel=1e-3)
    assert again.largest[2, 0] == again.largest[3, 0]
    assert again.largest[4, 0] == pytest.approx(found.largest[0, 0], rel=1e-3)  # the model itself was not trained
    assert np.isnan(again.edge).all() and np.isnan(again.trace).all()
    one = curvature_along(surface, kept[1], k=1, with_trace=False)
    assert len(one.t) == 1


def test_the_line_follows_rate_and_momentum():
    bowl = la.landscapes.quadratic(condition=9.0)
    found = curvature_along(bowl, torch.ones(2, 2), lr=[0.2, 0.4], momentum=0.5, k=2)
    assert found.edge == pytest.approx([15.0, 7.5]) and found.largest.tolist() == [[9.0, 1.0]] * 2
    assert found.share == pytest.approx([1.0, 1.0])  # all directions are among the top two of two
    assert "above 2(1 + 0.5)/η at 1 of 2 checkpoints" in found.reading()[1] and "1.20 times" in found.reading()[1]


@pytest.mark.slow
def test_gradient_descent_diverges_above_the_line_and_not_below():
    """What the line means, on a bowl where it is exact."""
    bowl = la.landscapes.quadratic(condition=9.0)
    for rate, stable in ((0.99 * 2 / 9, True), (1.01 * 2 / 9, False)):
        race = la.race(bowl, [la.optimizer("gd", lr=rate)], steps=400)
        last = race.last("gd")
        found = curvature_along(bowl, last[:1], lr=rate, k=1)
        assert (found.largest[0, 0] < found.edge[0]) == stable
        assert (float(last.norm()) < 1) == stable


@pytest.mark.slow
def test_a_run_is_saved_drawn_and_told(found, tmp_path):
    _, arrays, record = archive.load(found.save(tmp_path))
    assert np.array_equal(arrays["largest"], found.largest) and record["checkpoints"] == 4
    assert record["reading"] == found.reading() and len(found.reading()) == 4
    again = RunCurvature.restore(arrays, record)
    assert again.record() == found.record() and np.array_equal(again.share, found.share)
    axes = found.plot().ax_
    lines = {line.get_label(): line for line in axes.lines}
    assert np.array_equal(lines["λmax"].get_ydata(), found.largest[:, 0])
    assert np.array_equal(lines["2/η"].get_ydata(), found.edge)
    assert len(found.plot_trace().ax_.lines) == 1 and len(found.plot_share().ax_.lines) == 2
    assert "<li>" in found._repr_html_()
    both = AlongDisplay(
        {"gd": (found.t, found.largest[:, 0], found.residuals[:, 0]), "adam": (found.t, found.largest[:, 1], found.residuals[:, 1])},
        {"gd": (found.t, found.edge)},
    ).plot()  # fmt: skip
    assert {"λmax of gd", "λmax of adam", "2/η of gd"} <= {line.get_label() for line in both.ax_.lines}
    with pytest.raises(la.InputError, match="no curve"):
        AlongDisplay({"gd": ([0.0], [1.0], [0.0])}, {"sgd": ([0.0], [1.0])})


@pytest.mark.slow
def test_checkpoints_that_are_not_finite_are_left_out_and_counted(run):
    _, surface, kept = run
    broken = torch.cat([kept[:1], torch.full_like(kept[:1], math.nan)])
    found = curvature_along(surface, broken, t=[3, 4], lr=0.1, k=1, with_trace=False)
    assert found.t.tolist() == [3] and "1 checkpoint not finite and left out" in found.status
    with pytest.raises(la.InputError, match="none of 1"):
        curvature_along(surface, broken[1:], k=1)


def test_an_interrupted_run_keeps_what_it_has(run):
    _, surface, kept = run

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    found = curvature_along(surface, kept, k=1, with_trace=False, progress=stop)
    assert found.status.startswith("interrupted") and found.largest.shape == (2, 1) and len(found.edge) == 2


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"t": [1.0]}, "entries of t"),
        ({"lr": [0.1]}, "entries of lr"),
        ({"lr": -0.1}, "above 0"),
        ({"momentum": 1.0}, "momentum"),
        ({"k": 0}, "k=0"),
        ({"k": 3}, "k=3"),
    ],
)
def test_what_does_not_fit_is_refused(settings, part):
    with pytest.raises(la.InputError, match=part):
        curvature_along(la.landscapes.quadratic(), torch.ones(2, 2), **{"k": 1, **settings})


def test_no_checkpoints_and_points_of_another_surface_are_refused():
    bowl = la.landscapes.quadratic()
    with pytest.raises(la.InputError, match="no checkpoints"):
        curvature_along(bowl, [])
    with pytest.raises(la.InputError, match="one per parameter of quadratic"):
        curvature_along(bowl, [torch.ones(3)])


@pytest.mark.slow
def test_the_top_space_is_held_against_those_before():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    data = torch.randn(20, 3, dtype=torch.float64), torch.arange(20) % 2
    surface = la.NetworkSurface(model, "cross_entropy", data)
    points = surface.theta + 0.5 * torch.randn(3, surface.dimension, dtype=torch.float64)
    found = la.curvature_along(surface, points, k=2, progress=False)
    spaces = [torch.linalg.eigh(la.hessian(surface, point)).eigenvectors[:, -2:] for point in points]
    pairs = [(1, 0), (2, 1)]
    expected = [float((spaces[a].T @ spaces[b]).square().sum() / 2) for a, b in pairs]
    np.testing.assert_allclose(found.overlap[1:], expected, rtol=1e-6)
    np.testing.assert_allclose(
        found.overlap_first, [1.0, expected[0], float((spaces[2].T @ spaces[0]).square().sum() / 2)], rtol=1e-6
    )
    assert found.overlap[0] == pytest.approx(1) and "the top space is" in " ".join(found.reading())
    one, two = (la.extremes(surface, 2, point=point).largest for point in points[:2])
    assert one.overlap(two) == pytest.approx(expected[0], rel=1e-6)
    with pytest.raises(la.InputError, match="26 parameters"):
        one.overlap(la.extremes(la.landscapes.himmelblau(), 1).largest)
    with pytest.raises(la.InputError, match="Eigenpairs"):
        one.overlap(points)
