"""What is given in place of an argument: numbers, texts, objects, tensors, paths, models, losses and data that do not fit.

Each value is made anew for each call, by a function of the folder it may use, and has a name by which a failure is found again.
"""

from __future__ import annotations

import fractions
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

Make = Callable[[Path], Any]


class Touchy:
    """An object that raises whatever is done with it, printing included."""

    def _raise(self, *_: Any) -> Any:
        raise ArithmeticError("touched")

    __repr__ = __str__ = __len__ = __bool__ = __float__ = __index__ = __iter__ = __eq__ = __lt__ = __call__ = _raise
    __hash__ = object.__hash__


class Numeric:
    """An object that is taken for an array, and is none."""

    shape, dtype, ndim = (2,), "float", 1


def _plain() -> dict[str, Any]:
    texts = {"empty": "", "long": "x" * 5000, "escape": "\x1b[31mred\x1b[0m", "nul": "a\0b",
             "nan text": "nan", "surrogate": "\ud800",
             "markup": "[red]a[/b]",
             "script": "<script>alert(1)</script>", "lines": "a\nb"}  # fmt: skip
    numbers = {"-1": -1, "0": 0, "1": 1, "2": 2, "1.5": 1.5, "-0.5": -0.5, "nan": float("nan"),
               "inf": float("inf"), "-inf": -float("inf"),
               "1e300": 1e300, "1e-300": 1e-300, "10^9": 10**9, "10^30": 10**30, "2^63": 2**63, "-10^30": -(10**30),
               "10^400": 10**400, "1j": 1j,
               "fraction": fractions.Fraction(1, 3)}  # fmt: skip
    others = {
        "None": None,
        "True": True,
        "False": False,
        "bytes": b"bytes",
        "ellipsis": ...,
        "type": int,
        "print": print,
    }
    return texts | numbers | others


def _made() -> dict[str, Make]:
    return {
        "[]": lambda _: [],
        "()": lambda _: (),
        "{}": lambda _: {},
        "[None]": lambda _: [None],
        "mixed list": lambda _: ["", 1, None],
        "ragged": lambda _: [[1.0], [2.0, 3.0]],
        "pair": lambda _: (1, 2),
        "nan pair": lambda _: (float("nan"), 1.0),
        "huge pair": lambda _: (3, 10**9),
        "dict": lambda _: {"a": 1},
        "odd keys": lambda _: {None: None, 3: object()},
        "set": lambda _: {1, 2},
        "object": lambda _: object(),
        "touchy": lambda _: Touchy(),
        "numeric": lambda _: Numeric(),
        "lambda": lambda _: lambda *a, **k: None,
        "generator": lambda _: (n for n in (1, 2)),
        "exception": lambda _: ValueError("x"),
        "np 3": lambda _: np.int64(3),
        "np 0.5": lambda _: np.float32(0.5),
        "np nan": lambda _: np.float64("nan"),
        "np true": lambda _: np.bool_(True),
        "np empty": lambda _: np.array([]),
        "np text": lambda _: np.array(["a", "b"]),
        "np objects": lambda _: np.array([None, object()], dtype=object),
        "np 0-d": lambda _: np.array(2.0),
        "np big endian": lambda _: np.zeros(2, dtype=">f8"),
        "np backwards": lambda _: np.zeros(4)[::-2],
    }


