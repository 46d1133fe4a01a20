"""Sketches keep lengths and angles in the mean, with the stated error; what is made of them says how far it is off."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas._errors import InputError, PlaneError
from lossatlas.record._coordinates import from_sketches
from lossatlas.record._sketch import Sketch

N, M = 3000, 128


def vectors() -> dict[str, torch.Tensor]:
    """Vectors that trouble sketches with too little chance in them: all alike, periodic, few entries, heavy tails."""
    columns = torch.zeros(N // 50, 50, dtype=torch.float64)
    columns[:, 7] = 1
    few = torch.zeros(N, dtype=torch.float64)
    few[torch.tensor([3, 3 + M, 3 + 2 * M, 4 + M])] = torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    tails = torch.randn(N, generator=generator, dtype=torch.float64) ** 5
    return {"alike": torch.ones(N).double(), "columns": columns.reshape(-1), "few": few, "tails": tails}


def test_a_sketch_is_linear_and_does_not_depend_on_how_the_vector_is_cut():
    fold, (x, y) = Sketch(N, M, seed=4), (torch.randn(N, dtype=torch.float64) for _ in range(2))
    assert torch.allclose(fold([3 * x - y]), 3 * fold([x]) - fold([y]), atol=1e-12)
    for cuts in ([1, 2, N - 3], [M, N - M], [N - 1, 1], [7] * (N // 7) + [N % 7]):
        assert torch.allclose(fold(list(x.split(cuts))), fold([x]), atol=1e-12)
    assert torch.allclose(fold([x.reshape(60, 50)]), fold([x]), atol=1e-12)
    assert not torch.allclose(Sketch(N, M, seed=5)([x]), fold([x]))
    with pytest.raises(InputError, match="got a vector of 10 entries; expected 3,000"):
        fold([torch.ones(10)])


def test_a_sketch_is_what_its_definition_says():
    """Entry by entry, from the signs and rotations it drew."""
    fold, x = Sketch(N, M, seed=1), torch.randn(N, dtype=torch.float64)
    slow = np.zeros(M)
    for i, value in enumerate(x.tolist()):
        chunk, place = divmod(i, M)
        slow[(place + fold._rotations[chunk]) % M] += value * float(fold._within[place]) * fold._across[chunk]
    assert np.allclose(fold([x]).numpy(), slow, atol=1e-12)


@pytest.mark.parametrize("kind", vectors())
def test_lengths_are_kept_in_the_mean_with_the_stated_error(kind):
    """Over 400 seeds; the mean is held to 4 standard errors (one false alarm in 16,000), the error to its bound.

    A vector whose entries are all alike attains the bound; the spread of 400 numbers is known to about 4 %, so that 15 %
    above it is a false alarm in 5,000.
    """
    x = vectors()[kind]
    length = float(x.square().sum())
    found = np.array([float(Sketch(N, M, seed)([x]).square().sum()) / length for seed in range(400)])
    assert abs(found.mean() - 1) < 4 * max(found.std(), 1e-12) / math.sqrt(400)
    assert found.std() < 1.15 * 2 / math.sqrt(M)
    assert 1.9 / math.sqrt(M) < Sketch(N, M).error < 2 / math.sqrt(M)


def path(seed: int, steps: int = 40) -> torch.Tensor:
    """A curved way with noise on it, (steps, N)."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.linspace(0, 1, steps, dtype=torch.float64)
    a, b = torch.randn(2, N, generator=generator, dtype=torch.float64)
    noise = 0.02 * torch.randn(steps, N, generator=generator, dtype=torch.float64).cumsum(0)
    return torch.outer(1 - (-4 * t).exp(), a) + torch.outer((3 * t).sin() * 0.5, b) + noise


def exact(rows: torch.Tensor, centering: str) -> tuple[np.ndarray, np.ndarray]:
    """NumPy's singular value decomposition."""
    centered = (rows - (rows[-1] if centering == "final" else rows.mean(0))).numpy()
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    return u[:, :2] * s[:2], s[:2] ** 2 / (s**2).sum()


def away(coords: np.ndarray, truth: np.ndarray) -> float:
    flipped = truth * np.where((coords * truth).sum(0) < 0, -1.0, 1.0)
    return float(np.linalg.norm(coords - flipped) / np.linalg.norm(truth))


@pytest.mark.slow
@pytest.mark.parametrize("centering", ["final", pytest.param("mean", marks=pytest.mark.slow)])
def test_coordinates_from_sketches_lie_within_their_stated_error(centering):
    """The ratio of true error to stated standard error over 60 sketches: mostly below 2, and not far below 1."""
    rows = path(0)
    truth, shares = exact(rows, centering)
    ratios, within = [], 0
    for seed in range(60):
        fold = Sketch(N, 512, seed)
        found, error, shares_error = from_sketches(torch.stack([fold([row]) for row in rows]), centering, fold.meeting)
        ratios.append(away(found.coords.numpy(), truth) / error)
        within += int((abs(found.shares.numpy() - shares) < 3 * shares_error.numpy()).all())
    assert np.quantile(ratios, 0.95) < 2.5 and 0.3 < np.median(ratios) < 1.5
    assert within >= 55


