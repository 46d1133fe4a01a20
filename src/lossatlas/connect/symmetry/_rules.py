"""What each operation of torch does to the labels of its axes: which become one, which are split, which are fixed.

A rule that is missing is safe: an operation without one is tried on permuted numbers (`Equivariance`), and fixes every
axis that it does not treat alike; it is then named as the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from lossatlas.connect.symmetry._equivariance import Equivariance
from lossatlas.connect.symmetry._equivariance import tensors as _tensors
from lossatlas.connect.symmetry._labels import Dim, Labels

Dims = tuple[Dim, ...]

# Operations with f(ax) = a f(x) for a > 0, elementwise.
_HOMOGENEOUS = {
    "relu", "leaky_relu", "neg", "abs", "maximum", "minimum", "clone", "copy", "_to_copy", "alias", "detach",
    "contiguous", "lift_fresh", "positive", "dropout",
}  # fmt: skip
_UNIFORM = {"full", "zeros", "ones", "empty", "full_like", "zeros_like", "ones_like", "empty_like", "new_zeros",
            "new_ones", "new_full", "new_empty", "scalar_tensor"}  # fmt: skip
_REDUCTIONS = {"mean", "sum", "amax", "amin", "var", "std", "logsumexp", "prod", "norm", "linalg_vector_norm", "all",
               "any", "var_mean"}  # fmt: skip
# Names of what only ever mixes positions; for the reason that is given, not for what is found.
_OVER_SPACE = ("_pool", "upsample_", "grid_sampler", "reflection_pad", "replication_pad")
SPACE = "positions of an image or a sequence"
OUTPUT = "an axis of the output"
TOKENS = "tokens of a vocabulary"


@final
class Rules:
    """The rules over one set of labels.

    Args:
        labels: they speak about; signed ones say which rescaling leaves the function as it is, others which permutation.
        known: id of a tensor to the tensor and its axes; grows.
        uniform: whether the axes of a tensor of one number everywhere are new ones each time it is read, as nothing can
            be told apart along them: two layers that begin at the same zeros have not the same units.

    Attributes:
        written: whether something was written into such a tensor afterwards; what was found is then not to be used.
    """

    def __init__(self, labels: Labels, known: dict[int, tuple[Tensor, Dims]], uniform: bool = True) -> None:
        self.labels, self._known = labels, known
        self.written = False
        self._fresh, self._uniform = uniform, dict[int, int]()
        self._name = ""
        # What follows from a tensor once something reads it: states that a recurrent layer stacks, and positions of a
        # maximum, cost no freedom as long as nothing does.
        self._unread: dict[int, list[Callable[[], None]]] = {}

    def dims(self, tensor: Tensor) -> Dims:
        """The axes of a tensor; those of one that was never seen are constants."""
        if id(tensor) not in self._known:
            self.learn(tensor, tuple(self.labels.new(n, "a constant of the network") for n in tensor.shape))
        for consequence in self._unread.pop(id(tensor), ()):
            consequence()
        if id(tensor) in self._uniform:
            self.written |= self._uniform[id(tensor)] != tensor._version
            return self._alike_along(tensor)
        return self._known[id(tensor)][1]

    def learn(self, tensor: Tensor, dims: Dims) -> None:
        """Remember the axes of a tensor, and keep it alive so that its id stays its own."""
        self._known[id(tensor)] = (tensor, dims)

    def seen(self, tensor: Tensor) -> Dims | None:
        """The axes of a tensor without counting this as reading it; None for one that was never seen."""
        return self._known[id(tensor)][1] if id(tensor) in self._known else None

    def held(self) -> list[set[int]]:
        """For every tensor in which axes were followed, the labels of all of them."""
        rows = [dims for key, (_, dims) in self._known.items() if key not in self._uniform]
        return [set().union(*(self.labels.members(dim) for dim in dims)) for dims in set(rows)]

    def _later(self, tensor: Tensor, consequence: Callable[[], None]) -> None:
        self._unread.setdefault(id(tensor), []).append(consequence)

    def follow(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
        """Take one executed operation into account."""
        self._name = name = function._schema.name.split("::")[-1]
        plain = name.removesuffix("_") if name.endswith("_") and not name.endswith("__") else name
        plain = plain.removeprefix("_unsafe_" if plain.startswith("_") else "unsafe_")
        found: Any = None
        given = list(_tensors([args, list(kwargs.values())]))
        same = given and name == plain and all(id(t) in self._uniform for t in given)
        rule: Callable[..., Any] | None = getattr(self, f"_on_{plain.lstrip('_')}", None)
        if plain in _REDUCTIONS:
            named = dict(zip((one.name for one in function._schema.arguments), args, strict=False)) | kwargs
            found = self._reduce(out, args[0], named.get("dim"))
        elif plain in _UNIFORM or (same and all(_constant(t) for t in _tensors(out))):
            self._alone(out)
            return
        elif rule is not None:
            found = rule(out, *args, **kwargs)
        elif torch.Tag.inplace_view in function.tags:
            self._unknown(args, kwargs)
        elif torch.Tag.pointwise in function.tags or plain in _HOMOGENEOUS:
            found = self._pointwise(plain, out, [*args, *kwargs.values()])
        else:
            found = self._tried(function, args, kwargs, out)
        for tensor, dims in zip(_tensors(out), _alike(found, out), strict=True):
            if id(tensor) in self._known and name != plain and torch.Tag.inplace_view not in function.tags:
                for mine, theirs in zip(self.dims(tensor), dims or (), strict=False):
                    self.labels.unite(mine, theirs)
                continue
            if dims is None:
                dims = tuple(self.labels.new(n, self._why()) for n in tensor.shape)
            self.learn(tensor, dims)

    def _alone(self, out: Any) -> None:
        """Tensors of one number everywhere."""
        for tensor in _tensors(out):
            self.learn(tensor, self._alike_along(tensor))
            if self._fresh:
                self._uniform[id(tensor)] = tensor._version

    def _alike_along(self, tensor: Tensor) -> Dims:
        """New axes for one number everywhere: any order leaves it as it is, but only zeros may be rescaled."""
        rescaled = not self.labels.signed or "empty" in self._name or not tensor.any()
        held = None if rescaled else "a constant does not scale with its units"
        return tuple(self.labels.new(n, held) for n in tensor.shape)

    def _why(self) -> str:
        if "loss" in self._name or "cross_entropy" in self._name:  # of a model that computes its own
            return OUTPUT
        return SPACE if any(part in self._name for part in _OVER_SPACE) else f"the operation {self._name}"

    def _fixed(self, size: int, reason: str | None = None) -> Dim:
        return self.labels.new(size, reason or self._why())

    def _unknown(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        for tensor in _tensors([args, list(kwargs.values())]):
            for dim in self.dims(tensor):
                self.labels.fix(dim, self._why())

    def _pointwise(self, plain: str, out: Any, given: Sequence[Any]) -> Dims:
        tensors = list(_tensors(given))
        rank = out.ndim
        rows = [((),) * (rank - t.ndim) + self.dims(t) for t in tensors]
        scaled = self.labels.signed and not self._homogeneous(plain, given, tensors)
        found: list[Dim] = []
        for axis in range(rank):
            present = [row[axis] for row in rows if row[axis]]
            if scaled and not (plain in ("mul", "div") and len(present) < 2 and (plain == "mul" or not rows[-1][axis])):
                for dim in present:
                    self.labels.fix(dim, self._why())
            for other in present[1:]:
                self.labels.unite(present[0], other)
            found.append(present[0] if present else ())
        return tuple(found)

    @staticmethod
    def _homogeneous(plain: str, given: Sequence[Any], tensors: list[Tensor]) -> bool:
        if plain in ("add", "sub"):
            return len(tensors) == 2
        if plain in ("mul", "div"):
            return len(tensors) == 1
        return plain in _HOMOGENEOUS

    def _reduce(self, out: Any, x: Tensor, axes: Any) -> Any:
        first = next(iter(_tensors(out)))
        gone = set(range(x.ndim)) if axes is None or axes == [] else {
            a % max(1, x.ndim) for a in (axes if isinstance(axes, list | tuple) else [axes])
        }  # fmt: skip
        if self.labels.signed:
            for axis in gone:
                self.labels.fix(self.dims(x)[axis], f"units are summed by {self._name}")
            if self._name not in ("mean", "sum", "amax", "amin"):
                self._unknown([x], {})
        kept = first.ndim == x.ndim
        dims = tuple(() if axis in gone else dim for axis, dim in enumerate(self.dims(x)) if kept or axis not in gone)
        return [dims for _ in _tensors(out)] if not isinstance(out, Tensor) else dims

    def _tried(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> Any:
        """What an operation without a rule does, by trying."""
        given, made = list(_tensors([list(args), list(kwargs.values())])), list(_tensors(out))
        rows = [self.dims(t) for t in given]
        found: list[list[Dim | None]] = [[None if n > 1 else () for n in t.shape] for t in made]
        kept = Equivariance(function, args, kwargs).kept()
        free = set()
        for one in kept:
            (first, axis), *others = one.places
            dim = rows[first][axis]
            for j, k in others:
                self.labels.unite(dim, rows[j][k])
            for n, place in enumerate(one.out):
                if place == -1:
                    self._later(made[n], partial(self.labels.fix, dim, self._why()))
                elif place is not None:
                    found[n][place] = dim
            if one.scales or not self.labels.signed:
                free |= set(one.places)
        for j, row in enumerate(rows):
            for k, dim in enumerate(row):
                if (j, k) not in free:
                    self.labels.fix(dim, self._why())
        for dims, tensor in zip(found, made, strict=True):
            for k, n in enumerate(tensor.shape):
                alike = [
                    row[k] for row, t in zip(rows, given, strict=True) if t.ndim == tensor.ndim and t.shape[k] == n
                ]
                if dims[k] is None:
                    dims[k] = alike[0] if alike and self.labels.fixed_everywhere(alike[0]) else self._fixed(n)
        return [tuple(dims) for dims in found]

    def _contract(self, one: Dim, two: Dim) -> None:
        self.labels.unite(one, two, inverse=True)

    def _on_mm(self, out: Tensor, a: Tensor, b: Tensor) -> Dims:
        (rows, inner), (other, columns) = self.dims(a), self.dims(b)
        self._contract(inner, other)
        return rows, columns

    def _on_addmm(self, out: Tensor, bias: Tensor, a: Tensor, b: Tensor, **_: Any) -> Dims:
        return self._biased(self._on_mm(out, a, b), bias)

    def _on_bmm(self, out: Tensor, a: Tensor, b: Tensor) -> Dims:
        (batch, rows, inner), (same, other, columns) = self.dims(a), self.dims(b)
        self.labels.unite(batch, same)
        self._contract(inner, other)
        return batch, rows, columns

    def _on_baddbmm(self, out: Tensor, bias: Tensor, a: Tensor, b: Tensor, **_: Any) -> Dims:
        return self._biased(self._on_bmm(out, a, b), bias)

    def _on_mv(self, out: Tensor, a: Tensor, b: Tensor) -> Dims:
        self._contract(self.dims(a)[1], self.dims(b)[0])
        return (self.dims(a)[0],)

    def _on_dot(self, out: Tensor, a: Tensor, b: Tensor) -> Dims:
        self._contract(self.dims(a)[0], self.dims(b)[0])
        return ()

    _on_vdot = _on_dot

    def _on_trilinear(self, out: Tensor, a: Tensor, b: Tensor, c: Tensor, *rest: list[int], **_: Any) -> Dims:
        """Σ a·b·c over some axes, each with axes of length 1 put in where it has none of the others'."""
        *spread, summed = rest[:4]
        if self.labels.signed:
            self._unknown([a, b, c], {})
        rows = []
        for x, places in zip((a, b, c), spread, strict=True):
            own = list(self.dims(x))
            for axis in sorted(places):
                own.insert(axis, ())
            rows.append(own)
        dims: list[Dim] = []
        for axis in range(len(rows[0])):
            present = [row[axis] for row in rows if row[axis]]
            for other in present[1:]:
                self.labels.unite(present[0], other)
            if axis not in summed:
                dims.append(present[0] if present else ())
        return tuple(dims)

    def _on_weight_norm_interface(self, out: Any, v: Tensor, g: Tensor, axis: int = 0) -> Any:
        dims = list(self.dims(v))
        if self.labels.signed:
            # The length of v along the axis is divided away; what is left of it is the gain's.
            self._unknown([v], {})
            dims = [self._fixed(n) for n in v.shape]
            dims[axis] = self.dims(g)[axis]
        else:
            self.labels.unite(dims[axis], self.dims(g)[axis])
        return self._first(out, tuple(dims))

    def _biased(self, dims: Dims, bias: Tensor) -> Dims:
        for mine, theirs in zip(reversed(dims), reversed(self.dims(bias)), strict=False):
            if mine and theirs:
                self.labels.unite(mine, theirs)
        return dims

    def _on_convolution(
        self, out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any, **_: Any
    ) -> Dims:
        transposed, groups = bool(rest[3]), int(rest[5])
        first, second, *window = self.dims(weight)
        for dim in (*window, *self.dims(x)[2:]):
            self.labels.fix(dim, SPACE)
        makes, reads = (second, first) if transposed else (first, second)
        if groups > 1:
            # Groups are an axis of their own, of the channels on both sides.
            which = self.labels.cut(first, [groups, weight.shape[0] // groups])[0]
            makes, reads = ((*which, *second), first) if transposed else (first, (*which, *second))
            if self.labels.signed:
                for dim in (makes, reads, self.dims(x)[1]):
                    self.labels.fix(dim, "a grouped convolution")
        self._contract(self.dims(x)[1], reads)
        if bias is not None:
            self.labels.unite(makes, self.dims(bias)[0])
        return (self.dims(x)[0], makes, *(self._fixed(n, SPACE) for n in out.shape[2:]))

    def _on_native_batch_norm(
        self, out: Any, x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any, **_: Any
    ) -> Any:
        batch, channels, *space = self.dims(x)
        given = [t for t in (weight, bias) if isinstance(t, Tensor)]
        measured = [t for t in (mean, variance) if isinstance(t, Tensor)]
        if self.labels.signed:
            # Up to ε the norm divides every scale away: what comes in is left alone, what goes out is the gain's.
            for dim in (channels, *(self.dims(t)[0] for t in measured)):
                self.labels.fix(dim, "what batch norm reads is normalized")
            channels = self.dims(given[0])[0] if given else self._fixed(x.shape[1])
        for t in given if self.labels.signed else [*given, *measured]:
            self.labels.unite(channels, self.dims(t)[0])
        return self._first(out, (batch, channels, *space))

    def _on_native_layer_norm(self, out: Any, x: Tensor, shape: list[int], weight: Any, bias: Any, *_: Any) -> Any:
        lead, trail = self.dims(x)[: x.ndim - len(shape)], self.dims(x)[x.ndim - len(shape) :]
        given = [t for t in (weight, bias) if isinstance(t, Tensor)]
        if self.labels.signed:
            for dim in trail:
                self.labels.fix(dim, "what layer norm reads is normalized")
            trail = self.dims(given[0]) if given else tuple(self._fixed(n) for n in shape)
        for t in given:
            for mine, theirs in zip(trail, self.dims(t), strict=True):
                self.labels.unite(mine, theirs)
        return self._first(out, (*lead, *trail))

    def _on_native_group_norm(
        self, out: Any, x: Tensor, weight: Any, bias: Any, n: int, c: int, hw: int, groups: int, *_: Any
    ) -> Any:
        batch, channels, *space = self.dims(x)
        self.labels.cut(channels, [groups, c // groups])
        given = [t for t in (weight, bias) if isinstance(t, Tensor)]
        if self.labels.signed:
            self.labels.fix(channels, "what group norm reads is normalized")
            channels = self.dims(given[0])[0] if given else self._fixed(c)
        for t in given:
            self.labels.unite(channels, self.dims(t)[0])
        return self._first(out, (batch, channels, *space))

    def _on_softmax(self, out: Tensor, x: Tensor, *_: Any, **__: Any) -> Dims:
        if self.labels.signed:
            self._unknown([x], {})
        return self.dims(x)

    _on_log_softmax = _on_softmax

    def _on_scaled_dot_product_flash_attention_for_cpu(
        self, out: Any, q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0, causal: bool = False, **kwargs: Any
    ) -> Any:
        (*lead, rows, width), (*lead_k, columns, width_k), (*lead_v, columns_v, width_v) = map(self.dims, (q, k, v))
        if self.labels.signed:
            self._unknown([q, k], {})
        mask = kwargs.get("attn_mask")
        if causal or mask is not None:
            own = () if mask is None else self.dims(mask)
            for dim in (rows, columns, *own[-2:]):
                self.labels.fix(dim, "an attention mask")
            # A bias by position has heads of its own.
            for mine, theirs in zip(reversed(lead), reversed(own[:-2]), strict=False):
                if theirs:
                    self.labels.unite(mine, theirs)
        for axis, (a, b, c) in enumerate(zip(lead, lead_k, lead_v, strict=True)):
            heads, shared = q.shape[axis], k.shape[axis]
            # Grouped queries: several neighboring heads of q share one of k and v.
            mine = self.labels.cut(a, [shared, heads // shared])[0] if heads > shared > 1 else a
            for theirs in (b, c):
                if shared > 1:
                    self.labels.unite(mine, theirs)
        self._contract(width, width_k)
        self._contract(columns, columns_v)
        return self._first(out, (*lead, rows, width_v))

    _on_scaled_dot_product_flash_attention = _on_scaled_dot_product_flash_attention_for_cpu

    def _on_embedding(self, out: Tensor, weight: Tensor, index: Tensor, *_: Any, **__: Any) -> Dims:
        tokens, width = self.dims(weight)
        self.labels.fix(tokens, TOKENS)
        return (*self.dims(index), width)

    def _on_prelu_kernel(self, out: Tensor, x: Tensor, weight: Tensor) -> Dims:
        if self.labels.signed:
            for dim in self.dims(weight):
                self.labels.fix(dim, "a slope")
            return self.dims(x)
        return self._pointwise("prelu", out, [x, weight])

    def _on_view(self, out: Tensor, x: Tensor, *_: Any) -> Dims:
        """Axes are cut within the smallest blocks of them that hold equally many numbers on both sides."""
        dims, sizes = list(self.dims(x)), list(out.shape)
        if not x.numel():
            return tuple(self._fixed(n) for n in out.shape)
        found: list[Dim] = []
        while sizes:
            block, wanted = dims.pop(0) if dims else (), [sizes.pop(0)]
            while self.labels.size(block) != math.prod(wanted):
                if self.labels.size(block) < math.prod(wanted):
                    block = (*block, *dims.pop(0))
                else:
                    wanted.append(sizes.pop(0))
            found += self.labels.cut(block, wanted)
        return tuple(found)

    _on_reshape_alias = _on_reshape = _on_unsqueeze = _on_squeeze = _on_view

    def _on_t(self, out: Tensor, x: Tensor) -> Dims:
        return self.dims(x)[::-1]

    def _on_transpose(self, out: Tensor, x: Tensor, one: int, two: int) -> Dims:
        dims = list(self.dims(x))
        dims[one], dims[two] = dims[two], dims[one]
        return tuple(dims)

    def _on_permute(self, out: Tensor, x: Tensor, order: list[int]) -> Dims:
        return tuple(self.dims(x)[axis] for axis in order)

    def _on_expand(self, out: Tensor, x: Tensor, *_: Any, **__: Any) -> Dims:
        old = ((),) * (out.ndim - x.ndim) + self.dims(x)
        return tuple(dim or self.labels.new(n) for dim, n in zip(old, out.shape, strict=True))

    def _on_repeat(self, out: Tensor, x: Tensor, times: list[int]) -> Dims:
        old = ((),) * (out.ndim - x.ndim) + self.dims(x)
        return tuple((*self.labels.new(n), *dim) for dim, n in zip(old, times, strict=True))

    def _on_select(self, out: Tensor, x: Tensor, axis: int, index: int) -> Dims:
        dims = list(self.dims(x))
        self._later(out, partial(self.labels.fix, dims.pop(axis), "one of its entries is picked out"))
        return tuple(dims)

    def _on_slice(
        self, out: Tensor, x: Tensor, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
    ) -> Dims:
        dims, size, whole = list(self.dims(x)), out.shape[axis], x.shape[axis]
        if size != whole and (step != 1 or not size):
            self.labels.fix(dims[axis], "some of its entries are picked out")
            dims[axis] = self._fixed(size, "entries that were picked out")
        elif size != whole:
            begin = min(whole, start % whole if start and start < 0 else start or 0)
            sizes = [n for n in (begin, size, whole - begin - size) if n]
            dims[axis] = self.labels.pieces(dims[axis], sizes)[1 if begin else 0]
        return tuple(dims)

    def _on_split(self, out: Any, x: Tensor, size: Any, axis: int = 0) -> Any:
        dims = list(self.dims(x))
        cut = self.labels.pieces(dims[axis], [piece.shape[axis] for piece in out])
        return [tuple(piece if k == axis % x.ndim else dim for k, dim in enumerate(dims)) for piece in cut]

    _on_split_with_sizes = _on_chunk = _on_split

    def _on_unbind(self, out: Any, x: Tensor, axis: int = 0) -> Any:
        dims = list(self.dims(x))
        self.labels.fix(dims.pop(axis), "its entries are taken apart")
        return [tuple(dims) for _ in out]

    def _on_glu(self, out: Tensor, x: Tensor, axis: int = -1) -> Dims:
        dims = list(self.dims(x))
        one, two = self.labels.pieces(dims[axis], [x.shape[axis] // 2] * 2)
        self.labels.unite(one, two)
        dims[axis] = one
        if self.labels.signed:
            self.labels.fix(one, self._why())
        return tuple(dims)

    def _on_cat(self, out: Tensor, parts: Sequence[Tensor], axis: int = 0) -> Dims:
        parts = [part for part in parts if part.numel()]
        rows, axis = [self.dims(part) for part in parts], axis % out.ndim
        found = list(rows[0])
        for k in range(out.ndim):
            for row in rows[1:] if k != axis else []:
                self.labels.unite(found[k], row[k])
        found[axis] = self.labels.joined([row[axis] for row in rows], [part.shape[axis] for part in parts])
        return tuple(found)

    def _on_constant_pad_nd(self, out: Tensor, x: Tensor, pad: list[int], value: float = 0.0) -> Dims:
        dims = list(self.dims(x))
        for k, (low, high) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
            axis = x.ndim - 1 - k
            if low < 0 or high < 0 or (self.labels.signed and value and (low or high)):
                self.labels.fix(dims[axis], self._why())
                dims[axis] = self._fixed(out.shape[axis])
            elif low or high:
                # What is padded is the same everywhere: it may be permuted as it likes.
                sizes = [n for n in (low, x.shape[axis], high) if n]
                ends = [dims[axis] if k == (1 if low else 0) else self.labels.new(n) for k, n in enumerate(sizes)]
                dims[axis] = self.labels.joined(ends, sizes)
        return tuple(dims)

    def _on_stack(self, out: Tensor, parts: Sequence[Tensor], axis: int = 0) -> Dims:
        rows = [self.dims(part) for part in parts]
        for row in rows[1:]:
            for one, two in zip(rows[0], row, strict=True):
                self._later(out, partial(self.labels.unite, one, two))
        dims = list(rows[0])
        dims.insert(axis % out.ndim, self._fixed(len(parts)))
        return tuple(dims)

    @staticmethod
    def _first(out: Any, dims: Dims) -> Any:
        """Axes of the first of several results; the others are statistics that nothing reads."""
        return [dims, *(None for _ in list(_tensors(out))[1:])] if not isinstance(out, Tensor) else dims


def _constant(tensor: Tensor) -> bool:
    return bool((tensor == tensor.reshape(-1)[:1]).all()) if tensor.numel() else True


def _alike(found: Any, out: Any) -> list[Any]:
    """One entry per tensor that came out."""
    count = len(list(_tensors(out)))
    if isinstance(found, list):
        return (found + [None] * count)[:count]
    return [found] * count
