"""Between many solutions: the matrix of barriers, similarity of representations, the line through a minimum and beyond."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import lossatlas as la
from lossatlas.cli._main import group
from lossatlas.connect._similarity import cka
from lossatlas.demo import digits, digits_mlp
from lossatlas.surface import StateSurface


def slow_hsic(one, two):
    """The estimate written out as sums over pairs, triples and quadruples of different examples (Gretton et al. 2007)."""
    n = len(one)
    pairs = sum(one[i, j] * two[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    triples = sum(
        one[i, j] * two[i, q] for i in range(n) for j in range(n) for q in range(n) if len({i, j, q}) == 3
    ) / (n * (n - 1) * (n - 2))
    quads = sum(
        one[i, j] * two[q, r]
        for i in range(n) for j in range(n) for q in range(n) for r in range(n) if len({i, j, q, r}) == 4
    ) / (n * (n - 1) * (n - 2) * (n - 3))  # fmt: skip
    return pairs - 2 * triples + quads


def test_cka_is_that_of_its_definitions():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 4))
    x, y = x - x.mean(0), y - y.mean(0)
    norm = np.linalg.norm
    by_features = norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y))  # Kornblith et al. 2019, section 3
    one, two = x @ x.T, y @ y.T
    assert cka(one, two) == pytest.approx(by_features, rel=1e-12)
    slow = slow_hsic(one, two) / np.sqrt(slow_hsic(one, one) * slow_hsic(two, two))
    assert cka(one, two, unbiased=True) == pytest.approx(slow, rel=1e-9)


@pytest.mark.slow
def test_representations_are_alike_up_to_rotation_and_order(mlps):
    (one, two), surface, _ = mlps
    copy = la.random_copy(surface, rescale=False)
    found = la.similarity(surface, {"a": one, "copy": copy.state, "b": two}, examples=64)
    assert found.layers == ("0", "2", "4") and found.values.shape == (3, 3, 3)
    assert np.allclose(found.values[:, 0, 1], 1, atol=1e-5) and (found.values[:, 0, 2] < 0.999).all()
    states = StateSurface(surface, taps=["2"], limit=64)
    points = torch.stack([states.join(m.state_dict()) for m in (one, two)])
    x, y = (t.double().numpy() for t in states.read(points).extras["tap/2"])
    x, y = x - x.mean(0), y - y.mean(0)
    direct = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert found.matrix("2")[0, 2] == pytest.approx(direct, rel=1e-5)
    assert found.low[1, 0, 2] < direct < found.high[1, 0, 2]
    assert "linear CKA of 3 networks on 64 examples" in found.sentence
    with pytest.raises(la.InputError, match="no layer 'nowhere'"):
        found.matrix("nowhere")
    with pytest.raises(la.InputError, match="at least two"):
        la.similarity(surface, {"a": one})
    with pytest.raises(la.NotApplicableError, match="no representations"):
        la.similarity(la.landscapes.himmelblau(), {"a": [0.0, 0.0], "b": [1.0, 1.0]})


def test_the_interval_of_cka_covers_its_value_on_other_examples():
    """Two fixed random features of the same inputs: of 40 samples of 100 examples, most intervals hold the large-sample value."""
    rng = np.random.default_rng(1)
    from lossatlas.connect._similarity import _gram, _with_interval

    a, b = rng.normal(size=(6, 5)), rng.normal(size=(6, 5))

    def value(n):
        x = rng.normal(size=(n, 6))
        return _gram(np.tanh(x @ a)), _gram(np.tanh(x @ b))

    truth = cka(*value(2000), unbiased=True)
    held = 0
    for _ in range(40):
        _, (low, high) = _with_interval(*value(100), True)
        held += low <= truth <= high
    # 95 % each: fewer than 32 of 40 has probability 3e-4.
    assert held >= 32


@pytest.mark.slow
def test_the_matrix_holds_every_barrier_and_survives_saving(tmp_path):
    surface = la.NetworkSurface(digits_mlp((8,)), "cross_entropy", tuple(p[:60] for p in digits("test")))
    points = {name: digits_mlp((8,), seed=seed) for seed, name in enumerate("abc")}
    found = la.barriers(surface, points, resamples=50, points=5, tolerance=None, progress=False)
    assert found.names == ("a", "b", "c")
    for (one, two), value in zip(found.pairs, found.values, strict=True):
        path = la.connect(surface, points[one], points[two], resamples=0, points=5, tolerance=None, progress=False)
        assert value == pytest.approx(path.barrier, rel=1e-9)
        i, j = found.names.index(one), found.names.index(two)
        assert found.matrix[i, j] == found.matrix[j, i] == value
    assert np.diag(found.matrix).tolist() == [0, 0, 0] and "a – b" in str(found.table())
    found.save(tmp_path / "m")
    again = la.load(tmp_path / "m")
    assert np.array_equal(again.matrix, found.matrix) and again.sentence == found.sentence
    drawn = again.plot_matrix()
    assert [t.get_text() for t in drawn.ax_.get_xticklabels()] == ["a", "b", "c"]
    aligned = la.barriers(surface, points, aligned=True, resamples=0, points=5, tolerance=None, progress=False)
    moved = la.align(surface, points["a"], points["b"], progress=False)
    by_hand = la.connect(surface, points["a"], moved.permuted, resamples=0, points=5, tolerance=None, progress=False)
    assert aligned.values[0] == pytest.approx(by_hand.barrier, rel=1e-9)
    other = nn.Sequential(nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 10))
    with pytest.raises(la.InputError, match="another architecture"):
        la.barriers(surface, {**points, "other": other}, progress=False)


@pytest.mark.slow
def test_a_line_goes_from_the_start_through_the_minimum_and_beyond(tmp_path, ring):
    found = la.through(ring, [0.0, 0.0], [1.0, 0.0], before=0.5, beyond=1.0, points=26)
    assert {0.0, 1.0} <= set(found.t.tolist()) and (found.t[0], found.t[-1]) == (-0.5, 2.0)
    assert np.allclose(found.loss, (found.t**2 - 1) ** 2) and found.rise == 0 and found.lowest == pytest.approx(1.0)
    assert "falls all the way" in found.sentence and found.length == pytest.approx(1.0)
    across = la.through(ring, [-1.0, 0.0], [1.0, 0.0], points=36)
    assert across.rise == pytest.approx(1.0, rel=1e-2) and "rises by up to" in across.sentence
    found.save(tmp_path / "line")
    assert np.array_equal(la.load(tmp_path / "line").loss, found.loss)
    assert found.plot().ax_.get_xlim()[1] == pytest.approx(2.0)
    with pytest.raises(la.InputError, match="same point"):
        la.through(ring, [1.0, 0.0], [1.0, 0.0])


@pytest.mark.slow
def test_the_command_writes_the_matrix_and_the_similarity(tmp_path):
    (tmp_path / "my.py").write_text(
        "from lossatlas.demo import digits, digits_mlp\n\n\ndef model():\n    return digits_mlp((8,))\n\n\n"
        "def data():\n    return tuple(p[:60] for p in digits('test'))\n"
    )
    files = []
    for seed in range(3):
        files.append(str(tmp_path / f"run{seed}.pt"))
        torch.save(digits_mlp((8,), seed=seed).state_dict(), files[-1])
    given = ["--model", f"{tmp_path}/my.py:model", "--data", f"{tmp_path}/my.py:data", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(group, ["barriers", *files, *given, "--points", "5", "--similarity", "--quiet"])
    assert done.exit_code == 0, done.output
    assert "run0 – run1" in done.output and "linear CKA of 3 networks" in done.output
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"barriers", "barriers.png", "similarity", "similarity.png"}
    assert la.load(tmp_path / "out" / "barriers").names == ("run0", "run1", "run2")
