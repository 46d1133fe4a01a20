"""Of all that a model puts out, what its loss reads: caches and features beside the logits are by-products."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, final

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lossatlas.surface.network import _nested
from lossatlas.surface.network._batch import Batch
from lossatlas.surface.network._objective import Objective, OutputObjective


@final
class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which tensors operations are given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.given: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.given |= {id(tensor) for tensor in _nested.tensors([args, kwargs or {}])}
        return func(*args, **(kwargs or {}))


def reads(objective: Objective, model: nn.Module, batch: Batch, watch: AbstractContextManager[Any]) -> list[Tensor]:
    """Run a model on a batch; the tensors among its outputs that its loss is computed from, or is.

    Where the model or the user computes the loss, that loss is all that is read of what comes out.

    Args:
        objective: the loss.
        model: as it is.
        batch: of the data.
        watch: entered while the model runs, and a loss that it or the user computes.
    """
    if not isinstance(objective, OutputObjective):
        with watch:
            return [objective(model, batch).loss]
    with watch:
        output = model(*batch.inputs, **batch.keywords)
    with _Reads() as seen:
        loss = objective.measure(output, batch).loss
    return [tensor for tensor in _leaves(output) if id(tensor) in seen.given or tensor is loss]


def _leaves(given: Any) -> list[Tensor]:
    """All tensors in nested structures and in the attributes of objects."""
    if isinstance(given, Tensor):
        return [given]
    if isinstance(given, dict):
        return [tensor for value in given.values() for tensor in _leaves(value)]
    if isinstance(given, list | tuple):
        return [tensor for value in given for tensor in _leaves(value)]
    return _leaves(vars(given)) if hasattr(given, "__dict__") else []
