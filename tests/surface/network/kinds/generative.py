"""Noise, densities, contrasts, penalties: losses of generative and self-supervised models."""

from __future__ import annotations

import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ._kind import Kind, Refusal, kind, noise, objective_kind, refused, seeded, whole_numbers

X, Y = noise(24, 4), whole_numbers(3, 24)


def mlp(first, last):
    return nn.Sequential(nn.Linear(first, 6), nn.Tanh(), nn.Linear(6, last))


class VAE(nn.Module):
    """An autoencoder whose noise comes from `draw`: the same numbers at each call, or the model is no function of θ."""

    def __init__(self, draw):
        super().__init__()
        self.encoder, self.decoder, self.draw = mlp(4, 4), mlp(2, 4), draw

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, -1)
        z = mean + (log_variance / 2).exp() * self.draw(mean)
        return self.decoder(z), mean, log_variance


def evidence(output, target):
    x, mean, log_variance = output
    return F.mse_loss(x, target) + 0.1 * 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).sum(1).mean()


def own_generator(like):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(3), dtype=like.dtype)


def global_seed(like):
    torch.manual_seed(3)
    drawn = torch.randn_like(like)
    for _ in range(2):
        drawn = drawn + torch.randn_like(like)
    return drawn


def forked(like):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return torch.randn_like(like) + torch.randn_like(like)


def numpy_seed(like):
    np.random.seed(3)  # noqa: NPY002
    return torch.from_numpy(np.random.standard_normal(like.shape) + np.random.standard_normal(like.shape))  # noqa: NPY002


def python_seed(like):
    random.seed(3)
    return torch.tensor([[random.gauss(0, 1) for _ in row] for row in like], dtype=like.dtype)


class KeptArray(nn.Module):
    """Draws from generators of NumPy and Python that it keeps."""

    def __init__(self):
        super().__init__()
        self.numpy, self.python, self.body = np.random.default_rng(3), random.Random(3), mlp(4, 3)

    def forward(self, x):
        return self.body(x + 0.1 * torch.from_numpy(self.numpy.standard_normal(x.shape)) + self.python.random())


class Kept(nn.Module):
    """Draws from a generator that it keeps: each call is another one, unless the generator is put back."""

    def __init__(self):
        super().__init__()
        self.generator, self.body = torch.Generator().manual_seed(5), mlp(4, 3)

    def forward(self, x):
        return self.body(x + 0.3 * torch.randn(x.shape, generator=self.generator, dtype=x.dtype))


class Chance(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp(4, 3)

    def forward(self, x):
        return self.body(x + torch.randn_like(x))


class Dropped(nn.Module):
    """Dropout that evaluation mode does not switch off."""

    def __init__(self):
        super().__init__()
        self.body = mlp(4, 3)

    def forward(self, x):
        return self.body(F.dropout(x, 0.5, training=True))


class Coupling(nn.Module):
    """Two affine couplings: a normalizing flow; its forward is log p(x)."""

    def __init__(self):
        super().__init__()
        self.a, self.b = mlp(2, 4), mlp(2, 4)

    def forward(self, x):
        left, right = x.chunk(2, -1)
        s, t = self.a(left).chunk(2, -1)
        right = right * s.exp() + t
        u, v = self.b(right).chunk(2, -1)
        left = left * u.exp() + v
        normal = -(left.pow(2) + right.pow(2)).sum(1) / 2 - 2 * math.log(2 * math.pi)
        return normal + s.sum(1) + u.sum(1)


class Mixture(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp(4, 9)

    def forward(self, x):
        return torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(logits=self.body(x)[:, :3]),
            torch.distributions.Normal(self.body(x)[:, 3:6], self.body(x)[:, 6:].exp()),
        )


def density(output, target):
    return -output.log_prob(target).mean()


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp(4, 1)

    def forward(self, x):
        return self.body(x)


def wasserstein(model, batch):
    """WGAN-GP: the critic's loss with its gradient penalty; the mixing shares are data."""
    real, fake, share = batch
    mixed = (share * real + (1 - share) * fake).requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(mixed).sum(), mixed, create_graph=True)
    return model(fake).mean() - model(real).mean() + 10 * ((gradient.norm(dim=1) - 1) ** 2).mean()


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp(5, 4)

    def forward(self, x, t):
        return self.body(torch.cat([x, t], -1))


def diffusion(model, batch):
    """The loss of a diffusion model; time and noise are data."""
    share = batch["t"].cos()
    noisy = share * batch["x"] + batch["t"].sin() * batch["noise"]
    return F.mse_loss(model(noisy, batch["t"]), batch["noise"])


def nt_xent(output, target):
    """SimCLR: examples are told apart from the others of their batch, so it is no mean over examples."""
    z = F.normalize(output, dim=1)
    similar = z @ z.t() / 0.5
    similar = similar.masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9)
    half = len(z) // 2
    return F.cross_entropy(similar, torch.cat([torch.arange(half, 2 * half), torch.arange(half)]))


