"""Volumes: every cell against the surface itself, slices against charts, files against other readers, refusals."""

import base64
import csv
import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas._errors import InputError, OutputError, PlaneError
from lossatlas.chart.planes._identity import need_plane
from lossatlas.draw import SlicesDisplay, figures
from lossatlas.surface import Frame

BOWL = la.landscapes.quadratic(condition=9.0, dimension=5)
Q = {"progress": False}


def examples():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(20, 4, generator=generator, dtype=torch.float64), torch.arange(20) % 3


def network(batchnorm=False):
    torch.manual_seed(0)
    norm = [nn.BatchNorm1d(5)] if batchnorm else []
    model = nn.Sequential(nn.Linear(4, 5), *norm, nn.Tanh(), nn.Linear(5, 3)).double().eval()
    return model, la.NetworkSurface(model, loss="cross_entropy", data=examples())


def directly(surface, space, made):
    """The slow obvious way: each cell's point by itself, the first axis last."""
    frame, found = space.frame, np.empty(made.loss.shape)
    for at in np.ndindex(*found.shape):
        coords = [axis[k] for axis, k in zip(made.axes, reversed(at), strict=True)]
        theta = frame.origin.double() + sum(c * row.double() for c, row in zip(coords, frame.directions, strict=True))
        found[at] = float(surface.values(theta[None].to(frame.origin))[0])
    return found


@pytest.mark.parametrize("dimension", [3, 4])
def test_every_cell_is_the_loss_at_its_point_and_is_counted_once(dimension):
    space = la.Space.random(BOWL, dimension=dimension, seed=3)
    counts = (5, 4, 3, 2)[:dimension]
    spans = ((-1.0, 2.0), (-0.5, 0.7), (-1.0, 1.0), (0.0, 1.0))[:dimension]
    made = la.volume(BOWL, space, points=counts, span=spans, **Q)
    assert made.loss.shape == counts[::-1] and made.meter.values == np.prod(counts)
    assert [(axis[0], axis[-1], len(axis)) for axis in made.axes] == [
        (*s, n) for s, n in zip(spans, counts, strict=True)
    ]
    assert np.allclose(made.loss, directly(BOWL, space, made), rtol=1e-13)
    assert made.reading()[0].startswith(" × ".join(map(str, counts)))


def test_a_network_s_volume_holds_its_loss_and_accuracy_and_leaves_it_as_it_was():
    model, surface = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    space = la.Space.random(surface)
    made = la.volume(surface, space, points=5, **Q)
    assert np.allclose(made.loss, directly(surface, space, made), rtol=1e-12)
    assert made.center == pytest.approx(surface.loss_at_theta, rel=1e-12)
    assert made.accuracy.shape == (5, 5, 5) and made.meter.examples == 125 * 20
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    plane = la.Plane.random(surface)
    assert torch.equal(space.frame.directions[:2], plane.frame.directions), "the first two are the plane's"
    flat, layer = la.chart(surface, plane, points=5, exact=True, **Q), made.slice(2, 0.0)
    assert isinstance(layer, la.Chart) and layer.certificate.exact and layer.labels == made.labels[:2]
    assert np.allclose(layer.loss, flat.loss, rtol=1e-12) and np.array_equal(layer.accuracy, flat.accuracy)


def test_slices_lie_where_they_say_and_a_layer_can_be_charted_again():
    _, surface = network()
    made = la.volume(surface, la.Space.random(surface), points=(4, 5, 6), **Q)
    for axis in range(3):
        value = float(made.axes[axis][1])
        layer = made.slice(axis, value + 0.01)
        assert layer.provenance["slice"]["value"] == value and layer.provenance["slice"]["label"] == made.labels[axis]
        assert np.array_equal(layer.loss, np.take(made.loss, 1, axis=2 - axis))
        again = la.chart(layer.source[0], layer.source[1], points=layer.loss.shape[::-1], exact=True, **Q)
        assert np.allclose(again.loss, layer.loss, rtol=1e-11)
    four = la.volume(BOWL, la.Space.random(BOWL, dimension=4), points=3, **Q)
    cube = four.slice(3, 1.0)
    assert isinstance(cube, la.Volume) and np.array_equal(cube.loss, four.loss[2])
    assert cube.slice(0, -1.0).loss.shape == (3, 3)


