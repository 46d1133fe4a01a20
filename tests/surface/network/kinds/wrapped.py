"""Modules around modules: copies that are none, checkpoints, hooks, reparametrizations, compilers, types."""

from __future__ import annotations

import copy
import sys
import threading
import types
import warnings
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from ._kind import Kind, kind, noise, refused, seeded, whole_numbers

X, Y = noise(24, 4), whole_numbers(3, 24)


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x):
        return self.net(x)


class Checkpointed(Inner):
    def forward(self, x):
        return checkpoint(self.net, x, use_reentrant=False)


class Reentrant(Inner):
    """The old kind, which needs an input that requires a gradient and cannot be run by `torch.autograd.grad`."""

    def forward(self, x):
        return checkpoint(self.net[1:], self.net[0](x), use_reentrant=True)


class InSegments(Inner):
    def forward(self, x):
        return checkpoint_sequential(self.net, 2, x, use_reentrant=False)


class Recomputed(torch.autograd.Function):
    """Checkpointing by hand: what is needed is computed again in backward, from the module as it is then."""

    @staticmethod
    def forward(ctx, module, x, *parameters):
        ctx.module = module
        ctx.save_for_backward(x, *parameters)
        with torch.no_grad():
            return module(x)

    @staticmethod
    def backward(ctx, gradient):
        x = ctx.saved_tensors[0]
        with torch.enable_grad():
            given = x.detach().requires_grad_(True)
            out = ctx.module(given)
            found = torch.autograd.grad(out, [given, *ctx.module.parameters()], gradient)
        return None, *found


class ByHand(Inner):
    def forward(self, x):
        return Recomputed.apply(self.net, x, *self.net.parameters())


class SelfCopy(Inner):
    def __deepcopy__(self, memo):
        return self


class NoCopy(Inner):
    def __deepcopy__(self, memo):
        raise ValueError("this model is not copied")


class NoneCopy(Inner):
    def __deepcopy__(self, memo):
        return None


class HalfCopy(Inner):
    """A copy that shares the weights of the original."""

    def __deepcopy__(self, memo):
        return copy.copy(self)


class Holds(Inner):
    def __init__(self, thing):
        super().__init__()
        self.thing = thing


class HoldsTensor(Inner):
    """Keeps a result that is no leaf, which torch refuses to copy."""

    def __init__(self):
        super().__init__()
        self.scale = torch.ones((), dtype=torch.float64, requires_grad=True) * 2

    def forward(self, x):
        return self.net(x) * self.scale.detach()


class Delegates(nn.Module):
    """Passes on every attribute that it does not have."""

    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, x):
        return self.inner(x)


class Scaled(nn.Module):
    """Wraps a module without registering it, and hands out its parameters itself."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "hidden", mlp())
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.gain * self.hidden.double()(x)


class Flattens(nn.Module):
    """Takes its last layer apart into one vector and puts it together again, by ``.data``."""

    def __init__(self):
        super().__init__()
        self.hidden, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        flat = nn.utils.parameters_to_vector(self.last.parameters())
        nn.utils.vector_to_parameters(flat, self.last.parameters())
        return self.last(torch.tanh(self.hidden(x)))


class Reseats(Flattens):
    """Gives its last weight and a buffer another storage."""

    def __init__(self):
        super().__init__()
        self.register_buffer("offset", torch.ones(3))

    def forward(self, x):
        with torch.no_grad():
            self.last.weight.set_(self.last.weight.clone())
            self.offset.data = self.offset.clone()
        return self.last(torch.tanh(self.hidden(x))) + self.offset


class Lists(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(5, 3))])
        self.more = nn.ParameterDict({"gain": nn.Parameter(torch.randn(())), "empty": nn.Parameter(torch.zeros(0))})

    def forward(self, x):
        return torch.tanh(x @ self.weights[0]) @ self.weights[1] * self.more["gain"]


class LoRA(nn.Module):
    """A low-rank update beside a frozen weight."""

    def __init__(self, base):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(2, base.in_features)), nn.Parameter(torch.randn(base.out_features, 2))

    def forward(self, x):
        return self.base(x) + x @ self.a.t() @ self.b.t() / 2


class LowRank(nn.Module):
    """LoRA as a parametrization."""

    def __init__(self, shape):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(2, shape[1])), nn.Parameter(torch.randn(shape[0], 2))

    def forward(self, weight):
        return weight + self.b @ self.a


def lora():
    net = mlp()
    return nn.Sequential(LoRA(net[0]), net[1], LoRA(net[2]))


def lora_parametrized():
    net = mlp().requires_grad_(False)
    torch.nn.utils.parametrize.register_parametrization(net[0], "weight", LowRank(net[0].weight.shape))
    return net


class FakeQuantized(nn.Module):
    """Rounds its activations to a grid; the observer, as long as it is on, moves the grid."""

    def __init__(self, observes):
        super().__init__()
        self.first, self.last, self.observes = nn.Linear(4, 5), nn.Linear(5, 3), observes
        self.register_buffer("largest", torch.tensor(2.0))

    def forward(self, x):
        hidden = self.first(x)
        if self.observes:
            self.largest.mul_(0.9).add_(0.1 * hidden.detach().abs().max())
        scale = float(self.largest) / 127
        return self.last(torch.fake_quantize_per_tensor_affine(hidden, scale, 0, -128, 127))


def old(norm):
    """Reparametrized by the old functions, which recompute the weight in a hook, and run once."""

    def build():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = nn.Sequential(norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)).double()
        model(X)
        return model

    return build


def new(norm):
    return lambda: nn.Sequential(norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3))


def pruned():
    net = mlp()
    prune.random_unstructured(net[0], "weight", amount=0.4)
    return net


def patched_instance():
    net = mlp()
    net.forward = types.MethodType(lambda self, x: 3 * nn.Sequential.forward(self, x), net)
    return net


def patched_layer():
    net = mlp()
    inner = net[0]
    inner.forward = lambda x: F.linear(x, inner.weight, inner.bias) * 3
    return net


class Cold(nn.Linear):
    def forward(self, x):
        return 3 * super().forward(x)


def shared_data():
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    net[2].weight.data = net[0].weight.data
    return net


def transposed_data():
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 4, bias=False)).double()
    net[2].weight.data = net[0].weight.data.t()
    return net


def tied():
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 3))
    net[2].weight = net[0].weight
    return net


def twice():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(4, 3))


def hooked():
    net = mlp()
    net[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    net[2].register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    return net


def hooked_backward():
    """A hook that changes the gradient: the user's backward is what counts."""
    net = mlp()
    net[1].register_full_backward_hook(lambda module, inputs, outputs: (inputs[0].clamp(-1e-3, 1e-3),))
    return net


