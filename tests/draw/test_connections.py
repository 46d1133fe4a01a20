"""Displays of connections: profiles with a barrier, and ladders of sizes."""

import numpy as np
import pytest

from lossatlas._errors import InputError
from lossatlas.draw import BarrierDisplay, LadderDisplay

T = np.linspace(0, 1, 101)
BUMP = 1 - (2 * T - 1) ** 2


def bump(height=1.0, band=False):
    found = {"t": T, "y": height * BUMP, "evaluated": T[::10], "read": height * BUMP[::10]}
    return {**found, "low": height * BUMP - 0.1, "high": height * BUMP + 0.1} if band else found


def texts(display):
    return [text.get_text() for text in display.ax_.texts]


@pytest.mark.slow
def test_a_barrier_is_an_arrow_with_its_height_beside_the_lines():
    display = BarrierDisplay(
        {"line, train": bump(band=True), "line, test": bump(1.1), "curve, train": bump(0.01)},
        barrier=("line, train", 0.5, 1.0, "barrier 1"),
    ).plot()
    (label,) = [text for text in display.ax_.texts if text.get_text() == "barrier 1"]
    box = label.get_window_extent()
    drawn = np.stack([T, BUMP], 1)
    assert box.count_contains(display.ax_.transData.transform(drawn)) == 0
    assert [h.get_label() for h in display.ax_.get_legend().legend_handles] == [
        "line, train",
        "line, test",
        "curve, train",
    ]
    train, test = (line.get_color() for line in display.ax_.lines[0:4:2])
    assert train == test and display.ax_.lines[0].get_linestyle() != display.ax_.lines[2].get_linestyle()
    assert display.render()


@pytest.mark.slow
def test_a_height_without_room_is_said_in_the_small_print():
    falling = {"t": T, "y": 1 - T + 0.02 * BUMP}
    display = BarrierDisplay({"line": falling}, barrier=("line", 0.5, 0.02, "barrier\n0.02")).plot()
    assert any("barrier 0.02 at t = 0.5" in text for text in texts(display))
    lost = {
        "t": T,
        "y": np.where(T > 0.7, np.nan, BUMP),
        "evaluated": T[::10],
        "read": np.where(T > 0.7, np.nan, BUMP)[::10],
    }
    gap = BarrierDisplay({"line": lost}, barrier=("line", 0.7, np.inf, "barrier inf")).plot()
    assert any("not finite" in text for text in texts(gap))


@pytest.mark.parametrize(
    "profiles, settings, message",
    [
        ({"a": {"t": T, "y": T[:5]}}, {}, "y of 'a'"),
        ({"a": {"t": T, "y": T, "low": T}}, {}, "one end"),
        ({"a": {"t": T, "y": T}}, {"barrier": ("b", 0.5, 1.0, "x")}, "barrier is of 'b'"),
    ],
)
def test_profiles_that_do_not_fit_are_refused(profiles, settings, message):
    with pytest.raises(InputError, match=message):
        BarrierDisplay(profiles, **settings)
    with pytest.raises(InputError, match="not positive"):
        BarrierDisplay({"a": {"t": T, "y": T}}).plot(yscale="log")


@pytest.mark.slow
def test_a_ladder_shows_every_run_and_the_interval_of_the_mean():
    values = np.array([[1.0, 2.0, 3.0], [0.1, 0.2, 0.3]])
    display = LadderDisplay(np.array([16.0, 64.0]), {"a": values}, {"a": [1.5, 0.15]}, {"a": [2.5, 0.25]}).plot()
    assert display.ax_.get_yscale() == "log" and display.ax_.get_xscale() == "log"
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["16", "64"]
    dots, means = display.ax_.lines[0], display.ax_.lines[1]
    assert sorted(dots.get_ydata()) == sorted(values.ravel()) and means.get_ydata().tolist() == [
        2.0,
        pytest.approx(0.2),
    ]
    mixed = LadderDisplay(np.array([1.0]), {"a": [[-1.0, np.nan]]}).plot()
    assert mixed.ax_.get_yscale() == "linear" and any("1 values not finite" in text for text in texts(mixed))
    assert display.render() and mixed.render()


@pytest.mark.parametrize(
    "args, message",
    [
        (([2.0, 1.0], {"a": [[1.0], [1.0]]}), "increasing"),
        (([1.0, 2.0], {"a": [[1.0]]}), "1 rows, expected 2"),
        (([1.0], {"a": [[1.0]]}, {"a": [0.5]}), "both ends or neither"),
    ],
)
def test_ladders_that_do_not_fit_are_refused(args, message):
    with pytest.raises(InputError, match=message):
        LadderDisplay(*args)
    with pytest.raises(InputError, match="not positive"):
        LadderDisplay([1.0], {"a": [[-1.0]]}).plot(yscale="log")