@pytest.mark.slow
@pytest.mark.parametrize("centering", ["final", "mean"])
def test_whole_points_give_exact_coordinates(run, tmp_path, centering):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=5, quiet=True):
        one.steps(60)
    found = la.Recording.load(tmp_path).coordinates(centering)
    truth, shares = exact(torch.stack(one.points[::5]).double(), centering)
    assert away(found.coords, truth) < 1e-6 and np.allclose(found.shares, shares, atol=1e-9)
    assert found.error == 0 and "coordinates exact" in found.sentence
    rows = torch.stack(one.points[::5]).double()
    rows = (rows - (rows[-1] if centering == "final" else rows.mean(0))).numpy()
    missing = np.linalg.norm(rows, axis=1) ** 2 - (truth**2).sum(1)
    lengths = np.linalg.norm(rows, axis=1)
    expected = np.sqrt(np.clip(missing, 0, None)) / np.where(lengths > 0, lengths, 1)
    assert np.allclose(found.residuals, expected, atol=1e-5)


@pytest.mark.slow
def test_a_recorded_sketch_gives_the_coordinates_of_the_whole_run(run, tmp_path):
    """Against the exact components of all points, which the recording does not hold; three standard errors."""
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=5, sketch=256, quiet=True):
        one.steps(100)
    recording = la.Recording.load(tmp_path, one.model)
    assert len(recording.rows) == 21 and len(recording.iterates) <= 10 and recording.sketched
    found = recording.coordinates()
    truth, shares = exact(torch.stack(one.points[::5]).double(), "final")
    assert 0 < found.error < 0.2 and away(found.coords, truth) < 3 * found.error
    assert (abs(found.shares - shares) < 4 * found.shares_error).all()
    assert found.bound == recording._fold.error < 2 / math.sqrt(256) and "standard error" in found.sentence
    assert (found.residuals >= 0).all() and found.residuals[-1] == 0


def test_a_sketch_with_room_for_everything_is_exact(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=5, sketch=4096, quiet=True):
        one.steps(30)
    found = la.Recording.load(tmp_path).coordinates()
    truth, _ = exact(torch.stack(one.points[::5]).double(), "final")
    assert found.error == found.bound == 0 and away(found.coords, truth) < 1e-6


def test_a_short_run_has_no_plane(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path / "a", every=1, quiet=True):
        one.steps(1)
    with pytest.raises(InputError, match="holds 2 usable points of 2 recorded steps; expected at least 3"):
        la.Recording.load(tmp_path / "a").coordinates()
    still = run(lr=0.0)
    with la.Recorder(still.model, still.optimizer, tmp_path / "b", every=1, quiet=True):
        still.steps(3)
    with pytest.raises(PlaneError, match="span no plane"):
        la.Recording.load(tmp_path / "b").coordinates()
    with pytest.raises(InputError, match="holds whole points only"):
        _ = la.Recording.load(tmp_path / "a").sketches
    with pytest.raises(InputError, match="no centering named 'middle'"):
        la.Recording.load(tmp_path / "b").coordinates("middle")


def test_the_standard_error_of_sketched_components_is_the_jackknifes():
    """By singular vectors of the columns that are left: what a group takes away is made up by the others."""
    sketches = torch.randn(6, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64).cumsum(0)
    rows = (sketches - sketches[-1]).numpy()

    def on_axes(columns, sign=None):
        left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
        coords = left[:, :2] * sizes[:2]
        agree = np.sign((coords * sign).sum(0)) if sign is not None else np.ones(2)
        return coords * agree, sizes[:2] ** 2 / (sizes**2).sum()

    whole, shares = on_axes(rows)
    groups = np.array_split(np.arange(64), 32)
    without = [on_axes(np.delete(rows, group, 1) * np.sqrt(32 / 31), whole) for group in groups]
    spread = sum(((coords - whole) ** 2).sum() for coords, _ in without)
    apart = sum((one - shares) ** 2 for _, one in without)
    _, error, of_shares = from_sketches(sketches, "final", meeting=0.75)
    assert error == pytest.approx(np.sqrt(0.75 * spread * 31 / 32) / np.linalg.norm(whole), rel=1e-9)
    np.testing.assert_allclose(of_shares.numpy(), np.sqrt(0.75 * apart * 31 / 32), rtol=1e-9)
