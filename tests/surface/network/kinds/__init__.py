"""The table of kinds: what users build, what they give, and the plain loop that a surface has to equal.

Run ``import kinds; kinds.report()`` with this folder's parent on the path to see which rows the installed package fails.
"""

from . import generative, graphs, language, losses, physics, stateful, vision, wrapped
from ._checks import (
    Boom,
    Checked,
    chain,
    check_batch_size,
    check_cheaper,
    check_interrupted,
    check_many,
    check_minibatches,
    check_modes,
    check_numbers,
    check_oracle,
    check_outputs,
    check_slices,
    report,
)
from ._kind import Kind, LossRow, Refusal
from ._photograph import differences, photograph

FAMILIES = {
    "vision": vision.KINDS,
    "language": language.KINDS,
    "physics": physics.KINDS,
    "generative": generative.KINDS,
    "graphs": graphs.KINDS,
    "wrapped": wrapped.KINDS,
    "stateful": stateful.KINDS,
    "losses": losses.KINDS,
}
KINDS = tuple(kind for family in FAMILIES.values() for kind in family)
LOSSES = tuple(losses.LOSSES)
BATCH_SIZES = (1, 3, 8, None)

__all__ = [
    "BATCH_SIZES",
    "FAMILIES",
    "KINDS",
    "LOSSES",
    "Boom",
    "Checked",
    "Kind",
    "LossRow",
    "Refusal",
    "chain",
    "check_batch_size",
    "check_cheaper",
    "check_interrupted",
    "check_many",
    "check_minibatches",
    "check_modes",
    "check_numbers",
    "check_oracle",
    "check_outputs",
    "check_slices",
    "differences",
    "photograph",
    "report",
]
