"""Paths over a field: what is written keeps away from what is walked."""

import numpy as np
import pytest

from lossatlas.draw import FieldDisplay, TrajectoryDisplay

X = np.linspace(-2, 12, 41)
Y = np.linspace(-3, 4, 41)
FIELD = FieldDisplay(X, Y, 0.1 * X[None] ** 2 + 0.05 * Y[:, None] ** 2 + 0.2, xlabel="α", ylabel="β")


@pytest.mark.slow
@pytest.mark.parametrize("bend", [0.0, 0.06, -0.06])
def test_numbers_on_lines_keep_away_from_the_path(bend):
    along = np.linspace(10.0, 0.0, 9)
    path = np.stack([along, 0.2 * along + bend * along * (10 - along)], 1)
    share = np.zeros(len(path))
    loss = np.linspace(2.0, 0.1, len(path))
    steps, loss = {"run": np.arange(9.0)}, {"run": loss}
    display = TrajectoryDisplay(
        FIELD, {"run": path}, residuals={"run": share}, steps=steps, losses=loss, shown=loss
    ).plot()
    display.figure_.canvas.draw()
    dense = np.stack([np.interp(np.linspace(0, 8, 2000), np.arange(9), column) for column in path.T], 1)
    walked = display.ax_.transData.transform(dense)
    places = [display.ax_.transData.transform(text.get_position()) for text in display.ax_.texts]
    numbers = [place for text, place in zip(display.ax_.texts, places, strict=True) if text.get_text()]
    assert len(numbers) >= 3
    points = 72 / display.figure_.dpi
    assert min(np.hypot(*(walked - place).T).min() for place in numbers) * points > 15
