"""What a surface evaluates: (model, batch) → loss, or (loss, weight). Every other form of loss is an adapter to it."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas._errors import InputError, LossError, NotApplicableError
from lossatlas._printable import printable
from lossatlas.surface.network import _loss
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._scores import WAYS, Scores, refuse_other

ObjectiveFunction = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class Outcome:
    """What a model and a batch give.

    Attributes:
        loss: ℓ of the batch, one number.
        weight: w of the batch as the objective returned it, or None.
        hits: share of the labels that are not ignored that are classified correctly; 0 without an accuracy.
    """

    loss: Tensor
    weight: float | None
    hits: Tensor


class Objective(abc.ABC):
    """ℓ over one batch of fixed data: L(θ) = Σ wᵦℓᵦ / Σ wᵦ.

    Attributes:
        name: of the loss, for tables.
        code: the user's own callable, whose code identifies the loss; the name of a named loss.
        loss: the loss of (output, target), where the objective is one.
        ways: how scores may lie beside labels in what the model returns.
        scores: how they do, where the loss was seen to be the mean cross-entropy of these scores; else None.
    """

    name: str
    code: Any
    loss: _loss.Loss | None = None
    ways: tuple[Scores, ...] = ()
    scores: Scores | None = None

    @abc.abstractmethod
    def __call__(self, model: nn.Module, batch: Batch) -> Outcome:
        """The loss of a model as it is on a batch."""

    def output(self, model: nn.Module, batch: Batch, *, checked: bool = True) -> Any:
        """What the loss is computed from, where it is computed from outputs and a target: `measure` does the rest.

        Args:
            model: as it is.
            batch: of the data.
            checked: whether a recognized loss is held against the model's own.

        Raises:
            NotApplicableError: where it is not.
        """
        raise NotApplicableError("the loss is not a function of outputs and targets")

    def measure(self, output: Any, batch: Batch) -> Outcome:
        """The loss of what `output` gave."""
        raise NotImplementedError

    def labels(self, batch: Batch) -> Any:
        """What outputs are compared with."""
        return batch.target

    def weigh(self, batch: Batch) -> float | None:
        """W of a batch by what is known of the loss; None where nothing is."""
        return None

    def accurate(self, batch: Batch) -> bool:
        """Whether an accuracy comes with the loss of a batch."""
        return False


@final
class OutputObjective(Objective):
    """A loss of the model's output and the batch's target.

    Args:
        loss: resolved.
        quick: whether the faster evaluation of a named loss is used where there is one; equal to rounding.
    """

    def __init__(self, loss: _loss.Loss, *, quick: bool = False) -> None:
        self.loss: _loss.Loss = loss
        self.name, self.code = loss.name, loss.plain or loss.function
        self._quick = _loss.quick_cross_entropy if quick and loss.plain == "cross_entropy" else None
        self._checking = False

    def __call__(self, model: nn.Module, batch: Batch) -> Outcome:
        """The loss of a model as it is on a batch."""
        return self.measure(model(*batch.inputs, **batch.keywords), batch)

    def output(self, model: nn.Module, batch: Batch, *, checked: bool = True) -> Any:
        """What the loss compares with the target."""
        return self.compared(model(*batch.inputs, **batch.keywords))

    def measure(self, output: Any, batch: Batch) -> Outcome:
        """The loss of an output."""
        compared = self.compared(output)
        found, weight = _pair(self._loss_of(compared, batch.target), self.name)
        loss = scalar(found, self.name, batch)
        if not self.accurate(batch) or not isinstance(compared, Tensor) or compared.ndim != 2:
            return Outcome(loss, weight, loss.new_zeros(()))
        right = compared.argmax(1) == batch.target
        if self.loss.ignored >= 0:  # a negative number is no class: nothing hits it
            right = right & (batch.target != self.loss.ignored)
        return Outcome(loss, weight, right.sum(dtype=torch.float32) / batch.counted(self.loss.ignored))

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Hold the faster evaluation of the loss against torch's own while this lasts, and give torch's."""
        self._checking = True
        try:
            yield
        finally:
            self._checking = False

    def _loss_of(self, compared: Any, target: Any) -> Any:
        if self._quick is None:
            return self.loss.function(compared, target)
        quick = self._quick(compared, target)
        if not self._checking:
            return quick
        exact = self.loss.function(compared, target)
        off, allowed = float((quick - exact).abs()), 256 * torch.finfo(exact.dtype).eps * (1 + float(exact.abs()))
        if off > allowed:
            raise LossError(f"the faster evaluation of {self.name!r} is off by {off:.2g} of {float(exact):.6g}")
        return exact

    def compared(self, output: Any) -> Any:
        """What the loss gets: the logits of a transformer's output where it is a named loss or torch's, else the output."""
        return _loss.predictions(output) if self.loss.known else output

    def weigh(self, batch: Batch) -> float | None:
        """W of a batch by what is known of the loss; None where nothing is."""
        return None if self.loss.weigh is None else self.loss.weigh(batch.target, batch.size)

    def accurate(self, batch: Batch) -> bool:
        """Whether an accuracy comes with the loss of a batch."""
        target = batch.target
        return (
            self.loss.classification
            and isinstance(target, Tensor)
            and target.ndim == 1
            and not target.is_floating_point()
        )


