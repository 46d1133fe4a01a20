"""A small residual network with batch norm for scikit-learn's digits, as a user of lossatlas would bring it.

Train two of them from different seeds and look at what lies between:

    python examples/residual_cnn.py a.safetensors 0
    python examples/residual_cnn.py b.safetensors 1
    lossatlas connect a.safetensors b.safetensors --model examples/residual_cnn.py:make_model \
        --data examples/residual_cnn.py:make_data --test examples/residual_cnn.py:make_test --align --out DIR
"""

import sys

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two convolutions around a shortcut, which is a 1×1 convolution where the size changes."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.short = nn.Identity()
        if stride != 1 or channels != out:
            self.short = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.short(x))


class ResidualNet(nn.Module):
    """A stem, two stages of two blocks, and a linear head."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            Block(width, width), Block(width, width), Block(width, 2 * width, stride=2), Block(2 * width, 2 * width)
        )
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the ten digits."""
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.head(x.mean(dim=(2, 3)))


def make_model(seed: int = 0) -> nn.Module:
    """An untrained network in eval mode, so that its loss is a fixed function."""
    torch.manual_seed(seed)
    return ResidualNet().eval()


def make_data(*, test: bool = False) -> tuple[Tensor, Tensor]:
    """The training examples, or the held-out fifth: images (n, 1, 8, 8) and labels (n,)."""
    pixels, labels = load_digits(return_X_y=True)
    train, held_out = train_test_split(range(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    rows = held_out if test else train
    return torch.tensor(pixels[rows] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels[rows])


def make_test() -> tuple[Tensor, Tensor]:
    """The held-out fifth."""
    return make_data(test=True)


def train(model: nn.Module, epochs: int = 15) -> None:
    """Train in place, and leave the model in eval mode."""
    inputs, labels = make_data()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(64):
            loss = F.cross_entropy(model(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()


def main(path: str, seed: int) -> None:
    """Train, save the weights as safetensors, and print the accuracy on the held-out fifth."""
    model = make_model(seed)
    train(model)
    inputs, labels = make_test()
    with torch.no_grad():
        right = (model(inputs).argmax(dim=1) == labels).double().mean().item()
    save_file(model.state_dict(), path)
    print(f"test accuracy {right:.1%}; weights in {path}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/residual_cnn.py WEIGHTS.safetensors SEED")
    main(sys.argv[1], int(sys.argv[2]))
