"""Nodes in half precision: taken where they are faster and exact enough, never for what the error is measured on."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lossatlas as la
from lossatlas.chart.sampling import _half
from lossatlas.surface.network import _half as units
from lossatlas.surface.network._outputs import NetworkOutputs


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """A machine whose products in half precision take a tenth of the time."""
    monkeypatch.setattr("lossatlas.surface.network._outputs.multiplies_faster", lambda device: True)
    monkeypatch.setattr("lossatlas.surface.network._outputs.SMALL", 0)
    steps = itertools.cycle([0.0, 10.0, 0.0, 1.0])
    begun = itertools.accumulate(steps)
    monkeypatch.setattr(
        _half.Halves.__init__, "__kwdefaults__", {**_half.Halves.__init__.__kwdefaults__, "clock": lambda: next(begun)}
    )


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 5))
    x = torch.randn(400, 8)
    y = (x @ torch.randn(8, 5)).argmax(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, x, y


def _surface(trained):
    model, x, y = trained
    return la.NetworkSurface(model, "cross_entropy", (x, y))


def _truth(trained, plane, chart):
    """Losses in float32 by a loop over all cells."""
    model, x, y = trained
    found = np.empty(chart.loss.shape)
    for j, b in enumerate(chart.beta):
        for i, a in enumerate(chart.alpha):
            theta = plane.frame.points(torch.tensor([[a, b]], dtype=torch.float64))[0]
            parts = torch.split(theta, [p.numel() for p in model.parameters()])
            own = {n: q.view_as(p) for (n, p), q in zip(model.named_parameters(), parts, strict=True)}
            with torch.no_grad():
                found[j, i] = float(F.cross_entropy(torch.func.functional_call(model, own, (x,)), y))
    return found


@pytest.mark.slow
def test_outputs_in_half_precision_are_those_of_torchs_autocast(trained):
    model, x, _ = trained
    surface = _surface(trained)
    source = surface.on(la.Plane.random(surface, seed=0)).own_outputs()
    (found,) = source.halved().read(np.zeros((1, 2)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = model(x)
    assert expected.dtype == torch.bfloat16 and found.dtype == torch.float32
    assert torch.equal(found[0], expected.float())
    assert not torch.equal(source.read(np.zeros((1, 2)))[0][0], found[0])


@pytest.mark.slow
def test_nodes_are_in_half_precision_and_the_error_is_measured_in_full(trained):
    surface = _surface(trained)
    plane = la.Plane.random(surface, seed=1)
    chart = la.chart(surface, plane, points=31, tolerance=0.05, progress=False)
    assert "of them in half precision" in chart.provenance["sampler"]
    true = _truth(trained, plane, chart)
    np.testing.assert_allclose(chart.loss[chart.exactly], true[chart.exactly], rtol=1e-5)
    assert chart.exactly[15, 15]
    cells = {tuple(cell) for cell in np.argwhere(chart.exactly)}
    assert 8 <= len(cells) < len(chart.samples)
    # Where a node was rounded the cell says so, and has an error of its own.
    at = [(np.abs(chart.beta - b).argmin(), np.abs(chart.alpha - a).argmin()) for a, b in chart.samples]
    rounded = [cell for cell in at if not chart.exactly[cell]]
    assert rounded and all(chart.error[cell] > 0 for cell in rounded)
    off = np.abs(chart.loss - true) / true
    assert max(off[cell] for cell in rounded) > 1e-5
    close = true <= np.quantile(true, 0.1)
    assert np.quantile(off[close], 0.95) <= 0.05 and np.quantile(off, 0.95) <= 0.125


@pytest.mark.slow
def test_where_half_precision_is_too_coarse_all_is_in_full(trained):
    surface = _surface(trained)
    plane = la.Plane.random(surface, seed=1)
    chart = la.chart(surface, plane, points=15, tolerance=1e-4, progress=False)
    assert "half precision" not in chart.provenance["sampler"]
    at = [(np.abs(chart.beta - b).argmin(), np.abs(chart.alpha - a).argmin()) for a, b in chart.samples]
    assert all(chart.exactly[cell] for cell in at)


@pytest.mark.slow
@pytest.mark.parametrize("why", ["no units", "slower"])
def test_where_nothing_is_gained_the_chart_is_the_plain_one(trained, why, monkeypatch):
    surface = _surface(trained)
    plane = la.Plane.random(surface, seed=1)
    if why == "no units":
        monkeypatch.setattr("lossatlas.surface.network._outputs.multiplies_faster", lambda device: False)
    else:
        monkeypatch.setattr(_half, "FASTER", 1e9)
    chart = la.chart(surface, plane, points=31, progress=False)
    monkeypatch.undo()
    monkeypatch.setattr("lossatlas.surface.network._outputs.multiplies_faster", lambda device: False)
    plain = la.chart(surface, plane, points=31, progress=False)
    np.testing.assert_array_equal(chart.loss, plain.loss)
    assert chart.meter.values - plain.meter.values == (0 if why == "no units" else 4)


@pytest.mark.slow
def test_a_chart_that_goes_on_decides_nothing_anew(trained, tmp_path):
    surface = _surface(trained)
    plane = la.Plane.random(surface, seed=1)
    settings = {"points": 31, "tolerance": 0.05}
    whole = la.chart(surface, plane, ledger=tmp_path / "whole", progress=False, **settings)

    def stop(done, total):
        if done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        la.chart(surface, plane, ledger=tmp_path / "cut", progress=stop, **settings)
    again = la.chart(surface, plane, ledger=tmp_path / "cut", progress=False, **settings)
    np.testing.assert_array_equal(again.loss, whole.loss)
    np.testing.assert_array_equal(again.exactly, whole.exactly)
    assert again.meter.recalled > 20
    assert "half precision" in again.provenance["sampler"]


def test_lines_are_in_full_precision(trained):
    surface = _surface(trained)
    chart = la.chart(surface, la.Line.random(surface, seed=0), points=61, progress=False)
    assert "half" not in chart.provenance["sampler"]


@pytest.mark.slow
def test_margins_of_outputs_in_half_precision(trained):
    surface = _surface(trained)
    plane = la.Plane.random(surface, seed=1)
    settings = {"points": 31, "tolerance": 0.05, "progress": False}
    small = la.chart(surface, plane, memory=2 * 64 * 400 * 3 * 4, **settings)
    assert "margins" in small.provenance["sampler"] and "half precision" in small.provenance["sampler"]
    true = _truth(trained, plane, small)
    assert np.quantile(np.abs(small.loss - true) / true, 0.95) <= 0.125


def test_the_machine_is_measured():
    assert units.multiplies_faster(torch.device("cpu")) in (True, False)
    assert not units.multiplies_faster(torch.device("meta"))


@pytest.mark.slow
def test_a_stricter_chart_in_the_same_ledger_changes_nothing(trained, tmp_path, monkeypatch):
    surface = _surface(trained)
    plane = la.Plane.random(surface, seed=1)
    first, strict, again = (
        la.chart(surface, plane, points=21, tolerance=tolerance, ledger=tmp_path, progress=False)
        for tolerance in (0.05, 1e-4, 0.05)
    )
    assert "half precision" in first.provenance["sampler"] and "half precision" not in strict.provenance["sampler"]
    np.testing.assert_array_equal(again.loss, first.loss)
    assert again.meter.values == 0
    # Nor does a device that is busy when it is measured once more.
    monkeypatch.setattr("lossatlas.surface.network._outputs.multiplies_faster", lambda device: False)
    busy = la.chart(surface, plane, points=21, tolerance=0.05, ledger=tmp_path, progress=False)
    np.testing.assert_array_equal(busy.loss, first.loss)


class _Scatters(nn.Module):
    """Writes what it computed into a buffer of float32, which torch refuses of bfloat16."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 5)

    def forward(self, x):
        gathered = torch.zeros(len(x), 16)
        gathered[torch.arange(len(x))] = torch.tanh(self.first(x))
        return self.last(gathered)


