"""Figures as papers and classes need them: width, files, titles, colors, style sheets, and the command that made them."""

from __future__ import annotations

import struct
import zlib
from itertools import combinations

import matplotlib as mpl
import matplotlib.style

mpl.use("Agg")

import numpy as np
import pytest
from matplotlib.text import Text

import lossatlas.draw as draw
from lossatlas._errors import InputError
from lossatlas.draw import CurvesDisplay, Display, FieldDisplay, figures

# Every display with data as they come: long names, units, notes.
ALPHA, BETA = np.linspace(-1.2, 1.2, 41), np.linspace(-1.0, 1.4, 37)
UNITS = {"xlabel": "α (random, filter-normalized)", "ylabel": "β (random, filter-normalized)"}
TITLE = "ResNet with cross_entropy: training loss"
NOTE = "1,681 points on a grid, of which 289 were evaluated; the rest is interpolated from outputs"


def _bowl(at=(0.3, 0.2)):
    return 0.05 + (ALPHA - at[0]) ** 2 + 3 * (BETA[:, None] - at[1]) ** 2


def _cup(x):
    return 0.05 + 2 * (x - 0.1) ** 2 + ALPHA[:, None] ** 2


def _ripples():
    return 2 + np.cos(5 * ALPHA) * np.cos(4 * BETA[:, None]) + 0.3 * _bowl()


def _walk(seed, steps=60):
    rng = np.random.default_rng(seed)
    return np.array([-0.9, -0.8]) * np.linspace(1, -0.2, steps)[:, None] + 0.03 * rng.normal(size=(steps, 2)).cumsum(0)


def _field():
    return draw.FieldDisplay(ALPHA, BETA, _bowl(), **UNITS, title=TITLE, note=NOTE, center=(0.0, 0.0))


