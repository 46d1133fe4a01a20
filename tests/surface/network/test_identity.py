"""Digests of code: every edit that changes what is computed changes them, and nothing else does."""

import functools
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
import time
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lossatlas as la
from lossatlas.surface import _bits, code_digest, read_code, tensor_digest
from lossatlas.surface.network import _model
from lossatlas.surface.network._identity import model_code_digest, read_model_code

LOSS = """
import functools, math
import torch
import torch.nn.functional as F
from torch import nn

SCALE = 2.0
TABLE = {"a": 1.0, "b": 2.0}
UNUSED = 5.0


def penalty(o):
    return o.square().mean() * inner(o)


def inner(o):
    return 1.0 + 0.0 * o.sum()


def plain(o, t):
    return F.cross_entropy(o, t) + 0.1 * penalty(o) * SCALE


def keyed(o, t):
    return F.cross_entropy(o, t) * TABLE["a"]


def weighted(o, t, factor=3.0, *, shift=0.5):
    return factor * F.cross_entropy(o, t) + shift


def make(alpha):
    return lambda o, t: alpha * F.cross_entropy(o, t)


def unordered(o, t):
    return F.cross_entropy(o, t) * (1.0 if "x" in {"a", "b", "c", "d", "e", "f"} else 2.0)


def nested(o, t):
    return (lambda x: x * 2.0)(F.cross_entropy(o, t))


def smoothed(o, t, smoothing):
    return F.cross_entropy(o, t, label_smoothing=smoothing)


class Base:
    offset = 0.25

    def shift(self, x):
        return x + self.offset


class Focal(Base):
    gamma = 2.0

    def __init__(self, weight):
        self.weight = weight
        self.seen = 0

    def __call__(self, o, t):
        self.seen += 1
        return self.shift(self.core(o, t)) ** self.gamma * self.weight

    @staticmethod
    def core(o, t):
        return F.cross_entropy(o, t)

    def method(self, o, t):
        return self.core(o, t) * self.weight

    def never_called(self):
        return 7.0


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("w", torch.tensor([1.0, 2.0, 3.0]))
        self.inner = nn.CrossEntropyLoss(label_smoothing=0.1)
        self.power = 2.0

    @property
    def exponent(self):
        return self.power * 1.0

    def forward(self, o, t):
        return self.inner(o * self.w, t) ** self.exponent


closed = make(3.0)
partial = functools.partial(smoothed, smoothing=0.1)
callable_object = Focal(1.5)
bound = Focal(1.5).method
module = Module()


@torch.no_grad()
def decorated(o, t):
    return F.cross_entropy(o, t) * 1.5


@functools.lru_cache
def cached(n):
    return n * 2.0


def uses_cached(o, t):
    return F.cross_entropy(o, t) * cached(3)


@functools.wraps(F.cross_entropy)
def disguised(*args):
    return F.cross_entropy(*args) * 1.25
"""


