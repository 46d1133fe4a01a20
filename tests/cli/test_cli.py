"""The command line as its user types it: what it prints, what it writes, and how it refuses."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lossatlas
from lossatlas.cli import main
from lossatlas.cli._main import _COMMANDS

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"
MINE = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))

def make_data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(20, 4, generator=generator), torch.arange(20) % 3

def wide_data():
    return torch.randn(20, 7), torch.arange(20) % 3

def empty_loader():
    return DataLoader(TensorDataset(torch.zeros(0, 4), torch.zeros(0)))

def dropping():
    return nn.Sequential(nn.Dropout(0.5), make_model())

def counted():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))

def broken():
    raise RuntimeError("no such disk")

def vector_loss(output, target):
    return nn.functional.cross_entropy(output, target, reduction="none")

def nan_loss(output, target):
    return output.sum() * float("nan")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.py").write_text(MINE)
    save_file({"0.weight": torch.zeros(9, 4)}, "misfit.safetensors")
    Path("pickled.pt").write_bytes(b"\x80\x04\x95 not weights")
    Path("file").write_text("a file where a folder is asked for")
    return tmp_path


def run(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code


def strict(path):
    return json.loads(Path(path).read_text(), parse_constant=lambda name: pytest.fail(f"{name} in {path}"))


CHART = ("chart", "--model", "my.py:make_model", "--data", "my.py:make_data", "--points", "5", "--quiet")


@pytest.mark.slow
def test_chart_of_the_users_own_network(mine, capsys):
    sys.path.insert(0, str(mine))
    assert run(*CHART, "--loss", "cross_entropy", "--seed", "2", "--out", "atlas", "--json", "chart.json") == 0
    said = capsys.readouterr().out
    assert "43 parameters, 20 examples" in said and "25 loss evaluations" in said
    written = strict("chart.json")
    assert len(written["loss"]) == 5 and written["provenance"]["plane"]["seed"] == 2
    assert {p.name for p in Path("atlas").iterdir()} == {
        "chart.json", "chart.safetensors", "contour.png", "relief.png", "log.png", "accuracy.png", "card.png",
        "topology.png",
        "manifest.json", "ledger.sqlite", "ledger.lock",
    }  # fmt: skip
    import lossatlas as la

    assert la.load("atlas").loss.tolist() == written["loss"]


@pytest.mark.slow
def test_a_checkpoint_is_what_is_charted(mine, capsys):
    weights = {"0.weight": torch.ones(5, 4), "0.bias": torch.ones(5), "2.weight": torch.ones(3, 5), "2.bias": torch.ones(3)}  # fmt: skip
    save_file(weights, "w.safetensors")
    torch.save(weights, "w.pt")
    centers = []
    for name in ("w.safetensors", "w.pt"):
        assert run(*CHART, "--checkpoint", name, "--json", "c.json") == 0
        centers.append(strict("c.json")["center"])
    assert centers[0] == centers[1] == pytest.approx(torch.tensor(3.0).log().item(), rel=1e-6)


@pytest.mark.slow
def test_other_checkpoints_are_drawn_beside_it(mine, capsys):
    weights = {"0.weight": torch.ones(5, 4), "0.bias": torch.ones(5), "2.weight": torch.ones(3, 5), "2.bias": torch.ones(3)}  # fmt: skip
    save_file(weights, "flat.safetensors")
    assert run(*CHART, "--no-card", "--compare", "flat.safetensors", "--seeds", "2", "--out", "both") == 0
    said = capsys.readouterr().out
    assert "Roughness of the loss" in said and "flat − model" in said and "of 2 planes" in said
    assert {"compare.png", "comparison.json", "comparison.safetensors"} <= {p.name for p in Path("both").iterdir()}
    center = strict("both/comparison.json")["record"]["charts"]["flat"][0]["center"]
    assert center == pytest.approx(torch.tensor(3.0).log().item(), rel=1e-6)
    assert run(*CHART, "--compare", "flat.safetensors", "--compare", "flat.safetensors") != 0


BAD = {
    "dropout": (*CHART[:2], "my.py:dropping", *CHART[3:]),
    "batch norm": (*CHART[:2], "my.py:counted", *CHART[3:]),
    "vector loss": (*CHART, "--loss", "my.py:vector_loss"),
    "NaN loss": (*CHART, "--loss", "my.py:nan_loss"),
    "unknown loss": (*CHART, "--loss", "cros_entropy"),
    "misfit": (*CHART, "--checkpoint", "misfit.safetensors"),
    "pickle": (*CHART, "--checkpoint", "pickled.pt"),
    "no checkpoint": (*CHART, "--checkpoint", "nothing.pt"),
    "wide data": (*CHART[:4], "my.py:wide_data", *CHART[5:]),
    "empty loader": (*CHART[:4], "my.py:empty_loader", *CHART[5:]),
    "no file": (*CHART[:2], "your.py:make_model", *CHART[3:]),
    "no function": (*CHART[:2], "my.py:make_modle", *CHART[3:]),
    "failing function": (*CHART[:2], "my.py:broken", *CHART[3:]),
    "no colon": (*CHART[:2], "my.py", *CHART[3:]),
    "one point": (*CHART, "--points", "1"),
    "no span": (*CHART, "--span", "0"),
    "points in words": (*CHART, "--points", "many"),
    "chart into a file": (*CHART, "--out", "file"),
    "chart json into nowhere": (*CHART, "--json", "file/c.json"),
    "missing option": ("chart", "--model", "my.py:make_model"),
    "unknown command": ("chrat",),
    "unknown landscape": ("race", "four-welts"),
    "unknown optimizer": ("race", "four-wells", "--optimizers", "adma"),
    "unknown setting": ("race", "four-wells", "--optimizers", "adam(speed=1)"),
    "setting without a number": ("race", "four-wells", "--optimizers", "adam(lr=fast)"),
    "open bracket": ("race", "four-wells", "--optimizers", "adam(lr=1"),
    "negative rate": ("race", "four-wells", "--optimizers", "gd(lr=-1)"),
    "start outside": ("race", "four-wells", "--start", "9,9"),
    "start of three": ("race", "four-wells", "--start", "1,2,3"),
    "start in words": ("race", "four-wells", "--start", "here"),
    "no steps": ("race", "four-wells", "--steps", "0"),
    "no runs": ("race", "four-wells", "--runs", "0"),
    "no budget": ("race", "four-wells", "--budget", "0"),
    "negative seed": ("race", "four-wells", "--seed", "-1"),
    "population of one": ("race", "four-wells", "--optimizers", "genetic(population=1)"),
    "half an individual": ("race", "four-wells", "--optimizers", "genetic(population=2.5)"),
    "no temperature": ("race", "four-wells", "--optimizers", "annealing(temperature=0)"),
    "beta of one": ("race", "four-wells", "--optimizers", "adam(betas=1:0.9)"),
    "half a pair": ("race", "four-wells", "--optimizers", "de(dither=0.5)"),
    "truth in words": ("race", "four-wells", "--optimizers", "sophia(correct=perhaps)"),
    "no landscape": ("race",),
    "landscape and suite": ("race", "four-wells", "--bbob", "f8"),
    "function 25": ("race", "--bbob", "f25"),
    "function x": ("race", "--bbob", "x"),
    "no trials": ("race", "four-wells", "--tune", "0"),
    "map of one point": ("race", "four-wells", "--map", "1", "--out", "new"),
    "map without wells": ("race", "monkey-saddle", "--map", "5", "--out", "new"),
    "map of a suite": ("race", "--bbob", "f1", "--map", "5", "--out", "new"),
    "why without wells": ("race", "monkey-saddle", "--why", "--out", "new"),
    "sweep backward": ("race", "four-wells", "--sweep", "1:0.1:5", "--out", "new"),
    "sweep of nothing": (
        "race",
        "four-wells",
        "--optimizers",
        "gd,adam",
        "--sweep",
        "gd.lr=0.01:0.1:3",
        "--out",
        "new",
    ),
    "sweep of one": ("race", "four-wells", "--sweep", "0.1", "--out", "new"),
    "budget before the folder": ("race", "four-wells", "--budget", "-1", "--out", "new"),
    "relief of five parameters": ("race", "--bbob", "f1", "--dim", "5", "--relief", "--out", "new"),
    "relief without a folder": ("race", "four-wells", "--relief"),
    "race into a file": ("race", "four-wells", "--out", "file"),
    "race json into nowhere": ("race", "four-wells", "--json", "file/r.json"),
    "unknown model": ("dimension", "resnet51"),
    "unknown lesson": ("lessons", "Z9"),
    "no lesson runs": ("lessons", "A2", "--runs", "0"),
    "no lesson to write of": ("lessons", "--json", "new"),
    "runs of nothing random": ("lessons", "C2", "--runs", "5"),
    "negative lesson seed": ("lessons", "A2", "--seed", "-1", "--out", "new"),
    "tour into a file": ("tour", "--out", "file"),
    "tour of one point": ("tour", "--points", "1", "--out", "new"),
    "tour of no runs": ("tour", "--runs", "0", "--out", "new"),
    "tour of seed -1": ("tour", "--seed", "-1", "--out", "new"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_paragraph_exit_2_and_nothing_written(case, mine, capsys):
    before = sorted(mine.rglob("*"))
    assert run(*BAD[case]) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    body = [line for line in err.strip().splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert len(body) == 1 and len(body[0]) > 30, err
    left = [p for p in sorted(mine.rglob("*")) if p not in before and "__pycache__" not in p.parts]
    assert not left


def test_help_teaches_and_says_all_commands(capsys):
    assert run("--help") == 0
    top = capsys.readouterr().out
    changes = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    for command in _COMMANDS:
        assert command in top and f"`{command}`" in changes.partition("- Commands:")[2].partition(".")[0]
        assert run(command, "--help") == 0
        assert "lossatlas " + command in capsys.readouterr().out


@pytest.mark.slow
def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from lossatlas.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.4


@pytest.mark.slow
def test_race_writes_all_of_it(mine, capsys):
    racers = "gd,momentum(lr=0.02, momentum=0.9),annealing,restart"
    words = ("race", "four-wells", "--optimizers", racers, "--start", "-3.8,-3.5")
    assert run(*words, "--steps", "40", "--runs", "20", "--seed", "1", "--json", "race.json", "--out", "atlas") == 0
    written = strict("race.json")
    assert set(written["racers"]) == {"gd", "momentum", "annealing", "restart"}
    assert written["racers"]["momentum"]["settings"] == {"lr": 0.02, "momentum": 0.9}
    assert written["racers"]["gd"]["meter"]["gradients"] == 800
    low, high = written["racers"]["annealing"]["rates"]["global"][1:]
    assert 0 <= low < high <= 1
    assert {p.name for p in Path("atlas").iterdir()} >= {"race.json", "race.safetensors", "paths.png", "losses.png"}
    assert "gd" in capsys.readouterr().out


@pytest.mark.slow
def test_race_takes_all_of_it(mine, capsys):
    extras = ("--tune", "3", "--sweep", "0.01:0.1:3", "--map", "6", "--why")
    racers = "gd,annealing,de(dither=0.4:0.9),sophia(estimate=exact, correct=true)"
    words = ("race", "four-wells", "--optimizers", racers, "--steps", "15", "--runs", "3", *extras)
    assert run(*words, "--json", "race.json", "--out", "atlas") == 0
    said = capsys.readouterr().out
    written = strict("race.json")
    assert written["racers"]["sophia"]["settings"]["correct"] is True
    assert written["racers"]["de"]["settings"]["dither"] == [0.4, 0.9]
    assert set(written["maps"]) == {"gd", "annealing", "de", "sophia"} and set(written["sweeps"]) == {"gd", "sophia"}
    assert "gd" in written["why"] and written["tuning"]["gd"]["meter"]["gradients"] == 45
    assert "no sweep of de" in said and "What would have got gd out" in said
    made = {p.name for p in Path("atlas").iterdir()}
    assert made >= {"paths.png", "losses.png", "ecdf.png", "memory.png", "rates.png", "basins-gd.png", "sweep-gd.png"}
    import lossatlas as la

    assert la.load("atlas").runs == 3 and la.load("atlas/basins-gd").ends.shape == (6, 6)
    assert len(la.load("atlas/sweep-gd").values) == 3


@pytest.mark.slow
def test_race_on_the_suite_of_others(mine, capsys):
    words = ("race", "--bbob", "f8", "--dim", "5", "--optimizers", "cma,adam,restart(inner=lbfgs)", "--budget", "60")
    assert run(*words, "--steps", "60", "--json", "race.json", "--out", "atlas") == 0
    said = capsys.readouterr().out
    written = strict("race.json")["racers"]
    assert all(racer["meter"]["values"] <= 60 and not racer["meter"]["gradients"] for racer in written.values())
    assert "above the global minimum" in said and "nan" not in said
    assert {p.name for p in Path("atlas").iterdir()} >= {"losses.png", "ecdf.png"}


def test_the_catalog_lists_every_optimizer_with_its_settings(capsys):
    from lossatlas.optimize import catalog

    assert run("race", "--catalog") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in catalog) and "temperature=4.0" in said and "dither=0.5:1" in said
    history = said[: said.index("What each evaluates")]
    assert history.index("1847") < history.index("1964") < history.index("2014") < history.index("2024")
    assert "step against the gradient" in history and "Cauchy 1847" in history and "nanoGPT" in history


@pytest.mark.slow
def test_a_race_without_settings_tells_the_notes_story(mine, capsys):
    assert run("race", "deep-wells", "--relief", "--json", "race.json", "--out", "atlas") == 0
    racers = strict("race.json")["racers"]
    assert list(racers) == ["gd", "rmsprop", "nesterov", "adam", "adamw", "annealing", "restart"]
    assert all(racers[name]["rates"]["A"][0] == 1 for name in ("gd", "rmsprop", "nesterov", "adam", "adamw"))
    assert all(
        max(racers[name]["rates"].values())[0] == racers[name]["rates"]["global"][0]
        for name in ("annealing", "restart")
    )
    assert strict("race.json")["provenance"]["runs"] == 100
    assert {"paths.png", "relief.png"} <= {one.name for one in Path("atlas").iterdir()}
    capsys.readouterr()


@pytest.mark.slow
def test_a_race_runs_once_where_many_runs_would_be_dear(mine, capsys):
    """One run on a function of the user's, and with racers that are not vectorized over runs."""
    Path("f.py").write_text("def f(x):\n    return (x * x).sum()\n", encoding="utf-8")
    assert (
        run(
            "race",
            "--function",
            "f.py:f",
            "--box",
            "-1:1,-1:1",
            "--optimizers",
            "random",
            "--steps",
            "5",
            "--json",
            "a.json",
        )
        == 0
    )
    assert run("race", "four-wells", "--optimizers", "bayes", "--steps", "7", "--json", "b.json") == 0
    assert run("race", "four-wells", "--optimizers", "gd", "--steps", "3", "--json", "c.json") == 0
    assert [strict(f"{name}.json")["provenance"]["runs"] for name in "abc"] == [1, 1, 100]
    assert "--out DIR" in capsys.readouterr().err