def centered(output, target):
    """Subtracts the mean of the batch."""
    return F.mse_loss(output - output.mean(0), target - target.mean(0))


def rebuilt(model, batch):
    return F.mse_loss(model(batch), batch)


def log_likelihood(model, batch):
    return -model(batch).mean(), len(batch)


class Through(nn.Module):
    """A generator that is judged by a frozen critic."""

    def __init__(self):
        super().__init__()
        self.generator, self.critic = mlp(4, 4), mlp(4, 1).requires_grad_(False)

    def forward(self, z):
        return self.critic(self.generator(z))


SHARES = noise(24, 1, seed=5).sigmoid()
REAL, FAKE = noise(24, 4, seed=6), 2 * noise(24, 4, seed=7)
CRITIC = [(REAL[r], FAKE[r], SHARES[r]) for r in (slice(0, 11), slice(11, 24))]
STEPS = {"x": X, "t": noise(24, 1, seed=8).sigmoid(), "noise": noise(24, 4, seed=9)}
STEPPED = [{key: value[r] for key, value in STEPS.items()} for r in (slice(0, 10), slice(10, 20), slice(20, 24))]
THREES = [X[:8], X[8:16], X[16:]]
BY_BATCH = {"notes": ("batch",), "breaks": ("joined batches", "cuts")}


def in_batches(loss, data, sizes):
    """L of a loss that is no mean: over the user's own batches, weighted by their examples."""

    def whole(model):
        total, begin = 0, 0
        for size in sizes:
            total = total + size * loss(model(data[0][begin : begin + size]), data[1][begin : begin + size])
            begin += size
        return total / begin

    return whole


def split_up(data, sizes):
    return list(zip(data[0].split(sizes), data[1].split(sizes), strict=True))


KINDS = [
    kind("VAE with a generator made in its forward", seeded(lambda: VAE(own_generator)), evidence, (X, X), split=False),
    kind(
        "VAE that seeds the global generator",
        seeded(lambda: VAE(global_seed)),
        evidence,
        (X, X),
        split=False,
        breaks=("threads",),
    ),
    kind(
        "VAE that forks the global generator",
        seeded(lambda: VAE(forked)),
        evidence,
        (X, X),
        split=False,
        breaks=("threads",),
    ),
    *[
        kind(name, seeded(lambda draw=draw: VAE(draw)), evidence, (X, X), split=False, breaks=("threads",))
        for name, draw in (("VAE that seeds NumPy", numpy_seed), ("VAE that seeds Python", python_seed))
    ],
    kind(
        "generators of NumPy and Python kept as attributes",
        seeded(KeptArray),
        "cross_entropy",
        (X, Y),
        split=False,
        refusal=Refusal("ModelError", "determin|generator|random"),
        or_right=True,
    ),
    kind(
        "VAE that seeds the global generator, in batches",
        seeded(lambda: VAE(global_seed)),
        evidence,
        (X, X),
        split=False,
        settings={"batch_size": 8},
        # The noise of an example depends on its place in the batch: L has to be that of the whole.
        breaks=("cuts", "threads"),
        refusal=Refusal("LossError|DataError|ModelError", "batch"),
        or_right=True,
    ),
    kind(
        "generator kept as an attribute",
        seeded(Kept),
        "cross_entropy",
        (X, Y),
        split=False,
        refusal=Refusal("ModelError", "determin|generator|random"),
        or_right=True,
    ),
    refused("noise without a seed", seeded(Chance), "cross_entropy", (X, Y), "ModelError", "determin|random"),
    refused("dropout by function", seeded(Dropped), "cross_entropy", (X, Y), "ModelError", "determin|random"),
    objective_kind("normalizing flow", seeded(Coupling), log_likelihood, THREES),
    kind("mixture density", seeded(Mixture), density, (X, noise(24, seed=10))),
    objective_kind("WGAN with a gradient penalty", seeded(Critic), wasserstein, CRITIC, breaks=("no_grad",)),
    objective_kind("diffusion with fixed noise", seeded(Denoiser), diffusion, STEPPED),
    objective_kind("autoencoder without targets", seeded(lambda: mlp(4, 4)), rebuilt, THREES),
    kind("SimCLR on all data", seeded(lambda: mlp(4, 3)), nt_xent, (X, Y), split=False, breaks=("cuts",)),
    Kind(
        "SimCLR in the user's batches",
        seeded(lambda: mlp(4, 3)),
        lambda model: {"loss": nt_xent, "data": split_up((X, Y), [8, 10, 6])},
        in_batches(nt_xent, (X, Y), [8, 10, 6]),
        **BY_BATCH,
    ),
    Kind(
        "loss centered in the user's batches",
        seeded(lambda: mlp(4, 4)),
        lambda model: {"loss": centered, "data": split_up((X, FAKE), [8, 10, 6])},
        in_batches(centered, (X, FAKE), [8, 10, 6]),
        **BY_BATCH,
    ),
    kind("generator behind a frozen critic", seeded(Through), "mse", (X, noise(24, 1, seed=11))),
]
