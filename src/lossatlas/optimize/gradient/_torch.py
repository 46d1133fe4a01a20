"""Any optimizer class of torch's kind as a racer."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import nan
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lossatlas import _checks, _said
from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._aside import Aside, Chance
from lossatlas.optimize._optimizer import Optimizer, Walk, plain
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Gradients, Products

EXPECTED = (
    "a subclass of torch.optim.Optimizer, or a function of a list of parameters that returns an optimizer, or an optimizer and "
    "its schedule"
)


@final
@dataclass(frozen=True)
class TorchOptimizer(Optimizer):
    """A `torch.optim.Optimizer` subclass, one instance per run: what a user would train with, on the same meter.

    Unbatched: every run steps by itself, so that a thousand runs cost a thousand times one. Parameters have the shapes
    of the layout's blocks.

    A class whose ``step`` takes a closure (torch.optim.LBFGS, SAM, AdaHessian) is given one that evaluates loss and gradient
    where its parameters are, as ``loss.backward(create_graph=True)`` leaves them. Every evaluation is an answer of the race, and
    Hessian products are counted as such; the gradient that a step begins with is at hand before the call and is not
    counted again. On mini-batches all evaluations of one step are of one batch. The run stands where the step began.

    An optimizer with ``train()`` and ``eval()``, as schedule-free ones have, takes gradients in its training mode and stands
    where its evaluation mode puts the parameters.

    Args:
        cls: the class; or a function of a list of parameters that returns an optimizer, or an optimizer and its learning-rate
            schedule.
        schedule: a function of the optimizer that returns a `torch.optim.lr_scheduler`, stepped after every step
            (``ReduceLROnPlateau`` with the loss at the start of the step).
        **settings: keyword arguments of the class, as in ``TorchOptimizer(cls, lr=0.1)``.

    Raises:
        InputError: for anything else.

    Example:
        >>> import torch, lossatlas as la
        >>> mine = TorchOptimizer(torch.optim.SGD, lr=0.05)
        >>> race = la.race(la.landscapes.regression(), {"mine": mine, "gd": "gd"}, steps=5)
        >>> bool((race.final("mine") - race.final("gd")).abs().max() < 1e-12)
        True
        >>> from torch.optim.lr_scheduler import CosineAnnealingLR
        >>> cosine = TorchOptimizer(torch.optim.SGD, lr=0.05, schedule=lambda o: CosineAnnealingLR(o, T_max=100))
    """

    cls: Callable[..., Any]
    settings_: dict[str, Any] = field(default_factory=dict)
    schedule: Callable[[Any], Any] | None = None

    name: ClassVar[str] = "torch"
    title: ClassVar[str] = "a torch optimizer"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along), or what its closure is called for"
    remembers: ClassVar[str] = "its own state"
    source: ClassVar[str] = "the class's own"
    reference: ClassVar[str] = "paszke2019"
    batched: ClassVar[bool] = False

    def __init__(
        self,
        cls: Callable[..., Any] | None = None,
        /,
        *unnamed: Any,
        schedule: Callable[[Any], Any] | None = None,
        **settings: Any,
    ) -> None:
        cls = settings.pop("cls", None) if cls is None else cls
        if unnamed:
            raise InputError(
                f"TorchOptimizer got {_checks.shown(unnamed[0])} without a name; expected settings by name. Write "
                f"TorchOptimizer({getattr(cls, '__name__', 'cls')}, lr={_checks.shown(unnamed[0])})."
            )
        if not is_torch_kind(cls):
            raise InputError(f"TorchOptimizer got {_checks.shown(cls)}; expected {EXPECTED}, not an instance.")
        if schedule is not None and not callable(schedule):
            raise InputError(
                f"TorchOptimizer got schedule={_checks.shown(schedule)}; expected a function of the optimizer that returns its "
                "schedule, for example schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=100)."
            )
        object.__setattr__(self, "cls", cls)
        # As `dataclasses.replace` gives them.
        object.__setattr__(self, "settings_", {**settings.pop("settings_", {}), **settings})
        object.__setattr__(self, "schedule", schedule)

    @property
    def outside(self) -> str:
        """The full name of torch's class, or of the function."""
        return _full_name(self.cls)

    @property
    def called(self) -> str:
        """The name of the class, or of the function."""
        return self.outside.rpartition(".")[2]

    def settings(self) -> dict[str, Any]:
        """The class's name and its keyword arguments."""
        scheduled = {} if self.schedule is None else {"schedule": _full_name(self.schedule)}
        return {"class": self.outside, **plain(self.settings_), **scheduled}

    def __hash__(self) -> int:
        return hash((self.outside, repr(self.settings_)))

    def __repr__(self) -> str:
        public = getattr(torch.optim, self.called, None) is self.cls
        name = f"torch.optim.{self.called}" if public else self.outside
        given = [f"{key}={value!r}" for key, value in self.settings_.items()]
        given += [] if self.schedule is None else [f"schedule={_full_name(self.schedule)}"]
        return f"TorchOptimizer({', '.join([name, *given])})"

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Give every run its gradient, let its optimizer step, and answer what its closure is called for."""
        seeds = rng.seeds().tolist()
        runs = [_Run(self, row, layout, seed) for row, seed in zip(start, seeds, strict=True)]
        try:
            while True:
                for kind in ("gradient", "product"):
                    rows = [run.want.kind == kind for run in runs]
                    if any(rows):
                        yield from self._put(kind, runs, rows, start)
        finally:
            for run in runs:
                run.close()

    def _put(self, kind: str, runs: list[_Run], rows: list[bool], start: Tensor) -> Walk:
        """Query what the runs of some rows want, and tell them."""
        wants = [run.want for run in runs]
        points = torch.stack([want.point for want in wants])
        there = any(want.inside or want.stand is not want.point for want in wants)
        known = torch.tensor([want.value for want in wants], dtype=torch.float64, device=start.device)
        again = torch.tensor([want.inside for want in wants], device=start.device)
        how: dict[str, Any] = {
            "at": At(torch.stack([want.stand for want in wants]), known) if there else None,
            "active": None if all(rows) else torch.tensor(rows, device=start.device),
            "again": again if bool(again.any()) else None,
        }
        if kind == "gradient":
            answer = yield Gradients(points, **how)
            found = zip(answer.values.tolist(), answer.gradients, strict=True)
        else:
            vectors = torch.stack(
                [torch.zeros_like(want.point) if want.vector is None else want.vector for want in wants]
            )
            answer = yield Products(points, vectors[:, None], **how)
            found = zip([nan] * len(runs), answer.products[:, 0], strict=True)
        heard = rows if answer.answered is None else (answer.answered.cpu() & torch.tensor(rows)).tolist()
        for run, told, (value, vector) in zip(runs, heard, found, strict=True):
            if told:
                run.hear(value, vector)


def is_torch_kind(given: object) -> bool:
    """Whether something makes optimizers of torch's kind: a class of them, or any function."""
    if isinstance(given, type):
        return issubclass(given, torch.optim.Optimizer)
    return callable(given) and not isinstance(given, torch.optim.Optimizer | Optimizer)


