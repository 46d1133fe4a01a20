"""Numbers that say where a run is on its surface, taken beside the recorded points without touching the run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lossatlas import _checks
from lossatlas._errors import InputError

NAMES = ("distance", "step_length", "noise_scale", "sharpness")
# Gradients of fewer mini-batches tell too little of their spread.
LEAST = 8
# Products of the Hessian with a vector, at most; and how well its largest eigenvalue is to be known.
PRODUCTS, CLOSE = 20, 0.01
# Share of the training time that eigenvalues may take.
AFFORDED = 0.1


@final
class Scalars:
    """Takes the numbers that were chosen, at the steps that are recorded.

    - ``distance``: ‖θ − θ₀‖ from where recording began; one more copy of the parameters on the CPU.
    - ``step_length``: ‖θ_k − θ_{k−1}‖ of the last step alone; one more copy beside the model within a recorded step.
    - ``noise_scale``: tr Σ / ‖g‖² in mini-batches, where g is the mean and Σ the covariance of the gradients of mini-batches:
      so many of them have a mean gradient whose error is as long as itself. Times the examples of a mini-batch it is the
      gradient noise scale. From the gradients of all steps since it was last taken, at least `LEAST`, as if θ stood still
      meanwhile: ‖g‖² is ‖ḡ‖² − tr Σ / n without bias. Infinite where the noise hides the gradient. One more copy of the
      gradients. Gradients that are clipped before the step give another number.
    - ``sharpness``: the largest eigenvalue of the Hessian of ``loss()``, by at most `PRODUCTS` steps of Lanczos, which
      approach it from below; stopped at a residual of 1 %. It is left out as long as it has taken more than a tenth of
      the training time.

    Sources: McCandlish et al.: An empirical model of large-batch training, arXiv 1812.06162, 2018, section 2.2 and
    appendix A.1 (noise scale); Golub and Van Loan: Matrix computations, section 10.1 (Lanczos).

    Args:
        names: which.
        loss: returns the loss of a batch that is always the same, for the sharpness.

    Raises:
        InputError: for an unknown name, or a sharpness without its loss.
    """

    def __init__(self, names: Collection[str], loss: Callable[[], Tensor] | None) -> None:
        if isinstance(names, str):
            names = (names,)
        listed = _checks.listed("scalars", names, f"names among {', '.join(NAMES)}")
        self.names = tuple(_checks.one_of("scalar", name, NAMES) for name in listed)
        if "sharpness" in self.names and not callable(loss):
            raise InputError(
                f"got loss={_checks.shown(loss)} and the scalar 'sharpness'; expected a function without arguments that returns "
                "the loss of a batch that is always the same. Give loss=…, or leave the sharpness out."
            )
        self._loss = loss
        self._origin: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        self._sum: dict[int, Tensor] = {}
        self._squares: dict[torch.device, Tensor] = {}
        self._batches = 0
        self._entered: set[int] = set()
        self._spent = 0.0

    @property
    def memory(self) -> int:
        """Bytes held now."""
        held = [*self._origin.values(), *self._before.values(), *self._sum.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def begin(self, parameters: dict[str, Tensor]) -> None:
        """Where distances are taken from."""
        if "distance" in self.names:
            self._origin = {name: tensor.detach().to("cpu", copy=True) for name, tensor in parameters.items()}

    def before(self, parameters: dict[str, Tensor]) -> None:
        """A step that will be recorded is about to be made."""
        if "step_length" in self.names:
            self._before = {name: tensor.clone() for name, tensor in parameters.items()}

    def gradients(self, optimizer: Optimizer) -> None:
        """An optimizer is about to step: its gradients are those of a mini-batch."""
        if "noise_scale" not in self.names or id(optimizer) in self._entered:
            return
        self._entered.add(id(optimizer))
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                dense = gradient.detach().to_dense() if gradient.layout != torch.strided else gradient.detach()
                square = torch.linalg.vector_norm(dense, dtype=torch.float64).square()
                # Added where they are: nothing waits for a device.
                self._squares[dense.device] = self._squares.get(dense.device, 0.0) + square
                known = self._sum.get(id(parameter))
                if known is None:
                    self._sum[id(parameter)] = dense.clone()
                else:
                    known.add_(dense)

    def stepped(self, *, skipped: bool = False) -> None:
        """A step is complete; one that was skipped had gradients that are no numbers, and begins anew."""
        self._entered.clear()
        if "noise_scale" not in self.names:
            return
        self._batches += 1
        if skipped:
            self._forget()

    def take(self, parameters: dict[str, Tensor], model: nn.Module, training: float) -> dict[str, float]:
        """The numbers of the step that is recorded.

        Args:
            parameters: as they are now.
            model: that has them; its buffers are put back after the loss was taken.
            training: seconds since the run began.
        """
        found: dict[str, float] = {}
        if self._origin:
            found["distance"] = _length(parameters, self._origin)
        if self._before:
            found["step_length"] = _length(parameters, self._before)
            self._before = {}
        if self._batches >= LEAST and self._sum:
            found["noise_scale"] = self._noise()
            self._forget()
        if "sharpness" in self.names and self._loss is not None and self._spent <= AFFORDED * training:
            begin = time.perf_counter()
            trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
            found["sharpness"] = buffers_kept(model, partial(largest_eigenvalue, self._loss, trained))
            self._spent += time.perf_counter() - begin
        return found

    def _noise(self) -> float:
        n = self._batches
        mean = sum(float(total.double().square().sum()) for total in self._sum.values()) / n**2
        spread = (sum(float(one) for one in self._squares.values()) - n * mean) / (n - 1)
        signal = mean - spread / n
        return spread / signal if signal > 0 else float("inf")

    def _forget(self) -> None:
        self._sum, self._squares, self._batches = {}, {}, 0


def largest_eigenvalue(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> float:
    """The largest eigenvalue of the Hessian of a loss, from below; nothing of the run is changed.

    Random numbers are drawn from a copy of the generators' states, and gradients kept in ``.grad`` are left alone.

    Args:
        loss: of the model, a scalar with a graph.
        parameters: that it is differentiated by: the model's own.

    Raises:
        InputError: if the loss is no scalar of these parameters.
    """
    devices = sorted({p.device.index or 0 for p in parameters if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        value = loss()
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise InputError(
                f"the loss of the sharpness returned {_checks.shown(value)}; expected one number with a gradient by the "
                "model's parameters. Return the loss as it is before backward()."
            )
        if not math.isfinite(float(value.detach())):
            return float("nan")
        slopes = torch.autograd.grad(value, parameters, create_graph=True, allow_unused=True)
        used = [(p, g) for p, g in zip(parameters, slopes, strict=True) if g is not None and g.requires_grad]
        if not used:
            return 0.0
        over, gradient = [p for p, _ in used], [g for _, g in used]

        def product(vector: list[Tensor]) -> list[Tensor]:
            found = torch.autograd.grad(gradient, over, vector, retain_graph=True, allow_unused=True)
            return [torch.zeros_like(p) if f is None else f for p, f in zip(over, found, strict=True)]

        return _lanczos(product, over)


def _lanczos(product: Callable[[list[Tensor]], list[Tensor]], like: list[Tensor]) -> float:
    """The largest Ritz value; three vectors are held. Lost orthogonality repeats eigenvalues, and makes no larger ones."""
    vector = [torch.randn_like(p) for p in like]
    size = _dot(vector, vector) ** 0.5
    vector, last = [v / size for v in vector], [torch.zeros_like(v) for v in vector]
    diagonal: list[float] = []
    beside: list[float] = []
    best = 0.0
    for _ in range(PRODUCTS):
        out = product(vector)
        diagonal.append(_dot(out, vector))
        coupling = beside[-1] if beside else 0.0
        out = [o - diagonal[-1] * v - coupling * w for o, v, w in zip(out, vector, last, strict=True)]
        length = _dot(out, out) ** 0.5
        matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        if beside:
            off = torch.tensor(beside, dtype=torch.float64)
            matrix += torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(matrix)
        best = float(values[-1])
        # The residual of the Ritz vector is the coupling to the next one times its last entry.
        if length * abs(float(vectors[-1, -1])) <= CLOSE * abs(best) or length == 0:
            break
        beside.append(length)
        last, vector = vector, [o / length for o in out]
    return best


def _dot(a: list[Tensor], b: list[Tensor]) -> float:
    return float(sum((x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)))


def _length(now: dict[str, Tensor], then: dict[str, Tensor]) -> float:
    squares = [
        (tensor.to(then[name].device).double() - then[name].double()).square().sum() for name, tensor in now.items()
    ]
    return float(sum(float(one) for one in squares) ** 0.5)


def buffers_kept(model: nn.Module, action: Callable[[], float]) -> float:
    """What an action on a model returns, its buffers put back after (running statistics)."""
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        return action()
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
