"""The verb: go on training with a learning rate that rises and falls, and keep a snapshot of every cycle."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from lossatlas import _checks
from lossatlas._errors import InputError, LossError, NotApplicableError
from lossatlas._layout import Sample
from lossatlas._progress import Show, counted
from lossatlas._versions import versions
from lossatlas.connect._endpoints import End, end
from lossatlas.connect._ensemble import PREDICTIONS, WEIGHTS, FastEnsemble
from lossatlas.connect._readout import Readout, Rows, rows_of
from lossatlas.connect.symmetry._merge import Merged, average, row_of
from lossatlas.probe import Gradients, Meter, Probe, Values
from lossatlas.surface import NetworkSurface, PointLike, StateSurface, Surface, need_surface, tensor_digest

Schedule = Literal["triangular", "sawtooth", "constant"]
SCHEDULES = ("triangular", "sawtooth", "constant")
# Epochs of a cycle, and learning rates, as the authors' code has them.
EPOCHS, HIGH, LOW = 4, 0.05, 1e-4


def cyclical_rate(step: int, length: int, high: float, low: float, schedule: str = "triangular") -> float:
    """The learning rate of a step.

    With t = ((i − 1) mod c + 1)/c in step i of cycles of c steps, α₁ the high and α₂ the low rate:

    ==============  =================================================================================
    ``triangular``  (1 − 2t) α₁ + 2t α₂ up to t = ½, then (2 − 2t) α₂ + (2t − 1) α₁: lowest in the middle
    ``sawtooth``    (1 − t) α₁ + t α₂: lowest at the end
    ``constant``    α₁
    ==============  =================================================================================

    Args:
        step: i, from 1.
        length: c.
        high: α₁.
        low: α₂.
        schedule: one of the three.

    Source:
        Garipov et al., NeurIPS 2018, arXiv:1802.10026, section 4 (triangular); Izmailov et al., Averaging weights leads to wider
        optima, UAI 2018, arXiv:1803.05407, section 3.1 (the others).
    """
    t = ((step - 1) % length + 1) / length
    if schedule == "constant":
        return high
    if schedule == "sawtooth":
        return (1 - t) * high + t * low
    return (1 - 2 * t) * high + 2 * t * low if t <= 0.5 else (2 - 2 * t) * low + (2 * t - 1) * high


def fast_ensemble(
    surface: Surface,
    start: PointLike | None = None,
    *,
    cycles: int = 4,
    steps: int | None = None,
    lr: tuple[float, float] | float | None = None,
    schedule: Schedule = "triangular",
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    test: Surface | None = None,
    seed: int = 0,
    progress: Show = True,
) -> FastEnsemble:
    """An ensemble for the cost of going on with one training: a snapshot wherever a cyclical learning rate is lowest.

    Stochastic gradient descent goes on from a trained network. High rates carry it away, low ones let it settle; the snapshots
    are near each other in weights and still differ in what they predict. Their averaged predictions are an ensemble (fast
    geometric ensembling), their averaged weights are one network (stochastic weight averaging). Nothing is trained after the
    last snapshot. The model itself is left as it is.

    Args:
        surface: of the network; its data are trained on.
        start: the trained network to go on from: a vector, state dict, module or checkpoint; the surface's own by default.
        cycles: how many snapshots.
        steps: c, of one cycle, even for ``triangular``; four epochs by default.
        lr: α₁ and α₂, the high and the low rate, 0.05 and 1e-4 by default; of ``constant`` one number, 0.05 by default.
        schedule: ``triangular`` as Garipov et al., with snapshots in the middle of each cycle; ``sawtooth`` or ``constant`` as
            Izmailov et al., at the end of each. See `cyclical_rate`.
        momentum: of SGD, as torch has it.
        weight_decay: of SGD, as torch has it.
        batch_size: examples in each mini-batch, all if there are fewer.
        test: a surface of the same model on test data.
        seed: of the mini-batches.
        progress: True for a bar over the steps on the error stream of a terminal, False for silence, or a function of
            (steps done, all).

    Returns:
        The `FastEnsemble`: ``la.barriers(surface, found.snapshots)`` shows the barriers between the snapshots.

    Raises:
        InputError: for settings that do not fit.
        LossError: if a gradient is not finite before the first snapshot.
        NotApplicableError: for a surface that is not a network's.

    Source:
        Garipov, Izmailov, Podoprikhin, Vetrov and Wilson: Loss surfaces, mode connectivity, and fast ensembling of DNNs, NeurIPS
        2018, arXiv:1802.10026, section 4; Izmailov et al.: Averaging weights leads to wider optima, UAI 2018, arXiv:1803.05407.
    """
    need_surface(surface, "fast_ensemble")
    if not isinstance(surface, NetworkSurface):
        raise NotApplicableError(f"{surface.name} is no network; expected a NetworkSurface to train an ensemble on.")
    _checks.one_of("schedule", schedule, SCHEDULES)
    batch_size = min(_checks.whole("batch_size", batch_size), surface.examples)
    cycles = _checks.whole("cycles", cycles, 1, 10_000, do="These are snapshots.")
    usual = 2 * max(1, -(-EPOCHS * surface.examples // (2 * batch_size)))
    length = usual if steps is None else _checks.whole("steps", steps, 2, do="These are steps of one cycle.")
    if schedule == "triangular" and length % 2:
        raise InputError(
            f"got steps={length}; expected an even number, since the rate is lowest in the middle of a triangular cycle."
        )
    _checks.work("fast_ensemble", {"cycles": cycles, "steps": length}, what="steps")
    high, low = _rates(lr, schedule)
    momentum = _checks.number("momentum", momentum, least=0, below=1)
    weight_decay, seed = _checks.number("weight_decay", weight_decay, least=0, most=1e30), _checks.seed(seed)
    begin = end(surface, surface.theta if start is None else start, "start")
    normed = len(begin.statistics) > 0
    if normed and batch_size == 1:
        raise InputError(
            "got batch_size=1 for a network with batch norm, which cannot normalize one example by itself; give more."
        )
    readout = Readout(surface, test, (begin, begin), "reset")  # refuses a test surface of another model
    probe = Probe(surface.with_batchnorm("batch") if normed else surface)
    first = length // 2 if schedule == "triangular" else length
    total, theta = first + (cycles - 1) * length, begin.theta.clone()
    rates = np.array([cyclical_rate(step, length, high, low, schedule) for step in range(1, total + 1)])
    optimizer = torch.optim.SGD([theta], lr=high, momentum=momentum, weight_decay=weight_decay)
    kept: list[torch.Tensor] = []
    losses: list[float] = []
    status = "complete"
    try:
        with counted("training: steps", total, progress) as report:
            for step in range(1, total + 1):
                drawn = int(np.random.default_rng([seed, step]).integers(2**62))
                sample = Sample(batch_size, torch.tensor([drawn])) if batch_size < surface.examples else None
                answer = probe.evaluate(Gradients(theta[None].clone(), sample))
                if not bool(answer.gradients.isfinite().all()):
                    status = f"stopped at step {step}: a gradient is not finite"
                    break
                losses.append(float(answer.values[0]))
                theta.grad = answer.gradients[0].to(theta)
                optimizer.param_groups[0]["lr"] = float(rates[step - 1])
                optimizer.step()
                if step % length == first % length:
                    kept.append(theta.clone())
                report(step)
    except KeyboardInterrupt:
        if not kept:
            raise
        status = "interrupted"
    if not kept:
        raise LossError(
            f"the training {status} before the first snapshot, at a learning rate of {rates[len(losses)]:.3g}; expected finite numbers. "
            "Give lower rates."
        )
    rows, states, prediction, meters = _read(surface, test, begin, kept, readout, seed)
    record: dict[str, Any] = {
        "surface": surface.fingerprint(), "start": tensor_digest(begin.theta), "cycles": cycles, "steps": length, "lr": [high, low],
        "schedule": schedule, "momentum": momentum, "weight_decay": weight_decay, "batch_size": batch_size, "seed": seed,
        "versions": versions(),
    }  # fmt: skip
    return FastEnsemble(
        rows, states, schedule, rates[: len(losses)], np.array(losses), first + length * np.arange(len(kept)), prediction,
        surface.name, sum([probe.meter, *meters], Meter()), record, status,
    )  # fmt: skip


def _read(
    surface: NetworkSurface, test: Surface | None, begin: End, kept: list[torch.Tensor], readout: Readout, seed: int
) -> tuple[tuple[Merged, ...], dict[str, dict[str, torch.Tensor]], str, list[Meter]]:
    """Rows of the snapshots and the averages, their state dicts, what was averaged of outputs, and what it cost."""
    names = [f"snapshot {k + 1}" for k in range(len(kept))]
    thetas = torch.stack([*kept, average(kept, (1 / len(kept),) * len(kept))])
    whole = torch.cat([thetas, begin.statistics.to(thetas).expand(len(thetas), -1)], 1)
    states = readout.renewed(whole)
    train, held_out = readout.read_states(states)
    rows = [row_of(name, k, train, held_out, seed) for k, name in enumerate([*names, WEIGHTS])]
    split, meters = StateSurface(surface), list(readout.meters)
    together: list[Rows] = []
    for ground in (surface, test):
        if isinstance(ground, NetworkSurface):
            probe = Probe(StateSurface(ground, outputs=True))
            try:
                together.append(_together(ground, probe.evaluate(Values(states[: len(kept)])).extras["outputs"]))
            except NotApplicableError:
                break  # such a loss is no function of outputs with one row per example
            finally:
                meters.append(probe.meter)
    if together:
        rows.append(row_of(PREDICTIONS, 0, together[0], together[1] if len(together) > 1 else None, seed))
    prediction = split.prediction if together else ""
    named = {name: split.split(state) for name, state in zip([*names, WEIGHTS], states, strict=True)}
    return tuple(rows), named, prediction, meters


def _together(ground: NetworkSurface, outputs: torch.Tensor) -> Rows:
    """What is read of the averaged predictions of networks with outputs (K, n, C); example by example where that can be."""
    mixed = StateSurface(ground).averaged(outputs)
    try:
        reading = StateSurface(ground, examples=True).score(mixed)
    except NotApplicableError:
        reading = StateSurface(ground).score(mixed)
    return rows_of(reading.values, reading.extras)


def _rates(lr: Any, schedule: str) -> tuple[float, float]:
    """The high and the low rate."""
    if lr is None:
        lr = HIGH if schedule == "constant" else (HIGH, LOW)
    if schedule == "constant":
        one = _checks.number("lr", lr, above=0, most=1e30, do="Of a constant schedule it is one number.")
        return one, one
    how = "These are the high and the low learning rate, such as (0.05, 1e-4)."
    if not isinstance(lr, tuple | list) or len(lr) != 2:
        raise InputError(f"got lr={_checks.shown(lr)}; expected a pair. {how}")
    high, low = (_checks.number("lr", one, above=0, most=1e30, do=how) for one in lr)
    if low > high:
        raise InputError(f"got lr=({high:g}, {low:g}); expected the high rate first. {how}")
    return high, low