def hooked_parameter():
    """A mask on the gradient of one weight, as pruned training has it."""
    net = mlp().double()
    mask = (torch.arange(20).reshape(5, 4) % 2).double()
    net[0].weight.register_hook(lambda gradient: gradient * mask)
    return net


@contextmanager
def global_hook():
    def triple(module, inputs, output):
        return 3 * output if isinstance(module, nn.Linear) else None

    handle = nn.modules.module.register_module_forward_hook(triple)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def patched_class():
    kept = nn.Linear.forward
    nn.Linear.forward = lambda self, x: 3 * F.linear(x, self.weight, self.bias)
    try:
        yield
    finally:
        nn.Linear.forward = kept


@contextmanager
def patched_function():
    """`torch.tanh` is another function while this lasts; a layer of torch calls it by that name."""
    kept = torch.tanh
    torch.tanh = lambda x: 2 * kept(x)
    try:
        yield
    finally:
        torch.tanh = kept


@contextmanager
def quiet():
    """Tracing and scripting tell that they are deprecated, in several words."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch.*|kinds.*")
        warnings.filterwarnings("ignore", message=".*torch.jit.*")
        yield


def scripted():
    with quiet():
        return torch.jit.script(mlp().double().eval())


def traced():
    with quiet():
        return torch.jit.trace(mlp().double().eval(), X)


def flat_views():
    """Every weight is a view of one long tensor, as sharded training has them; none overlap."""
    net = mlp().double()
    whole = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
    begin = 0
    for p in net.parameters():
        p.data = whole[begin : begin + p.numel()].view(p.shape)
        begin += p.numel()
    return net


def overlapping():
    """Two biases that have two of their numbers in common."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    whole = torch.randn(6, dtype=torch.float64)
    net[0].bias.data, net[2].bias.data = whole[:4], whole[2:]
    return net


class Transposed(nn.Module):
    """A weight that is not contiguous."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, dtype=torch.float64).t())

    def forward(self, x):
        return F.linear(x, self.weight)


class ReadsView(nn.Module):
    """Made a flat view of its weight once, and reads only that."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4, dtype=torch.float64))
        self.flat = self.weight.view(-1)

    def forward(self, x):
        return F.linear(x, self.flat.view(3, 4))


class Alias(Inner):
    """Keeps its first weight under another name, outside the parameters, and reads it there."""

    def __init__(self):
        super().__init__()
        self.net.double()
        self.kept = {"weight": self.net[0].weight}

    def forward(self, x):
        return self.net[2](torch.tanh(F.linear(x, self.kept["weight"])))


class Offloads(Inner):
    def forward(self, x):
        with torch.autograd.graph.save_on_cpu():
            return self.net(x)


