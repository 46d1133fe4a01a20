"""What a chart holds, measured on a model of 50 million parameters in a process of its own: this file run as a script."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas import _memory
from lossatlas.surface import Frame
from lossatlas.surface._threads import ABREAST_BYTES, workers

WIDTH, HIDDEN, THREADS = 1000, 25_000, 2


class Block(nn.Module):
    """As in a transformer; no chain of layers, so it is run as a model."""

    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x):
        return x + self.down(self.up(self.norm(x)).relu())


MODELS = {
    "block": Block,
    "chain": lambda: nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH)),
}


def memory(entry):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(entry))


def measure(kind, folder):
    """Peaks of resident memory above the user's model and data, in units of one θ."""
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    tiny = la.NetworkSurface(nn.Linear(3, 3), "cross_entropy", (torch.randn(4, 3), torch.zeros(4).long()))
    la.chart(tiny, la.Plane.random(tiny), points=3, progress=False)  # all modules are loaded
    model = MODELS[kind]()
    data = torch.randn(16, WIDTH), torch.randint(WIDTH, (16,))
    theta = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert theta >= 4 * 50_000_000
    found, begin = {}, memory("VmRSS")

    def peak(name, make):
        Path("/proc/self/clear_refs").write_text("5")
        made = make()
        found[name] = (memory("VmHWM") - begin) / theta
        return made

    surface = peak("surface", lambda: la.NetworkSurface(model, "cross_entropy", data))
    directions = torch.empty(2, surface.dimension).normal_(0.0, 0.01)
    frame = peak("frame", lambda: Frame(surface.theta, directions))
    chart = {"points": 2, "progress": False}
    peak("exact", lambda: la.chart(surface, frame, exact=True, **chart))
    peak("ledger", lambda: la.chart(surface, frame, exact=True, ledger=folder, **chart))
    peak("two fidelities", lambda: la.chart(surface, frame, points=3, subset=4, progress=False))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_a_chart_of_fifty_million_parameters_holds_a_stated_number_of_them(tmp_path, kind):
    arguments = [sys.executable, __file__, kind, str(tmp_path)]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    # θ and the copy of the model, and a third while they are made; then two directions; then a θ per point read side
    # by side (one more than there were, at two threads), and the work space of kernels on weights of half a θ each.
    # A layer chain is proven on a direction of its own.
    kernels = 1.0 + (kind == "chain")
    assert found["surface"] < 3.3
    assert found["frame"] < 4.6
    for name in ("exact", "ledger", "two fidelities"):
        assert found[name] < 4 + THREADS + kernels, found


def test_points_side_by_side_fit_a_bound_in_bytes():
    before = torch.get_num_threads()
    torch.set_num_threads(16)
    try:
        assert workers(1000) == 16 and workers(40) == 10 and workers(2) == 1
        assert workers(1000, each=200_000_000) == ABREAST_BYTES // 200_000_000 == 10
        assert workers(1000, each=10 * ABREAST_BYTES) == 1
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))


def test_what_does_not_fit_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(_memory, "LITTLE", 0)
    model = torch.nn.Linear(500, 400).eval()
    pair = (torch.randn(3, 500), torch.randint(4, (3,)))
    surface = la.NetworkSurface(model, "cross_entropy", pair)
    size = 4 * surface.dimension
    monkeypatch.setattr(_memory, "free", lambda device: 3 * size)
    with pytest.raises(
        la.InputError, match=r"got a plane through .* takes 0.00401 GB on cpu, where 0.0024 GB are free"
    ) as refused:
        la.Plane.random(surface)
    assert "la.StreamedSurface" in str(refused.value) and "\n" not in str(refused.value)
    la.Line.random(surface)
    monkeypatch.setattr(_memory, "free", lambda device: size - 1)
    with pytest.raises(la.InputError, match=r"NetworkSurface holds once more, which takes 0.000802 GB on cpu"):
        la.NetworkSurface(model, "cross_entropy", pair)


def test_what_is_free_is_told_by_the_machine():
    found = _memory.free(torch.device("cpu"))
    if found is None:
        pytest.skip("nobody says here how much memory is free")
    # Others take memory and give it back meanwhile.
    (told,) = [
        line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable")
    ]
    assert 0 < found <= 1.1 * 1024 * int(told)
    assert _memory.free(torch.device("meta")) is None


def test_files_that_were_read_are_room_within_a_limit(tmp_path, monkeypatch):
    for name, text in {
        "memory.max": "1000",
        "memory.current": "900",
        "memory.stat": "anon 100\nactive_file 300\ninactive_file 400\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(_memory, "_GROUPS", ((tmp_path, "memory.max", "memory.current"),))
    assert _memory.free(torch.device("cpu")) == 1000 - 900 + 300 + 400
    (tmp_path / "memory.max").write_text("max\n")
    assert _memory.free(torch.device("cpu")) > 1000
