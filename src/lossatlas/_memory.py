"""How much memory a device has left."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import torch

from lossatlas._errors import InputError

# Of less nobody looks whether it is there.
LITTLE = 2**26
# What the kernel says, of the machine and of the group that this process is in: a folder, its limit, and what is used of it.
_MACHINE = Path("/proc/meminfo")
_GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
# Of what is used, files that were read are let go of as soon as others need the room.
_CACHE = re.compile(r"^(?:in)?active_file (\d+)$", re.MULTILINE)


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
    for group, limit, used in _GROUPS:
        with contextlib.suppress(OSError, ValueError):
            cached = sum(map(int, _CACHE.findall((group / "memory.stat").read_text())))
            found.append(int((group / limit).read_text()) - int((group / used).read_text()) + cached)
    return max(0, min(found)) if found else None
