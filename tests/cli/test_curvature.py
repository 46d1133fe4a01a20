"""`lossatlas curvature` as its user types it."""

import json
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lossatlas.cli import main

MINE = """
import torch
from torch import nn

def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()

def make_data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(20, 4, generator=generator, dtype=torch.float64), torch.arange(20) % 3

def nan_gradient():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        def forward(self, x):
            return x[:, :3] @ self.w.abs().sqrt()
    return Root()

def one_layer():
    return nn.Linear(4, 3).double()

def straight(output, target):
    return output.mean()
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("curved.py").write_text(MINE)
    return tmp_path


def run(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code


NETWORK = ("curvature", "--model", "curved.py:make_model", "--data", "curved.py:make_data", "--quiet")


@pytest.mark.slow
def test_a_network_is_measured_told_written_and_billed(mine, capsys):
    for step in (0, 1):
        weights = {"0.weight": torch.full((5, 4), 0.1 * step).double(), "0.bias": torch.zeros(5).double()}
        weights |= {"2.weight": torch.ones(3, 5).double(), "2.bias": torch.zeros(3).double()}
        save_file(weights, f"w{step}.safetensors")
    words = shlex.split("--checkpoint w1.safetensors --k 2 --probes 2 --steps 10 --out out --json c.json")
    more = shlex.split(
        "--search 1 --along w0.safetensors --along w1.safetensors --lr 0.5 --sharpness 'sam(0.1),keskar'"
    )
    assert run(*NETWORK, *words, *more) == 0
    said = capsys.readouterr().out
    for part in ("43 parameters, 20 examples", "no critical point: loss", "λmax =", "tr H =", "eigenvalues from",
                 "sam (ρ = 0.1 in the 2-norm)", "keskar (ρ = 0.001", "1 search:", "2/η", "Hessian-vector products,"):  # fmt: skip
        assert part in said, part
    record = json.loads(Path("c.json").read_text())
    assert record["kind"] == "curvature" and record["extremes"]["largest"]["residuals"]
    assert record["sharpness"][0]["definition"]["rho"] == 0.1 and record["along"]["checkpoints"] == 2
    assert record["meter"]["products"] > 0 and record["point"]["label"] == "unfinished"
    assert record["surface"]["loss"] == "cross_entropy"
    written = {path.name for path in Path("out").iterdir()}
    assert {
        "curvature.json",
        "extremes.png",
        "spectrum.png",
        "index.png",
        "along.png",
        "spectrum.safetensors",
    } <= written
    assert json.loads(Path("out/curvature.json").read_text()) == record


def test_a_landscape_is_measured_at_its_start_or_where_asked(mine, capsys):
    assert run("curvature", "himmelblau", "--at", "3,2", "--quiet", "--sharpness", "none", "--probes", 0) == 0
    said = capsys.readouterr().out
    assert "a critical point (minimum)" in said and "sharpness" not in said and "spectrum" not in said
    assert run("curvature", "monkey-saddle", "--k", 1, "--quiet", "--at", "0,0") == 0
    assert "degenerate" in capsys.readouterr().out


@pytest.mark.slow
def test_a_linear_loss_has_no_curvature_and_nothing_breaks(mine, capsys):
    assert run(*NETWORK, "--loss", "curved.py:straight", "--model", "curved.py:one_layer", "--k", 1) == 0
    said = capsys.readouterr().out
    assert "tr H = 0, exact" in said and "gradient-flat" in said and "λmax = 0" in said


BAD = {
    "no surface": (("curvature",), "neither a LANDSCAPE"),
    "both": (("curvature", "himmelblau", "--model", "curved.py:make_model"), "one or the other"),
    "point of a network": ((*NETWORK, "--at", "1,2"), "with a LANDSCAPE"),
    "point of another dimension": (("curvature", "himmelblau", "--at", "1,2,3"), "shape"),
    "no such landscape": (("curvature", "himelblau"), "himmelblau"),
    "k above N": (("curvature", "himmelblau", "--k", "3"), "1 to 2"),
    "k of zero": ((*NETWORK, "--k", "0"), "k=0"),
    "no such sharpness": ((*NETWORK, "--sharpness", "sharp"), "kind of sharpness"),
    "a radius that is none": ((*NETWORK, "--sharpness", "sam(x)"), "sam(0.1)"),
    "a negative radius": ((*NETWORK, "--probes", "0", "--k", "1", "--sharpness", "sam(-1)"), "rho"),
    "no such checkpoint": ((*NETWORK, "--checkpoint", "none.safetensors"), "no checkpoint file"),
    "no such function": (("curvature", "--model", "curved.py:nothing", "--data", "curved.py:make_data"), "no function"),
    "a gradient that is NaN": (
        ("curvature", "--model", "curved.py:nan_gradient", "--data", "curved.py:make_data", "--loss", "curved.py:straight", "--k", "1"),
        "not finite",
    ),
    "a folder that is a file": ((*NETWORK, "--out", "curved.py"), "curved.py"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_paragraph_and_exit_code_two(mine, capsys, case):
    words, part = BAD[case]
    assert run(*words, "--json", "never.json") == 2
    error = capsys.readouterr().err
    assert part in error and len(error.strip().splitlines()) <= 4 and "Traceback" not in error
    assert not Path("never.json").exists()


def test_the_help_teaches(capsys):
    assert run("curvature", "--help") == 0
    said = capsys.readouterr().out
    for part in ("is the point critical", "residuals", "does not prove a minimum", "curvature.json", "--checkpoint"):
        assert part in said


SHORT = (
    "curvature",
    "himmelblau",
    "--quiet",
    "--k",
    "1",
    "--probes",
    "1",
    "--steps",
    "2",
    "--sharpness",
    "sam(0.1),keskar",
)


@pytest.mark.slow
def test_what_a_stopped_command_had_is_kept_and_not_measured_again(mine, monkeypatch, capsys):
    import lossatlas as la
    from lossatlas import curvature

    real, calls = curvature.sharpness, []

    def stops(surface, kind, **settings):
        calls.append(kind)
        if kind == "keskar" and len(calls) == 2:
            raise KeyboardInterrupt
        return real(surface, kind, **settings)

    monkeypatch.setattr(curvature, "sharpness", stops)
    monkeypatch.setattr(curvature.Extremes, "plot", None)  # nothing is drawn by what is stopped
    assert run(*SHORT, "--out", "out", "--json", "c.json") == 130
    for file in ("c.json", "out/curvature.json"):
        record = json.loads(Path(file).read_text())
        assert (
            record["status"] == "unfinished"
            and len(record["sharpness"]) == 1
            and record["extremes"]["status"] == "converged"
        )
    kept = la.load("out/extremes.json")
    monkeypatch.setattr("lossatlas.cli._curvature._draw", lambda *_: None)
    assert run(*SHORT, "--out", "out", "--json", "c.json") == 0
    assert calls == ["sam", "keskar", "keskar"] and "5 results came from the folder" in capsys.readouterr().out
    record = json.loads(Path("c.json").read_text())
    assert record["status"] == "complete" and len(record["sharpness"]) == 2
    assert la.load("out/extremes.json").meter.products == kept.meter.products
    # Other settings, other weights, a file that is not the one that was written: measured anew.
    assert run(*SHORT, "--relative", "0.5", "--out", "out") == 0
    assert "5 results came from the folder" in capsys.readouterr().out
    Path("out/spectrum.json").write_text("{}")
    assert run(*SHORT, "--relative", "0.5", "--out", "out") == 0
    assert "5 results came from the folder" in capsys.readouterr().out
    assert run(*SHORT, "--relative", "0.5", "--out", "out", "--how", "differences") == 0
    streams = capsys.readouterr()
    assert "came from the folder" not in streams.out and "is measured anew" in streams.err
    assert "Hessian-vector products by central differences of gradients, since as requested" in streams.out


@pytest.mark.slow
def test_a_command_that_goes_on_forgets_nothing_on_its_way(mine, monkeypatch, capsys):
    monkeypatch.setattr("lossatlas.cli._curvature._draw", lambda *_: None)
    from lossatlas.cli import _kept

    assert run(*SHORT, "--out", "out") == 0
    whole, seen = json.loads(Path("out/curvature.json").read_text()), []
    real = _kept.Kept._write

    def watched(self):
        real(self)
        seen.append(json.loads(Path("out/curvature.json").read_text()))

    monkeypatch.setattr(_kept.Kept, "_write", watched)
    assert run(*SHORT, "--out", "out") == 0
    assert len(seen) > 3 and {record["status"] for record in seen[:-1]} == {"unfinished"}
    for record in seen:
        assert record["settings"] == whole["settings"] and record["sharpness"] == whole["sharpness"]
        assert {"extremes", "trace", "spectrum"} <= record.keys()
