"""Large embeddings and last layers at several points, made some rows of their weight at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

from lossatlas.chart.streamed._passes import Pass, Unit
from lossatlas.chart.streamed._tokens import Running, targets_of
from lossatlas.chart.streamed._weights import Weights


def answers(weights: Weights, unit: Unit, group: Sequence[Pass], *, judge: bool) -> list[Tensor]:
    """What a large layer gives to each pass.

    Args:
        weights: of the model.
        unit: the layer, which is made by rows.
        group: passes that wait at it.
        judge: whether it is the last layer of a language model whose tokens are judged here: its logits are then zeros that
            take no memory, and the pass holds what came out.
    """
    inputs = [_input(one) for one in group]
    if unit.by_rows == "embedding":
        return _embedded(weights, unit, group, inputs)
    if judge:
        return _judged(weights, unit, group, inputs)
    width, bias = unit.module.out_features, weights.bias(unit)
    outputs = [given.new_empty((*given.shape[:-1], width)) for given in inputs]  # type: ignore[arg-type]
    offsets = [bias(one.point) for one in group]
    for begin, end, k, rows in weights.rows(unit, group):
        offset = offsets[k]
        outputs[k][..., begin:end] = functional.linear(inputs[k], rows, None if offset is None else offset[begin:end])
    return outputs


def _input(one: Pass) -> Tensor:
    positional, named = one.given
    found: Tensor = positional[0] if positional else named["input"]
    return found


def _embedded(weights: Weights, unit: Unit, group: Sequence[Pass], inputs: Sequence[Tensor]) -> list[Tensor]:
    module: Any = unit.module
    for ids in inputs:
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < module.num_embeddings:
            raise IndexError(
                f"index {int(ids.max())} is out of the range of an embedding of {module.num_embeddings} rows"
            )
    outputs = [module.weight.detach().new_empty((*ids.shape, module.embedding_dim)) for ids in inputs]

    def wanted(begin: int, end: int) -> bool:
        return any(bool(((ids >= begin) & (ids < end)).any()) for ids in inputs)

    for begin, end, k, rows in weights.rows(unit, group, wanted):
        here = (inputs[k] >= begin) & (inputs[k] < end)
        outputs[k][here] = rows[inputs[k][here] - begin]
    return outputs


def _judged(weights: Weights, unit: Unit, group: Sequence[Pass], inputs: Sequence[Tensor]) -> list[Tensor]:
    bias = weights.bias(unit)
    offsets = [bias(one.point) for one in group]
    runs = [Running(targets_of(one.batch).to(given.device)) for one, given in zip(group, inputs, strict=True)]
    hidden = [given[:, :-1].reshape(-1, given.shape[-1])[run.where] for given, run in zip(inputs, runs, strict=True)]
    for begin, end, k, rows in weights.rows(unit, group):
        offset = offsets[k]
        runs[k].see(functional.linear(hidden[k], rows, None if offset is None else offset[begin:end]), begin)
    for one, run in zip(group, runs, strict=True):
        one.judged = run.judged()
    width: int = unit.module.out_features  # type: ignore[assignment]
    return [given.new_zeros(()).expand(*given.shape[:-1], width) for given in inputs]
