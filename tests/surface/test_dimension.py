"""Claim A2: the graph of L lives in N + 1 dimensions, counted exactly."""

from __future__ import annotations

import resource
import sys
import time
import tracemalloc

import pytest
import torch
from torch import nn

from lossatlas._errors import ModelError, UnknownNameError
from lossatlas.surface import _dimension
from lossatlas.surface._dimension import count, standard, standard_dimension

PUBLISHED = {
    "regression": 2,
    "mlp-100": 100,
    "mlp-digits": 8_970,
    "lenet5": 60_000,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vit-b16": 86_567_656,
    "bert-base": 109_482_240,
    "gpt2": 124_439_808,
    "gpt2-xl": 1_557_611_200,
    "gpt3": 174_604_259_328,
    "llama2-7b": 6_738_415_616,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name):
    found = standard_dimension(name)
    assert found.parameters == PUBLISHED[name]
    assert found.surface == PUBLISHED[name] + 1
    assert not found.rumored
    assert found.source
    assert f"{found.surface:,} dimensions" in found.sentence


def test_every_standard_model_is_a_published_count_or_a_rumor():
    assert {name for name in standard if not standard_dimension(name).rumored} == set(PUBLISHED)


def test_tensor_counts_match_the_reference_implementations():
    # torchvision (resnet, vit) and transformers (gpt2, bert, llama): len(list(model.parameters())).
    reference = {
        "resnet18": 62,
        "resnet50": 161,
        "vit-b16": 152,
        "gpt2": 148,
        "bert-base": 199,
        "llama2-7b": 291,
    }
    assert {name: standard_dimension(name).tensors for name in reference} == reference


def test_a_rumor_is_never_worded_as_a_count():
    found = standard_dimension("gpt4")
    assert found.rumored and found.tensors == 0 and found.parameters == 1.8e12
    assert "rumor" in found.note.lower() and "rumored to have about 1.8 trillion" in found.sentence
    assert "dimensions" not in found.sentence and "trainable" not in found.sentence


def test_gpt3_says_what_the_paper_rounds_it_to():
    found = standard_dimension("gpt3")
    assert "175 billion + 1" in found.note
    assert round(found.parameters / 1e9) == 175


def test_gpt3_costs_neither_time_nor_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    begun = time.perf_counter()
    shapes = _dimension._gpt(96, 12288, 2048)
    found = standard_dimension("gpt3")
    seconds = time.perf_counter() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    unit = 1 if sys.platform == "darwin" else 1024
    assert tuple(shapes) == standard["gpt3"].shapes and found.parameters > 1e11
    assert seconds < 1 and peak < 1e6
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 200e6


def test_unknown_standard_model_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"standard model named 'resnet-50'.*'resnet50'"):
        standard_dimension("resnet-50")


def test_modules_agree_with_the_shapes_written_down():
    digits = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    assert count(digits).parameters == standard_dimension("mlp-digits").parameters
    assert count(digits).tensors == standard_dimension("mlp-digits").tensors == 6
    assert count(nn.Sequential(nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 1))).surface == 101
    assert count(nn.Linear(1, 1)).surface == 3


def test_gpt3_layer_agrees_with_a_torch_layer_on_the_meta_device():
    with torch.device("meta"):
        layer = nn.TransformerEncoderLayer(12288, 96, 4 * 12288)
    found = count(layer)
    assert found.parameters == sum(torch.Size(shape).numel() for shape in _dimension._transformer(1, 12288))
    assert found.tensors == len(_dimension._transformer(1, 12288))


def test_a_model_too_large_for_memory_is_counted_on_the_meta_device():
    with torch.device("meta"):
        model = nn.ModuleList([nn.Linear(100_000, 100_000, bias=False) for _ in range(20)])
    assert count(model).parameters == 20 * 10**10


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 3)
        self.head = nn.Linear(3, 7, bias=False)
        self.head.weight = self.embed.weight


def test_tied_weights_count_once():
    found = count(Tied())
    assert (found.name, found.parameters, found.tensors) == ("Tied", 21, 1)
    assert "embed.weight = head.weight" in found.note


def test_frozen_weights_and_buffers_are_no_coordinates():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    model[0].weight.requires_grad_(False)
    found = count(model)
    assert (found.parameters, found.frozen, found.tensors) == (3 + 6, 12, 3)
    assert "12 frozen" in found.note
    everything = count(nn.Linear(2, 2).requires_grad_(False))
    assert (everything.parameters, everything.frozen) == (0, 6) and "Nothing is trainable" in everything.note


def test_complex_weights_are_two_real_coordinates():
    assert count(nn.Linear(2, 2, dtype=torch.complex64)).parameters == 12


def test_what_is_no_model_is_refused():
    with pytest.raises(ModelError, match="an instance, not a class"):
        count(nn.Linear)
    with pytest.raises(ModelError, match="'weight' of LazyLinear is lazy"):
        count(nn.LazyLinear(3))
