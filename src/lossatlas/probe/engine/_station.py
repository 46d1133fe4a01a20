"""A worker's side: it makes surfaces from recipes, says what they are, and evaluates rows on them."""

from __future__ import annotations

import os
import time
from typing import Any, final

import torch

from lossatlas.probe import _manifest
from lossatlas.probe._recipe import Recipe, identity_of
from lossatlas.probe.engine._evaluate import evaluate, steadied
from lossatlas.probe.engine._wire import Message, told

# Set where a process is a worker: it has no workers of its own.
MARK = "LOSSATLAS_WORKER"
# Surfaces that are held, the last used ones: more than any driver counts on.
KEPT = 8


@final
class Station:
    """Answers messages of a driver, one at a time.

    ==========  ==========================================================  ==========================================
    ``build``   makes a surface                                             ``built``: what it is, and with what
    ``work``    evaluates rows on one of them                               ``done``: the answers, and seconds
    ==========  ==========================================================  ==========================================

    Either is answered with ``raised`` where the user's code, or ours, raised an exception.
    """

    def __init__(self) -> None:
        self._made: dict[str, tuple[Any, Any]] = {}

    def answer(self, message: Message) -> Message:
        """The answer to a message."""
        head = message.head
        try:
            return self._build(message) if head["kind"] == "build" else self._work(message)
        except Exception as error:  # of the user's own code among others: it is told, and raised where the driver is
            return Message({"kind": "raised", "of": head["kind"], "task": head["task"], "error": told(error)}, {})

    def _build(self, message: Message) -> Message:
        head, tensors = message.head, dict(message.tensors)
        pickled = bytes(tensors.pop("pickled").numpy()) if "pickled" in tensors else b""
        recipe = Recipe(tuple(head["steps"]), tuple(head["outputs"]), tensors, pickled, head["script"], head["files"])
        on, source = recipe.build()
        on = steadied(on)
        self._made[head["digest"]] = on, source
        if len(self._made) > KEPT:
            del self._made[next(iter(self._made))]
        identity = identity_of(on, source)
        built = {
            "kind": "built",
            "task": head["task"],
            "digest": head["digest"],
            "identity": identity,
            "proofs": on.proof_examples,
        }
        return Message({**built, "with": _manifest.environment()}, {})

    def _work(self, message: Message) -> Message:
        head = message.head
        on, source = self._made[head["digest"]] = self._made.pop(head["digest"])
        shared = {name.removeprefix("shared "): t for name, t in message.tensors.items() if name.startswith("shared ")}
        rows = {name: t for name, t in message.tensors.items() if not name.startswith("shared ")}
        begin, proofs = time.perf_counter(), on.proof_examples
        answer = evaluate(on, source, head["query"], rows, shared, head["size"])
        seconds, proofs = time.perf_counter() - begin, on.proof_examples - proofs
        return Message({"kind": "done", "task": head["task"], "seconds": seconds, "proofs": proofs}, answer)


def settle() -> None:
    """Make a process a worker: kernels of one thread, and no workers of its own."""
    os.environ[MARK] = "1"
    torch.set_num_threads(1)


def is_worker() -> bool:
    """Whether this process is a worker."""
    return MARK in os.environ
