"""Any optimizer class of torch's kind as a racer."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from lossatlas import _checks, _said
from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk, plain
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients


@final
@dataclass(frozen=True)
class TorchOptimizer(Optimizer):
    """A `torch.optim.Optimizer` subclass, one instance per run: what a user would train with, on the same meter.

    Unbatched: every run steps by itself, so that a thousand runs cost a thousand times one. Parameters have the shapes
    of the layout's blocks. Classes that need a closure (torch.optim.LBFGS) or products of their own are refused.

    Args:
        cls: the class.
        **settings: its keyword arguments, as in ``TorchOptimizer(cls, lr=0.1)``.

    Example:
        >>> import torch, lossatlas as la
        >>> mine = TorchOptimizer(torch.optim.SGD, lr=0.05)
        >>> race = la.race(la.landscapes.regression(), {"mine": mine, "gd": "gd"}, steps=5)
        >>> bool((race.final("mine") - race.final("gd")).abs().max() < 1e-12)
        True
    """

    cls: type[torch.optim.Optimizer]
    settings_: dict[str, Any] = field(default_factory=dict)

    name: ClassVar[str] = "torch"
    title: ClassVar[str] = "a torch optimizer"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "its own state"
    source: ClassVar[str] = "the class's own"
    reference: ClassVar[str] = "paszke2019"
    batched: ClassVar[bool] = False

    def __init__(self, cls: type[torch.optim.Optimizer] | None = None, /, *unnamed: Any, **settings: Any) -> None:
        cls = settings.pop("cls", None) if cls is None else cls
        if unnamed:
            raise InputError(
                f"TorchOptimizer got {_checks.shown(unnamed[0])} without a name; expected settings by name. Write "
                f"TorchOptimizer({getattr(cls, '__name__', 'cls')}, lr={_checks.shown(unnamed[0])})."
            )
        if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)):
            raise InputError(
                f"TorchOptimizer got {cls!r}; expected a subclass of torch.optim.Optimizer, not an instance."
            )
        object.__setattr__(self, "cls", cls)
        # As `dataclasses.replace` gives them.
        object.__setattr__(self, "settings_", {**settings.pop("settings_", {}), **settings})

    @property
    def outside(self) -> str:
        """The full name of torch's class."""
        return f"{self.cls.__module__}.{self.cls.__qualname__}"

    def settings(self) -> dict[str, Any]:
        """The class's name and its keyword arguments."""
        return {"class": self.outside, **plain(self.settings_)}

    def __hash__(self) -> int:
        return hash((self.cls, repr(self.settings_)))

    def __repr__(self) -> str:
        public = getattr(torch.optim, self.cls.__name__, None) is self.cls
        name = f"torch.optim.{self.cls.__name__}" if public else self.outside
        return f"TorchOptimizer({', '.join([name, *(f'{key}={value!r}' for key, value in self.settings_.items())])})"

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Give every run its gradient and let its optimizer step."""
        runs = [
            [nn.Parameter(row[block.span].reshape(block.shape).clone()) for block in layout.blocks] for row in start
        ]
        minds = [self._make(parameters) for parameters in runs]
        theta = start
        while True:
            gradients = (yield Gradients(theta)).gradients
            for parameters, mind, gradient in zip(runs, minds, gradients, strict=True):
                for parameter, block in zip(parameters, layout.blocks, strict=True):
                    parameter.grad = gradient[block.span].reshape(block.shape).to(parameter)
                self._step(mind)
            theta = torch.stack(
                [torch.cat([parameter.detach().reshape(-1) for parameter in parameters]) for parameters in runs]
            ).to(start)

    def _make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.cls(parameters, **self.settings_)
        except Exception as error:
            raise InputError(
                f"{self.cls.__name__} refused its settings {self.settings_!r} or the parameters' shapes "
                f"{[tuple(p.shape) for p in parameters][:4]}: {_said.exception(error)} Expected what the class takes."
            ) from error

    def _step(self, mind: torch.optim.Optimizer) -> None:
        try:
            with warnings.catch_warnings(), torch.enable_grad():
                warnings.simplefilter("ignore")
                mind.step()
        except Exception as error:
            raise InputError(
                f"{self.cls.__name__} could not step: {_said.exception(error)} A class that needs a closure, or gradients of "
                "gradients, cannot race; use lossatlas's own rule where there is one."
            ) from error
