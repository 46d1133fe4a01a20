"""Options of commands on a landscape: its name, a BBOB function, or a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lossatlas.surface import Surface

_OPTIONS = (
    click.option(
        "--bbob",
        metavar="fK",
        help="A BBOB function, f1 to f24, instead of LANDSCAPE (needs the extra lossatlas[bbob]).",
    ),
    click.option("--dim", type=int, default=2, show_default=True, help="Dimension of the BBOB function."),
    click.option("--instance", type=int, default=1, show_default=True, help="Instance of the BBOB function."),
    click.option(
        "--function",
        "given",
        metavar="FILE.py:FUNCTION",
        help="A function of a vector in place of LANDSCAPE, on --box.",
    ),
    click.option(
        "--box", metavar="LOW:HIGH,…", help="Bounds of each coordinate of the function, for example -2:2,-1:3."
    ),
)


def landscape_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --bbob, --dim, --instance, --function and --box, beside its argument LANDSCAPE."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def landscape_of(
    landscape: str | None, bbob: str | None, dim: int, instance: int, given: str | None, box: str | None
) -> Surface:
    """The surface that was named, in whichever way.

    Raises:
        InputError: for none or two, or for what is none.
    """
    from lossatlas._errors import InputError
    from lossatlas.cli._unused import refuse
    from lossatlas.cli._user import own_surface
    from lossatlas.surface import landscapes

    if bbob is None:
        refuse("dim", "instance", where="without --bbob")
    own: Surface | None = own_surface(landscape, given, box, bbob)
    if own is not None:
        return own
    if landscape is not None and bbob is None:
        return landscapes.landscape(landscape)
    if bbob is None or landscape is not None:
        named = "no landscape" if bbob is None else f"the landscape {landscape!r} and --bbob {bbob}"
        raise InputError(
            f"got {named}; expected one to race on: a landscape such as four-wells ({', '.join(landscapes.catalog)}), "
            "or --bbob f1 to f24."
        )
    number = bbob.lower().removeprefix("f")
    if not number.isdigit():
        raise InputError(f"got --bbob {bbob!r}; expected f1 to f24, for example --bbob f8 --dim 5.")
    return landscapes.Bbob(int(number), dim, instance)