class Casts(nn.Module):
    """Two types of numbers in one model."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5).double(), nn.Linear(5, 3).float()

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)).float())


class Autocast(Inner):
    """Mixed precision by the model itself."""

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()


def in_plain_list():
    """Layers in a plain list are no parameters of the model: they are constants."""

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.last = [nn.Linear(4, 5).double(), torch.tanh], nn.Linear(5, 3)

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return self.last(x)

    return Hidden()


def half(dtype):
    return seeded(mlp, dtype=dtype), (X.to(dtype), Y)


def outputs(loss):
    return lambda output, target: loss(output[0], target)


class Returns(Inner):
    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        return self.form(self.net(x))


def unused():
    net = Inner()
    net.spare = nn.Linear(3, 2)
    return net


def partly_frozen():
    net = mlp()
    net[0].requires_grad_(False)
    return net


TYPE = (X, Y)
BY_DIFFERENCES = {"products": "differences", "product_tolerance": 1e-7}
COPY = {"breaks": ("private copy",)}


def classified(name, make, **rest):
    return kind(name, make, "cross_entropy", TYPE, **rest)


KINDS = [
    classified("gradient checkpointing", seeded(Checkpointed), breaks=("functional and vmap",), **BY_DIFFERENCES),
    classified("reentrant checkpointing", seeded(Reentrant), breaks=("functional and vmap",), **BY_DIFFERENCES),
    classified("checkpointing in segments", seeded(InSegments), breaks=("functional and vmap",), **BY_DIFFERENCES),
    classified("checkpointing by hand", seeded(ByHand), breaks=("functional and vmap",), **BY_DIFFERENCES),
    classified("copy that is the model itself", seeded(SelfCopy), **COPY),
    classified("copy that shares the weights", seeded(HalfCopy), **COPY),
    classified("copying raises", seeded(NoCopy), **COPY),
    classified("copying gives None", seeded(NoneCopy), **COPY),
    classified("holds a lock", seeded(lambda: Holds(threading.Lock())), **COPY),
    classified("holds an open file", seeded(lambda: Holds(sys.__stdout__)), **COPY),
    classified("holds a generator function", seeded(lambda: Holds(iter(n for n in range(3)))), **COPY),
    classified("holds a random generator that it does not use", seeded(lambda: Holds(torch.Generator())), **COPY),
    classified("holds a tensor that is no leaf", seeded(HoldsTensor), **COPY),
    classified("weights shared by .data", seeded(shared_data, dtype=None)),
    refused(
        "weights shared by .data, transposed",
        seeded(transposed_data, dtype=None),
        "mse",
        (X, X),
        "ModelError",
        "share|memory|storage",
    ),
    classified("weights that are views of one tensor", seeded(flat_views, dtype=None)),
    refused(
        "biases that overlap",
        seeded(overlapping, dtype=None),
        "mse",
        (X, X),
        "ModelError",
        "share|memory|storage|overlap",
    ),
    classified("weight that is not contiguous", seeded(Transposed, dtype=None)),
    classified("reads a view of its weight", seeded(ReadsView, dtype=None), **COPY),
    classified("reads its weight under another name", seeded(Alias, dtype=None), breaks=("functional and vmap",)),
    classified("offloads its activations", seeded(Offloads)),
    classified("tied weights", seeded(tied)),
    classified("one layer twice", seeded(twice)),
    classified("replaced forward of the model", seeded(patched_instance), breaks=("layer chain", "private copy")),
    classified("replaced forward of a layer", seeded(patched_layer), breaks=("layer chain", "private copy")),
    classified("layer of a subclass", seeded(lambda: nn.Sequential(Cold(4, 5), nn.Tanh(), nn.Linear(5, 3)))),
    classified("patched class", seeded(mlp), around=patched_class, breaks=("layer chain",)),
    classified("patched function of torch", seeded(mlp), around=patched_function, breaks=("layer chain",)),
    classified("global forward hook", seeded(mlp), around=global_hook, breaks=("layer chain",)),
    classified("forward hooks", seeded(hooked), breaks=("layer chain",)),
    classified(
        "hook that changes gradients",
        seeded(hooked_backward),
        products="none",
        smooth=False,
        breaks=("functional and vmap",),
    ),
    classified(
        "hook on a parameter", seeded(hooked_parameter), products="none", smooth=False, breaks=("functional and vmap",)
    ),
    classified("plain chain of layers", seeded(mlp)),
    classified("delegates its attributes", seeded(Delegates)),
    classified("hides a module", seeded(Scaled)),
    classified("flattens its last layer and unflattens it", seeded(Flattens)),
    classified("gives its last weight another storage", seeded(Reseats)),
    classified("layers in a plain list", seeded(in_plain_list)),
    classified("lists and dictionaries of parameters", seeded(Lists)),
    classified("LoRA over a frozen base", seeded(lora)),
    classified("LoRA as a parametrization", seeded(lora_parametrized)),
    classified("parameters that are not used", seeded(unused)),
    classified("partly frozen", seeded(partly_frozen)),
    refused(
        "fake quantization that observes",
        seeded(lambda: FakeQuantized(True)),
        "cross_entropy",
        TYPE,
        "ModelError",
        "change|buffer|determin",
    ),
    classified(
        "fake quantization with a fixed grid", seeded(lambda: FakeQuantized(False)), products="none", smooth=False
    ),
    # The second derivative that torch 2.13 has for this operation is wrong; its first is right.
    classified("old weight norm", seeded(old(nn.utils.weight_norm)), breaks=("double backward",), **BY_DIFFERENCES),
    classified(
        "new weight norm", seeded(new(parametrizations.weight_norm)), breaks=("double backward",), **BY_DIFFERENCES
    ),
    classified("old spectral norm", seeded(old(nn.utils.spectral_norm)), **COPY),
    classified("new spectral norm", seeded(new(parametrizations.spectral_norm))),
    classified("orthogonal weights", seeded(new(parametrizations.orthogonal)), product_tolerance=1e-7),
    classified("pruned weights", seeded(pruned), **COPY),
    classified("DataParallel", seeded(lambda: nn.DataParallel(mlp()))),
    classified("AveragedModel", seeded(lambda: AveragedModel(mlp()))),
    classified(
        "compiled",
        seeded(lambda: torch.compile(mlp().double(), backend="eager")),
        breaks=("functional and vmap",),
        trap=False,
    ),
    classified("scripted", seeded(scripted, dtype=None), trap=False, around=quiet, **COPY),
    classified("traced", seeded(traced, dtype=None), trap=False, around=quiet, **COPY),
    classified(
        "lazy layers",
        seeded(lambda: nn.Sequential(nn.LazyLinear(5), nn.Tanh(), nn.LazyLinear(3))),
        twin=seeded(mlp),
        unchanged=False,
    ),
    Kind(
        "float32",
        half(torch.float32)[0],
        lambda model: {"loss": "cross_entropy", "data": half(torch.float32)[1]},
        lambda model: F.cross_entropy(model(X.float()), Y),
        tolerance=1e-4,
        product_tolerance=1e-3,
        smooth=False,
    ),
    Kind(
        "bfloat16",
        half(torch.bfloat16)[0],
        lambda model: {"loss": "cross_entropy", "data": half(torch.bfloat16)[1]},
        lambda model: F.cross_entropy(model(X.bfloat16()), Y),
        tolerance=3e-2,
        products="none",
        smooth=False,
    ),
    Kind(
        "float16",
        half(torch.float16)[0],
        lambda model: {"loss": "cross_entropy", "data": half(torch.float16)[1]},
        lambda model: F.cross_entropy(model(X.half()), Y),
        tolerance=1e-2,
        products="none",
        smooth=False,
    ),
    classified(
        "two types in one model", seeded(Casts, dtype=None), tolerance=1e-4, product_tolerance=1e-3, smooth=False
    ),
    Kind(
        "autocast in the forward",
        seeded(Autocast, dtype=torch.float32),
        lambda model: {"loss": "cross_entropy", "data": (X.float(), Y)},
        lambda model: F.cross_entropy(model(X.float()), Y),
        tolerance=3e-2,
        products="none",
        smooth=False,
    ),
    refused("no parameters", seeded(nn.Tanh), "mse", (X, X), "ModelError", "parameter"),
    refused(
        "all frozen",
        seeded(lambda: mlp().requires_grad_(False)),
        "cross_entropy",
        TYPE,
        "ModelError",
        "frozen|requires_grad",
    ),
    refused("on the meta device", lambda: mlp().to("meta"), "cross_entropy", TYPE, "ModelError", "meta"),
    refused("a class for a model", lambda: nn.Linear, "cross_entropy", TYPE, "ModelError", "instance"),
    kind(
        "tuple as output",
        seeded(lambda: Returns(lambda out: (out, out.detach(), None))),
        outputs(F.cross_entropy),
        TYPE,
    ),
    kind(
        "dictionary as output",
        seeded(lambda: Returns(lambda out: {"logits": out, "more": [out]})),
        lambda output, target: F.cross_entropy(output["logits"], target),
        TYPE,
    ),
    kind(
        "object as output",
        seeded(lambda: Returns(lambda out: types.SimpleNamespace(scores=out))),
        lambda output, target: F.cross_entropy(output.scores, target),
        TYPE,
    ),
    refused(
        "tuple as output with a named loss",
        seeded(lambda: Returns(lambda out: (out, out))),
        "cross_entropy",
        TYPE,
        "LossError|DataError|ModelError",
        "tuple",
    ),
    refused(
        "None as output",
        seeded(lambda: Returns(lambda out: None)),
        "cross_entropy",
        TYPE,
        "LossError|DataError|ModelError",
        "None",
    ),
]
