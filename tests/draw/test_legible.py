"""Names in pictures: what users call things is drawn as it is written, and never read as a formula or a code."""

import io
import warnings

import pytest
from rich.console import Console

from lossatlas.draw import BarsDisplay, FieldDisplay, Table, figures
from lossatlas.draw._legible import legible
from lossatlas.draw._levels import number

NAMES = ["$\\frac$", "a$b$c", "x^{$\\foo", "net\x1b[31m\x07", "\ud800", "tab\there", "\u202eright to left"]


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_shows_a_name_as_it_is_written(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that no font has
        for display in (
            FieldDisplay(
                [0, 1, 2],
                [0, 1, 2],
                [[1, 2, 3], [2, 3, 4], [3, 4, 5]],
                title=f"Loss of {name}",
                xlabel=name,
                ylabel=name,
            ),
            BarsDisplay([name, "b"], [1, 2], [0, 1], [2, 3], xlabel=name, title=name),
        ):
            assert display.render()


def test_numbers_of_ours_stay_formulas():
    for value in (2e9, -1e7, 1e6, 3.5e-8):
        assert legible(f"up to {number(value)} of it") == f"up to {number(value)} of it"
    assert legible(f"$x$ at {number(2e9)}") == f"\\$x\\$ at {number(2e9)}"
    assert legible(legible("$x$")) == "\\$x\\$"


@pytest.mark.parametrize("name", ["a[/b]", "[red]gd[/red]", "x\x1b[31m", "a\\[b"])
def test_a_table_shows_a_name_as_it_is_written(name):
    shown = name.replace("\x1b", "\\x1b")
    console = Console(file=io.StringIO(), width=80)
    console.print(Table(f"of {name}", [name, "n"], [[name, "1"]]))
    assert console.file.getvalue().count(shown) == 3
    assert str(Table(name, [name], [[name]])).split("\n") == [shown] * 3


@pytest.mark.parametrize(
    ("title", "shown"),
    [("$\\lambda_{max}$ of a net", "same"), ("costs 5$", "costs 5\\$"), ("$\\frac$", "\\$\\frac\\$")],
)
def test_a_title_that_is_asked_for_may_hold_formulas(title, shown):
    with figures(title=title, command=f"lossatlas --title {title} \ud800"):
        assert legible(title) == (title if shown == "same" else shown)
        field = FieldDisplay([0, 1, 2], [0, 1, 2], [[1, 2, 3], [2, 3, 4], [3, 4, 5]], xlabel="a", ylabel="b")
        for kind in ("png", "pdf", "svg"):
            assert field.render(kind)
    assert legible(title) != title, "a name is none"
