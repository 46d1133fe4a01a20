"""What the pages show runs: the Python blocks of README.md and docs/ in order, one page after the other.

Pages use names that they do not define (``model``, ``X``, ``surface`` …): those are prepared here, small. Each page begins
with a fresh set of them, in an empty folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

import lossatlas as la

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Pages of more than a few seconds, and the numbers in them that a test can make smaller.
SLOW = {"README.md", "docs/index.md", "docs/curvature.md", "docs/races.md", "docs/connect.md", "docs/charts.md"}
SMALLER = {
    "README.md": {"points=51": "points=15"},
    "docs/races.md": {"runs=1000": "runs=20", "steps=300": "steps=40"},
    "docs/charts.md": {"seeds=6": "seeds=2", "points=51": "points=15"},
    "cluster": {"epochs=40": "epochs=4", "points=31": "points=9"},
    "connected": {"epochs=20": "epochs=2", "steps=300": "steps=30"},
    "flatness": {"epochs=60": "epochs=10", "steps=60": "steps=20"},
    "stuck": {"runs=100": "runs=20"},
    "surroundings": {"epochs=4": "epochs=1", "points=31": "points=9"},
}
# What only an extra can do.
EXTRAS = {"h5": "h5py", "to_xarray": "xarray", "to_dataframe": "pandas"}


def smaller(name: str, text: str) -> str:
    """A page or a script with smaller numbers, each of which is still in it."""
    for given, less in SMALLER.get(name, {}).items():
        assert given in text, f"{name} has no {given} any more"
        text = text.replace(given, less)
    return text


def blocks(page: str) -> list[tuple[int, str]]:
    """The blocks of a page with the number of their first line."""
    text = smaller(page, (ROOT / page).read_text(encoding="utf-8"))
    return [(text[: found.start(1)].count("\n"), found[1]) for found in BLOCK.finditer(text)]


PAGES = [str(path.relative_to(ROOT)) for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]]
PAGES = [page for page in PAGES if blocks(page)]
SCRIPTS = sorted((ROOT / "examples" / "howto").glob("*.py"))


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 40) -> None:
    X, y = data(0)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimizer.step()


def data(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(60, 6, generator=generator)
    return X, X[:, :3].argmax(1)


def trained(seed: int) -> nn.Module:
    model = net(seed)
    train(model, torch.optim.Adam(model.parameters(), lr=0.02))
    return model.eval()


def prepared() -> dict[str, Any]:
    """The names that pages take for granted, and the files."""
    model = net(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    (X, y), (X_test, y_test) = data(0), data(1)
    Path("checkpoints").mkdir()
    for step in (0, 10, 20):
        torch.save(trained(step).state_dict(), f"checkpoints/net-{step}.pt")
    torch.save(net(3).state_dict(), "checkpoints/best.pt")
    for step in (0, 100):
        torch.save(trained(step).state_dict(), f"step-{step}.pt")
    surface = la.NetworkSurface(model, "cross_entropy", (X, y))
    made = {name: surface.vector(trained(k)) for k, name in enumerate("abc")}
    iterates = [Path("checkpoints") / f"net-{step}.pt" for step in (0, 10, 20)]
    return {
        "la": la, "torch": torch, "model": model, "optimizer": optimizer, "train": train, "X": X, "y": y, "X_test": X_test,
        "y_test": y_test, "surface": surface, **made, "d1": made["b"] - made["a"], "d2": made["c"] - made["a"],
        "iterates": iterates, "initialization": surface.vector(net(9)), "folder": "saved", "plain": surface,
        "residual": la.NetworkSurface(trained(5), "cross_entropy", (X, y)),
    }  # fmt: skip


def marked(page: str) -> Any:
    return pytest.param(page, marks=pytest.mark.slow) if page in SLOW else page


@pytest.mark.slow
@pytest.mark.parametrize("page", [marked(page) for page in PAGES])
def test_the_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch, capsys, sketched):
    monkeypatch.chdir(tmp_path)
    names = prepared()
    for line, source in blocks(page):
        kept = [
            row for row in source.splitlines()
            if all(find_spec(extra) for word, extra in EXTRAS.items() if word in row)
        ]  # fmt: skip
        code = compile("\n" * line + "\n".join(kept), page, "exec", dont_inherit=True)
        try:
            exec(code, names)
        except Exception as error:
            raise AssertionError(f"{page}, block at line {line + 1}: {type(error).__name__}: {error}") from error
    plt.close("all")


# The script that runs as its reader runs it, in a process of its own and with its own numbers.
ALONE = "explorer"
# Pictures of pages in a browser, which no script draws.
SCREENSHOTS = {"explorer.png"}


def test_there_are_pages_to_run():
    assert {"README.md", "docs/index.md", "docs/charts.md", "docs/recording.md", "docs/recipes/objective.md"} <= set(
        PAGES
    )


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_how_to_script_runs_and_draws_the_pictures_of_its_page(script, tmp_path, monkeypatch, capsys, sketched):
    if script.stem == ALONE:
        environment = os.environ | {"PYTHONPATH": str(Path(la.__file__).parents[1])}
        ran = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
    else:
        monkeypatch.chdir(tmp_path)
        source = smaller(script.stem, script.read_text(encoding="utf-8"))
        exec(compile(source, script, "exec", dont_inherit=True), {"__name__": "__main__"})
    page = (ROOT / "docs" / "howto" / f"{script.stem}.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\.\./images/([\w-]+\.png)", page))
    assert shown - SCREENSHOTS == {path.name for path in tmp_path.glob("*.png")}
    assert f'--8<-- "howto/{script.name}"' in page
    assert all((ROOT / "docs" / "images" / name).is_file() for name in shown)


def test_every_how_to_page_has_its_script():
    assert {path.stem for path in SCRIPTS} == {
        path.stem for path in (ROOT / "docs" / "howto").glob("*.md") if not path.stem.startswith("cluster-")
    }
