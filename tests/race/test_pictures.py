"""The pictures of a race are asked what they show: typical runs, ends that can be told apart, paths inside of the frame."""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas._errors import InputError
from lossatlas.draw import figures
from lossatlas.optimize import looks, strokes_of

DESCENTS = ("gd", "rmsprop", "nesterov", "adam", "adamw")


def by_gid(display, gid):
    return [artist for artist in display.figure_.findobj() if artist.get_gid() == gid]


@pytest.fixture(scope="module")
def deep():
    surface = la.landscapes.deep_wells()
    return la.race(surface, [*DESCENTS, "annealing", "restart"], steps=300, runs=30, seed=0, progress=False)


@pytest.fixture(scope="module")
def flat(deep):
    return deep.plot(points=61)


@pytest.mark.slow
def test_the_note_says_how_many_ended_as_the_drawn_run_did(deep, flat):
    for label in ("annealing", "restart"):
        wells = deep.verdicts[label].wells
        shown = wells[deep.typical(label)]
        assert wells.count(shown) == max(map(wells.count, set(wells)))
        place = "the global well" if shown == "global" else str(shown)
        assert f"{label} ended in {place} in {wells.count(shown)}" in flat.note
    assert "of 30 runs" in flat.note and "same way every time" in flat.note and "5 other runs" in flat.note
    one = la.race(deep.surface, ["gd"], steps=5, progress=False)
    assert one.plot(points=9).note is None


@pytest.mark.slow
def test_the_drawn_run_is_the_typical_one(deep, flat):
    path = deep.tracks["annealing"].positions[deep.typical("annealing")].numpy()
    assert any(np.array_equal(line.get_xydata(), path) for line in flat.ax_.lines)


@pytest.mark.slow
def test_five_ends_in_one_well_are_told_apart(deep, flat):
    flat.figure_.draw_without_rendering()
    labels = [text for text in by_gid(flat, "end label") if text.get_text() in DESCENTS]
    assert sorted(text.get_text() for text in labels) == sorted(DESCENTS)
    boxes = [text.get_window_extent() for text in labels]
    marks = [by_gid(flat, f"end of {name}") for name in DESCENTS]
    assert all(len(mark) == 1 for mark in marks)
    boxes += [mark[0].get_window_extent() for mark in marks]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    frame = flat.ax_.get_window_extent()
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 and frame.y0 <= b.y0 and b.y1 <= frame.y1 for b in boxes)
    # Panels hold their labels and do not lie on each other.
    panels = [panel.get_window_extent() for panel in by_gid(flat, "callout")]
    assert not any(a.overlaps(b) for a, b in combinations(panels, 2))
    for text in by_gid(flat, "end label"):
        box = text.get_window_extent()
        assert any(p.x0 <= box.x0 and box.x1 <= p.x1 and p.y0 <= box.y0 and box.y1 <= p.y1 for p in panels)


@pytest.mark.slow
def test_a_line_leads_from_each_name_to_its_end(deep, flat):
    """Measured in the figure: a leader of the racer's color begins where the racer ended."""
    flat.figure_.draw_without_rendering()
    for name in DESCENTS:
        end = flat.ax_.transData.transform(deep.final(name)[0].numpy())
        begins = [
            line.get_transform().transform(line.get_xydata())[0]
            for line in flat.ax_.lines
            if line.get_color() == looks[name][0] and len(line.get_xydata()) == 2 and line.get_lw() < 1
        ]
        assert any(np.hypot(*(begin - end)) < 1.0 for begin in begins)


@pytest.mark.slow
def test_paths_at_the_edge_of_the_box_lie_inside_the_frame(deep):
    low, high = (side.numpy() for side in deep.surface.box.unbind(1))
    paths = deep.tracks["annealing"].positions.numpy()
    met = [run for run, path in enumerate(paths) if ((path[1:] == low) & (path[:-1] == low)).any()]
    drawn = deep.plot(run=met[0], points=9)
    left, right = drawn.ax_.get_xlim()
    bottom, top = drawn.ax_.get_ylim()
    assert left < low[0] and right > high[0] and bottom < low[1] and top > high[1] and len(by_gid(drawn, "box")) == 1
    inner = la.race(deep.surface, ["gd"], steps=9, progress=False).plot(points=9)
    assert inner.ax_.get_xlim() == (low[0], high[0]) and not by_gid(inner, "box")


