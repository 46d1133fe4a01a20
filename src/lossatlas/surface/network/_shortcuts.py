"""The shortcuts of any network: private copies, threads, one pass for several points, calls with other tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import Tensor, nn

from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._keeper import same
from lossatlas.surface.network._lockstep import lockstep
from lossatlas.surface.network._objective import OutputObjective
from lossatlas.surface.network._proof import Proofs
from lossatlas.surface.network._randomness import draws
from lossatlas.surface.network._reference import Reference
from lossatlas.surface.network._rewriting import rewriting
from lossatlas.surface.network._scene import Scene
from lossatlas.surface.network._shortcut import GRADIENTS, PRODUCTS, VALUES, Shortcut, compared, unpoisoned

if TYPE_CHECKING:
    from lossatlas.surface.network._evaluation import Evaluation


class _OnScene(Shortcut):
    """A shortcut that is proven by doing on one small batch what it will do on all data.

    Args:
        scene: what is evaluated.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def _small(self, reference: Reference, small: tuple[Batch, ...]) -> Evaluation:
        from lossatlas.surface.network._evaluation import Evaluation

        return Evaluation(self._scene.on(small), Proofs(reference, small))

    def _rewriting(self, evaluation: Evaluation) -> str:
        """What the model's code does that a transform of it does not survive; looked at once."""
        evaluation.ready(1)
        copies = self._scene.copies
        if copies.rewriting is None:
            point = self._pair(self._scene.reference)[:1]
            copies.rewriting = rewriting(lambda: evaluation.copied_values(0, point))
        return copies.rewriting

    def _pair(self, reference: Reference) -> list[Tensor]:
        """θ itself and a point where every parameter has another value; with their statistics where these are free."""
        points = [reference.theta, reference.moved()]
        own = self._scene.statistics.own
        if not self._scene.free or own is None:
            return points
        return [torch.cat([points[0], own]), torch.cat([points[1], 1.1 * own + 0.01])]

    def _points(self, reference: Reference) -> Tensor:
        """Both in one matrix, (2, N)."""
        return torch.stack(self._pair(reference))

    def _values(self, reference: Reference, small: tuple[Batch, ...], found: Tensor) -> str:
        """What differs between values (2, 2), losses and hits of both points, and the reference's."""
        if self._scene.free:
            expected = self._small(reference, small).reference_values(self._points(reference))
        else:
            outcomes = reference.at_both(small)
            losses, hits = ([getattr(o, name).double() for o in outcomes] for name in ("loss", "hits"))
            expected = torch.stack([torch.stack(losses), torch.stack(hits)])
        return compared(list(found[0]), list(expected[0]), VALUES, reference.theta.dtype) or compared(
            list(found[1]), list(expected[1]), VALUES, torch.bfloat16
        )

    def _gradients(self, reference: Reference, small: tuple[Batch, ...], found: tuple[Tensor, Tensor]) -> str:
        """What differs between losses and gradients at both points and the reference's."""
        values, gradients = found
        dtype, own = reference.theta.dtype, reference.layout.dimension
        expected = []
        for point in self._points(reference):
            statistics = point[own:] if self._scene.free else None
            expected.append(reference.gradient(point[:own], small, (1.0,), statistics))
        wrong = compared(
            list(values), [torch.tensor(value, dtype=torch.float64) for value, _ in expected], VALUES, dtype
        )
        return wrong or compared(list(gradients[:, :own]), [one for _, one in expected], GRADIENTS, dtype)


@final
class PrivateCopy(_OnScene):
    """A deep copy whose parameters are views into one vector, so that moving it is one copy of θ."""

    name: ClassVar[str] = "a private copy of the model"
    queries: ClassVar[frozenset[str]] = frozenset({VALUES})

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """Its values, while the user's model holds NaN: a loss that reads the user's model shows it.

        Where threads may be used, two copies take turns at it, which saves evaluating them once more for that proof.
        """
        evaluation, points = self._small(reference, small), self._pair(reference)
        # A sequence of layers is mostly read as a chain, which needs one copy and no threads of its own.
        if evaluation.abreast(2) > 1 and type(reference.model) is not nn.Sequential:
            # What fails between two threads may still do alone.
            with suppress(Exception):
                both = together(evaluation, reference, points)
                if both is not None and not self._values(reference, small, both):
                    self._scene.copies.agreed = both
                    return ""
        evaluation.ready(1)
        with reference.poisoned():
            found = evaluation.copied_values(0, points)
        return self._values(reference, small, found)


@final
class Threads(_OnScene):
    """Private copies side by side on threads."""

    name: ClassVar[str] = "evaluation on several threads"
    queries: ClassVar[frozenset[str]] = frozenset({VALUES})

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """The bits of two threads that take turns after every operation, against those of one."""
        evaluation, points = self._small(reference, small), self._pair(reference)
        evaluation.ready(1)
        if draws(lambda: evaluation.copied_values(0, points[:1])):
            return "the model or loss draws from a global random generator, which threads share"
        both = self._scene.copies.agreed
        if both is None:
            both = together(evaluation, reference, points)
        if both is not None:
            if not self._scene.free:
                losses = torch.stack([outcome.loss.double() for outcome in reference.at_both(small)])
                if same(both[0], losses):
                    return ""
            evaluation.ready(1)
            objective = evaluation.scene.copies.objective
            checking = objective.checking() if isinstance(objective, OutputObjective) else nullcontext()
            with one_thread(), torch.no_grad(), checking:
                if same(evaluation.copied_values(0, points), both):
                    return ""
        return "two threads give other numbers than one: the model or loss keeps something outside of itself"


