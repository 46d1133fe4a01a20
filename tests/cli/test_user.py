"""What a user names on the command line: functions and objects, modules and files, checkpoints of any kind; one paragraph."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lossatlas.cli import main
from lossatlas.cli._user import call, names_of

MINE = """
import sys
import torch
from torch import nn

assert sys.argv[1:] == [], sys.argv

def make_model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))

def make_data():
    g = torch.Generator().manual_seed(1)
    return torch.randn(40, 4, generator=g), torch.randint(3, (40,), generator=g)

model = make_model()
data = make_data()
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MINE)
    return tmp_path


def _weights(seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    return model.state_dict()


def _run(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main([*args])
    out, err = capsys.readouterr()
    return end.value.code, out, err


CHART = ("chart", "--model", "net.py:make_model", "--data", "net.py:make_data", "--quiet", "--exact", "--points", "5")


def test_an_instance_and_data_that_are_there_are_taken_as_they_are(mine, capsys):
    code, out, _ = _run(capsys, *CHART[:1], "--model", "net.py:model", "--data", "net.py:data", *CHART[5:], "--no-card")
    assert code == 0 and "35" not in out.split("parameters")[0][:0] and "43 parameters" in out


def test_a_module_is_found_from_the_working_directory(mine, capsys):
    Path("pkg").mkdir()
    Path("pkg/__init__.py").write_text("")
    Path("pkg/mod.py").write_text("from .inner import make_model\n")
    Path("pkg/inner.py").write_text(MINE)
    assert isinstance(call("pkg.mod:make_model", "--model"), torch.nn.Module)
    code, _, err = _run(capsys, "chart", "--model", "pkg/mod.py:make_model", "--data", "net.py:data")
    assert code == 2 and "pkg.mod:make_model" in err and "part of a package" in err


BAD = {
    "exits": ("import sys\nsys.exit(0)", "ended the program"),
    "exits when called": ("def make():\n    raise SystemExit(3)", "ended the program"),
    "parses": (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('x')\np.parse_args()",
        "ended the program",
    ),
    "fails": ("1 / 0", "ZeroDivisionError"),
    "fails when called": ("def make():\n    return [][1]", "IndexError"),
    "has another name": ("def other(): pass", "it has other"),
    "is no Python": ("def (", "SyntaxError"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_gives_no_model_ends_in_one_paragraph(mine, capsys, kind):
    text, words = BAD[kind]
    Path("bad.py").write_text(text)
    code, _, err = _run(capsys, "chart", "--model", "bad.py:make", "--data", "net.py:data")
    said = err.strip().splitlines()[-1]
    assert code == 2 and words in said and said.startswith("lossatlas: ") and "Traceback" not in err


@pytest.mark.parametrize("spec", ["net.py", "C:\\my\\net.py", "x" * 300 + ".py:make", "nothing.here:make", ":make"])
def test_names_that_name_nothing_are_refused(mine, capsys, spec):
    code, _, err = _run(capsys, "chart", "--model", spec, "--data", "net.py:data")
    assert code == 2 and err.startswith("lossatlas: ") and len(err) < 600 and "module 'C'" not in err


def test_a_training_loop_that_exits_in_the_model_does_not_end_in_success(mine, capsys):
    Path("loss.py").write_text("def loss(o, t):\n    raise SystemExit(0)\n")
    code, _, err = _run(capsys, *CHART, "--loss", "loss.py:loss")
    assert code == 2 and "ended the program" in err


def test_folders_of_trainers_are_checkpoints_and_what_was_done_is_said(mine, capsys):
    for step in (24, 48, 72):
        Path(f"checkpoint-{step}").mkdir()
        torch.save({f"module.{k}": v for k, v in _weights(step).items()}, f"checkpoint-{step}/pytorch_model.bin")
    code, out, err = _run(
        capsys, *CHART, "--checkpoint", "checkpoint-72", "--plane", "pca", "--through", "checkpoint-24", "--through",
        "checkpoint-48", "--no-card",
    )  # fmt: skip
    assert code == 0 and "'module.', which was left out" in err and "loss at the center" in out
    code, _, err = _run(capsys, *CHART, "--checkpoint", ".")
    assert code == 2 and "several checkpoints: checkpoint-24, checkpoint-48, checkpoint-72" in err


@pytest.mark.slow
def test_compared_checkpoints_may_have_the_same_file_names_and_are_looked_at_first(mine, capsys):
    for folder in ("a", "b"):
        Path(folder).mkdir()
        save_file(_weights(ord(folder)), f"{folder}/w.safetensors")
    code, _, err = _run(
        capsys, *CHART, "--compare", "a/w.safetensors", "--compare", "b/w.safetensors", "--seeds", "1", "--out", "O",
        "--no-card",
    )  # fmt: skip
    assert code == 0, err
    text = json.dumps(json.loads(Path("O/comparison.json").read_text()))
    assert '"a/w"' in text and '"b/w"' in text
    save_file({"0.weight": torch.ones(2, 2)}, "c.safetensors")
    code, out, err = _run(capsys, *CHART, "--compare", "a/w.safetensors", "--compare", "c.safetensors")
    assert code == 2 and "c.safetensors" in err and out == ""


def test_names_of_checkpoints_are_the_shortest_that_tell_them_apart():
    assert names_of((Path("a.pt"), Path("b.pt"))) == ["a", "b"]
    assert names_of((Path("r/1/w.pt"), Path("r/2/w.pt"))) == ["1/w", "2/w"]
    assert names_of((Path("w.pt"), Path("w.bin"))) == ["w.pt", "w.bin"]
    assert names_of((Path("r/checkpoint-1.5"), Path("r/checkpoint-1.6"))) == ["checkpoint-1.5", "checkpoint-1.6"]
    assert names_of(()) == []


@pytest.mark.parametrize("option", ["--checkpoint", "--compare", "--through"])
def test_a_name_that_is_too_long_is_refused(mine, capsys, option):
    extra = ("--plane", "pca", "--through", "a", "--through", "b") if option == "--through" else ()
    code, _, err = _run(capsys, *CHART, *extra, option, "x" * 300)
    assert code == 2 and err.startswith("lossatlas: ") and "Traceback" not in err


def test_a_file_that_goes_elsewhere_takes_nothing_that_was_typed_with_it(mine, capsys, tmp_path):
    Path("far").mkdir()
    Path("far/here.txt").write_text("7")
    Path("goes.py").write_text(
        MINE
        + """
import os
from pathlib import Path
os.chdir("far")

def made():
    import beside
    return beside.seeded(int(Path("here.txt").read_text()))
"""
    )
    # Names of their own: other tests have imported files called net in this process.
    Path("beside_net.py").write_text(Path("net.py").read_text())
    Path("beside.py").write_text("from beside_net import make_model\ndef seeded(seed): return make_model(seed)\n")
    code, _, err = _run(capsys, "chart", "--model", "goes.py:made", *CHART[3:], "--no-card", "--out", "out")
    assert code == 0, err
    assert Path.cwd() == tmp_path and Path("out/chart.json").is_file() and not Path("far/out").exists()
    assert str(tmp_path) not in sys.path