def tensors() -> dict[str, Make]:
    """Tensors of other shapes, types, devices and layouts than are wanted."""
    return {
        "t 3": lambda _: torch.tensor(3),
        "t 1.5": lambda _: torch.tensor(1.5),
        "t nan": lambda _: torch.tensor(float("nan")),
        "t empty": lambda _: torch.tensor([]),
        "t (2,)": lambda _: torch.zeros(2),
        "t (43,)": lambda _: torch.zeros(43),
        "t (3, 2)": lambda _: torch.ones(3, 2, dtype=torch.float64),
        "t (0, 2)": lambda _: torch.zeros(0, 2, dtype=torch.float64),
        "t (3, 7, 2)": lambda _: torch.zeros(3, 7, 2),
        "t long": lambda _: torch.zeros(2, dtype=torch.long),
        "t bool": lambda _: torch.zeros(2, dtype=torch.bool),
        "t complex": lambda _: torch.zeros(2, dtype=torch.complex64),
        "t half": lambda _: torch.zeros(2, dtype=torch.half),
        "t nans": lambda _: torch.full((2,), float("nan"), dtype=torch.float64),
        "t infs": lambda _: torch.full((43,), float("inf")),
        "t meta": lambda _: torch.zeros(2, device="meta"),
        "t meta 43": lambda _: torch.zeros(43, device="meta"),
        "t grad": lambda _: torch.zeros(2, requires_grad=True),
        "t graph": lambda _: torch.zeros(43, requires_grad=True) * 2,
        "t sparse": lambda _: torch.zeros(2).to_sparse(),
        "t quantized": lambda _: torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8),
        "t nested": lambda _: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        "t expanded": lambda _: torch.zeros(1).expand(43),
        "t parameter": lambda _: nn.Parameter(torch.zeros(43)),
    }


def plain() -> dict[str, Make]:
    """Numbers, texts and objects."""
    return {name: (lambda _, value=value: value) for name, value in _plain().items()} | _made()