def test_statistics_of_batch_norm_move_through_four_models():
    model, surface = network(batchnorm=True)
    states = []
    for seed in range(4):
        torch.manual_seed(seed + 5)
        states.append(
            {
                name: t if t.dtype == torch.int64 else t + 0.1 * torch.rand_like(t)
                for name, t in model.state_dict().items()
            }
        )
    made = la.volume(surface, la.Space.between(surface, *states), points=2, span=(0.0, 1.0), **Q)
    corners = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    for state, at in zip(states, corners, strict=True):
        model.load_state_dict(state)
        x, y = examples()
        own = nn.functional.cross_entropy(model(x), y)
        assert made.loss[at] == pytest.approx(float(own.detach()), rel=1e-10)
    assert made.batchnorm == "interpolate" and any("a, b, c and d" in note for note in made.provenance["notes"])


@pytest.mark.slow
def test_directions_of_a_space():
    space = la.Space.hessian(BOWL)
    rates = [float(row @ (9.0 ** torch.linspace(0, 1, 5, dtype=torch.float64) * row)) for row in space.frame.directions]
    assert rates == sorted(rates, reverse=True) and rates[0] == pytest.approx(9.0, rel=1e-6)
    turned = la.Space(
        BOWL, la.directions.gradient(), la.directions.random(), la.directions.random(index=1), orthonormal=True
    )
    gram = turned.frame.directions @ turned.frame.directions.T
    assert torch.allclose(gram, torch.eye(3, dtype=torch.float64), atol=1e-12)
    points = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    between = la.Space.between(BOWL, *points, orthonormal=True)
    for name, point in zip("abcd", points, strict=True):
        coords = torch.tensor(between.how["points"][name], dtype=torch.float64)
        assert torch.allclose(between.frame.points(coords[None])[0], point, atol=1e-10)
    seen = la.Space.random(BOWL, seed=1).project(points)
    assert seen.coords.shape == (4, 3) and bool((seen.residuals <= 1).all())


def test_a_space_is_saved_and_restored(tmp_path):
    for k, space in enumerate((la.Space.random(BOWL, dimension=4, seed=2), la.Space.hessian(BOWL))):
        space.save(tmp_path / str(k))
        again = la.Space.restore(BOWL, tmp_path / str(k))
        assert torch.equal(again.frame.directions, space.frame.directions) and again.labels == space.labels


@pytest.mark.slow
def test_the_same_call_resumes_and_ends_with_the_same_bits(tmp_path):
    _, surface = network()
    space = la.Space.random(surface, dimension=4)
    whole = la.volume(surface, space, points=4, ledger=tmp_path / "whole", **Q)

    def stop(done, total):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        la.volume(surface, space, points=4, ledger=tmp_path / "part", progress=stop)
    made = la.volume(surface, space, points=4, ledger=tmp_path / "part", **Q)
    assert np.array_equal(made.loss, whole.loss) and 0 < made.meter.values < 256
    assert made.meter.values + made.meter.recalled == 256
    with pytest.raises(OutputError, match="something else"):
        la.volume(surface, la.Space.random(surface, dimension=4, seed=1), points=4, ledger=tmp_path / "part", **Q)


def test_the_forecast_counts_every_cell_and_evaluates_few():
    told = []
    made = la.forecast(BOWL, la.Space.random(BOWL), points=(7, 8, 9), on_forecast=told.append)
    assert made.evaluations == 504 and made.measured_on == 10 and told == [made]
    assert made.bytes >= 8 * 504
    assert la.forecast(BOWL, Frame(torch.zeros(5).double(), torch.eye(5).double()[:3]), points=3).evaluations == 27


