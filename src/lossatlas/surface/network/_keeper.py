"""Puts a user's module back as it was, bit for bit: what a forward pass leaves in it is taken out again."""

from __future__ import annotations

import copy
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

# What is kept of attributes of attributes.
DEPTH = 4
_LEFT = (FunctionType, BuiltinFunctionType, MethodType, ModuleType, type, str, bytes, int, float, complex, bool)
_NUMBERS = frozenset({type(None), bool, int, float, complex, str, bytes})
# Kept by themselves: parameters and buffers hold θ, submodules are visited one by one.
_REGISTERS = ("_parameters", "_buffers", "_modules")


@final
class Keeper:
    """What a module and its submodules hold beside the values of parameters: buffers, attributes, modes, gradients.

    Args:
        module: the user's.
    """

    def __init__(self, module: nn.Module) -> None:
        # A scripted module keeps its members outside of Python, where nothing of it can be replaced.
        self._modules = [one for one in module.modules() if type(vars(one).get("_parameters")) is dict]
        self._attributes = [dict(vars(one)) for one in self._modules]
        self._registers = [{name: dict(vars(one)[name]) for name in _REGISTERS} for one in self._modules]
        self._buffers = [(b, b.data, b.detach().clone()) for b in module.buffers() if not b.is_meta]
        self._parameters = [(p, p.grad, p.requires_grad, p.data) for p in module.parameters()]
        self._held: list[_Held] = []
        seen: set[int] = {id(one) for one in self._modules}
        for one in self._modules:
            for name, value in vars(one).items():
                if name not in _REGISTERS:
                    _hold(value, self._held, seen, DEPTH)

    def put_back(self) -> None:
        """Make everything as it was; may be called again."""
        for one, registers, attributes in zip(self._modules, self._registers, self._attributes, strict=True):
            own = vars(one)
            if own.keys() != attributes.keys() or any(own[n] is not v for n, v in attributes.items()):
                own.clear()
                own.update(attributes)
            for name, before in registers.items():
                register = own[name]
                if _differ(register, before):
                    register.clear()
                    register.update(before)
        for held in self._held:
            held.put_back()
        for buffer, data, own_buffer in self._buffers:
            if not _alike(buffer, data):
                buffer.data = data
            if not same(buffer, own_buffer):
                buffer.data.copy_(own_buffer)
        for parameter, gradient, wanted, data in self._parameters:
            if parameter.grad is not gradient:
                parameter.grad = gradient
            if parameter.requires_grad != wanted:
                parameter.requires_grad_(wanted)
            if not _alike(parameter, data):
                parameter.data = data


@contextmanager
def kept(*modules: nn.Module) -> Iterator[None]:
    """Put modules back when the block ends, however it ends; an interrupt meanwhile is heard afterwards."""
    keepers = [Keeper(module) for module in modules]

    def put_back() -> None:
        for keeper in keepers:
            keeper.put_back()

    try:
        yield
    finally:
        finished(put_back)


def finished(task: Any) -> None:
    """Run a task to its end, also if Ctrl-C is pressed while it runs; it must be one that may run twice."""
    try:
        task()
    except KeyboardInterrupt:
        task()
        raise


def same(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors hold the same bits; NaN equals itself."""
    if one.shape != two.shape or one.dtype != two.dtype or one.layout != two.layout:
        return False
    if torch.equal(one, two):
        return True
    if one.layout is not torch.strided or not (one.is_floating_point() or one.is_complex()):
        return False
    return (
        torch.equal(one.contiguous().view(torch.uint8), two.contiguous().view(torch.uint8))
        if one.ndim
        else (bool(one.isnan()) and bool(two.isnan()))
    )


def _alike(tensor: Tensor, data: Tensor) -> bool:
    """Whether a tensor still lies where it lay, in the same form."""
    if tensor.layout is not torch.strided or data.layout is not torch.strided:
        return tensor.layout is data.layout
    return (
        tensor.data_ptr() == data.data_ptr()
        and tensor.dtype == data.dtype
        and tensor.shape == data.shape
        and tensor.stride() == data.stride()
    )


def _differ(register: dict[str, Any], before: dict[str, Any]) -> bool:
    return register.keys() != before.keys() or any(register[n] is not v for n, v in before.items())


@final
class _Held:
    """One mutable thing that an attribute leads to, and what was in it."""

    def __init__(self, thing: Any, read: Callable[[Any], Any], write: Callable[[Any, Any], Any]) -> None:
        self._thing, self._content, self._write = thing, read(thing), write

    def put_back(self) -> None:
        self._write(self._thing, self._content)


def _put_tensor(thing: Tensor, content: Tensor) -> None:
    if not same(thing.detach(), content):
        thing.data.copy_(content)


def _put_state(thing: Any, content: Any) -> None:
    thing.bit_generator.state = content


def _put_dict(thing: dict[Any, Any], content: dict[Any, Any]) -> None:
    # Compared by identity: entries may be tensors.
    if (thing or content) and _differ(thing, content):
        thing.clear()
        thing.update(content)


def _put_set(thing: set[Any], content: set[Any]) -> None:
    if thing or content:
        thing.clear()
        thing.update(content)


def _put_deque(thing: deque[Any], content: deque[Any]) -> None:
    thing.clear()
    thing.extend(content)


def _put_list(thing: Any, content: Any) -> None:
    thing[:] = content


def _put_attributes(thing: Any, content: dict[str, Any]) -> None:
    _put_dict(vars(thing), content)


_Way = tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]
_DICT: _Way = (lambda thing: thing.copy(), _put_dict)
# How what is mutable is read and put back, by its type.
_WAYS: tuple[tuple[Any, _Way], ...] = (
    (dict, _DICT),
    (set, (lambda thing: thing.copy(), _put_set)),
    (deque, (lambda thing: thing.copy(), _put_deque)),
    ((list, bytearray), (lambda thing: thing.copy(), _put_list)),
    (torch.Generator, (torch.Generator.get_state, torch.Generator.set_state)),
    (np.random.Generator, (lambda thing: copy.deepcopy(thing.bit_generator.state), _put_state)),
    (np.random.RandomState, (lambda thing: thing.get_state(), lambda thing, content: thing.set_state(content))),
    (random.Random, (random.Random.getstate, random.Random.setstate)),
)


def _hold(value: Any, held: list[_Held], seen: set[int], depth: int) -> None:
    """Remember what is mutable in a value, and in what it leads to."""
    kind = type(value)
    if kind in _NUMBERS or depth < 0 or id(value) in seen:
        return
    if kind in (dict, OrderedDict):  # most of what a module holds: its hooks
        seen.add(id(value))
        held.append(_Held(value, *_DICT))
        for item in list(value.values()) if value else ():
            _hold(item, held, seen, depth - 1)
        return
    if isinstance(value, _LEFT):
        return
    seen.add(id(value))
    if isinstance(value, nn.Parameter | nn.Module):
        return
    if isinstance(value, Tensor):
        if not value.is_meta and value.layout is torch.strided:
            held.append(_Held(value, lambda thing: thing.detach().clone(), _put_tensor))
        return
    way = next((way for kinds, way in _WAYS if isinstance(value, kinds)), None)
    if way is not None:
        held.append(_Held(value, *way))
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list | tuple | deque | set | frozenset):
        inner = list(value)
    elif (
        way is None
        and isinstance(getattr(value, "__dict__", None), dict)
        and kind.__module__.partition(".")[0] != "torch"
    ):
        held.append(_Held(value, lambda thing: dict(vars(thing)), _put_attributes))
        inner = list(vars(value).values())
    else:
        return
    for item in inner:
        _hold(item, held, seen, depth - 1)