def paths() -> dict[str, Make]:
    """Places that are no plain file or folder, or cannot be made."""

    def file(folder: Path, content: bytes, name: str = "file") -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    def link(folder: Path, target: str) -> Path:
        (folder / "link").symlink_to(target)
        return folder / "link"

    def device(folder: Path, minor: int) -> Path:
        os.mknod(folder / "device", 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        return folder / "device"

    return {
        "p new": lambda folder: folder / "new",
        "p text": lambda folder: str(folder / "new"),
        "p deep": lambda folder: folder / "a" / "b" / "c.json",
        "p folder": lambda folder: folder,
        "p text file": lambda folder: file(folder, b"no numbers here\n"),
        "p empty file": lambda folder: file(folder, b""),
        "p json": lambda folder: file(folder, b'{"a": [1, null]}', "file.json"),
        "p bad json": lambda folder: file(folder, b"{" * 3000, "file.json"),
        "p zeros .pt": lambda folder: file(folder, bytes(4000), "zeros.pt"),
        "p bad safetensors": lambda folder: file(folder, b"\xff" * 400, "w.safetensors"),
        "p nan weights": lambda folder: _saved(folder, {"a": torch.full((2,), float("nan"))}),
        "p odd weights": lambda folder: _saved(folder, {1: torch.zeros(2)}),
        "p list of weights": lambda folder: _saved(folder, [torch.zeros(2), torch.zeros(2)]),
        "p class in weights": lambda folder: _saved(folder, {"a": Path("x")}),
        "p below file": lambda folder: file(folder, b"") / "x.json",
        "p fifo": lambda folder: _fifo(folder),
        "p full": lambda folder: device(folder, 7),
        "p null": lambda folder: device(folder, 3),
        "p dangling": lambda folder: link(folder, "nowhere"),
        "p loop": lambda folder: link(folder, "link"),
        "p 300": lambda folder: folder / ("n" * 300),
        "p 300.json": lambda folder: folder / ("n" * 300 + ".json"),
        "p 5000": lambda folder: folder / "/".join(["deep"] * 1000),
        "p nul": lambda folder: str(folder / "a\0b"),
        "p surrogate": lambda folder: folder / "\ud800.json",
        "p escape": lambda folder: folder / "\x1b[31m.png",
        "p bytes": lambda folder: os.fsencode(folder / "new"),
        "p dot": lambda folder: Path(),
    }


def _saved(folder: Path, what: Any) -> Path:
    torch.save(what, folder / "w.pt")
    return folder / "w.pt"


def _fifo(folder: Path) -> Path:
    """A pipe that somebody reads, so that writing into it comes to an end; who reads it waits for ever."""
    path = folder / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def drain() -> None:
        while path.exists():
            try:
                os.read(end, 2**16)
            except BlockingIOError:
                threading.Event().wait(0.02)
        os.close(end)

    threading.Thread(target=drain, daemon=True).start()
    return path


X, Y = torch.linspace(-1, 1, 96).reshape(24, 4), torch.arange(24) % 3


def mlp(seed: int = 0, double: bool = False) -> nn.Sequential:
    """A network of 43 weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    return made.double() if double else made


class Odd(nn.Module):
    """A network whose forward does `act` with itself, its input and its output."""

    def __init__(self, act: Callable[[Odd, torch.Tensor, torch.Tensor], Any]) -> None:
        super().__init__()
        self.net, self.act, self.calls = mlp(), act, 0
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> Any:
        self.calls += 1
        return self.act(self, x, self.net(x))


def _boom(*_: Any) -> Any:
    raise KeyError("boom")


def _exit(*_: Any) -> Any:
    raise SystemExit(3)


def _step(self: Odd, _: Any, out: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        self.net[0].bias += 0.1
    return out


def _late(self: Odd, _: Any, out: torch.Tensor) -> torch.Tensor:
    if self.calls > 3:
        raise AssertionError("late")
    return out


class Uncopied(nn.Sequential):
    def __deepcopy__(self, memo: Any) -> Any:
        return self


class Raising(nn.Sequential):
    def __deepcopy__(self, memo: Any) -> Any:
        raise ValueError("no copies")


def _shared() -> nn.Module:
    net = mlp()
    net[2].bias.data = net[0].bias.data[:3]
    return net


def models() -> dict[str, Make]:
    """Models that raise, change themselves, return what is no tensor, or have no weights that can be moved."""
    acts: dict[str, Any] = {
        "raises": _boom,
        "raises late": _late,
        "exits": _exit,
        "nan": lambda s, x, out: out * float("nan"),
        "inf": lambda s, x, out: out / 0,
        "tuple": lambda s, x, out: (out, x),
        "dict": lambda s, x, out: {"out": out},
        "text": lambda s, x, out: "out",
        "None": lambda s, x, out: None,
        "scalar": lambda s, x, out: out.sum(),
        "wide": lambda s, x, out: torch.cat([out, out], 1),
        "fewer rows": lambda s, x, out: out[1:],
        "long": lambda s, x, out: out.long(),
        "detached": lambda s, x, out: out.detach(),
        "half": lambda s, x, out: out.half(),
        "noise": lambda s, x, out: out + torch.randn_like(out),
        "seeds": lambda s, x, out: (torch.manual_seed(1), out)[1],
        "steps": _step,
        "counts": lambda s, x, out: out + s.count.add_(1),
        "numpy noise": lambda s, x, out: out + np.random.rand(),  # noqa: NPY002
        "no grad": lambda s, x, out: torch.no_grad()(lambda: s.net(x))(),
        "trains": lambda s, x, out: (s.train(), out)[1],
        "empty": lambda s, x, out: out[:0],
        "meta": lambda s, x, out: out.to("meta"),
    }
    made: dict[str, Make] = {f"m {name}": (lambda _, act=act: Odd(act)) for name, act in acts.items()}
    return made | {
        "m fine": lambda _: mlp(1),
        "m no weights": lambda _: nn.Tanh(),
        "m frozen": lambda _: mlp().requires_grad_(False),
        "m integers": lambda _: nn.ParameterList([nn.Parameter(torch.zeros(3, dtype=torch.long), requires_grad=False)]),
        "m meta": lambda _: mlp().to("meta"),
        "m lazy": lambda _: nn.LazyLinear(3),
        "m empty weights": lambda _: nn.Linear(0, 3),
        "m dropout": lambda _: nn.Sequential(mlp(), nn.Dropout(0.5)),
        "m norm": lambda _: nn.Sequential(mlp(), nn.BatchNorm1d(3)),
        "m nan weights": lambda _: _filled(float("nan")),
        "m inf weights": lambda _: _filled(float("inf")),
        "m uncopied": lambda _: Uncopied(*mlp()),
        "m no copies": lambda _: Raising(*mlp()),
        "m shared": lambda _: _shared(),
        "m complex": lambda _: nn.Linear(4, 3, dtype=torch.complex64),
        "m half": lambda _: mlp().half(),
        "m double": lambda _: mlp(double=True),
        "m class": lambda _: nn.Linear,
        "m function": lambda _: torch.tanh,
        "m embedding": lambda _: nn.Embedding(3, 3),
        "m lstm": lambda _: nn.LSTM(4, 3),
        "m grads": lambda _: _with_grads(),
    }


def _filled(value: float) -> nn.Module:
    net = mlp()
    with torch.no_grad():
        net[0].weight.fill_(value)
    return net


def _with_grads() -> nn.Module:
    net = mlp()
    net(X).sum().backward()
    return net


def losses() -> dict[str, Make]:
    """Losses that raise, or return what is no finite number."""
    return {
        "l raises": lambda _: _boom,
        "l None": lambda _: lambda o, t: None,
        "l text": lambda _: lambda o, t: "loss",
        "l float": lambda _: lambda o, t: 1.0,
        "l nan": lambda _: lambda o, t: o.sum() * float("nan"),
        "l vector": lambda _: lambda o, t: o.sum(1),
        "l pair": lambda _: lambda o, t: (o.sum(), o.sum()),
        "l zero weight": lambda _: lambda o, t: (o.sum(), 0),
        "l negative weight": lambda _: lambda o, t: (o.sum(), -1.0),
        "l one argument": lambda _: lambda o: o.sum(),
        "l detached": lambda _: lambda o, t: o.detach().sum(),
        "l complex": lambda _: lambda o, t: (o * 1j).sum(),
        "l constant": lambda _: lambda o, t: torch.tensor(1.0),
        "l integer": lambda _: lambda o, t: torch.tensor(1),
        "l random": lambda _: lambda o, t: o.sum() + torch.rand(()),
        "l in place": lambda _: lambda o, t: o.mul_(2).sum(),
        "l module": lambda _: nn.CrossEntropyLoss(reduction="none"),
        "l class": lambda _: nn.CrossEntropyLoss,
        "l mse": lambda _: "mse",
        "l bce": lambda _: "bce",
        "l model": lambda _: "model",
        "l unknown": lambda _: "cross_entropi",
    }


class Short(Dataset[Any]):
    """A data set that claims more than it has."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, k: int) -> Any:
        if k > 2:
            raise OSError("the disk is gone")
        return X[k], Y[k]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


def data() -> dict[str, Make]:
    """Data that are none, do not fit together, or end in the middle."""
    return {
        "d empty": lambda _: (X[:0], Y[:0]),
        "d no pairs": lambda _: X,
        "d three": lambda _: (X, Y, Y),
        "d unequal": lambda _: (X, Y[:5]),
        "d wide": lambda _: (torch.zeros(24, 7), Y),
        "d float targets": lambda _: (X, Y.float()),
        "d bool targets": lambda _: (X, Y > 0),
        "d class 9": lambda _: (X, Y + 7),
        "d class -1": lambda _: (X, Y - 1),
        "d all ignored": lambda _: (X, torch.full((24,), -100)),
        "d nan": lambda _: (X * float("nan"), Y),
        "d integers": lambda _: (X.long(), Y),
        "d numpy": lambda _: (X.numpy(), Y.numpy()),
        "d backwards": lambda _: (X.numpy()[::-1], Y.numpy()[::-1]),
        "d objects": lambda _: (np.array([None] * 24), Y.numpy()),
        "d texts": lambda _: (["a"] * 24, ["b"] * 24),
        "d lists": lambda _: (X.tolist(), Y.tolist()),
        "d samples": lambda _: [(X[k], Y[k]) for k in range(24)],
        "d one batch": lambda _: [(X, Y)],
        "d other batch": lambda _: [(X, Y), (torch.zeros(3, 9), Y[:3])],
        "d dicts": lambda _: [{"x": X, "y": Y}],
        "d short": lambda _: Short(),
        "d stream": lambda _: Stream(),
        "d loader": lambda _: DataLoader(TensorDataset(X, Y), batch_size=7),
        "d empty loader": lambda _: DataLoader(TensorDataset(X[:0], Y[:0])),
        "d generator": lambda _: ((X[k : k + 4], Y[k : k + 4]) for k in range(0, 24, 4)),
        "d raises": lambda _: (1 / 0 for _ in range(3)),
        "d meta": lambda _: (X.to("meta"), Y),
        "d grads": lambda _: (X.clone().requires_grad_(), Y),
        "d sparse": lambda _: (X.to_sparse(), Y),
        "d nones": lambda _: [(None, None)],
    }
