"""Charts to other programs and back, on grids that are neither square nor symmetric."""

import base64
import csv
import dataclasses
import json
import sys
from xml.etree import ElementTree as ET

import h5py
import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas._errors import OutputError
from lossatlas.chart import export, export_path, to_xarray
from lossatlas.surface import Frame


@pytest.fixture
def chart():
    """7 × 5 cells of an asymmetric field, two of them holes, with an accuracy of its own shape."""
    frame = Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    made = la.chart(
        la.landscapes.beale(), frame, span=((-1.0, 2.0), (-0.5, 0.7)), points=(7, 5), exact=True, progress=False
    )
    loss = made.loss.copy()
    loss[0, 1], loss[4, 6] = np.nan, np.inf
    return dataclasses.replace(made, loss=loss, extras={"accuracy": np.arange(35.0).reshape(5, 7) / 35})


@pytest.fixture
def line():
    frame = Frame(torch.zeros(2, dtype=torch.float64), torch.tensor([[1.0, 0.3]], dtype=torch.float64))
    return la.chart(la.landscapes.beale(), frame, span=(-1.0, 2.0), points=(6, 1), exact=True, progress=False)


# -- Li et al. 2018 ---------------------------------------------------------------------------------------------------


def their_program(path, f, x, y, mode="w"):
    """A surface file as their program writes it: an (nx, ny) array filled by flat index, coordinates from a meshgrid."""
    losses = -np.ones((len(x), len(y)))
    accuracies = -np.ones((len(x), len(y)))
    first, second = (mesh.ravel() for mesh in np.meshgrid(x, y))
    for k in range(losses.size):
        losses.ravel()[k] = f(first[k], second[k])
        accuracies.ravel()[k] = 100 * (1 + first[k] / 10) / 2
    with h5py.File(path, mode) as file:
        file["dir_file"] = "resnet56_weights_xignore=biasbn_xnorm=filter_yignore=biasbn_ynorm=layer.h5"
        file["xcoordinates"], file["ycoordinates"] = x, y
        file["train_loss"], file["train_acc"] = losses, accuracies


@pytest.mark.slow
def test_their_files_are_read_in_the_order_they_really_have(tmp_path):
    x, y = np.linspace(-1, 1, 5), np.linspace(0.5, 2, 3)
    their_program(tmp_path / "s.h5", lambda a, b: a + 10 * b * b, x, y)
    chart = la.read_li2018(tmp_path / "s.h5")
    assert chart.loss.shape == (3, 5) and np.array_equal(chart.alpha, x) and np.array_equal(chart.beta, y)
    for j, b in enumerate(y):
        for i, a in enumerate(x):
            assert chart.loss[j, i] == a + 10 * b * b
            assert chart.accuracy[j, i] == pytest.approx((1 + a / 10) / 2)
    assert chart.labels == (
        "α, x direction (relative to filter norms, as Li et al. 2018)",
        "β, y direction (relative to layer norms, as Li et al. 2018)",
    )
    assert chart.status == "complete" and chart.exactly.all() and "resnet56" in chart.provenance["source"]["directions"]
    assert any("evaluated there" in sentence for sentence in chart.reading())
    assert la.load(chart.save(tmp_path / "kept")).record() == chart.record()
    chart.plot().save(tmp_path / "s.png")


def test_cells_they_had_not_evaluated_are_missing_and_a_loss_of_minus_one_is_a_loss(tmp_path):
    x, y = np.linspace(-1, 1, 4), np.linspace(-1, 1, 3)
    their_program(tmp_path / "s.h5", lambda a, b: -1.0, x, y)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        losses, accuracies = file["train_loss"][:], file["train_acc"][:]
        losses.ravel()[[2, 7]] = accuracies.ravel()[[2, 7]] = -1.0
        file["train_loss"][:], file["train_acc"][:] = losses, accuracies
    chart = la.read_li2018(tmp_path / "s.h5")
    assert np.isnan(chart.loss[[0, 1], [2, 3]]).all() and (np.isfinite(chart.loss).sum() == 10)
    assert chart.status == "interrupted" and not chart.exactly[0, 2]
    assert "2 of 12 cells were not evaluated" in chart.reading()
    assert (chart.loss[np.isfinite(chart.loss)] == -1).all()


