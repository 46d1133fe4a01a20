"""Cut and joined batches as a shortcut: what a loss averages over is found by splitting a batch, never assumed.

If the weighted losses of two parts give the loss of both, L does not depend on how the data are cut, and the library may
choose batches that are fast. Otherwise the batches that the user gave are part of the surface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from lossatlas._errors import LossAtlasError
from lossatlas.surface.network import _loss
from lossatlas.surface.network._data import Batch, join
from lossatlas.surface.network._objective import ModelObjective, Objective, Outcome
from lossatlas.surface.network._reference import Reference
from lossatlas.surface.network._shortcut import ROUNDINGS, SMALL, VALUES, Shortcut

Weight = Callable[[Batch], float]


@final
@dataclass(frozen=True)
class Averaging:
    """How the losses of batches make up L.

    Attributes:
        kind: ``mean``, Σ wᵦℓᵦ / Σ wᵦ however the data are cut; ``sum``, Σ ℓᵦ however they are cut; ``batches``, the
            weighted mean over the batches as they are.
        over: what the weight is, in words.
        weight: of a batch; None where the objective returns it.
        tested: whether a batch was split to find out.
        why: for ``batches``, what the split showed.
    """

    kind: Literal["mean", "sum", "batches"]
    over: str
    weight: Weight | None
    tested: bool = True
    why: str = ""


@final
class Cuts(Shortcut):
    """Batches other than the user's.

    Attributes:
        found: how batches make up L; set by the proof.
    """

    name: ClassVar[str] = "cutting or joining batches"
    queries: ClassVar[frozenset[str]] = frozenset({VALUES})

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = tuple(batches)
        self.found: Averaging | None = None

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """The weighted parts of a batch against the whole, at θ and where every parameter has another value."""
        objective = reference.objective
        batch = _telling(self._batches)
        if batch is None:
            over, weight = _untested(reference, self._batches[0])
            self.found = Averaging("mean", over, weight, tested=False)
            return ""
        low, high = _unlike_parts(batch)
        parts = (batch.rows(low), batch.rows(high), batch.rows(torch.cat([low, high])))
        try:
            seen = [reference.values(point, parts) for point in (reference.theta, None)]
        except LossAtlasError as error:
            over, weight = _untested(reference, self._batches[0])
            why = f"a part of a batch cannot be evaluated alone ({type(error.__cause__ or error).__name__})"
            self.found = Averaging("batches", over, weight, why=why)
            return why
        allowed = ROUNDINGS[VALUES][0] * max(torch.finfo(t.dtype).eps for t in (reference.theta, seen[0][0].loss))
        returned = seen[0][0].weight is not None
        weights = {"what the objective returns as its weight": None} if returned else _weights(objective, batch)
        for over, weight in weights.items():
            if all(_agree(outcomes, parts, weight, allowed) for outcomes in seen):
                self.found = Averaging("mean", over, weight)
                return ""
        if not returned and all(_adds_up(outcomes, allowed) for outcomes in seen):
            self.found = Averaging("sum", "examples", size)
            return ""
        one, two, both = (float(outcome.loss) for outcome in seen[0])
        why = (
            f"the loss of {parts[2].size} examples is {both:.5g}, of two parts of them {one:.5g} and {two:.5g}, and no "
            "weights make a mean of these"
        )
        weight = None if returned else size
        self.found = Averaging("batches", "examples", weight, why=why)
        return why


def _agree(outcomes: Sequence[Outcome], parts: Sequence[Batch], weight: Weight | None, allowed: float) -> bool:
    pairs = [
        ((o.weight or 0.0) if weight is None else weight(part), float(o.loss.double()))
        for o, part in zip(outcomes, parts, strict=True)
    ]
    (w, one), (v, two), (both, whole) = pairs
    if not abs(w + v - both) <= 1e-9 * max(both, 1e-300):
        return False
    sizes = [weight * abs(loss) for weight, loss in pairs if weight]
    off = w * one * (w > 0) + v * two * (v > 0) - both * whole if w and v else 0.0
    if w and not v:
        off = w * (one - whole)
    elif v and not w:
        off = v * (two - whole)
    return abs(off) <= allowed * max(sizes, default=0.0) or off != off


def _adds_up(outcomes: Sequence[Outcome], allowed: float) -> bool:
    one, two, whole = (float(outcome.loss.double()) for outcome in outcomes)
    return abs(one + two - whole) <= allowed * max(abs(one), abs(two), abs(whole))


def _weights(objective: Objective, batch: Batch) -> dict[str, Weight | None]:
    """What the loss may average over, the most specific first: where a batch cannot tell them apart, that one is taken."""
    found: dict[str, Weight | None] = {}
    if objective.weigh(batch) is not None:
        found["what the loss averages over"] = _Known(objective)
    target = batch.target
    for over, weigh in reversed(_loss.candidates(target).items()):
        # A causal language model predicts each token from those before it; any other loss rarely shifts its labels.
        if over == "tokens that are predicted" and not isinstance(objective, ModelObjective):
            continue
        if over == "entries of the targets" and not target.is_floating_point():
            continue
        found[over] = _OfTarget(weigh)
    return found


def size(batch: Batch) -> float:
    """One for each example."""
    return float(batch.size)


@dataclass(frozen=True)
class _Known:
    objective: Objective

    def __call__(self, batch: Batch) -> float:
        return self.objective.weigh(batch) or 0.0


@dataclass(frozen=True)
class _OfTarget:
    weigh: _loss.Weigh

    def __call__(self, batch: Batch) -> float:
        return self.weigh(batch.target, batch.size)


def _untested(reference: Reference, batch: Batch) -> tuple[str, Weight | None]:
    """What a loss is taken to average over where no batch can be split to see."""
    if reference.weight(batch) is not None:
        return "what the objective returns as its weight", None
    weights = _weights(reference.objective, batch)
    sure = reference.objective.weigh(batch) is not None or isinstance(reference.objective, ModelObjective)
    return next(iter(weights.items())) if sure else ("examples", size)


def _telling(batches: Sequence[Batch]) -> Batch | None:
    """A batch that can be split: the first one in which labels differ in number from row to row, else the first one."""
    cuttable = [batch for batch in batches if batch.rows_known and batch.size > 1]
    if not cuttable:
        joined = join(batches[: 2 * SMALL]) if len(batches) > 1 and all(b.rows_known for b in batches) else None
        return joined if joined is not None and joined.size > 1 else None
    return next((batch for batch in cuttable if bool((_counts(batch) != _counts(batch)[0]).any())), cuttable[0])


def _counts(batch: Batch) -> Tensor:
    """How many labels of each row are not ignored, (size,)."""
    target = batch.target
    if not isinstance(target, Tensor) or target.ndim == 0 or len(target) != batch.size or target.is_floating_point():
        return torch.zeros(batch.size)
    if target.layout is not torch.strided:
        return torch.zeros(batch.size)
    return (target.reshape(batch.size, -1) != _loss.IGNORED).sum(1)


def _unlike_parts(batch: Batch) -> tuple[Tensor, Tensor]:
    """Two parts of a batch that are as unlike as its targets allow, of different sizes: equal ones hide a weight."""
    target, key = batch.target, torch.arange(batch.size, dtype=torch.float64)
    if isinstance(target, Tensor) and target.layout is torch.strided and target.ndim > 0 and len(target) == batch.size:
        rows = target.detach().reshape(batch.size, -1)
        lengths = rows.abs().double().mean(1)
        key = _counts(batch).double().cpu() * 1e6 + lengths.cpu().nan_to_num()
    order = key.argsort(stable=True)
    few, many = max(1, min(SMALL, batch.size) // 3), max(1, min(SMALL, batch.size) * 2 // 3)
    device = target.device if isinstance(target, Tensor) else None
    return order[:few].sort().values.to(device), order[-min(many, batch.size - few) :].sort().values.to(device)
