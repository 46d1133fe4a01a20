"""Whether a device gains anything by half precision: measured, since what it says of itself is often an emulation."""

from __future__ import annotations

import functools
import statistics
import time

import torch

# Matrices of this size are multiplied so many times in each type.
SIZE, REPEATS = 512, 5
# Half precision must be so many times as fast to be worth its error.
FASTER = 1.25


@functools.cache
def multiplies_faster(device: torch.device) -> bool:
    """Whether products of matrices in bfloat16 take less time than in float32 by a factor of `FASTER`."""
    taken = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(SIZE, SIZE, device=device, dtype=dtype)
        times = []
        try:
            for _ in range(REPEATS + 1):
                begin = time.perf_counter()
                # Reading a number waits for the device.
                float((matrix @ matrix)[0, 0])
                times.append(time.perf_counter() - begin)
        except (RuntimeError, NotImplementedError):
            return False
        taken[dtype] = statistics.median(times[1:])
    return taken[torch.float32] >= FASTER * taken[torch.bfloat16]
