"""Speed ratios against other programs: both sides in one process, in turn, medians of several rounds.

python bench/run.py                   every measurement (long: a ResNet-20 is charted several times)
python bench/run.py chart_mlp race    only those whose name begins so; the other rows stay as they were measured
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
PAGE = "## The explorer's page"
HEAD = "| what | ours, s | theirs, s | ratio, median (lowest to highest) | target | error of ours, and what else was seen |"
MEASURES = {
    "chart_mlp": "chart_mlp.measure",
    "interpolated_mlp": "chart_interpolated.mlp",
    "interpolated_cnn": "chart_interpolated.cnn",
    "interpolated_resnet": "chart_interpolated.network",
    "interpolated_transformer": "chart_interpolated.transformer",
    "interpolated_lines": "chart_interpolated.lines",
    "interpolated_401": "chart_interpolated.resolution",
    "exact": "exact.measure",
    "proofs": "proofs.measure",
    "connect": "connect.measure",
    "train": "train.measure",
    "record_cnn": "train.recording_cnn",
    "record_mlp": "train.recording_mlp",
    "race_seven": "race_seven.measure",
    "basins": "basins.measure",
    "annealing": "basins.annealing",
    "curvature_mlp": "curvature.mlp",
    "curvature_resnet": "curvature.network",
    "products": "curvature.products",
    "large": "large.measure",
}


def main(names: list[str]) -> None:
    kept_in = HERE / "results.json"
    kept = json.loads(kept_in.read_text()) if kept_in.is_file() else {}
    for name, place in MEASURES.items():
        if names and not any(name.startswith(wanted) for wanted in names):
            continue
        module, function = place.split(".")
        found = getattr(importlib.import_module(module), function)()
        rows = [found] if isinstance(found[0], str) else found
        kept[name] = {"rows": rows, "torch": torch.__version__, "threads": torch.get_num_threads()}
        for row in rows:
            print("| " + " | ".join(row) + " |", flush=True)
        kept_in.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    rows = [row for name in MEASURES if name in kept for row in kept[name]["rows"]]
    text = (
        "# Benchmarks\n\nWritten by `make bench`. Both programs run in one process, in turn; ratios are pair by pair. "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, Python {platform.python_version()}.\n\n"
        + "\n".join([HEAD, "|---|---|---|---|---|---|", *("| " + " | ".join(row) + " |" for row in rows)])
        + "\n"
    )
    notes = [path.read_text() for path in (HERE / "causes.md", HERE / "fuzz.md") if path.is_file()]
    written = HERE / "results.md"
    # The browser tests measure the page, and write their own section.
    _, head, page = written.read_text().partition(PAGE) if written.is_file() else ("", "", "")
    written.write_text(text + "".join("\n" + note for note in notes) + (f"\n{head}{page}" if head else ""))
    print("written: bench/results.md")


if __name__ == "__main__":
    main(sys.argv[1:])
