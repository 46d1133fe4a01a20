"""Colors that stay apart for color-blind eyes and in gray print, and stay with their name."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.draw._style import now, shade

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, without yellow: it vanishes on white and on high ground.
COLORS = ("#D55E00", "#0072B2", "#000000", "#CC79A7", "#E69F00", "#009E73", "#56B4E9")
BLACK = "#000000"
MARKERS = ("o", "s", "^", "D", "P", "X", "p", "<", "h", ">")
DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


@dataclass(frozen=True)
class Stroke:
    """How one name is drawn, in every picture."""

    color: str
    marker: str
    dashes: Any


def strokes(
    names: Iterable[str], palette: dict[str, str] | None = None, looks: Mapping[str, Stroke] | None = None
) -> dict[str, Stroke]:
    """A stroke for every name; does not depend on the order of the names.

    A name without a look takes the color its checksum points to, or the next one of those taken least often, so that a name
    added or left out moves few others. Past seven names, colors come back with other dashes and markers.

    Args:
        names: what is to be told apart.
        palette: name to color, instead of the stroke's own.
        looks: name to stroke, where one is fixed already.
    """
    wanted = list(dict.fromkeys(names))
    fixed = {name: (looks or {})[name] for name in wanted if name in (looks or {})}
    found = dict(fixed)
    for name in sorted(set(wanted) - set(fixed)):
        used = [stroke.color for stroke in found.values()]
        first = zlib.crc32(name.encode("utf-8", "surrogatepass")) % len(COLORS)
        turned = [*range(first, len(COLORS)), *range(first)]
        place = min(turned, key=lambda k: used.count(COLORS[k]))
        marker = MARKERS[(place + len(COLORS) * used.count(COLORS[place])) % len(MARKERS)]
        found[name] = apart(COLORS[place], marker, found.values())
    return {name: replace(found[name], color=(palette or {}).get(name, found[name].color)) for name in wanted}


def apart(color: str, marker: str, others: Iterable[Stroke]) -> Stroke:
    """A stroke of a color with a marker; where others have that color, with other dashes, and with a marker none of them has."""
    taken = [stroke.marker for stroke in others if stroke.color == color]
    free = [one for one in (marker, *MARKERS) if one not in taken]
    return Stroke(color, (free or [marker])[0], DASHES[len(taken) % len(DASHES)])


def inked(look: Mapping[str, Stroke]) -> dict[str, Stroke]:
    """The same for lines on the paper itself and not on a field: what is black has the color of a style sheet's ink."""
    return {name: replace(stroke, color=ink(stroke.color)) for name, stroke in look.items()}


def ink(color: str) -> str:
    """A color on paper: black is the color that a style sheet writes in."""
    from matplotlib.colors import to_hex

    return to_hex(shade(0.0)) if color == BLACK else color


def colors(names: Iterable[str]) -> dict[str, str]:
    """A color for every name: the same one in every display, whatever the order of the names.

    To keep colors in pictures that show only some of the names, call this once with all of them and hand
    the result to ``plot(palette=...)``.

    Args:
        names: what is to be told apart.

    Returns:
        Name to ``"#RRGGBB"``, in the order given. Past seven names colors repeat; displays then vary the dashes.

    Example:
        >>> colors(["SGD", "Adam"]) == colors(["Adam", "SGD"])
        True
    """
    return {name: stroke.color for name, stroke in strokes(names).items()}


# Of the above, without black and the lightest: on a map of basins light and dark are left to tell the cost.
WELLS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#D55E00", "#56B4E9")


def well_colors(names: Iterable[str]) -> dict[str, str]:
    """A color for every well, the same in all pictures of one landscape: by its place among the wells."""
    return {name: WELLS[k % len(WELLS)] for k, name in enumerate(names)}


def _usual() -> str:
    """Viridis, or what a style sheet has in its place."""
    import matplotlib as mpl

    return str(mpl.rcParams["image.cmap"])


def ground(cmap: str | Colormap | None, lighten: float = 0.0) -> Colormap:
    """The color map of a field, mixed with white so that ink on it can be read.

    Mixing with white keeps the lightness of a perceptual map monotone.

    Raises:
        InputError: for what names no color map.
    """
    import matplotlib as mpl
    from matplotlib.colors import Colormap, ListedColormap

    if isinstance(cmap, Colormap):
        return cmap
    name = now().cmap or _usual() if cmap is None else cmap
    if not isinstance(name, str) or name not in mpl.colormaps:
        raise InputError(f"there is no color map {_checks.shown(name)}; use a matplotlib name such as 'cividis'.")
    base = mpl.colormaps[name]
    table = base(range(base.N)) if base.N == 256 else base([i / 255 for i in range(256)])
    table[:, :3] = table[:, :3] * (1 - lighten) + lighten
    return ListedColormap(table, name=f"{base.name}+{lighten:g}")
