"""True losses of a run's checkpoints against the user's own loop over load_state_dict, running statistics included."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

import lossatlas as la

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (96,), generator=torch.Generator().manual_seed(1))


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def run(tmp_path):
    """Checkpoints of a training run, and the loss that the user's own evaluation gives at each."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    files, true = [], []
    for step in range(5):
        files.append(tmp_path / f"net-{step}.safetensors")
        save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, files[-1])
        model.eval()
        with torch.no_grad():
            true.append(float(F.cross_entropy(model(X), Y)))
        model.train()
        for part in torch.split(torch.arange(96), 24):
            optimizer.zero_grad()
            F.cross_entropy(model(X[part]), Y[part]).backward()
            optimizer.step()
    model.load_state_dict(last(files[-1]))
    return model.eval(), files, true


def last(path):
    from safetensors.torch import load_file

    return load_file(path)


@pytest.mark.slow
@pytest.mark.parametrize("batchnorm", [None, "frozen", "interpolate"])
def test_true_losses_are_those_of_the_users_own_evaluation_at_each_checkpoint(run, batchnorm):
    model, files, true = run
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y), batchnorm=batchnorm)
    plane = la.Plane.pca(surface, files)
    seen = la.trajectory(surface, plane, files, points=None)
    assert seen.runs["run"].loss == pytest.approx(true, rel=1e-5)
    # With the surface's own statistics, those of the last checkpoint, the first would come out as another number.
    states = [last(path) for path in files]
    frozen = surface.values(torch.stack([surface.vector(state) for state in states])).numpy()
    assert abs(frozen[0] / true[0] - 1) > 1e-3
    # Where they are coordinates of every point, nothing need be said.
    assert any("running statistics of their own" in note for note in seen.notes) == (batchnorm != "interpolate")
    assert seen.meter["true"].values == 5


def test_state_dicts_and_vectors_may_stand_in_one_run(run):
    model, files, true = run
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y))
    points = [last(files[0]), last(files[2]), surface.theta]
    plane = la.Plane.pca(surface, points)
    seen = la.trajectory(surface, plane, points, points=None)
    assert np.allclose(seen.runs["run"].loss, [true[0], true[2], true[4]], rtol=1e-5)
