"""The displays are drawn with awkward and with ordinary data, and the pictures are asked what they show."""

from __future__ import annotations

import re
import subprocess
import sys

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

import lossatlas.draw as draw
from lossatlas._errors import InputError, OutputError
from lossatlas.draw import (
    BarsDisplay,
    CurvesDisplay,
    FieldDisplay,
    PathsDisplay,
    ProfileDisplay,
    ReliefDisplay,
    colors,
)
from lossatlas.draw._levels import number, scale_of

X, Y = np.linspace(-2.0, 2.0, 33), np.linspace(-1.0, 2.0, 21)
LABELS = {"xlabel": "θ₁", "ylabel": "θ₂"}


def bowl(at=(1.2, -0.4)):
    return (X - at[0]) ** 2 + 2.0 * (Y[:, None] - at[1]) ** 2


def with_holes():
    z = bowl()
    z[3, 4], z[10, 20], z[0, 0] = np.nan, np.inf, -np.inf
    return z


FIELDS = {
    "bowl": bowl(),
    "holes": with_holes(),
    "constant": np.full((21, 33), 2.3),
    "zero": np.zeros((21, 33)),
    "constant with a hole": np.where(bowl() > 1.0, 3.0, np.nan),
    "nothing finite": np.full((21, 33), np.nan),
    "one finite": np.where(bowl() == bowl().min(), 1.0, np.nan),
    "decades": np.exp(3.0 * bowl() - 4.0),
    "thirty decades": 10.0 ** (3.0 * bowl() - 4.0),
    "negative with a tail": bowl() ** 6 - 1.0,
    "nearly constant": 2.302585 + 1e-9 * bowl(),
    "huge": 1e200 * bowl(),
    "bowl raised": bowl() + 1.0,
    "a wrong sign": np.where(bowl() == bowl().min(), -0.1, 0.015 + bowl() ** 2),
}


def paths():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(300, 2)) * 0.05, axis=0)
    broken = np.array([[0.0, 0.0], [0.5, 0.5], [np.nan, np.nan], [-1.0, 1.0], [-1.2, 1.1]])
    return {"walk": walk, "broken": broken, "two": [walk[:20] + 0.3, walk[:20] - 0.3], "far": walk * 1e280}


def curves():
    q = np.arange(0, 30_001, 100)
    y = 0.02 + 5.0 * np.exp(-q / 2000)
    return {"gd": (q, y), "adam": (q, y * 1.1, y * 0.8, y * 1.5)}


def everything():
    field = FieldDisplay(X, Y, with_holes(), **LABELS, title="Title", wells=[("global", 1.2, -0.4), ("B", 9, 9)])
    t = np.linspace(0, 1, 11)
    return [
        field,
        ReliefDisplay(X, Y, with_holes(), **LABELS, title="Relief"),
        PathsDisplay(field, paths(), finals={"walk": (0.1, 0.1), "far": (50.0, 0.0)}, note="A note."),
        CurvesDisplay(curves(), title="Curves"),
        ProfileDisplay(t, t**2, t**2 - 0.1, t**2 + 0.1, xlabel="t", marks=[("start", 0.0), ("half", 0.5)]),
        BarsDisplay(["a", "b"], [0.5, 1.0], [0.4, 0.9], [0.6, 1.0], xlabel="success rate (95 % interval)"),
    ]


def by_gid(display, gid):
    return [artist for artist in display.figure_.findobj() if artist.get_gid() == gid]


def footnote(display):
    return " ".join(note.get_text().replace("\n", " ") for note in by_gid(display, "footnote"))


@pytest.mark.slow
@pytest.mark.parametrize("display", everything(), ids=lambda d: type(d).__name__)
def test_a_display_draws_itself_and_leaves_no_figure_open(display, tmp_path):
    assert display.plot() is display
    assert plt.get_fignums() == []
    kinds = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    files = {kind: display.save(tmp_path / "new" / f"picture.{kind}").read_bytes() for kind in kinds}
    assert all(files[kind].startswith(magic) for kind, magic in kinds.items())
    display.plot()
    assert {kind: display.render(kind) for kind in kinds} == files
    assert sorted(f.name for f in (tmp_path / "new").iterdir()) == ["picture.pdf", "picture.png", "picture.svg"]
    assert display._repr_png_().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("display", everything(), ids=lambda d: type(d).__name__)
