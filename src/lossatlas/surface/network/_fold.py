"""Batch norm folded into the convolution before it: in eval mode both together are one convolution.

With running statistics μ, σ² and the norm's gain γ and shift β, norm(conv(x; W, b)) = conv(x; sW, s(b − μ) + β) with
s = γ / √(σ² + ε) per output channel. The factors are taken anew at every θ, from the same parameters under the same names.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def folded(model: nn.Module) -> nn.Module | None:
    """A copy whose convolutions do their batch norm's work, or None where there is none to fold.

    Folded are pairs that a trace of the model shows to follow each other and nothing else to look in between, with
    running statistics and in eval mode. A model that cannot be traced (control flow that depends on data) has none.

    Args:
        model: left as it is.
    """
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return None
    mine = copy.deepcopy(model)
    pairs = _pairs(mine)
    for conv, norm in pairs:
        # Partials follow a deep copy or a pickle to its own weights, as closures would not; a module in a tuple is not
        # registered, and no parameter changes its name.
        conv.folded_norm = (norm,)
        conv.forward = partial(_both, conv)
        norm.forward = partial(_nothing, norm)
    return mine if pairs else None


def _pairs(model: nn.Module) -> list[tuple[Any, Any]]:
    try:
        nodes = list(fx.Tracer().trace(model).nodes)
    except Exception:  # whatever a user's forward raises on symbols
        return []
    modules = dict(model.named_modules())
    called = [node.target for node in nodes if node.op == "call_module"]
    found = []
    for node in nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        conv, norm = modules.get(str(before.target)), modules.get(str(node.target))
        once = called.count(node.target) == 1 and called.count(before.target) == 1
        if once and _foldable(conv, norm):
            found.append((conv, norm))
    return found


def _foldable(conv: Any, norm: Any) -> bool:
    if type(conv) not in _CONVOLUTIONS or not isinstance(norm, nn.modules.batchnorm._BatchNorm):
        return False
    if norm.training or norm.running_mean is None or norm.running_var is None or conv.padding_mode != "zeros":
        return False
    hooks = (conv._forward_hooks, conv._forward_pre_hooks, norm._forward_hooks, norm._forward_pre_hooks)
    return not any(hooks) and not any(map(torch.nn.utils.parametrize.is_parametrized, (conv, norm)))


def _both(self: Any, x: Tensor) -> Tensor:
    (norm,) = self.folded_norm
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean if self.bias is None else self.bias - norm.running_mean
    shift = shift * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    weight = self.weight * scale.reshape(-1, *([1] * (self.weight.ndim - 1)))
    result: Tensor = self._conv_forward(x, weight, shift)
    return result


def _nothing(self: Any, x: Tensor) -> Tensor:
    return x
