"""Images: convolutions, norms, segmentation, detection, vision transformers."""

from __future__ import annotations

from types import MethodType

import torch
import torch.nn.functional as F
import transformers as hf
from scipy.optimize import linear_sum_assignment
from torch import nn

from ._kind import kind, noise, refused, seeded, whole_numbers

IMAGES, LABELS = noise(24, 2, 6, 6), whole_numbers(3, 24)
PIXELS = torch.where(whole_numbers(5, 24, 6, 6, seed=3) == 4, 255, whole_numbers(3, 24, 6, 6, seed=2))


def head(width):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


def convnet(norm=None):
    layers = [nn.Conv2d(2, 4, 3, padding=1), *([norm] if norm is not None else []), nn.GELU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, *head(4))


def settled(norm):
    """A norm whose running statistics are not those of a new one."""
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(0.5, 2)
    return norm


def doubled(norm):
    """A batch norm that is not quite one, by a forward of its own."""
    norm.forward = MethodType(lambda self, x: 2 * type(self).forward(self, x), norm)
    return norm


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.middle = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(4, 4, 2, stride=2), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        wide = torch.tanh(self.down(x))
        deep = torch.tanh(self.middle(F.avg_pool2d(wide, 2)))
        return self.out(torch.cat([wide, self.up(deep)], 1))


class Detector(nn.Module):
    """Scores and boxes for three queries of an image."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 6), nn.Tanh())
        self.scores, self.boxes = nn.Linear(6, 9), nn.Linear(6, 12)

    def forward(self, images):
        hidden = self.body(images)
        boxes = self.boxes(hidden).sigmoid().reshape(-1, 3, 4)
        return {"scores": self.scores(hidden).reshape(-1, 3, 3), "boxes": boxes, "hidden": [hidden]}


def matched(output, target):
    """DETR's loss: each image's two objects are given to the queries that they cost least; class 2 is no object."""
    total = 0
    for scores, boxes, classes, wanted in zip(
        output["scores"], output["boxes"], target["classes"], target["boxes"], strict=True
    ):
        cost = torch.cdist(boxes, wanted, p=1) - scores.softmax(-1)[:, classes]
        rows, columns = map(torch.as_tensor, linear_sum_assignment(cost.detach().double().numpy()))
        labels = torch.full((3,), 2)
        labels[rows] = classes[columns]
        total = total + F.cross_entropy(scores, labels) + F.smooth_l1_loss(boxes[rows], wanted[columns])
    return total / len(output["scores"])


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.classes, self.depth = convnet()[:3], head(4), head(4)

    def forward(self, x):
        hidden = self.body(x)
        return self.classes(hidden), {"depth": self.depth(hidden)}


class Writes(nn.Module):
    """An activation in place on its input: the next call with the same tensor would see another input."""

    def __init__(self):
        super().__init__()
        self.inner = convnet()

    def forward(self, x):
        x.relu_().mul_(0.5)
        return self.inner(x)


class Branches(nn.Module):
    """What is computed hangs on the data."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(72, 3), nn.Linear(72, 3)

    def forward(self, x):
        return torch.stack([self.a(row) if float(row.sum()) > 0 else self.b(row).tanh() for row in x.flatten(1)])


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.cut, self.token = nn.Conv2d(2, 4, 2, stride=2), nn.Parameter(torch.randn(1, 1, 4))
        self.block = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True, norm_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        patches = self.cut(x).flatten(2).transpose(1, 2)
        return self.out(self.block(torch.cat([self.token.expand(len(x), -1, -1), patches], 1))[:, 0])


def vit():
    settings = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = hf.ViTConfig(**settings, image_size=6, patch_size=3, num_channels=2, num_labels=3)
    return hf.ViTForImageClassification(config)


def logits(loss):
    return lambda output, target: loss(output.logits, target)


def multitask(output, target):
    return F.cross_entropy(output[0], target["class"]) + 0.3 * F.mse_loss(output[1]["depth"], target["more"]["depth"])