@final
class ModelObjective(Objective):
    """The loss that a model returns by itself: as ``output.loss``, under ``"loss"``, in a tuple, or as its output.

    Args:
        model: tells by its signature how it takes its labels.
    """

    name = code = "model"
    ways = WAYS

    def __init__(self, model: nn.Module) -> None:
        self._label = _label_parameter(model)

    def __call__(self, model: nn.Module, batch: Batch) -> Outcome:
        """The loss of a model as it is on a batch."""
        loss = scalar(_own_loss(self._called(model, batch)), self.name, batch)
        return Outcome(loss, None, loss.new_zeros(()))

    def output(self, model: nn.Module, batch: Batch, *, checked: bool = True) -> Any:
        """The scores (n, C) of the labels that count, where the loss is their cross-entropy; both are compared each time.

        In half precision a further term of the loss could not be told from rounding, so that nothing is recognized.
        """
        called, labels = self._called(model, batch), self.labels(batch)
        logits = _loss.logits_of(called)
        if self.scores is None or not self.scores.fits(logits, labels):
            raise NotApplicableError("the model's own loss is not the cross-entropy of scores that it returns")
        if not checked:
            return self.scores(logits, labels)
        own = scalar(_own_loss(called), self.name, batch)
        if min(logits.element_size(), own.element_size()) < 4:
            raise NotApplicableError("in half precision the model's own loss is not recognized")
        scores = self.scores(logits, labels)
        refuse_other(self.measure(scores, batch).loss, own, scores)
        return scores

    def measure(self, output: Any, batch: Batch) -> Outcome:
        """Their cross-entropy."""
        assert self.scores is not None
        loss = F.cross_entropy(output, self.scores.labels(self.labels(batch)).to(output.device))
        return Outcome(loss, None, loss.new_zeros(()))

    def labels(self, batch: Batch) -> Any:
        """The model's labels in a batch."""
        return batch.given.get(self._label or "labels") if isinstance(batch.given, Mapping) else batch.target

    def _called(self, model: nn.Module, batch: Batch) -> Any:
        given = batch.given
        if isinstance(given, Mapping):
            return model(**given)
        if batch.target is None:
            return model(*batch.inputs)
        if self._label is None:
            return model(*batch.inputs, batch.target)
        return model(*batch.inputs, **{self._label: batch.target})


@final
class FunctionObjective(Objective):
    """The user's own ``objective(model, batch)``, which returns a loss, or a loss and its weight."""

    def __init__(self, function: ObjectiveFunction) -> None:
        if not callable(function) or inspect.isclass(function):
            raise LossError(
                f"got an objective of type {type(function).__name__}; expected a function objective(model, batch) that "
                "returns the loss of the batch, or a pair (loss, weight)."
            )
        self.name = printable(str(getattr(function, "__name__", type(function).__name__)))
        self.code = self._function = function

    def __call__(self, model: nn.Module, batch: Batch) -> Outcome:
        """The loss of a model as it is on a batch."""
        found, weight = _pair(self._function(model, batch.given), self.name)
        loss = scalar(found, self.name, batch)
        return Outcome(loss, weight, loss.new_zeros(()))


