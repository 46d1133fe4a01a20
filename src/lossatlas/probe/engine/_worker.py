"""The program of a worker process: messages on its standard input, answers on what was its standard output."""

from __future__ import annotations

import io
import os
import queue
import signal
import sys
import threading
from typing import BinaryIO


def main() -> None:
    """Answer until the driver closes the input; end at once if it does so while something is evaluated."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source: BinaryIO = os.fdopen(os.dup(0), "rb", buffering=2**20)
    sink: BinaryIO = os.fdopen(os.dup(1), "wb", buffering=2**20)
    # What the user's code prints goes where errors go, not among the answers.
    os.dup2(2, 1)
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    sys.stdin = io.StringIO()

    from lossatlas.probe.engine import _wire
    from lossatlas.probe.engine._station import Station, settle

    settle()
    waiting: queue.SimpleQueue[_wire.Message] = queue.SimpleQueue()

    def listen() -> None:
        while (message := _wire.read(source)) is not None:
            waiting.put(message)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    station = Station()
    _wire.write(sink, _wire.Message({"kind": "ready", "task": 0, "process": os.getpid()}, {}))
    while True:
        try:
            _wire.write(sink, station.answer(waiting.get()))
        except OSError:
            os._exit(0)
