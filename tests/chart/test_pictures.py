"""Pictures of charts: titles, captions and colors by channel, paths, and landscapes drawn as themselves."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas._errors import InputError
from lossatlas.chart._caption import caption, title
from lossatlas.chart._picture import paths_on
from lossatlas.chart.sampling._certificate import Certificate
from lossatlas.surface import Frame

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (40,), generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Row:
    median: float
    p95: float
    worst: float
    p95_interval: tuple[float, float]


@dataclass(frozen=True)
class Coming:
    """A certificate with rows near the minimum and over the whole chart."""

    near: Row = Row(0.004, 0.012, 0.05, (0.009, 0.016))
    whole: Row = Row(0.01, 0.034, 0.2, (0.03, 0.04))
    metric: str = "relative"
    channels: dict = None


@pytest.fixture(scope="module")
def chart():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).eval()
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y))
    return la.chart(surface, la.Plane.random(surface, seed=0), points=9, exact=True, progress=False)


def footnote(display):
    return " ".join(a.get_text().replace("\n", " ") for a in display.figure_.findobj() if a.get_gid() == "footnote")


def reconstructed(chart, certificate=None):
    held = Certificate(rms=0.1, probes=32, exact=False, range=10.0, tolerance=0.02, extras={"accuracy": 0.027})
    return replace(chart, certificate=certificate or held, error=np.full(chart.loss.shape, 0.01))


@pytest.mark.slow
def test_titles_say_which_channel_of_which_network(chart):
    assert title(chart) == "Loss of Sequential (cross entropy)"
    assert title(chart, "accuracy") == "Accuracy of Sequential"
    assert chart.plot().ax_.get_title(loc="left") == title(chart)
    assert chart.plot(channel="accuracy").ax_.get_title(loc="left") == title(chart, "accuracy")
    assert title(replace(chart, title="the training loss")) == "the training loss"


@pytest.mark.slow
def test_an_exact_chart_says_so_and_how_batch_norm_ran(chart):
    said = footnote(chart.plot())
    assert "Every cell evaluated" in said
    assert said.count("Batch norm: running statistics frozen at the model's own") == 1
    assert said.lower().count("batch norm") == 1
    assert "A slice: 2 of" in said


def test_each_channel_is_under_its_own_error(chart):
    made = reconstructed(chart)
    low = chart.loss[chart.loss <= np.quantile(chart.loss, 0.1)]
    expected = f"near the minimum the expected error is {100 * np.median(0.01 / low):.2g} % of the loss"
    assert expected in caption(made)
    assert "1 % of the range (rms, 32 held-out cells)" in caption(made)
    assert "error 2.7 percentage points (rms, 32 held-out cells)" in caption(made, "accuracy")
    strata = replace(made.certificate, near=object(), whole=object())
    assert "error 2.7 percentage points (95th percentile, 32 held-out" in caption(
        replace(made, certificate=strata), "accuracy"
    )
    assert "range" not in caption(made, "accuracy") and "points" not in caption(made)


def test_a_certificate_by_strata_is_stated_near_the_minimum_first(chart):
    made = reconstructed(chart, Coming(channels={"accuracy": (0.012, 0.04)}))
    made = replace(made, provenance={**made.provenance, "sampler": "outputs interpolated from 169 nodes"})
    assert (
        "Outputs interpolated; error near the minimum 1.2 % (95th percentile; 95 % interval 0.9 % to 1.6 %), "
        "over the whole chart 3.4 %." in caption(made)
    )
    said = caption(made, "accuracy")
    assert "error 1.2 percentage points (95th percentile), at most 4 percentage points at held-out cells" in said
    spaced = replace(made, certificate=Coming(metric="spacing"))
    assert "1.2 % of a contour spacing" in caption(spaced)


def test_captions_are_taken_over_notes_and_notes_of_speed_left_out(chart):
    notes = ["folding is not used for values: it differs", "the loader shuffles its rows"]
    older = {key: value for key, value in chart.provenance.items() if key != "captions"}
    noted = replace(chart, provenance={**older, "notes": notes})
    assert "The loader shuffles its rows." in caption(noted) and "folding" not in caption(noted)
    told = replace(noted, provenance={**noted.provenance, "captions": ["batches are part of the surface"]})
    assert "Batches are part of the surface." in caption(told) and "shuffles" not in caption(told)


@pytest.mark.slow
def test_accuracy_is_in_percent_and_looks_unlike_the_loss(chart):
    wide = replace(chart, extras={"accuracy": np.linspace(0.1, 1.0 + 1e-12, chart.loss.size).reshape(chart.loss.shape)})
    loss, accuracy = wide.plot(), wide.plot(channel="accuracy")
    assert accuracy.zlabel == "accuracy (%)"
    assert accuracy.z.max() == 100.0 and accuracy.z.min() == pytest.approx(10.0)
    filled = [next(a for a in d.ax_.collections if getattr(a, "filled", False)) for d in (loss, accuracy)]
    assert filled[0].get_cmap().name != filled[1].get_cmap().name
    assert filled[1].levels.tolist() == list(range(0, 101, 10))
    with pytest.raises(InputError, match="which is not there"):
        chart.plot(channel="recall")


@pytest.mark.slow
def test_cells_in_doubt_are_those_whose_error_exceeds_a_contour_step(chart):
    assert chart.doubtful is None
    error = np.zeros(chart.loss.shape)
    error[4, 4] = 1e3
    made = replace(reconstructed(chart), error=error)
    assert np.argwhere(made.doubtful).tolist() == [[4, 4]]
    assert "Hatched: the expected error exceeds a contour step" in footnote(made.plot())
    assert "Hatched" not in footnote(made.plot(channel="accuracy"))


@pytest.mark.slow
def test_a_path_of_points_is_projected_and_one_of_coordinates_is_not(chart):
    plane = chart.source[1]
    coords = torch.tensor([[0.5, 0.25], [0.1, -0.3], [0.0, 0.0]], dtype=torch.float64)
    points = plane.frame.points(coords)
    for path in (coords.numpy(), points, list(points)):
        found, off = paths_on(chart, {"sgd": path})
        assert found["sgd"] == pytest.approx(coords.numpy(), abs=1e-5)
        assert off == ""
    assert np.asarray(chart.plot(path=points).pieces["path"][0]) == pytest.approx(coords.numpy(), abs=1e-5)
    assert np.asarray(chart.plot_relief(path=points).paths["path"]) == pytest.approx(coords.numpy(), abs=1e-5)
    off = footnote(
        chart.plot(path={"sgd": points + torch.randn(points.shape, generator=torch.Generator().manual_seed(2))})
    )
    assert "sgd lies off this plane by up to" in off
    with pytest.raises(InputError, match="loaded from a folder"):
        replace(chart, source=None).plot(path=points)


@pytest.mark.slow
def test_a_line_takes_no_path_and_has_no_relief():
    surface = la.landscapes.himmelblau()
    line = la.chart(
        surface, Frame(torch.zeros(2).double(), torch.ones(1, 2).double()), points=9, exact=True, progress=False
    )
    with pytest.raises(InputError, match="plane"):
        line.plot(path=np.zeros((3, 2)))
    with pytest.raises(InputError, match="line"):
        line.plot_relief()
    assert replace(line, loss=np.geomspace(1, 100, 9)[None]).plot().ax_.get_yscale() == "log"


@pytest.mark.slow
def test_a_landscape_is_drawn_as_itself():
    surface = la.landscapes.himmelblau()
    walk = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 2.0]])
    shown = surface.plot(path={"gd": walk}, points=21)
    field = shown.field
    assert (field.xlabel, field.ylabel) == ("w₁", "w₂")
    assert len(field.wells) == 4
    for j, i in ((0, 0), (3, 17), (20, 5)):
        point = torch.tensor([[field.x[i], field.y[j]]], dtype=torch.float64)
        assert field.z[j, i] == float(surface.values(point)[0])
    relief = surface.plot_relief(path=walk, points=21, clip=0.9)
    assert relief.ax_.name == "3d" and "clipped" in relief.ax_.get_title(loc="left")
    assert surface.plot(points=5, box=((0, 1), (2, 3))).x.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_what_cannot_be_drawn_as_itself_is_refused():
    with pytest.raises(InputError, match="expected two"):
        la.landscapes.quadratic(condition=5.0, dimension=3).plot()
    with pytest.raises(InputError, match="box"):
        la.landscapes.himmelblau().plot(box=((1, 0), (0, 1)))
