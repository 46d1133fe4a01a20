"""Puts a user's module back as it was, bit for bit: what a forward pass leaves in it is taken out again."""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

# What is kept of attributes of attributes.
DEPTH = 4
_LEFT = (FunctionType, BuiltinFunctionType, MethodType, ModuleType, type, str, bytes, int, float, complex, bool)
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
        self._buffers = [(b, b.detach().clone()) for b in module.buffers() if not b.is_meta]
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
        for buffer, own_buffer in self._buffers:
            if not same(buffer, own_buffer):
                buffer.data.copy_(own_buffer)
        for parameter, gradient, wanted, data in self._parameters:
            if parameter.grad is not gradient:
                parameter.grad = gradient
            if parameter.requires_grad != wanted:
                parameter.requires_grad_(wanted)
            if parameter.data_ptr() != data.data_ptr():
                parameter.data = data


@contextmanager
def kept(module: nn.Module) -> Iterator[None]:
    """Put a module back when the block ends, however it ends; an interrupt meanwhile is heard afterwards."""
    keeper = Keeper(module)
    try:
        yield
    finally:
        finished(keeper.put_back)


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


def _differ(register: dict[str, Any], before: dict[str, Any]) -> bool:
    return register.keys() != before.keys() or any(register[n] is not v for n, v in before.items())


@final
class _Held:
    """One mutable thing that an attribute leads to, and what was in it."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing
        self._content: Any
        if isinstance(thing, Tensor):
            self._content = thing.detach().clone()
        elif isinstance(thing, torch.Generator):
            self._content = thing.get_state()
        elif isinstance(thing, np.random.Generator):
            self._content = copy.deepcopy(thing.bit_generator.state)
        elif isinstance(thing, np.random.RandomState):
            self._content = thing.get_state()
        elif isinstance(thing, random.Random):
            self._content = thing.getstate()
        elif isinstance(thing, dict | list | set | deque | bytearray):
            self._content = thing.copy()
        else:
            self._content = dict(vars(thing))

    def put_back(self) -> None:
        thing, content = self._thing, self._content
        if isinstance(thing, Tensor):
            if not same(thing.detach(), content):
                thing.data.copy_(content)
        elif isinstance(thing, torch.Generator | np.random.RandomState):
            thing.set_state(content)
        elif isinstance(thing, np.random.Generator):
            thing.bit_generator.state = content
        elif isinstance(thing, random.Random):
            thing.setstate(content)
        elif isinstance(thing, dict | set):
            # Compared by identity: entries may be tensors.
            if (
                len(thing) != len(content)
                or (isinstance(thing, dict) and _differ(thing, content))
                or isinstance(thing, set)
            ):
                thing.clear()
                thing.update(content)
        elif isinstance(thing, deque):
            thing.clear()
            thing.extend(content)
        elif isinstance(thing, list | bytearray):
            thing[:] = content
        else:
            own = vars(thing)
            if _differ(own, content):
                own.clear()
                own.update(content)


def _hold(value: Any, held: list[_Held], seen: set[int], depth: int) -> None:
    """Remember what is mutable in a value, and in what it leads to."""
    if value is None or depth < 0 or isinstance(value, _LEFT) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, nn.Parameter | nn.Module):
        return
    if isinstance(value, Tensor):
        if not value.is_meta and value.layout is torch.strided:
            held.append(_Held(value))
    elif isinstance(value, torch.Generator | np.random.Generator | np.random.RandomState | random.Random):
        held.append(_Held(value))
    elif isinstance(value, dict):
        held.append(_Held(value))
        for item in list(value.values()):
            _hold(item, held, seen, depth - 1)
    elif isinstance(value, list | tuple | deque | set | frozenset | bytearray):
        if isinstance(value, list | deque | set | bytearray):
            held.append(_Held(value))
        if not isinstance(value, bytearray):
            for item in list(value):
                _hold(item, held, seen, depth - 1)
    elif isinstance(getattr(value, "__dict__", None), dict) and type(value).__module__.partition(".")[0] != "torch":
        held.append(_Held(value))
        for item in list(vars(value).values()):
            _hold(item, held, seen, depth - 1)