def test_a_function_that_makes_no_model_has_no_dimension(mine, capsys):
    Path("odd.py").write_text("import sys\ndef two(a, b): ...\ndef leaves(): sys.exit(3)\ndef number(): return 3\n")
    for name in ("two", "leaves", "number"):
        assert run("dimension", "--model", f"odd.py:{name}") == 2
        assert "Traceback" not in capsys.readouterr().err


def test_dimension(mine, capsys):
    assert run("dimension", "--json", "d.json") == 0
    assert run("dimension", "--model", "my.py:make_model") == 0
    said = capsys.readouterr().out
    assert "175" in said or "174,604" in said
    counted = {row["name"]: row["dimensions"] for row in strict("d.json")["models"]}
    assert counted["resnet50"] == 25_557_033 and counted["mlp-100"] == 101
    assert "43" in said and "44" in said


@pytest.mark.slow
def test_lessons_are_listed_and_run(mine, capsys):
    assert run("lessons") == 0
    assert "C3" in capsys.readouterr().out
    assert run("lessons", "A2", "--json", "l.json", "--out", "atlas") == 0
    (record,) = strict("l.json")["lessons"]
    assert record["outcome"] == "supported" and record == strict("atlas/lesson-A2.json")


OWN = """
from lossatlas.lessons import Check, Lesson, Part

def experiment(runs, seed):
    return Part("Counted.", (Check("it is 2", str(runs), runs == 2),), {"values": 1})

MINE = Lesson("X1", "There are two.", experiment, runs=2)
"""


