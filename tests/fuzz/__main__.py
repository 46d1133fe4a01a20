"""Many calls and commands with odd arguments: python tests/fuzz N [SEED] [NAME…]; what is found is printed.

A tenth of N are commands. Where no NAME limits the calls, counts go to bench/fuzz.md and into bench/results.md.
"""

from __future__ import annotations

import argparse
import collections
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import command_lines
import odd_calls
import torch

BENCH = Path(__file__).parents[2] / "bench"
HEAD, PAGE = "## The fuzzer", "## The explorer's page"
FAULTS = {
    "raw": "raw exceptions", "hang": "hangs", "model": "changed models", "setting": "changed settings",
    "file": "files outside of the folder given",
}  # fmt: skip


def section(counts: dict[str, collections.Counter[str]], seed: int, seconds: float) -> str:
    """What was called and what became of it, as a part of the benchmarks."""
    rows = [
        "| what | calls | refused in our words | results | " + " | ".join(FAULTS.values()) + " |",
        "|---" * (4 + len(FAULTS)) + "|",
    ]
    for what, found in counts.items():
        numbers = [found.total(), found["refused"], found["result"], *(found[kind] for kind in FAULTS)]
        rows.append(f"| {what} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    return (
        f"{HEAD}\n\nWritten by `make fuzz`: valid calls of every public function, method and command with one or two arguments replaced "
        f"by odd values. Seed {seed}, {seconds:.0f} s, torch {torch.__version__}, Python {platform.python_version()}.\n\n"
        + "\n".join(rows)
        + "\n"
    )


def write(text: str) -> None:
    """Put the section where `bench/run.py` finds it again, and into the results."""
    (BENCH / "fuzz.md").write_text(text)
    results = BENCH / "results.md"
    before, _, behind = results.read_text().partition(HEAD)
    own, head, page = (behind or before).partition(PAGE)
    kept = before if behind else own
    results.write_text(f"{kept.rstrip()}\n\n{text}" + (f"\n{head}{page}" if head else ""))


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("count", type=int, nargs="?", default=20_000)
    asked.add_argument("seed", type=int, nargs="?", default=0)
    asked.add_argument("names", nargs="*", help="calls whose names begin so; 'commands' for commands alone")
    asked.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    given = asked.parse_args()
    began = time.monotonic()
    # What takes its size from an argument ends here, and not the machine.
    resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    counts: dict[str, collections.Counter[str]] = {}
    commands_alone = given.names == ["commands"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        parts = {}
        if not commands_alone:
            many = given.count - given.count // 10 if not given.names else given.count
            parts["calls"] = odd_calls.fuzz(
                Path(folder), many, given.seed, only=tuple(given.names), seconds=given.seconds * 0.8
            )
        if commands_alone or not given.names:
            many = given.count if commands_alone else given.count // 10
            parts["commands"] = command_lines.fuzz(
                Path(folder), many, given.seed, limit=30.0, seconds=given.seconds * (1.0 if commands_alone else 0.2)
            )
        for what, made in parts.items():
            counts[what] = collections.Counter()
            for case, outcome in made:
                counts[what][outcome.kind] += 1
                if outcome.is_fault:
                    print(f"{outcome.kind} {ascii(case)[1:-1]}: {outcome.words[:300]!a}", flush=True)
                if counts[what].total() % 1000 == 0:
                    print(f"{counts[what].total():,} {what}, {time.monotonic() - began:.0f} s", flush=True)
        os.chdir("/")
    text = section(counts, given.seed, time.monotonic() - began)
    print(text)
    if not given.names:
        write(text)
    sys.exit(any(found[kind] for found in counts.values() for kind in FAULTS))