def together(evaluation: Evaluation, reference: Reference, points: list[Tensor]) -> Tensor | None:
    """Values (2, 2) of two copies that take turns at both points, in opposite order; None where the copies disagree."""
    evaluation.ready(2)
    objective = evaluation.scene.copies.objective
    checking = objective.checking() if isinstance(objective, OutputObjective) else nullcontext()
    # Turned around outside: both have to do the same operations in step, or one may never meet what the other left.
    orders = (points, points[::-1])
    with one_thread(), reference.poisoned(), checking:
        one, two = lockstep([lambda w=w: evaluation.copied_values(w, orders[w]) for w in range(2)])  # type: ignore[misc]
    return one if same(one, two.flip(1)) else None


@contextmanager
def one_thread() -> Iterator[None]:
    """Kernels of one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@final
class OnePass(_OnScene):
    """Several points in one vectorized pass."""

    name: ClassVar[str] = "one vectorized pass for several points"
    queries: ClassVar[frozenset[str]] = frozenset({VALUES, GRADIENTS})

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """Its values or gradients at both points at once, while both models hold NaN."""
        evaluation = self._small(reference, small)
        if why := self._rewriting(evaluation):
            return why
        points = self._points(reference)
        with reference.poisoned(), unpoisoned(self._scene.copies.first[1]):
            if query == GRADIENTS:
                found = evaluation.vmap_gradients(points)
            else:
                rows = torch.stack(evaluation.vmap_values(points))
        return self._gradients(reference, small, found) if query == GRADIENTS else self._values(reference, small, rows)


@final
class Functional(_OnScene):
    """The private copy called with other tensors in the place of its parameters, and differentiated by these."""

    name: ClassVar[str] = "a functional call of a private copy"
    queries: ClassVar[frozenset[str]] = frozenset({GRADIENTS, PRODUCTS})

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """Its gradients, or one Hessian product at each point, while both models hold NaN."""
        evaluation = self._small(reference, small)
        evaluation.ready(1)
        points, flat = self._points(reference), self._scene.copies.first[1]
        if self._scene.statistics.recomputes:
            return self._measured(reference, evaluation, points, query)
        if query == GRADIENTS:
            with reference.poisoned(), unpoisoned(flat):
                found = evaluation.loop_gradients(points)
            return self._gradients(reference, small, found)
        vector = torch.randn(1, points.shape[1], generator=torch.Generator().manual_seed(0)).to(points)
        vector[:, reference.layout.dimension :] = 0
        with reference.poisoned(), unpoisoned(flat):
            products = [evaluation.products(point, vector)[0] for point in points]
        own = reference.layout.dimension
        expected = []
        for p in points:
            statistics = p[own:] if self._scene.free else None
            expected.append(reference.products(p[:own], vector[:, :own], small, (1.0,), statistics)[0])
        return compared([p[:own] for p in products], expected, PRODUCTS, reference.theta.dtype)

    def _measured(self, reference: Reference, evaluation: Evaluation, points: Tensor, query: str) -> str:
        """Through statistics measured at θ the reference knows no gradient: differences of its values stand in."""
        generator = torch.Generator().manual_seed(0)
        vector = torch.randn(points.shape[1], generator=generator).to(points)
        vector = vector / vector.norm()
        with reference.poisoned():
            if query == PRODUCTS:
                found = [evaluation.products(point, vector[None])[0].to(points) @ vector for point in points]
            else:
                found = list(evaluation.loop_gradients(points)[1] @ vector)
        dtype = points.dtype
        step = torch.finfo(dtype).eps ** (0.25 if query == PRODUCTS else 1 / 3) * (1 + points[0].norm())
        ends = torch.cat([points + step * vector, points, points - step * vector])
        above, middle, below = evaluation.reference_values(ends)[0].view(3, 2)
        second = (above - 2 * middle + below) / step.double() ** 2
        expected = second if query == PRODUCTS else (above - below) / (2 * step.double())
        allowed = 0.2 * float(expected.abs().max()) + 1e3 * float(step) ** 2 * float(middle.abs().max())
        off = float((torch.stack(found).double() - expected).abs().max())
        return "" if off <= allowed else f"it differs from differences of the model's own values by {off:.2g}"


@final
class Rows(_OnScene):
    """Gradients of many rows, each over a mini-batch of its own, in one pass."""

    name: ClassVar[str] = "mini-batches in one pass"
    queries: ClassVar[frozenset[str]] = frozenset({GRADIENTS})

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """Two rows, each over the small batch."""
        evaluation = self._small(reference, small)
        if why := self._rewriting(evaluation):
            return why
        chosen = torch.arange(small[0].size).repeat(2, 1)
        with reference.poisoned(), unpoisoned(self._scene.copies.first[1]):
            found = evaluation.row_gradients(self._points(reference), chosen)
        if found is None:
            return "the model cannot be vectorized over rows"
        return self._gradients(reference, small, found)


@final
class FoldedNorm(_OnScene):
    """A private copy whose convolutions do the work of the batch norms behind them."""

    name: ClassVar[str] = "folded batch norm"
    queries: ClassVar[frozenset[str]] = frozenset({VALUES})

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """Its values, while the user's model holds NaN."""
        evaluation = self._small(reference, small)
        evaluation.ready(1)
        with reference.poisoned():
            found = evaluation.copied_values(0, self._pair(reference))
        return self._values(reference, small, found)
