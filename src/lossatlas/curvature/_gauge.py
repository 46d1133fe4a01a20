"""The gauge of a ReLU network: rescaled units that leave the function as it is, and one scale fixed for all of them.

A unit whose activation satisfies σ(ax) = aσ(x) for a > 0 may have its incoming weights multiplied and its outgoing
ones divided by a. Curvature changes under this, the function does not: see `sharpness_invariance`.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas import _checks
from lossatlas._errors import InputError, ModelError
from lossatlas._said import several
from lossatlas.curvature._numbers import is_row, numbers_in

_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.PReLU)
_TRANSPARENT = (nn.Identity, nn.Flatten, nn.modules.dropout._DropoutNd, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
                nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
                nn.AdaptiveMaxPool2d)  # fmt: skip
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
SWEEPS = 10_000
BALANCED = 1e-13
FACTORS = "Or one number, or one per unit, for each hidden layer."


@dataclass(frozen=True)
class Joint:
    """A hidden layer: the module that makes its units, and the one that reads them.

    Attributes:
        before: name of the former.
        after: name of the latter.
        units: how many there are.
    """

    before: str
    after: str
    units: int


def joints(model: nn.Module) -> tuple[Joint, ...]:
    """The hidden layers of a network whose units can be rescaled.

    Args:
        model: an `nn.Sequential` (nested ones too) of linear layers and convolutions, with ReLU, leaky ReLU or PReLU
            between them, and pooling, dropout or flattening anywhere.

    Returns:
        One per hidden layer, in order.

    Raises:
        ModelError: naming the module that forbids it, and why.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"got a model of type {type(model).__name__}; expected a torch.nn.Module.")
    weighted: list[tuple[str, Any]] = []
    # Only what lies between two weighted layers matters: a fault counts once a further layer comes.
    active, fault = True, None
    seen: set[int] = set()
    for name, module in _leaves(model, ""):
        if isinstance(module, _WEIGHTED):
            if fault is not None:
                raise fault
            if any(id(p) in seen for p in module.parameters()):
                raise _refusal(name, module, "its weights are used twice, and both uses would have to be rescaled")
            if getattr(module, "groups", 1) != 1:
                raise _refusal(name, module, "its channels are read in groups")
            if not active:
                raise _refusal(name, module, "no activation comes before it, so that its inputs are not separate units")
            seen.update(id(p) for p in module.parameters())
            weighted.append((name, module))
            active = False
        elif isinstance(module, _HOMOGENEOUS):
            active = True
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            reason = "its running statistics belong to one scale; fold it into the layer before it"
            fault = _refusal(name, module, reason) if weighted else None
        elif not isinstance(module, _TRANSPARENT):
            if any(True for _ in module.parameters()):
                raise _refusal(name, module, "how it uses its weights is not known")
            reason = "it is not positively homogeneous: f(ax) = a f(x) does not hold for a > 0"
            fault = _refusal(name, module, reason) if weighted else None
        if torch.nn.utils.parametrize.is_parametrized(module) or module._forward_hooks or module._forward_pre_hooks:
            raise _refusal(name, module, "its weights or outputs are computed by a parametrization or a hook")
    if len(weighted) < 2:
        raise ModelError(
            f"the model {type(model).__name__} has {several(len(weighted), 'weighted layer')}; expected at least two, since the "
            "units between them are what is rescaled."
        )
    found = []
    for (name, before), (other, after) in itertools.pairwise(weighted):
        units, reads = before.weight.shape[0], after.weight.shape[1]
        if reads % units:
            raise _refusal(
                other, after, f"it reads {reads} inputs, which is no multiple of the {units} units before it"
            )
        found.append(Joint(name, other, units))
    return tuple(found)


def rescale(model: nn.Module, factors: float | Tensor | Sequence[float | Tensor]) -> nn.Module:
    """A copy of a ReLU network with its units rescaled, whose function is the same.

    Unit i of a hidden layer gets its incoming weights and bias times aᵢ and its outgoing weights divided by aᵢ (Dinh
    et al. 2017, section 3).

    Args:
        model: see `joints`; left as it is.
        factors: for each hidden layer one number above 0 (layer-wise), or a tensor of one per unit (neuron-wise).
            A single number is taken for the first hidden layer alone.

    Returns:
        The copy.

    Raises:
        ModelError: where units cannot be rescaled, with the reason.
        InputError: for factors that do not fit.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
        >>> x = torch.randn(5, 2)
        >>> bool(torch.allclose(net(x), rescale(net, 4.0)(x), atol=1e-6))
        True
    """
    hidden = joints(model)
    given: list[Any] = [*factors] if is_row(factors) else [factors, *[1.0] * (len(hidden) - 1)]
    if len(given) != len(hidden):
        raise InputError(f"got {several(len(given), 'factor')}; expected {len(hidden)}, one for each hidden layer.")
    mine = copy.deepcopy(model)
    for joint, factor in zip(hidden, given, strict=True):
        own = (
            numbers_in("factors", factor) if is_row(factor) else _checks.number("factors", factor, above=0, do=FACTORS)
        )
        a = torch.as_tensor(own, dtype=torch.float64)
        if a.shape not in ((), (joint.units,)) or not bool((a > 0).all()):
            raise InputError(
                f"got factors of shape {tuple(a.shape)} for the hidden layer after {joint.before!r}; expected one number "
                f"or {joint.units} numbers, finite and above 0."
            )
        _apply(mine, joint, a.expand(joint.units))
    return mine


