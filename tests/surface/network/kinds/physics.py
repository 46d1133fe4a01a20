"""Derivatives inside the forward or the loss, fixed points, transforms, functions with their own backward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ._kind import Refusal, kind, noise, objective_kind, refused, seeded, whole_numbers

LINE, VALUES = noise(24, 1), noise(24, 1, seed=3)
POSITIONS = noise(24, 6, seed=4)
X, Y = noise(24, 4), whole_numbers(3, 24)


def net(first=1, last=1):
    return nn.Sequential(nn.Linear(first, 6), nn.Tanh(), nn.Linear(6, last))


def derivative(y, x):
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0]


class Residual(nn.Module):
    """u″ of a network, with gradients switched on by itself."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        with torch.enable_grad():
            x = x.clone().requires_grad_(True)
            return derivative(derivative(self.net(x), x), x)


class Trusting(Residual):
    """The same, trusting that gradients are on."""

    def forward(self, x):
        x = x.clone().requires_grad_(True)
        return derivative(derivative(self.net(x), x), x)


class InPlace(Residual):
    """The same, and it turns its input into a leaf that requires a gradient."""

    def forward(self, x):
        x.requires_grad_(True)
        return derivative(derivative(self.net(x), x), x)


class Forces(nn.Module):
    """Energy of three points in the plane, and forces as its derivatives."""

    def __init__(self):
        super().__init__()
        self.net = net(3, 1)

    def forward(self, positions):
        positions = positions.reshape(-1, 3, 2).requires_grad_(True)
        pairs = (positions[:, [0, 0, 1]] - positions[:, [1, 2, 2]]).pow(2).sum(-1)
        energy = self.net(pairs)[:, 0]
        return {"energy": energy, "forces": -derivative(energy, positions).flatten(1)}


def energy_and_forces(output, target):
    return F.mse_loss(output["energy"], target["energy"]) + 0.1 * F.mse_loss(output["forces"], target["forces"])


def heat(model, batch):
    """A PINN's objective: residual of u″ + u = f, and its values at the ends."""
    x, f = batch
    x = x.requires_grad_(True)
    u = model(x)
    ends = model(torch.tensor([[0.0], [1.0]], dtype=x.dtype)).pow(2).sum()
    return (derivative(derivative(u, x), x) + u - f).pow(2).mean() + ends


class Equilibrium(nn.Module):
    """A deep equilibrium model: iterated without gradients, then one step with them."""

    def __init__(self):
        super().__init__()
        self.w, self.u, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def step(self, z, x):
        return torch.tanh(0.3 * self.w(z) + self.u(x))

    def forward(self, x):
        z = torch.zeros_like(x)
        for _ in range(80):
            z = self.step(z, x)
        return self.out(z)


