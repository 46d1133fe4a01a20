"""A2: the graph of the loss over N parameters lives in N + 1 dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row
from lossatlas.surface import standard_dimension

CLAIM = (
    "The graph of the loss lives in N + 1 dimensions: 3 for two weights, 101 for a hundred, 25 million for ResNet-50, "
    "175 billion for GPT-3."
)


NAMES = {
    "regression": "a linear regression of two weights",
    "mlp-100": "a network of a hundred weights",
    "resnet50": "ResNet-50",
    "gpt3": "GPT-3",
}


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Count from the published configurations, on tensors that hold no memory."""
    yield (
        "The parameters of four models are counted from their published configurations, tied weights once, and one is added for the "
        "loss. No memory is needed for that."
    )
    exact = {"regression": 3, "mlp-100": 101, "resnet50": 25_557_033}
    found = {name: standard_dimension(name).surface for name in NAMES}
    for name, expected in exact.items():
        yield Check(
            f"the surface of {NAMES[name]} lives in {expected:,} dimensions",
            f"{found[name] - 1:,} parameters and the loss make {found[name]:,}",
            found[name] == expected,
        )
    off = (found["gpt3"] - 1) / 175e9 - 1
    yield Check(
        "that of GPT-3 in 175 billion and one (within 1 %, since the figure is rounded)",
        f"{found['gpt3']:,}, {off:+.1%} from it",
        abs(off) < 0.01,
    )
    yield Ending(
        {},
        caveats=("The figure that is often given for GPT-4 is a rumor; it cannot be counted.",),
        pictures={"dimensions": _picture(found)},
    )


def _picture(found: dict[str, int]) -> Any:
    from lossatlas.draw import BarsDisplay

    counts = np.array(list(found.values()), dtype=np.float64)
    return BarsDisplay(
        [NAMES[name].removeprefix("a ") for name in found],
        counts,
        counts,
        counts,
        xlabel="dimensions (log scale)",
        xscale="log",
        words=[f"{count:,}" for count in found.values()],
        title="In how many dimensions the loss surface lives",
        note="Parameters counted from the published configurations, and one more for the loss",
    )


LESSON = Lesson(
    "A2", CLAIM, experiment, depends="the model alone: neither data nor training change the number of dimensions."
)
