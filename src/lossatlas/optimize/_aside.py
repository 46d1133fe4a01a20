"""Code that calls for answers in the middle of a call of its own, such as an optimizer with a closure, beside a walk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, final

from torch import Tensor, get_rng_state, set_rng_state


@final
class Chance:
    """The global random stream of torch as foreign code finds it: one for each run, independent of the other runs.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._own: Tensor | None = None
        self._others: Tensor | None = None

    def __enter__(self) -> None:
        from torch import default_generator

        self._others = get_rng_state()
        if self._own is None:
            default_generator.manual_seed(self._seed)
        else:
            set_rng_state(self._own)

    def __exit__(self, *_: object) -> None:
        self._own = get_rng_state()
        assert self._others is not None
        set_rng_state(self._others)


class _Left(BaseException):
    """Thrown into code that nobody waits for any longer."""


@final
class Aside:
    """A job on a thread of its own that works only while it is waited for, so that nothing runs at the same time.

    Args:
        job: is given a function that asks for something and returns the answer; returns when it is done.
        chance: its random stream.

    Attributes:
        want: what it asks for, or None once it is done.
    """

    def __init__(self, job: Callable[[Callable[[Any], Any]], None], chance: Chance) -> None:
        self._job, self._chance = job, chance
        self._wants: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.want: Any = None
        with chance:
            self._thread.start()
            self._wait()

    def tell(self, answer: Any) -> None:
        """Answer what it asks for, and wait for what it asks for next.

        Raises:
            Exception: what the job raised.
        """
        with self._chance:
            self._answers.put(answer)
            self._wait()

    def close(self) -> None:
        """End it where it is, if it is not done."""
        if self.want is not None:
            self._answers.put(_Left)
            self._thread.join(1.0)

    def _wait(self) -> None:
        self.want, error = self._wants.get()
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            self._job(self._ask)
        except _Left:
            return
        except BaseException as error:
            self._wants.put((None, error))
            return
        self._wants.put((None, None))

    def _ask(self, want: Any) -> Any:
        self._wants.put((want, None))
        answer = self._answers.get()
        if answer is _Left:
            raise _Left
        return answer
