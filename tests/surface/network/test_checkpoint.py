"""Weights from files: what fits is loaded whole, what does not is refused with its keys and changes nothing."""

import pickle
import traceback

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

import lossatlas as la
from lossatlas._errors import CheckpointError
from lossatlas.surface import read_checkpoint


def _model(width=4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
@pytest.mark.parametrize("nested", [None, "state_dict", "model_state_dict"])
def test_weights_come_back(tmp_path, suffix, nested):
    path, source = tmp_path / f"w.{suffix}", _model(seed=1)
    if suffix == "safetensors":
        save_file(source.state_dict(), path)
    else:
        torch.save({nested: source.state_dict(), "epoch": 3} if nested else source.state_dict(), path)
    target = _model(seed=2)
    la.load_checkpoint(target, path)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_a_tied_weight_is_held_once_in_safetensors(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

    source, target = Tied(), Tied()
    save_model(source, str(tmp_path / "w.safetensors"))
    la.load_checkpoint(target, tmp_path / "w.safetensors")
    assert torch.equal(source.a.weight, target.b.weight)


def test_keys_that_do_not_fit_are_named_and_nothing_is_loaded(tmp_path):
    weights = _model(width=5, seed=1).state_dict()
    weights["extra.weight"] = weights.pop("2.bias")
    save_file(weights, tmp_path / "w.safetensors")
    target = _model()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(CheckpointError) as refusal:
        la.load_checkpoint(target, tmp_path / "w.safetensors")
    for words in ("missing: 2.bias", "unexpected: extra.weight", "0.weight (file (5, 3), model (4, 3))"):
        assert words in str(refusal.value)
    assert all(torch.equal(before[k], v) for k, v in target.state_dict().items())


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled!",))


@pytest.mark.parametrize("make", ["pickle", "whole model", "bomb", "text", "list", "empty"])
def test_what_is_not_plain_weights_is_refused_and_never_run(tmp_path, make, capsys):
    path = tmp_path / "w.pt"
    match make:
        case "pickle":
            path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
        case "whole model":
            torch.save(_model(), path)
        case "bomb":
            torch.save({"state_dict": Bomb()}, path)
        case "text":
            path.write_text("not weights")
        case "list":
            torch.save([torch.ones(2)], path)
        case "empty":
            path.write_bytes(b"")
    with pytest.raises(CheckpointError) as refusal:
        read_checkpoint(path)
    assert "w.pt" in str(refusal.value) and "\n" not in str(refusal.value)
    assert "unpickled!" not in capsys.readouterr().out


def test_a_broken_safetensors_file_and_a_missing_one(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\x01" * 50)
    with pytest.raises(CheckpointError, match="safetensors"):
        read_checkpoint(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint file"):
        read_checkpoint(tmp_path / "nothing.pt")


def test_a_surface_takes_points_as_files_modules_and_state_dicts(tmp_path):
    surface = la.NetworkSurface(_model(), "mse", (torch.randn(5, 3), torch.randn(5, 2)))
    other = _model(seed=9)
    save_file(other.state_dict(), tmp_path / "b.safetensors")
    flat = nn.utils.parameters_to_vector(other.parameters()).detach()
    for given in (other, other.state_dict(), tmp_path / "b.safetensors", str(tmp_path / "b.safetensors"), flat):
        assert torch.equal(surface.vector(given), flat)
    with pytest.raises(la.InputError, match="shape"):
        surface.vector(_model(width=6))
    with pytest.raises(la.InputError, match="shape"):
        surface.vector(torch.zeros(3))


def test_complex_numbers_are_no_weights_of_a_real_model(tmp_path):
    torch.save({n: v * (1 + 1j) for n, v in _model().state_dict().items()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"is of type torch\.complex64; expected plain numbers of floating type"):
        la.load_checkpoint(_model(), tmp_path / "w.pt")


def test_names_in_a_file_reach_no_terminal_as_codes_by_the_message_that_refuses_them(tmp_path):
    torch.save({f"\x1b[2J{n}": v for n, v in _model().state_dict().items() if "bias" in n}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"\\x1b\[2J") as refused:
        la.load_checkpoint(_model(), tmp_path / "w.pt")
    assert "\x1b" not in "".join(traceback.format_exception_only(refused.value))


def test_an_archive_of_numpys_is_called_one(tmp_path):
    np.savez(tmp_path / "w.npz", weight=np.zeros((2, 3)), bias=np.zeros(2))
    surface = la.NetworkSurface(nn.Linear(3, 2), "cross_entropy", (torch.randn(4, 3), torch.arange(4) % 2))
    with pytest.raises(la.CheckpointError, match="archive of NumPy's"):
        surface.vector(tmp_path / "w.npz")