def balance(model: nn.Module) -> nn.Module:
    """A copy of a ReLU network in a fixed gauge: every hidden unit reads and is read with weights of equal norm.

    Every unit i is rescaled so that ‖w_in,i‖ = ‖w_out,i‖, biases carried along but not counted. Two networks that differ by
    rescaled units only have the same balanced copy, so that curvature, sharpness and filter-normalized pictures of
    balanced copies can be compared. With several hidden layers the conditions hang together; they are solved by
    sweeps, a convex problem in the logarithms of the factors (Osborne 1960). A unit without incoming or outgoing weights stays as it is.

    Args:
        model: see `joints`; left as it is.

    Returns:
        The copy. Its function is that of the model, to rounding.

    Raises:
        ModelError: where units cannot be rescaled, with the reason.

    Source: Osborne, On pre-conditioning of matrices, J. ACM 7 (1960); Du, Hu and Lee, NeurIPS 2018, for why this gauge
        is a natural one (gradient flow conserves ‖w_in‖² − ‖w_out‖²).

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
        >>> even = balance(net)
        >>> bool(torch.allclose(even[0].weight.norm(dim=1), even[2].weight.norm(dim=0)))
        True
    """
    hidden = joints(model)
    names = [hidden[0].before, *(joint.after for joint in hidden)]
    squares = []
    for i, name in enumerate(names):
        weight = _weight(model, name).detach().double().cpu() ** 2
        reads = hidden[i - 1].units if i else weight.shape[1]
        squares.append(weight.reshape(weight.shape[0], reads, -1).sum(2))
    logs = [torch.zeros(joint.units, dtype=torch.float64) for joint in hidden]
    for _ in range(SWEEPS):
        largest = 0.0
        for i, log in enumerate(logs):
            inward = squares[i].sum(1)
            outward = squares[i + 1].sum(0)
            alive = (inward > 0) & (outward > 0)
            step = torch.where(alive, (outward / inward).log() / 4, 0.0).nan_to_num(0.0)
            log += step
            squares[i] = squares[i] * torch.exp(2 * step)[:, None]
            squares[i + 1] = squares[i + 1] * torch.exp(-2 * step)
            largest = max(largest, float(step.abs().max()))
        if largest < BALANCED:
            break
    return rescale(model, [torch.exp(log) for log in logs])


def _apply(model: nn.Module, joint: Joint, a: Tensor) -> None:
    with torch.no_grad():
        for parameter in model.get_submodule(joint.before).parameters():
            scale = a.to(parameter.device).reshape(-1, *[1] * (parameter.ndim - 1))
            parameter.copy_((parameter.double() * scale).to(parameter.dtype))
        weight = _weight(model, joint.after)
        shape = weight.shape
        # Flattened feature maps: a unit is a channel, read through one column per place.
        grouped = weight.reshape(shape[0], joint.units, -1)
        weight.copy_((grouped.double() / a.to(weight.device)[None, :, None]).to(weight.dtype).reshape(shape))


def _weight(model: nn.Module, name: str) -> Tensor:
    weight = model.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight


def _leaves(module: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential):
        return [
            leaf
            for child, part in module._modules.items()  # named_children leaves a repeated module out
            if part is not None
            for leaf in _leaves(part, f"{name}.{child}" if name else child)
        ]
    return [(name, module)]


def _refusal(name: str, module: nn.Module, reason: str) -> ModelError:
    return ModelError(
        f"the units of this network cannot be rescaled: at {name or 'the model itself'} ({type(module).__name__}), "
        f"{reason}. Expected an nn.Sequential of linear layers and convolutions with ReLU, leaky ReLU or PReLU between them."
    )


def spread(model: nn.Module, *, seed: int = 0, ratio: float = 4.5) -> list[Tensor]:
    """Random factors for every hidden unit, uniform in their logarithm between 1/ratio and ratio.

    Args:
        model: see `joints`.
        seed: of the draw.
        ratio: largest factor.

    Returns:
        One tensor per hidden layer, for `rescale`.
    """
    generator, ratio = torch.Generator().manual_seed(_checks.seed(seed)), _checks.number("ratio", ratio, above=1)
    drawn = [torch.rand(joint.units, generator=generator, dtype=torch.float64) for joint in joints(model)]
    return [torch.exp((2 * u - 1) * math.log(ratio)) for u in drawn]
