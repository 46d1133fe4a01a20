"""What a forward must not do under torch's transforms: give a tensor other contents or another storage.

`vmap` and `grad` call a model with wrapped tensors. Where its code writes ``.data`` or calls ``set_`` (a ``.double()``
within ``forward`` does), torch 2.13 reads memory that is not there and the process ends without an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch.overrides import TorchFunctionMode

_SETTERS = frozenset({"set_", "swap_tensors", "resize_", "resize_as_"})


def rewriting(forward: Callable[[], object]) -> str:
    """What a forward does that torch's transforms do not survive, or an empty string.

    Args:
        forward: runs the user's code once on plain tensors.
    """
    with _Watch() as watch, torch.no_grad():
        forward()
    return f"the model's code calls {watch.seen}, which torch.func does not allow" if watch.seen else ""


@final
class _Watch(TorchFunctionMode):
    """Notes the first call that gives a tensor other contents."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Pass a call on, and look at its name."""
        name = getattr(func, "__name__", "")
        if name == "__set__" and getattr(getattr(func, "__self__", None), "__name__", "") == "data":
            self.seen = self.seen or "a setter of .data"
        elif name in _SETTERS:
            self.seen = self.seen or name
        return func(*args, **(kwargs or {}))
