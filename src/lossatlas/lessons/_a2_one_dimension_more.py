"""A2: the graph of the loss over N parameters lives in N + 1 dimensions."""

from __future__ import annotations

from lossatlas.lessons._lesson import Check, Lesson, Part
from lossatlas.surface import standard_dimension

CLAIM = (
    "The graph of the loss lives in N + 1 dimensions: 3 for two weights, 101 for a hundred, 25 million for ResNet-50, "
    "175 billion for GPT-3."
)


def experiment(runs: int, seed: int) -> Part:
    """Count from the published configurations, on tensors that hold no memory."""
    exact = {"regression": 3, "mlp-100": 101, "resnet50": 25_557_033}
    checks = [
        Check(
            f"{name}: {expected:,}",
            f"{standard_dimension(name).surface:,}",
            standard_dimension(name).surface == expected,
        )
        for name, expected in exact.items()
    ]
    gpt3 = standard_dimension("gpt3")
    off = gpt3.parameters / 175e9 - 1
    checks.append(
        Check(
            "gpt3: 175 billion + 1 (within 1 %, as it is a rounded figure)",
            f"{gpt3.surface:,} ({off:+.2%})",
            abs(off) < 0.01,
        )
    )
    return Part(
        "Parameters counted from the published configurations, tied weights once, plus one for the loss.",
        tuple(checks),
        {},
        caveats=("the figure often given for GPT-4 is a rumor and cannot be counted",),
    )


LESSON = Lesson("A2", CLAIM, experiment)
