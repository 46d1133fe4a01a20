"""Workers on a Ray cluster, or on a local one that is started for the purpose."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import sys
from pathlib import Path
from typing import Any, final

from lossatlas import _checks
from lossatlas._errors import InputError, WorkerError
from lossatlas.probe.engine import _wire
from lossatlas.probe.engine._wire import Message
from lossatlas.probe.engine._workers import Event, Job, Slot, Workers, held

# The first version whose clusters can ask for a token.
LEAST = (2, 52)
# Seconds to wait at a time for whatever comes first: an answer, or Ctrl-C.
TURN = 0.2
# Seconds to wait for the first sign of a cluster, which Ray itself waits for during minutes.
KNOCK = 5.0
OPEN = (
    "the Ray cluster asks for no token: whoever reaches its port can run code on it, with your rights. Start it with "
    "RAY_AUTH_MODE=token, and give the same here"
)


@final
class Ray(Workers):
    """Workers that are Ray actors.

    Bytes go to them and come back; the cluster needs lossatlas installed, and sees the files that a recipe names. It is
    trusted: whoever can reach a Ray cluster can run code on it.

    Args:
        address: of a cluster, ``"auto"`` for the one that this machine belongs to, or None to start a local one.
        workers: how many; by default one per core, or GPU where each takes some, that the cluster has.
        gpus: that each worker takes; a part of one is possible.
        cpus: that each worker takes.

    Raises:
        InputError: without Ray, or with a version before 2.52.
        WorkerError: if the cluster cannot be reached.
    """

    kind = "a Ray engine"

    def __init__(
        self, address: str | None = "auto", *, workers: int | None = None, gpus: float = 0, cpus: float = 1
    ) -> None:
        self._ray = ray = _imported()
        self._began = not ray.is_initialized()
        if self._began:
            try:
                _knock(address)
                ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
            except Exception as error:  # of many kinds, by how a cluster cannot be reached
                said = " ".join(str(error).split())[:300]
                raise WorkerError(
                    f"the Ray cluster {address!r} cannot be reached ({type(error).__name__}: {said}). Expected one that runs: start "
                    "it with 'ray start --head', or give address=None for a local one. A cluster that asks for a token wants it in "
                    "RAY_AUTH_TOKEN."
                ) from error
        # Ray sets the variable itself where it finds a token; a cluster with one refuses a driver without.
        self._open = address is not None and os.environ.get("RAY_AUTH_MODE", "").lower() != "token"
        if self._open:
            print(f"{OPEN}.", file=sys.stderr)
        there = ray.cluster_resources()
        by_default = max(1, int(there.get("GPU", 0) / gpus if gpus else there.get("CPU", 1) / max(cpus, 1e-9)))
        super().__init__(_checks.optional(_checks.whole, "workers", workers) or by_default)
        self._resources = {"num_cpus": cpus, "num_gpus": gpus}
        self._actors: dict[str, Any] = {}
        self._waiting: dict[Any, Slot] = {}
        self._recipes: dict[str, Any] = {}
        for slot in self._slots.values():
            self._start(slot)

    @property
    def notes(self) -> tuple[str, ...]:
        """Whether workers compute as the driver does, and whether others may use the cluster."""
        return (*super().notes, OPEN) if self._open else super().notes

    def close(self) -> None:
        """End all workers, and the cluster where it was started for them."""
        if not self._closed:
            super().close()
            if self._began:
                self._ray.shutdown()

    def _start(self, slot: Slot) -> None:
        environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(part or str(Path.cwd()) for part in sys.path)
        made = self._ray.remote(_Actor).options(
            **self._resources, max_restarts=0, max_task_retries=0, runtime_env={"env_vars": environment}
        )
        self._actors[slot.name] = actor = made.remote()
        self._waiting[actor.hello.remote()] = slot

    def _send(self, slot: Slot, message: Message) -> None:
        self._waiting[self._actors[slot.name].answer.remote(_wire.packed(message))] = slot

    def _send_recipe(self, slot: Slot, head: dict[str, Any], job: Job) -> None:
        # Once into the cluster's memory, not once per worker.
        if job.digest not in self._recipes:
            self._recipes = {job.digest: self._ray.put(_wire.packed(Message({}, held(job))))}
        build = self._actors[slot.name].build.remote(_wire.packed(Message(head, {})), self._recipes[job.digest])
        self._waiting[build] = slot

    def _end(self, slot: Slot) -> None:
        actor = self._actors.pop(slot.name, None)
        self._waiting = {ref: other for ref, other in self._waiting.items() if other is not slot}
        if actor is not None:
            with contextlib.suppress(Exception):
                self._ray.kill(actor, no_restart=True)

    def _next(self, patience: float) -> Event | None:
        with contextlib.suppress(queue.Empty):
            return self._events.get_nowait()  # an interrupt
        if not self._waiting:
            return super()._next(min(patience, TURN))
        ready, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=max(0.0, min(patience, TURN)))
        if not ready:
            return None
        slot = self._waiting.pop(ready[0])
        try:
            return slot, _wire.unpacked(self._ray.get(ready[0]))
        except self._ray.exceptions.RayError as error:
            if isinstance(error, self._ray.exceptions.ActorUnavailableError):
                # Not dead, only out of reach for a moment: what it had is asked for again when it is back.
                self._waiting[self._actors[slot.name].hello.remote()] = slot
                return None
            return slot, None


class _Actor:
    """A worker in a cluster."""

    def __init__(self) -> None:
        from lossatlas.probe.engine._station import Station, settle

        settle()
        self._station = Station()

    def hello(self) -> bytes:
        """That it is there."""
        return _wire.packed(Message({"kind": "ready", "task": 0}, {}))

    def process(self) -> int:
        """Its number on its machine."""
        return os.getpid()

    def answer(self, raw: bytes) -> bytes:
        """The answer to a message."""
        return _wire.packed(self._station.answer(_wire.unpacked(raw)))

    def build(self, head: bytes, tensors: bytes) -> bytes:
        """The answer to a message whose tensors came another way."""
        message = Message(_wire.unpacked(head).head, _wire.unpacked(tensors).tensors)
        return _wire.packed(self._station.answer(message))


def _knock(address: str | None) -> None:
    """See whether somebody is at an address of a machine and a port.

    Raises:
        OSError: if not, or for no port.
    """
    host, _, port = (address or "").rpartition("://")[2].partition("/")[0].rpartition(":")
    if host:
        with socket.create_connection((host.strip("[]"), int(port) if port.isdigit() else 0), timeout=KNOCK):
            pass


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "got a Ray engine without Ray; expected it to be installed. pip install 'lossatlas[ray]', or use workers on this machine: "
            "engine='pool'."
        ) from error
    version = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if version < LEAST:
        raise InputError(
            f"got Ray {ray.__version__}; expected at least {'.'.join(map(str, LEAST))}. pip install -U 'lossatlas[ray]'."
        )
    return ray
