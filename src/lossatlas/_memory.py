"""How much memory a device has left."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from lossatlas._errors import InputError

# Of less nobody looks whether it is there.
LITTLE = 2**26
# What the kernel says, of the machine and of the group that this process is in: a limit, and what is used of it.
_MACHINE = Path("/proc/meminfo")
_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def free(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device; None where nobody says."""
    if device.type == "cuda" and torch.cuda.is_available():
        # What torch holds for itself without using it can be used as well.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    return _free_here() if device.type == "cpu" else None


def need(device: torch.device, count: int, what: str, instead: str) -> None:
    """Refuse what does not fit, before it is allocated.

    Args:
        device: where it will be.
        count: bytes that it takes.
        what: in words.
        instead: what would fit.

    Raises:
        InputError: if less is free.
    """
    if count < LITTLE:
        return
    room = free(device)
    if room is not None and room < count:
        raise InputError(
            f"got {what}, which takes {count / 1e9:.3g} GB on {device}, where {room / 1e9:.3g} GB are free; expected room for it. {instead}"
        )


def _free_here() -> int | None:
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = _MACHINE.read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    for limit, used in _GROUPS:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(limit.read_text()) - int(used.read_text()))
    return max(0, min(found)) if found else None