@dataclass(frozen=True, eq=False)
class _Want:
    """What a run wants next.

    Attributes:
        kind: ``gradient`` or ``product``.
        point: (N,), where.
        stand: (N,), where the run stands.
        value: L there, NaN where it is not known.
        inside: whether it is wanted in the middle of a step.
        vector: (N,), of a product.
    """

    kind: str
    point: Tensor
    stand: Tensor
    value: float = nan
    inside: bool = False
    vector: Tensor | None = None


class _Run:
    """One run: its parameters, its optimizer and schedule, and the step it is in the middle of.

    Args:
        one: what it is of.
        start: (N,).
        layout: the shapes of its parameters.
        seed: of its random stream.

    Attributes:
        want: what it wants next.
    """

    def __init__(self, one: TorchOptimizer, start: Tensor, layout: Layout, seed: int) -> None:
        self.one, self.layout, self.like = one, layout, start
        self.parameters = [nn.Parameter(start[b.span].reshape(b.shape).clone()) for b in layout.blocks]
        self.chance = Chance(seed)
        with self._theirs():
            self.mind, self.schedule = self._make()
        self.moded = all(callable(getattr(self.mind, word, None)) for word in ("train", "eval"))
        self.closes = _takes_closure(self.mind)
        self.aside: Aside | None = None
        self.want = self._begin()

    def hear(self, value: float, vector: Tensor) -> None:
        """Take an answer and go on until something is wanted again."""
        # Not in the other thread: filters of warnings are those of the whole program.
        with self._said("step"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.aside is not None:
                self.aside.tell((value, vector))
            elif self.closes:
                self.aside = Aside(partial(self._step, value, vector), self.chance)
            else:
                self._give(vector)
                with self._theirs():
                    self.mind.step()
                    self._schedule(value)
            if self.aside is not None and self.aside.want is not None:
                self.want = self.aside.want
                return
        self.aside = None
        self.want = self._begin()

    def close(self) -> None:
        """End a step that nobody waits for."""
        if self.aside is not None:
            self.aside.close()

    def _begin(self) -> _Want:
        """What the next step begins with: a gradient where the parameters are."""
        if not self.moded:
            here = self._flat()
            return _Want("gradient", here, here)
        with self._said("change between train() and eval()"), self._theirs():
            self.mind.eval()
            stand = self._flat()
            self.mind.train()
        return _Want("gradient", self._flat(), stand)

    def _step(self, value: float, vector: Tensor, ask: Callable[[_Want], tuple[float, Tensor]]) -> None:
        """One step of a class that takes a closure, on a thread of its own."""
        at, found = self.want.point, (value, vector)
        seen = partial(_Want, stand=self.want.stand, value=nan if self.moded else value, inside=True)

        def product(point: Tensor, along: Tensor) -> Tensor:
            return ask(seen("product", point, vector=along))[1]

        def closure() -> Tensor:
            nonlocal at, found
            here = self._flat()
            if not torch.equal(here, at):
                at, found = here, ask(seen("gradient", here))
            loss, gradient = found
            self._give(gradient, partial(product, here))
            return here.new_tensor(loss)

        closure()
        self.mind.step(closure)
        self._schedule(value)

    def _give(self, gradient: Tensor, product: Callable[[Tensor], Tensor] | None = None) -> None:
        """Set the gradients of the parameters, differentiable once more where products can be had."""
        parts = [
            gradient[b.span].reshape(b.shape).to(p).clone()
            for p, b in zip(self.parameters, self.layout.blocks, strict=True)
        ]
        if product is not None:
            with torch.enable_grad():
                parts = list(_Again.apply(product, parts, self.layout, *self.parameters))  # type: ignore[no-untyped-call]
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.grad = part

    def _schedule(self, value: float) -> None:
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(value)
        elif self.schedule is not None:
            self.schedule.step()

    def _flat(self) -> Tensor:
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.parameters]).to(self.like)

    def _make(self) -> tuple[Any, Any]:
        one = self.one
        with self._said(f"be made with {one.settings_!r} for parameters of shapes {self._shapes()}"):
            made: Any = one.cls(self.parameters, **one.settings_)
            mind, schedule = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
            if not callable(getattr(mind, "step", None)):
                raise InputError(
                    f"{one.called} returned {_checks.shown(made)}; expected an optimizer, or one and its schedule."
                )
            if one.schedule is not None:
                schedule = one.schedule(mind)
        if (
            schedule is not None
            and not isinstance(schedule, LRScheduler)
            and not callable(getattr(schedule, "step", None))
        ):
            raise InputError(
                f"the schedule of {one.called} is {_checks.shown(schedule)}; expected one of torch.optim.lr_scheduler."
            )
        return mind, schedule

    def _shapes(self) -> list[tuple[int, ...]]:
        return [tuple(parameter.shape) for parameter in self.parameters][:4]

    @contextmanager
    def _theirs(self) -> Iterator[None]:
        """Foreign code: gradients enabled, no warnings, and where it is not torch's own a random stream of the run."""
        own = self.one.outside.startswith("torch.optim.") and self.one.schedule is None
        with warnings.catch_warnings(), torch.enable_grad(), nullcontext() if own else self.chance:
            warnings.simplefilter("ignore")
            yield

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """What foreign code raises, in a sentence."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{self.one.called} could not {what}: {_said.exception(error, __file__)}") from error


class _Again(torch.autograd.Function):
    """Gradients whose own derivative along vectors is the Hessian's product with them."""

    @staticmethod
    def forward(
        ctx: Any, product: Callable[[Tensor], Tensor], parts: list[Tensor], layout: Layout, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.product, ctx.layout = product, layout
        return tuple(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *vectors: Tensor) -> tuple[Tensor | None, ...]:
        along = torch.cat([vector.reshape(-1) for vector in vectors])
        found = ctx.product(along)
        parts = [found[b.span].reshape(b.shape).to(v) for b, v in zip(ctx.layout.blocks, vectors, strict=True)]
        return None, None, None, *parts


def _takes_closure(mind: Any) -> bool:
    """Whether a step may call for more than the gradient that it begins with."""
    kind = type(mind)
    if kind.__module__.startswith("torch.optim."):
        return isinstance(mind, torch.optim.LBFGS)  # the others call it once, at the start
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(kind.step).parameters
    except (TypeError, ValueError):
        return False
    return "closure" in parameters or len(parameters) > 1


def _full_name(given: Any) -> str:
    """Of a class or a function; of a partial that of what it calls."""
    while isinstance(given, partial):
        given = given.func
    kind = given if hasattr(given, "__qualname__") else type(given)
    return f"{kind.__module__}.{kind.__qualname__}"