@pytest.mark.slow
def test_a_lesson_from_a_file_is_run(mine, capsys, monkeypatch):
    monkeypatch.setattr("lossatlas.lessons._catalog._registered", {})
    Path("own.py").write_text(OWN)
    assert run("lessons", "own.py:MINE", "--out", "atlas", "--json", "l.json") == 0
    assert "Holds: It is 2. 2." in capsys.readouterr().out
    assert strict("atlas/lesson-X1.json")["claim"] == "There are two." == strict("l.json")["lessons"][0]["claim"]
    assert run("lessons") == 0 and "X1  There are two." in capsys.readouterr().out
    assert run("lessons", "own.py:experiment") == 2
    assert run("lessons", "own.py:NONE") == 2


@pytest.mark.slow
def test_the_example_is_a_users_file(mine, capsys):
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "w.safetensors"], capture_output=True, text=True, check=True
    ).stdout
    assert float(done.split("test accuracy")[1].split("%")[0]) > 95
    words = ("chart", "--model", f"{EXAMPLE}:make_model", "--data", f"{EXAMPLE}:make_data", "--points", "5")
    assert run(*words, "--loss", "cross_entropy", "--checkpoint", "w.safetensors", "--quiet", "--json", "c.json") == 0
    assert strict("c.json")["center"] < 0.1


