"""Maps of the extreme eigenvalues over a plane, against dense Hessians by torch.autograd at every cell."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import lossatlas as la


def network(hidden):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 3)).double()
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 3
    return model, x, y, la.NetworkSurface(model, "cross_entropy", (x, y))


def dense(model, x, y, surface, frame, a, b):
    """All eigenvalues at one cell, by torch.autograd.functional.hessian."""
    theta = frame.origin + a * frame.directions[0] + b * frame.directions[1]

    def loss(point):
        return F.cross_entropy(functional_call(model, surface.layout.split(point), (x,)), y)

    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, theta)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("hidden, dense_path", [(4, True), (12, False)])
def test_every_cell_has_the_eigenvalues_of_the_dense_hessian(hidden, dense_path):
    model, x, y, surface = network(hidden)
    assert (surface.dimension <= 64) is dense_path
    plane = la.Plane.random(surface, seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = la.curvature_map(surface, plane, points=(3, 2), span=((-0.5, 1.0), (-1.0, 0.25)), k=2, progress=False)
    assert found.ratio.shape == (2, 3) and found.status == "complete" and (found.states == 1).all()
    assert found.alpha.tolist() == [-0.5, 0.25, 1.0] and found.beta.tolist() == [-1.0, 0.25]
    for i, b in enumerate(found.beta):
        for j, a in enumerate(found.alpha):
            truth = dense(model, x, y, surface, plane.frame, a, b)
            off = found.largest_residuals[i, j] + 1e-9, found.smallest_residuals[i, j] + 1e-9
            assert (np.abs(found.largest[i, j] - truth[::-1][:2]) <= off[0]).all()
            assert (np.abs(found.smallest[i, j] - truth[:2]) <= off[1]).all()
            assert found.ratio[i, j] == pytest.approx(abs(truth[0] / truth[-1]), rel=3e-3)
            low, high = found.ratio_bounds[i, j]
            assert low <= abs(truth[0] / truth[-1]) * (1 + 1e-9) and abs(truth[0] / truth[-1]) <= high * (1 + 1e-9)
    # Beside the cells there are the three products that check the operator.
    assert found.meter.products == found.products.sum() + 3
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_quadratic_has_one_ratio_everywhere_and_a_saddle_is_negative():
    bowl = la.landscapes.quadratic(condition=9.0, dimension=3)
    found = la.curvature_map(bowl, la.Plane.random(bowl, seed=0), points=3, span=2.0, progress=False)
    assert found.ratio == pytest.approx(np.full((3, 3), 1 / 9)) and found.negative == 0
    camel = la.landscapes.himmelblau()
    over = la.curvature_map(camel, la.Plane.random(camel, seed=0), points=3, span=3.0, progress=False)
    # The Hessian of Himmelblau's function, [[12x² + 4y − 42, 4x + 4y], [4x + 4y, 4x + 12y² − 26]].
    frame = la.Plane.random(camel, seed=0).frame
    for i, b in enumerate(over.beta):
        for j, a in enumerate(over.alpha):
            x, y = (frame.origin + a * frame.directions[0] + b * frame.directions[1]).tolist()
            low, high = np.linalg.eigvalsh(
                [[12 * x * x + 4 * y - 42, 4 * (x + y)], [4 * (x + y), 4 * x + 12 * y * y - 26]]
            )
            assert over.smallest[i, j, 0] == pytest.approx(low) and over.largest[i, j, 0] == pytest.approx(high)
            assert over.ratio[i, j] == pytest.approx(abs(low / high))
    assert over.negative == (over.smallest[..., 0] < 0).sum() > 0
    assert "negative curvature is certain" in over.reading()[1]


@pytest.mark.slow
def test_an_interrupted_map_resumes_to_the_same_bits_and_counts_every_product(tmp_path):
    _, _, _, surface = network(12)
    plane = la.Plane.random(surface, seed=1)
    whole = la.curvature_map(surface, plane, points=3, progress=False)

    def stop(done, _):
        if done == 4:
            raise KeyboardInterrupt

    part = la.curvature_map(surface, plane, points=3, folder=tmp_path, progress=stop)
    assert part.status == "interrupted" and part.cells == 4 and (part.states == 0).sum() == 5
    told = []
    again = la.curvature_map(
        surface, plane, points=3, folder=tmp_path, progress=lambda done, total: told.append((done, total))
    )
    assert again.status == "complete" and told[0] == (5, 9) and told[-1] == (9, 9)
    for name in ("largest", "smallest", "largest_residuals", "smallest_residuals", "products", "states"):
        assert np.array_equal(getattr(again, name), getattr(whole, name)), name
    assert again.meter.products == whole.meter.products + 3  # the operator is checked once more
    done = la.curvature_map(surface, plane, points=3, folder=tmp_path, progress=False)
    assert done.meter.products == again.meter.products + 3
    loaded = la.load(tmp_path)
    assert np.array_equal(loaded.ratio, whole.ratio) and loaded.labels == plane.labels
    for settings, word in (({"span": 2.0}, "alpha"), ({"k": 2}, "k"), ({"seed": 3}, "seed")):
        with pytest.raises(la.OutputError, match=f"another .*{word}"):
            la.curvature_map(surface, plane, points=3, folder=tmp_path, progress=False, **settings)


@pytest.mark.slow
def test_the_first_cell_says_what_the_map_takes_and_dear_ones_are_refused():
    _, _, _, surface = network(12)
    plane, told = la.Plane.random(surface, seed=1), []
    found = la.curvature_map(surface, plane, points=3, on_forecast=told.append, progress=False)
    (made,) = told
    center = int(found.products[1, 1])
    assert made.evaluations == 9 * center and made.evaluations_within == (9 * 4, 9 * 120)
    assert made.evaluations_within[0] <= found.products.sum() <= made.evaluations_within[1]
    assert "Hessian-vector product" in made.lines()[-2]
    probe = la.Probe(surface)
    with pytest.raises(
        la.InputError, match=rf"3 × 3 cells, .* about {9 * center:,} Hessian products.*most={9 * center} "
    ):
        la.curvature_map(surface, plane, points=3, most=9 * center - 1, probe=probe, progress=False)
    assert probe.meter.products == center + 3  # nothing but the first cell
    la.curvature_map(surface, plane, points=3, most=9 * center, progress=False)


@pytest.mark.slow
def test_cells_that_did_not_converge_or_are_not_finite_are_marked(tmp_path):
    _, _, _, surface = network(12)
    found = la.curvature_map(
        surface, la.Plane.random(surface, seed=1), points=3, limit=5, tolerance=1e-9, progress=False
    )
    assert found.unconverged == 9 and found.status == "complete; at 9 of 9 cells not all eigenvalues converged"
    drawn = found.plot()
    assert [one.get_gid() for one in drawn.ax_.collections].count("doubtful") == 1
    assert "9 of 9 cells did not converge" in drawn.ax_.texts[-1].get_text().replace("\n", " ")
    root = la.Function(lambda p: (p[0] ** 1.5).sum() + p[1] ** 2, box=[(-1, 2), (-1, 1)], start=(1.0, 0.0))
    plane = la.Plane.of(root, torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double())
    odd = la.curvature_map(root, plane, points=(3, 2), span=((-2.0, 0.5), (-0.5, 0.5)), progress=False)
    assert (odd.states[:, 0] == 3).all() and np.isnan(odd.ratio[:, 0]).all() and (odd.states[:, 1:] != 3).all()
    assert "at 2 of 6 cells the Hessian is not finite" in odd.status
    picture = odd.plot(quantity="smallest")
    assert "2 of 6 cells have no value" in picture.ax_.texts[-1].get_text().replace("\n", " ")
    odd.save(tmp_path)
    assert np.array_equal(la.load(tmp_path).states, odd.states)
    rows = odd.to_dataframe()
    assert list(rows.state).count("not finite") == 2 and len(rows) == 6


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"points": 1}, "points=1; expected a whole number from 2"),
        ({"points": (200, 200)}, "200 × 200 points; expected at most"),
        ({"points": "9"}, "points='9'"),
        ({"span": 0}, "span=0; expected a finite number above 0"),
        ({"span": (1.0, -1.0)}, "expected low below high"),
        ({"span": "auto"}, "span='auto'"),
        ({"span": ((0, 1), (0, 1, 2))}, "span of length 3"),
        ({"k": 0}, "k=0"),
        ({"k": 99}, "k=99"),
        ({"tolerance": 0}, "tolerance=0"),
        ({"limit": 3}, "limit=3"),
        ({"most": 0}, "most=0"),
        ({"seed": -1}, "seed=-1"),
        ({"how": "fast"}, "fast"),
        ({"on_forecast": 3}, "on_forecast=3"),
        ({"folder": 3}, "folder=3"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, says):
    _, _, _, surface = network(4)
    with pytest.raises(la.LossAtlasError) as refusal:
        la.curvature_map(surface, la.Plane.random(surface, seed=0), progress=False, **settings)
    assert says in str(refusal.value)


def test_what_is_no_plane_or_no_surface_is_refused():
    _, _, _, surface = network(4)
    other = la.landscapes.himmelblau()
    with pytest.raises(la.InputError, match="got a line; expected a plane"):
        la.curvature_map(surface, la.Line.random(surface, seed=0))
    for plane in (la.Plane.random(other, seed=0), 3):
        with pytest.raises(la.PlaneError):
            la.curvature_map(surface, plane)
    with pytest.raises(la.LossAtlasError):
        la.curvature_map(3, la.Plane.random(other, seed=0))
    found = la.curvature_map(other, la.Plane.random(other, seed=0), points=2, progress=False)
    with pytest.raises(la.UnknownNameError, match="quantity"):
        found.plot(quantity="loss")