def test_a_display_draws_on_the_axes_it_is_given(display):
    figure = plt.figure(figsize=(6.5, 4), layout="constrained")
    ax = figure.add_subplot(1, 2, 1, projection="3d" if isinstance(display, ReliefDisplay) else None)
    try:
        display.plot(ax)
        assert display.ax_ is ax
        assert display.figure_ is figure
        assert plt.get_fignums() == [figure.number]
        assert tuple(figure.get_size_inches()) == (6.5, 4)
        figure.canvas.draw()
    finally:
        plt.close(figure)


@pytest.mark.slow
@pytest.mark.parametrize("display", everything(), ids=lambda d: type(d).__name__)
def test_no_text_is_cut_at_the_edge_or_lies_on_another(display):
    figure = display.plot().figure_
    figure.draw_without_rendering()
    page = figure.bbox
    texts = [t for t in figure.findobj(mpl.text.Text) if t.get_visible() and t.get_text().strip()]
    boxes = {t: t.get_window_extent() for t in texts if t.get_gid() == "footnote"}
    boxes |= {t: t.get_window_extent() for ax in figure.axes for t in (ax.xaxis.label, ax._left_title)}
    boxes = {t: box for t, box in boxes.items() if t.get_text()}
    assert boxes
    for text, box in boxes.items():
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    listed = list(boxes.values())
    assert not any(a.overlaps(b) for i, a in enumerate(listed) for b in listed[:i])


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("levels", ["auto", "linear", "log", "quantile", [0.5, 1.0, 3.0]], ids=str)
def test_any_field_can_be_drawn(name, levels, request):
    if levels != "auto":
        request.getfixturevalue("sketched")  # where things stand does not hang on the levels
    FieldDisplay(X, Y, FIELDS[name], **LABELS, center=(0, 0)).plot(levels=levels).render(dpi=40)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
def test_any_field_can_be_raised(name):
    ReliefDisplay(X, Y, FIELDS[name], **LABELS).plot().render(dpi=40)


@pytest.mark.slow
@pytest.mark.parametrize("corner", [(1.2, -0.4), (-1.5, 1.6)])
def test_rows_are_y_and_columns_are_x(corner):
    display = FieldDisplay(X, Y, bowl(corner), **LABELS).plot(levels=[0.0, 0.05, 1, 50], cmap="gray")
    display.figure_.canvas.draw()
    pixels = np.asarray(display.figure_.canvas.buffer_rgba())[..., :3].astype(int)

    def shade(x, y):
        column, row = display.ax_.transData.transform((x, y))
        return pixels[int(pixels.shape[0] - row), int(column)].sum()

    assert shade(*corner) < shade(-corner[0], corner[1])
    assert shade(*corner) < shade(corner[0], 1.2 - corner[1])


@pytest.mark.slow
def test_holes_are_counted_hatched_and_not_filled():
    display = FieldDisplay(X, Y, with_holes(), **LABELS).plot()
    assert "3 of 693 points not finite, drawn as holes" in footnote(display)
    (hatched,) = by_gid(display, "holes")
    assert hatched.get_hatch()
    display.figure_.canvas.draw()
    pixels = np.asarray(display.figure_.canvas.buffer_rgba())[..., :3].astype(int)
    column, row = display.ax_.transData.transform((X[20], Y[10]))
    patch = pixels[int(pixels.shape[0] - row) - 3 : int(pixels.shape[0] - row) + 3, int(column) - 3 : int(column) + 3]
    assert (patch.max(axis=2) - patch.min(axis=2)).max() <= 3  # gray
    whole = FieldDisplay(X, Y, bowl(), **LABELS).plot()
    assert not by_gid(whole, "holes")
    assert "holes" not in footnote(whole)


