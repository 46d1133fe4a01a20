"""Whether a ledger is still of the surface that it is used with: a few cells are evaluated again and must agree."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lossatlas._errors import OutputError
from lossatlas.probe._store import Store
from lossatlas.surface import Reading

_CELL = "SELECT a, b, status, value, extras FROM points WHERE channel = ?"


class Sampled(NamedTuple):
    """Cells of a ledger that are to be evaluated again.

    Attributes:
        points: shape (n, k), float64.
        reading: what is remembered of them.
        alike: whether everything that is remembered was answered on this machine, with the same version of torch.
    """

    points: Tensor
    reading: Reading
    alike: bool


def chosen(store: Store, channel: str) -> list[tuple[Any, ...]]:
    """Up to three different cells: of the lowest loss, of the highest, and the middle one by coordinates.

    Changes of a loss show far from the center or close to it, rarely nowhere. Cells that are not finite are taken only
    where there are no others.

    Returns:
        Rows of keys a and b, status, value and extras.
    """
    finite, count = f"{_CELL} AND status = 'ok'", "SELECT count(*) FROM points WHERE channel = ? AND status = 'ok'"
    known = int(store.one(count, channel))
    if not known:
        found = [store.first(f"{_CELL} ORDER BY a, b LIMIT 1", channel)]
    else:
        middle = range(max(0, known // 2 - 1), min(known, known // 2 + 2))
        found = [
            store.first(f"{finite} ORDER BY value, a, b LIMIT 1", channel),
            store.first(f"{finite} ORDER BY value DESC, a, b LIMIT 1", channel),
            *(store.first(f"{finite} ORDER BY a, b LIMIT 1 OFFSET {k}", channel) for k in middle),
        ]
    return list({row[:2]: row for row in found if row is not None}.values())[:3]


def refuse_changed(folder: Path, channel: str, sampled: Sampled, now: Reading, rounding: float) -> None:
    """Refuse to go on where the surface gives other losses than the ledger remembers.

    Two losses a and b agree if |a − b| ≤ √ε·max(|a|, |b|) + 16ε·max(1, m), with ε the rounding and m the largest of the
    losses in question; with ε = 0 they must be equal, and so must the further channels.

    Args:
        folder: of the ledger.
        channel: of it.
        sampled: what is remembered.
        now: what the surface gives at these points.
        rounding: ε, or 0 where the bits must be the same.

    Raises:
        OutputError: naming the cell that is farthest off.
    """
    was, new = (side.values.detach().cpu().double().tolist() for side in (sampled.reading, now))
    scale = max((abs(one) for one in was if math.isfinite(one)), default=0.0)
    off = [_beyond(a, b, rounding, scale) for a, b in zip(was, new, strict=True)]
    worst = max(range(len(off)), key=off.__getitem__)
    names = [name for name in sampled.reading.extras if name in now.extras and not rounding]
    if off[worst] > 0:
        there, here = was[worst], new[worst]
        what = ""
    elif other := next(
        ((k, name) for name in names for k in range(len(off)) if _apart(sampled.reading, now, name, k)), None
    ):
        worst, name = other
        there, here = float(sampled.reading.extras[name][worst]), float(now.extras[name][worst])
        what = f"{name} "
    else:
        return
    cell = ", ".join(f"{coordinate:.4g}" for coordinate in sampled.points[worst].tolist())
    field = "" if channel == "exact" else f"the field {channel!r} of "
    digits = "to the bit" if not rounding else f"to a relative {math.sqrt(rounding):.1g}"
    there_text, here_text = _told(there, here)
    raise OutputError(
        f"{field}the ledger in {str(folder)!r} is of another surface. Before anything was recalled, {len(off)} of its "
        f"cells were evaluated again, and at cell ({cell}) the ledger has {what}{there_text}, the surface now gives "
        f"{here_text}; expected the same {digits}. The code of the model or the loss, or something that they read (a file, "
        "a global, a library), has changed. Choose another folder, or make it again as it was. Nothing was recalled."
    )


def _beyond(a: float, b: float, rounding: float, scale: float) -> float:
    """How far two losses are apart beyond what rounding explains; 0 where they agree."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    allowed = math.sqrt(rounding) * max(abs(a), abs(b)) + 16 * rounding * max(1.0, scale)
    return max(0.0, abs(a - b) - allowed)


def _apart(was: Reading, now: Reading, name: str, k: int) -> bool:
    a, b = float(was.extras[name][k]), float(now.extras[name][k])
    return a != b and not (math.isnan(a) and math.isnan(b))


def _told(a: float, b: float) -> tuple[str, str]:
    """Two numbers with as many digits as tell them apart."""
    for digits in (4, 7, 10, 17):
        one, two = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if one != two:
            break
    return one, two
