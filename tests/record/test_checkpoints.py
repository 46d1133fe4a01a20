"""Runs from the checkpoints that a trainer left: which files are one run, in which order, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas._errors import CheckpointError, InputError
from lossatlas.record import Checkpoints

X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (20,), generator=torch.Generator().manual_seed(1))


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def write(folder, names):
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(net(seed).state_dict(), path)


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["checkpoint-8/w.pt", "checkpoint-16/w.pt", "checkpoint-128/w.pt"], [8, 16, 128]),
        (["ck-0.pt", "ck-9.pt", "ck-10.pt"], [0, 9, 10]),
        (["epoch=0-step=7.ckpt", "epoch=1-step=14.ckpt"], [7, 14]),
        (["epoch1_acc0.50.pt", "epoch2_acc0.75.pt", "epoch10_acc0.60.pt"], [1, 2, 10]),
        (["net2_000.pt", "net2_005.pt"], [0, 5]),
        (["epoch_0/w.pt", "epoch_1/w.pt"], [0, 1]),
    ],
)
def test_numbered_checkpoints_are_one_run_in_the_order_of_their_numbers(tmp_path, names, steps):
    write(tmp_path, names)
    found = Checkpoints.load(tmp_path)
    assert [path.name for path in found.iterates] == [name.partition("/")[0] for name in names]
    assert found.steps.tolist() == steps and found.left_out == () and np.isnan(found.losses).all()


def test_what_is_no_point_of_the_run_is_left_out_and_named(tmp_path):
    write(tmp_path, ["ck-1.pt", "ck-2.pt", "ck-3.pt", "best.pt", "optimizer-1.pt", "optimizer-2.pt", "other-7.pt"])
    (tmp_path / "ck-4.txt").write_text("no weights")
    (tmp_path / "logs-1").mkdir()
    found = Checkpoints.load(tmp_path)
    assert found.steps.tolist() == [1, 2, 3] and set(found.left_out) == {"best.pt", "other-7.pt"}
    assert found.sentence.startswith("3 checkpoints, ck-1.pt to ck-3.pt; left out: best.pt")


def test_a_folder_of_one_checkpoint_and_a_file_are_one_point(tmp_path):
    write(tmp_path, ["one/model.pt", "shards/model-00001-of-00002.pt", "shards/model-00002-of-00002.pt"])
    for path in (tmp_path / "one", tmp_path / "one/model.pt", tmp_path / "shards"):
        assert Checkpoints.load(path).iterates == (path,)


def test_names_that_do_not_count_steps_give_their_places(tmp_path):
    assert Checkpoints.of(["b.pt", "a.pt"]).steps.tolist() == [0, 1]
    assert Checkpoints.of(["ck-3.pt", "ck-1.pt", "ck-2.pt"]).steps.tolist() == [0, 1, 2]


def test_two_series_of_equal_length_are_refused(tmp_path):
    write(tmp_path, ["gen-1.pt", "gen-2.pt", "disc-1.pt", "disc-2.pt"])
    with pytest.raises(
        CheckpointError, match=r"2 series of 2 checkpoints: disc-1.pt to disc-2.pt, gen-1.pt to gen-2.pt"
    ):
        Checkpoints.load(tmp_path)
    with pytest.raises(InputError, match="no checkpoints"):
        Checkpoints.of([])
    for given in ("net-1.pt", tmp_path, None, 3):
        with pytest.raises(InputError, match=r"expected a list of files or folders .*Checkpoints.load"):
            Checkpoints.of(given)


@pytest.mark.slow
def test_a_trajectory_of_a_folder_of_a_list_and_of_vectors_are_the_same(tmp_path):
    write(tmp_path, ["ck-0.pt", "ck-9.pt", "ck-10.pt", "ck-11.pt"])
    surface = la.NetworkSurface(net(3), "cross_entropy", (X, Y))
    files = [tmp_path / f"ck-{k}.pt" for k in (0, 9, 10, 11)]
    rows = torch.stack([surface.vector(net(k)) for k in range(4)])
    plane = la.Plane.pca(surface, tmp_path)
    assert torch.equal(plane.frame.directions, la.Plane.pca(surface, files).frame.directions)
    assert torch.allclose(plane.frame.directions, la.Plane.pca(surface, rows).frame.directions, atol=1e-6)
    basis, _ = np.linalg.qr(plane.frame.directions.double().numpy().T)
    offsets = (rows - rows[-1]).double().numpy()
    true = [float(nn.functional.cross_entropy(net(k)(X), Y).detach()) for k in range(4)]
    for given in (tmp_path, str(tmp_path), files, list(map(str, files)), [tmp_path], [net(k) for k in range(4)]):
        seen = la.trajectory(surface, plane, given, points=None).runs["run"]
        assert seen.loss.tolist() == pytest.approx(true, rel=1e-5)
        assert np.allclose(seen.distances, np.linalg.norm(offsets - offsets @ basis @ basis.T, axis=1), atol=1e-5)
        counted = not isinstance(given, list) or not isinstance(given[0], nn.Module)
        assert seen.steps.tolist() == ([0, 9, 10, 11] if counted else [0, 1, 2, 3])


@pytest.mark.slow
def test_a_plane_projects_files_modules_and_recordings_by_its_own_layout(tmp_path):
    surface = la.NetworkSurface(net(3), "cross_entropy", (X, Y))
    plane = la.Plane.random(surface)
    write(tmp_path, ["ck-0.pt", "ck-1.pt", "ck-2.pt"])
    rows = torch.stack([surface.vector(net(k)) for k in range(3)])
    truth = plane.project(rows)
    for given in (
        tmp_path,
        [tmp_path / f"ck-{k}.pt" for k in range(3)],
        [net(k) for k in range(3)],
        [net(k).state_dict() for k in range(3)],
    ):
        seen = plane.project(given)
        assert torch.allclose(seen.coords, truth.coords) and torch.allclose(seen.residuals, truth.residuals)
    model = net(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with la.Recorder(model, optimizer, tmp_path / "run", every=1, quiet=True):
        for _ in range(3):
            nn.functional.cross_entropy(model(X), Y).backward()
            optimizer.step()
    run = la.Recording.load(tmp_path / "run")
    vectors = torch.stack([run.vector(step) for step in run.steps])
    assert torch.allclose(plane.project(run).coords, plane.project(vectors).coords)
    assert torch.allclose(plane.project(tmp_path / "run").coords, plane.project(vectors).coords)
    wide = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    with pytest.raises(CheckpointError, match=r"0.weight .*\(6, 4\)"):
        plane.project([wide])
    other = la.Plane.random(la.NetworkSurface(wide, "cross_entropy", (X, Y)))
    with pytest.raises(CheckpointError, match="another model"):
        other.project(run)
    bowl = la.landscapes.quadratic(dimension=3)
    with pytest.raises(InputError, match="does not know the names of its parameters"):
        la.Plane.random(bowl, origin=torch.ones(3)).project([net(0)])


@pytest.mark.slow
def test_paths_are_drawn_on_the_relief_and_without_panels(tmp_path):
    write(tmp_path, ["ck-0.pt", "ck-1.pt", "ck-2.pt", "ck-3.pt"])
    surface = la.NetworkSurface(net(3), "cross_entropy", (X, Y))
    seen = la.trajectory(surface, la.Plane.pca(surface, tmp_path), tmp_path, points=7, progress=False)
    relief = seen.plot_relief()
    path = next(line for line in relief.ax_.lines if line.get_gid() == "path")
    drawn = np.stack(path.get_data_3d()[:2], axis=1)
    # The path is laid over the relief in small steps, and passes every point of the run.
    gaps = np.linalg.norm(drawn[None] - seen.runs["run"].coords[:, None], axis=-1)
    assert gaps.min(1).max() < 1e-6
    assert relief.ax_.get_legend() is None  # one path needs no name
    assert len(seen.plot(panels=False).figure_.axes) < len(seen.plot().figure_.axes)
    with pytest.raises(InputError, match="no field below them"):
        la.trajectory(surface, la.Plane.pca(surface, tmp_path), tmp_path, points=None).plot_relief()