def load(path, text, name="lo"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    code = compile(text, str(path), "exec")
    exec(code, module.__dict__)
    return module


# name of the loss, text that is replaced, by what
CHANGES = [
    ("plain", "0.1 * penalty", "0.2 * penalty"),  # a constant
    ("plain", "F.cross_entropy(o, t) + 0.1", "F.cross_entropy(o, t) - 0.1"),  # an operator
    ("plain", "return F.cross_entropy(o, t) + 0.1 ", "return F.nll_loss(o, t) + 0.1 "),  # another library function
    ("plain", "SCALE = 2.0", "SCALE = 2.5"),  # a global constant
    ("plain", "o.square().mean()", "o.square().sum()"),  # a helper
    ("plain", "1.0 + 0.0 * o.sum()", "1.5 + 0.0 * o.sum()"),  # a helper of a helper
    ("keyed", '"a": 1.0', '"a": 1.5'),  # an entry of a global table
    ("weighted", "factor=3.0", "factor=3.5"),  # a default
    ("weighted", "shift=0.5", "shift=0.75"),  # a keyword's default
    ("closed", "make(3.0)", "make(4.0)"),  # a closure value
    ("closed", "alpha * F", "alpha + F"),  # a lambda's code
    ("nested", "x * 2.0", "x * 2.5"),  # a nested lambda
    ("unordered", '"c", "d"', '"c", "g"'),  # a member of a set, whose order depends on the process
    ("partial", "smoothing=0.1)", "smoothing=0.2)"),  # a partial's keyword
    ("partial", "label_smoothing=smoothing", "label_smoothing=smoothing / 2"),  # a partial's function
    ("callable_object", "gamma = 2.0", "gamma = 3.0"),  # a class attribute
    ("callable_object", "offset = 0.25", "offset = 0.5"),  # of a base class
    ("callable_object", "Focal(1.5)", "Focal(1.75)"),  # an attribute
    ("callable_object", "x + self.offset", "x - self.offset"),  # an inherited method
    ("callable_object", "return F.cross_entropy(o, t)\n\n    def method", "return F.nll_loss(o, t)\n\n    def method"),
    ("bound", "self.core(o, t) * self.weight", "self.core(o, t) / self.weight"),
    ("bound", "bound = Focal(1.5)", "bound = Focal(2.5)"),
    ("module", "[1.0, 2.0, 3.0]", "[1.0, 2.0, 4.0]"),  # a buffer
    ("module", "label_smoothing=0.1)\n", "label_smoothing=0.2)\n"),  # a setting of torch's own module in it
    ("module", "self.power = 2.0", "self.power = 3.0"),  # read by a property
    ("module", "self.power * 1.0", "self.power * 2.0"),  # a property
    ("decorated", "* 1.5", "* 1.75"),  # under torch's own wrapper
    ("uses_cached", "n * 2.0", "n * 3.0"),  # under a cache
    ("uses_cached", "cached(3)", "cached(4)"),
    ("disguised", "1.25", "1.5"),  # a wrapper that says it is torch's own function
]
LOSSES = sorted({name for name, *_ in CHANGES})


@pytest.mark.parametrize(("name", "old", "new"), CHANGES)
def test_an_edit_that_changes_the_loss_changes_its_digest(tmp_path, name, old, new):
    assert old in LOSS
    before = load(tmp_path / "lo.py", LOSS)
    after = load(tmp_path / "lo.py", LOSS.replace(old, new))
    assert code_digest(getattr(before, name)) != code_digest(getattr(after, name))


def edits():
    yield "the same text again", LOSS
    yield (
        "comments and blank lines",
        re.sub("( +)return", r"\1# why\n\n\1return", LOSS).replace("\ndef ", "\n\n\ndef "),
    )
    yield "docstrings", LOSS.replace("):\n    return", '):\n    """What it is."""\n    return')
    yield "another order of a table", LOSS.replace('{"a": 1.0, "b": 2.0}', '{"b": 2.0, "a": 1.0}')
    yield "what is not used", LOSS.replace("UNUSED = 5.0", "UNUSED = 6.0").replace("return 7.0", "return 8.0")
    yield (
        "parentheses and line breaks",
        LOSS.replace("0.1 * penalty(o) * SCALE", "(0.1\n        * penalty(o)\n * SCALE)"),
    )
    yield "annotations", LOSS.replace("def inner(o):", "def inner(o: torch.Tensor) -> torch.Tensor:")
    yield "another place in the file", "import os\n\n\ndef other():\n    pass\n\n\n" + LOSS


@pytest.mark.parametrize(("edit", "text"), list(edits()))
def test_an_edit_that_changes_nothing_keeps_every_digest(tmp_path, edit, text):
    before, after = load(tmp_path / "lo.py", LOSS), load(tmp_path / "lo.py", text)
    assert before is not after
    for name in LOSSES:
        assert code_digest(getattr(before, name)) == code_digest(getattr(after, name)), name


def test_a_file_by_another_name_in_another_folder_keeps_every_digest(tmp_path):
    """Also one that is called like a module of the standard library, whose edits must be seen."""
    before = load(tmp_path / "lo.py", LOSS)
    for name in ("elsewhere", "statistics", "code"):
        after = load(tmp_path / "deeper" / f"{name}.py", LOSS, name)
        edited = load(tmp_path / "deeper" / f"{name}.py", LOSS.replace("0.1 * penalty", "0.2 * penalty"), name)
        classes = load(tmp_path / "deeper" / f"{name}.py", LOSS.replace("gamma = 2.0", "gamma = 3.0"), name)
        for loss in LOSSES:
            assert code_digest(getattr(before, loss)) == code_digest(getattr(after, loss)), (name, loss)
        assert code_digest(edited.plain) != code_digest(before.plain)
        assert code_digest(classes.callable_object) != code_digest(before.callable_object)


def test_all_losses_of_the_table_have_digests_of_their_own(tmp_path):
    module = load(tmp_path / "lo.py", LOSS)
    assert len({code_digest(getattr(module, name)) for name in LOSSES}) == len(LOSSES)


@pytest.mark.slow
def test_digests_are_the_same_in_every_process(tmp_path):
    load(tmp_path / "lo.py", LOSS)
    (tmp_path / "extra.py").write_text(
        "import torch, functools\n"
        "from torch import nn\n"
        "KEYS = frozenset({'one', 'two', 'three', 'four'})\n"
        "def sets(o, t):\n    return o.sum() if 'x' in {'a', 'b', 'c', 'd'} or 'y' in KEYS else t\n"
        "net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Conv2d(1, 1, 3), nn.LSTM(2, 2))\n"
        "net[0].register_forward_hook(lambda *a: None)\n"
        "old = nn.utils.weight_norm(nn.Linear(2, 2))\n"
        "mapped = torch.vmap(sets)\n"
    )
    script = textwrap.dedent(f"""
        import sys, json
        sys.path.insert(0, {str(tmp_path)!r})
        import lo, extra
        from lossatlas.surface import code_digest
        from lossatlas.surface.network._identity import model_code_digest
        found = {{name: code_digest(getattr(lo, name)) for name in {LOSSES!r}}}
        found |= {{name: code_digest(getattr(extra, name)) for name in ("sets", "mapped")}}
        found |= {{name: model_code_digest(getattr(extra, name)) for name in ("net", "old")}}
        print(json.dumps(found))
    """)

    def elsewhere(seed):
        ran = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(ran.stdout)

    first = elsewhere("1")
    module = load(tmp_path / "lo.py", LOSS)
    assert {name: code_digest(getattr(module, name)) for name in LOSSES}.items() <= first.items()
    assert elsewhere("2") == first


def test_calling_a_loss_does_not_change_its_digest(tmp_path):
    """What code assigns outside itself is its state: it is named as not seen."""
    text = LOSS + (
        "\ncalls = 0\n\n\ndef counting(o, t):\n    global calls\n    calls += 1\n    return F.cross_entropy(o, t)\n"
        "\n\ndef make_counting():\n    n = 0\n    def loss(o, t):\n        nonlocal n\n        n += 1\n"
        "        return F.cross_entropy(o, t)\n    return loss\n\n\ninner_count = make_counting()\n"
        "drawing = functools.partial(lambda g, o, t: F.cross_entropy(o + torch.rand(1, generator=g), t), torch.Generator())\n"
    )
    module = load(tmp_path / "lo.py", text)
    o, t = torch.randn(5, 3), torch.zeros(5, dtype=torch.long)
    for name in (*LOSSES, "counting", "inner_count", "drawing"):
        loss = getattr(module, name)
        loss = functools.partial(loss, smoothing=0.1) if name == "smoothed" else loss
        before = read_code(loss)
        loss(o, t)
        assert read_code(loss) == before, name
    assert "global calls" in read_code(module.counting).unseen[0]
    assert "variable n" in read_code(module.inner_count).unseen[0]
    assert "attribute seen" in read_code(module.callable_object).unseen[0]
    assert "Generator" in read_code(module.drawing).unseen[0]
    assert read_code(module.plain).unseen == ()


def test_what_cannot_be_seen_is_named_and_what_stands_in_its_place_is_still_digested():
    lock = __import__("threading").Lock()

    def loss(o, t):
        with lock:
            return (o - t).sum()

    digest, unseen = read_code(loss)
    assert unseen == ("an object of type lock",) and digest == code_digest(loss)


PLAIN = [1, 1.0, True, "1", b"1", None, (1,), [1], {1}, frozenset({1}), {1: 1}, {"1": 1}, 0.0, -0.0, float("nan"), 1j]
ARRAYS = [torch.ones(2), torch.ones(2).double(), torch.ones(1, 2), np.ones(2), np.float32(1), torch.float32, range(3)]
OTHERS = [{"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, types.SimpleNamespace, int, torch.exp, torch.log, F.relu, len]


@pytest.mark.parametrize("value", [*PLAIN, *ARRAYS, *OTHERS], ids=range(len([*PLAIN, *ARRAYS, *OTHERS])))
def test_values_in_a_closure_are_told_apart(value):
    def around(held):
        return lambda: held

    same = [code_digest(around(value)), code_digest(around(value))]
    assert same[0] == same[1]
    for other in [*PLAIN, *ARRAYS, *OTHERS]:
        if other is not value and repr(other) != repr(value):
            assert code_digest(around(other)) != same[0], other


def test_recursion_circles_and_depth_come_to_an_end():
    ring = []
    ring.append(ring)
    deep = [1]
    for _ in range(5000):
        deep = [deep]

    def even(n):
        return n == 0 or odd(n - 1) or ring or deep

    def odd(n):
        return n != 0 and even(n - 1)

    assert code_digest(even) == code_digest(even) != code_digest(odd)
    node = types.SimpleNamespace(value=1)
    node.next = types.SimpleNamespace(value=2, next=node)
    first = code_digest(lambda: node.next.value)
    node.next.value = 3
    assert code_digest(lambda: node.next.value) != first


def test_a_module_that_is_imported_inside_a_function_is_read(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "late_helper.py").write_text("def f(x):\n    return x * 2\n")

    def loss(o, t):
        import late_helper

        return late_helper.f(o)

    before = code_digest(loss)
    assert "late_helper" not in sys.modules
    loss(1, 2)
    assert code_digest(loss) == before
    del sys.modules["late_helper"]
    (tmp_path / "late_helper.py").write_text("def f(x):\n    return x * 33\n")
    assert code_digest(loss) != before


def test_helpers_of_an_own_module_are_read_and_those_of_a_library_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_helper.py").write_text(
        "import torch\nK = 2.0\ndef f(x):\n    return x * K\ndef g(x):\n    return x\n"
    )
    import own_helper

    def loss(o, t):
        return own_helper.f(o - t)

    before = code_digest(loss)
    monkeypatch.setattr(own_helper, "K", 3.0)
    changed = code_digest(loss)
    assert changed != before
    monkeypatch.setattr(own_helper, "g", len)
    assert code_digest(loss) == changed
    monkeypatch.setattr(
        own_helper, "f", own_helper.f.__class__(own_helper.f.__code__, {"K": 5.0, "__name__": "own_helper"})
    )
    assert code_digest(loss) not in (before, changed)
    ours = code_digest(lambda o, t: F.cross_entropy(o, t))
    true = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda o, t: 2 * true(o, t))
    assert code_digest(lambda o, t: F.cross_entropy(o, t)) != ours


class Block(nn.Module):
    def __init__(self, i, o, stride=1):
        super().__init__()
        self.one, self.norm = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.two, self.norm2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.short = nn.Identity() if i == o else nn.Sequential(nn.Conv2d(i, o, 1, stride), nn.BatchNorm2d(o))
        self.temperature, self.act, self.log = 1.0, F.relu, []
        self.register_buffer("mask", torch.ones(o, 1, 1), persistent=False)
        self.plain = torch.ones(1)

    def forward(self, x):
        x = self.norm2(self.two(self.act(self.norm(self.one(x))))) * self.mask + self.short(x)
        self.last = x.detach()
        return self.scaled(x)

    def scaled(self, x):
        return self.act(x) / self.temperature * self.plain

    def training_step(self, batch):
        self.log.append(1.0)
        return 3.0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [16] * 3 + [32] * 3 + [64] * 3
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.blocks = nn.Sequential(
            *(Block(i, o, 1 if i == o else 2) for i, o in zip([16, *widths], widths, strict=False))
        )
        self.last = nn.Linear(64, 10)

    def forward(self, x):
        return self.last(self.blocks(self.stem(x)).mean((2, 3)))


def patched(net):
    net.blocks[2].forward = types.MethodType(lambda self, x: 3 * Block.forward(self, x), net.blocks[2])


MODEL_CHANGES = {
    "a temperature": lambda n: setattr(n.blocks[4], "temperature", 2.0),
    "an activation": lambda n: setattr(n.blocks[4], "act", F.gelu),
    "a lambda for an activation": lambda n: setattr(n.blocks[4], "act", lambda x: x.clamp(0)),
    "a replaced forward": patched,
    "a replaced forward of torch's own layer": lambda n: setattr(n.last, "forward", lambda x: 3 * x[:, :10]),
    "a hook": lambda n: n.last.register_forward_hook(lambda m, i, o: 3 * o),
    "a hook before": lambda n: n.last.register_forward_pre_hook(lambda m, i: (2 * i[0],)),
    "a stride": lambda n: setattr(n.stem, "stride", (2, 2)),
    "a layer without weights": lambda n: n.blocks.append(nn.Tanh()),
    "the place of two layers": lambda n: n._modules.update(blocks=n.blocks[torch.tensor([1, 0]).argsort()[0] :]),
    "a buffer that is not saved": lambda n: n.blocks[1].mask.mul_(2),
    "a plain tensor": lambda n: n.blocks[1].plain.mul_(2),
    "epsilon": lambda n: setattr(n.blocks[0].norm, "eps", 1e-3),
}


@pytest.mark.parametrize("what", MODEL_CHANGES)
def test_what_a_model_computes_beside_its_weights_is_in_its_digest(what):
    net = Net()
    before = model_code_digest(net)
    MODEL_CHANGES[what](net)
    assert model_code_digest(net) != before


@pytest.mark.slow
def test_weights_modes_logs_and_a_forward_pass_leave_the_digest_of_a_model_as_it_is():
    net = Net()
    before = read_model_code(net)
    with torch.no_grad():
        net.stem.weight.add_(1)
    net.blocks[0].norm.running_mean.add_(1)
    net.blocks[0].log.append(5.0)
    assert read_model_code(net) == before
    net.train()(torch.randn(2, 3, 8, 8))
    assert read_model_code(net) == before
    net.eval()(torch.randn(2, 3, 8, 8)).sum().backward()
    assert read_model_code(net) == before == read_model_code(Net())


def test_a_patched_class_of_torch_and_a_hook_for_all_modules_are_seen(monkeypatch):
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    before = model_code_digest(net)
    handle = nn.modules.module.register_module_forward_hook(lambda m, i, o: 3 * o)
    hooked = model_code_digest(net)
    handle.remove()
    assert model_code_digest(net) == before != hooked
    monkeypatch.setattr(nn.Linear, "forward", lambda s, x: 3 * F.linear(x, s.weight, s.bias))
    assert model_code_digest(net) not in (before, hooked)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_weight_norm_old_and_new_parametrizations_wrappers_and_scripts_have_steady_digests():
    class Mine(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).T

    def all_kinds():
        torch.manual_seed(int(time.time()))  # other weights each time
        parametrized = nn.Linear(3, 3)
        nn.utils.parametrize.register_parametrization(parametrized, "weight", Symmetric())
        return {
            "old": nn.utils.weight_norm(nn.Linear(3, 3)),
            "new": nn.utils.parametrizations.weight_norm(Mine(3, 3)),
            "symmetric": parametrized,
            "rnn": nn.LSTM(3, 3, 2),
            "attention": nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
            "script": torch.jit.trace(nn.Linear(3, 3), torch.zeros(1, 3)),
            "averaged": torch.optim.swa_utils.AveragedModel(Mine(3, 3)),
        }

    first = {name: model_code_digest(net) for name, net in all_kinds().items()}
    for name, net in all_kinds().items():
        assert model_code_digest(net) == first[name], name
        if name != "attention":
            with torch.no_grad():
                net(torch.randn(2, 3))
        assert model_code_digest(net) == first[name], name
    old = Mine.forward
    Mine.forward = lambda self, x: 3 * nn.Linear.forward(self, x)
    for name, net in all_kinds().items():
        assert (model_code_digest(net) != first[name]) == (name in ("new", "averaged")), name
    Mine.forward = old


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_model_and_a_compiled_loss_are_what_was_compiled(tmp_path):
    net, data = Net().eval(), torch.randn(2, 3, 8, 8)
    hotter = Net().eval()
    hotter.blocks[4].temperature = 2.0
    compiled = [torch.compile(one, backend="eager") for one in (net, hotter)]
    before = [model_code_digest(one) for one in compiled]
    assert before[0] != before[1]
    compiled[0](data)
    assert model_code_digest(compiled[0]) == before[0]
    one, two = (load(tmp_path / "lo.py", text) for text in (LOSS, LOSS.replace("0.1 * penalty", "0.2 * penalty")))
    digests = [code_digest(torch.compile(part.plain, backend="eager")) for part in (one, one, two)]
    assert digests[0] == digests[1] != digests[2]


def test_settings_of_torchs_own_wrappers_are_seen():
    def plain(o, t):
        return (o * t).sum()

    kinds = [torch.vmap(plain), torch.vmap(plain, in_dims=(0, None)), torch.func.grad(plain), torch.no_grad()(plain)]
    assert len({code_digest(one) for one in [*kinds, plain]}) == 5
    assert code_digest(torch.vmap(plain)) == code_digest(kinds[0])


@pytest.mark.slow
def test_the_code_of_a_resnet_20_is_read_in_milliseconds():
    net = Net()
    model_code_digest(net)
    best = float("inf")
    for _ in range(20):
        begin = time.process_time()
        model_code_digest(net)
        best = min(best, time.process_time() - begin)
    assert best < 0.02


def plain_digest(model):
    """The obvious way, with a copy of everything."""
    sha = hashlib.sha256()
    for name, value in model.state_dict().items():
        sha.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]