def test_restarts_begin_at_dots_in_their_color(deep, flat):
    track = deep.tracks["restart"]
    path = track.positions[deep.typical("restart")].numpy()
    begins = path[track.optimizer.breaks(len(path) - 1)]
    dots = [
        line
        for line in flat.ax_.lines
        if line.get_marker() == "o" and line.get_markerfacecolor() == looks["restart"][0]
    ]
    (dots,) = [line for line in dots if len(line.get_xydata()) == len(begins)]
    assert np.allclose(np.sort(dots.get_xydata(), 0), np.sort(begins, 0)) and len(begins) == 4
    starts = [line for line in flat.ax_.lines if line.get_markerfacecolor() == "white" and line.get_marker() == "o"]
    assert [line.get_xydata().tolist() for line in starts] == [[deep.surface.start.tolist()]]


@pytest.mark.slow
def test_faint_runs_are_other_runs(deep, flat):
    faint = [line.get_xydata() for line in by_gid(flat, "faint")]
    shown = deep.tracks["annealing"].positions[deep.typical("annealing")].numpy()
    every = [run.numpy() for run in deep.tracks["annealing"].positions]
    of_annealing = [path for path in faint if len(path) == len(shown)]
    found = [
        next(b for b, run in enumerate(every) if np.array_equal(path, run)) for path in of_annealing if len(path) == 301
    ]
    assert len(set(found)) == 5 and deep.typical("annealing") not in found
    assert (
        len(faint) == 5 + 5 * 5
    )  # one piece of annealing each, five descents of restart, none of what is deterministic
    assert not by_gid(deep.plot(points=9, others=0), "faint")


@pytest.mark.slow
def test_colors_are_the_catalogs_in_every_picture(deep, flat):
    pictures = [flat, deep.plot_losses(), deep.plot_ecdf(), deep.plot_memory(), deep.plot_relief(points=21)]
    for display in pictures:
        (legend,) = [one for axes in display.figure_.axes if (one := axes.get_legend()) is not None]
        drawn = {
            text.get_text(): (line.get_color(), line.get_marker())
            for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
        }
        assert {label: drawn[label] for label in deep.tracks} == {label: looks[label] for label in deep.tracks}


@pytest.mark.slow
def test_the_bowl_shows_its_minimum_in_closed_form_and_the_path_there():
    surface = la.landscapes.regression()
    race = la.race(surface, ["gd"], steps=80, progress=False)
    x, y = surface.formula.data
    slope, intercept = np.linalg.lstsq(np.column_stack([x, np.ones_like(x)]), y, rcond=None)[0]
    display = race.plot(points=41)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("w₁", "w₂")
    said = [text.get_text() for text in display.ax_.texts]
    assert f"minimum ({slope:.3g}, {intercept:.3g})" in said
    (star,) = [line for line in display.ax_.lines if line.get_marker() == "*"]
    assert np.allclose(star.get_xydata(), [[slope, intercept]], atol=1e-9)
    relief = race.plot_relief(points=41)
    assert (relief.ax_.get_xlabel(), relief.ax_.get_ylabel()) == ("w₁", "w₂")
    assert relief.ax_.get_zscale() == "linear"
    (end,) = by_gid(relief, "end of gd")
    assert np.allclose(np.array(end.get_data_3d())[:2, 0], [slope, intercept], atol=1e-3)


@pytest.mark.slow
def test_a_relief_hides_what_lies_behind_a_slope_and_shows_what_does_not():
    """A wall across the middle: seen from the south, a path north of it is hidden, one south of it is not."""
    from lossatlas.draw import ReliefDisplay

    x = np.linspace(-1, 1, 81)
    wall = np.where(np.abs(x) < 0.1, 1.0, 0.0)[:, None] * np.ones(81)
    away, near = np.array([[-0.5, 0.3], [0.5, 0.3]]), np.array([[-0.5, -0.6], [0.5, -0.6]])
    display = ReliefDisplay(x, x, wall, xlabel="a", ylabel="b", paths={"away": away, "near": near}).plot(
        levels="linear", elevation=20, azimuth=-90
    )
    lines = {gid: by_gid(display, gid) for gid in ("path", "hidden")}
    seen = {one.get_label(): np.isfinite(one.get_data_3d()[2]).mean() for one in lines["path"]}
    assert seen == {"away": 0.0, "near": 1.0}
    hidden = [np.isfinite(one.get_data_3d()[2]).mean() for one in lines["hidden"]]
    assert sorted(hidden) == [0.0, 1.0]
    above = display.plot(levels="linear", elevation=89, azimuth=-90)
    assert all(np.isfinite(one.get_data_3d()[2]).all() for one in by_gid(above, "path"))


