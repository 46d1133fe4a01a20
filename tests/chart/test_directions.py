"""Directions of every kind against what defines them, and the charts on them against plain double loops."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

import lossatlas as la
from lossatlas._errors import CheckpointError, OutputError, PlaneError
from lossatlas.chart.directions import _principal
from lossatlas.chart.planes._policy import NORMALIZATIONS

X = torch.randn(11, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randint(3, (11,), generator=torch.Generator().manual_seed(1))


def net(seed=0, width=3):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 3)
    )
    return model.double()


def flat(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def loss_at(theta):
    """The slow obvious one: a fresh model, its parameters set, one forward pass."""
    model = net()
    nn.utils.vector_to_parameters(theta, model.parameters())
    with torch.no_grad():
        return float(F.cross_entropy(model(X), Y))


def gradient_at(theta):
    model = net()
    nn.utils.vector_to_parameters(theta, model.parameters())
    found = torch.autograd.grad(F.cross_entropy(model(X), Y), list(model.parameters()))
    return torch.cat([g.reshape(-1) for g in found])


def per_filter(direction, theta):
    """Filter normalization, written out; biases are held."""
    out, begin = [], 0
    for p in net().parameters():
        d, w = (v[begin : begin + p.numel()].view(p.shape) for v in (direction, theta))
        begin += p.numel()
        if p.ndim < 2:
            out.append(torch.zeros(p.numel(), dtype=torch.float64))
            continue
        out.append(torch.cat([d[j].reshape(-1) * w[j].norm() / d[j].norm() for j in range(len(d))]))
    return torch.cat(out)


def path(count=7):
    """Iterates of a few gradient steps, with some noise so that they bend."""
    theta, points = flat(net(3)), []
    generator = torch.Generator().manual_seed(2)
    for _ in range(count):
        points.append(theta.clone())
        theta = theta - 0.5 * gradient_at(theta) + 0.05 * torch.randn(theta.shape, generator=generator).double()
    return torch.stack(points)


@pytest.fixture(scope="module")
def surface():
    return la.NetworkSurface(net(), "cross_entropy", (X, Y))


@pytest.fixture(scope="module")
def hessian(surface):
    def loss(theta):
        return F.cross_entropy(torch.func.functional_call(net(), surface.layout.split(theta), (X,)), Y)

    matrix = torch.autograd.functional.hessian(loss, surface.theta)
    return np.linalg.eigh(matrix.numpy())


PLANES = {
    **{f"random {n}": lambda s, n=n: la.Plane.random(s, seed=2, normalization=n) for n in NORMALIZATIONS},
    "random orthogonal": lambda s: la.Plane.random(s, seed=2, orthogonal=True),
    "between": lambda s: la.Plane.between(s, flat(net()), net(1), net(2).state_dict()),
    "between orthonormal": lambda s: la.Plane.between(s, net(), net(1), net(2), orthonormal=True),
    "pca": lambda s: la.Plane.pca(s, path()),
    "pca mean": lambda s: la.Plane.pca(s, path(), centering="mean"),
    "hessian": lambda s: la.Plane.hessian(s),
    "gradient": lambda s: la.Plane.gradient(s, seed=1),
    "gradient filter": lambda s: la.Plane.gradient(s, normalization="filter", second=flat(net(4))),
    "worst": lambda s: la.Plane.worst(s, radius=0.2),
    "worst none": lambda s: la.Plane.worst(s, radius=0.2, normalization="none"),
    "of": lambda s: la.Plane.of(s, flat(net(5)), net(6).state_dict()),
    "of filter": lambda s: la.Plane.of(s, flat(net(5)), flat(net(6)), normalization="filter", origin=net(1)),
}
LINES = {
    **{f"random {n}": lambda s, n=n: la.Line.random(s, seed=2, normalization=n) for n in NORMALIZATIONS},
    "between": lambda s: la.Line.between(s, net(), net(1).state_dict()),
    "hessian": lambda s: la.Line.hessian(s, which="smallest"),
    "gradient": lambda s: la.Line.gradient(s),
    "worst": lambda s: la.Line.worst(s),
    "of": lambda s: la.Line.of(s, flat(net(5))),
}


@pytest.mark.parametrize("name", PLANES)
def test_a_chart_on_any_plane_is_a_plain_double_loop(surface, name):
    """Not square, not symmetric, not about the center: a transposed, shifted or mirrored picture would not pass."""
    plane = PLANES[name](surface)
    chart = la.chart(surface, plane, span=((-0.3, 0.9), (-0.7, 0.4)), points=(4, 3), exact=True, progress=False)
    origin, (d1, d2) = plane.frame.origin, plane.frame.directions
    for j, beta in enumerate(np.linspace(-0.7, 0.4, 3)):
        for i, alpha in enumerate(np.linspace(-0.3, 0.9, 4)):
            assert chart.loss[j, i] == pytest.approx(loss_at(origin + alpha * d1 + beta * d2), rel=1e-12), (j, i)
    assert not np.allclose(chart.loss[0], chart.loss[-1], rtol=1e-6)
    assert len(plane.labels) == 2 and all("(" in label for label in plane.labels)
    json.dumps(plane.how, allow_nan=False)


@pytest.mark.parametrize("name", LINES)
def test_a_chart_on_any_line_is_a_plain_loop(surface, name):
    line = LINES[name](surface)
    chart = la.chart(surface, line, span=(-0.3, 0.9), points=(5, 1), exact=True, progress=False)
    (d,) = line.frame.directions
    for i, t in enumerate(np.linspace(-0.3, 0.9, 5)):
        assert chart.loss[0, i] == pytest.approx(loss_at(line.frame.origin + t * d), rel=1e-12), i
    assert len(line.labels) == 1 and "(" in line.labels[0]
    json.dumps(line.how, allow_nan=False)


# -- what defines each kind -------------------------------------------------------------------------------------------


def test_between_has_the_models_where_it_says(surface):
    models = [net(k) for k in range(3)]
    for orthonormal in (False, True):
        plane = la.Plane.between(surface, *models, orthonormal=orthonormal)
        for model, at in zip(models, plane.how["points"].values(), strict=True):
            point = plane.frame.points(torch.tensor([at], dtype=torch.float64))[0]
            torch.testing.assert_close(point, flat(model), rtol=0, atol=1e-12)
    gram = plane.frame.directions @ plane.frame.directions.T
    torch.testing.assert_close(gram, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-12)
    at = plane.how["points"]
    assert math.dist(at["b"], at["c"]) == pytest.approx(float((flat(models[1]) - flat(models[2])).norm()))


@pytest.mark.parametrize("centering", ["final", "mean"])
def test_pca_is_the_singular_vectors_of_the_centered_path(surface, centering, tmp_path, monkeypatch):
    points = path()
    rows = points.numpy() - (points[-1] if centering == "final" else points.mean(0)).numpy()
    _, sizes, vectors = np.linalg.svd(rows)
    plane = la.Plane.pca(surface, points, centering=centering)
    for row, expected in zip(plane.frame.directions.numpy(), vectors[:2], strict=True):
        assert abs(row @ expected) == pytest.approx(1, abs=1e-10)
    assert plane.how["shares"] == pytest.approx((sizes**2 / (sizes**2).sum())[:2], abs=1e-12)
    assert torch.equal(plane.frame.origin, points[-1])
    coords = plane.project(points).coords
    assert float(coords[0, 0]) > 0 and torch.allclose(coords[-1], torch.zeros(2, dtype=torch.float64))
    # The same from checkpoint files, state dicts and modules, a few parameters of each at a time.
    monkeypatch.setattr(_principal, "AT_ONCE", 7 * len(points))
    mixed = []
    for k, theta in enumerate(points):
        model = net()
        nn.utils.vector_to_parameters(theta.clone(), model.parameters())
        save_file(model.state_dict(), tmp_path / f"{k}.safetensors")
        mixed.append([tmp_path / f"{k}.safetensors", model.state_dict(), model, theta][k % 4])
    again = la.Plane.pca(surface, mixed, centering=centering)
    torch.testing.assert_close(again.frame.directions, plane.frame.directions, rtol=0, atol=1e-12)


def test_pca_says_beside_its_shares_what_a_random_walk_would_give(surface):
    """Antognini and Sohl-Dickstein 2018: 60.8 % and 15.2 % about the mean; 8/π² and 8/9π² about the last point."""
    generator = torch.Generator().manual_seed(0)
    landscape = la.landscapes.quadratic(condition=1.0, dimension=4000)
    walk = torch.randn(120, 4000, generator=generator, dtype=torch.float64).cumsum(0)
    for centering, limit in (("mean", (0.608, 0.152)), ("final", (0.811, 0.090))):
        plane = la.Plane.pca(landscape, walk, centering=centering)
        null = plane.how["random_walk"]
        assert null["limit"] == pytest.approx(limit, abs=5e-4)
        assert null["shares"] == pytest.approx(limit, abs=0.01)
        # 4,000 independent coordinates: the shares scatter by well under a percent around their mean.
        assert plane.how["shares"] == pytest.approx(null["shares"], abs=0.01)
        assert "random walk" in plane.notes[0]


@pytest.mark.slow
def test_hessian_directions_are_its_eigenvectors_with_their_residuals(surface, hessian):
    values, vectors = hessian
    plane = la.Plane.hessian(surface)
    assert plane.how["eigenvalues"] == pytest.approx([values[-1], values[0]], rel=1e-6)
    for row, k in zip(plane.frame.directions.numpy(), (-1, 0), strict=True):
        assert abs(row @ vectors[:, k]) == pytest.approx(1, abs=1e-6)
        assert row[np.abs(row).argmax()] > 0
    assert all(plane.how["converged"]) and max(plane.how["residuals"]) < 1e-3 * values[-1] and plane.notes == ()
    further = la.Plane.hessian(surface, which=("largest-2", "largest"))
    assert further.how["eigenvalues"] == pytest.approx([values[-2], values[-1]], rel=1e-6)
    assert f"{values[-2]:.4g}" in further.labels[0]
    # The curvature that the picture shows along its axes is the eigenvalue.
    line, h = la.Line.hessian(surface, which="smallest"), 1e-3
    low, mid, high = (loss_at(line.frame.origin + t * line.frame.directions[0]) for t in (-h, 0, h))
    assert (low - 2 * mid + high) / h**2 == pytest.approx(values[0], rel=1e-3)
    for wrong in (("largest", "largest"), ("largest", "middle")):
        with pytest.raises(la.InputError, match="largest-2"):
            la.Plane.hessian(surface, which=wrong)


def test_an_eigenvector_that_has_not_converged_is_named():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    line = la.Line.hessian(la.NetworkSurface(model, "cross_entropy", (X, Y)), which="smallest", limit=4)
    assert line.how["converged"] == [False] and "has not converged" in line.notes[0]


def test_the_gradient_is_uphill_in_its_unit(surface):
    slope = gradient_at(surface.theta)
    plane = la.Plane.gradient(surface, seed=5)
    first, second = plane.frame.directions
    torch.testing.assert_close(first, slope / slope.norm(), rtol=1e-10, atol=0)
    assert float(second.norm()) == pytest.approx(1) and abs(float(first @ second)) < 1e-12
    uphill, random = plane.how["directions"]
    assert uphill["gradient_norm"] == pytest.approx(float(slope.norm())) and uphill["gradients"] == 1
    assert plane.kind == "gradient+random" and random["seed"] == 5
    assert loss_at(surface.theta + 1e-3 * first) > loss_at(surface.theta)
    filtered = la.Line.gradient(surface, normalization="filter")
    torch.testing.assert_close(filtered.frame.directions[0], per_filter(slope, surface.theta))
    with pytest.raises(PlaneError, match="vanishes"):
        la.Plane.gradient(la.landscapes.himmelblau(), origin=(3.0, 2.0))


@pytest.mark.slow
def test_the_worst_direction_is_the_best_of_a_few_ascent_steps(surface):
    radius, theta = 0.3, surface.theta
    direction, best = per_filter(gradient_at(theta), theta), (-math.inf, None)
    losses = []
    for _ in range(5):
        losses.append(loss_at(theta + radius * direction))
        best = max(best, (losses[-1], direction), key=lambda pair: pair[0])
        direction = per_filter(gradient_at(theta + radius * direction), theta)
    line = la.Line.worst(surface, radius=radius)
    assert line.how["losses"] == pytest.approx(losses) and line.how["gradients"] == 6
    torch.testing.assert_close(line.frame.directions[0], best[1], rtol=1e-9, atol=1e-12)
    # No random direction of the same filter lengths comes near it.
    random = [la.Line.random(surface, seed=k).frame.directions[0] for k in range(30)]
    assert max(loss_at(theta + radius * d) for d in random) < max(losses)
    # At a critical point there is no gradient to begin with; a random direction is.
    top = la.Line.worst(la.landscapes.himmelblau(), origin=(3.0, 2.0), radius=0.1, steps=20)
    _, vectors = np.linalg.eigh([[74.0, 20.0], [20.0, 34.0]])  # the Hessian at (3, 2)
    assert abs(top.frame.directions[0].numpy() @ vectors[:, -1]) > 0.99


def test_your_own_directions_are_taken_as_they_are_or_normalized(surface):
    one, two = flat(net(5)), flat(net(6))
    plane = la.Plane.of(surface, one, net(6).state_dict())
    assert torch.equal(plane.frame.directions, torch.stack([one, two]))
    line = la.Line.of(surface, one, normalization="filter")
    torch.testing.assert_close(line.frame.directions[0], per_filter(one, surface.theta))
    tilted = la.Plane.of(la.landscapes.beale(), (1.0, 1.0), (0.0, 2.0), origin=(3.0, 0.5))
    assert tilted.frame.directions.tolist() == [[1, 1], [0, 2]] and tilted.frame.origin.tolist() == [3, 0.5]


def test_projections_have_residuals_and_distances(surface):
    points, plane = path(), la.Plane.between(surface, net(), net(1), net(2))
    seen = plane.project(points)
    for k, theta in enumerate(points):
        offset = (theta - plane.frame.origin).numpy()
        coords, *_ = np.linalg.lstsq(plane.frame.directions.T.numpy(), offset, rcond=None)
        missing = np.linalg.norm(offset - plane.frame.directions.T.numpy() @ coords)
        assert seen.coords[k].numpy() == pytest.approx(coords, abs=1e-10)
        assert float(seen.distances[k]) == pytest.approx(missing)
        assert float(seen.residuals[k]) == pytest.approx(missing / np.linalg.norm(offset))
    mixed = plane.project([net(1), net(2).state_dict()], surface=surface)
    torch.testing.assert_close(mixed.coords, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-9)
    # The plane remembers the names of its parameters.
    torch.testing.assert_close(plane.project([net(1)]).coords, mixed.coords[:1])


# -- kept and made again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PLANES, *(f"line {n}" for n in LINES)])
def test_a_saved_one_is_restored_bit_for_bit_and_a_seeded_one_takes_no_room(surface, name, tmp_path):
    kind = la.Line if name.startswith("line ") else la.Plane
    made = (LINES[name.removeprefix("line ")] if kind is la.Line else PLANES[name])(surface)
    file = made.save(tmp_path / "kept")
    again = kind.restore(surface, tmp_path / "kept")
    assert torch.equal(again.frame.origin, made.frame.origin)
    assert torch.equal(again.frame.directions, made.frame.directions)
    assert (again.kind, again.how, again.labels, again.notes) == (made.kind, made.how, made.labels, made.notes)
    seeded = made.kind == "random"
    assert (file.with_suffix(".safetensors").stat().st_size < 100) == seeded


def test_a_seeded_plane_is_made_again_from_a_charts_provenance(surface):
    plane = la.Plane.random(surface, seed=9, normalization="layer", ignore="nothing", orthogonal=True)
    chart = la.chart(surface, plane, points=3, exact=True, progress=False)
    for source in (chart.provenance, chart.provenance["plane"], plane.record()):
        assert torch.equal(
            la.Plane.restore(surface, json.loads(json.dumps(source))).frame.directions, plane.frame.directions
        )


def test_what_is_not_the_same_plane_is_noticed(surface, tmp_path):
    plane = la.Plane.random(surface, seed=1)
    moved = la.NetworkSurface(net(1), "cross_entropy", (X, Y))
    with pytest.raises(PlaneError, match="origin_digest"):
        la.Plane.restore(moved, plane.record())
    other_generator = json.loads(json.dumps(plane.record()))
    other_generator["how"]["digest"] = "0" * 16
    with pytest.raises(PlaneError, match="random numbers"):
        la.Plane.restore(surface, other_generator)
    with pytest.raises(PlaneError, match="does not hold its directions"):
        la.Plane.restore(surface, la.Plane.hessian(surface).record())
    plane.save(tmp_path)
    wider = la.NetworkSurface(net(width=5), "cross_entropy", (X, Y))
    with pytest.raises(PlaneError, match=r"3\.weight"):
        la.Plane.restore(wider, tmp_path)
    with pytest.raises(OutputError, match="line"):
        la.Line.restore(surface, tmp_path)
    elsewhere = la.Plane.random(surface, seed=1, origin=net(1))
    assert elsewhere.how["origin"] == "given"
    elsewhere.save(tmp_path / "elsewhere")
    assert torch.equal(la.Plane.restore(surface, tmp_path / "elsewhere").frame.origin, flat(net(1)))
    with pytest.raises(PlaneError, match="origin"):
        la.Plane.restore(surface, elsewhere.record())


@pytest.mark.slow
def test_a_seed_is_the_same_plane_whatever_the_number_of_threads(surface):
    """Norms are summed in an order of their own: the digest would name two planes otherwise."""
    torch.manual_seed(0)
    wide = la.NetworkSurface(nn.Sequential(nn.Flatten(), nn.Linear(16, 30000)), "cross_entropy", (X.float(), Y))
    before, found = torch.get_num_threads(), set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.add(la.Plane.random(wide, seed=0, normalization="layer").how["digest"])
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


# -- refused ----------------------------------------------------------------------------------------------------------


def test_a_plane_of_another_architecture_is_refused_with_its_keys(surface):
    wider = la.NetworkSurface(net(width=5), "cross_entropy", (X, Y))
    with pytest.raises(PlaneError, match=r"3\.weight \(\(5, 8\) and \(3, 8\)\)"):
        la.chart(surface, la.Plane.random(wider), points=3, progress=False)
    deeper = la.NetworkSurface(nn.Sequential(net(), nn.Linear(3, 3).double()), "cross_entropy", (X, Y))
    with pytest.raises(PlaneError, match=r"only in the first: 0\.0\.weight"):
        surface.on(la.Line.random(deeper))
    with pytest.raises(PlaneError, match="dimensions"):
        surface.on(la.Plane.random(la.landscapes.beale()).frame)


@pytest.mark.parametrize("form", ["state dict", "module", "safetensors", "pt"])
def test_checkpoints_of_other_shapes_are_refused_with_their_keys(surface, form, tmp_path):
    other = net(width=4)
    given = {"state dict": other.state_dict(), "module": other}.get(form)
    if form == "safetensors":
        save_file(other.state_dict(), given := tmp_path / "w.safetensors")
    elif form == "pt":
        torch.save(other.state_dict(), given := tmp_path / "w.pt")
    words = r"of another shape: 3\.weight \(file \(4, 8\), model \(3, 8\)\), 3\.bias"
    for make in (
        lambda: la.Line.between(surface, net(), given),
        lambda: la.Plane.between(surface, net(), net(1), given),
        lambda: la.Plane.pca(surface, [net(), net(1), given]),
        lambda: la.Plane.random(surface, origin=given),
    ):
        with pytest.raises(CheckpointError, match=words):
            make()
    if form in ("safetensors", "pt"):
        with pytest.raises(CheckpointError, match=f"w.{form}"):
            la.Line.between(surface, net(), given)
    lacking = {key: value for key, value in net().state_dict().items() if key != "5.bias"} | {"7.weight": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"missing: 5\.bias; unexpected: 7\.weight"):
        la.Line.between(surface, net(), lacking)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s: la.Plane.of(s, flat(net()), 2 * flat(net())), "parallel"),
        (lambda s: la.Plane.of(s, flat(net()), -flat(net()), normalization="layer"), "parallel"),
        (lambda s: la.Plane.of(s, torch.zeros(s.dimension), flat(net())), "length 0"),
        (lambda s: la.Line.of(s, torch.full((s.dimension,), math.nan)), "not finite"),
        (lambda s: la.Plane.gradient(s, second=gradient_at(s.theta)), "parallel"),
        (lambda s: la.Plane.between(s, net(), net(), net(1)), "length 0"),
        (lambda s: la.Plane.between(s, net(), net(1), flat(net()) + 3 * (flat(net(1)) - flat(net()))), "parallel"),
        (lambda s: la.Plane.between(s, net(), net(1), net(1), orthonormal=True), "parallel"),
        (lambda s: la.Plane.pca(s, torch.stack([flat(net()) * k for k in (1.0, 2, 3)])), "no plane"),
        (lambda s: la.Plane.pca(s, [net(), net(1)]), "at least 3"),
        (lambda s: la.Plane.pca(s, path(), centering="first"), "final"),
        (lambda s: la.Line.of(s, torch.ones(3)), "expected"),
        (lambda s: la.Line.of(s, 3), "expected"),
        (lambda s: la.Plane.worst(s, radius=0.0), "radius"),
        (lambda s: la.Plane.worst(s, steps=0), "step"),
        (lambda s: la.Line.random(s, origin="nowhere.safetensors"), "no checkpoint"),
        (lambda s: la.Line.random(la.landscapes.beale(), origin=net()), "vector"),
    ],
)
def test_directions_that_are_none(surface, make, words):
    with pytest.raises(la.InputError, match=words):
        make(surface)
