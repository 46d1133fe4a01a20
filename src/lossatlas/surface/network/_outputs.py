"""A network's outputs on a frame, and its loss as a function of them: what interpolating outputs needs of a surface."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from lossatlas._errors import NotApplicableError
from lossatlas.surface._frame import Frame
from lossatlas.surface._threads import same_algorithms, steadily
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._evaluation import Evaluation
from lossatlas.surface.network._half import multiplies_faster
from lossatlas.surface.network._objective import FunctionObjective, OutputObjective
from lossatlas.surface.network._proof import Proofs
from lossatlas.surface.network._reference import Reference
from lossatlas.surface.network._scene import Scene
from lossatlas.surface.network._scores import WAYS, Scores
from lossatlas.surface.network._shortcut import VALUES, Shortcut, compared
from lossatlas.surface.network._user_code import in_user_code

Coords = NDArray[np.float64]
# Products of parameters and examples below which a pass is calls more than arithmetic.
SMALL = 10**6


@final
class NetworkOutputs:
    """Outputs of a network at points of a frame, and the user's loss applied to outputs.

    L = Σ_b share_b ℓ(f_θ(x_b), y_b): `read` evaluates f on the data, `score` the rest. A reading has bits of its own: it
    depends on its coordinates alone, not on what is read along with it nor on the number of cores.

    Args:
        evaluation: of the surface.
        frame: where the coordinates are.
        alone: to be held while it is read.
        around: modes and random states that a reading needs.

    Attributes:
        shapes: by batch, the shape (n_b, …) of one point's outputs.
        dtype: of the outputs.
        examples: in all batches together.
        fused: the named loss that `targets` belong to, where it is one without settings; else None.
        targets: by batch, where there is a fused loss.
        compared: by batch, what the user's metrics get beside the outputs.
        scores: how scores lie beside labels in the outputs, where the loss is their mean cross-entropy; else None.
        accurate: whether an accuracy comes with the loss.
        made_by: how another process makes it of the slice that it is of.
    """

    def __init__(self, evaluation: Evaluation, frame: Frame, around: Callable[[], AbstractContextManager[Any]]) -> None:
        scene = evaluation.scene
        objective = scene.reference.objective
        self._evaluation, self._frame, self._around, self._objective = evaluation, frame, around, objective
        self.batches, self.examples = scene.batches, scene.examples
        self._shares, self._hit_shares = scene.shares, scene.hit_shares
        self._half: torch.dtype | None = None
        self.made_by: tuple[Mapping[str, Any], ...] = ({"call": "own_outputs"},)
        first = self._parts(frame.points(torch.zeros(1, frame.dimension, dtype=torch.float64))[0], 0)
        self.fused: Literal["cross_entropy", "mse"] | None
        self.targets: list[Tensor]
        self.shapes = tuple(tuple(part.shape) for part in first)
        self.dtype = first[0].dtype
        self.compared = [objective.labels(batch) for batch in self.batches]
        self.accurate = self._hit_shares is not None
        self.scores, self.fused, self.targets = objective.scores, None, []
        if isinstance(objective, OutputObjective):
            self._fuse(objective.loss.plain)
        elif objective.scores is not None:
            self.compared = [objective.scores.labels(labels) for labels in self.compared]
            # What the model put out was brought into this form.
            self.scores = Scores(1)
            kept = torch.tensor([len(labels) for labels in self.compared], dtype=torch.float64)
            if torch.allclose(kept / kept.sum(), torch.tensor(self._shares, dtype=torch.float64), rtol=1e-9):
                self.fused, self.targets = "cross_entropy", self.compared

    def _fuse(self, plain: str) -> None:
        labels = plain == "cross_entropy" and all(
            batch.target.ndim == 1 and batch.target.dtype == torch.int64 for batch in self.batches
        )
        if labels and all(len(shape) == 2 for shape in self.shapes):
            self.fused = "cross_entropy"
        elif plain == "mse":
            self.fused = "mse"
        self.targets = self.compared if self.fused else []

    def halved(self, *, known: bool = False) -> NetworkOutputs | None:
        """The same outputs, evaluated in bfloat16 under torch's autocast; None where that cannot gain anything.

        Parameters are in float32, the surface casts nothing by itself, and the device multiplies matrices faster. Of small passes
        nobody asks: what a clock says of them is chance, and so would be the chart.

        Args:
            known: that this is faster, so that the device is not measured.
        """
        scene = self._evaluation.scene
        theta = scene.reference.theta
        if scene.cast is not None or theta.dtype != torch.float32:
            return None
        small = theta.numel() * scene.examples < SMALL
        if not known and (small or not multiplies_faster(theta.device)):
            return None
        twin = copy.copy(self)
        twin._half = torch.bfloat16
        twin.made_by = (*self.made_by, {"call": "halved", "with": {"known": True}})
        return twin

    def read(self, coords: Coords) -> list[Tensor]:
        """By batch, outputs (P, n_b, …) at coordinates (P, k)."""
        points = torch.from_numpy(np.ascontiguousarray(coords, dtype=np.float64)).reshape(len(coords), -1)
        if not len(points):
            return [torch.empty(0, *shape, dtype=self.dtype) for shape in self.shapes]
        evaluation = self._evaluation
        with evaluation.alone, self._around():
            threads = evaluation.threads(evaluation.abreast(len(points)))
            evaluation.ready(threads)
            found = [torch.empty(len(points), *shape, dtype=self.dtype) for shape in self.shapes]

            def one(worker: int, place: int) -> None:
                theta = self._frame.points(points[place : place + 1])[0]
                for part, out in zip(self._parts(theta, worker), found, strict=True):
                    out[place] = part

            with same_algorithms():
                steadily(one, range(len(points)), threads)
        return found

    def score(self, batch: int, outputs: Tensor) -> tuple[Tensor, float, dict[str, Tensor]]:
        """The user's loss of one batch at P points, from outputs (P, n_b, …).

        Where the model computes its loss, it is the cross-entropy that it was seen to be.

        Returns:
            Loss × share of the batch (P,) in float64; 1 over the number of batches, so that these weights add up to 1;
            and further channels (P,), whose mean over all examples is that of the data.
        """
        given, count = self.batches[batch], len(self.batches)
        losses, hits = (
            outputs.new_empty(len(outputs), dtype=torch.float64),
            outputs.new_zeros(len(outputs), dtype=torch.float64),
        )
        device = self._evaluation.scene.reference.theta.device
        with self._around(), torch.no_grad():
            for k, row in enumerate(outputs):
                with in_user_code(given, batch, count, "at interpolated outputs"):
                    outcome = self._objective.measure(row.to(device), given)
                losses[k], hits[k] = outcome.loss, outcome.hits
        channels = (
            {}
            if self._hit_shares is None
            else {"accuracy": hits * (self._hit_shares[batch] * self.examples / given.size)}
        )
        return losses * self._shares[batch], 1.0 / count, channels

    def shares(self, batch: int) -> tuple[float, float]:
        """Of a batch in the loss and in the accuracy."""
        return self._shares[batch], self._hit_shares[batch] if self._hit_shares is not None else 0.0

    def _parts(self, theta: Tensor, worker: int) -> list[Tensor]:
        """By batch, the outputs at θ."""
        parts = self._evaluation.outputs(worker, theta, self._half)
        return parts if self._half is None else [part.to(self.dtype) for part in parts]


@final
class LossOfOutputs(Shortcut):
    """The loss as a function of the model's outputs and the targets, and of nothing else.

    Args:
        scene: what is evaluated.
    """

    name: ClassVar[str] = "interpolation of outputs"
    queries: ClassVar[frozenset[str]] = frozenset({VALUES})

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """The loss of the outputs at both points, while the user's model holds NaN."""
        objective = reference.objective
        if isinstance(objective, FunctionObjective):
            return "the loss is not a function of outputs and targets"
        evaluation = Evaluation(self._scene.on(small), Proofs(reference, small))
        evaluation.ready(1)
        points = [reference.theta, reference.moved()]
        own = self._scene.statistics.own
        if self._scene.free and own is not None:
            points = [torch.cat([point, own]) for point in points]
        statistics = own if self._scene.free else None
        expected = [reference.values(p[: len(reference.theta)], small, statistics)[0].loss for p in points]

        def off() -> tuple[str, list[Tensor]]:
            """How far the losses of outputs are off, and the outputs."""
            parts = []
            with reference.poisoned(), torch.no_grad():
                for point in points:
                    try:
                        parts += evaluation.outputs(0, point)
                    except NotApplicableError as reason:
                        return str(reason), []
                # Only once the model was at the other point: a loss may read what the forward pass left somewhere.
                found = [objective.measure(part, small[0]).loss for part in parts]
            return compared(found, expected, VALUES, reference.theta.dtype), parts

        if isinstance(objective, OutputObjective):
            reason, parts = off()
            if not reason and objective.scores is None:
                objective.scores = _scores_of(objective, parts, expected, small[0], reference.theta.dtype)
            return reason
        reasons = []
        for way in objective.ways:
            objective.scores = way
            reason, _ = off()
            if not reason:
                return ""
            reasons.append(reason)
        objective.scores = None
        return reasons[-1]


def _scores_of(
    objective: OutputObjective, parts: list[Tensor], expected: list[Tensor], batch: Batch, dtype: torch.dtype
) -> Scores | None:
    """How scores lie beside labels in the outputs, if the loss is their mean cross-entropy."""
    target = objective.labels(batch)
    for way in WAYS:
        if not all(way.fits(part, target) for part in parts):
            continue
        labels = way.labels(target)
        found = [cross_entropy(way(part, target), labels.to(part.device)) for part in parts]
        if not compared(found, expected, VALUES, dtype):
            return way
    return None
