"""One job at a time: it runs in a thread of its own, streams what it finds, and ends when its client goes away."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

from lossatlas._errors import LossAtlasError
from lossatlas.page import plain

Frame = dict[str, Any]
# Frames that wait for a slow client, and clients that wait for their turn.
BUFFERED, WAITING = 64, 200


def packed(head: Frame, body: bytes = b"") -> bytes:
    """A frame on the wire: length of its head, length of its body, both little-endian, then the two."""
    text = json.dumps(plain(head), separators=(",", ":"), allow_nan=False).encode()
    return struct.pack("<II", len(text), len(body)) + text + body


class Jobs:
    """Runs jobs one after another.

    Attributes:
        waiting: clients whose jobs have not begun.
        running: whether there is one at work.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.running = False
        self._turn: asyncio.Lock | None = None

    async def stream(self, work: Callable[[], Iterator[Frame]]) -> AsyncIterator[bytes]:
        """What a job yields, as frames; leaving this ends the job after the evaluation it is at, and only then the next begins."""
        self._turn = self._turn or asyncio.Lock()
        if self.waiting >= WAITING:
            yield packed({"kind": "refused", "sentence": "too many jobs wait already; try again later."})
            return
        self.waiting += 1
        try:
            if self._turn.locked():
                yield packed(
                    {"kind": "waiting", "sentence": f"{self.waiting} jobs wait; yours begins when they are done."}
                )
            await self._turn.acquire()
        finally:
            self.waiting -= 1
        self.running = True
        async with aclosing(_threaded(work, self._ended)) as frames:
            async for frame in frames:
                yield packed(frame)

    def _ended(self) -> None:
        """Let the next one begin."""
        self.running = False
        if self._turn is not None:
            self._turn.release()


async def _threaded(work: Callable[[], Iterator[Frame]], ended: Callable[[], None]) -> AsyncGenerator[Frame]:
    """What some work yields in a thread of its own.

    Args:
        work: the job.
        ended: called once the thread does nothing more, also where nobody waits for its frames any longer.
    """
    loop, stop = asyncio.get_running_loop(), threading.Event()
    frames: asyncio.Queue[Frame | None] = asyncio.Queue(BUFFERED)
    room = threading.Semaphore(BUFFERED)

    def put(frame: Frame | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(frames.put_nowait, frame)

    def run() -> None:
        try:
            for frame in work():
                while not room.acquire(timeout=0.1):
                    if stop.is_set():
                        return
                if stop.is_set():
                    return
                put(frame)
        except LossAtlasError as error:
            room.acquire(timeout=1)
            put({"kind": "failed", "sentence": str(error)})
        except Exception as error:
            room.acquire(timeout=1)
            put({"kind": "failed", "sentence": f"the job failed: {type(error).__name__}: {error}"})
        finally:
            if room.acquire(timeout=1):
                put(None)
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (frame := await frames.get()) is not None:
            room.release()
            yield frame
    finally:
        stop.set()
