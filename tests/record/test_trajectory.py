"""Recorded runs on planes: coordinates against a plain loop, true losses beside the plane's, sketches within their error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas import archive
from lossatlas._errors import CheckpointError, InputError
from lossatlas.demo import digits_cnn, digits_mlp


@pytest.fixture(scope="module")
def recorded(run, tmp_path_factory):
    """A run with whole points, a second one, and the first once more in sketches; and the surface they walked on."""
    runs, folder = {}, tmp_path_factory.mktemp("runs")
    for name, settings in (("whole", {}), ("other", {}), ("folded", {"sketch": 256})):
        one = run(model=digits_mlp((16,), seed=1))
        if name == "other":
            torch.manual_seed(99)
        with la.Recorder(one.model, one.optimizer, folder / name, every=10, quiet=True, **settings) as recorder:
            one.steps(100, recorder.note)
        runs[name] = one
    one = runs["whole"]
    surface = la.NetworkSurface(one.model.eval(), "cross_entropy", (one.x, one.y))
    return surface, runs, {name: la.Recording.load(folder / name, surface) for name in runs}


@pytest.mark.slow
def test_the_plane_of_a_recording_is_the_plane_of_its_points(recorded):
    surface, runs, recordings = recorded
    rows = torch.stack(runs["whole"].points[::10])
    ours, theirs = la.Plane.pca(surface, recordings["whole"]), la.Plane.pca(surface, rows)
    assert torch.equal(ours.frame.origin, theirs.frame.origin)
    assert torch.allclose(ours.frame.directions, theirs.frame.directions, atol=1e-6)
    assert ours.how["shares"] == pytest.approx(theirs.how["shares"], rel=1e-6) and ours.how["random_walk"]
    seen = ours.project(recordings["whole"], surface=surface)
    assert torch.allclose(seen.coords, theirs.project(rows).coords, atol=1e-5)


@pytest.mark.slow
def test_a_trajectory_says_where_the_run_was_and_what_the_plane_hides(recorded):
    surface, runs, recordings = recorded
    plane = la.Plane.pca(surface, recordings["whole"])
    seen = la.trajectory(
        surface, plane, {"one": recordings["whole"], "two": recordings["other"]}, points=9, progress=False
    )
    assert list(seen.runs) == ["one", "two"] and seen.field.loss.shape == (9, 9)
    x, y = runs["whole"].x, runs["whole"].y
    basis, _ = np.linalg.qr(plane.frame.directions.double().numpy().T)
    for name, source in (("one", "whole"), ("two", "other")):
        traveled, points = seen.runs[name], runs[source].points[::10]
        assert traveled.steps.tolist() == list(range(0, 101, 10))
        model = digits_mlp((16,)).eval()
        for k, theta in enumerate(points):
            nn.utils.vector_to_parameters(theta, model.parameters())
            true = float(nn.functional.cross_entropy(model(x), y).detach())
            assert traveled.loss[k] == pytest.approx(true, rel=1e-5)
            offset = (theta - points[-1] if name == "one" else theta - plane.frame.origin).double().numpy()
            left = offset - basis @ (basis.T @ offset)
            assert traveled.distances[k] == pytest.approx(np.linalg.norm(left), abs=1e-5)
            share = np.linalg.norm(left) / np.linalg.norm(offset) if np.linalg.norm(offset) else 0.0
            assert traveled.residuals[k] == pytest.approx(share, abs=1e-4)
            nearest = plane.frame.points(torch.tensor(traveled.coords[k : k + 1]))[0]
            nn.utils.vector_to_parameters(nearest, model.parameters())
            assert traveled.shown[k] == pytest.approx(
                float(nn.functional.cross_entropy(model(x), y).detach()), rel=1e-5
            )
    assert seen.runs["one"].gap < seen.runs["two"].gap
    assert np.isfinite(seen.runs["one"].noted[:-1]).all()
    low, high = seen.field.alpha[[0, -1]]
    coords = np.concatenate([run.coords for run in seen.runs.values()])
    assert low < coords[:, 0].min() and high > coords[:, 0].max()
    assert seen.meter["true"].values == 22 and seen.meter["plane"].values == 22
    assert "one: 11 points" in seen.reading()[0] and "random walk" in " ".join(seen.reading())


@pytest.mark.slow
def test_it_is_drawn_and_saved(recorded, tmp_path):
    surface, _, recordings = recorded
    plane = la.Plane.pca(surface, recordings["whole"])
    field = la.chart(surface, plane, span=((-1, 6), (-3, 3)), points=5, exact=True, progress=False)
    seen = la.trajectory(surface, plane, recordings["whole"], field=field)
    display = seen.plot()
    assert len(display.figure_.axes) >= 3 and len(display.render()) > 10_000
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert seen.plot(axes).ax_ is axes
    seen.save(tmp_path / "out")
    back = la.load(tmp_path / "out")
    assert np.array_equal(back.runs["run"].coords, seen.runs["run"].coords) and archive.dump(
        back.record()
    ) == archive.dump(seen.record())
    assert np.array_equal(back.field.loss, field.loss) and back.plot().render() == display.render()


def test_a_sketched_run_is_seen_within_its_error(recorded):
    """Against the same run with all its points: shares and coordinates to three stated standard errors."""
    surface, _, recordings = recorded
    whole, folded = recordings["whole"], recordings["folded"]
    assert folded.sketched and len(folded.iterates) < len(whole.iterates)
    plane = la.Plane.pca(surface, folded)
    truth = plane.project(whole, surface=surface)
    ours = plane.project(folded, surface=surface)
    error = plane.how["sketch"]["error"]
    assert 0 < error < 0.2
    assert float((ours.coords - truth.coords).norm() / truth.coords.norm()) < 3 * error
    assert float((ours.residuals - truth.residuals)[:-1].abs().max()) < 1.5 * plane.how["sketch"]["bound"]
    held = truth.coords.square().sum(0) / ((whole.vector(100)[None] - _rows(whole)).double().square().sum())
    for ours_, true, spread in zip(plane.how["shares"], held.tolist(), plane.how["shares_error"], strict=True):
        assert abs(ours_ - true) < 4 * spread
    # The plane is one through kept points; it holds nearly as much of the path as the best there is.
    best = la.Plane.pca(surface, whole).how["shares"]
    assert sum(held.tolist()) > 0.97 * sum(best)
    seen = la.trajectory(surface, plane, folded, points=None)
    assert np.isfinite(seen.runs["run"].loss).sum() == len(folded.iterates) and len(seen.runs["run"].steps) == 11
    with pytest.raises(InputError, match="a sketch holds all parameters together"):
        la.Plane.pca(surface, folded, ignore="biasbn")


def _rows(recording):
    return torch.stack([recording.vector(step) for step in recording.steps])


@pytest.mark.slow
def test_points_without_a_recording(recorded):
    surface, runs, _ = recorded
    rows = torch.stack(runs["whole"].points[::10])
    plane = la.Plane.pca(surface, rows)
    seen = la.trajectory(surface, plane, rows, points=None)
    assert seen.field is None and seen.runs["run"].steps.tolist() == list(range(11))
    assert len(seen.plot().render()) > 10_000


def test_bad_input(recorded, run, tmp_path):
    surface, _, recordings = recorded
    plane = la.Plane.pca(surface, recordings["whole"])
    with pytest.raises(InputError, match="got no runs"):
        la.trajectory(surface, plane, {})
    other = run(model=digits_mlp((5,)))
    with la.Recorder(other.model, other.optimizer, tmp_path / "narrow", every=1, quiet=True):
        other.steps(1)
    narrow = la.Recording.load(tmp_path / "narrow")
    for call in (
        lambda: la.Plane.pca(surface, narrow),
        lambda: plane.project(narrow, surface=surface),
        lambda: la.trajectory(surface, plane, narrow),
    ):
        with pytest.raises(CheckpointError, match=r"0.weight.*5, 64.*16, 64"):
            call()
    small = la.NetworkSurface(other.model.eval(), "cross_entropy", (other.x, other.y))
    with pytest.raises(InputError, match="holds 2 usable points of 2 recorded steps; expected at least 3"):
        la.Plane.pca(small, narrow)


@pytest.mark.slow
def test_other_running_statistics_are_said(run, tmp_path):
    one = run(model=digits_cnn().train())
    one.x = one.x.reshape(-1, 1, 8, 8)
    with la.Recorder(one.model, one.optimizer, tmp_path, every=2, quiet=True):
        one.steps(6)
    surface = la.NetworkSurface(one.model.eval(), "cross_entropy", (one.x, one.y))
    recording = la.Recording.load(tmp_path, surface)
    seen = la.trajectory(surface, la.Plane.pca(surface, recording), recording, points=None)
    assert any("running statistics of their own" in note for note in seen.notes)
    assert not any("other values" in note for note in seen.notes)
