"""Seven gradient rules over 300 steps on the four wells, in lockstep, against torch.optim one after another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pairs import pairs

import lossatlas as la

STEPS, ROUNDS = 300, 9

OURS = {
    "gd": la.optimizer("gd", lr=0.05),
    "gd slow": la.optimizer("gd", lr=0.01),
    "momentum": la.optimizer("momentum", lr=0.05, momentum=0.92),
    "nesterov": la.optimizer("nesterov", lr=0.05, momentum=0.92),
    "rmsprop": la.optimizer("rmsprop", lr=0.01),
    "adam": la.optimizer("adam", lr=0.05),
    "adamw": la.optimizer("adamw", lr=0.05, weight_decay=0.01),
}
THEIRS: dict[str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]] = {
    "gd": lambda p: torch.optim.SGD(p, lr=0.05),
    "gd slow": lambda p: torch.optim.SGD(p, lr=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.92),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.92, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.01),
}


def measure() -> list[str]:
    surface = la.landscapes.four_wells()

    def ours() -> la.Race:
        return la.race(surface, OURS, steps=STEPS, seed=0)

    def theirs() -> dict[str, torch.Tensor]:
        ends = {}
        for name, make in THEIRS.items():
            theta = surface.start.clone().requires_grad_()
            optimizer = make([theta])
            for _ in range(STEPS):
                optimizer.zero_grad()
                surface.read(theta[None]).values[0].backward()
                optimizer.step()
            ends[name] = theta.detach()
        return ends

    race, ends = ours(), theirs()
    gap = max(float((race.final(name)[0] - end).abs().max()) for name, end in ends.items())
    what = f"seven-way race of {STEPS} steps on the four wells, verdicts included, vs torch.optim one by one"
    return [what, *pairs(ours, theirs, ROUNDS), "≥ 8", f"end points agree to {gap:.1e}"]