def test_the_digest_of_weights_is_that_of_a_plain_copy_whatever_the_strides(monkeypatch):
    net = Net()
    net.stem.weight.data = net.stem.weight.data.to(memory_format=torch.channels_last)
    net.last.weight.data = net.last.weight.data.T.contiguous().T
    net.register_buffer("rounded", torch.randn(7, 3).bfloat16()[::2])
    net.register_buffer("flags", torch.tensor([True, False]))
    net.register_buffer("complex", torch.randn(4, dtype=torch.complex64))
    net.register_buffer("nothing", torch.zeros(0, 3))
    net.register_buffer("scalar", torch.tensor(3.0))
    expected = plain_digest(net)
    assert _model.digest(net) == expected
    for piece in (64, 1000, 5000):
        monkeypatch.setattr(_bits, "PIECE", piece)
        assert _model.digest(net) == expected
    with torch.no_grad():
        net.last.bias[3] = torch.nextafter(net.last.bias[3], torch.tensor(9.0))
    assert _model.digest(net) == plain_digest(net) != expected


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_sparse_quantized_nested_and_meta_tensors_have_digests_that_see_their_content():
    def kinds(x):
        x = torch.tensor(x)
        return [
            x.to_sparse(),
            x.to_sparse_csr(),
            x.to_sparse_csc(),
            torch.quantize_per_tensor(x, 0.1, 3, torch.qint8),
            torch.quantize_per_channel(x, torch.tensor([0.1, 0.2]), torch.tensor([0, 1]), 0, torch.qint8),
            x.to_mkldnn(),
            x.conj() if x.is_complex() else x[None].transpose(0, 1),
        ]

    a, again, b = kinds([[0.0, 1.0], [2.0, 0.0]]), kinds([[0.0, 1.0], [2.0, 0.0]]), kinds([[0.0, 1.0], [3.0, 0.0]])
    for one, same, other in zip(a, again, b, strict=True):
        assert tensor_digest(one) == tensor_digest(same) != tensor_digest(other)
    assert len({tensor_digest(one) for one in a}) == len(a)
    scale = torch.quantize_per_tensor(torch.zeros(2, 2), 0.5, 3, torch.qint8)
    assert tensor_digest(scale) != tensor_digest(torch.quantize_per_tensor(torch.zeros(2, 2), 0.25, 3, torch.qint8))
    assert tensor_digest(torch.empty(3, device="meta")) == tensor_digest(torch.empty(3, device="meta"))


