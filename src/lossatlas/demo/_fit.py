"""A plain training loop, for lessons and examples that need a trained network and no framework."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossatlas import _checks
from lossatlas._errors import DataError, InputError


def fit(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train a classifier in place with AdamW on the cross-entropy.

    The same seed gives the same weights on the same machine. Shuffling has its own generator, and whatever the
    model itself draws (dropout) comes from the seed too; torch's global random state on the CPU is left as it was.

    Args:
        model: trained in place; left in eval mode, without gradients.
        data: inputs (n, …) and labels (n,), on the model's device.
        epochs: passes over the data.
        batch_size: examples per step; the last batch of an epoch may be smaller.
        lr: AdamW's learning rate; its other settings are torch's defaults.
        seed: of the shuffling.
        progress: called after every epoch with its number, from 1, and its mean loss.

    Returns:
        list[float]: the mean training loss of each epoch, as met during the epoch.

    Raises:
        DataError: if there are no examples, or not one label for each.
        InputError: if epochs or the batch size cannot be.

    Source:
        Loshchilov and Hutter: Decoupled weight decay regularization, ICLR 2019, arXiv:1711.05101.
    """
    inputs, labels = _checked(model, data)
    lr = _checks.number("lr", lr, least=0, most=1e30)
    if progress is not None and not callable(progress):
        raise InputError(f"fit got progress={_checks.shown(progress)}; expected a function of (epoch, loss), or None.")
    epochs, batch_size = _checks.whole("epochs", epochs, 0), _checks.whole("batch_size", batch_size)
    seed = _checks.seed(seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    shuffle = torch.Generator().manual_seed(seed)
    losses = []
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(seed)
            model.train()
            for epoch in range(1, epochs + 1):
                total = torch.zeros((), dtype=torch.float64, device=labels.device)
                order = torch.randperm(len(labels), generator=shuffle).to(labels.device)
                for first in range(0, len(order), batch_size):
                    batch = order[first : first + batch_size]
                    loss = functional.cross_entropy(model(inputs[batch]), labels[batch])
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    total += loss.detach() * len(batch)
                losses.append(float(total) / len(labels))
                if progress is not None:
                    progress(epoch, losses[-1])
    finally:
        optimizer.zero_grad()
        model.eval()
    return losses


def accuracy(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """The share of examples that a classifier gets right in eval mode; the model's own modes are restored.

    Args:
        model: inputs to one score per class.
        data: inputs (n, …) and labels (n,), on the model's device.

    Raises:
        DataError: if there are no examples, or not one label for each.
    """
    inputs, labels = _checked(model, data)
    training = [module for module in model.modules() if module.training]
    right = 0
    try:
        model.eval()
        with torch.no_grad():
            for first in range(0, len(labels), 1024):
                part = slice(first, first + 1024)
                right += int((model(inputs[part]).argmax(1) == labels[part]).sum())
    finally:
        for module in training:
            module.training = True
    return right / len(labels)


def _checked(model: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    _checks.instance("model", model, nn.Module, "a torch module")
    expected = "a pair of tensors (inputs, labels)"
    pair = _checks.instance("data", data, (tuple, list), expected)
    if len(pair) != 2 or not all(isinstance(part, Tensor) and part.ndim for part in pair):
        kinds = ", ".join(type(one).__name__ for one in pair)
        raise DataError(f"got data of {len(pair)} parts ({kinds}); expected {expected}.")
    inputs, labels = pair
    if labels.is_floating_point() or labels.ndim != 1:
        raise DataError(
            f"got labels of shape {tuple(labels.shape)} and type {labels.dtype}; expected (n,) class numbers. "
            "Convert them with labels.long()."
        )
    if len(labels) == 0 or len(inputs) != len(labels):
        raise DataError(
            f"got {len(inputs)} inputs and {len(labels)} labels; expected one label for each input, and at least "
            "one example. Give matching tensors (inputs, labels)."
        )
    return inputs, labels