BOXES = {"classes": whole_numbers(2, 24, 2, seed=5), "boxes": noise(24, 2, 4, seed=6).sigmoid()}
TASKS = {"class": LABELS, "more": {"depth": noise(24, 3, seed=8)}}

KINDS = [
    kind("convolutional network", seeded(convnet), "cross_entropy", (IMAGES, LABELS)),
    kind(
        "ReLU and the largest of four",
        seeded(lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))),
        "cross_entropy",
        (IMAGES, LABELS),
        smooth=False,
    ),
    kind(
        "convolutional network in batches of seven",
        seeded(convnet),
        "cross_entropy",
        (IMAGES, LABELS),
        settings={"batch_size": 7},
    ),
    kind(
        "batch norm in evaluation mode",
        seeded(lambda: convnet(settled(nn.BatchNorm2d(4)))),
        "cross_entropy",
        (IMAGES, LABELS),
    ),
    kind(
        "batch norm with a replaced forward",
        seeded(lambda: convnet(doubled(settled(nn.BatchNorm2d(4))))),
        "cross_entropy",
        (IMAGES, LABELS),
        breaks=("folded batch norm",),
    ),
    kind(
        "synchronized batch norm in evaluation mode",
        seeded(lambda: convnet(settled(nn.SyncBatchNorm(4)))),
        "cross_entropy",
        (IMAGES, LABELS),
    ),
    refused(
        "batch norm in training mode",
        seeded(lambda: convnet(nn.BatchNorm2d(4)), train=True),
        "cross_entropy",
        (IMAGES, LABELS),
        "ModelError",
        "train|eval",
    ),
    refused(
        "dropout in training mode",
        seeded(lambda: convnet(nn.Dropout2d(0.4)), train=True),
        "cross_entropy",
        (IMAGES, LABELS),
        "ModelError",
        "train|eval",
    ),
    kind("group norm", seeded(lambda: convnet(nn.GroupNorm(2, 4))), "cross_entropy", (IMAGES, LABELS)),
    kind(
        "instance norm with gains",
        seeded(lambda: convnet(nn.InstanceNorm2d(4, affine=True)), train=True),
        "cross_entropy",
        (IMAGES, LABELS),
    ),
    kind(
        "segmentation with ignored pixels",
        seeded(UNet),
        nn.CrossEntropyLoss(ignore_index=255),
        (IMAGES, PIXELS),
        split=False,
    ),
    kind(
        "segmentation with ignored pixels in batches",
        seeded(UNet),
        nn.CrossEntropyLoss(ignore_index=255),
        (IMAGES, PIXELS),
        split=False,
        settings={"batch_size": 5},
        breaks=("cuts",),
    ),
    kind("U-Net that regresses", seeded(UNet), "mse", (IMAGES, noise(24, 3, 6, 6, seed=9))),
    kind("detection with matching", seeded(Detector), matched, (IMAGES, BOXES)),
    kind("several tasks with nested targets", seeded(TwoHeads), multitask, (IMAGES, TASKS)),
    kind(
        "several tasks with nested targets in batches",
        seeded(TwoHeads),
        multitask,
        (IMAGES, TASKS),
        settings={"batch_size": 7},
    ),
    kind("forward that writes into its input", seeded(Writes), "cross_entropy", (IMAGES, LABELS)),
    kind("control flow by data", seeded(Branches), "cross_entropy", (IMAGES, LABELS), breaks=("functional and vmap",)),
    kind("vision transformer by hand", seeded(ViT), "cross_entropy", (IMAGES[:12], LABELS[:12])),
    kind("ViT of transformers", seeded(vit), logits(F.cross_entropy), (IMAGES[:12], LABELS[:12])),
    kind(
        "ViT of transformers with a named loss",
        seeded(vit),
        "cross_entropy",
        (IMAGES[:12], LABELS[:12]),
        plain=logits(F.cross_entropy),
    ),
    kind(
        "channels last",
        lambda: seeded(convnet)().to(memory_format=torch.channels_last),
        "cross_entropy",
        (IMAGES.to(memory_format=torch.channels_last), LABELS),
    ),
]
