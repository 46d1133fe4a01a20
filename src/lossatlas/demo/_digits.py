"""The data at hand without a network, scikit-learn's 1,797 handwritten digits, and two small models for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from lossatlas import _checks
from lossatlas._imports import imported

_SPLITS = ("all", "train", "test")


@cache
def _load() -> tuple[Tensor, Tensor]:
    # Importing scikit-learn takes about a second, which a user of other data should not pay.
    imported("sklearn.datasets")
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return torch.from_numpy(pixels / 16).float(), torch.from_numpy(labels).long()


def digits(
    split: Literal["all", "train", "test"] = "all", *, images: bool = False, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Real 8×8 images of handwritten digits, read from scikit-learn and never from the network.

    Args:
        split: ``all`` 1,797 examples, or the ``train`` 80 % or ``test`` 20 % of a split with equal shares of
            every digit; the examples keep their order.
        images: shape (n, 1, 8, 8) instead of (n, 64).
        seed: which split.

    Returns:
        tuple[Tensor, Tensor]: pixels in [0, 1] as float32, and labels (n,) as int64; the caller's own copies.

    Raises:
        UnknownNameError: if there is no such split.

    Source:
        Alpaydin and Kaynak: Optical recognition of handwritten digits, UCI repository, 1998 (its test set).

    Example:
        >>> pixels, labels = digits("test", images=True)
        >>> tuple(pixels.shape), tuple(labels.shape)
        ((360, 1, 8, 8), (360,))
    """
    _checks.one_of("split of the digits", split, _SPLITS)
    images = _checks.flag("images", images)
    pixels, labels = _load()
    chosen = np.arange(len(labels))
    if split != "all":
        imported("sklearn.datasets")
        from sklearn.model_selection import train_test_split

        train, test = train_test_split(
            chosen, test_size=0.2, random_state=_checks.whole("seed", seed, 0, 2**32 - 1), stratify=labels.numpy()
        )
        chosen = np.sort(train if split == "train" else test)
    pixels, labels = pixels[chosen], labels[chosen]  # copies: the cached data stay as they are
    return (pixels.reshape(-1, 1, 8, 8) if images else pixels), labels


def digits_mlp(widths: Sequence[int] = (64, 64), seed: int = 0) -> nn.Sequential:
    """An untrained ReLU network for flat digits, 64-64-64-10 unless other hidden widths are given.

    Args:
        widths: sizes of the hidden layers; none at all gives a linear classifier.
        seed: of the initial weights; torch's global random state is left as it was.

    Example:
        >>> sum(p.numel() for p in digits_mlp().parameters())
        8970
    """
    expected = "sizes of the hidden layers, such as (64, 64)"
    widths = _checks.instance("widths", widths, Sequence, expected)
    sizes = (64, *(_checks.whole("a width", width, most=2**20, do=f"Give {expected}.") for width in widths), 10)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_checks.seed(seed))
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def digits_cnn(seed: int = 0) -> nn.Sequential:
    """An untrained convolutional network with batch norm for digits as images (n, 1, 8, 8), in eval mode.

    Args:
        seed: of the initial weights; torch's global random state is left as it was.

    Example:
        >>> sum(p.numel() for p in digits_cnn().parameters())
        10026
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_checks.seed(seed))
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 10),
        ).eval()