def test_a_chart_goes_through_their_format_and_comes_back(chart, line, tmp_path):
    for k, one in enumerate((chart, line)):
        again = la.read_li2018(export(one, tmp_path / f"{k}.h5"))
        for name in ("alpha", "beta", "loss"):
            assert np.array_equal(getattr(again, name), getattr(one, name), equal_nan=True), name
        assert again.is_line == one.is_line
    assert np.allclose(la.read_li2018(tmp_path / "0.h5").accuracy, chart.accuracy, rtol=1e-15)
    with h5py.File(tmp_path / "0.h5") as file:
        assert file["train_loss"].shape == (7, 5), "their shape"
        # Their own reading of a cell: the flat index into a meshgrid of the coordinates.
        first, second = (mesh.ravel() for mesh in np.meshgrid(file["xcoordinates"][:], file["ycoordinates"][:]))
        k = 2 * 7 + 3
        assert (first[k], second[k]) == (chart.alpha[3], chart.beta[2])
        assert file["train_loss"][:].ravel()[k] == chart.loss[2, 3]
        assert file["train_acc"][:].ravel()[k] == pytest.approx(100 * chart.accuracy[2, 3])
    with h5py.File(tmp_path / "1.h5") as file:
        assert "ycoordinates" not in file and file["train_loss"].shape == (6,)


def test_files_that_are_no_surface(tmp_path):
    (tmp_path / "text.h5").write_text("no")
    with h5py.File(tmp_path / "directions.h5", "w") as file:
        file["xdirection"] = np.zeros(3)
    with h5py.File(tmp_path / "short.h5", "w") as file:
        file["xcoordinates"], file["ycoordinates"], file["train_loss"] = np.zeros(3), np.zeros(2), np.zeros((3, 3))
    for name, words in {
        "absent.h5": "cannot read",
        "text.h5": "not a readable HDF5",
        "directions.h5": "holds xdirection",
        "short.h5": r"3×2 entries",
    }.items():
        with pytest.raises(OutputError, match=words):
            la.read_li2018(tmp_path / name)


