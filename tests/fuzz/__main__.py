"""Many calls with odd arguments: python tests/fuzz N [SEED] [NAME…]; what is found is printed."""

from __future__ import annotations

import collections
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import command_lines
import odd_calls

if __name__ == "__main__":
    count, seed = (int(sys.argv[1]) if len(sys.argv) > 1 else 20_000), (int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    began = time.monotonic()
    # What takes its size from an argument ends here, and not the machine.
    resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = []
        made = (
            command_lines.fuzz(Path(folder), count, seed)
            if sys.argv[3:] == ["commands"]
            else odd_calls.fuzz(Path(folder), count, seed, only=tuple(sys.argv[3:]), limit=float(os.environ.get("LIMIT", "8")))
        )
        for case, outcome in made:
            found.append((case, outcome))
            if outcome.is_fault:
                print(f"  {outcome.kind} {case}: {outcome.words[:200]!r}", flush=True)
            if len(found) % 1000 == 0:
                print(f"{len(found)} calls, {time.monotonic() - began:.0f} s", flush=True)
        os.chdir("/")
    kinds = collections.Counter(outcome.kind for _, outcome in found)
    print(f"{len(found)} calls in {time.monotonic() - began:.0f} s: {dict(kinds)}")
    costs = collections.Counter()
    for case, outcome in found:
        costs[case.partition("(")[0]] += outcome.seconds
    print("longest:", [(name, round(cost, 1)) for name, cost in costs.most_common(12)])
    places = collections.defaultdict(list)
    for case, outcome in found:
        if outcome.is_fault:
            where = outcome.words.rpartition("@ ")[2] if outcome.kind == "raw" else outcome.words
            places[outcome.kind, where].append((case, outcome))
    for (kind, where), cases in sorted(places.items(), key=lambda item: -len(item[1])):
        print(f"{len(cases):5} {kind} {where[:200]}")
        for case, outcome in cases[:3]:
            print(f"          {case}: {outcome.words[:180]!r}")
