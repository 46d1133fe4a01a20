"""Checkpoints as trainers write them: folders, nested files, other names; and files that are none, refused in a line."""

import argparse
import collections
import datetime
import json
import os
import pathlib
import types
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lossatlas as la
from lossatlas._errors import CheckpointError
from lossatlas.surface import read_checkpoint
from lossatlas.surface.network._names import Expected, fit


def _model(seed=0, width=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))


class Outer(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.net = inner

    def forward(self, x):
        return self.net(x)


def _flat(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def _loads(path, seed=1):
    """Load into another model, and say what was said."""
    target = _model(seed=99)
    said = la.load_checkpoint(target, path)
    assert torch.equal(_flat(target), _flat(_model(seed=seed)))
    surface = la.NetworkSurface(_model(seed=99), "mse", (torch.ones(5, 3), torch.zeros(5, 2)))
    assert torch.equal(surface.vector(path), _flat(target))
    return said


def _state(seed=1):
    return _model(seed).state_dict()


def _halves(seed=1):
    state = _state(seed)
    return {k: v for k, v in state.items() if k[0] == "0"}, {k: v for k, v in state.items() if k[0] == "2"}


def _sharded(folder, suffix, save):
    first, second = _halves()
    names = (f"model-00001-of-00002.{suffix}", f"model-00002-of-00002.{suffix}")
    for part, name in zip((first, second), names, strict=True):
        save(part, folder / name)
    where = {**dict.fromkeys(first, names[0]), **dict.fromkeys(second, names[1])}
    index = "model.safetensors.index.json" if suffix == "safetensors" else "pytorch_model.bin.index.json"
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": where}))


def _trainer(folder):
    save_file(_state(), folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        torch.save({"state": {0: {"exp_avg": torch.ones(3)}}}, folder / name)
    (folder / "trainer_state.json").write_text("{}")


def _lightning(folder):
    (folder / "checkpoints").mkdir()
    content = {
        "state_dict": {f"net.{k}": v for k, v in _state().items()} | {"criterion.weight": torch.ones(2)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4, 3)}}, "param_groups": []}],
        "hyper_parameters": argparse.Namespace(lr=0.1),
    }
    torch.save(content, folder / "checkpoints" / "epoch=3-step=48.ckpt")


FOLDERS = {
    "a trainer's": _trainer,
    "Hugging Face's, bin": lambda f: torch.save(_state(), f / "pytorch_model.bin"),
    "shards of safetensors": lambda f: _sharded(f, "safetensors", save_file),
    "shards of bin": lambda f: _sharded(f, "bin", torch.save),
    "Lightning's": _lightning,
    "one last.ckpt": lambda f: torch.save({"state_dict": _state()}, f / "last.ckpt"),
    "one file of any name": lambda f: torch.save(_state(), f / "ema_weights.pth"),
    "FSDP, consolidated": lambda f: torch.save(_state(), f / "pytorch_model_fsdp.bin"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_is_as_good_as_its_file(tmp_path, kind):
    FOLDERS[kind](tmp_path)
    said = _loads(tmp_path)
    assert ("'net.'" in said and "criterion.weight" in said) if kind == "Lightning's" else said == ""
    assert set(read_checkpoint(str(tmp_path)))


def test_a_folder_with_one_checkpoint_in_it_is_that_checkpoint(tmp_path):
    (tmp_path / "checkpoint-48").mkdir()
    _trainer(tmp_path / "checkpoint-48")
    assert _loads(tmp_path) == ""
    (tmp_path / "checkpoint-96").mkdir()
    with pytest.raises(CheckpointError, match=r"several checkpoints: checkpoint-48, checkpoint-96"):
        read_checkpoint(tmp_path)


def _two(folder):
    for name in ("last.ckpt", "epoch=1.ckpt"):
        torch.save({"state_dict": _state()}, folder / name)


def _escaping(folder):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../w.safetensors"}}))


def _lacking(folder):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "m1.safetensors"}}))


BAD_FOLDERS = {
    "empty": (lambda f: None, "it is empty"),
    "several": (_two, "several checkpoints: epoch=1.ckpt, last.ckpt"),
    "no weights": (lambda f: (f / "config.json").write_text("{}"), "holds no weights"),
    "a shard is missing": (_lacking, "lacks 1 of the 1 shards"),
    "a shard elsewhere": (_escaping, "outside its own folder"),
    "no index": (lambda f: (f / "model.safetensors.index.json").write_text("[1]"), "no index of shards"),
    "distributed": (lambda f: (f / "__0_0.distcp").write_bytes(b""), "distributed checkpoint"),
}