@pytest.mark.slow
def test_a_constant_field_says_so():
    assert "loss is 2.3 at every point" in footnote(FieldDisplay(X, Y, FIELDS["constant"], **LABELS).plot())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bowl", "log"),
        ("bowl raised", "linear"),
        ("a wrong sign", "log"),
        ("decades", "log"),
        ("negative with a tail", "asinh"),
        ("zero", "constant"),
    ],
)
def test_levels_follow_the_field(name, kind):
    scale = scale_of(FIELDS[name])
    assert scale.kind == kind
    assert 2 <= len(scale.levels) <= 20
    assert np.all(np.diff(scale.levels) > 0)
    assert scale.levels[0] <= (FIELDS[name][FIELDS[name] > 0].min() if kind == "log" else FIELDS[name].min())
    assert scale.levels[-1] >= FIELDS[name].max()
    texts = [scale.text(level) for level in scale.levels]
    assert len(set(texts)) == len(texts)


def test_logarithmic_levels_are_round():
    levels = scale_of(np.geomspace(0.01, 40.0, 99)).levels
    assert levels == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50])


def test_a_logarithm_of_a_field_that_is_not_positive_is_not_taken():
    assert scale_of(bowl() - 1.0, "log").kind == "asinh"


@pytest.mark.parametrize("levels", ["cubic", [1.0], [2.0, 1.0], [0.0, np.nan]])
def test_levels_that_are_none_are_refused(levels):
    with pytest.raises(InputError, match="levels"):
        FieldDisplay(X, Y, bowl(), **LABELS).plot(levels=levels)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "unit", "equal"), [(1.5, "m", True), (40.0, "m", False), (1.5, "s", False)])
def test_axes_are_equal_when_units_and_spans_are(height, unit, equal):
    field = FieldDisplay(X, np.linspace(0, height, 21), bowl(), xlabel="a (m)", ylabel=f"b ({unit})")
    assert (field.plot().ax_.get_aspect() == 1) is equal
    assert field.plot(equal=False).ax_.get_aspect() == "auto"


@pytest.mark.slow
def test_the_global_well_is_a_star_and_wells_outside_are_named_in_the_note():
    display = FieldDisplay(X, Y, bowl(), **LABELS, wells=[("A (global)", 0, 0), ("B", 1, 1), ("C", 9, 0)]).plot()
    markers = {line.get_marker() for line in display.ax_.lines}
    assert {"*", "v"} <= markers
    assert {t.get_text() for t in display.ax_.texts} >= {"A (global)", "B"}
    assert "Outside the box: C" in footnote(display)


@pytest.mark.slow
def test_a_relief_states_its_clipping_and_only_then():
    relief = ReliefDisplay(X, Y, bowl(), **LABELS, title="R")
    cut = f"{np.quantile(bowl(), 0.9):.3g}"
    assert relief.plot(clip=0.9).ax_.get_title(loc="left").replace("\n", " ") == (
        f"R (clipped at {cut}, the 90 % quantile)"
    )
    assert relief.plot().ax_.get_title(loc="left") == "R"
    assert relief.plot(clip=0.9).ax_.get_zlim()[1] < bowl().max()
    with pytest.raises(InputError, match="clip"):
        relief.plot(clip=0.0)


