"""Writing beside the training: one job at a time on a thread of its own, so that the loop does not wait for the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import final

from lossatlas._errors import LossAtlasError


@final
class Writer:
    """Runs one job at a time; a second one waits until the first is done. What fails is kept, not raised.

    Attributes:
        failure: what went wrong, or None.
        seconds: processor time spent writing.
    """

    def __init__(self) -> None:
        self.failure: str | None = None
        self.seconds = 0.0
        self._job: Callable[[], None] | None = None
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def wait(self) -> None:
        """Until nothing is being written: what was given may be changed again."""
        with self._change:
            while self._job is not None:
                self._change.wait()

    def run(self, job: Callable[[], None]) -> None:
        """Start a job; returns at once."""
        self.wait()
        with self._change:
            self._job = job
            if self._thread is None or not self._thread.is_alive():
                # It ends when it is idle, so that no thread is left behind by a run that is never closed.
                self._thread = threading.Thread(target=self._work, name="lossatlas recorder", daemon=True)
                self._thread.start()
            self._change.notify_all()

    def _work(self) -> None:
        while True:
            with self._change:
                if self._job is None and not self._change.wait(5.0) and self._job is None:
                    self._thread = None
                    return
                job = self._job
            if job is None:
                continue
            begin = time.thread_time()
            try:
                job()
            except Exception as error:  # kept: it is the recorder's to tell, and no thread of ours prints a trace
                said = str(error) if isinstance(error, LossAtlasError) else f"{type(error).__name__}: {error}"
                self.failure = self.failure or said
            with self._change:
                self.seconds += time.thread_time() - begin
                self._job = None
                self._change.notify_all()
