"""The gradient noise scale: how many examples a mini-batch must have for its gradient to be more signal than noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, _statistics, archive
from lossatlas._errors import InputError
from lossatlas._progress import Show, counted
from lossatlas._versions import versions
from lossatlas.curvature._operator import probe_of
from lossatlas.probe import Gradients, Meter, Probe
from lossatlas.surface import NetworkSurface, PointLike, Sample, as_point, tensor_digest

if TYPE_CHECKING:
    from lossatlas.draw import CurvesDisplay


@dataclass(frozen=True, eq=False)
class NoiseScale(archive.Result):
    """The gradient noise scale B = tr Σ / ‖G‖² at a point, Σ the covariance of the gradients of single examples.

    Attributes:
        value: B, in examples; infinite where G is zero.
        interval: of it, over mini-batches: G is that of all data and known exactly.
        confidence: of the interval.
        trace: tr Σ.
        gradient_norm: ‖G‖.
        batch_size: b, examples of a mini-batch.
        examples: n, of the data.
        draws: (batches,) tr Σ by each mini-batch alone.
        meter: what was evaluated for it.
        provenance: surface, point, settings and versions, plain JSON values.
    """

    KIND: ClassVar[str] = "noise-scale"
    SAYS: ClassVar[tuple[str, ...]] = ("share",)

    value: float
    interval: tuple[float, float]
    confidence: float
    trace: float
    gradient_norm: float
    batch_size: int
    examples: int
    draws: np.ndarray
    meter: Meter
    provenance: dict[str, Any]

    @property
    def share(self) -> float:
        """B/b: what of the mini-batch's squared gradient is noise, over what is signal."""
        return self.value / self.batch_size

    @property
    def sentence(self) -> str:
        """The number in words."""
        low, high = self.interval
        return (
            f"gradient noise scale {self.value:.4g} examples, {self.confidence:.0%} interval [{low:.4g}, {high:.4g}]: the squared "
            f"gradient of a mini-batch of {self.batch_size:,} holds {self.share:.3g} times as much noise as signal, from "
            f"{len(self.draws):,} mini-batches"
        )

    def plot(self, ax: Any = None) -> CurvesDisplay:
        """The running mean with its interval, against the number of mini-batches.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import CurvesDisplay

        counts = np.arange(2, len(self.draws) + 1)
        middle, _, half = (
            np.array([_statistics.mean(self.draws[:n], self.confidence) for n in counts]).T / self.gradient_norm**2
        )
        curves = {"tr Σ/‖G‖²": (counts.astype(float), middle, middle - half, middle + half)}
        return CurvesDisplay(
            curves, xlabel="mini-batches", ylabel="noise scale (examples)", yscale="linear", note=self.sentence
        ).plot(ax)


def noise_scale(
    surface: NetworkSurface,
    *,
    point: PointLike | None = None,
    batch_size: int = 64,
    batches: int = 32,
    confidence: float = 0.95,
    seed: int = 0,
    probe: Probe | None = None,
    progress: Show = True,
) -> NoiseScale:
    """The gradient noise scale B = tr Σ / ‖G‖² of a network at a point.

    The gradient g of a mini-batch of b of n examples, drawn without replacement, has E ‖g − G‖² = (1 − b/n) tr Σ / b around the
    gradient G of all data. Far below B, twice the batch is worth as much as twice the steps; far above it larger batches
    hardly help. B grows while a network trains, since ‖G‖ falls.

    Args:
        surface: of a network, whose data are drawn from.
        point: where, whatever describes a point; the network's own by default.
        batch_size: b, below the number of examples.
        batches: how many mini-batches; each costs one gradient of b examples.
        confidence: of the interval.
        seed: of the mini-batches.
        probe: what evaluates and counts; a new one by default.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (batches done, all).

    Returns:
        The `NoiseScale`.

    Raises:
        InputError: for another surface, or a batch size or number of batches that does not fit.

    Source: McCandlish, Kaplan, Amodei and the OpenAI Dota team, An empirical model of large-batch training, arXiv:1812.06162.
    """
    if not isinstance(surface, NetworkSurface):
        raise InputError(
            f"got {_checks.shown(surface)}; expected a network: its examples are what makes the noise. Give a NetworkSurface."
        )
    n = surface.examples
    size = _checks.whole("batch_size", batch_size, 1, n - 1, do="These are examples of a mini-batch, fewer than all.")
    batches, seed = _checks.whole("batches", batches, 2), _checks.seed(seed)
    confidence = _checks.number("confidence", confidence, above=0, below=1, do="It is a probability, such as 0.95.")
    probe = probe_of(surface, probe)
    before = probe.meter.copy()
    theta = as_point(surface, point)
    with counted("mini-batches", batches, progress) as report:
        draws, length = noise_of(
            lambda query: probe.evaluate(query).gradients[0], theta, size, n, batches, seed, report
        )
    mean, _, half = _statistics.mean(draws, confidence)
    record = {
        "surface": surface.fingerprint(), "point": tensor_digest(theta), "batch_size": size, "batches": batches, "seed": seed,
        "versions": versions(),
    }  # fmt: skip
    value, interval = over_length(mean, half, length)
    return NoiseScale(
        value, interval, confidence, mean, math.sqrt(length), size, n, draws, probe.meter.since(before, 0.0), record
    )


def noise_of(
    gradient: Callable[[Gradients], Tensor], theta: Tensor, size: int, examples: int, batches: int, seed: int,
    report: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Tr Σ by each of some mini-batches, and ‖G‖².

    Args:
        gradient: evaluates a query, and counts.
        theta: where.
        size: of a mini-batch.
        examples: of all.
        batches: how many.
        seed: of the draws.
        report: is told how many are done.
    """
    whole = gradient(Gradients(theta[None])).double()
    draws = np.empty(batches)
    for k in range(batches):
        g = gradient(Gradients(theta[None], Sample(size, torch.tensor([seed * batches + k])))).double()
        draws[k] = float(((g - whole) ** 2).sum()) * size / max(1 - size / examples, 1e-12)
        report(k + 1)
    return draws, float((whole**2).sum())


def over_length(mean: float, half: float, length: float) -> tuple[float, tuple[float, float]]:
    """B and its interval, of the mean of tr Σ, half its interval, and ‖G‖²."""
    if not length > 0:
        return math.inf, (-math.inf, math.inf)
    return mean / length, (max(0.0, mean - half) / length, (mean + half) / length)