def test_a_relief_refuses_flat_axes():
    with pytest.raises(InputError, match="3d"):
        ReliefDisplay(X, Y, bowl(), **LABELS).plot(mpl.figure.Figure().add_subplot())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("many", "own"),
    [(9, True), (3, False), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((3, True), (9, False)))],
)
def test_the_legend_stays_off_the_data(many, own):
    base = paths()["walk"]
    walks = {f"optimizer number {i}": base[: 30 + i] * (1 - 0.1 * i) for i in range(many)}
    series = {name: (np.arange(len(w)), np.abs(w[:, 0]) + 1) for name, w in walks.items()}
    for display in (PathsDisplay(FieldDisplay(X, Y, bowl(), **LABELS), walks), CurvesDisplay(series)):
        ax = None if own else mpl.figure.Figure(figsize=(9, 5), layout="constrained").add_subplot(1, 2, 1)
        display.plot(ax).figure_.draw_without_rendering()
        (legend,) = by_gid(display, "legend")
        box = legend.get_window_extent()
        assert not box.overlaps(display.ax_.get_window_extent())
        assert not box.overlaps(display.ax_.xaxis.label.get_window_extent())
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= display.figure_.bbox.x1
        assert [t.get_text() for t in legend.get_texts()][:many] == list(walks)


@pytest.mark.slow
def test_paths_stay_in_the_box_and_say_how_many_points_do_not():
    field = FieldDisplay(X, Y, bowl(), **LABELS)
    line = np.stack([np.linspace(0, 4, 9), np.zeros(9)], axis=1)  # x = 0, 0.5, …, 4: four beyond 2
    display = PathsDisplay(field, {"gd": line, "adam": line[:3]}, finals={"gd": (4, 0)}).plot()
    assert display.outside == {"gd": 4, "adam": 0}
    assert display.ax_.get_xlim() == (-2, 2)
    assert display.ax_.get_ylim() == (-1, 2)
    assert "not shown: gd (4)" in footnote(display)
    assert "Final point outside the box: gd" in footnote(display)
    assert not hasattr(field, "ax_")


@pytest.mark.slow
def test_the_end_marker_is_at_the_final_point_and_breaks_stay_broken():
    field = FieldDisplay(X, Y, bowl(), **LABELS)
    display = PathsDisplay(field, {"a": paths()["broken"], "b": paths()["walk"]}, finals={"b": (0.25, 0.5)}).plot()
    single = [tuple(np.ravel(line.get_xydata())) for line in display.ax_.lines if len(line.get_xdata()) == 1]
    assert (-1.2, 1.1) in single
    assert (0.25, 0.5) in single
    drawn = [line for line in display.ax_.lines if len(line.get_xdata()) == 5]
    assert drawn
    assert all(np.isnan(line.get_xdata()[2]) for line in drawn)


@pytest.mark.slow
def test_many_ends_of_one_name_are_a_cloud_without_callouts():
    here = np.zeros((1, 2))
    field = FieldDisplay(X, Y, bowl(), **LABELS)

    def callouts(pieces):
        return [one for one in PathsDisplay(field, pieces).plot().ax_.patches if one.get_gid() == "callout"]

    assert callouts({"a": here, "b": here + 1e-3})
    assert not callouts({"a": [np.empty((0, 2)), here, here + 1e-3], "b": here})


def test_bars_of_counts_are_logarithmic_and_say_their_words():
    counts = [3.0, 1e8]
    display = BarsDisplay(["a", "b"], counts, counts, counts, xlabel="n", xscale="log", words=["3", "10⁸"]).plot()
    assert display.ax_.get_xscale() == "log" and {"3", "10⁸"} <= {text.get_text() for text in display.ax_.texts}


