"""The tables of a race: where each racer ended, and what it evaluated and remembered."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from lossatlas.draw import Table
from lossatlas.race._verdict import Verdict

if TYPE_CHECKING:
    from lossatlas.race._race import Race


def ends(race: Race) -> Table:
    """One row per racer: where it ended, what it evaluated, what it took. Columns that say nothing here are left out."""
    wells = {well.name for well in race.surface.wells} if race.surface.gradients_known else set()
    lowest = min((well.value for well in race.surface.wells), default=None)
    several = race.runs > 1
    heads = ["racer"]
    heads += ["ended in"] * bool(wells)
    heads += ["global, 95 %"] * ("global" in wells and several)
    heads += ["loss" + ", median" * several]
    heads += ["above the minimum"] * (lowest is not None and not wells)
    heads += ["|gradient|"] * race.surface.gradients_known
    heads += ["values", "gradients"]
    heads += ["products"] * any(meter.products for meter in race.meter.values())
    heads += ["surface s", "algorithm s", "stopped"]
    rows = []
    for label, track in race.tracks.items():
        verdict, meter = race.verdicts[label], track.meter
        loss = float(verdict.loss.nanmedian())
        cells = {
            "racer": label,
            "ended in": _where(verdict),
            "loss": number(loss),
            "loss, median": number(loss),
            "above the minimum": number(loss - lowest) if lowest is not None else "",
            "|gradient|": number(float(verdict.gradient_norm.nanmedian())),
            "values": f"{meter.values:,}",
            "gradients": f"{meter.gradients:,}",
            "products": f"{meter.products:,}",
            "surface s": f"{meter.surface_seconds:.3f}",
            "algorithm s": f"{meter.algorithm_seconds:.3f}",
            "stopped": ", ".join(sorted(set(verdict.stopped))),
        }
        if "global, 95 %" in heads:
            low, high = race.interval(label, "global")
            share = f"{race.rate(label, 'global'):.1%}"
            cells["global, 95 %"] = f"{share} (deterministic)" if verdict.alike else f"{share} ({low:.1%}–{high:.1%})"
        rows.append([cells[head] for head in heads])
    return Table(f"{race.surface.name}: {race.runs:,} run{'s' * several} each, seed {race.seed}", heads, rows)


def accounting(race: Race) -> Table:
    """What each racer evaluated at each step and in all, what it held, and what it took: all measured."""
    heads = ["racer", "per step", "values", "gradients", "products", "examples", "holds", "bytes per query"]
    heads += ["surface s", "algorithm s", "becomes"]
    rows = []
    for label, track in race.tracks.items():
        if track.stopped[0] == "not applicable":
            continue
        meter = track.meter
        answers = max(1, meter.calls * race.runs)
        kinds = {"value": meter.values, "gradient": meter.gradients, "product": meter.products}
        each = ", ".join(f"{n / answers:.3g} {kind}{'s' if n > answers else ''}" for kind, n in kinds.items() if n)
        rows.append(
            [
                label,
                each,
                f"{meter.values:,}",
                f"{meter.gradients:,}",
                f"{meter.products:,}",
                f"{meter.examples:,}",
                f"{track.memory[-1][1]:,.0f} B" if track.memory else "–",
                f"{track.growth:.3g}",
                f"{meter.surface_seconds:.3f}",
                f"{meter.algorithm_seconds:.3f}",
                track.optimizer.becomes(race.surface.layout) or "",
            ]
        )
    # A column that is empty in every row says nothing.
    kept = [
        k
        for k, head in enumerate(heads)
        if head not in ("examples", "becomes") or any(r[k] not in ("", "0") for r in rows)
    ]
    title = f"What each evaluated and remembered on {race.surface.name}, {race.runs:,} run{'s' * (race.runs > 1)} each"
    return Table(title, [heads[k] for k in kept], [[row[k] for k in kept] for row in rows])


def number(value: float) -> str:
    """Four digits, or a dash for what is not known."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def _where(verdict: Verdict) -> str:
    counts = Counter(well or "none" for well in verdict.wells).most_common(3)
    if len(verdict.wells) == 1 or verdict.alike:
        return counts[0][0]
    return ", ".join(f"{name} {count / len(verdict.wells):.0%}" for name, count in counts)
