"""Whether two states of a network are the same function, looked up on its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import ModelError
from lossatlas.probe import Probe, Values
from lossatlas.surface import StateSurface

if TYPE_CHECKING:
    from lossatlas.connect.symmetry._specification import Specification

# Rounding of a deep network in its own type; a wrong permutation is off by far more.
ROUNDINGS = 300.0


@dataclass(frozen=True)
class Check(archive.Result):
    """How far two networks' outputs are apart.

    Attributes:
        gap: largest difference over examples and outputs.
        scale: largest output.
        tolerance: the gap that rounding may explain.
        examples: that were looked at.
    """

    gap: float
    scale: float
    tolerance: float
    examples: int

    @property
    def holds(self) -> bool:
        """Whether they are the same function as far as rounding can tell."""
        return self.gap <= self.tolerance


def compare(probe: Probe, one: Tensor, two: Tensor) -> Check:
    """The outputs of two points on the data of a probe of a `StateSurface` that tells outputs."""
    outputs = probe.evaluate(Values(torch.stack([one, two]))).extras["outputs"].double()
    scale = float(outputs.abs().max())
    tolerance = ROUNDINGS * torch.finfo(one.dtype).eps * max(scale, 1e-30)
    return Check(float((outputs[0] - outputs[1]).abs().max()), scale, tolerance, outputs.shape[1])


def verify(states: StateSurface, probe: Probe, point: Tensor, specification: Specification, seed: int) -> Check:
    """Permute every group at random and look whether the network is still the same function.

    Args:
        states: takes points apart.
        probe: answers with outputs.
        point: a network's state.
        specification: to be tested.
        seed: of the permutations.

    Raises:
        ModelError: naming the groups for which it is not.
    """
    tensors = states.split(point)
    orders = specification.random(torch.Generator().manual_seed(seed))
    whole = compare(probe, point, states.join(specification.permuted(tensors, orders)))
    if whole.holds:
        return whole
    wrong = []
    for group in specification.groups:
        own = {group.name: orders[group.name]}
        alone = compare(probe, point, states.join(specification.permuted(tensors, own)))
        if not alone.holds:
            wrong.append(f"{group.name} (off by {alone.gap:.3g})")
    raise ModelError(
        f"the specification does not fit {states.name!r}: permuting {', '.join(wrong[:4]) or 'all groups together'} changes "
        f"the outputs by up to {whole.gap:.3g}, where rounding explains {whole.tolerance:.1g}. Expected permutations that "
        "leave the function as it is: every weight that makes or reads the units must be listed, gains, shifts and running "
        "statistics of norms too. "
        + ("Correct spec=…." if specification.source == "given" else "Give the permutations by hand with spec=….")
    )