def _curves():
    q = np.arange(0, 30_001, 300)
    y = 0.02 + 5.0 * np.exp(-q / 6000)
    names = ("gd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "annealing")
    return {
        name: (q, y * (1 + 0.2 * k), y * 0.8 * (1 + 0.2 * k), y * 1.5 * (1 + 0.2 * k)) for k, name in enumerate(names)
    }


def every() -> dict[str, draw.Display]:
    """Name of the class to a display, not yet drawn."""
    t = np.linspace(0, 1, 41)
    step = np.arange(60.0)
    loss = np.exp(-step / 20) + 0.1
    bump = 1 - (2 * t - 1) ** 2
    end = np.array([0.2, 0.2])
    square = np.linspace(-4, 4, 25)
    ends = (square[:, None] > 0).astype(int) + 2 * (square > 0).astype(int) - (np.hypot(square, square[:, None]) < 1)
    runs = {"gd": _walk(0), "rmsprop": _walk(1), "adam": _walk(2)}
    closed = {name: np.concatenate([path, [end]]) for name, path in runs.items()}
    barriers = np.array([[0, 0.3, 1.2, 0.7], [0.3, 0, 0.9, 0.8], [1.2, 0.9, 0, 0.2], [0.7, 0.8, 0.2, 0]])
    posterior = (square[:, None] / 4) ** 2 + (square / 4) ** 2
    seen = np.random.default_rng(1).uniform(-4, 4, (10, 2))
    rows = [
        ("resolution", "the narrowest valley is 12 cells wide; the grid resolves it", "fine"),
        ("curvature", "the largest curvature in the picture is 4 % of λmax = 31.2 of the whole surface", "warns"),
        (
            "saddle",
            "a random plane through this saddle shows it with probability 0.2 %, 95 % interval 0.1 % to 0.4 %",
            "warns",
        ),
        ("gradient", "not measured", "missing"),
    ]
    decisions = [
        draw.Decision("are gradients known?", 0, "", True, "yes: 2 of 2 components agree with differences"),
        draw.Decision(
            "is there one valley? the quadratic explains 0.41 [0.22, 0.60] of the losses",
            1,
            "yes",
            True,
            "threshold 0.9",
        ),
        draw.Decision("descent with momentum", 2, "yes", False, leaf=True),
        draw.Decision("many starts of L-BFGS", 2, "no", True, "the hedge: CMA-ES", leaf=True),
    ]
    made = [
        _field(),
        draw.MatrixDisplay(
            ["checkpoint-100", "checkpoint-200", "checkpoint-300", "other seed"], barriers, 0.8 * barriers, 1.2 * barriers,
            label="barrier (nats)", title="Barriers between every two", note=NOTE,
        ),
        draw.CellsDisplay(
            ALPHA[::5], BETA[::6], np.where(_bowl()[::6, ::5] > 8, np.nan, _bowl()[::6, ::5]), **UNITS, zlabel="|λmin/λmax|",
            title=TITLE, note=NOTE, center=(0.0, 0.0), doubtful=_bowl()[::6, ::5] > 2,
        ),
        draw.DecisionsDisplay(decisions, title="Which optimizer for four-wells", note=NOTE),
        draw.ReliefDisplay(ALPHA, BETA, _bowl(), **UNITS, title=TITLE, note=NOTE, paths=closed),
        draw.PathsDisplay(_field(), closed, note="Typical runs: of 100 runs of each racer, adam ended in A in 48"),
        draw.CurvesDisplay(_curves(), title="four-wells", ylabel="loss above the minimum", note="Lines: median of 100 runs"),
        draw.ProfileDisplay(
            t, 2 * bump, 2 * bump - 0.1, 2 * bump + 0.1, xlabel="t (Euclidean distance 12.3)", title=TITLE,
            marks=[("first network", 0.0), ("second network", 1.0)], note=NOTE,
        ),
        draw.BarsDisplay(
            ["simulated annealing", "random restart", "gd"], [0.48, 0.68, 0.0], [0.38, 0.58, 0.0], [0.57, 0.76, 0.0],
            xlabel="share of 100 runs that ended in the global well, 95 % interval", title="deep-wells", note=NOTE,
        ),
        draw.BasinsDisplay(
            square, square, ends, ["A", "B", "C", "global"], cost=np.abs(posterior), title="Basins of momentum on four-wells",
            wells=[("A", -2, -2), ("global", 2, 2)],
        ),
        draw.AlongDisplay(
            {"this run": (step, 20 + step, 0.5 + 0 * step)}, {"this run": (step, 60 + 0 * step)},
            more={"this run": (step, np.stack([step, 0.5 * step], 1))}, title="Sharpness along the run", note=NOTE,
        ),
        draw.BarrierDisplay(
            {
                "line, train": {"t": t, "y": bump, "low": bump - 0.1, "high": bump + 0.1},
                "line, aligned by weights, train": {"t": t, "y": 0.2 * bump},
            },
            barrier=("line, train", 0.5, 1.0, "barrier 1.02"), title="first to second", ylabel="cross-entropy (nats)", note=NOTE,
        ),
        draw.LadderDisplay(
            [16, 64, 256, 1024], {"naive": [[2, 2.2], [1.8, 1.9], [1.5, 1.6], [1.4, 1.5]], "aligned by activations": [[1, 1.1]] * 4},
            xlabel="width of the hidden layers", ylabel="barrier (nats)", title="Barriers against width", note=NOTE,
        ),
        draw.SpectrumDisplay(
            np.linspace(-1, 30, 300), np.exp(-np.linspace(-1, 30, 300) ** 2) + 1e-6, outliers=np.array([12.0, 28.0]), single=1e-5,
            xlabel="eigenvalue of the Hessian (units of the loss)", title="Spectrum of 174,604 eigenvalues", note=NOTE,
        ),
        draw.IndexDisplay(np.array([0.2, 0.5, 0.9]), np.array([0.0, 0.1, 0.3]), ["true"] * 3, title="critical points"),
        draw.MergeTreeDisplay(
            np.array([0.0, 0.5, 0.3]), np.array([np.nan, 2.0, 1.0]), np.array([-1, 0, 0]), top=3.0, title=TITLE, note=NOTE,
            labels=["(0.1, 0.2)", "(−0.4, 0.7)", "(0.9, −0.3)"], depths=["", "1.5", "0.7"],
        ),
        draw.TopologyDisplay(
            ALPHA, BETA, _ripples(), **UNITS, title=TITLE, note=NOTE, minima=np.array([[0.6, 0.0], [-0.6, 0.0]]),
            saddles=np.array([[np.nan] * 2, [0.0, 0.4]]), maxima=np.array([[0.0, 0.0]]), depths=["", "0.41"],
        ),
        draw.MorseSmaleDisplay(
            ALPHA, BETA, _ripples(), **UNITS, title=TITLE, note=NOTE, regions=np.repeat([[0, 1]], [20, 21], 1).repeat(len(BETA), 0),
            minima=np.array([[-0.6, 0.0], [0.6, 0.0]]), saddles=np.array([[0.0, 0.4]]), maxima=np.array([[0.0, -0.3]]),
            descents=[np.array([[0.0, 0.4], [0.6, 0.0]])], ascents=[np.array([[0.0, 0.4], [0.0, -0.3]])],
        ),
        draw.SlicesDisplay(
            [ALPHA, BETA, ALPHA], {(0, 1): _bowl(), (0, 2): _cup(ALPHA), (1, 2): _cup(BETA)}, at=[0.0, 0.0, 0.0],
            labels=["α, filter norms", "β, filter norms", "γ, filter norms"], title=TITLE, note=NOTE,
        ),
        draw.TrajectoryDisplay(
            draw.FieldDisplay(ALPHA, BETA, _bowl(), xlabel="PC 1 (Euclidean distance)", ylabel="PC 2 (Euclidean distance)", title=TITLE),
            {"run": _walk(3)}, residuals={"run": np.linspace(0.4, 0.02, 60)}, steps={"run": step}, losses={"run": loss},
            shown={"run": 1.1 * loss}, title=TITLE, note=NOTE,
        ),
        draw.CompareDisplay(
            ["with shortcuts", "plain"], [ALPHA] * 2, [BETA] * 2, [[_bowl(), _ripples()], [_ripples(), _bowl()]],
            rows=["seed 0", "seed 1"],
            numbers={"roughness": {"with shortcuts": np.array([0.1, 0.2]), "plain": np.array([0.5, 0.4])}}, title=TITLE, note=NOTE,
        ),
        draw.EndsDisplay(
            ["momentum", "momentum", "adam", "muon"], [[0, 0], [1, 0.5], [5, 1], [4, 4]], barriers=barriers,
            sizes=[30.0, 20, 70, 10], size_label="λmax", share=0.93, title="small CNN: where training ended",
        ),
        draw.SurrogateDisplay(
            square, square, posterior, [(5, posterior, 0.2 + 0 * posterior, seen[:5]), (10, posterior, 0.1 + posterior, seen)],
            title="What Bayesian optimization believes of four-wells",
        ),
        draw.CardDisplay(
            rows, field=_field(), whole=(-2.0, 0.1, 31.2), shown=(0.2, 1.3), others=(0.1, 2.0), title="Honesty card", note=NOTE,
        ),
    ]  # fmt: skip
    return {type(one).__name__: one for one in made}


NAMES = sorted(every())
X = np.linspace(-1, 1, 21)


def field(**settings):
    return FieldDisplay(X, X, X**2 + X[:, None] ** 2, xlabel="a", ylabel="b", **settings)


def curves(**settings):
    return CurvesDisplay({"gd": (np.arange(9.0), np.arange(9.0))}, **settings)


def test_every_display_is_in_the_column_sheet():
    def below(kind):
        return (
            {kind.__name__}
            if not kind.__subclasses__()
            else set().union({kind.__name__}, *map(below, kind.__subclasses__()))
        )

    ours = {name for name in below(Display) if name not in ("Display", "GridDisplay")}
    assert ours == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("width", ["84mm", 6.5])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_or_overlaps(name, width):
    with figures(width=width) as now:
        display = every()[name].plot()
    figure = display.figure_
    assert figure.get_figwidth() == pytest.approx(now.width)
    figure.draw_without_rendering()
    page = figure.bbox
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = {text: text.get_window_extent() for text in shown}
    for text, box in boxes.items():
        if text.get_clip_on() or box.width == 0 or _off(text, box):
            continue
        inside = page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1 and page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1
        assert inside, (text.get_text(), box.bounds, page.bounds)
    main = [text for axes in figure.axes for text in (axes.xaxis.label, axes.yaxis.label, axes._left_title, axes.title)]
    main += [text for text in shown if text.get_gid() in ("footnote", "title")] + list(figure.texts)
    legends = [one for axes in figure.axes if (one := axes.get_legend()) is not None]
    parts = [text.get_window_extent() for text in dict.fromkeys(main) if text.get_text().strip()]
    parts += [legend.get_window_extent() for legend in legends]
    assert not [(a.bounds, b.bounds) for a, b in combinations(parts, 2) if _cross(a, b)]


def _cross(a, b):
    """Whether two boxes overlap by more than a pixel."""
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1


def _off(text, box):
    """Ticks beyond the limits of an axis are there and not drawn."""
    axes = text.axes
    if axes is None or axes.name == "3d":
        return axes is not None and text in (*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.get_zticklabels())
    labels = {
        **dict.fromkeys(axes.get_xticklabels(which="both"), "x"),
        **dict.fromkeys(axes.get_yticklabels(which="both"), "y"),
    }
    where = axes.get_window_extent()
    middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    if labels.get(text) == "x":
        return not where.x0 - 2 <= middle[0] <= where.x1 + 2
    return labels.get(text) == "y" and not where.y0 - 2 <= middle[1] <= where.y1 + 2


@pytest.mark.slow
def test_a_width_holds_in_its_block_only():
    with figures(width=3.3):
        assert field().plot().figure_.get_figwidth() == 3.3
        with figures(width="10cm"):
            assert field().plot().figure_.get_figwidth() == pytest.approx(10 / 2.54)
    assert field().plot().figure_.get_figwidth() == 6.5


@pytest.mark.parametrize("width", ["wide", "3 feet", 0.1, 100, "-3in", True, None, "1mm"])
def test_wrong_widths_are_refused(width):
    with pytest.raises(InputError, match=r"expected 2\.5 to 40 inches"), figures(width=width):
        pass


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"formats": ("gif",)}, "expected one or several of png, pdf, svg"),
        ({"cmap": "rainbows"}, "no color map 'rainbows'"),
        ({"dpi": 3}, "at least 30 and of at most 2400"),
        ({"dpi": "fine"}, "dpi"),
    ],
)
def test_wrong_settings_are_refused(given, says):
    with pytest.raises(InputError, match=says), figures(**given):
        pass


