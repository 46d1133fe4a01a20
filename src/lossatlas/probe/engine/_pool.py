"""Worker processes on this machine."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, final

import torch

from lossatlas import _checks
from lossatlas.probe.engine import _wire
from lossatlas.probe.engine._wire import Message
from lossatlas.probe.engine._workers import Slot, Workers

_PROGRAM = "from lossatlas.probe.engine._worker import main; main()"


@final
class Pool(Workers):
    """Worker processes on this machine, each with kernels of one thread; on a GPU machine each has one GPU, in turn.

    They are started at once, keep what they have built, and end with `close`, with the ``with`` block, or with this
    process, however it ends.

    Args:
        workers: how many; as many as there are cores by default.

    Raises:
        InputError: for less than one.

    Example:
        >>> import lossatlas as la
        >>> with la.engine("pool:2"):
        ...     made = la.chart(
        ...         la.landscapes.himmelblau(),
        ...         la.Plane.random(la.landscapes.himmelblau()),
        ...         points=5,
        ...         exact=True,
        ...         progress=False,
        ...     )
        >>> made.loss.shape
        (5, 5)
    """

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(_checks.optional(_checks.whole, "workers", workers) or cores())
        self._folder = Path(tempfile.mkdtemp(prefix="lossatlas-"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        atexit.register(_close, weakref.ref(self))
        for slot in self._slots.values():
            self._start(slot)

    @property
    def speed(self) -> int:
        """One point per worker, but no more than there are cores or GPUs."""
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return max(1, min(self.width, gpus or cores()))

    @property
    def processes(self) -> tuple[int, ...]:
        """Numbers of the processes that run."""
        return tuple(process.pid for process in self._processes.values() if process.poll() is None)

    def close(self) -> None:
        """End all workers."""
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, slot: Slot) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(part or str(Path.cwd()) for part in sys.path)
        if torch.cuda.is_available():
            count = torch.cuda.device_count()
            seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
            environment["CUDA_VISIBLE_DEVICES"] = seen[(int(slot.name) - 1) % count]
        settings: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
        with (self._folder / slot.name).open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment,
                bufsize=2**20,
                **settings,
            )
        self._processes[slot.name] = process
        threading.Thread(target=self._listen, args=(slot, process), daemon=True).start()
        threading.Thread(target=_bury, args=(process,), daemon=True).start()

    def _listen(self, slot: Slot, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while (message := _wire.read(process.stdout)) is not None:
                self._events.put((slot, message))
        self._events.put((slot, None))

    def _send(self, slot: Slot, message: Message) -> None:
        stream = self._processes[slot.name].stdin
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            _wire.write(stream, message)

    def _end(self, slot: Slot) -> None:
        process = self._processes.get(slot.name)
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if stream is not None:
                    stream.close()

    def _last_words(self, slot: Slot) -> str:
        process = self._processes[slot.name]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        code = process.poll()
        how = "" if code is None else f" (signal {-code})" if code < 0 else f" (exit code {code})"
        with contextlib.suppress(OSError):
            lines = (self._folder / slot.name).read_text(errors="replace").strip().splitlines()
            if lines:
                return f"{how}; its last line was: {lines[-1][:300]}"
        return how


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _bury(process: subprocess.Popen[bytes]) -> None:
    """End what a worker has started once it has ended: as long as one of these lives, the worker's pipe stays open."""
    process.wait()
    if os.name == "posix":
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def _close(pool: weakref.ref[Pool]) -> None:
    found = pool()
    if found is not None:
        found.close()
