"""`lossatlas volume`: what it writes, prints and resumes, and one paragraph for what does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import lossatlas as la
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
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net_volume.py").write_text(MINE)
    return tmp_path


def run(*words):
    base = ("volume", "--model", "net_volume.py:make_model", "--data", "net_volume.py:make_data", "--quiet")
    with pytest.raises(SystemExit) as end:
        main([*base, *map(str, words)])
    return end.value.code


@pytest.mark.slow
def test_a_volume_is_written_and_the_same_command_resumes(mine, capsys):
    line = ("--points", "4,3,5", "--span", "-1,2", "--out", "D", "--json", "v.json")
    assert run(*line, "--export", "v.vti", "--export", "v.csv") == 0
    said = capsys.readouterr().out
    assert "4 × 3 × 5 cells" in said and "cost: 60 values" in said
    made = la.load("D")
    assert made.loss.shape == (5, 3, 4) and made.axes[2][-1] == 2
    assert {path.name for path in Path("D").iterdir()} >= {"volume.json", "slices.png", "accuracy.png", "ledger.sqlite"}
    assert json.loads(Path("v.json").read_text())["cells"] == 60 and Path("v.vti").stat().st_size > 60 * 8
    assert run(*line, "--forecast") == 0 and "forecast: 0 evaluations" in capsys.readouterr().out
    assert run(*line) == 0 and "60 recalled" in capsys.readouterr().out
    assert np.array_equal(la.load("D").loss, made.loss)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hessian", "between", "mixed"])
def test_every_kind_of_space(mine, kind, capsys):
    for seed in "bcd":
        torch.manual_seed(ord(seed))
        shapes = {"0.weight": (5, 4), "0.bias": (5,), "2.weight": (3, 5), "2.bias": (3,)}
        save_file({name: torch.randn(shape).double() for name, shape in shapes.items()}, f"{seed}.safetensors")
    words = {
        "hessian": ("--space", "hessian", "--dimension", "4"),
        "between": ("--space", "between", *(word for name in "bcd" for word in ("--through", f"{name}.safetensors"))),
        "mixed": ("--space", "gradient,random,eigenvector(which=smallest)"),
    }[kind]
    assert run(*words, "--points", "2", "--json", "v.json") == 0
    record = json.loads(Path("v.json").read_text())
    assert record["cells"] == (16 if kind == "hessian" else 8) and len(record["labels"]) == (
        4 if kind == "hessian" else 3
    )
    assert record["provenance"]["space"]["kind"] == {"mixed": "gradient+random+hessian"}.get(kind, kind)


REFUSED = {
    "one point": (("--points", "1"), "at least 2"),
    "no numbers": (("--points", "a"), "one for each axis"),
    "two counts": (("--points", "3,3"), "for 3 axes"),
    "too large": (("--points", "1000"), "1,000,000,000 evaluations; expected fewer than"),
    "no width": (("--span", "0"), "above 0"),
    "a plane": (("--space", "gradient,random"), "la.Plane has two"),
    "parallel": (("--space", "random,random,gradient"), "directions 1 and 2 are parallel"),
    "unknown": (("--space", "sideways,random,gradient"), "sideways"),
    "no effect": (("--space", "hessian", "--normalization", "none"), "no effect"),
    "one model": (("--space", "between"), "expected 4 to 9"),
    "four for ParaView": (("--dimension", "4", "--export", "v.vti"), "ParaView"),
    "nine": (("--dimension", "9"), "from 3 to 8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_written(mine, case, capsys):
    words, said = REFUSED[case]
    before = {path for path in mine.rglob("*") if "__pycache__" not in path.parts}
    assert run(*words) == 2
    assert said in capsys.readouterr().err
    assert {path for path in mine.rglob("*") if "__pycache__" not in path.parts} == before