@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_a_folder_that_stands_for_no_weights_is_refused_in_one_paragraph(tmp_path, kind):
    make, words = BAD_FOLDERS[kind]
    make(tmp_path)
    _refused(tmp_path, words)


def _refused(path, words=""):
    for attempt in (read_checkpoint, lambda p: la.load_checkpoint(_model(), p)):
        with pytest.raises(CheckpointError) as refusal:
            attempt(path)
        text = str(refusal.value)
        assert words in text and "\n" not in text and len(text) < 700, text
        assert "weights_only" not in text and "add_safe_globals" not in text and "tensor(" not in text


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled!",))


class Custom:
    """A class that is nobody's harmless one."""


def _script(path):
    torch.jit.save(torch.jit.trace(_model(), torch.ones(1, 3)), path)


BAD_FILES = {
    "text": (lambda p: p.write_text("not weights, but a longer text\n" * 20), "not written by torch.save"),
    "a yaml": (lambda p: p.write_text("lr: 0.1"), "not written by torch.save"),
    "numbers for names": (lambda p: torch.save({1: torch.ones(2)}, p), "keys that are no names (1)"),
    "mixed names": (lambda p: torch.save({"a": torch.ones(2), 1: torch.ones(2)}, p), "no names"),
    "empty": (lambda p: p.write_bytes(b""), "empty"),
    "cut short": (lambda p: (torch.save(_state(), p), p.write_bytes(p.read_bytes()[:900])), "cut short"),
    "zeros": (lambda p: p.write_bytes(b"\0" * 100), "not written by torch.save"),
    "a tensor": (lambda p: torch.save(torch.ones(3), p), "holds Tensor"),
    "a class": (lambda p: torch.save({"a": Custom()}, p), "Custom"),
    "a bomb": (lambda p: torch.save({"state_dict": _state(), "x": Bomb()}, p), "print"),
    "a whole model": (lambda p: torch.save(_model(), p), "Sequential"),
    "TorchScript": (_script, "TorchScript"),
    "nothing in it": (lambda p: torch.save({}, p), "an empty dictionary"),
    "only losses": (lambda p: torch.save({"loss": torch.tensor(1.0), "epoch": 3}, p), "without tensors by name"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_checkpoint_is_refused_in_one_paragraph_and_never_run(tmp_path, kind, capsys):
    make, words = BAD_FILES[kind]
    make(tmp_path / "w.pt")
    _refused(tmp_path / "w.pt", words)
    assert "unpickled!" not in capsys.readouterr().out


def test_paths_that_lead_nowhere_are_refused(tmp_path):
    (tmp_path / "link.pt").symlink_to(tmp_path / "gone.pt")
    _refused(tmp_path / "link.pt", "which does not exist")
    _refused("x" * 300, "file name too long")
    _refused(tmp_path / "none.pt", "no checkpoint file")
    _refused("a\0b", "a")
    os.mkfifo(tmp_path / "pipe")
    _refused(tmp_path / "pipe", "neither a file nor a folder")


@pytest.mark.parametrize("kind", ["sparse", "quantized", "meta", "integer"])
def test_tensors_without_plain_numbers_are_named(tmp_path, kind):
    state = _state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates quantized tensors, once in a process
        state["0.weight"] = {
            "sparse": lambda w: w.to_sparse(),
            "quantized": lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
            "meta": lambda w: w.to("meta"),
            "integer": lambda w: w.int(),
        }[kind](state["0.weight"])
        torch.save(state, tmp_path / "w.pt")
    with pytest.raises(CheckpointError) as refusal:
        la.load_checkpoint(_model(), tmp_path / "w.pt")
    assert "0.weight" in str(refusal.value) and "\n" not in str(refusal.value)


HARMLESS = {
    "Namespace": argparse.Namespace(lr=0.1, names=["a"]),
    "SimpleNamespace": types.SimpleNamespace(a=1),
    "NumPy scalar": np.float64(3.0),
    "NumPy integer": np.int64(3),
    "NumPy array": np.arange(3.0),
    "array of objects": np.array([1, "a", None], dtype=object),
    "dtype": np.dtype("float32"),
    "path": pathlib.Path("/tmp/x"),
    "Windows path": pathlib.PureWindowsPath("C:\\x"),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "Counter": collections.Counter("abca"),
    "OrderedDict": collections.OrderedDict(a=1),
    "date": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "duration": datetime.timedelta(seconds=3),
    "Size": torch.Size([1, 2]),
    "dtype of torch": torch.float16,
    "device": torch.device("cpu"),
    "complex": 1j,
    "set": {1, 2},
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_harmless_things_beside_the_weights_are_read_and_leave_nothing_registered(tmp_path, kind):
    before = list(torch.serialization.get_safe_globals())
    torch.save({"model": _state(), "args": HARMLESS[kind]}, tmp_path / "w.pt")
    assert _loads(tmp_path / "w.pt") == ""
    assert list(torch.serialization.get_safe_globals()) == before


def test_settings_of_packages_that_are_not_here_are_read_as_nothing(tmp_path):
    module = types.ModuleType("omegaconf.dictconfig")
    made = type("DictConfig", (), {"__module__": "omegaconf.dictconfig", "__qualname__": "DictConfig"})
    module.DictConfig = made
    import sys

    sys.modules["omegaconf"], sys.modules["omegaconf.dictconfig"] = types.ModuleType("omegaconf"), module
    try:
        thing = made()
        thing.content = {"lr": 1}
        torch.save({"state_dict": _state(), "hyper_parameters": thing}, tmp_path / "w.ckpt")
    finally:
        del sys.modules["omegaconf"], sys.modules["omegaconf.dictconfig"]
    assert _loads(tmp_path / "w.ckpt") == ""


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "ema", "module", "generator", "a.b"])
def test_a_state_dict_is_found_under_any_key(tmp_path, key):
    held = _state()
    for part in reversed(key.split(".")):
        held = {part: held, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(4, 3)}}}}
    torch.save(held, tmp_path / "w.pt")
    assert _loads(tmp_path / "w.pt") == ""