@pytest.mark.parametrize(("module", "extra"), [("h5py", "h5"), ("xarray", "xarray")])
def test_a_missing_package_is_named_with_its_extra(chart, monkeypatch, tmp_path, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(la.InputError, match=rf"lossatlas\[{extra}\]"):
        export(chart, tmp_path / "x.h5") if module == "h5py" else to_xarray(chart)
    assert not (tmp_path / "x.h5").exists()


# -- ParaView ---------------------------------------------------------------------------------------------------------


def arrays(path):
    """All data arrays of a VTK XML file by name, decoded by hand."""
    root = ET.parse(path).getroot()
    assert root.tag == "VTKFile" and root.get("byte_order") == "LittleEndian" and root.get("header_type") == "UInt64"
    found = {}
    for element in root.iter("DataArray"):
        raw = base64.b64decode(element.text)
        assert int.from_bytes(raw[:8], "little") == len(raw) - 8
        kind = {"Float64": "<f8", "Int64": "<i8", "UInt8": "u1"}[element.get("type")]
        values = np.frombuffer(raw[8:], kind)
        found[element.get("Name")] = values.reshape(-1, 3) if element.get("NumberOfComponents") == "3" else values
    return root, found


def test_a_structured_grid_has_every_cell_at_its_place(chart, tmp_path):
    root, found = arrays(export(chart, tmp_path / "x.vts"))
    assert root.get("type") == "StructuredGrid"
    assert root.find("StructuredGrid").get("WholeExtent") == root.find(".//Piece").get("Extent") == "0 6 0 4 0 0"
    k = 0
    lowest = chart.loss[np.isfinite(chart.loss)].min()
    for j, beta in enumerate(chart.beta):
        for i, alpha in enumerate(chart.alpha):
            height = chart.loss[j, i] if np.isfinite(chart.loss[j, i]) else lowest
            assert found["Points"][k].tolist() == [alpha, beta, height]
            assert np.array_equal(found["loss"][k], chart.loss[j, i], equal_nan=True)
            assert found["accuracy"][k] == chart.accuracy[j, i]
            assert found["vtkGhostType"][k] == (0 if np.isfinite(chart.loss[j, i]) else 2)
            k += 1


def test_quadrilaterals_join_neighbors(chart, tmp_path):
    root, found = arrays(export(chart, tmp_path / "x.vtp", height="log", clamp=5.0, offset=0.2, factor=2.0))
    assert root.find(".//Piece").get("NumberOfPolys") == "24"
    assert found["offsets"].tolist() == list(range(4, 97, 4))
    corners = found["connectivity"].reshape(24, 4)
    assert corners[0].tolist() == [0, 1, 8, 7] and corners[-1].tolist() == [26, 27, 34, 33]
    finite = np.isfinite(chart.loss.ravel())
    heights = 2.0 * np.log(np.minimum(chart.loss.ravel()[finite], 5.0) + 0.2)
    assert np.allclose(found["Points"][finite, 2], heights)
    assert np.array_equal(found["loss"], chart.loss.ravel(), equal_nan=True), "the loss itself is never clamped"


def test_a_path_is_one_polyline(line, tmp_path):
    coords, losses = np.array([[0.0, 0.0], [0.5, 0.1], [0.6, 0.4]]), np.array([3.0, 2.0, 1.0])
    root, found = arrays(export_path(tmp_path / "p.vtp", coords, losses=losses, residuals=losses / 10, height="log"))
    assert root.find(".//Piece").get("NumberOfLines") == "1"
    assert found["connectivity"].tolist() == [0, 1, 2] and found["offsets"].tolist() == [3]
    assert np.array_equal(found["Points"], np.c_[coords, np.log(losses + 0.1)])
    assert found["step"].tolist() == [0, 1, 2] and np.array_equal(found["residual"], losses / 10)
    root, found = arrays(export(line, tmp_path / "l.vtp"))
    assert root.find(".//Piece").get("NumberOfLines") == "1" and np.array_equal(found["Points"][:, 0], line.alpha)
    assert np.array_equal(found["Points"][:, 2], line.loss[0])
    root, found = arrays(export_path(tmp_path / "flat.vtp", coords[:, :1]))
    assert not found["Points"][:, 1:].any()


# -- tables -----------------------------------------------------------------------------------------------------------


def test_every_digit_is_in_the_table(chart, line, tmp_path):
    with export(chart, tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 35 and list(rows[0]) == ["alpha", "beta", "loss", "accuracy"]
    for k, row in enumerate(rows):
        j, i = divmod(k, 7)
        expected = [chart.alpha[i], chart.beta[j], chart.loss[j, i], chart.accuracy[j, i]]
        assert np.array_equal([float(value) for value in row.values()], expected, equal_nan=True)
    assert export(line, tmp_path / "l.csv").read_text().splitlines()[0] == "t,loss"


def test_xarray_finds_a_cell_by_its_coordinates(chart, line):
    found = to_xarray(chart)
    assert found["loss"].dims == ("beta", "alpha")
    assert float(found["loss"].sel(alpha=0.5, beta=0.1, method="nearest")) == chart.loss[2, 3]
    assert np.array_equal(found["accuracy"], chart.accuracy) and found["alpha"].attrs["long_name"] == chart.labels[0]
    assert json.loads(found.attrs["record"])["title"] == chart.title
    assert to_xarray(line)["loss"].dims == ("t",)


def test_exports_that_cannot_be(chart, tmp_path):
    with pytest.raises(OutputError, match=r"\.vts"):
        export(chart, tmp_path / "x.obj")
    with pytest.raises(OutputError, match="without ending"):
        export(chart, tmp_path / "x")
    with pytest.raises(OutputError, match=r"\.vtp"):
        export_path(tmp_path / "x.vts", np.zeros((3, 2)))
    for settings, words in (({"height": "log", "offset": -100.0}, "offset"), ({"height": "up"}, "flat")):
        with pytest.raises(la.InputError, match=words):
            export(chart, tmp_path / "x.vts", **settings)
    for coords, extra, words in (
        (np.zeros((1, 2)), {}, "two points"),
        (np.zeros((3, 3)), {}, "expected"),
        (np.zeros((3, 2)), {"losses": np.zeros(2)}, "loss"),
    ):
        with pytest.raises(la.InputError, match=words):
            export_path(tmp_path / "x.vtp", coords, **extra)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        export(chart, tmp_path / "file" / "x.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["file"], "nothing half-written"