@pytest.mark.slow
def test_holes_are_kept_counted_and_drawn(tmp_path):
    def loss(x):
        return torch.where(x[0] + x[1] > 1.5, float("nan"), (x**2).sum())

    surface = la.Function(loss, box=[(-1.0, 1.0)] * 3, start=torch.zeros(3, dtype=torch.float64))
    frame = Frame(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    made = la.volume(surface, frame, points=5, **Q)
    assert made.holes == 5 and made.labels == ("α", "β", "γ") and not made.finite[:, 4, 4].any()
    assert "5 of 125 cells are not finite" in " ".join(made.reading())
    picture = made.plot()
    assert "1 points not finite" in picture.figure_.texts[-1].get_text()
    assert [patch.get_gid() for axes in picture.figure_.axes for patch in axes.patches].count("holes") == 1


@pytest.mark.slow
def test_a_volume_comes_back_from_its_files(tmp_path):
    _, surface = network()
    made = la.volume(surface, la.Space.random(surface), points=(3, 4, 5), **Q)
    again = la.load(made.save(tmp_path))
    assert (
        again.record() == made.record() and np.array_equal(again.loss, made.loss) and again.slice(1, 0.3).source is None
    )
    assert all(np.array_equal(one, two) for one, two in zip(again.axes, made.axes, strict=True))
    assert repr(made).startswith("<Volume: 3 × 4 × 5 cells")


@pytest.mark.slow
def test_paraview_and_csv_and_xarray_hold_the_same_numbers(tmp_path):
    pytest.importorskip("xarray")
    _, surface = network()
    made = la.volume(surface, la.Space.random(surface), points=(3, 4, 5), span=((0, 1), (-1, 2), (-3, 3)), **Q)
    image = ET.parse(made.export(tmp_path / "v.vti")).getroot().find("ImageData")
    assert image.get("WholeExtent") == "0 2 0 3 0 4" and image.get("Origin").split() == ["0.0", "-1.0", "-3.0"]
    assert [float(word) for word in image.get("Spacing").split()] == [0.5, 1.0, 1.5]
    raw = base64.b64decode(image.find(".//DataArray[@Name='loss']").text)
    assert np.array_equal(np.frombuffer(raw[8:], "<f8").reshape(5, 4, 3), made.loss), "x runs fastest"
    rows = list(csv.reader(made.export(tmp_path / "v.csv").read_text().splitlines()))
    assert rows[0] == ["alpha", "beta", "gamma", "loss", "accuracy"] and len(rows) == 61
    cell = np.array(rows[1 + 2 + 3 * (1 + 4 * 3)], dtype=float)
    assert np.array_equal(cell[:4], [made.axes[0][2], made.axes[1][1], made.axes[2][3], made.loss[3, 1, 2]])
    data = made.to_xarray()
    assert data.loss.dims == ("gamma", "beta", "alpha") and np.array_equal(data.loss.values, made.loss)
    assert float(data.loss.sel(alpha=0.5, beta=0.0, gamma=1.5)) == made.loss[3, 1, 1]
    assert json.loads(data.attrs["record"])["labels"] == list(made.labels)


def test_vtk_reads_the_image(tmp_path):
    vtk = pytest.importorskip("vtk")
    made = la.volume(BOWL, la.Space.random(BOWL), points=(3, 4, 5), **Q)
    reader = vtk.vtkXMLImageDataReader()
    reader.SetFileName(str(made.export(tmp_path / "v.vti")))
    reader.Update()
    found = reader.GetOutput()
    assert found.GetDimensions() == (3, 4, 5)
    assert found.GetScalarComponentAsDouble(2, 1, 3, 0) == made.loss[3, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("width", [3.3, 7.0])
@pytest.mark.parametrize("dimension", [3, 4])
def test_slices_are_drawn_side_by_side_in_one_scale(width, dimension):
    made = la.volume(BOWL, la.Space.random(BOWL, dimension=dimension), points=5, **Q)
    with figures(width=width):
        picture = made.plot()
    figure = picture.figure_
    figure.draw_without_rendering()
    panels, bar = figure.axes[:-1], figure.axes[-1]
    assert len(panels) == dimension * (dimension - 1) // 2 and figure.get_figwidth() == width
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    page = figure.bbox
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and box.y1 <= page.y1 for box in boxes), "nothing is cut off"
    assert not any(bar.get_tightbbox().overlaps(axes.get_window_extent()) for axes in panels)
    norms = {
        (fill.norm.vmin, fill.norm.vmax)
        for axes in panels
        for fill in axes.collections
        if getattr(fill, "filled", False)
    }
    assert len(norms) == 1
    note = figure.texts[-1].get_text().replace("\n", " ")
    assert "γ: direction 3" in note and "All other coordinates at 0" in note and "Every cell evaluated" in note


def test_a_slice_shows_the_layer_through_the_center():
    made = la.volume(BOWL, la.Space.random(BOWL), points=(3, 4, 5), **Q)
    display = made.display()
    assert np.array_equal(display.fields[0, 1], made.loss[2]) and display.at[2] == 0
    near = int(np.argmin(np.abs(made.axes[1])))
    assert np.array_equal(display.fields[0, 2], made.loss[:, near]) and np.array_equal(
        display.fields[1, 2], made.loss[:, :, 1]
    )
    assert "at β = " in " ".join(display._notes())


def vector(*numbers):
    return torch.tensor([*numbers, *[0.0] * (5 - len(numbers))], dtype=torch.float64)


SPACE = la.Space.random(BOWL)
REFUSED = {
    "two parallel directions": (lambda: la.Space.of(BOWL, vector(1), vector(0, 1), vector(-2)), PlaneError, "directions 1 and 3 are"),
    "a dependent direction": (lambda: la.Space.of(BOWL, vector(1), vector(0, 1), vector(1, 1)), PlaneError, "direction 3 lies in the span"),
    "a zero direction": (lambda: la.Space.of(BOWL, vector(1), vector(0, 1), vector()), PlaneError, "direction 3 has length 0"),
    "two directions": (lambda: la.Space.of(BOWL, vector(1), vector(0, 1)), InputError, "expected 3 to 8. la.Plane has two"),
    "nine directions": (lambda: la.Space.random(BOWL, dimension=9), InputError, "from 3 to 8"),
    "more than there are": (lambda: la.Space.random(BOWL, dimension=6), PlaneError, "direction 6 lies in the span"),
    "three points": (lambda: la.Space.between(BOWL, vector(1), vector(2), vector(3)), InputError, "expected 4 to 9"),
    "a line": (lambda: la.volume(BOWL, la.Line.random(BOWL), **Q), InputError, "got a line for a space.*la.chart"),
    "a plane": (lambda: la.volume(BOWL, la.Plane.random(BOWL), **Q), InputError, "got a plane for a space.*la.chart"),
    "a word": (lambda: la.volume(BOWL, "random", **Q), InputError, "expected a Space or a Frame"),
    "no surface": (lambda: la.volume("bowl", SPACE, **Q), InputError, "volume"),
    "one point": (lambda: la.volume(BOWL, SPACE, points=1, **Q), InputError, "points=1; expected a whole number"),
    "two counts": (lambda: la.volume(BOWL, SPACE, points=(3, 3), **Q), InputError, "for 3 axes"),
    "too large": (lambda: la.volume(BOWL, SPACE, points=272, **Q), InputError, "20,123,648 evaluations; expected fewer than"),
    "no width": (lambda: la.volume(BOWL, SPACE, span=(1.0, 1.0), **Q), InputError, "low < high"),
    "no span": (lambda: la.volume(BOWL, SPACE, span=0, **Q), InputError, "above 0"),
    "a chart of a space": (lambda: la.chart(BOWL, SPACE, **Q), InputError, "la.volume evaluates"),
    "another architecture": (lambda: la.volume(la.landscapes.quadratic(dimension=4), SPACE, **Q), PlaneError, "architecture"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_volume_is_refused_in_a_sentence(case):
    call, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        call()


def test_what_a_volume_has_not_is_refused(tmp_path):
    made = la.volume(BOWL, la.Space.random(BOWL, dimension=4), points=3, **Q)
    for call, words in {
        lambda: made.slice(4): "from 0 to 3",
        lambda: made.slice(0, 1.6): "expected one from -1 to 1",
        lambda: made.plot(channel="f1"): "channel='f1'",
        lambda: made.plot(ax=3): "many axes",
        lambda: made.accuracy: "no accuracy",
        lambda: made.export(tmp_path / "v.vti"): "4 directions for v.vti; expected 3",
        lambda: SlicesDisplay(made.axes, {}, labels=made.labels, at=[0.0] * 4): "a field for each pair",
        lambda: need_plane(Frame(torch.zeros(5), torch.eye(5)[:3]), "chart"): "la.volume",
    }.items():
        with pytest.raises(InputError, match=words):
            call()
    with pytest.raises(OutputError, match=r"expected \.vti, \.csv"):
        made.export(tmp_path / "v.txt")
    assert not list(tmp_path.iterdir())
