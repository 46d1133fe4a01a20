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
    "a checkpoint without --checkpoint": (("curvature", "w0.safetensors", *NETWORK[1:]), "--checkpoint"),
    "several landscapes": (("curvature", "himmelblau", "four-wells"), "expected one LANDSCAPE"),
    "several and a search": (("curvature", "a.pt", "b.pt", *NETWORK[1:], "--search", "2"), "--search with the 2 checkpoints"),
    "several that are not there": (("curvature", "a.pt", "b.pt", *NETWORK[1:]), "no checkpoint file"),
    "halves of one": ((*NETWORK, "--halves", "3"), "--halves without several checkpoints"),
    "noise of a landscape": (("curvature", "himmelblau", "--noise-scale"), "expected a network"),
    "noise and products": ((*NETWORK, "--noise-scale", "--search", "2"), "--search with --noise-scale"),
    "noise and a limit": ((*NETWORK, "--noise-scale", "--limit", "20"), "--limit with --noise-scale"),
    "noise and sharpness": ((*NETWORK, "--noise-scale", "--sharpness", "sam"), "--sharpness without Hessian-vector products"),
    "batches of all": ((*NETWORK, "--noise-scale", "--batch-size", "20"), "batch_size=20"),
    "batches of nothing": ((*NETWORK, "--batch-size", "2"), "--batch-size without --noise-scale"),
    "a Fisher diagonal of no examples": ((*NETWORK, "--fisher-diagonal", "--limit", "0"), "limit=0"),
    "points without a map": ((*NETWORK, "--map-points", "3"), "--map-points without --map"),
    "a map of no kind": ((*NETWORK, "--map", "flat"), "--map"),
    "a map of one point": ((*NETWORK, "--map", "random", "--map-points", "1"), "--map-points=1"),
    "a map of no width": ((*NETWORK, "--map", "random", "--map-span", "0"), "--map-span=0"),
    "a dear map": (
        ("curvature", "himmelblau", "--probes", "0", "--sharpness", "none", "--map", "random", "--map-limit", "3"), "--map-limit",
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
    assert [record["status"] for record in seen] == ["complete"], "nothing was measured"
    assert run(*SHORT, "--relative", "0.2", "--out", "out") == 0
    assert len(seen) > 2 and {record["status"] for record in seen[1:-1]} == {"unfinished"}
    for record in seen:
        assert record["settings"].keys() == whole["settings"].keys() and record["sharpness"] == whole["sharpness"]
        assert {"extremes", "trace", "spectrum"} <= record.keys()


def test_gradients_alone_tell_the_noise_scale_and_the_fisher_diagonal(mine, capsys):
    from curved import make_data, make_model

    import lossatlas as la

    words = (
        "--noise-scale",
        "--batches",
        "4",
        "--batch-size",
        "5",
        "--fisher-diagonal",
        "--limit",
        "40",
        "--seed",
        "3",
    )
    assert run(*NETWORK, *words, "--json", "-", "--fail-if", "noise_scale.value > 1e9") == 0
    streams = capsys.readouterr()
    record = json.loads(streams.out)
    assert "gradient noise scale" in streams.err and "43 entries from" in streams.err
    surface = la.NetworkSurface(make_model(), "cross_entropy", make_data())
    noise = la.noise_scale(surface, batch_size=5, batches=4, seed=3, progress=False)
    fisher = la.fisher_diagonal(surface, limit=40, seed=3, progress=False)
    assert record["noise_scale"]["value"] == noise.value and record["meter"]["products"] == 0
    assert record["fisher_diagonal"]["values"] == fisher.values.tolist()
    assert record["meter"]["gradients"] == noise.meter.gradients + fisher.meter.gradients
    assert run(*NETWORK, *words[:5], "--fail-if", "noise_scale.value > 0") == 3
    # A relative error that was typed and is not reached.
    assert run(*NETWORK, "--fisher-diagonal", "--limit", "40", "--relative", "0.001") == 4


@pytest.mark.slow
def test_several_networks_are_tabulated_as_python_tabulates_them(mine, capsys):
    from curved import make_data, make_model

    import lossatlas as la

    models = {}
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        models[f"w{seed}"] = {
            name: torch.randn(one.shape, generator=generator, dtype=one.dtype)
            for name, one in make_model().state_dict().items()
        }
        save_file(models[f"w{seed}"], f"w{seed}.safetensors")
    words = (
        "--sharpness",
        "sam(0.1),lambda-max",
        "--halves",
        "3",
        "--noise-scale",
        "--batches",
        "3",
        "--out",
        "out",
        "--json",
        "c.json",
    )
    assert (
        run("curvature", "w0.safetensors", "w1.safetensors", *NETWORK[1:], *words, "--fail-if", "tables.0.values > 1e9")
        == 0
    )
    said = capsys.readouterr().out
    assert "2 networks: 43 parameters, 20 examples" in said and "standard error over the data" in said
    surfaces = {}
    for name, weights in models.items():
        model = make_model()
        model.load_state_dict(weights)
        surfaces[name] = la.NetworkSurface(model, "cross_entropy", make_data())
    record = json.loads(Path("c.json").read_text())
    for number, (kind, rho) in enumerate([("sam", 0.1), ("lambda-max", None)]):
        truth = la.sharpness(surfaces, kind, rho=rho, halves=3, progress=False)
        kept = la.load(f"out/sharpness-{number + 1}")
        assert (
            truth.values[0] != truth.values[1]
            and kept.names == ("w0", "w1")
            and kept.values.tolist() == truth.values.tolist()
        )
        assert kept.data_errors.tolist() == truth.data_errors.tolist()
        assert [row["value"] for row in record["tables"][number]["rows"]] == truth.values.tolist()
        assert Path(f"out/sharpness-{number + 1}/sharpness.png").is_file()
    for name, surface in surfaces.items():
        noise = la.noise_scale(surface, batch_size=10, batches=3, progress=False)
        assert record["networks"][name]["noise_scale"]["value"] == noise.value
        assert la.load(f"out/noise-scale/{name}").value == noise.value
    assert json.loads(Path("out/curvature.json").read_text())["status"] == "complete"


@pytest.mark.slow
def test_a_map_is_that_of_python_and_resumes(mine, monkeypatch, capsys):
    import lossatlas as la

    words = ("curvature", "himmelblau", "--at", "1,2", "--probes", "0", "--sharpness", "none", "--quiet")
    more = (
        "--map",
        "random",
        "--map-points",
        "3",
        "--map-span",
        "0.5",
        "--seed",
        "2",
        "--out",
        "out",
        "--json",
        "c.json",
    )
    assert run(*words, *more) == 0
    camel = la.landscapes.himmelblau()
    plane = la.Plane.random(camel, seed=2, origin=[1.0, 2.0])
    truth = la.curvature_map(camel, plane, points=3, span=0.5, seed=2, progress=False)
    kept = la.load("out/curvature-map.json")
    assert kept.ratio.tolist() == truth.ratio.tolist() and Path("out/map.png").is_file()
    # A map that is stopped ends the command, and the same one goes on from there.
    real = la.curvature.curvature_map

    def stopped(*given, progress, **settings):
        def stop(done, _):
            if done == 4:
                raise KeyboardInterrupt

        return real(*given, progress=stop, **settings)

    monkeypatch.setattr("lossatlas.curvature.curvature_map", stopped)
    assert run(*words, *more[:-4], "--out", "other") == 130
    monkeypatch.setattr("lossatlas.curvature.curvature_map", real)
    assert la.load("other/curvature-map.json").cells == 4
    assert run(*words, *more[:-4], "--out", "other") == 0
    assert la.load("other/curvature-map.json").ratio.tolist() == truth.ratio.tolist()
    record = json.loads(Path("c.json").read_text())
    assert record["map"]["cells"] == 9 and "forecast: 18 evaluations" in capsys.readouterr().err
    assert run(*words, *more) == 0
    assert "4 results came from the folder" in capsys.readouterr().out


@pytest.mark.slow
def test_what_else_was_measured_stays_in_the_record_of_the_folder(mine, monkeypatch):
    monkeypatch.setattr("lossatlas.cli._curvature._draw", lambda *_: None)
    assert run(*SHORT, "--out", "out") == 0
    before = json.loads(Path("out/curvature.json").read_text())
    assert run(SHORT[0], SHORT[1], "--critical", "--out", "out", "--json", "n.json", "--quiet") == 0
    after, only = (json.loads(Path(name).read_text()) for name in ("out/curvature.json", "n.json"))
    assert after["critical_sharpness"]["meter"] == only["meter"] and "extremes" not in only
    assert {name: after[name] for name in ("extremes", "trace", "spectrum", "sharpness")} == {
        name: before[name] for name in ("extremes", "trace", "spectrum", "sharpness")
    }
