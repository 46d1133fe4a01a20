"""Every number that a decision of the advisor rests on, in one file: its digest stands in each advice.

They were set on the landscapes of the catalog, moved and rotated, before any published suite was run; nothing here was chosen on
the suite that the advice is tested on.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

# The budget where none is given, in values.
BUDGET, BUDGET_OF_NETWORKS = 500, 3000
# The probe: at most this share of the budget, and at most so many values for each dimension.
PROBE_SHARE = 0.1
PROBE_VALUES = 25
# Where a tenth is not enough for the smallest probe, it may take up to this share.
PROBE_MOST = 0.25
# Fewer values for each dimension than this are few: a surrogate of all of them pays.
FEW = 30
# A surface whose evaluation takes longer than this (in seconds) is worth the surrogate's own time.
DEAR = 1.0
# Noise: standard deviation of repeats as a share of the spread of the losses.
NOISE = 1e-3
# Rough: second difference over first difference at steps of STEP of the box.
ROUGH = 0.25
STEP = 1e-4
# A gradient is honest that agrees with differences of values up to this share.
HONEST = 0.05
# One valley: ranks explained by a quadratic.
VALLEY = 0.65
# Many: the nearest better point is far beyond the nearest point.
SCATTERED = 0.6
# The race: values for each dimension that a descent gets in its heat, and the hedge where it is one.
HEAT = 30
HEDGE_HEAT = 60
# Values for each dimension without which a population is not begun.
ROOM = 100
# Values for each dimension that the finish gets, and the share of what the probe left that it may take at most.
FINISH = 40
FINISH_SHARE = 0.2
# Ripples: over what is found by accident.
RIPPLES = 1.0


# The single best algorithm of each class of budgets, in values for each dimension: where the class ends, and its label; first up to
# PLANE dimensions, then beyond, where a simplex takes long to turn and a population of 15 N is slow.
PLANE = 3
HEDGES = ((250.0, "nelder-mead"), (700.0, "cma"), (float("inf"), "de"))
HEDGES_BEYOND = ((250.0, "lbfgs-differences"), (float("inf"), "cma"))
# And where gradients are given.
HEDGE_OF_GRADIENTS = "lbfgs"


# Networks. The center of the race of rates as a share of 2/λ, and the rates around it.
RATE_SHARE = 0.1
RATES = (1.0, 0.25, 4.0)
# Adam's rate does not follow λ: its own center, and the rates around it.
ADAM_RATE = 0.01
ADAM_RATES = (1.0, 0.1, 10.0)
# Then the rates between the best and its neighbors, and how many of each optimizer go on.
BETWEEN = (0.5, 2.0)
GO_ON = 2
# Then the rates around those, at half the spacing again, where the budget has room.
FINER = (0.5**0.5, 2**0.5)
HEDGE_OF_NETWORKS = "adam"
# Gradients in each heat.
RACED = 20
# Losses after a heat that differ by no more than this share are the same.
ALIKE_NETWORKS = 0.01
# The batch is noisy whose noise scale is larger than it; a Hessian is ill-conditioned beyond this ratio.
NOISY_BATCH = 1.0
ILL = 1e3


def digest() -> str:
    """The first 16 digits of SHA-256 of this file."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