@pytest.mark.slow
def test_a_surface_of_ones_own_a_slice_and_a_network_carry_their_code(tmp_path):
    class Bowl(la.Surface):
        def __init__(self, scale):
            self.scale, self.name, self.layout = scale, "bowl", la.landscapes.himmelblau().layout

        def read(self, points):
            return la.Reading(self.scale * points.square().sum(1))

        def gradients(self, points, sample=None):
            return self.read(points).values, 2 * self.scale * points

        def products(self, point, vectors):
            return 2 * self.scale * vectors

    assert Bowl(1.0).fingerprint() == Bowl(1.0).fingerprint() != Bowl(2.0).fingerprint()
    ground = la.landscapes.rastrigin(5)
    one, two = (ground.on(la.Plane.random(ground, seed=seed)) for seed in (0, 1))
    assert one.fingerprint() != two.fingerprint()
    assert one.fingerprint() == ground.on(la.Plane.random(ground, seed=0)).fingerprint()
    module = load(tmp_path / "lo.py", LOSS)
    edited = load(tmp_path / "lo.py", LOSS.replace("0.1 * penalty", "0.2 * penalty"))
    torch.manual_seed(0)
    net, data = nn.Linear(4, 3), (torch.randn(6, 4), torch.arange(6) % 3)
    first, second = (la.NetworkSurface(net, part.plain, data).fingerprint() for part in (module, edited))
    assert first["code"] != second["code"] and first["model_code"] == second["model_code"]
    named = [la.NetworkSurface(net, loss, data).fingerprint()["code"] for loss in ("cross_entropy", "cross-entropy")]
    assert named[0] == named[1]
