"""ResNet-20 for 32×32 images, with or without shortcuts, and CIFAR-10 images where they lie beside the project.

He, Zhang, Ren & Sun 2016, section 4.2: 3×3 convolutions with batch norm, three stages of 16, 32 and 64 channels,
identity shortcuts that subsample and pad with zeros. Without shortcuts it is the plain net of the same depth.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10-6000.npz"


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, shortcuts: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride, self.more, self.shortcuts = stride, outputs - inputs, shortcuts

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.shortcuts:
            short = x[:, :, :: self.stride, :: self.stride]
            y = y + F.pad(short, (0, 0, 0, 0, self.more // 2, self.more // 2))
        return F.relu(y)


def resnet(depth: int = 20, *, shortcuts: bool = True, seed: int = 0) -> nn.Module:
    """An untrained network in eval mode; depth = 6n + 2."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        channels = 16
        for outputs in (16, 32, 64):
            for k in range((depth - 2) // 6):
                layers.append(Block(channels, outputs, 2 if k == 0 and outputs > 16 else 1, shortcuts))
                channels = outputs
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
        return nn.Sequential(*layers).eval()


def cifar(examples: int | None = None) -> tuple[Tensor, Tensor] | None:
    """Normalized training images (n, 3, 32, 32) and labels, or None where the data are not there."""
    if not DATA.is_file():
        return None
    with np.load(DATA) as held:
        images, labels = held["train_images"][:examples], held["train_labels"][:examples]
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]) / 0.25
    return pixels.contiguous(), torch.from_numpy(labels).long()
