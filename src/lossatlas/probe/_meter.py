"""The bill: what was asked, by kind, and what an asker may still ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas.probe._queries import Gradients, Products, Query, Values, count


@dataclass(frozen=True)
class Exchange:
    """One price list for all families: how many values a gradient or a Hessian product is worth.

    A reverse sweep costs about two forward ones beside its own, a product about two gradients.
    """

    value: float = 1.0
    gradient: float = 3.0
    product: float = 6.0


@dataclass
class Meter:
    """What one asker was billed, over all its runs.

    A gradient brings its value along and is billed as one gradient.

    Attributes:
        calls: queries answered, each for many runs at once.
        values: points whose loss was asked for.
        gradients: points whose gradient was asked for.
        products: Hessian-vector products.
        examples: examples read for all of these; 0 on a surface without data.
        proof_examples: examples read by the surface to prove that its shortcuts equal it; not among the others.
        recalled: points whose loss a ledger knew already; they are not among the values.
        confirmed: points that a ledger knew and that were evaluated again when a run was resumed, to see that it is still
            of the same surface; they are not among the values or the recalled.
        surface_seconds: spent answering; shared in proportion where one answer served several askers.
        algorithm_seconds: spent by the asker itself.
        runs: how many runs there are.
        per_run: queries billed to each run, shape (B,), recalled ones among them.
    """

    calls: int = 0
    values: int = 0
    gradients: int = 0
    products: int = 0
    examples: int = 0
    proof_examples: int = 0
    recalled: int = 0
    confirmed: int = 0
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
        """Points asked for, of any kind."""
        return self.values + self.gradients + self.products

    @property
    def seconds(self) -> float:
        """Surface and algorithm together."""
        return self.surface_seconds + self.algorithm_seconds

    def cost(self, exchange: Exchange | None = None) -> float:
        """All queries in units of one value."""
        e = exchange or Exchange()
        return e.value * (self.values + self.confirmed) + e.gradient * self.gradients + e.product * self.products

    def bill(self, query: Query, rows: Tensor | None, examples: int, recalled: int = 0) -> None:
        """Add one answered query.

        Args:
            query: what was answered.
            rows: (B,) which runs of it were answered, or None for all.
            examples: examples behind one full value of the surface.
            recalled: how many of its points were not asked, since a ledger knew them.
        """
        each = count(query)
        if rows is None:
            points = each * query.points.shape[0]
            self._every += each
        else:
            points = each * int(rows.sum())
            billed = each * rows.cpu()
            self._some = billed if self._some is None else self._some + billed
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

    def add(self, other: Meter) -> None:
        """Put another bill on this one; which run it was for is not kept."""
        for name in ("calls", "values", "gradients", "products", "examples", "proof_examples", "recalled", "confirmed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.surface_seconds += other.surface_seconds
        self.algorithm_seconds += other.algorithm_seconds

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "calls": self.calls,
            "values": self.values,
            "gradients": self.gradients,
            "products": self.products,
            "examples": self.examples,
            "proof_examples": self.proof_examples,
            "recalled": self.recalled,
            "confirmed": self.confirmed,
            "cost": self.cost(),
            "surface_seconds": self.surface_seconds,
            "algorithm_seconds": self.algorithm_seconds,
        }


@dataclass(frozen=True)
class Budget:
    """How much one run may ask, checked before answering.

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
        """Which runs may still ask this, shape (B,); None for all of them."""
        if self.queries is None:
            return None
        return meter.per_run.to(query.points.device) + count(query) <= self.queries
