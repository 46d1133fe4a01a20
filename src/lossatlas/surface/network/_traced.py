"""A function of tensors as the list of operations it comes down to, so that calling it again costs nothing else.

Transforms like `vmap` and `grad` rewrite a function at every call, which for small networks takes longer than its
arithmetic. The operations that are left are recorded once for given shapes, and those that change nothing are dropped.
They are the same ones on the same numbers: results are the same bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[..., tuple[Tensor, ...]]
# Calls after which torch's interpreter has made of a function what it will stay.
LOOKS = 4

_aten = torch.ops.aten
# Give back their argument where the shape stays.
_RESHAPING = (
    _aten.expand.default,
    _aten.view.default,
    _aten._unsafe_view.default,
    _aten.alias.default,
    _aten.detach.default,
)
# The same arguments give the same result, and nobody writes into it.
_REPEATABLE = (
    _aten.ne.Scalar, _aten.unsqueeze.default, _aten.scalar_tensor.default, _aten.transpose.int, _aten.view.default,
    _aten.expand.default, _aten.where.self,
)  # fmt: skip


def traced(function: Function, arguments: Sequence[Tensor]) -> Function | None:
    """The function recorded at arguments of these shapes; None if it cannot be, or would not do the same there.

    Args:
        function: pure, of tensors, without random numbers.
        arguments: what it is recorded at, and held to bit by bit.
    """
    expected = function(*arguments)
    try:
        module = make_fx(function)(*arguments)
        if any(str(node.target).endswith("_.default") for node in module.graph.nodes):
            return None  # it writes into something: what may be dropped is not so plain then
        _lean(module.graph)
        module.recompile()
    except Exception:  # whatever the tracer cannot follow is run as it is
        return None
    faithful = [made for made in (_scripted(module, arguments), module) if made and _same(made, arguments, expected)]
    return cast(Function, faithful[0]) if faithful else None


def _scripted(module: fx.GraphModule, arguments: Sequence[Tensor]) -> Function | None:
    """The same list of operations for torch's own interpreter, which takes a third of the time for small ones."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return cast(Function, torch.jit.trace(module, tuple(arguments), check_trace=False))  # type: ignore[no-untyped-call]
    except Exception:  # it is going out of use: without it the operations are called from Python
        return None


def _same(function: Function, arguments: Sequence[Tensor], expected: tuple[Tensor, ...]) -> bool:
    """Whether a function gives the same bits, also once an interpreter has looked at it."""
    with torch.no_grad():
        return all(
            torch.equal(a.nan_to_num(), b.nan_to_num())
            for _ in range(LOOKS)
            for a, b in zip(function(*arguments), expected, strict=True)
        )


def _lean(graph: fx.Graph) -> None:
    """Drop operations that change nothing, turn twice, or are done already."""
    known: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        instead = _unchanged(node)
        if instead is None and node.target in _REPEATABLE:
            instead = known.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
        if instead is not None and instead is not node:
            node.replace_all_uses_with(instead)
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _unchanged(node: fx.Node) -> fx.Node | None:
    """The argument that an operation only gives back."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node):
        return None
    if node.target in _RESHAPING and _shape(source) == _shape(node) is not None:
        return source
    if node.target is _aten.mul.Scalar and node.args[1] == 1:
        return source
    turned_twice = node.target is source.target is _aten.transpose.int and node.args[1:] == source.args[1:]
    return cast(fx.Node, source.args[0]) if turned_twice else None


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if meta is not None else None
