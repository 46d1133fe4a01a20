"""Pictures of an advice: the tree with the way that was taken, and the race."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lossatlas.advise._fact import Fact, shown
from lossatlas.advise._tree import NETWORK, TREE, Leaf, Node

if TYPE_CHECKING:
    from lossatlas.advise._advice import Advice
    from lossatlas.advise._portfolio import Candidate
    from lossatlas.draw import CurvesDisplay, DecisionsDisplay


def decisions(advice: Advice, ax: Any) -> DecisionsDisplay:
    """The whole tree; what was met is dark and says by what it was decided."""
    from lossatlas.draw import Decision, DecisionsDisplay

    rows: list[Decision] = []
    met = {step.question: step for step in advice.steps}

    def add(node: Node, depth: int, answer: str, reached: bool) -> None:
        if isinstance(node, Leaf):
            here = reached and node.name in advice.leaves
            rows.append(Decision(f"{node.says}: {', '.join(node.races)}", depth, answer, here, leaf=True))
            return
        step = met.get(node.name) if reached else None
        detail = "" if step is None else f"{_number(step.fact)}, threshold {shown(step.threshold)}: {step.verdict}"
        rows.append(Decision(node.name, depth, answer, step is not None, detail))
        add(node.yes, depth + 1, "yes", step is not None and step.verdict != "no")
        add(node.no, depth, "no", step is not None and step.verdict != "yes")

    add(NETWORK if advice.rates else TREE, 0, "", True)
    raced = ", ".join(one.label + " (hedge)" * (one.label == advice.hedge) for one in _spoken(advice))
    return DecisionsDisplay(rows, title=advice.sentence, note=f"Short-list: {raced}").plot(ax)


def _spoken(advice: Advice) -> list[Candidate]:
    """The short-list; of a network, each optimizer at the best of its rates."""
    rates = advice.rates
    return [
        one
        for one in advice.shortlist
        if not rates or getattr(one.optimizer, "lr", None) == rates.get(one.optimizer.name)
    ]


def _number(fact: Fact) -> str:
    if not fact.known:
        return "not known"
    return shown(fact.value) + ("" if fact.exact else f" ({shown(fact.low)} to {shown(fact.high)})")


def curves(advice: Advice, ax: Any) -> CurvesDisplay:
    """Lowest loss of each racer, over the stretches that were its own."""
    from lossatlas.draw import CurvesDisplay

    drawn: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for one in _spoken(advice):
        x, y, low = [np.empty(0)], [np.empty(0)], np.inf
        for leg in (leg for leg in advice.legs if leg.racer == one.label):
            inside = (advice.costs > leg.begin + 1e-9) & (advice.costs <= leg.end + 1e-9)
            values = np.minimum.accumulate(np.fmin(advice.seen[inside], low))
            low = values[-1] if len(values) else low
            x.append(np.append(advice.costs[inside], np.nan))
            y.append(np.append(values, np.nan))
        drawn[one.label] = (np.concatenate(x)[:-1], np.concatenate(y)[:-1])
    return CurvesDisplay(
        {label: (np.nan_to_num(x, nan=0.0) if not len(x) else x, y) for label, (x, y) in drawn.items() if len(x)},
        xlabel="values spent, by all together",
        ylabel="lowest loss so far",
        title=advice.sentence,
        note="Each racer is drawn where the budget was its own; the probe came before the first",
    ).plot(ax)
