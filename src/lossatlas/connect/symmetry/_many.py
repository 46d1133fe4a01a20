"""More than two networks aligned at once: each in turn is matched to the mean of the others, until none gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas.connect.symmetry._match import Weights, by_weights
from lossatlas.connect.symmetry._specification import Permutations, Specification

ROUNDS = 50


@dataclass(frozen=True, eq=False)
class ManyMatch:
    """Permutations of all networks but the first into one common order of units.

    Attributes:
        permutations: one for each network, the identity for the first.
        objective: Σ over pairs i < j of ⟨πᵢ(θᵢ), πⱼ(θⱼ)⟩, over the weights that carry a permutation.
        before: the same without permutations.
        rounds: through all networks.
    """

    permutations: tuple[Permutations, ...]
    objective: float
    before: float
    rounds: int


def match_many(
    specification: Specification,
    networks: Sequence[Mapping[str, Tensor]],
    parameters: set[str],
    restarts: int,
    generator: torch.Generator,
) -> ManyMatch:
    """Match every network to the mean of the others, in turn.

    All are brought into one common order, so that the matching is consistent by itself: from i to j and on to k is the
    same as from i to k. The first stays as it is; only orders relative to it matter.

    Args:
        specification: of permutations.
        networks: state dicts.
        parameters: names to compare.
        restarts: starts of the matching of each to the mean, in its first round.
        generator: of the orders.

    Source:
        Ainsworth, Hayase and Srinivasa: Git Re-Basin, ICLR 2023, algorithm 3 (MergeMany).
    """
    orders = [specification.identity() for _ in networks]
    moved = [dict(one) for one in networks]
    names = {axis.name for group in specification.groups for axis in group.axes} & parameters

    def objective() -> float:
        return sum(
            float((moved[i][n].double() * moved[j][n].double()).sum())
            for j in range(len(moved))
            for i in range(j)
            for n in names
        )

    before = last = objective()
    rounds, placed = 0, {0}
    for rounds in range(1, ROUNDS + 1):
        for k in (1 + torch.randperm(len(networks) - 1, generator=generator)).tolist():
            # In the first round those that have not been matched yet say nothing about the common order.
            others = [j for j in range(len(networks)) if j != k and (rounds > 1 or j in placed)]
            mean = {n: torch.stack([moved[j][n].double() for j in others]).mean(0) for n in names}
            weights = Weights(specification, mean, networks[k], parameters)
            starts: list[Permutations | None] = [orders[k]]
            if rounds == 1:
                starts = [None, *(specification.random(generator) for _ in range(restarts - 1))]
            found = max((by_weights(weights, start, generator) for start in starts), key=lambda match: match.objective)
            orders[k] = found.permutations
            placed.add(k)
            moved[k] = specification.permuted(networks[k], found.permutations)
        now = objective()
        if rounds > 1 and now - last <= 1e-9 * abs(last):
            break
        last = now
    return ManyMatch(tuple(orders), objective(), before, rounds)
