"""A small transformer that reads scikit-learn's digits row by row, as a user of lossatlas would bring it.

Train two of them from different seeds and look at what lies between:

    python examples/transformer.py a.safetensors 0
    python examples/transformer.py b.safetensors 1
    lossatlas connect a.safetensors b.safetensors --model examples/transformer.py:make_model \
        --data examples/transformer.py:make_data --test examples/transformer.py:make_test --align --kind bezier --out DIR
"""

import sys

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Attention and an MLP, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = nn.Linear(width, 3 * width)
        self.write = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, (batch, rows, width)."""
        batch, rows, width = x.shape
        parts = self.read(self.norm1(x)).chunk(3, dim=-1)
        query, key, value = (p.view(batch, rows, self.heads, -1).transpose(1, 2) for p in parts)
        seen = F.scaled_dot_product_attention(query, key, value)
        x = x + self.write(seen.transpose(1, 2).reshape(batch, rows, width))
        return x + self.mlp(self.norm2(x))


class Reader(nn.Module):
    """Eight rows of eight pixels are eight tokens."""

    def __init__(self, width: int = 24, heads: int = 3, hidden: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(0.1 * torch.randn(8, width))
        self.blocks = nn.Sequential(*(Block(width, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the ten digits, from images (n, 1, 8, 8)."""
        x = self.blocks(self.embed(x.squeeze(1)) + self.place)
        return self.head(self.norm(x).mean(dim=1))


def make_model(seed: int = 0) -> nn.Module:
    """An untrained network in eval mode."""
    torch.manual_seed(seed)
    return Reader().eval()


def make_data(*, test: bool = False) -> tuple[Tensor, Tensor]:
    """The training examples, or the held-out fifth: images (n, 1, 8, 8) and labels (n,)."""
    pixels, labels = load_digits(return_X_y=True)
    train, held_out = train_test_split(range(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    rows = held_out if test else train
    return torch.tensor(pixels[rows] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels[rows])


def make_test() -> tuple[Tensor, Tensor]:
    """The held-out fifth."""
    return make_data(test=True)


def train(model: nn.Module, epochs: int = 30) -> None:
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
        sys.exit("usage: python examples/transformer.py WEIGHTS.safetensors SEED")
    main(sys.argv[1], int(sys.argv[2]))