@pytest.mark.slow
def test_ctrl_c_ends_with_one_line_and_130(mine):
    import signal

    words = ["race", "four-wells", "--runs", "10", "--steps", "1000000"]
    # A shell that starts things in the background has them ignore SIGINT; a user's terminal does not.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}\nfrom lossatlas.cli import main; main({words!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "interrupted" in err and "Traceback" not in err


def test_the_options_of_a_network_are_the_same_in_every_command_that_takes_one():
    from importlib import import_module

    names = {"model", "data", "loss", "objective", "checkpoint", "evaluate"}
    extra = {"chart": set(), "curvature": set(), "race": {"test"}, "connect": {"test"}}
    helps: dict[str, set[str]] = {}
    for command, more in extra.items():
        options = {one.name: one for one in import_module(f"lossatlas.cli._{command}").command.params}
        # A and B of connect are the checkpoints.
        wanted = (names | more) - ({"checkpoint"} if command == "connect" else set())
        assert wanted <= set(options)
        for name in wanted - {"test"}:
            helps.setdefault(name, set()).add(options[name].help)
    assert all(len(texts) == 1 for texts in helps.values()), helps


@pytest.mark.slow
def test_a_language_model_in_a_folder_is_charted_by_its_loss_per_token(tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=96, n_positions=32, n_embd=24, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    model.save_pretrained(tmp_path / "model")
    ids = torch.randint(96, (12, 32))
    save_file({"input_ids": ids}, tmp_path / "tokens.safetensors")
    typed = [
        "chart",
        "--model",
        f"hf:{tmp_path / 'model'}",
        "--data",
        str(tmp_path / "tokens.safetensors"),
        "--loss",
        "tokens",
    ]
    assert run(*typed, "--points", "3", "--exact", "--out", tmp_path / "out", "--quiet") == 0
    made = lossatlas.load(tmp_path / "out" / "chart.json")
    with torch.no_grad():
        assert made.loss[1, 1] == pytest.approx(float(model(input_ids=ids, labels=ids).loss), rel=1e-6)
    assert "perplexity" in made.extras
    capsys.readouterr()
    # A folder without weights: nothing is loaded for a forecast.
    shutil.copytree(tmp_path / "model", tmp_path / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    told = []
    for where in ("model", "config"):
        typed[2] = f"hf:{tmp_path / where}"
        assert run(*typed, "--points", "3", "--exact", "--forecast", "--out", tmp_path / "none") == 0
        told.append(capsys.readouterr().out)
        assert "9 evaluations, 108 examples" in told[-1] and " kB on c" in told[-1].replace("MB", "kB")
        assert "nothing was evaluated" in told[-1] and not (tmp_path / "none").exists()
    typed[2] = f"hf:{tmp_path / 'model'}"
    for more, said in [(["--plane", "hessian"], "--plane"), (["--card"], "--card")]:
        assert run(*typed, *more) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "images").mkdir()
    transformers.ViTConfig().save_pretrained(tmp_path / "images")
    for more in ([], ["--forecast"]):
        assert run("chart", "--model", f"hf:{tmp_path / 'images'}", *typed[3:], *more) == 2
        said = capsys.readouterr().err
        assert "another kind of model" in said and said.count("\n") == 1
    save_file({"ids": ids}, tmp_path / "none.safetensors")
    for data, folder, said in [("none", "model", "input_ids"), ("tokens", "nowhere", "config.json")]:
        typed = [
            "chart",
            "--model",
            f"hf:{tmp_path / folder}",
            "--data",
            str(tmp_path / f"{data}.safetensors"),
            "--loss",
            "tokens",
        ]
        assert run(*typed) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error_of_the_users_code():
    program = "from lossatlas.cli import main; main()"
    words = [sys.executable, "-c", program, "race", "--catalog"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as begun:
        begun.stdout.close()
        said = begun.stderr.read()
    assert b"your code" not in said and begun.returncode in (0, 1), said
