"""One job of `lossatlas run`, in a process of its own: a command whose numbers do not depend on how many workers it has."""

from __future__ import annotations

import sys

from lossatlas.cli._main import main
from lossatlas.probe.engine import engine

if __name__ == "__main__":
    workers, *typed = sys.argv[1:]
    with engine("inline" if workers == "1" else f"pool:{workers}"):
        main(typed)
