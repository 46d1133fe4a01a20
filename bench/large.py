"""A GPT-2-shaped model of 124 million parameters, streamed: CPU time a point against a bare forward, and memory beside the model.

Each type runs in a process of its own, since peaks of memory are of a process. The true error is against copies whose
parameters were all moved at once.
"""

from __future__ import annotations

import copy
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

POINTS, TOKENS = 32, 1000


def measure() -> list[list[str]]:
    rows = []
    for dtype in ("float32", "bfloat16"):
        done = subprocess.run([sys.executable, __file__, dtype], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        rows.append([
            f"streamed GPT-2 of {found['parameters'] / 1e6:.0f} million parameters, {dtype}: CPU time a point of {POINTS}, "
            f"{TOKENS} tokens, against a bare forward with its loss",
            f"{found['ours']:.2f}", f"{found['bare']:.2f}", f"{found['ours'] / found['bare']:.2f}", "at most 1.5",
            f"memory beside the model {found['above']:.2f} θ at its peak, of which activations and logits of a bare forward would be "
            f"{found['activations']:.2f} θ (floor: 0.35 θ plus activations of {POINTS} passes); told before: {found['told']:.2f} θ, of "
            f"which directions and weights {found['pieces']:.2f} θ; largest error {found['error']:.1g}, relative; parameters untouched: "
            f"{found['untouched']}",
        ])  # fmt: skip
    return rows


def _memory(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def _reset() -> int:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _one(kind: str) -> None:
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import GPT2Config, GPT2LMHeadModel

    import lossatlas as la

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).to(getattr(torch, kind)).eval()
    theta = sum(p.numel() * p.element_size() for p in model.parameters())
    ids = torch.randint(50257, (1, TOKENS))

    @torch.no_grad()
    def bare(one: torch.nn.Module) -> float:
        logits = one(input_ids=ids, use_cache=False).logits[0, :-1].float()
        return float(cross_entropy(logits, ids[0, 1:]))

    bare(model)
    before, began = _reset(), time.process_time()
    for _ in range(3):
        bare(model)
    took, activations = (time.process_time() - began) / 3, _memory("VmHWM") - before
    own = [p.detach().clone() for p in model.parameters()]
    surface = la.StreamedSurface(model, "tokens", {"input_ids": ids}, seed=1)
    told = surface.memory["cpu"] / theta - 1
    points = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) / 3
    before, began = _reset(), time.process_time()
    values = surface.values(points)
    ours, above = (time.process_time() - began) / POINTS, _memory("VmHWM") - before
    worst = 0.0
    for point, value in zip(points[:2].tolist(), values.tolist(), strict=False):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                wide = parameter.float()
                for c, d in zip(point, surface.direction(name), strict=True):
                    wide = wide + c * d
                parameter.copy_(wide)
        worst = max(worst, abs(value / bare(moved) - 1))
    same = all(torch.equal(p, q) for p, q in zip(model.parameters(), own, strict=True))
    print(json.dumps({
        "parameters": surface.parameters, "ours": ours, "bare": took, "above": above / theta, "activations": activations / theta,
        "told": told, "pieces": surface.bytes / theta, "error": worst, "untouched": same,
    }))  # fmt: skip


if __name__ == "__main__":
    _one(sys.argv[1])