class Flow(nn.Module):
    """An ordinary differential equation with four steps of Runge and Kutta."""

    def __init__(self):
        super().__init__()
        self.field, self.out = net(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        for _ in range(4):
            a = self.field(x)
            b = self.field(x + a / 8)
            c = self.field(x + b / 8)
            x = x + (a + 2 * b + 2 * c + self.field(x + c / 4)) / 24
        return self.out(x)


class Hamiltonian(nn.Module):
    """The symplectic gradient of a network."""

    def __init__(self):
        super().__init__()
        self.net = net(4, 1)

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            p, q = derivative(self.net(x), x).chunk(2, -1)
        return torch.cat([q, -p], -1)


class Spectral(nn.Module):
    """Real parameters, complex numbers in between."""

    def __init__(self):
        super().__init__()
        self.gain, self.out = nn.Parameter(torch.randn(3, 2)), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(torch.fft.irfft(torch.fft.rfft(x) * torch.view_as_complex(self.gain), n=4))


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, dtype=torch.complex128))

    def forward(self, x):
        return (x.to(torch.complex128) @ self.weight).abs()


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class OnceCube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class Straight(torch.autograd.Function):
    """Rounds; its backward passes the gradient on."""

    @staticmethod
    def forward(ctx, x):
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Custom(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first, self.last, self.function = nn.Linear(4, 5), nn.Linear(5, 3), function

    def forward(self, x):
        return self.last(self.function.apply(self.first(x)))


class Anomalous(nn.Module):
    """Differentiates with respect to its own weights: an implicit penalty on the gradient."""

    def __init__(self):
        super().__init__()
        self.net = net(4, 3)

    def forward(self, x):
        with torch.enable_grad():
            out = self.net(x)
            (g,) = torch.autograd.grad(out.pow(2).mean(), self.net[0].weight, create_graph=True)
        return out * (1 + g.pow(2).sum())


class Adapts(nn.Module):
    """MAML: one step of gradient descent on half of the data, then the loss on the other, through the step."""

    def __init__(self):
        super().__init__()
        self.net = net(4, 3)


def adapted(model, batch):
    x, y = batch
    weights = dict(model.net.named_parameters())
    inner = F.cross_entropy(torch.func.functional_call(model.net, weights, (x[::2],)), y[::2])
    slopes = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
    moved = {name: w - 0.1 * g for (name, w), g in zip(weights.items(), slopes, strict=True)}
    return F.cross_entropy(torch.func.functional_call(model.net, moved, (x[1::2],)), y[1::2])


class Jacobian(nn.Module):
    """The Jacobian of a network for each example, by torch.func."""

    def __init__(self):
        super().__init__()
        self.net = net(4, 3)

    def forward(self, x):
        return torch.func.vmap(torch.func.jacrev(self.net))(x).sum(-1)


class Hyper(nn.Module):
    """A network that makes the weights of another."""

    def __init__(self):
        super().__init__()
        self.net, self.code = net(2, 15), nn.Parameter(torch.randn(2))

    def forward(self, x):
        weights = self.net(self.code)
        return F.linear(x, weights[:12].view(3, 4), weights[12:])


def wrong_count(output, target):
    return (output.argmax(1) != target).double().mean()


BATCHES = [(LINE[a:b], VALUES[a:b]) for a, b in ((0, 9), (9, 18), (18, 24))]
MOLECULES = (POSITIONS, {"energy": noise(24, seed=5), "forces": noise(24, 6, seed=6)})
PER_EXAMPLE = {"breaks": ("functional and vmap",)}

KINDS = [
    kind("PINN of second order", seeded(Residual), "mse", (LINE, VALUES), breaks=("graph measure",)),
    kind("PINN that trusts that gradients are on", seeded(Trusting), "mse", (LINE, VALUES), breaks=("no_grad",)),
    kind("PINN that marks its input", seeded(InPlace), "mse", (LINE, VALUES), breaks=("no_grad",)),
    objective_kind("PINN as an objective", seeded(net), heat, BATCHES, breaks=("no_grad",)),
    kind("energies and forces", seeded(Forces), energy_and_forces, MOLECULES, breaks=("no_grad",)),
    kind("Hamiltonian network", seeded(Hamiltonian), "mse", (X, noise(24, 4, seed=7))),
    kind("deep equilibrium", seeded(Equilibrium), "cross_entropy", (X, Y)),
    kind("neural differential equation", seeded(Flow), "cross_entropy", (X, Y)),
    kind("real parameters, Fourier transform", seeded(Spectral), "cross_entropy", (X, Y)),
    refused(
        "complex parameters", seeded(Complex, dtype=None), "cross_entropy", (X, Y), "ModelError", "complex|floating"
    ),
    kind("custom function", seeded(lambda: Custom(Cube)), "cross_entropy", (X, Y), **PER_EXAMPLE),
    kind(
        "custom function that is differentiable once",
        seeded(lambda: Custom(OnceCube)),
        "cross_entropy",
        (X, Y),
        products="differences",
        product_tolerance=1e-6,
        breaks=("double backward",),
    ),
    kind(
        "straight-through rounding",
        seeded(lambda: Custom(Straight)),
        "cross_entropy",
        (X, Y),
        smooth=False,
        **PER_EXAMPLE,
    ),
    kind("gradient by its own weights in the forward", seeded(Anomalous), "cross_entropy", (X, Y), split=False),
    objective_kind("MAML", seeded(Adapts), adapted, [(X, Y)], breaks=("no_grad",)),
    kind("Jacobian by torch.func", seeded(Jacobian), "cross_entropy", (X, Y)),
    kind("hypernetwork", seeded(Hyper), "cross_entropy", (X, Y)),
    kind(
        "loss that counts errors",
        seeded(lambda: net(4, 3)),
        wrong_count,
        (X, Y),
        gradient=Refusal("LossError", "gradient"),
        products="none",
        smooth=False,
    ),
    kind("input that requires a gradient", seeded(lambda: net(4, 3)), "cross_entropy", (X.clone().requires_grad_(), Y)),
]
