"""What no call may do, whatever it is given: raise what is not ours, hang, change a model or a setting, write elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.stats  # noqa: F401  (as the next, it draws from `random` when it is imported first: no doing of a call)
import sklearn.gaussian_process  # noqa: F401  (these set variables of the environment)
import sympy  # noqa: F401
import torch
import torch._dynamo
from torch import nn

import lossatlas as la

SOURCE = str(Path(la.__file__).parent)
HERE = str(Path(__file__).parent)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CACHES = ("/dev/null", "/proc/", "/dev/shm/", f"{tempfile.gettempdir()}/torchinductor")
CHANGES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
    "shutil.rmtree",
}


class Hang(BaseException):
    """Raised into a call that takes too long."""


@dataclass
class Outcome:
    """What became of one call: "result", "refused", "raw", "hang", "model", "setting" or "file", and the words for it."""

    kind: str
    words: str = ""
    seconds: float = 0.0

    @property
    def is_fault(self) -> bool:
        return self.kind not in ("result", "refused")


class Watch:
    """Runs calls one at a time and looks at what they leave."""

    def __init__(
        self, root: Path, models: dict[str, nn.Module], vectors: dict[str, torch.Tensor], limit: float
    ) -> None:
        self.root, self.models, self.vectors, self.limit = root.resolve(), models, vectors, limit
        self.allowed = [str(self.root)]
        self.written: list[str] | None = None
        with contextlib.suppress(ImportError):
            import matplotlib as mpl

            self.allowed += [mpl.get_cachedir(), mpl.get_configdir()]
        sys.addaudithook(self._saw)

    def _saw(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.written is None:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & WRITING) if isinstance(flags, int) else any(c in (mode or "") for c in "wax+")
            paths = [path] if writes else []
        elif event in CHANGES:
            paths = [one for one in arguments[:2] if isinstance(one, (str, bytes, os.PathLike))]
        else:
            return
        for path in paths:
            if isinstance(path, int):
                continue
            where = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  (a link is written where it lies)
            if not where.startswith((*self.allowed, *CACHES)) and "__pycache__" not in where:
                self.written.append(f"{event} {where}")

    def __call__(self, call: Callable[[], Any]) -> Outcome:
        before, digests, began = settings(), self._digests(), time.process_time()
        self.written = []
        outcome = Outcome("result")
        with quiet():
            try:
                with limited(self.limit):
                    call()
            except Hang:
                outcome = Outcome("hang", _ours(sys.exc_info()[2]) or "no frame of ours")
            except (la.LossAtlasError, click.ClickException, click.exceptions.Exit, click.exceptions.Abort) as error:
                outcome = Outcome("refused", f"{type(error).__name__}: {error}")
            except BaseException as error:
                place = _ours(error.__traceback__)
                kind = "raw" if place or str(error).startswith("exit code") else "refused"
                outcome = Outcome(kind, f"{type(error).__name__}: {_text(error)[:200]} @ {place}")
        seen, self.written = self.written, None
        # What was made and is gone again was a place to work in.
        made = {one.partition(" ")[2] for one in seen if one.startswith(("os.mkdir ", "open "))}
        seen = [one for one in seen if (path := one.partition(" ")[2]) not in made or Path(path).exists()]
        if not outcome.is_fault:
            changed = [name for name, value in self._digests().items() if digests[name] != value]
            after = settings()
            other = [
                f"{name}: {before[name]!r:.80} → {after[name]!r:.80}" for name in before if before[name] != after[name]
            ]
            if seen:
                outcome = Outcome("file", "; ".join(seen[:3]))
            elif changed:
                outcome = Outcome("model", ", ".join(changed))
            elif other:
                outcome = Outcome("setting", "; ".join(other))
        restore(before)
        outcome.seconds = time.process_time() - began
        return outcome

    def _digests(self) -> dict[str, str]:
        found = {name: digest(model) for name, model in self.models.items()}
        return found | {
            name: hashlib.sha1(bytes(vector.detach().numpy())).hexdigest() for name, vector in self.vectors.items()
        }


def digest(model: nn.Module) -> str:
    """All that a model holds: weights, buffers, gradients, modes, hooks and what is trained."""
    found = hashlib.sha1()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        content = (
            b"meta" if tensor.is_meta else tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
        )
        found.update(f"{name} {tuple(tensor.shape)} {tensor.requires_grad} {tensor.grad is None}".encode() + content)
    for name, module in model.named_modules():
        found.update(
            f"{name} {type(module)} {module.training} {len(module._forward_hooks)} {len(module._forward_pre_hooks)}".encode()
        )
    return found.hexdigest()


def settings() -> dict[str, Any]:
    """Every setting of the process that somebody else may rely on."""
    return {
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "torch random state": hashlib.sha1(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "numpy random state": hashlib.sha1(repr(np.random.get_state(legacy=False)).encode()).hexdigest(),  # noqa: NPY002
        "random state": hash(random.getstate()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "folder": str(Path.cwd()),
        "filters": len(warnings.filters),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)],
        "environment": dict(os.environ),
        "path": list(sys.path),
        "arguments": list(sys.argv),
        "numpy errors": np.geterr(),
        "hooks": len(nn.modules.module._global_forward_hooks) + len(nn.modules.module._global_forward_pre_hooks),
        "excepthook": sys.excepthook,
    }


def restore(before: dict[str, Any]) -> None:
    """What one call changed does not reach the next."""
    torch.set_default_dtype(before["default dtype"])
    torch.set_grad_enabled(before["grad mode"])
    torch.set_num_threads(before["threads"])
    torch.use_deterministic_algorithms(before["deterministic"])
    os.chdir(before["folder"])
    sys.path[:], sys.argv[:] = before["path"], before["arguments"]


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `Hang` after so many seconds of work, or ten times as many of waiting: a machine may have more to do."""

    def over(*_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 1.0)  # again, where the first was caught on the way
        raise Hang

    earlier = {number: signal.signal(number, over) for number in (signal.SIGALRM, signal.SIGPROF)}
    try:
        signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No word of a call reaches the screen."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(no text)"


def _ours(trace: Any) -> str:
    """Where in our code an error came from: nothing where it left the user's code, or never was in ours."""
    frames = [frame for frame in traceback.extract_tb(trace) if frame.name != "over"]
    own = [k for k, frame in enumerate(frames) if frame.filename.startswith(SOURCE)]
    user = [k for k, frame in enumerate(frames) if frame.filename.startswith(HERE)]
    if not own or (user and user[-1] > own[-1]):
        return ""
    frame = frames[own[-1]]
    return f"{Path(frame.filename).relative_to(SOURCE)}:{frame.lineno} {frame.name}"
