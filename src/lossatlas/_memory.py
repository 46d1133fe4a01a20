"""How much memory a device has left, and giving back what is free."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import re
from pathlib import Path
from typing import Any, final

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
# Pages of this process: all, those in memory, ….
_HERE = Path("/proc/self/statm")
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


@final
class Kept:
    """Free memory that the allocators of threads keep for themselves, given back before it is much.

    The C library of Linux keeps what was freed for the thread that had it: many threads that run one after another would take
    the memory of all at once. Elsewhere nothing is done.

    Args:
        most: bytes that the process may grow by before it gives back what is free.
    """

    def __init__(self, most: int = LITTLE) -> None:
        self.most = most
        # Missing where the C library is another one.
        self._trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if _HERE.is_file() else None
        self._least = self._resident()

    def give_back(self) -> None:
        """If the process has grown by that much."""
        if self._trim is not None and self._resident() - self._least > self.most:
            self._trim(0)
            self._least = self._resident()

    def _resident(self) -> int:
        return 0 if self._trim is None else int(_HERE.read_text().split()[1]) * mmap.PAGESIZE


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
