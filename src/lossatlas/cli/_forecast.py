"""`lossatlas chart --forecast`: what a chart with these options would cost, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossatlas.cli._compare import POINTS
from lossatlas.cli._pictures import PATIENCE
from lossatlas.cli._say import say


def foretell(
    surface: Any,
    plane: Any,
    settings: Mapping[str, Any],
    *,
    card: bool | None,
    pictures: bool,
    runs: Mapping[str, Any],
    others: int,
    seeds: int,
) -> None:
    """Print the forecast of a chart.

    Args:
        surface: what would be charted.
        plane: on what.
        settings: of the chart.
        card: --card, --no-card, or neither.
        pictures: whether there is a folder for them.
        runs: training runs that would be laid on it.
        others: networks that it would be compared with.
        seeds: planes of each.
    """
    from lossatlas.chart import forecast, without_card

    carded = card or (card is None and pictures)
    found = forecast(surface, plane, card=carded, pictures=pictures, **settings)
    says: list[str] = []
    if card is None and found.parts.get("card", 0.0) >= PATIENCE:
        says.append(
            f"the honesty card would take about {found.parts['card']:,.0f} s, so it will be made only with --card"
        )
        found = without_card(found)
    say("\n- ".join([*found.lines(), *says]))
    if runs:
        say("- each point of the runs is also evaluated twice: where it is, and projected onto the plane")
    if others:
        each = forecast(surface, plane, points=POINTS, exact=True)
        count = (1 + others) * seeds
        say(
            f"- for --compare: another {count} planes of {POINTS} × {POINTS} points, {count * each.evaluations:,} evaluations, "
            f"about {count * each.seconds:.3g} s"
        )
