"""A small convolutional network for scikit-learn's digits, as a user of lossatlas would bring it.

Train it and keep the weights:

    python examples/digits.py weights.safetensors

Then look around them:

    lossatlas chart --model examples/digits.py:make_model --data examples/digits.py:make_data \
        --loss cross_entropy --checkpoint weights.safetensors --plane random --span 1 --points 25 --out DIR
"""

import sys

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn


def make_model() -> nn.Module:
    """An untrained network, always the same, in eval mode so that its loss is a fixed function."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )
    return model.eval()


def make_data(*, test: bool = False) -> tuple[Tensor, Tensor]:
    """The training examples, or the held-out fifth: images (n, 1, 8, 8) and labels (n,)."""
    pixels, labels = load_digits(return_X_y=True)
    train, held_out = train_test_split(range(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    rows = held_out if test else train
    return torch.tensor(pixels[rows] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels[rows])


def main(path: str, epochs: int = 15) -> None:
    """Train, save the weights as safetensors, and print the accuracy on the held-out fifth."""
    model = make_model().train()
    inputs, labels = make_data()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(epochs):
        for batch in torch.randperm(len(labels)).split(64):
            loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1:2d}  loss of its last batch {loss.item():.4f}")
    model.eval()
    inputs, labels = make_data(test=True)
    with torch.no_grad():
        right = (model(inputs).argmax(dim=1) == labels).double().mean().item()
    save_file(model.state_dict(), path)
    print(f"test accuracy {right:.1%}; weights in {path}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/digits.py WEIGHTS.safetensors")
    main(sys.argv[1])
