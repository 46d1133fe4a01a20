"""What was evaluated, by kind, what it is worth, and what may still be evaluated."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas.probe._queries import Gradients, Products, Query, Values, count


@dataclass(frozen=True)
class Exchange:
    """One exchange rate for all families: how many values a gradient or a Hessian product is worth.

    A reverse sweep costs about two forward ones beside its own, a product about two gradients.
    """

    value: float = 1.0
    gradient: float = 3.0
    product: float = 6.0

    def price(self, values: float = 0, gradients: float = 0, products: float = 0) -> float:
        """So many queries of each kind in units of one value."""
        return self.value * values + self.gradient * gradients + self.product * products


@dataclass(eq=False)
class Meter(archive.Result):
    """What was evaluated, for one algorithm over all its runs; meters add up.

    A gradient brings its value along and counts as one gradient.

    Attributes:
        calls: queries answered, each for many runs at once.
        values: points whose loss was evaluated.
        gradients: points whose gradient was.
        products: Hessian-vector products.
        examples: examples read for all of these; 0 on a surface without data.
        proof_examples: examples read by the surface to prove that its shortcuts equal it; not among the others.
        recalled: points whose loss a ledger knew already; they are not among the values.
        confirmed: points that a ledger knew and that were evaluated again when a run was resumed, to see that it is still
            of the same surface; they are not among the values or the recalled.
        lost: points that were being evaluated by workers that ended; others evaluated them again, and they count once.
        worker_seconds: spent on answers by all workers together; `surface_seconds` is by the clock.
        surface_seconds: spent answering; shared in proportion where one answer served several algorithms.
        algorithm_seconds: spent by the algorithm itself.
        runs: how many runs there are.
        per_run: queries answered to each run, shape (runs,), recalled ones among them.

    Example:
        >>> sum([Meter(values=3), Meter(values=4, gradients=1)], Meter()).cost()
        10.0
    """

    SAYS: ClassVar[tuple[str, ...]] = ("cost", "seconds")

    calls: int = 0
    values: int = 0
    gradients: int = 0
    products: int = 0
    examples: int = 0
    proof_examples: int = 0
    recalled: int = 0
    confirmed: int = 0
    lost: int = 0
    worker_seconds: float = 0.0
    surface_seconds: float = 0.0
    algorithm_seconds: float = 0.0
    runs: int = 1
    _every: int = field(default=0, repr=False)
    _some: Tensor | None = field(default=None, repr=False)

    @property
    def per_run(self) -> Tensor:
        """Queries answered to each run, shape (runs,), int64.

        Recalled ones count too: a budget ends a resumed run where it ends an uninterrupted one.
        """
        some = torch.zeros(self.runs, dtype=torch.int64) if self._some is None else self._some
        return some + self._every

    @property
    def queries(self) -> int:
        """Points queried, of any kind."""
        return self.values + self.gradients + self.products

    @property
    def seconds(self) -> float:
        """Surface and algorithm together."""
        return self.surface_seconds + self.algorithm_seconds

    def cost(self, exchange: Exchange | None = None) -> float:
        """All queries in units of one value.

        Raises:
            InputError: for what is no exchange.
        """
        if not isinstance(exchange, Exchange | None):
            raise InputError(
                f"got exchange={_checks.shown(exchange)}; expected an Exchange or None. Give Exchange(gradient=…)."
            )
        return (exchange or Exchange()).price(self.values + self.confirmed, self.gradients, self.products)

    @property
    def sentence(self) -> str:
        """What was evaluated, in words."""
        parts = [(self.values, "value"), (self.gradients, "gradient"), (self.products, "product"),
                 (self.recalled, "recalled value")]  # fmt: skip
        cost = f"{self.cost():,.0f}"
        spent = f"{self.seconds:.3g} s" + (f" ({self.worker_seconds:.3g} s of workers)" if self.worker_seconds else "")
        lost = f"; {self.lost:,} more were lost with workers that ended" if self.lost else ""
        evaluated = ", ".join(f"{count:,} {name}{'s' * (count != 1)}" for count, name in parts if count)
        read = f" over {self.examples:,} example{'s' * (self.examples != 1)}" if self.examples else ""
        return f"{evaluated or 'nothing evaluated'}{read} in {spent}, worth {cost} value{'s' * (cost != '1')}{lost}"

    def count(self, query: Query, rows: Tensor | None, examples: int, recalled: int = 0) -> None:
        """Add one answered query.

        Args:
            query: what was answered.
            rows: (B,) which runs of it were answered, or None for all.
            examples: examples behind one full value of the surface.
            recalled: how many of its points were not evaluated, since a ledger knew them.
        """
        each = count(query)
        if rows is None:
            points = each * query.points.shape[0]
            self._every += each
        else:
            points = each * int(rows.sum())
            counted = each * rows.cpu()
            self._some = counted if self._some is None else self._some + counted
        self.calls += 1
        match query:
            case Values():
                points -= recalled
                self.values += points
                self.recalled += recalled
            case Gradients():
                self.gradients += points
                examples = query.sample.size if query.sample is not None and examples else examples
            case Products():
                self.products += points
                examples = query.sample.size if query.sample is not None and examples else examples
        self.examples += points * examples

    def copy(self) -> Meter:
        """As it is now."""
        return replace(self)

    def since(self, before: Meter, seconds: float) -> Meter:
        """What came on top of an earlier copy.

        Args:
            before: the copy.
            seconds: that have gone by; what the surface did not take was the algorithm's.
        """
        told = self._joined(before, -1)
        told.algorithm_seconds = max(0.0, seconds - told.surface_seconds)
        return told

    def __add__(self, other: Meter) -> Meter:
        """Both together: run by run where both have as many runs, else as one run."""
        return self._joined(other, 1) if isinstance(other, Meter) else NotImplemented

    def __radd__(self, other: Literal[0]) -> Meter:
        """The start of ``sum(meters)``."""
        return self.copy() if isinstance(other, int) and other == 0 else NotImplemented

    def _joined(self, other: Meter, sign: int) -> Meter:
        names = [field.name for field in fields(self) if field.name != "runs" and field.name[0] != "_"]
        told = Meter(**{name: getattr(self, name) + sign * getattr(other, name) for name in names})
        each, others = self.per_run, other.per_run
        if len(each) != len(others) and each.any() and others.any():
            each, others = each.sum()[None], others.sum()[None]
        elif len(each) != len(others):
            # One that has counted nothing has no runs of its own.
            ours = bool(each.any()) or (len(each) > len(others) and not others.any())
            each, others = (each, torch.zeros_like(each)) if ours else (torch.zeros_like(others), others)
        told.runs, told._some = len(each), each + sign * others
        return told


@dataclass(frozen=True)
class Budget:
    """How much one run may query, checked before answering.

    Attributes:
        queries: points of any kind per run, or None for no limit.

    Raises:
        InputError: for a budget below one query.
    """

    queries: int | None = None

    def __post_init__(self) -> None:
        queries = _checks.optional(_checks.whole, "budget", self.queries, do="It is counted in queries per run.")
        object.__setattr__(self, "queries", queries)

    def allows(self, meter: Meter, query: Query) -> Tensor | None:
        """Which runs may still query this, shape (B,); None for all of them."""
        if self.queries is None:
            return None
        return meter.per_run.to(query.points.device) + count(query) <= self.queries