@pytest.mark.slow
def test_ends_in_one_place_stand_above_each_other_in_a_relief(deep):
    display = deep.plot_relief(points=41)
    heights = [np.array(by_gid(display, f"end of {name}")[0].get_data_3d())[2, 0] for name in DESCENTS]
    assert np.all(np.diff(heights) > 0.02 * np.ptp(display.ax_.get_zlim()))
    dots = [one for one in by_gid(display, "dots") if len(one.get_data_3d()[0])]
    assert [len(one.get_data_3d()[0]) for one in dots] == [4]
    assert "not shown" not in " ".join(text.get_text() for text in by_gid(display, "footnote"))


@pytest.mark.slow
def test_a_relief_fills_its_figure_and_nothing_is_cut(deep):
    display = deep.plot_relief(points=21)
    figure = display.figure_
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [axis.get_tightbbox() for axis in (display.ax_.xaxis, display.ax_.yaxis, display.ax_.zaxis)]
    boxes += [text.get_window_extent() for text in figure.texts] + [display.ax_.get_legend().get_window_extent()]
    assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= width and b.y1 <= height for b in boxes)
    assert max(b.x1 for b in boxes) - min(b.x0 for b in boxes) > 0.9 * width


@pytest.mark.slow
def test_a_relief_needs_two_parameters_and_whole_paths(deep):
    five = la.race(la.landscapes.quadratic(dimension=5), ["gd"], steps=3, progress=False)
    with pytest.raises(InputError, match="5 parameters; expected two"):
        five.plot_relief()
    with pytest.raises(InputError, match="keeps only the ends"):
        deep.only_ends().plot_relief()
    with pytest.raises(InputError, match="others=-1"):
        deep.plot(others=-1)


@pytest.mark.slow
def test_many_ends_in_one_place_all_get_a_name_inside_the_frame():
    """Sixteen in one well: the column is as long as it takes."""
    surface = la.landscapes.himmelblau()
    at = surface.wells[0].minimum
    race = la.race(
        surface, {f"racer {k}": la.optimizer("gd", lr=1e-6) for k in range(16)}, start=at, steps=2, progress=False
    )
    display = race.plot(points=21)
    display.figure_.draw_without_rendering()
    boxes = [text.get_window_extent() for text in by_gid(display, "end label")]
    frame = display.ax_.get_window_extent()
    assert len(boxes) == 16 and not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(frame.y0 < b.y0 and b.y1 < frame.y1 for b in boxes) and torch.isfinite(at).all()


@pytest.mark.slow
def test_in_a_column_markers_stand_alone_and_cover_no_name_of_a_well(deep):
    with figures(width=3.3):
        display = deep.plot(points=41)
    display.figure_.draw_without_rendering()
    panels = [panel.get_window_extent() for panel in by_gid(display, "callout")]
    wells = [text.get_window_extent() for text in by_gid(display, "mark label")]
    assert len(panels) == 2 and len(wells) == 4 and not by_gid(display, "end label")
    assert all(len(by_gid(display, f"end of {name}")) == 1 for name in deep.tracks)
    assert not any(a.overlaps(b) for a, b in combinations([*panels, *wells], 2))
    (legend,) = [one for axes in display.figure_.axes if (one := axes.get_legend()) is not None]
    assert {*deep.tracks} <= {text.get_text() for text in legend.get_texts()}


@pytest.mark.slow
def test_torch_classes_go_by_their_own_names_and_keep_their_colors():
    class Mine(torch.optim.SGD):
        pass

    mine, other = la.TorchOptimizer(Mine, lr=0.01), la.TorchOptimizer(torch.optim.RMSprop, lr=0.01)
    surface = la.landscapes.four_wells()
    races = [
        la.race(surface, racers, steps=2, progress=False)
        for racers in (["gd", mine, other], [other, mine, "gd"], ["gd", mine, mine])
    ]
    assert [list(race.tracks) for race in races] == [
        ["gd", "mine", "rmsprop"], ["rmsprop", "mine", "gd"], ["gd", "mine", "mine-2"],
    ]  # fmt: skip
    first, second, _ = (strokes_of({label: track.optimizer for label, track in race.tracks.items()}) for race in races)
    assert first == {label: second[label] for label in first}


def test_a_racer_of_the_users_looks_like_none_of_the_catalog():
    base = ["gd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "muon"]
    for k in range(30):
        racers = {**{name: la.optimizer(name) for name in base}, f"mine {k}": la.TorchOptimizer(torch.optim.SGD)}
        look = [(stroke.color, stroke.marker) for stroke in strokes_of(racers).values()]
        assert len(set(look)) == len(look)
