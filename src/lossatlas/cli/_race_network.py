"""`lossatlas race --model … --data …`: optimizers that train the user's own network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lossatlas.cli._log import message
from lossatlas.cli._network import Network, network
from lossatlas.cli._programs import told
from lossatlas.cli._say import say, screen

# What is raced where no optimizers are named.
OPTIMIZERS = "momentum,adam,adamw,lion,sophia,shampoo,muon"


def race_network(
    *,
    own: Network,
    batch_size: str,
    optimizers: str,
    steps: int,
    runs: int,
    seed: int,
    trials: int | None,
    out: Path | None,
    unused: list[str],
) -> None:
    """Race on a network, print what came out, and write it.

    Args:
        own: the network; made once per run, each time after a seed of its own.
        batch_size: examples of a mini-batch, or ``all``.
        optimizers: as typed.
        steps: the cost in gradients.
        runs: of each optimizer.
        seed: the random seed.
        trials: of blind tuning, or None.
        out: folder for results, or None.
        unused: options that were given and have no meaning here.

    Raises:
        InputError: for what does not fit.
    """
    import torch

    from lossatlas._errors import InputError
    from lossatlas.cli import _optimizers
    from lossatlas.cli._user import prepare
    from lossatlas.race import network_race

    if own.model is None or own.data is None:
        raise InputError(f"got {', '.join(own.given)}; expected both --model and --data, to race on a network.")
    if unused:
        raise InputError(
            f"got {', '.join(unused)} with --model; expected none of these: they are about landscapes. Leave them out."
        )
    chosen = _optimizers.optimizers(optimizers)

    def built(run: int) -> Any:
        torch.manual_seed(seed + run)
        return own.make()

    first = built(0)
    surface = network(own, first)
    on_test = None if own.test is None else network(own, first, test=True)
    starts = torch.stack([surface.theta, *(surface.vector(built(run)) for run in range(1, runs))])
    prepare(out)
    result = network_race(
        surface,
        chosen,
        test=on_test,
        batch_size=_size(batch_size),
        steps=steps,
        runs=runs,
        starts=starts,
        trials=trials or 0,
        seed=seed,
    )
    if out is not None:
        result.save(out)
    console = screen(170)
    console.print(result.table())
    if bool((starts == starts[0]).all()) and runs > 1:
        say(
            "- all runs began at the same point: --model or --checkpoint gives the same weights whatever torch's seed is"
        )
    if out is not None:
        for what in ("loss", *(("test_error",) if _tested(result) else ())):
            for against in ("queries", "examples", "seconds"):
                result.plot(what=what, against=against).save(out / f"{what.replace('_', '-')}-{against}.png")
        if result.ends is not None and result.ends.names:
            result.plot_ends().save(out / "ends.png")
        message(f"written: {out}")
    told(result.record)


def _tested(result: Any) -> bool:
    import numpy as np

    return all(one.test_error.shape[1] and np.isfinite(one.test_error).any() for one in result.runners.values())


def _size(text: str) -> int | None:
    from lossatlas._errors import InputError

    if text == "all":
        return None
    if not text.isdigit():
        raise InputError(f"got --batch-size {text!r}; expected a number of examples, or all.")
    return int(text)
