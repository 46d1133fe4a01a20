"""What the commands print: names of models, layers, losses, files and racers are shown, and never obeyed by a terminal."""

import re
import unicodedata
from pathlib import Path

import pytest

import lossatlas.cli
from lossatlas.cli import main

ESCAPE = "\x1b[31mX\x07\x9b2J\u202e[/b]"
MINE = f"""
import torch
from torch import nn

NAME = {ESCAPE!r}

def make_model():
    torch.manual_seed(0)
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for k, layer in enumerate((nn.Linear(4, 5), nn.Linear(5, 3))):
                self.add_module(f"{{NAME}}{{k}}", layer)
        def forward(self, x):
            first, second = self.children()
            return second(torch.tanh(first(x)))
    Net.__name__ = "Net" + NAME
    return Net()

def make_data():
    g = torch.Generator().manual_seed(1)
    return torch.randn(80, 4, generator=g), torch.randint(3, (80,), generator=g)

def loss(output, target):
    return nn.functional.cross_entropy(output, target)
loss.__name__ = "loss" + NAME
"""
OWN = ("--model", "net.py:make_model", "--data", "net.py:make_data", "--loss", "net.py:loss")
COMMANDS = [
    ("dimension", "--model", "net.py:make_model"),
    ("chart", *OWN, "--points", "5", "--exact", "--no-card"),
    ("curvature", *OWN),
    ("chart", *OWN, "--points", "5", "--exact", "--checkpoint", f"no{ESCAPE.replace('/', '')}.pt"),
    ("race", *OWN, "--optimizers", "gd,adam", "--steps", "3"),
]


def _obeyed(text):
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t"}


@pytest.mark.slow
@pytest.mark.parametrize("typed", COMMANDS, ids=[f"{c[0]}{len(c)}" for c in COMMANDS])
def test_no_name_reaches_a_terminal_as_a_code(typed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MINE)
    with pytest.raises(SystemExit):
        main(list(typed))
    out, err = capsys.readouterr()
    assert "\\x1b[31mX" in out + err and not _obeyed(out) and not _obeyed(err)


def test_commands_print_through_one_door():
    # What is exempt is not ours to change: JSON for programs, and the last words of the user's own script.
    exempt = {"_say.py": 1, "_programs.py": 1, "_record.py": 1}
    for file in Path(lossatlas.cli.__file__).parent.glob("*.py"):
        found = re.findall(r"click\.echo\(|\bprint\(|(?<!of )\bConsole\(", re.sub(r"\.print\(", "", file.read_text()))
        found = [one for one in found if one != "Console(" or file.name != "_say.py"]
        assert len(found) == exempt.get(file.name, 0), (file.name, found)
