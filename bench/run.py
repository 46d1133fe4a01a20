"""Speed ratios against other programs: both sides in one process, in turn, medians of several rounds."""

from __future__ import annotations

import platform
from pathlib import Path

import basins
import chart_mlp
import race_seven
import torch

ROWS = (chart_mlp.measure, race_seven.measure, basins.measure, basins.annealing)


def main() -> None:
    head = "| what | ours, s | theirs, s | ratio, median (lowest to highest) | target | error of ours |"
    lines = [head, "|---|---|---|---|---|---|"]
    for measure in ROWS:
        row = measure()
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    text = (
        "# Benchmarks\n\nWritten by `make bench`. Both programs run in one process, in turn; ratios are pair by pair. "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, Python {platform.python_version()}.\n\n"
        + "\n".join(lines)
        + "\n"
    )
    (Path(__file__).parent / "results.md").write_text(text)
    print("written: bench/results.md")


if __name__ == "__main__":
    main()
