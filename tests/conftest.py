"""What the tests of several rooms share."""

import pytest


@pytest.fixture
def sketched(monkeypatch):
    """Pictures are drawn and written, but not laid out, which takes most of their seconds, and of few dots.

    For tests of what stands beside pictures; what these look like is held in `tests/draw` and by tests of pictures elsewhere.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda self, figure: None)
    monkeypatch.setattr(Figure, "draw_without_rendering", lambda self: None)
    monkeypatch.setattr("lossatlas.draw._display.DPI", 50.0)
