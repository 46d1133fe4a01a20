"""Odd arguments and odd words: refused in a sentence of ours, and nothing else of the process is touched."""

import os
import sys
import time
from pathlib import Path

import pytest
import torch

import lossatlas as la
from lossatlas import _checks

sys.path.insert(0, str(Path(__file__).parent))

import command_lines
import odd_calls
import odd_values as odd
import public_calls
from watch import Outcome, Watch

# What needs no training, no drawing and no long search.
FAST = ("optimizer", "Frame", "Budget", "landscapes.", "p_saddle", "steps", "Function", "policy", "load", "race", "rescale",
        "Layout", "Plane.", "directions.", "Landscape.", "NetworkSurface.v", "critical_point",
        "Recording.is_in", "Probe", "Values", "Sample")  # fmt: skip


def faults(found):
    return [f"{outcome.kind} {case}: {outcome.words}" for case, outcome in found if outcome.is_fault]


def test_every_public_callable_is_called_or_left_out_for_a_reason():
    called = {call.name for call in public_calls.calls()}
    records = {name for name, value in public_calls.public().items() if public_calls.is_record(value)}
    missing = set(public_calls.public()) - called - set(public_calls.LEFT_OUT) - records
    assert not missing, f"give {sorted(missing)} a valid call in tests/fuzz/public_calls.py"
    assert set(command_lines.LINES) | set(command_lines.LEFT_OUT) == set(command_lines.commands())


def _boom():
    raise KeyError("of the user's own")


def _busy():
    end = time.process_time() + 5
    while time.process_time() < end:
        pass


@pytest.fixture
def watch(tmp_path):
    model = odd.mlp()
    return Watch(tmp_path, {"the model": model}, {"the vector": torch.zeros(3)}, limit=0.2)


@pytest.mark.slow
def test_the_watch_sees_what_a_call_must_not_do(watch, tmp_path):
    model, vector = watch.models["the model"], watch.vectors["the vector"]
    outside = Path(__file__).parent / "outside.txt"
    changes = {
        "raw": [lambda: _checks.one_of("a kind", "x", None)],
        "hang": [_busy],
        "model": [lambda: model[0].bias.data.add_(1), lambda: model.train(False), lambda: vector.add_(1),
                  lambda: model.requires_grad_(False)],
        "setting": [lambda: torch.set_default_dtype(torch.float64), lambda: torch.rand(1), lambda: torch.set_grad_enabled(False),
                    lambda: os.environ.update(ODD="1"), lambda: os.chdir(tmp_path), lambda: sys.path.append("x")],
        "file": [lambda: outside.write_text("x"), lambda: outside.unlink()],
    }  # fmt: skip
    for kind, calls in changes.items():
        for call in calls:
            assert watch(call).kind == kind
    os.environ.pop("ODD", None)
    torch.set_default_dtype(torch.float32)


def test_the_watch_lets_pass_what_a_call_may_do(watch, tmp_path):
    assert watch(lambda: la.optimizer("nonsense")).kind == "refused"
    assert watch(lambda: la.Function(lambda x: _boom(), box=[(-1, 1)]).values(torch.zeros(1, 1))).kind == "refused"
    assert watch(_boom).kind == "refused"  # of the user's own
    assert watch(lambda: (tmp_path / "inside.txt").write_text("x")) == Outcome(
        "result", seconds=pytest.approx(0, abs=5)
    )


@pytest.mark.slow
def test_odd_arguments_of_what_is_fast(tmp_path):
    found = list(odd_calls.fuzz(tmp_path, 120, seed=0, only=FAST, seconds=2.0))
    assert found and not faults(found)


@pytest.mark.slow
def test_odd_arguments(tmp_path):
    found = list(odd_calls.fuzz(tmp_path, 600, seed=1, seconds=14.0))
    assert found and not faults(found)


@pytest.mark.slow
def test_odd_words_of_commands(tmp_path):
    found = list(command_lines.fuzz(tmp_path, 120, seed=1, seconds=6.0))
    assert found and not faults(found)
