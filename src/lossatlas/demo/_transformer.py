"""A small transformer for the digits: an image as eight tokens, one for each row of pixels."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossatlas import _checks
from lossatlas._errors import InputError


@final
class DigitsTransformer(nn.Module):
    """Rows of pixels as tokens, blocks of attention and perceptron with layer norm before each, the mean as output.

    Args:
        width: of a token.
        heads: of attention.
        depth: blocks.
    """

    def __init__(self, width: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(0.1 * torch.randn(1, 8, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores (n, 10) of images (n, 64)."""
        tokens = self.embed(pixels.reshape(-1, 8, 8)) + self.place
        for block in self.blocks:
            tokens = block(tokens)
        scores: Tensor = self.head(self.norm(tokens).mean(1))
        return scores


@final
class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.first(tokens)
        parts = [
            layer(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        attended = functional.scaled_dot_product_attention(*parts)
        tokens = tokens + self.out(attended.transpose(1, 2).flatten(2))
        added: Tensor = tokens + self.down(functional.gelu(self.up(self.second(tokens))))
        return added


def digits_transformer(width: int = 32, depth: int = 2, seed: int = 0) -> nn.Module:
    """An untrained transformer for flat digits, of about 18,000 parameters.

    Args:
        width: of a token; a multiple of 4, the number of heads.
        depth: blocks.
        seed: of the initial weights; torch's global random state is left as it was.

    Example:
        >>> sum(p.numel() for p in digits_transformer().parameters())
        18026
    """
    width, depth = _checks.whole("width", width), _checks.whole("depth", depth)
    if width % 4:
        raise InputError(f"got width={width}; expected a multiple of 4, the number of heads.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_checks.seed(seed))
        return DigitsTransformer(width, depth=depth).eval()
