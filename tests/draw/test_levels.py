"""Scales of fields over decades, with wrong signs and across zero; cells in doubt; paths over reliefs."""

import matplotlib as mpl
import numpy as np
import pytest

from lossatlas._errors import InputError
from lossatlas.draw import FieldDisplay, ProfileDisplay, ReliefDisplay
from lossatlas.draw._levels import scale_of

X = np.linspace(-1.0, 1.0, 31)
SQUARES = X**2 + X[:, None] ** 2
VALLEY = 0.015 + 100 * SQUARES**1.5
LABELS = {"xlabel": "a", "ylabel": "b"}


def by_gid(display, gid):
    return [artist for artist in display.figure_.findobj() if artist.get_gid() == gid]


def footnote(display):
    return " ".join(note.get_text().replace("\n", " ") for note in by_gid(display, "footnote"))


@pytest.mark.parametrize(("ratio", "kind"), [(29.0, "linear"), (31.0, "log")])
def test_levels_are_logarithmic_from_a_factor_of_30_on(ratio, kind):
    assert scale_of(np.linspace(1.0, ratio, 50)).kind == kind


@pytest.mark.slow
@pytest.mark.parametrize("cells", [1, 9])
def test_a_few_wrong_signs_do_not_take_the_logarithm_away(cells):
    z = VALLEY.copy()
    z[15, 11 : 11 + cells] = -0.22
    assert scale_of(z).kind == "log"
    display = FieldDisplay(X, X, z, **LABELS).plot()
    display.render(dpi=40)
    assert f"{cells} of 961 points at 0 or below, drawn below the lowest level" in footnote(display)
    assert "or below" not in footnote(FieldDisplay(X, X, VALLEY, **LABELS).plot())


def test_more_or_deeper_wrong_signs_are_a_field_that_crosses_zero():
    many, deep = VALLEY.copy(), VALLEY.copy()
    many[:, 14:16] = -0.22
    deep[15, 15] = -10.0
    assert scale_of(many).kind == "asinh"
    assert scale_of(deep).kind == "linear"


def test_a_valley_across_zero_is_even_around_zero_and_logarithmic_away_from_it():
    scale = scale_of(VALLEY**1.3 - 3)
    assert scale.kind == "asinh"
    assert 0.0 in scale.levels
    assert scale.levels[0] <= -2.9
    assert scale.levels[-1] >= (VALLEY**1.3 - 3).max()
    assert len(scale.levels) <= 20


@pytest.mark.parametrize("z", [SQUARES - 1, -SQUARES, np.sin(4 * X) + np.cos(3 * X)[:, None]])
def test_a_gentle_field_across_zero_stays_on_even_levels(z):
    assert scale_of(z).kind == "linear"


@pytest.mark.parametrize("z", [VALLEY, VALLEY - 3, SQUARES - 1], ids=["log", "asinh", "linear"])
def test_heights_can_be_taken_back(z):
    scale = scale_of(z)
    for value in (float(z.max()), float(np.median(z))):
        assert scale.value(float(scale.height(np.array([value]))[0])) == pytest.approx(value)


def test_the_contour_step_is_the_distance_of_the_levels_around_a_value():
    scale = scale_of(np.geomspace(0.01, 40.0, 99))  # 0.01, 0.02, 0.05 … 50
    assert scale.steps(np.array([0.001, 0.015, 0.03, 7.0, 30.0, 99.0])) == pytest.approx([0.01, 0.01, 0.03, 5, 30, 30])


@pytest.mark.slow
def test_cells_are_hatched_where_the_error_exceeds_a_contour_step():
    error = np.where(SQUARES < 0.01, 0.5, 0.0)
    display = FieldDisplay(X, X, VALLEY, **LABELS, error=error)
    doubted = display.doubted()
    levels = scale_of(VALLEY).levels
    slow = np.zeros_like(doubted)
    for j, i in np.ndindex(*VALLEY.shape):
        k = int(np.flatnonzero(levels <= VALLEY[j, i])[-1])
        slow[j, i] = error[j, i] > levels[k + 1] - levels[k]
    assert np.array_equal(doubted, slow) and 0 < doubted.sum() < doubted.size
    display.plot()
    (patch,) = by_gid(display, "doubtful")
    assert patch.get_hatch()
    assert "Hatched: the expected error exceeds a contour step" in footnote(display)
    box = patch.get_path().get_extents()
    assert box.x1 == pytest.approx(X[doubted.any(0)].max() + (X[1] - X[0]) / 2)


@pytest.mark.slow
def test_nothing_is_hatched_where_no_error_is_known_or_large():
    assert FieldDisplay(X, X, VALLEY, **LABELS).doubted() is None
    sure = FieldDisplay(X, X, VALLEY, **LABELS, error=np.full_like(VALLEY, 1e-4)).plot()
    assert not by_gid(sure, "doubtful")
    assert "Hatched" not in footnote(sure)
    given = FieldDisplay(X, X, VALLEY, **LABELS, doubtful=SQUARES > 1.9).plot()
    assert by_gid(given, "doubtful")


def test_a_path_runs_at_the_height_of_the_field():
    plane = 3 * X + 2 * X[:, None] + 10
    relief = ReliefDisplay(X, X, plane, **LABELS)
    places = np.array([[0.123, -0.456], [1.0, 1.0], [-1.0, 0.777], [1.5, 0.0], [np.nan, 0.0]])
    expected = [3 * 0.123 - 2 * 0.456 + 10, 15.0, 7 + 2 * 0.777, np.nan, np.nan]
    assert relief.heights(places) == pytest.approx(expected, nan_ok=True)


@pytest.mark.slow
def test_on_a_logarithmic_scale_the_height_is_interpolated_in_the_logarithm():
    z = np.exp(5 * X + 2 * X[:, None])
    relief = ReliefDisplay(X, X, z, **LABELS, paths={"gd": [[0.51, 0.33], [-0.7, 0.2], [3.0, 0.0]]}).plot()
    assert relief.heights(np.array([[0.51, 0.33]]), "log")[0] == pytest.approx(np.exp(5 * 0.51 + 2 * 0.33))
    (line,) = by_gid(relief, "path")
    x, y, height = line.get_data_3d()
    low, high = relief.ax_.get_zlim()
    assert height[0] - 0.008 * (high - low) == pytest.approx(np.log10(np.exp(5 * x[0] + 2 * y[0])))
    assert "Points of the path outside the box or at holes, not shown: gd (1)" in footnote(relief)
    relief.render(dpi=40)


def test_a_path_of_another_form_is_refused():
    with pytest.raises(InputError, match="expected \\(steps, 2\\)"):
        ReliefDisplay(X, X, VALLEY, **LABELS, paths={"gd": np.zeros((4, 3))})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("y", "scale"),
    [(VALLEY[15], "log"), (VALLEY[15] - 3, "asinh"), (X, "linear"), (np.r_[-1e-9, VALLEY[15, 1:]], "asinh")],
)
def test_a_profile_takes_the_scale_of_its_values(y, scale):
    display = ProfileDisplay(X, y, y - 0.02, y + 0.02).plot()
    assert display.ax_.get_yscale() == scale
    display.render(dpi=40)


@pytest.mark.slow
def test_a_display_may_have_colors_of_its_own():
    one, two = (FieldDisplay(X, X, SQUARES - 1, **LABELS, cmap=name).plot() for name in (None, "magma"))
    maps = [
        next(a for a in d.ax_.collections if isinstance(a, mpl.contour.QuadContourSet) and a.filled).get_cmap().name
        for d in (one, two)
    ]
    assert maps[0] != maps[1]
