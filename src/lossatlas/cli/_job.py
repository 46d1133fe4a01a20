"""One job of `lossatlas run`, in a process of its own: a command whose numbers do not depend on how many workers it has."""

from __future__ import annotations

import os
import sys
import threading

# How a job ends whose runner is gone.
ALONE = 1


def end_with(runner: int) -> None:
    """End this process at once when the runner's end of a pipe closes: the same call after it has the folder to itself."""

    def wait() -> None:
        os.read(runner, 1)
        os._exit(ALONE)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    runner, workers, *typed = sys.argv[1:]
    if runner:
        end_with(int(runner))
    # What takes seconds to import comes after that.
    from lossatlas.cli._main import main
    from lossatlas.probe.engine import engine

    with engine("inline" if workers == "1" else f"pool:{workers}"):
        main(typed)
