"""Losses and gradients of a network at many points: by the reference, or by the shortcuts that equal it here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from lossatlas._errors import InputError, NotApplicableError
from lossatlas._layout import Sample
from lossatlas.surface import _forks
from lossatlas.surface._frame import Frame
from lossatlas.surface._surface import THETA_BYTES
from lossatlas.surface._threads import same_algorithms, side_by_side, steadily, workers
from lossatlas.surface.network import _data
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._minibatch import Minibatches, draw, without_rules
from lossatlas.surface.network._objective import OutputObjective
from lossatlas.surface.network._products import HessianProducts, refuse_constant
from lossatlas.surface.network._proof import Proofs
from lossatlas.surface.network._scene import Pair, Scene
from lossatlas.surface.network._shortcut import GRADIENTS, PRODUCTS, VALUES
from lossatlas.surface.network._shortcuts import Functional, OnePass, PrivateCopy, Rows, Threads
from lossatlas.surface.network._tile import WIDTHS, Tile
from lossatlas.surface.network._twice import DoubleBackward
from lossatlas.surface.network._user_code import in_user_code

# Seconds of one evaluation above which every point is worth a thread.
SLOW = 2e-3

# Losses of batches that are summed up together.
TOGETHER = 4096


@final
class Evaluation:
    """Evaluates points over all data or over mini-batches, and remembers how that is done best.

    Batches are weighted by their shares; sums are float64.

    Args:
        scene: what is evaluated.
        proofs: which shortcuts may be used.
        alone: of another evaluation that uses the same copies.

    Attributes:
        alone: to be held while it is used: the copies are moved from point to point.
    """

    def __init__(self, scene: Scene, proofs: Proofs, alone: Any = None) -> None:
        self.scene, self.proofs, self._batches = scene, proofs, scene.batches
        self.alone = alone or _forks.lock()
        self._dimension = scene.layout.dimension
        self._device = scene.reference.theta.device
        self._completion = scene.completion()
        self._value_tile = Tile(self._looped, self.vmap_values, partial(proofs.holds, OnePass(scene), VALUES))
        self._gradient_tile = Tile(
            self.loop_gradients, self.vmap_gradients, partial(proofs.holds, OnePass(scene), GRADIENTS)
        )
        self.minibatches = Minibatches(self._whole, self._batches, scene)
        self._products: HessianProducts | None = None

    def __getstate__(self) -> dict[str, Any]:
        made_anew = ("alone", "_products", "_completion")
        return {name: value for name, value in vars(self).items() if name not in made_anew}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, alone=_forks.lock(), _products=None)
        self._completion = self.scene.completion()
        self.scene.copies.attach()

    @property
    def choice(self) -> int:
        """Points per forward pass: 1 for one by one, 0 as long as nothing was measured."""
        return self._value_tile.choice

    @property
    def products(self) -> HessianProducts:
        """Hessian products of a private copy."""
        if self._products is None:
            scene = self.scene
            if scene.statistics.recomputes:
                # Every loss depends on all data through the statistics: one graph over all of them.
                everything = Batch(None, scene.examples, False)
                self._products = HessianProducts(self._settled, scene.layout, (everything,), (1.0,), self._place)
            else:
                self._products = HessianProducts(self._named, scene.layout, self._batches, scene.shares, self._place)
        return self._products

    def copied(self) -> bool:
        """Whether values come from private copies."""
        return self.proofs.holds(PrivateCopy(self.scene), VALUES)

    def values(self, points: Tensor) -> Tensor:
        """Losses and shares of hits (2, B) at points (B, N), in whatever proven way is fastest."""
        if not self.copied():
            return self.reference_values(points)
        return torch.stack(self._value_tile(points, self._limit(points)))

    def steady(self, frame: Frame) -> Callable[[Tensor], Tensor]:
        """A function of coordinates (B, k) on a frame: losses and shares of hits (2, B), each with bits of its own.

        Points are taken one by one, side by side on threads with kernels of one thread.
        """

        def one(worker: int, point: Tensor) -> Tensor:
            theta = self.scene.copies.bound[worker][1][None, : self._dimension]
            return self.copied_values(worker, frame.points(point, out=theta[: len(point)]))

        def alone(_: int, points: Tensor) -> Tensor:
            return self.reference_values(frame.points(points))

        def read(coords: Tensor) -> Tensor:
            if not self.copied():
                with same_algorithms():
                    return torch.cat(steadily(alone, torch.split(coords, 1), 1), 1)
            threads = self.threads(self.abreast(len(coords)))
            self.ready(threads)
            with same_algorithms():
                return torch.cat(steadily(one, torch.split(coords, 1), threads), 1)

        return read

    def abreast(self, points: int) -> int:
        """How many threads read so many points steadily."""
        if self._device.type != "cpu":
            return 1
        return workers(points, 1, each=self._dimension * self.scene.reference.theta.element_size())

    def at_once(self, points: int) -> tuple[int, int, int]:
        """The most of so many points θ that are held, copies of the model that are bound, and passes that run, at a time."""
        held, threads = min(points, self._limit(self.scene.reference.theta)), self.abreast(points)
        widths = [width for width in WIDTHS if width <= held] if points >= 2 * sum(WIDTHS) else []
        return held, threads, max((threads, *widths))

    def threads(self, wanted: int) -> int:
        """So many threads where several give the bits of one, else one."""
        return wanted if wanted > 1 and self.proofs.holds(Threads(self.scene), VALUES) else 1

    def gradients(self, points: Tensor, sample: Sample | None = None) -> Pair:
        """Losses (B,) and gradients (B, N), over all data or over one mini-batch per row."""
        if sample is not None and self.minibatches.recorded(len(points), sample.size):
            # What was recorded draws no random numbers: saving their states would take as long as a small network.
            found = self._rows(points, sample)
            assert found is not None
            return found
        with _data.untouched_randomness(self._device):
            if sample is None:
                if self.proofs.holds(Functional(self.scene), GRADIENTS):
                    return self._gradient_tile(points, self._limit(points))
                return self.reference_gradients(points, self._batches, self.scene.shares)
            together = len(points) > 1 and self.minibatches.possible and not self.scene.statistics.recomputes
            if together and not self.proofs.holds(Rows(self.scene), GRADIENTS):
                together = self.minibatches.possible = False
            rows = self._rows(points, sample) if together else None
            if rows is not None:
                return rows
            return self._one_by_one(points, sample)

    def hessian_products(self, theta: Tensor, vectors: Tensor, sample: Sample | None = None) -> Tensor:
        """Hessian products (K, N) over all data, or over the examples of one mini-batch.

        Raises:
            NotApplicableError: if some part of the model cannot be differentiated twice.
        """
        batches, shares = self._batches, self.scene.shares
        if not self.proofs.holds(DoubleBackward(self.scene), PRODUCTS) and self.proofs.allowed:
            raise NotApplicableError(self.proofs.why(DoubleBackward.name))
        if sample is not None:
            batches, shares = self.drawn(sample.size, int(sample.seeds[0]))
        if not self.proofs.holds(Functional(self.scene), PRODUCTS):
            return self.scene.reference.products(theta, vectors, batches, shares)
        if sample is None:
            return self.products(theta, vectors)
        return HessianProducts(self._named, self.scene.layout, batches, shares, self._place)(theta, vectors)

    def drawn(self, size: int, seed: int) -> tuple[tuple[Batch, ...], tuple[float, ...]]:
        """The mini-batch of a seed, its examples in batches as the data have them, and the share of each."""
        chosen = self._chosen(size, torch.tensor([seed]))[0]
        parts, begin = [], 0
        for batch in self._batches:
            inside = chosen[(chosen >= begin) & (chosen < begin + batch.size)] - begin
            if len(inside):
                parts.append(batch.rows(inside.to(self._device)))
            begin += batch.size
        # Normalized by itself, a mini-batch is one batch, wherever its examples come from.
        joined = _data.join(parts) if len(parts) > 1 else None
        if joined is not None:
            return (joined,), (1.0,)
        weights = [self._weight(part) for part in parts]
        total = sum(weights) or 1.0
        return tuple(parts), tuple(weight / total for weight in weights)

    def reference_values(self, points: Tensor) -> Tensor:
        """Losses and shares of hits (2, B), by the user's own code."""
        scene, rows = self.scene, self._zeros(2, len(points))
        shares = torch.tensor(scene.shares, dtype=torch.float64)
        hit_shares = torch.tensor(scene.hit_shares or (0.0,) * len(self._batches), dtype=torch.float64)
        own = scene.reference.layout.dimension
        for b, point in enumerate(points):
            outcomes = scene.reference.values(point[:own], self._batches, point[own:] if scene.free else None)
            rows[0, b] = sum(o.loss.double() * s for o, s in zip(outcomes, shares, strict=True))
            rows[1, b] = sum(o.hits.double() * s for o, s in zip(outcomes, hit_shares, strict=True))
        return rows

    def reference_gradients(self, points: Tensor, batches: Sequence[Batch], shares: Sequence[float]) -> Pair:
        """Losses and gradients by the user's own code and a plain backward pass.

        Raises:
            NotApplicableError: where running statistics are coordinates, which a backward pass does not reach.
        """
        if self.scene.free:
            raise NotApplicableError(
                "gradients along running statistics need a private copy of the model, and there is none that equals it; take "
                "batchnorm='frozen'."
            )
        values, gradients = self._zeros(len(points)), torch.empty_like(points)
        for b, point in enumerate(points):
            value, gradient = self.scene.reference.gradient(point, batches, shares)
            values[b] = value
            gradients[b] = gradient
        return values, gradients

    def _looped(self, points: Tensor) -> Pair:
        rows = self.loop_values(points)
        return rows[0], rows[1]

    def loop_values(self, points: Tensor) -> Tensor:
        """Losses and shares of hits (2, B), one point after another on each thread."""
        # A thread is worth its start for one point that takes long, or for a few that do not.
        each = 1 if self.scene.seconds > SLOW else 4
        threads = self.threads(workers(len(points), each) if self._device.type == "cpu" else 1)
        self.ready(threads)
        return torch.cat(side_by_side(self.copied_values, points.tensor_split(threads)), 1)

    def vmap_values(self, points: Tensor) -> Pair:
        """Losses and shares of hits, all points in one pass."""
        rows = self._zeros(2, len(points))
        self.ready(1)
        wholes = self._completion.many(points)
        for k, batch in enumerate(self._batches):
            with without_rules():
                loss, hits = vmap(lambda whole, batch=batch: self._whole(whole, batch))(wholes)
            self._count(rows, k, loss.detach(), hits.detach())
        return rows[0], rows[1]

    def loop_gradients(
        self, points: Tensor, batches: Sequence[Batch] | None = None, shares: Sequence[float] | None = None
    ) -> Pair:
        """Losses and gradients, one point after another, the copy called with other tensors."""
        batches = self._batches if batches is None else batches
        shares = self.scene.shares if shares is None else shares
        self.ready(1)
        values, gradients = self._zeros(len(points)), self._zeros(*points.shape)
        for b, point in enumerate(points):
            with torch.no_grad():
                whole = self._completion.one(point)
            whole = whole.detach().requires_grad_()
            gradient = self._zeros(*whole.shape)
            for k, (batch, share) in enumerate(zip(batches, shares, strict=True)):
                with torch.enable_grad(), in_user_code(batch, k, len(batches), partial(self._place, point)):
                    loss = self._whole(whole, batch)[0]
                    refuse_constant(loss)
                    (part,) = torch.autograd.grad(loss, whole)
                values[b] += loss.detach().double() * share
                gradient += part.double() * share
            gradients[b] = self._completion.back(point, gradient)
        return values, gradients.to(points.dtype)

    def vmap_gradients(self, points: Tensor) -> Pair:
        """Losses and gradients, all points in one pass."""
        values = self._zeros(len(points))
        self.ready(1)
        with torch.no_grad():
            wholes = self._completion.many(points)
        gradients = self._zeros(*wholes.shape)
        for batch, share in zip(self._batches, self.scene.shares, strict=True):
            both = vmap(grad_and_value(lambda whole, batch=batch: self._whole(whole, batch)[0]))
            with without_rules():
                gradient, loss = both(wholes)
            values += loss.detach().double() * share
            gradients += gradient.double() * share
        return values, self._completion.back_many(points, gradients).to(points.dtype)

    def copied_values(self, worker: int, points: Tensor | Sequence[Tensor]) -> Tensor:
        """Losses and shares of hits (2, B) by one private copy, one point after another."""
        rows, flat = self._zeros(2, len(points)), self.scene.copies.bound[worker][1]
        losses: list[Tensor] = []
        hits: list[Tensor] = []
        for b, theta in enumerate(points):
            with torch.no_grad():
                self._completion.settle(worker, flat, theta)
            for k, batch in enumerate(self._batches):
                with in_user_code(batch, k, len(self._batches), partial(self._place, theta)):
                    loss, hit = self.scene.forward(batch, worker)
                losses.append(loss)
                hits.append(hit)
            if len(losses) >= TOGETHER or b == len(points) - 1:
                done = slice(b + 1 - len(losses) // len(self._batches), b + 1)
                rows[0, done] = _summed(losses, self.scene.shares)
                if self.scene.hit_shares is not None:
                    rows[1, done] = _summed(hits, self.scene.hit_shares)
                losses, hits = [], []
        return rows

    def outputs(self, worker: int, theta: Tensor, half: torch.dtype | None = None) -> list[Tensor]:
        """By batch, what the loss compares with the targets at θ, by one private copy; in half precision where given.

        Raises:
            NotApplicableError: if it is no tensor with a row for each example.
        """
        scene, found = self.scene, []
        whole, flat = scene.copies.bound[worker]
        objective = scene.reference.objective
        with torch.no_grad():
            self._completion.settle(worker, flat, theta)
        for k, batch in enumerate(self._batches):
            fresh = batch.fresh(scene.reference.clones)
            place = self._place(theta)
            grad = torch.set_grad_enabled(scene.reference.graph)
            precision = scene.precision() if half is None else torch.autocast(theta.device.type, half)
            with in_user_code(batch, k, len(self._batches), place), precision, grad:
                output = objective.output(whole.inner, fresh, checked=half is None)
            if not isinstance(output, Tensor) or output.ndim == 0 or not output.is_floating_point():
                raise NotApplicableError(f"the model puts out {type(output).__name__}, not a tensor of numbers")
            if isinstance(objective, OutputObjective) and batch.rows_known and len(output) != batch.size:
                raise NotApplicableError(f"the model puts out {len(output)} rows for {batch.size} examples")
            found.append(output.detach())
        return found

    def ready(self, threads: int) -> None:
        """Have so many private copies."""
        self.scene.copies.ready(threads)
        self._completion.ready(self.scene.copies.bound)

    def row_gradients(self, points: Tensor, chosen: Tensor) -> Pair | None:
        """Losses and gradients of rows, each over its own examples (B, size), in one pass; None where not possible."""
        self.ready(1)
        with torch.no_grad():
            wholes = self._completion.many(points)
        found = self.minibatches(wholes, chosen)
        if found is None:
            return None
        losses, gradients = found
        return losses.double(), self._completion.back_many(points, gradients.detach()).to(points.dtype)

    def _count(self, rows: Tensor, batch: int, loss: Tensor, hits: Tensor) -> None:
        rows[0] += loss.double() * self.scene.shares[batch]
        if self.scene.hit_shares is not None:
            rows[1] += hits.double() * self.scene.hit_shares[batch]

    def _rows(self, points: Tensor, sample: Sample) -> Pair | None:
        return self.row_gradients(points, self._chosen(sample.size, sample.seeds))

    def _one_by_one(self, points: Tensor, sample: Sample) -> Pair:
        fast = self.proofs.holds(Functional(self.scene), GRADIENTS)
        evaluate = self.loop_gradients if fast else self.reference_gradients
        rows = [
            evaluate(point[None], *self.drawn(sample.size, int(seed)))
            for point, seed in zip(points, sample.seeds, strict=True)
        ]
        values, gradients = (torch.cat(parts) for parts in zip(*rows, strict=True))
        return values, gradients

    def _weight(self, part: Batch) -> float:
        known = self.scene.reference.objective.weigh(part)
        if known is None:
            known = self.scene.reference.weight(part)
        return float(part.size) if known is None else known

    def _chosen(self, size: int, seeds: Tensor) -> Tensor:
        examples = self.scene.examples
        if not 1 <= size <= examples:
            raise InputError(f"got a mini-batch of {size} of {examples} examples; expected 1 to {examples}.")
        return draw(size, seeds, examples)

    def _whole(self, whole: Tensor, batch: Batch) -> Pair:
        return self.scene.at(self._completion.split(whole), batch)

    def _named(self, tensors: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return self.scene.at(self._completion.named(tensors), batch)[0]

    def _settled(self, tensors: Mapping[str, Tensor], _: Batch) -> Tensor:
        self.ready(1)
        whole = self._completion.one(torch.cat([part.reshape(-1) for part in tensors.values()]))
        parts = [self._whole(whole, batch)[0] * s for batch, s in zip(self._batches, self.scene.shares, strict=True)]
        return torch.stack(parts).sum()

    def _place(self, point: Tensor) -> str:
        return self.scene.reference.place(point)

    def _limit(self, points: Tensor) -> int:
        """Points at once within `THETA_BYTES`."""
        return max(1, THETA_BYTES // (self._dimension * points.element_size()))

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self._device)


def _summed(numbers: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Σ share·number over the batches of each point, in their order: each point's bits are its own."""
    columns = torch.stack(list(numbers)).double().reshape(-1, len(shares)).unbind(1)
    total = columns[0] * shares[0]
    for column, share in zip(columns[1:], shares[1:], strict=True):
        total = total + column * share
    return total
