"""The layer chain as a shortcut: what a model seems to be by its layers, held against what it does."""

from __future__ import annotations

from typing import ClassVar, final

import torch

from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._reference import Reference
from lossatlas.surface.network._shortcut import VALUES, Shortcut, compared
from lossatlas.surface.network.chain._chain import Chain
from lossatlas.surface.network.chain._slice import sliced


@final
class LayerChain(Shortcut):
    """Linear layers and elementwise functions recomputed from their weights.

    Args:
        chain: what the model seems to be.
    """

    name: ClassVar[str] = "the layer chain"
    queries: ClassVar[frozenset[str]] = frozenset({VALUES})

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """Its losses on a line through both points, read one by one and several at once."""
        chain, origin = self._chain.on(small), reference.theta
        direction = reference.moved().sub_(origin)
        expected = reference.at_both(small)
        coords = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        for steady in (True, False):
            losses, extras = sliced(chain, origin, direction[None], steady=steady)(coords)
            hits = extras.get("accuracy", torch.zeros(2))
            wrong = compared(list(losses), [one.loss for one in expected], VALUES, origin.dtype)
            wrong = wrong or compared(list(hits), [one.hits for one in expected], VALUES, torch.bfloat16)
            if wrong:
                return wrong
        return ""
