"""`lossatlas chart`: planes of every kind, exports, few cells, resuming, and one paragraph for what does not fit."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import lossatlas as la
from lossatlas.cli import main

MINE = """
from dataclasses import dataclass

import torch
from torch import nn

import lossatlas as la

def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.BatchNorm1d(5), nn.Linear(5, 3)).eval()

def make_data():
    g = torch.Generator().manual_seed(1)
    return torch.randn(400, 4, generator=g), torch.randint(3, (400,), generator=g)

def objective(model, batch):
    x, y = batch
    return nn.functional.cross_entropy(model(x), y) + 0.01 * sum(p.square().sum() for p in model.parameters())

@dataclass(frozen=True)
class Layer(la.directions.Direction):
    index: int = 0

    def draw(self, surface, origin):
        row = torch.zeros_like(origin)
        span = surface.layout.blocks[self.index].span
        row[span] = origin[span]
        return row

class Odd(Exception):
    pass

def fails_away(model, batch):
    if not torch.equal(model[0].weight, make_model()[0].weight) and bool(model[0].weight.isfinite().all()):
        raise Odd("boom")
    return objective(model, batch)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MINE)
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        weights = {"0.weight": torch.randn(5, 4), "0.bias": torch.randn(5), "3.weight": torch.randn(3, 5)}
        weights |= {"3.bias": torch.randn(3), "2.weight": torch.ones(5), "2.bias": torch.zeros(5)}
        stats = {"2.running_mean": torch.zeros(5), "2.running_var": torch.ones(5)}
        save_file(weights | stats | {"2.num_batches_tracked": torch.tensor(0)}, f"{seed}.safetensors")
    return tmp_path


def run(*words):
    base = ("chart", "--model", "net.py:make_model", "--data", "net.py:make_data", "--quiet", "--json", "c.json")
    with pytest.raises(SystemExit) as end:
        main([*base, *(str(word) for word in words)])
    return end.value.code


def written():
    return json.loads(Path("c.json").read_text())


PLANES = {
    "between": ("--plane", "between", "--through", "1.safetensors", "--through", "2.safetensors"),
    "pca": ("--plane", "pca", *(word for k in (1, 2, 3) for word in ("--through", f"{k}.safetensors"))),
    "hessian": ("--plane", "hessian"),
    "gradient": ("--plane", "gradient"),
    "worst": ("--plane", "worst"),
    "mixed": ("--plane", "gradient,eigenvector(which=smallest, limit=200)", "--seed", 3),
    "own": ("--plane", "net.py:Layer(index=2),between(a=1.safetensors,b=2.safetensors)"),
    "own line": ("--plane", "net.py:Layer(index=2)", "--line"),
    "li2018": ("--normalization", "li2018", "--ignore", "biasbn"),
    "pca line": ("--plane", "pca", "--line", *(word for k in (1, 2, 3) for word in ("--through", f"{k}.safetensors"))),
    "line": ("--plane", "between", "--line", "--through", "1.safetensors", "--batchnorm", "interpolate"),
}


KINDS = {
    "pca line": "pca",
    "li2018": "random",
    "line": "between",
    "gradient": "gradient+random",
    "worst": "worst+random",
}
KINDS |= {"mixed": "gradient+hessian", "own": "Layer+between", "own line": "Layer"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLANES)
def test_every_kind_of_plane(mine, kind, capsys):
    assert run(*PLANES[kind], "--points", "5,4", "--span", "-0.5,1", "--no-card") == 0, capsys.readouterr().err
    found = written()
    assert found["provenance"]["plane"]["kind"] == KINDS.get(kind, kind)
    assert np.shape(found["loss"]) == ((1, 5) if "line" in kind else (4, 5))
    assert np.isfinite(found["loss"]).all()


@pytest.mark.slow
def test_a_folder_of_checkpoints_is_a_run_whose_path_is_drawn(mine, drawn, capsys):
    """A trainer's folder and the same checkpoints one by one: steps by number, the path framed, and on every picture."""
    for step, seed in ((9, 1), (10, 2), (100, 3)):
        Path(f"run/checkpoint-{step}").mkdir(parents=True)
        Path(f"run/checkpoint-{step}/model.safetensors").write_bytes(Path(f"{seed}.safetensors").read_bytes())
    words = ("--plane", "pca", "--points", 5, "--exact", "--no-card")
    assert run(*words, "--through", "run", "--span", "auto", "--out", "o") == 0
    assert "run: 3 points" in capsys.readouterr().out
    from safetensors.numpy import load_file

    arrays = load_file("o/trajectory.safetensors")
    steps, coords = arrays["runs/run/steps"], arrays["runs/run/coords"]
    assert steps.tolist() == [9, 10, 100] and np.abs(coords[-1]).max() < 1e-5
    chart = written()
    for axis, name in enumerate(("alpha", "beta")):
        low, high = chart[name][0], chart[name][-1]
        inside = coords[:, axis].min() - low, high - coords[:, axis].max()
        assert min(inside) > 0 and max(inside) < 0.6 * (high - low), "the span frames the path"
    assert all(Path(f"o/{name}.png").stat().st_size > 10_000 for name in ("path", "contour", "relief"))
    singly = [word for k in (1, 2, 3) for word in ("--through", f"{k}.safetensors")]
    assert run(*words, *singly) == 0
    assert np.allclose(written()["loss"], chart["loss"], rtol=1e-5)
    assert run(*words, "--through", "run", "--through", "1.safetensors") == 2
    assert "runs and single checkpoints together" in capsys.readouterr().err