def test_of_several_state_dicts_the_one_that_fits_is_taken_and_of_several_that_fit_none(tmp_path):
    both = {"generator": _state(), "discriminator": _model(5, width=7).state_dict()}
    torch.save(both, tmp_path / "gan.pt")
    assert "under 'generator'" in _loads(tmp_path / "gan.pt")
    torch.save({"a": _state(1), "b": _state(2)}, tmp_path / "two.pt")
    with pytest.raises(CheckpointError, match=r"several sets of tensors, under 'a', 'b'.*two.pt::a"):
        la.load_checkpoint(_model(), tmp_path / "two.pt")
    _loads(f"{tmp_path / 'two.pt'}::b", seed=2)
    with pytest.raises(CheckpointError, match="no part 'c'"):
        la.load_checkpoint(_model(), f"{tmp_path / 'two.pt'}::c")


def _named(prefix):
    return {f"{prefix}{name}": value for name, value in _state().items()}


def _infix(word):
    return {name.replace(".", f".{word}.", 1): value for name, value in _state().items()}


PREFIXED = {
    "module.": (_named("module."), "'module.'"),
    "model.": (_named("model."), "'model.'"),
    "net. of Lightning": (_named("net.") | {"loss.weight": torch.ones(2)}, "loss.weight was left aside"),
    "student beside a teacher": (
        _named("student.") | {"teacher.0.weight": torch.ones(9, 9)},
        "'student.'",
    ),
    "nested": (_named("base_model.model.module."), "'base_model.model.module.'"),
    "compiled": (_named("_orig_mod."), "'_orig_mod.'"),
    "compiled inside": (_infix("_orig_mod"), "wrappers"),
    "averaged": (_named("module.") | {"n_averaged": torch.tensor(3)}, "n_averaged was left aside"),
    "counted": (_state() | {"total_ops": torch.zeros(1, dtype=torch.float64)}, "total_ops"),
}


@pytest.mark.parametrize("kind", PREFIXED)
def test_names_with_prefixes_fit_and_it_is_said(tmp_path, kind):
    state, words = PREFIXED[kind]
    save_file(state, tmp_path / "w.safetensors")
    said = _loads(tmp_path / "w.safetensors")
    assert words in said and "\n" not in said


def test_the_prefix_may_be_on_the_models_side():
    inner, outer = _model(1), Outer(_model(9))
    for target in (outer, nn.DataParallel(outer), torch.optim.swa_utils.AveragedModel(outer)):
        found = fit(inner.state_dict(), Expected.of_module(target))
        target.load_state_dict(dict(found.tensors), strict=False)
        assert torch.equal(_flat(target), _flat(inner)) and "prefix" in found.sentence


