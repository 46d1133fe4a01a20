"""Small runs to record."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lossatlas.demo import digits, digits_mlp


class Run:
    """A plain loop over a small network with dropout, drawn from the global random state."""

    def __init__(self, make=torch.optim.Adam, model: nn.Module | None = None, **settings):
        torch.manual_seed(7)
        self.model = model or nn.Sequential(nn.Dropout(0.2), *digits_mlp((16,), seed=1)).train()
        self.optimizer = make(self.model.parameters(), **{"lr": 1e-2, **settings})
        self.x, self.y = digits("test")
        self.points = [self.theta()]

    def theta(self) -> torch.Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.model.parameters()]).clone()

    def steps(self, count: int, note=None) -> Run:
        for _ in range(count):
            rows = torch.randint(len(self.y), (32,))
            loss = nn.functional.cross_entropy(self.model(self.x[rows]), self.y[rows])
            self.optimizer.zero_grad()
            loss.backward()
            if note is not None:
                note(loss=loss)
            self.optimizer.step()
            self.points.append(self.theta())
        return self

    def bits(self) -> list[torch.Tensor]:
        state = [v for part in self.optimizer.state.values() for v in part.values() if isinstance(v, torch.Tensor)]
        return [*self.model.state_dict().values(), *state, torch.get_rng_state()]


@pytest.fixture(scope="session")
def run():
    return Run


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def disk(tmp_path):
    """A tiny disk of its own; skipped where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def script(tmp_path):
    """Runs a Python script of its own, as a user would."""

    def call(text: str, *args: str, check: bool = True, **variables: str):
        path = Path(tmp_path) / "script.py"
        path.write_text(text)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
        return subprocess.run(
            [sys.executable, str(path), *args],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=check,
        )

    return call
