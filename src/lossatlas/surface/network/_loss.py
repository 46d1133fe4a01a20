"""Losses of (output, target): by name, a torch loss, or any callable, each with the weight that it averages over."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossatlas._errors import DataError, LossError, UnknownNameError
from lossatlas._printable import printable

LossFunction = Callable[[Any, Any], Tensor]
# The weight of a batch, from its target and its number of examples.
Weigh = Callable[[Any, int], float]

IGNORED = -100


@dataclass(frozen=True)
class Loss:
    """A loss over a batch, ℓ = Σᵢ wᵢ ℓᵢ / Σᵢ wᵢ, with what is known of its weights.

    Attributes:
        name: for tables.
        function: loss(output, target), exactly as the user or torch has it.
        classification: whether an accuracy comes with it: outputs (n, C) against class numbers (n,).
        weigh: Σᵢ wᵢ of a batch from its target and size, or None where nothing is known.
        ignored: the class number that is left out.
        known: whether it is a named loss or torch's own, which compare tensors alone.
        plain: name of a loss without settings, for which there is a faster evaluation; empty otherwise.
    """

    name: str
    function: LossFunction
    classification: bool = False
    weigh: Weigh | None = None
    ignored: int = IGNORED
    plain: str = ""
    known: bool = True


@dataclass(frozen=True)
class _Elementwise:
    """A mean over all entries of output and target, which must have one shape: torch would broadcast with a warning."""

    name: str
    function: LossFunction
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, output: Any, target: Any) -> Tensor:
        if isinstance(output, Tensor) and isinstance(target, Tensor):
            if output.shape != target.shape:
                raise DataError(
                    f"the loss {self.name!r} got outputs of shape {tuple(output.shape)} and targets of shape "
                    f"{tuple(target.shape)}, which only broadcast; expected one shape. Reshape one of them, for example "
                    "y[:, None] or output.squeeze(1)."
                )
            if not target.is_floating_point() and not target.is_complex():
                raise DataError(
                    f"the loss {self.name!r} got targets of type {str(target.dtype).removeprefix('torch.')}; expected "
                    "floating-point numbers, since torch cannot differentiate it otherwise. Use y.float()."
                )
        return self.function(output, target, **self.keywords)


def kept(target: Any, ignored: int = IGNORED) -> float:
    """How many class numbers are not ignored; for class probabilities, how many distributions there are."""
    if target.is_floating_point():
        return target.numel() / target.shape[1] if target.ndim > 1 else 1.0
    return float(torch.count_nonzero(target != ignored))


@dataclass(frozen=True)
class _ClassWeight:
    """Σᵢ w[yᵢ] over the labels that are not ignored, w = 1 without class weights."""

    weight: Tensor | None
    ignored: int

    def __call__(self, target: Any, size: int) -> float:
        if not isinstance(target, Tensor):
            return float(size)
        if self.weight is None or target.is_floating_point():
            return kept(target, self.ignored)
        chosen = target[target != self.ignored]
        return float(self.weight.detach().to(chosen.device, torch.float64)[chosen.long()].sum())


def _entries(target: Any, size: int) -> float:
    return float(target.numel()) if isinstance(target, Tensor) else float(size)


def _examples(target: Any, size: int) -> float:
    return float(size)


def _labels(target: Any, size: int) -> float:
    return kept(target)


def _shifted(target: Any, size: int) -> float:
    return kept(target[..., 1:])


# What an unknown loss may average over, in the order in which they are tried: nothing is believed untested.
CANDIDATES: dict[str, Weigh] = {
    "examples": _examples,
    "labels that are not ignored": _labels,
    "tokens that are predicted": _shifted,
    "entries of the targets": _entries,
}


def candidates(target: Any) -> dict[str, Weigh]:
    """The weights that make sense for a target."""
    numbers = isinstance(target, Tensor) and target.ndim > 0
    labels = numbers and not target.is_floating_point() and not target.is_complex() and target.dtype != torch.bool
    found = {"examples": CANDIDATES["examples"]}
    if labels:
        found["labels that are not ignored"] = CANDIDATES["labels that are not ignored"]
        if target.ndim > 1 and target.shape[-1] > 1:
            found["tokens that are predicted"] = CANDIDATES["tokens that are predicted"]
    if numbers:
        found["entries of the targets"] = CANDIDATES["entries of the targets"]
    return found


_ELEMENTWISE: dict[str, LossFunction] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
}
_ELEMENTWISE_FUNCTIONS = (*_ELEMENTWISE.values(), F.smooth_l1_loss, F.binary_cross_entropy)
_ELEMENTWISE_MODULES = (nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss, nn.BCEWithLogitsLoss, nn.BCELoss)

NAMED: dict[str, Loss] = {
    "cross_entropy": Loss("cross_entropy", F.cross_entropy, True, _ClassWeight(None, IGNORED), plain="cross_entropy"),
    "nll": Loss("nll", F.nll_loss, True, _ClassWeight(None, IGNORED), plain="nll"),
    **{
        name: Loss(name, _Elementwise(name, function), weigh=_entries, plain=name)
        for name, function in _ELEMENTWISE.items()
    },
}
NAMES = (*NAMED, "model")


def resolve(loss: str | LossFunction) -> Loss:
    """A loss of (output, target) by name, or any callable.

    Raises:
        UnknownNameError: for a name that is not there; the nearest is suggested.
        LossError: for something that is neither.
    """
    if isinstance(loss, str):
        if loss.replace("-", "_") not in NAMED:
            raise UnknownNameError("loss", loss, NAMES)
        return NAMED[loss.replace("-", "_")]
    if not callable(loss) or inspect.isclass(loss):
        given = f"the class {loss.__name__}" if inspect.isclass(loss) else f"a loss of type {type(loss).__name__}"
        raise LossError(
            f"got {given}; expected a name ({', '.join(NAMES)}) or a callable loss(output, target)"
            f"{', an instance and not a class' if inspect.isclass(loss) else ''}."
        )
    name = printable(str(getattr(loss, "__name__", type(loss).__name__)))
    return _known(loss, name) or Loss(name, loss, known=False)


def _known(loss: LossFunction, name: str) -> Loss | None:
    """A torch loss with its settings, as a function, a module, or a partial application with keywords."""
    if isinstance(loss, functools.partial) and not loss.args:
        keywords = dict(loss.keywords)
        name = printable(str(getattr(loss.func, "__name__", name)))
        if loss.func in (F.cross_entropy, F.nll_loss):
            return _classes(name, loss, keywords)
        if loss.func in _ELEMENTWISE_FUNCTIONS:
            return Loss(name, _Elementwise(name, loss), weigh=_averaged(keywords))
        return None
    if loss is F.cross_entropy or loss is F.nll_loss:
        return _classes("cross_entropy" if loss is F.cross_entropy else "nll", loss, {})
    if loss in _ELEMENTWISE_FUNCTIONS:
        return Loss(name, _Elementwise(name, loss), weigh=_entries)
    if type(loss) in (nn.CrossEntropyLoss, nn.NLLLoss):
        settings = ("weight", "ignore_index", "label_smoothing", "reduction")
        return _classes(name, loss, {key: getattr(loss, key) for key in settings if hasattr(loss, key)})
    if type(loss) in _ELEMENTWISE_MODULES:
        return Loss(name, _Elementwise(name, loss), weigh=_averaged({"reduction": loss.reduction}))  # type: ignore[attr-defined]
    return None


def _averaged(keywords: Mapping[str, Any]) -> Weigh | None:
    return _entries if keywords.get("reduction", "mean") == "mean" else None


def _classes(name: str, loss: LossFunction, keywords: Mapping[str, Any]) -> Loss:
    ignored = int(keywords.get("ignore_index", IGNORED))
    mean = keywords.get("reduction", "mean") == "mean"
    weigh = _ClassWeight(keywords.get("weight"), ignored) if mean else None
    settings = ignored != IGNORED or keywords.get("weight") is not None or keywords.get("label_smoothing", 0.0)
    nll = loss is F.nll_loss or isinstance(loss, nn.NLLLoss) or getattr(loss, "func", None) is F.nll_loss
    plain = "" if settings or not mean else "nll" if nll else "cross_entropy"
    return Loss(name, loss, True, weigh, ignored, plain)


def quick_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of few classes and many examples without a gradient, equal to torch's to rounding.

    The class axis is laid out last in memory first: the log-softmax then runs over examples in one vectorized sweep,
    several times faster on a CPU. Labels are those that torch has accepted already: class numbers, or −100.
    """
    narrow = output.ndim == 2 and target.ndim == 1 and not target.is_floating_point()
    if not narrow or output.shape[1] > 64 or output.device.type != "cpu" or output.requires_grad:
        return F.cross_entropy(output, target)
    logs = torch.log_softmax(output.t().contiguous(), 0)
    picked = logs.gather(0, target.clamp_min(0)[None])[0]
    counted = target != IGNORED
    return -torch.where(counted, picked, 0.0).sum() / counted.sum()


def logits_of(output: Any) -> Any:
    """The scores in what a model returned beside its loss: its ``logits``, or its only tensor of two or more axes."""
    if isinstance(output, Mapping) and isinstance(output.get("logits"), Tensor):
        return output["logits"]
    if isinstance(output, tuple | list):
        tensors = [v for v in output if isinstance(v, Tensor) and v.ndim > 1 and v.is_floating_point()]
        return tensors[0] if len(tensors) == 1 else None
    logits = getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) else None


def predictions(output: Any) -> Any:
    """The tensor that a loss compares: the output itself, or its ``logits`` (transformer outputs)."""
    logits = getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) else output