def test_a_name_keeps_its_color_in_every_display():
    names = ["gd", "adam", "momentum"]
    assert colors(names) == colors(reversed(names))
    assert len(set(colors(map(str, range(7))).values())) == 7
    walk = paths()["walk"]
    field = FieldDisplay(X, Y, bowl(), **LABELS)
    on_map = PathsDisplay(field, dict.fromkeys(names, walk)).plot()
    against = CurvesDisplay({name: (np.arange(300), walk[:, 0]) for name in reversed(names)}).plot()
    for display in (on_map, against):
        (legend,) = by_gid(display, "legend")
        pairs = zip(legend.get_texts(), legend.get_lines(), strict=False)
        shown = {text.get_text(): line.get_color() for text, line in pairs}
        assert {name: shown[name] for name in names} == colors(names)
    chosen = CurvesDisplay({"gd": curves()["gd"]}).plot(palette={"gd": "#123456"})
    assert chosen.ax_.lines[0].get_color() == "#123456"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("y", "asked", "scale"),
    [
        (np.geomspace(1e-3, 10, 50), "auto", "log"),
        (np.linspace(1, 2, 50), "auto", "linear"),
        (np.geomspace(1e-3, 10, 50) - 0.01, "auto", "symlog"),
        (np.geomspace(1e-3, 10, 50) - 0.01, "log", "symlog"),
        (np.linspace(-2, -1, 50), "log", "linear"),
        (np.zeros(50), "auto", "linear"),
        (np.full(50, np.nan), "auto", "linear"),
        (np.geomspace(1e-3, 10, 50), "linear", "linear"),
    ],
)
def test_the_scale_suits_the_data_and_never_changes_them(y, asked, scale):
    display = CurvesDisplay({"a": (np.arange(50), y)}, yscale=asked).plot()
    assert display.ax_.get_yscale() == scale
    np.testing.assert_array_equal(display.ax_.lines[0].get_ydata(), y)
    if asked == "log":
        assert "not positive" in footnote(display)


@pytest.mark.slow
def test_a_curve_that_stops_being_finite_is_marked_where_it_does():
    y = np.exp(np.arange(10.0))
    y[6:] = np.inf
    display = CurvesDisplay({"a": (np.arange(10), y)}).plot()
    assert [line.get_xdata()[0] for line in display.ax_.lines if line.get_marker() == "x"] == [5]
    assert "a (4)" in footnote(display)


@pytest.mark.slow
def test_large_numbers_have_separators():
    display = CurvesDisplay(curves()).plot()
    display.figure_.draw_without_rendering()
    assert "10,000" in [label.get_text() for label in display.ax_.get_xticklabels()]
    assert [number(v) for v in (12_000, -1500, 2e6, 1e-5, 0.05)] == [
        "12,000", "−1,500", "$2{\\times}10^{6}$", "$10^{-5}$", "0.05",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_profile_counts_its_gaps_and_keeps_the_ends():
    t = np.linspace(0, 1, 11)
    y = t**2
    y[[0, 4, 5, 10]] = np.nan, np.inf, np.nan, np.nan
    display = ProfileDisplay(t, y, xlabel="t").plot()
    assert "4 of 11 points not finite" in footnote(display)
    assert display._gaps(np.isfinite(y)) == [pytest.approx(p) for p in ((0, 0.1), (0.3, 0.6), (0.9, 1.0))]
    with pytest.raises(InputError, match="not positive"):
        ProfileDisplay(t, t - 0.5).plot(yscale="log")


def test_bars_show_intervals_and_rows_without_a_value():
    nan = np.nan
    display = BarsDisplay(["a", "b"], [0.5, nan], [0.25, nan], [0.75, nan], xlabel="rate", note="n = 8").plot()
    assert [t.get_text() for t in display.ax_.texts] == ["0.50 [0.25, 0.75]", "no value", "n = 8"]
    assert display.ax_.get_ylim()[0] > display.ax_.get_ylim()[1]
    assert any(list(line.get_xdata()) == [0.25, 0.75] for line in display.ax_.lines)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FieldDisplay(X, Y, bowl().T, **LABELS),
        lambda: FieldDisplay(X[::-1], Y, bowl(), **LABELS),
        lambda: FieldDisplay([0.0], Y, bowl()[:, :1], **LABELS),
        lambda: FieldDisplay(X, Y, "words", **LABELS),
        lambda: FieldDisplay(X, Y, bowl(), **LABELS).plot(cmap="no such map"),
        lambda: PathsDisplay(FieldDisplay(X, Y, bowl(), **LABELS), {"a": np.zeros((4, 3))}),
        lambda: PathsDisplay(FieldDisplay(X, Y, bowl(), **LABELS), {}, finals={"a": (0, 0)}),
        lambda: CurvesDisplay({"a": (X,)}),
        lambda: CurvesDisplay({"a": (X, Y)}),
        lambda: CurvesDisplay({}, yscale="cubic"),
        lambda: ProfileDisplay(X, X, low=X),
        lambda: ProfileDisplay(X[::-1], X),
        lambda: BarsDisplay(["a"], [0.5], [0.6], [0.7], xlabel="rate"),
        lambda: BarsDisplay(["a"], [0.0], [0.0], [0.7], xlabel="rate", xscale="log"),
        lambda: BarsDisplay(["a"], [0.5], [0.4], [0.7], xlabel="rate", words=["one", "two"]),
        lambda: BarsDisplay(["a", "b"], [0.5], [0.4], [0.7], xlabel="rate"),
    ],
)
def test_what_does_not_fit_is_refused(make):
    with pytest.raises(InputError):
        make()


