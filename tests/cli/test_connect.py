"""`lossatlas connect`, from two files to a folder of results."""

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

import lossatlas as la
from lossatlas.cli import main
from lossatlas.demo import digits, digits_mlp, fit

USER = """
from lossatlas.demo import digits, digits_mlp

def make_model():
    return digits_mlp((16, 16))

def make_data():
    return digits("test")

def make_other():
    x, y = digits("train")
    return x[:100], y[:100]
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, seed in (("a", 0), ("b", 1)):
        model = digits_mlp((16, 16), seed=seed)
        fit(model, digits("test"), epochs=6, lr=5e-3, seed=seed)
        save_file(model.state_dict(), folder / f"{name}.safetensors")
        state = model.state_dict()
        save_file({f"net.{k}": v for k, v in state.items()}, folder / f"prefixed-{name}.safetensors")
        save_file({f"layer{k.replace('.', '')}": v for k, v in state.items()}, folder / f"renamed-{name}.safetensors")
    save_file(digits_mlp((8,)).state_dict(), folder / "small.safetensors")
    return folder


@pytest.fixture
def mine(tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    Path("mine_connect.py").write_text(USER)
    for file in weights.iterdir():
        Path(file.name).symlink_to(file)
    yield
    sys.modules.pop("mine_connect", None)


def run(*args):
    with pytest.raises(SystemExit) as done:
        main(list(args))
    return done.value.code


FILES = ("a.safetensors", "b.safetensors")
MODEL = ("--model", "mine_connect.py:make_model", "--data", "mine_connect.py:make_data", "--quiet")


def strict(path):
    return json.loads(Path(path).read_text(), parse_constant=lambda name: pytest.fail(f"bare {name} in {path}"))


@pytest.mark.slow
def test_a_line_from_two_files(mine, capsys):
    assert (
        run("connect", *FILES, *MODEL, "--test", "mine_connect.py:make_other", "--out", "out", "--json", "x.json") == 0
    )
    said = capsys.readouterr().out
    assert "barrier" in said and "95 % interval" in said and "test: error" in said
    assert {p.name for p in Path("out").iterdir()} == {"path.json", "path.safetensors", "profile.png", "error.png"}
    record, path = strict("x.json"), la.load("out")
    assert record["barrier"] == path.barrier and record["arrays"]["t"] == path.t.tolist()
    assert record["barriers"]["test"].keys() == {"entezari", "ainsworth", "frankle"}


@pytest.mark.slow
def test_a_curve_from_two_files_with_its_plane(mine, capsys):
    curve = ("--kind", "bezier", "--steps", "40", "--lr", "1e-2", "--points", "5", "--resume", "keep", "--out", "out")
    assert run("connect", *FILES, *MODEL, *curve) == 0
    assert "times the straight line" in capsys.readouterr().out
    assert {p.name for p in Path("out").iterdir()} >= {"path.json", "profile.png", "plane.png"}
    assert strict("keep/training.json")["record"]["step"] == 40
    assert la.load("out").kind == "bezier" and len(la.load("out").history["loss"]) == 40


@pytest.mark.slow
def test_alignment_from_two_files(mine, capsys):
    assert run("connect", *FILES, *MODEL, "--align", "--points", "7", "--out", "out", "--json", "x.json") == 0
    said = capsys.readouterr().out
    assert "without alignment: barrier" in said and "same function" in said and "permuted + REPAIR" in said
    assert {p.name for p in Path("out").iterdir()} >= {"path.json", "alignment", "merge", "naive", "profile.png"}
    assert la.load("out").barrier < la.load("out/naive").barrier
    record = strict("x.json")
    assert record["barrier"] < record["naive"]["barrier"] and record["merge"]["rows"][2]["name"] == "naive"
    again = ("a.safetensors", "out/alignment/permuted.safetensors", *MODEL, "--points", "7", "--json", "y.json")
    assert run("connect", *again) == 0 and strict("y.json")["barrier"] == record["barrier"]


@pytest.mark.slow
def test_permutations_are_learned_from_two_files(mine, capsys):
    words = ("--align", "--method", "straight-through", "--align-steps", "60", "--points", "7", "--json", "x.json")
    assert run("connect", *FILES, *MODEL, *words) == 0
    assert "loss at the midpoint" in capsys.readouterr().out
    record = strict("x.json")["alignment"]
    assert record["method"] == "straight-through" and record["meter"]["gradients"] == 60
    assert record["midpoint"]["straight-through"] <= record["midpoint"]["weights"]


@pytest.mark.slow
def test_a_prefix_is_left_out_and_said(mine, capsys):
    assert run("connect", "a.safetensors", "prefixed-b.safetensors", *MODEL, "--points", "5") == 0
    assert "b: the checkpoint 'prefixed-b.safetensors': its names carry the prefix 'net.'" in capsys.readouterr().out


def test_other_names_are_offered_and_taken(mine, capsys):
    assert run("connect", "a.safetensors", "renamed-b.safetensors", *MODEL, "--points", "5") == 2
    assert "--guess-names" in capsys.readouterr().err
    assert run("connect", "a.safetensors", "renamed-b.safetensors", *MODEL, "--points", "5", "--guess-names") == 0


@pytest.mark.parametrize(
    "args, message",
    [
        (("a.safetensors", "a.safetensors"), "same point"),
        (("a.safetensors", "small.safetensors"), "another architecture"),
        (("a.safetensors", "none.safetensors"), "no checkpoint file"),
        ((*FILES, "--lr", "0.1", "--steps", "9"), "got --steps, --lr with --kind line"),
        ((*FILES, "--controls", "3"), "got --controls with --kind line"),
        ((*FILES, "--method", "both"), "got --method without --align"),
        ((*FILES, "--align", "--align-steps", "9"), "got --align-steps without --method straight-through"),
        ((*FILES, "--align", "--method", "straight-through", "--align-steps", "0"), "steps=0"),
    ],
)
def test_files_that_do_not_fit_leave_nothing_behind(mine, capsys, args, message):
    assert run("connect", *args, *MODEL, "--out", "out", "--json", "x.json") == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not Path("x.json").exists() and (not Path("out").exists() or not list(Path("out").iterdir()))