def test_a_model_that_cannot_be_run_in_half_precision_is_charted_in_full(trained):
    _, x, y = trained
    torch.manual_seed(0)
    surface = la.NetworkSurface(_Scatters(), "cross_entropy", (x, y))
    chart = la.chart(surface, la.Plane.random(surface, seed=0), points=21, tolerance=0.05, progress=False)
    assert "half precision" not in chart.provenance["sampler"] and chart.holes == 0


@pytest.mark.slow
def test_what_only_half_precision_makes_infinite_is_no_hole(trained, monkeypatch):
    surface = _surface(trained)
    plane = la.Plane.random(surface, seed=1)
    plain = la.chart(surface, plane, points=31, tolerance=0.05, progress=False)
    read = NetworkOutputs.read

    def lost(self, coords):
        """Not finite at the corners, where it is in half precision."""
        found = read(self, coords)
        corners = torch.from_numpy((np.abs(coords) == 1).all(1))
        return [part.masked_fill(corners[:, None, None], torch.nan) for part in found] if self._half else found

    monkeypatch.setattr(NetworkOutputs, "read", lost)
    chart = la.chart(surface, plane, points=31, tolerance=0.05, progress=False)
    assert chart.holes == 0 and "half precision" in chart.provenance["sampler"]
    corners = np.ix_([0, -1], [0, -1])
    np.testing.assert_allclose(chart.loss[corners], plain.loss[corners], rtol=0.125)
    assert chart.exactly[corners].sum() > plain.exactly[corners].sum()


def test_of_small_passes_no_clock_is_asked(trained, monkeypatch):
    source = _surface(trained).on(la.Plane.random(_surface(trained), seed=0)).own_outputs()
    assert source.halved() is not None
    monkeypatch.undo()
    monkeypatch.setattr("lossatlas.surface.network._outputs.multiplies_faster", lambda device: 1 / 0)
    assert source.halved() is None and source.halved(known=True) is not None