@pytest.mark.slow
def test_empty_displays_can_be_drawn():
    for display in (
        PathsDisplay(FieldDisplay(X, Y, bowl(), **LABELS), {"none": np.empty((0, 2))}),
        PathsDisplay(FieldDisplay(X, Y, bowl(), **LABELS), {}),
        CurvesDisplay({}),
        ProfileDisplay([0.0], [1.0]),
        BarsDisplay([], [], [], [], xlabel="rate"),
    ):
        display.plot().render(dpi=40)


@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    display = FieldDisplay(X, Y, bowl(), **LABELS)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "picture.png", tmp_path / "folder.png", tmp_path / "picture.bmp", tmp_path / "x"):
        with pytest.raises(OutputError):
            display.save(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.slow
def test_the_room_is_entered_without_matplotlib():
    code = "import sys, lossatlas.draw; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_exported_is_there():
    assert sorted(draw.__all__) == sorted(
        name
        for name in dir(draw)
        if re.match(r"[A-Z]|(well_)?colors$|scale_of$|figures$|strokes$|apart$|animate$", name)
    )


@pytest.mark.slow
def test_points_that_were_asked_are_dots_on_map_and_profile():
    samples = np.array([[-1.0, -0.5], [0.25, 0.5], [9.0, 9.0]])
    field = FieldDisplay(X, Y, bowl(), **LABELS, samples=samples).plot()
    (dots,) = [line for line in field.ax_.lines if line.get_gid() == "samples"]
    assert np.array_equal(np.c_[dots.get_data()], samples[:2]), "outside the box there is nothing to see"
    assert any("3 points evaluated" in text.get_text() for text in field.ax_.texts)
    profile = ProfileDisplay(X, X**2, samples=np.c_[X[:3], X[:3] ** 2]).plot()
    (dots,) = [line for line in profile.ax_.lines if line.get_gid() == "samples"]
    assert np.array_equal(dots.get_xdata(), X[:3])
    for make in (
        lambda: FieldDisplay(X, Y, bowl(), **LABELS, samples=np.zeros((4, 3))),
        lambda: ProfileDisplay(X, X, samples=np.zeros((4, 1))),
    ):
        with pytest.raises(InputError, match="samples"):
            make()


@pytest.mark.slow
def test_counts_have_ticks_at_whole_numbers():
    counted, measured = (
        draw.CurvesDisplay({"a": (np.array(x), np.array([1.0, 2.0, 3.0]))}, xscale="linear").plot()
        for x in ([1, 2, 3], [1.0, 1.5, 2.0])
    )
    assert all(tick == round(tick) for tick in counted.ax_.get_xticks())
    assert any(tick != round(tick) for tick in measured.ax_.get_xticks())


@pytest.mark.slow
def test_points_of_a_known_look_are_all_marked_in_it():
    looks = {"gd": draw.Stroke("#D55E00", "s", "-")}
    made = draw.CurvesDisplay({"gd": (np.arange(1, 4), np.arange(1.0, 4.0))}, points=True, looks=looks).plot()
    (line,) = (line for line in made.ax_.lines if line.get_label() == "gd")
    assert line.get_marker() == "s" and line.get_markevery() is None