@pytest.mark.slow
def test_few_cells_with_a_certificate_and_exports(mine, drawn, capsys):
    code = run("--points", "41", "--span", "auto", "--export", "f.csv", "--export", "f.vts", "--no-card", "--out", "o")
    said = capsys.readouterr().out
    assert code == 0 and "held-out cells" in said and "near the minimum" in said
    found = written()
    assert not found["certificate"]["exact"] and found["certificate"]["probes"] >= 20
    assert Path("f.csv").stat().st_size > 1000 and Path("f.vts").stat().st_size > 1000
    assert Path("o/samples.png").is_file() and Path("o/topology.png").stat().st_size > 10_000
    assert f"- {found['topology']['sentence']}\n" in said
    assert la.load("o").topology().count == found["topology"]["count"]
    assert la.load("o").certificate.rms == found["certificate"]["rms"]


@pytest.mark.slow
def test_the_same_command_asks_nothing_again_and_another_is_refused(mine, capsys):
    assert run("--points", "21", "--exact", "--no-card", "--out", "o") == 0
    first = written()
    assert run("--points", "21", "--exact", "--no-card", "--out", "o") == 0
    again = written()
    assert again["loss"] == first["loss"] and again["meter"]["values"] == 0 and again["meter"]["recalled"] == 441
    capsys.readouterr()
    assert run("--points", "21", "--seed", "5", "--out", "o") == 2
    assert "plane.seed was 0, now 5" in capsys.readouterr().err


def test_the_policy_is_printed(mine, capsys):
    assert run("--policy") == 0
    said = capsys.readouterr().out
    assert "0.weight" in said and "2.bias" in said and not Path("c.json").exists()


@pytest.mark.slow
def test_the_card_comes_with_the_pictures(mine, drawn, capsys):
    assert run("--points", "5", "--out", "o", "--card") == 0
    assert Path("o/card.png").stat().st_size > 10_000
    assert written()["kept"]["card"] is not None and la.load("o").card().reading()


@pytest.mark.parametrize(
    "words",
    [
        ("--plane", "between"),
        ("--plane", "pca", "--line"),
        ("--plane", "pca", "--through", "1.safetensors"),
        ("--tolerance", "0"),
        ("--tolerance", "-1"),
        ("--span", "wide"),
        ("--span", "1,2,3"),
        ("--points", "5,5,5"),
        ("--subset", "500"),
        ("--subset", "few"),
        ("--probes", "1"),
        ("--export", "f.xls", "--points", "3"),
        ("--plane", "between", "--line", "--through", "net.py"),
    ],
)
def test_what_does_not_fit_is_one_paragraph(mine, words, capsys):
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.startswith("lossatlas: ") and len(said.strip().splitlines()) == 1


@pytest.mark.slow
def test_options_are_taken_or_refused_but_not_left_aside(mine, capsys):
    assert run(*PLANES["pca"], "--ignore", "biasbn", "--points", 3) == 0
    assert written()["provenance"]["plane"]["ignore"] == "biasbn"
    capsys.readouterr()
    for words in (
        ("--through", "1.safetensors"),
        ("--plane", "hessian", "--ignore", "biasbn"),
        ("--seed", -1),
        ("--plane", "hessian", "--normalization", "layer"),
        ("--plane", "gradient", "--line", "--normalization", "layer"),
        ("--plane", "gradient,random", "--normalization", "layer"),
        (*PLANES["pca"], "--normalization", "layer"),
        ("--centering", "mean"),
        ("--growth", 5),
        (*PLANES["pca"], "--span", "auto", "--growth", 5),
        ("--exact", "--tolerance", 0.1),
        ("--exact", "--probes", 30),
        ("--exact", "--subset", 20),
        ("--seeds", 2),
    ):
        assert run(*words, "--points", 3) == 2
        said = capsys.readouterr().err
        assert (words[-2] in said and "Traceback" not in said and "no effect" in said) or words == ("--seed", -1)


