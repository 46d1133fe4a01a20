"""Measures how long every lesson takes on one core, in full and in its short form, and keeps it where `lossatlas lessons` lists it.

    python bench/lessons.py --quick
    python bench/lessons.py --quick C3 G1
    python bench/lessons.py D4

Each lesson runs in a process of its own, imports and pictures included; what is kept is that process's CPU time with one
thread, which a busy machine changes least. The file is written after every lesson, so that a measurement can be taken in parts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from lossatlas import archive, lessons
from lossatlas.lessons import claims

FILE = Path(lessons.__file__).with_name("durations.json")
ONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
RUN = """
import sys, time
from lossatlas.lessons import lesson
evidence = lesson(sys.argv[1]).run(quick=sys.argv[2] == "quick")
evidence.save(sys.argv[3])
print(time.process_time(), evidence.seconds, evidence.verdict)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", help="lessons; all of them by default")
    parser.add_argument("--out", help="folder to keep evidence and pictures in")
    parser.add_argument("--quick", action="store_true", help="the short form")
    given = parser.parse_args()
    form = "quick" if given.quick else "full"
    for number in given.ids or claims():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", RUN, number, form, given.out or folder]
            said = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **ONE}
            ).stdout
        seconds, wall, verdict = said.split(maxsplit=2)
        kept = json.loads(FILE.read_text(encoding="utf-8"))
        kept["machine"] = f"one core, {platform.machine()}, Python {platform.python_version()}"
        kept["seconds"].setdefault(number, {})[form] = round(float(seconds), 1)
        kept["seconds"] = dict(sorted(kept["seconds"].items()))
        archive.write_json(FILE, kept)
        print(
            f"{number} {form}: {float(seconds):.1f} s of one core, {float(wall):.1f} s on the clock; {verdict.strip()}",
            flush=True,
        )


if __name__ == "__main__":
    main()
