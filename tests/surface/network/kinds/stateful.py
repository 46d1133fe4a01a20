"""Models and losses that keep something: inside themselves, in their class, in their module; experts and caches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ._kind import Kind, Refusal, kind, noise, objective_kind, refused, seeded, whole_numbers

X, Y = noise(24, 4), whole_numbers(3, 24)
LAST: dict[str, torch.Tensor] = {}


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


class Global(nn.Module):
    """Passes an activation through a variable of its module: two threads would read each other's."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 64), nn.Linear(64, 3)

    def forward(self, x):
        LAST["hidden"] = torch.tanh(self.a(x))
        for _ in range(3):
            LAST["hidden"] = LAST["hidden"] * 0.5 + torch.tanh(LAST["hidden"])
        return self.b(LAST["hidden"])


def sparse_activity(output, target):
    """Reads what the forward pass left in a variable of its module."""
    return F.cross_entropy(output, target) + LAST["hidden"].square().mean()


class OfClass(nn.Module):
    kept = None

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 64), nn.Linear(64, 3)

    def forward(self, x):
        type(self).kept = torch.tanh(self.a(x))
        for _ in range(3):
            type(self).kept = type(self).kept * 0.5 + torch.tanh(type(self).kept)
        return self.b(type(self).kept)


class Grows(nn.Module):
    """Keeps every activation it ever made, in a list and in a dictionary of lists."""

    def __init__(self):
        super().__init__()
        self.net, self.cache, self.more = mlp(), [], {"calls": [0], "last": torch.zeros(1)}

    def forward(self, x):
        out = self.net(x)
        self.cache.append(out)
        self.more["calls"][0] += 1
        self.more["last"] = out.detach()
        self.newest = out
        return out


class Hooked(nn.Module):
    """Reads what a hook left behind, as feature extractors do."""

    def __init__(self):
        super().__init__()
        self.net, self.features = mlp(), {}
        self.net[1].register_forward_hook(self.keep)

    def keep(self, module, inputs, output):
        self.features["hidden"] = output

    def forward(self, x):
        out = self.net(x)
        return out + self.features["hidden"].mean(1, keepdim=True)


class Remembers(nn.Module):
    """Computes each input once: the first θ is the only one that it knows, unless its memory is put back."""

    def __init__(self):
        super().__init__()
        self.net, self.memory = mlp(), {}

    def forward(self, x):
        key = (tuple(x.shape), float(x.sum()))
        if key not in self.memory:
            self.memory[key] = self.net(x)
        return self.memory[key]


class CachedWeight(nn.Module):
    """Merges two weights once in evaluation mode, as RepVGG and merged LoRA do."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.merged = nn.Linear(4, 3), nn.Linear(4, 3), None

    def forward(self, x):
        if self.merged is None:
            self.merged = self.a.weight + self.b.weight
        return F.linear(x, self.merged, self.a.bias)


class Counts(nn.Module):
    """Its buffer counts the calls; nothing reads it."""

    def __init__(self):
        super().__init__()
        self.net = mlp()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        return self.net(x)


class Warms(nn.Module):
    """A factor that grows with each call: no function of θ."""

    def __init__(self):
        super().__init__()
        self.net, self.step = mlp(), 0

    def forward(self, x):
        self.step += 1
        return self.net(x) * (1 - 0.5**self.step)


class Carries(nn.Module):
    """A recurrent state that is carried from batch to batch."""

    def __init__(self):
        super().__init__()
        self.cell, self.out, self.state = nn.RNNCell(4, 5), nn.Linear(5, 3), None

    def forward(self, x):
        mean = None if self.state is None else self.state.mean(0, keepdim=True).expand(len(x), -1)
        self.state = self.cell(x, mean)
        return self.out(self.state)


class Experts(nn.Module):
    """A mixture of experts: two of three for each example, and the balance of their load as an attribute."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 3), nn.ModuleList(nn.Linear(4, 3) for _ in range(3))
        self.auxiliary = None

    def forward(self, x):
        shares = self.gate(x).softmax(-1)
        best, chosen = shares.topk(2, -1)
        out = torch.zeros(len(x), 3, dtype=x.dtype)
        for number, expert in enumerate(self.experts):
            rows, places = (chosen == number).nonzero(as_tuple=True)
            out = out.index_add(0, rows, best[rows, places, None] * expert(x[rows]))
        self.auxiliary = (3 * shares.mean(0) * shares.mean(0)).sum()
        return out