@pytest.mark.parametrize(
    ("plane", "says"),
    [
        ("gradient,egenvector", "Did you mean 'eigenvector'?"),
        ("gradient,eigenvector(end=smallest)", "which"),
        ("gradient,random,worst", "expected 2"),
        ("gradient,given", "direction"),
        ("gradient,eigenvector(which=smallest", "Close the bracket"),
        ("gradient,net.py:Odd", "lossatlas.directions.Direction"),
        ("gradent", "random"),
    ],
)
def test_directions_that_there_are_not_are_refused_in_one_paragraph(mine, capsys, plane, says):
    assert run("--plane", plane, "--points", 3) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said


@pytest.mark.slow
def test_an_objective_takes_the_place_of_a_loss(mine, capsys):
    assert run("--objective", "net.py:objective", "--points", "5", "--exact", "--no-card") == 0
    found = written()
    assert found["provenance"]["surface"]["loss"] == "objective"
    run("--points", "5", "--exact", "--no-card")
    assert found["center"] > written()["center"]  # by the penalty
    capsys.readouterr()
    assert run("--objective", "net.py:objective", "--loss", "mse") == 2
    assert "expected one of them" in capsys.readouterr().err


def test_an_exception_of_the_users_code_in_the_middle_of_a_chart_is_one_paragraph(mine, capsys):
    assert run("--objective", "net.py:fails_away", "--points", "5", "--exact", "--no-card") == 2
    said = capsys.readouterr().err.strip()
    assert "Odd: boom" in said and said.startswith("lossatlas: ") and "Traceback" not in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_a_forecast_is_printed_and_nothing_is_written(mine, drawn, capsys):
    before = sorted(path.name for path in Path().rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__")
    assert run("--points", "21", "--exact", "--forecast", "--out", "o", "--card") == 0
    said = capsys.readouterr().out
    assert said.startswith("forecast: 441 evaluations, 176,400 examples, about ")
    assert "card" in said and "pictures" in said and "bytes: " in said
    assert before == sorted(p.name for p in Path().rglob("*") if p.suffix != ".pyc" and p.name != "__pycache__")
    # The pictures and the card are the ones that are then written.
    assert run("--points", "21", "--exact", "--out", "o", "--card") == 0
    taken = sum(path.stat().st_size for path in Path("o").rglob("*") if path.is_file())
    number, unit = re.search(r"about [^,]*, ([0-9.]+) (kB|MB);", said).groups()
    assert taken == pytest.approx(float(number) * {"kB": 1e3, "MB": 1e6}[unit], rel=0.15)


@pytest.mark.slow
def test_a_forecast_counts_a_comparison_and_runs(mine, capsys):
    assert run("--points", "9", "--forecast", "--compare", "1.safetensors", "--seeds", "2", "--no-card") == 0
    assert "4 planes of 21 × 21 points, 1,764 evaluations" in capsys.readouterr().out
    assert run(*PLANES["pca"], "--points", "9", "--forecast") == 0
    assert "each point of the runs is also evaluated twice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--no-card",), "no honesty card was made, since --no-card was given"),
        ((), "no honesty card was made, since there is no folder for it; --card makes it and prints it"),
    ],
)
def test_a_card_that_is_not_made_says_why_and_the_record_keeps_it(mine, capsys, words, reason):
    assert run("--points", "5", *words) == 0
    assert f"- {reason}\n" in capsys.readouterr().out
    assert reason in written()["provenance"]["notes"]


@pytest.mark.slow
def test_a_card_that_would_take_long_is_left_out_with_a_sentence(mine, capsys, monkeypatch):
    from lossatlas.cli import _pictures

    monkeypatch.setattr(_pictures, "PATIENCE", 0.0)
    assert run("--points", "5", "--out", "o") == 0
    said = capsys.readouterr().out
    assert "no honesty card was made, since it would take about" in said and "--card makes it" in said
    assert not Path("o/card.png").exists()
    assert any("would take about" in note for note in la.load("o").provenance["notes"])
    # A ledger that knows every cell says nothing of what one takes: it is timed anew, and the card is there again.
    monkeypatch.setattr(_pictures, "PATIENCE", 1e9)
    assert run("--points", "5", "--out", "o") == 0
    assert Path("o/card.png").is_file() and "no honesty card" not in capsys.readouterr().out
    assert run("--points", "5", "--out", "o", "--no-card") == 0
    assert "the card.png there is of an earlier chart" in capsys.readouterr().out


@pytest.mark.slow
def test_pictures_that_are_left_out_are_named(mine, capsys):
    assert run("--points", "5", "--exact", "--out", "o", "--no-card") == 0
    said = capsys.readouterr().out
    (line,) = [one for one in said.splitlines() if one.startswith("- not drawn: ")]
    assert "samples.png, since every cell was evaluated" in line
    for name in ("contour", "relief", "topology", "samples", "log", "accuracy"):
        assert (Path("o") / f"{name}.png").is_file() != (f"{name}.png, since" in line), name
    assert line.removeprefix("- ") in written()["provenance"]["notes"]
