"""What is found out of a surface before anything is measured: that it stands still, and how batches make up its loss."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import DataError, LossAtlasError, LossError, ModelError
from lossatlas.surface._caption import Caption
from lossatlas.surface.network import _data, _determinism, _model
from lossatlas.surface.network._batchnorm import Statistics
from lossatlas.surface.network._cuts import Averaging, Cuts, size
from lossatlas.surface.network._data import Batch, Data
from lossatlas.surface.network._objective import Outcome, OutputObjective
from lossatlas.surface.network._reference import Reference
from lossatlas.surface.network._shortcut import SMALL, VALUES, Shortcut, compared


@final
@dataclass(frozen=True)
class Settled:
    """Batches and their shares, as they make up L.

    Attributes:
        batches: the data.
        shares: w_b / Σ w; for a loss that is a sum, 1.
        hit_shares: of each batch in the accuracy, or None without one.
        averaging: how batches make up L.
        loss: L at the model's own parameters.
        small: a small batch to prove shortcuts on.
        notes: sentences for the record.
        proof_examples: examples read to find this out, beside those of L itself.
        seconds: that one evaluation of L took.
    """

    batches: tuple[Batch, ...]
    shares: tuple[float, ...]
    hit_shares: tuple[float, ...] | None
    averaging: Averaging
    loss: float
    small: tuple[Batch, ...]
    notes: tuple[str, ...]
    proof_examples: int
    seconds: float

    @property
    def examples(self) -> int:
        """How many there are."""
        return sum(batch.size for batch in self.batches)

    @property
    def sentence(self) -> str:
        """What is evaluated, in words."""
        count = f"{self.examples:,} example{'s' if self.examples != 1 else ''} in {len(self.batches):,} batch"
        count += "es" if len(self.batches) != 1 else ""
        if self.averaging.kind == "sum":
            return f"the sum over {count}"
        if self.averaging.kind == "batches":
            return f"the mean over {count} that are part of the surface"
        return f"the mean over {count}, weighted by {self.averaging.over}"

    def of(self, batches: tuple[Batch, ...], reference: Reference) -> Settled:
        """The same loss over a part of the examples."""
        shares, hit_shares = _shares(batches, self.averaging, reference, self.examples)
        return replace(self, batches=batches, shares=shares, hit_shares=hit_shares)


@final
class NoGraph(Shortcut):
    """Values with gradients disabled."""

    name: ClassVar[str] = "evaluation without a graph"
    queries: ClassVar[frozenset[str]] = frozenset({VALUES})

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """The values without a graph against those with one."""
        found = [outcome.loss for outcome in reference.at_both(small)]
        reference.graph = True
        points = (reference.theta, None)
        expected = [reference.values(point, small)[0].loss for point in points]
        reference.graph = False
        return compared(found, expected, VALUES, reference.theta.dtype)


def settle(reference: Reference, given: Data, batch_size: int | None, statistics: Statistics, name: str) -> Settled:
    """Find out whether a surface stands still, and how its batches make up L.

    Raises:
        ModelError: if the loss is not a fixed function of θ.
        DataError: if the model does not run on the data, or they cannot be evaluated as one batch.
        LossError: if the loss is not one finite number.
    """
    by_batch = bool(statistics.layers) and statistics.mode in ("batch", "recompute")
    pieces = _pieces(given, batch_size, reference)
    first = next((batch for batch in pieces if reference.objective.weigh(batch) != 0), pieces[0])
    try:
        _stands_still(reference, first, name)
    except LossAtlasError:
        if not given.whole or len(pieces) == 1:
            raise
        # A model may be made for all rows at once, such as one with a graph among its buffers.
        pieces = given.batches
        first = pieces[0]
        _stands_still(reference, first, name)
    small = _small(reference, first)
    before = reference.evaluations
    notes = []
    trouble = _without_graph(reference, small)
    if trouble:
        notes.append(trouble)
    cuts = Cuts(given.batches if not given.whole else (given.batches[0],))
    if by_batch:
        averaging = Averaging("batches", "examples", size, why="batch norm normalizes each batch by itself")
    else:
        cuts.proves(reference, VALUES, small)
        assert cuts.found is not None
        averaging = cuts.found
    batches = pieces
    if averaging.kind == "batches":
        # The user's own batch_size is the user's choice where batches matter by a mode that was requested.
        batches = pieces if by_batch and batch_size is not None else given.batches
        if given.whole and batches is given.batches:
            _refuse_what_memory_forbids(reference, small[0], given.batches[0], averaging.why)
        if not by_batch:
            notes.append(Caption(_part_of_it(reference.objective.name, averaging, given, batch_size)))
    elif averaging.kind == "sum":
        what = f"the loss {reference.objective.name!r} is a sum over examples"
        notes.append(Caption(f"{what}: L is the sum over all data, however it is cut into batches"))
    elif not averaging.tested and len(batches) > 1:
        untested = (
            f"the batches cannot be split, so that what the loss {reference.objective.name!r} averages over was not tested: "
            f"they are weighted by {averaging.over} and are part of the surface"
        )
        notes.append(Caption(untested))
    proof_examples = (reference.evaluations - before) * min(first.size, SMALL)
    begin = time.perf_counter()
    outcomes = _all(reference, batches, by_batch)
    seconds = time.perf_counter() - begin
    shares, hit_shares = _shares(batches, averaging, reference, 0, outcomes)
    kept = [k for k, share in enumerate(shares) if share > 0]
    if len(kept) < len(batches):
        notes.append(
            f"{len(batches) - len(kept)} of {len(batches)} batches have a weight of 0, all labels ignored, and are left out"
        )
    batches = tuple(batches[k] for k in kept)
    shares = tuple(shares[k] for k in kept)
    hit_shares = None if hit_shares is None else tuple(hit_shares[k] for k in kept)
    loss = sum(float(outcomes[k].loss.double()) * share for k, share in zip(kept, shares, strict=True))
    if loss != loss:
        raise LossError("the loss over all data is NaN at the model's own parameters; check the data for NaN.")
    return Settled(batches, shares, hit_shares, averaging, loss, small, tuple(notes), proof_examples, seconds)


def _pieces(given: Data, batch_size: int | None, reference: Reference) -> tuple[Batch, ...]:
    """The data in batches of a size that is fast, unless they came in batches."""
    if not given.whole or not given.batches[0].rows_known:
        return given.batches
    (whole,) = given.batches
    if batch_size is None:
        batch_size = _model.batch_size(reference.model, reference.theta.device)
    if batch_size is None:
        batch_size = max(1, _data.ELEMENTS_PER_BATCH // whole.width)
    return _data.cut(whole, batch_size)


def _small(reference: Reference, first: Batch) -> tuple[Batch, ...]:
    """Some rows of the first batch, or all of it where the model takes no fewer."""
    if not first.rows_known or first.size <= SMALL:
        return (first,)
    small = first.rows(torch.arange(SMALL, device=_device(first)))
    try:
        reference.values(reference.theta, [small])
    except LossAtlasError:
        return (first,)
    return (small,)


def _stands_still(reference: Reference, first: Batch, name: str) -> None:
    """Refuse a moving target: evaluate twice, with other random numbers around, before anything is measured."""
    reference.clones = True
    try:
        one, moved = reference.check(first)
    except LossAtlasError as error:
        reference.graph = True
        try:
            one, moved = reference.check(first)
        except LossAtlasError:
            reference.graph = False
            raise error from error.__cause__
    reference.clones = reference.writes
    if moved:
        raise ModelError(
            f"the model {name!r} is not deterministic: running it changes {', '.join(moved[:4])}; expected the same loss "
            "for the same parameters. Call .eval() on the model and on what the loss reads, and remove what writes into "
            "parameters or buffers."
        )
    with _data.untouched_randomness(reference.theta.device):
        torch.manual_seed(20_231)
        np.random.seed(20_231)  # noqa: NPY002
        random.seed(20_231)
        two, _ = reference.check(first)
    loss, again = one.loss, two.loss
    if not bool(torch.isfinite(loss)):
        raise LossError(
            f"the loss at the model's own parameters is {float(loss)}; expected a finite number. Check the data for "
            "NaN, the loss, and that the checkpoint was loaded."
        )
    if not torch.equal(loss, again):
        _determinism.refuse(reference, first, float(loss), float(again), name)


def _without_graph(reference: Reference, small: tuple[Batch, ...]) -> str:
    """Let values be taken without a graph where that gives the same ones."""
    if reference.graph:
        return "values are taken with gradients enabled, since the model or loss differentiates in its forward"
    reason = NoGraph().proves(reference, VALUES, small)
    if not reason:
        return ""
    reference.graph = True
    reference.forget()
    return f"{NoGraph.name} is not used for {VALUES}: {reason}"


def _all(reference: Reference, batches: Sequence[Batch], by_batch: bool) -> list[Outcome]:
    try:
        return reference.values(reference.theta, batches)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        sizes = sorted({batch.size for batch in batches})
        raise DataError(
            f"batch norm cannot normalize a batch by itself that holds one value per channel, and the batches hold "
            f"{sizes} examples; expected at least two in each for batchnorm={reference.mode!r}. Choose a batch_size that "
            "leaves no single example over."
        ) from error


def _shares(
    batches: Sequence[Batch],
    averaging: Averaging,
    reference: Reference,
    of: int,
    outcomes: Sequence[Outcome] | None = None,
) -> tuple[tuple[float, ...], tuple[float, ...] | None]:
    """The share of each batch in L, and in the accuracy."""
    if averaging.kind == "sum":
        size = sum(batch.size for batch in batches)
        shares = [float(of or size) / size] * len(batches)
    else:
        if averaging.weight is None:
            outcomes = outcomes or reference.values(reference.theta, batches)
            weights = [outcome.weight or 0.0 for outcome in outcomes]
        else:
            weights = [averaging.weight(batch) for batch in batches]
        total = sum(weights)
        if not total > 0:
            raise LossError(
                f"the weights of all batches add up to {total:g}; expected more than 0, something that the loss "
                "averages over. Check that not all labels are ignored."
            )
        shares = [weight / total for weight in weights]
    return tuple(shares), _hit_shares(batches, reference)


def _hit_shares(batches: Sequence[Batch], reference: Reference) -> tuple[float, ...] | None:
    objective = reference.objective
    if not isinstance(objective, OutputObjective) or not all(objective.accurate(batch) for batch in batches):
        return None
    counts = [float(torch.count_nonzero(batch.target != objective.loss.ignored)) for batch in batches]
    total = sum(counts)
    return tuple(count / total for count in counts) if total else None


def _part_of_it(name: str, averaging: Averaging, given: Data, batch_size: int | None) -> str:
    how = "the whole data as one batch" if given.whole else f"the {len(given.batches):,} batches as they were given"
    size = f"; batch_size={batch_size} is not used" if given.whole and batch_size is not None else ""
    return (
        f"the loss {name!r} is no mean over examples, and the batches are part of the surface: it is evaluated on "
        f"{how}{size} ({averaging.why})"
    )


def _refuse_what_memory_forbids(reference: Reference, small: Batch, whole: Batch, why: str) -> None:
    free = _free_bytes()
    if whole.size <= 4 * small.size or free is None:
        return
    needed = reference.bytes_of(small) / small.size * whole.size
    if needed > free:
        raise DataError(
            f"the loss {reference.objective.name!r} has to be evaluated on all {whole.size:,} examples as one batch, since {why}; "
            f"that needs about {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free. Give the data as a DataLoader whose "
            "batches are to be part of the surface, fewer examples, or a loss that is a mean over examples."
        )


def _free_bytes() -> float | None:
    """What the machine says is available, or None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)


def _device(batch: Batch) -> torch.device | None:
    return next((leaf.device for leaf in batch.leaves() if isinstance(leaf, Tensor)), None)
