"""A point's file laid out in memory against the library that defines the format."""

import pytest
import safetensors.torch
import torch

from lossatlas import archive
from lossatlas._errors import ModelError
from lossatlas.record._image import Image

KINDS = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def test_the_library_reads_what_was_laid_out(tmp_path):
    made = torch.Generator().manual_seed(0)
    given = {f"layer.{k}": (torch.randn(3 + k, 5, generator=made) * 4).to(kind) for k, kind in enumerate(KINDS)}
    given |= {"scalar": torch.tensor(7), "empty": torch.empty(0, 4), "ärmel": torch.randn(4, 6, generator=made).t()}
    image = Image({name: torch.empty_like(tensor) for name, tensor in given.items()})
    for _ in range(2):
        assert image.fits(given)
        image.fill(given)
        archive.commit([(tmp_path / "point.safetensors", image.content)])
        found = safetensors.torch.load_file(tmp_path / "point.safetensors")
        assert found.keys() == given.keys()
        for name, tensor in given.items():
            assert found[name].shape == tensor.shape and found[name].dtype == tensor.dtype
            assert torch.equal(bits(found[name]), bits(tensor)), name
        given["scalar"], given["layer.0"] = torch.tensor(8), given["layer.0"] * 2


def test_it_says_what_does_not_fit():
    image = Image({"a": torch.ones(3)})
    assert not image.fits({"a": torch.ones(4)}) and not image.fits({"a": torch.ones(3).double()})
    assert not image.fits({"b": torch.ones(3)}) and not image.fits({"a": torch.ones(3), "b": torch.ones(1)})
    with pytest.raises(ModelError, match=r"'c' holds numbers of type torch\.complex128"):
        Image({"c": torch.ones(2, dtype=torch.complex128)})