@pytest.mark.slow
def test_modules_in_wrappers_are_points():
    surface = la.NetworkSurface(Outer(_model()), "mse", (torch.ones(5, 3), torch.zeros(5, 2)))
    other = _model(1)
    wrapped = (Outer(other), nn.DataParallel(Outer(other)), torch.optim.swa_utils.AveragedModel(Outer(other)), other)
    for given in (*wrapped, torch.compile(Outer(other), backend="eager")):
        assert torch.equal(surface.vector(given), _flat(other))
        assert surface.departures(given) == ()


def test_what_does_not_fit_under_a_prefix_either_is_refused_with_its_shapes():
    with pytest.raises(CheckpointError, match=r"prefix 'module\.'.*0\.weight \(file \(7, 3\), model \(4, 3\)\)"):
        fit({f"module.{k}": v for k, v in _model(1, width=7).state_dict().items()}, Expected.of_module(_model()))


def test_a_deeper_network_is_not_taken_for_this_one():
    state = _state() | {"4.weight": torch.ones(2, 2), "4.bias": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"unexpected: 4\.weight, 4\.bias"):
        fit(state, Expected.of_module(_model()))


def test_two_copies_that_differ_are_refused_and_two_that_do_not_are_one():
    ema = {f"ema.{k}": v + 1 for k, v in _state().items()}
    with pytest.raises(CheckpointError, match="several ways"):
        fit({**_state(), **ema}, Expected.of_module(_model()))
    with pytest.raises(CheckpointError, match="several ways"):
        fit({**_named("online."), **ema}, Expected.of_module(_model()))
    same = fit({**_named("online."), **_named("ema.")}, Expected.of_module(_model()))
    assert all(torch.equal(same.tensors[k], v) for k, v in _state().items())


def test_weight_norm_and_spectral_norm_of_the_other_version_fit():
    new = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))
    with pytest.warns(FutureWarning):
        old = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)))
    found = fit(old.state_dict(), Expected.of_module(new))
    new.load_state_dict(dict(found.tensors))
    x = torch.randn(5, 3)
    assert torch.allclose(new(x), old(x)) and "weight norm" in found.sentence
    back = fit(new.state_dict(), Expected.of_module(old))
    assert torch.equal(back.tensors["0.weight_v"], old[0].weight_v)
    old = nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 4))).eval()
    new = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))).eval()
    new.load_state_dict(dict(fit(old.state_dict(), Expected.of_module(new)).tensors))
    assert torch.allclose(new(x), old(x))


class _Lora(nn.Module):
    """A linear layer as PEFT wraps it."""

    def __init__(self):
        super().__init__()
        self.base_layer = nn.Linear(3, 2)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(3, 1, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(1, 2, bias=False)})
        self.base_layer.requires_grad_(False)

    def forward(self, x):
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


def test_adapters_go_into_a_model_that_has_them_and_the_rest_stays(tmp_path):
    adapters = {
        "base_model.model.net.lora_A.weight": torch.full((1, 3), 2.0),
        "base_model.model.net.lora_B.weight": torch.full((2, 1), 3.0),
    }
    save_file(adapters, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text("{}")
    model = Outer(_Lora())
    before = model.net.base_layer.weight.clone()
    said = la.load_checkpoint(model, tmp_path)
    assert torch.equal(model.net.base_layer.weight, before) and "base_layer" in said
    assert bool((model.net.lora_A["default"].weight == 2).all()) and bool(
        (model.net.lora_B["default"].weight == 3).all()
    )
    surface = la.NetworkSurface(model, "mse", (torch.ones(5, 3), torch.zeros(5, 2)))
    assert surface.vector(tmp_path).tolist() == [2.0] * 3 + [3.0] * 2
    with pytest.raises(CheckpointError, match="holds adapters"):
        la.load_checkpoint(_model(), tmp_path)


def test_tied_weights_that_are_absent_and_a_batch_norm_without_its_counter(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3), nn.Linear(3, 3, bias=False))
    model[2].weight = model[0].weight
    state = {k: v + 1 for k, v in model.state_dict().items() if k not in ("2.weight", "1.num_batches_tracked")}
    save_file(state, tmp_path / "w.safetensors")
    assert la.load_checkpoint(model, tmp_path / "w.safetensors") == ""
    assert torch.equal(model[2].weight, state["0.weight"]) and torch.equal(model[1].running_var, state["1.running_var"])
    state["2.weight"] = state.pop("0.weight")
    assert fit(state, Expected.of_module(model)).tensors["0.weight"] is not None


def test_statistics_that_are_not_there_are_said():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    found = fit(dict(model.named_parameters()), Expected.of_module(model))
    assert "holds nothing for 1.running_mean, 1.running_var" in found.sentence