def resolve(loss: Any, objective: ObjectiveFunction | None, model: nn.Module) -> Objective:
    """The objective of what the user gave.

    Raises:
        InputError: for both a loss and an objective, or neither.
        LossError: for something that is no loss.
    """
    if objective is not None:
        if loss is not None:
            raise InputError(
                "got both a loss and an objective; expected one of them: loss(output, target), or objective(model, batch)."
            )
        return FunctionObjective(objective)
    if loss is None:
        raise InputError(
            f"got no loss; expected a name ({', '.join(_loss.NAMES)}), a torch loss module, a function "
            "loss(output, target), or objective=f with f(model, batch)."
        )
    if isinstance(loss, str) and loss == "model":
        return ModelObjective(model)
    return OutputObjective(_loss.resolve(loss))


def scalar(found: Any, name: str, batch: Batch) -> Tensor:
    """A loss as one real number of shape ().

    Raises:
        LossError: if it is anything else.
    """
    if not isinstance(found, Tensor) or found.numel() != 1 or not found.is_floating_point():
        what = (
            f"a tensor of shape {tuple(found.shape)} and type {str(found.dtype).removeprefix('torch.')}"
            if isinstance(found, Tensor)
            else f"a {type(found).__name__}"
        )
        advice = "Use reduction='mean', or end the loss with .mean()."
        if found is None:
            advice = "End the function with a return."
        elif isinstance(found, Mapping | list | tuple):
            advice = "Return the loss alone."
        elif not isinstance(found, Tensor):
            advice = "Leave out .item(), float() and .numpy(), which cut it from the parameters."
        raise LossError(
            f"the loss {name!r} returned {what} for a batch of {batch.size} examples; expected one number as a tensor, the "
            f"loss of the batch. {advice}"
        )
    return found.reshape(())


def _pair(found: Any, name: str) -> tuple[Any, float | None]:
    """A loss and its weight, None where a function returned a loss alone."""
    if isinstance(found, tuple) and len(found) == 2:
        return found[0], _weight(found[1], name)
    return found, None


def _weight(given: Any, name: str) -> float:
    number = float(given.detach()) if isinstance(given, Tensor) and given.numel() == 1 else given
    if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= float(number) < float("inf"):
        what = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else repr(given)
        raise LossError(
            f"the objective {name!r} returned a weight of {what}; expected one finite number of at least 0, what the "
            "loss of the batch averages over: examples, kept labels, tokens."
        )
    return float(number)


def _own_loss(output: Any) -> Any:
    """The loss in what a model returned."""
    if isinstance(output, Tensor):
        return output
    for found in (getattr(output, "loss", None), output.get("loss") if isinstance(output, Mapping) else None):
        if isinstance(found, Tensor):
            return found
    if isinstance(output, tuple | list):
        numbers = [v for v in output if isinstance(v, Tensor) and v.ndim == 0 and v.is_floating_point()]
        if len(numbers) == 1:
            return numbers[0]
    raise LossError(
        f"the loss 'model' needs a model that returns its own loss, got {type(output).__name__}; expected an output with "
        "a .loss, a dictionary with 'loss', a tuple with one loss, or the loss itself, as a transformer gives it when it is "
        "given its labels. Name a loss such as cross_entropy instead, or give objective=f with f(model, batch)."
    )


def _label_parameter(model: nn.Module) -> str | None:
    """The name under which a model takes its labels, or None where it takes them by position."""
    try:
        names = inspect.signature(model.forward).parameters
    except (TypeError, ValueError):
        return "labels"
    if "labels" in names or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in names.values()):
        return "labels"
    return next((name for name in ("label", "targets", "target", "y") if name in names), None)