def balanced(model, batch):
    x, y = batch
    return F.cross_entropy(model(x), y) + 0.1 * model.auxiliary


def closes_over(model):
    return lambda output, target: F.cross_entropy(output, target) + 0.1 * model.auxiliary


class Listens(nn.Module):
    """Its dropout is off in evaluation mode, and its forward looks at its own mode."""

    def __init__(self):
        super().__init__()
        self.net, self.drop = mlp(), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.net(x)) * (3 if self.training else 2)


class Switches(nn.Module):
    """Goes to training mode and back within its forward."""

    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x):
        self.net.train()
        out = self.net(x)
        self.net.eval()
        return out


class Asks(nn.Module):
    """Gives something else where gradients are off."""

    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x):
        out = self.net(x)
        return out if torch.is_grad_enabled() else out.softmax(-1)


class Reads(nn.Module):
    """Looks at its own weights by their number, not as tensors of the graph."""

    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x):
        scale = 1 + float(self.net[0].weight.detach().abs().max())
        return self.net(x) / scale


class Normalizes(nn.Module):
    """Writes its own weight: to length one, before it is used."""

    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x):
        with torch.no_grad():
            self.net[0].weight.div_(self.net[0].weight.norm())
        return self.net(x)


SPLIT = [(X[r], Y[r]) for r in (slice(0, 9), slice(9, 18), slice(18, 24))]
THREADS = {"breaks": ("threads",)}
NO_FUNCTION = Refusal("ModelError", "determin|change|state|same|cache|attribute|memor")
MAY = {"refusal": NO_FUNCTION, "or_right": True}


def simple(name, make, **rest):
    return kind(name, seeded(make), "cross_entropy", (X, Y), **rest)


KINDS = [
    simple("activation in a global variable", Global, **THREADS),
    simple("activation in a class attribute", OfClass, **THREADS),
    kind(
        "loss that reads an activation",
        seeded(Global),
        sparse_activity,
        (X, Y),
        breaks=("threads", "interpolation of outputs"),
    ),
    simple("list that grows", Grows),
    simple("features of a hook", Hooked, **THREADS),
    simple("memory of its inputs", Remembers, **MAY, breaks=("private copy",)),
    simple("weight merged once", CachedWeight, **MAY, breaks=("private copy",)),
    simple("buffer that counts calls", Counts, **MAY),
    simple("factor that grows with each call", Warms, split=False, **MAY),
    simple("state carried from batch to batch", Carries, split=False, **MAY),
    objective_kind("mixture of experts with its load as an attribute", seeded(Experts), balanced, SPLIT),
    Kind(
        "mixture of experts, loss that closes over it",
        seeded(Experts),
        lambda model: {"loss": closes_over(model), "data": (X, Y)},
        lambda model: balanced(model, (X, Y)),
        breaks=("private copy", "cuts", "functional and vmap"),
    ),
    simple("forward that reads its mode", Listens),
    simple("forward that switches its mode", Switches),
    simple("forward that differs where gradients are off", Asks, breaks=("no_grad",), **MAY),
    simple("forward that reads its weights as numbers", Reads, breaks=("functional and vmap",), smooth=False),
    refused(
        "forward that writes its own weights",
        seeded(Normalizes),
        "cross_entropy",
        (X, Y),
        "ModelError",
        "change|write|modif",
    ),
]
