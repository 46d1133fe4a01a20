"""What there is to read at the points of a path: loss and error on train and test, example by example where it can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, NotApplicableError
from lossatlas.connect._endpoints import End
from lossatlas.connect.symmetry._repair import Repair
from lossatlas.connect.symmetry._specification import Specification
from lossatlas.probe import Meter, Probe, Values
from lossatlas.surface import NetworkSurface, StateSurface, Surface, need_surface

Array = NDArray[np.float64]
Statistics = Literal["reset", "stale", "repair"]

STATISTICS = {
    "reset": "batch-norm statistics re-estimated at every t",
    "stale": "batch-norm statistics interpolated between the ends, not re-estimated",
    "repair": "means and deviations of hidden units put back to those of the ends at every t (REPAIR, Jordan et al. 2023)",
}


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """What was read at B points.

    Attributes:
        loss: (B,).
        error: (B,) share of examples that are wrong, or None.
        losses: (B, E) by example, or None.
        wrong: (B, E) whether each example is wrong, or None.
    """

    loss: Array
    error: Array | None = None
    losses: Array | None = None
    wrong: Array | None = None

    @classmethod
    def joined(cls, parts: list[Rows], order: NDArray[np.intp]) -> Rows:
        """Several readings as one, in an order."""

        def join(name: str) -> Array | None:
            found = [getattr(part, name) for part in parts]
            return None if found[0] is None else np.concatenate(found)[order]

        loss = join("loss")
        assert loss is not None
        return cls(loss, join("error"), join("losses"), join("wrong"))


@final
class Readout:
    """Evaluates what is drawn of a path.

    Args:
        surface: the training surface; re-estimation uses its data.
        test: a surface of the same model on other data, or None.
        ends: the end points, whose statistics are interpolated in the mode ``stale``.
        statistics: ``reset``, ``stale`` or ``repair``; the first two without effect where there is no batch norm.
        spec: of permutations, which tells ``repair`` what the hidden units are; found where it is None.

    Attributes:
        norm: whether there is batch norm whose statistics matter.
        examples: behind a loss; 0 where there are none.
        tells_error: whether errors will be told beside losses.
        why_not: why there are no losses by example, or None.

    Raises:
        InputError: if the test surface is of another model.
        UnknownNameError: for another mode.
    """

    def __init__(
        self,
        surface: Surface,
        test: Surface | None,
        ends: tuple[End, End],
        statistics: Statistics = "reset",
        spec: Specification | None = None,
    ) -> None:
        _checks.one_of("treatment of batch-norm statistics", statistics, STATISTICS)
        if test is not None:
            need_surface(test, "test")
        if test is not None and _shapes(test) != _shapes(surface):
            raise InputError(
                f"the test surface {test.name!r} has other parameters ({test.dimension:,}) than the training surface "
                f"({surface.dimension:,}); expected the same model on other data."
            )
        self.ends, self.statistics = ends, statistics
        self.norm = len(ends[0].statistics) > 0
        self.why_not: str | None = None if isinstance(surface, NetworkSurface) else "there are no examples behind it"
        self._train, self._test = _probe(surface), None if test is None else _probe(test)
        self.examples = self._train.surface.examples
        states = self._train.surface
        self.tells_error = isinstance(states, StateSurface) and states.tells_accuracy
        self._measure = (
            Probe(StateSurface(surface, measure=True)) if self.norm and isinstance(surface, NetworkSurface) else None
        )

        self._repair: Repair | None = None
        if statistics == "repair":
            if not isinstance(surface, NetworkSurface):
                raise NotApplicableError(f"{surface.name} has no hidden units to repair. Leave statistics out.")
            self._repair = Repair(surface, ends, spec or Specification.traced(StateSurface(surface)))

    @property
    def changes(self) -> bool:
        """Whether what is read at φ(t) is more than L(φ(t)): statistics or gains move with t."""
        return self.norm or self._repair is not None

    @property
    def meters(self) -> list[Meter]:
        """What it cost so far."""
        own = [probe.meter for probe in (self._train, self._test, self._measure) if probe is not None]
        return own + ([] if self._repair is None else self._repair.meters)

    def states(self, t: Array, thetas: Tensor) -> Tensor:
        """Points θ (B, N) with their statistics, (B, N + S)."""
        if not self.changes:
            return thetas
        a, b = (end.statistics for end in self.ends)
        share = torch.from_numpy(t).to(thetas.device, thetas.dtype)[:, None]
        stale = torch.cat([thetas, (1 - share) * a + share * b], 1)
        if self._repair is not None:
            return torch.stack(
                [self._repair.at((1 - float(x), float(x)), state) for x, state in zip(t, stale, strict=True)]
            )
        return stale if self.statistics == "stale" else self.renewed(stale)

    def renewed(self, states: Tensor) -> Tensor:
        """Points with their statistics (B, N + S), these re-estimated where there are any."""
        if self._measure is None:
            return states
        measured = self._measure.evaluate(Values(states)).extras["statistics"].to(states)
        return torch.cat([states[:, : states.shape[1] - measured.shape[1]], measured], 1)

    def read(self, t: Array, thetas: Tensor) -> tuple[Rows, Rows | None]:
        """Train and test at points (B, N) of the path at t (B,)."""
        return self.read_states(self.states(t, thetas))

    def read_states(self, states: Tensor) -> tuple[Rows, Rows | None]:
        """Train and test at points with their statistics, (B, N + S)."""
        return self._rows(self._train, states), None if self._test is None else self._rows(self._test, states)

    def _rows(self, probe: Probe, states: Tensor) -> Rows:
        try:
            answer = probe.evaluate(Values(states))
        except NotApplicableError as refusal:
            if not isinstance(probe.surface, StateSurface):
                raise
            # No losses by example: the profile itself can still be evaluated.
            self.why_not = str(refusal)
            probe.surface = StateSurface(probe.surface.base)
            answer = probe.evaluate(Values(states))
        return rows_of(answer.values, answer.extras)


def rows_of(values: Tensor, told: Mapping[str, Tensor]) -> Rows:
    """What was read of B points, from their losses (B,) and what a `StateSurface` tells beside them."""
    extras = {name: channel.double().cpu().numpy() for name, channel in told.items()}
    error = 1 - extras["accuracy"] if "accuracy" in extras else None
    wrong = 1 - extras["right"] if "right" in extras else None
    return Rows(values.cpu().numpy(), error, extras.get("losses"), wrong)


def _probe(surface: Surface) -> Probe:
    return Probe(StateSurface(surface, examples=True) if isinstance(surface, NetworkSurface) else surface)


def _shapes(surface: Surface) -> list[tuple[str, tuple[int, ...]]]:
    return [(block.name, block.shape) for block in surface.layout.blocks]