@pytest.mark.slow
def test_each_picture_is_written_in_all_formats_with_the_command_in_it(tmp_path):
    command = "lossatlas race four-wells --title 'a b'"
    with figures(formats=("pdf", "svg", "png"), dpi=60, command=command):
        first = field().save(tmp_path / "new" / "paths.png")
    assert first == tmp_path / "new" / "paths.pdf"
    found = {path.suffix: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert set(found) == {".pdf", ".svg", ".png"}
    assert b"(" + command.encode() + b")" in found[".pdf"]
    assert command.replace("'", "&apos;").encode() in found[".svg"] or command.encode() in found[".svg"]
    assert command in _texts(found[".png"])["Description"]
    assert "Description" not in _texts(field().render(dpi=60))


def _texts(png):
    """What the text chunks of a PNG say, by PNG's own specification."""
    at, found = 8, {}
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        if kind == b"tEXt":
            key, _, text = body.partition(b"\0")
            found[key.decode()] = text.decode("latin-1")
        at += 12 + length
    return found


@pytest.mark.slow
def test_dots_per_inch_hold_for_a_saved_picture():
    with figures(width=4.0, dpi=100):
        wide = struct.unpack(">I", field().render()[16:20])[0]
        other = struct.unpack(">I", field().render(dpi=50)[16:20])[0]
    assert (wide, other) == (400, 200)


@pytest.mark.slow
def test_a_title_stands_in_place_of_the_own_or_leaves_it_out():
    with figures(title="Ours"):
        assert field(title="Own").plot().ax_.get_title(loc="left") == "Ours"
        assert field().plot().ax_.get_title(loc="left") == ""
    with figures(title=""):
        assert field(title="Own").plot().ax_.get_title(loc="left") == ""
    assert field(title="Own").plot().ax_.get_title(loc="left") == "Own"


@pytest.mark.slow
def test_a_color_map_holds_for_every_field_without_one():
    gray = np.array([0.5, 0.5, 0.5])

    def ground(**settings):
        drawn = field().plot(**settings)
        drawn.figure_.canvas.draw()
        pixels = np.asarray(drawn.figure_.canvas.buffer_rgba())[..., :3]
        box = drawn.ax_.get_window_extent()
        rows = slice(int(pixels.shape[0] - box.y1) + 5, int(pixels.shape[0] - box.y0) - 5)
        return pixels[rows, int(box.x0) + 5 : int(box.x1) - 5].reshape(-1, 3).astype(float)

    def colored(pixels):
        return float(np.ptp(pixels, axis=1).max())

    with figures(cmap="gray"):
        assert colored(ground()) < 3 < colored(ground(cmap="viridis"))
    assert colored(ground()) > 3 and gray.any()
    with mpl.rc_context({"image.cmap": "gray"}):
        assert colored(ground()) < 3


@pytest.mark.slow
def test_a_style_sheet_is_followed():
    usual = curves(title="T", note="small").plot()
    with mpl.rc_context({"axes.labelsize": 13, "axes.titlesize": 17, "xtick.labelsize": 5}):
        styled = curves(title="T", note="small").plot()
    assert (usual.ax_.xaxis.label.get_size(), styled.ax_.xaxis.label.get_size()) == (9.0, 13.0)
    assert styled.ax_._left_title.get_size() == 17.0 and styled.ax_.get_xticklabels()[0].get_size() == 5.0
    with mpl.rc_context({"font.size": 20}):
        assert curves().plot().ax_.xaxis.label.get_size() == 18.0
    with mpl.style.context("dark_background"):
        dark = curves(title="T", note="small").plot()
        dark.figure_.canvas.draw()
        pixels = np.asarray(dark.figure_.canvas.buffer_rgba())[..., :3]
    assert pixels[2, 2].max() < 10
    (note,) = [text for text in dark.figure_.findobj(Text) if text.get_gid() == "footnote"]
    assert min(mpl.colors.to_rgb(note.get_color())) > 0.6
    assert mpl.colors.to_rgb(usual.figure_.get_facecolor()) == (1, 1, 1)


@pytest.mark.slow
def test_text_is_smaller_in_a_column_but_can_be_read():
    with figures(width=3.3):
        sizes = [
            text.get_size() for text in curves(title="T", note="small").plot().figure_.findobj(Text) if text.get_text()
        ]
    assert min(sizes) >= 6 and max(sizes) == 9.0


def test_names_beside_seven_fixed_looks_are_drawn_unlike_each_other_and_unlike_those():
    looks = {f"fixed {k}": draw.Stroke(color, "o", "solid") for k, color in enumerate(draw.colors("abcdefg").values())}
    names = [f"racer {k}" for k in range(20)]
    found = draw.strokes([*looks, *names], looks=looks)
    drawn = [(stroke.color, stroke.marker) for stroke in found.values()]
    assert len({stroke.color for stroke in looks.values()}) == 7 and len(set(drawn)) == len(drawn)
    spread = [stroke.color for stroke in found.values()]
    assert max(map(spread.count, spread)) - min(map(spread.count, spread)) <= 1


@pytest.mark.slow
def test_what_is_black_or_gray_on_paper_can_be_seen_on_dark_paper():
    black = {"muon": draw.Stroke("#000000", "o", "solid")}
    ends = ([0.5], [0.4], [0.6])
    with mpl.style.context("dark_background"):
        line = CurvesDisplay({"muon": (np.arange(9.0), np.arange(9.0))}, looks=black).plot().ax_.lines[0]
        bars = draw.BarsDisplay(["a"], *ends, xlabel="x").plot(palette={"a": "#000000"})
        wells = field(wells=[("A", 0.2, 0.1)]).plot()
        relief = draw.ReliefDisplay(X, X, X**2 + X[:, None] ** 2, xlabel="a", ylabel="b").plot()
    assert mpl.colors.to_rgb(line.get_color()) == (1, 1, 1)
    (said,) = [text for text in bars.ax_.texts if "[" in text.get_text()]
    assert min(mpl.colors.to_rgb(said.get_color())) > 0.6
    assert all(
        min(mpl.colors.to_rgb(line.get_markerfacecolor())) > 0.9 for line in bars.ax_.lines if line.get_marker() == "o"
    )
    # On a map the ground stays light, whatever the paper.
    (name,) = [text for text in wells.ax_.texts if text.get_text() == "A"]
    assert mpl.colors.to_rgb(name.get_color()) == (0, 0, 0)
    assert max(relief.ax_.xaxis.pane.get_facecolor()[:3]) < 0.1


@pytest.mark.slow
def test_the_ground_of_a_relief_is_the_paper_everywhere():
    with mpl.style.context("ggplot"):
        drawn = draw.ReliefDisplay(X, X, X**2 + X[:, None] ** 2, xlabel="a", ylabel="b").plot()
        drawn.figure_.canvas.draw()
        pixels = np.asarray(drawn.figure_.canvas.buffer_rgba())[..., :3]
    edges = np.concatenate([pixels[2], pixels[-3], pixels[:, 2], pixels[:, -3]])
    assert (edges == 255).all()


@pytest.mark.slow
def test_curves_keep_their_height_under_a_long_title():
    with figures(width=3.3, title="Loss against queries on a landscape of four wells " * 5):
        drawn = curves(title="own", note="small").plot()
    assert drawn.figure_.get_figwidth() == 3.3
    assert drawn.ax_.get_window_extent().height / drawn.figure_.dpi > 1.39


@pytest.mark.slow
def test_a_name_with_a_dot_keeps_it_in_every_format(tmp_path):
    with figures(formats=("svg", "pdf")):
        field().save(tmp_path / "step-1.5")
        field().save(tmp_path / "plain.PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"step-1.5.svg", "step-1.5.pdf", "plain.svg", "plain.pdf"}


def test_a_number_is_not_parted_from_its_percent_sign():
    from lossatlas.draw._surround import wrap

    text = "share of 100 runs that ended in the global well, 95 % interval"
    for inches in np.linspace(1.0, 6.0, 60):
        assert not any(line.startswith("%") for line in wrap(text, inches, 9).split("\n"))
    assert wrap(text, 20, 9) == text
