"""The user's data in every form: what is read, how it is cut, what is refused, and what is left as it was."""

import itertools
import random
import re
import warnings
from collections import UserDict, namedtuple
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, Subset, TensorDataset

import lossatlas as la
from lossatlas._errors import DataError, InputError
from lossatlas.surface.network import _nested
from lossatlas.surface.network._data import Batch, cut, describe, digest, join, load, subset, untouched_randomness

CPU = torch.device("cpu")
N = 24
GENERATOR = torch.Generator().manual_seed(0)
X, Z = torch.randn(N, 4, generator=GENERATOR), torch.randn(N, 1, generator=GENERATOR)
Y = torch.randint(0, 3, (N,), generator=GENERATOR)
EDGES = torch.randint(0, N, (2, 50), generator=GENERATOR)
Pair = namedtuple("Pair", "x y")
Label = namedtuple("Label", "label image")


@dataclass(frozen=True)
class Example:
    x: Any
    y: Any
    name: str = "set"


with warnings.catch_warnings():
    # Said once per process: both kinds are in beta.
    warnings.simplefilter("ignore")
    CSR = X.to_sparse_csr(), X.flip(1).to_sparse_csr()
    RAGGED = torch.nested.nested_tensor([X[:5], X[5:8]])


class Graph:
    """As a graph of PyTorch Geometric: tensors inside of a store, no rows, a way to a device."""

    def __init__(self, x=X, edges=EDGES, y=Y):
        self._store = {"x": x.clone(), "edge_index": edges.clone(), "y": y.clone()}

    def __getattr__(self, name):
        if name.startswith("_") or name not in self._store:
            raise AttributeError(name)
        return self._store[name]

    def to(self, device):
        self._store = {key: value.to(device) for key, value in self._store.items()}
        return self


class Items(Dataset):
    def __init__(self, item, size=N):
        self.item, self.size = item, size

    def __len__(self):
        return self.size

    def __getitem__(self, k):
        if not 0 <= k < self.size:
            raise IndexError(k)
        return self.item(k)


class Hugging:
    """As a data set of Hugging Face without set_format: no torch class, lists of numbers, iterable."""

    def __init__(self, size=N):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, k):
        return {"x": X[k].tolist(), "label": int(Y[k])}

    def __iter__(self):
        return (self[k] for k in range(len(self)))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


class Batches(IterableDataset):
    def __iter__(self):
        return iter(zip(X.split(10), Y.split(10), strict=True))


class Loop:
    """An iterable without a length, which can be read again."""

    def __iter__(self):
        return (pair for pair in zip(X.split(10), Y.split(10), strict=True))


def array(kind, byteorder="="):
    return X.numpy().astype(np.dtype(kind).newbyteorder(byteorder))


def objects():
    found = np.empty((N, 4), dtype=object)
    found[:] = X.double().numpy()
    return found


def pair(batch):
    """X and Y of any of the forms below."""
    found = list(_nested.tensors(batch.given))
    return next(t for t in found if t.shape[1:] == (4,)), batch.target


WHOLE = {
    "tensors": (X, Y),
    "a list of two tensors": [X, Y],
    "arrays": (X.numpy(), Y.numpy()),
    "negative strides": (X.flip(0).numpy()[::-1], Y.flip(0).numpy()[::-1]),
    "big-endian arrays": (array("f4", ">"), Y.numpy().astype(">i8")),
    "arrays of number objects": (objects(), np.array(Y.tolist(), dtype=object)),
    "Fortran order": (np.asfortranarray(X.numpy()), Y.numpy()),
    "pandas": (pd.DataFrame(X.numpy()), pd.Series(Y.numpy())),
    "lists of numbers": (X.tolist(), Y.tolist()),
    "tensor and a list of labels": (X, Y.tolist()),
    "parameters": (nn.Parameter(X.clone()), Y),
    "dictionary": {"x": X, "labels": Y},
    "dictionary of lists": {"x": X.tolist(), "labels": Y.tolist()},
    "UserDict": UserDict(x=X, labels=Y),
    "mapping that cannot be written": MappingProxyType({"x": X, "y": Y}),
    "named tuple": Pair(X, Y),
    "named tuple with the label first": Label(Y, X),
    "dataclass": Example(X, Y),
    "dictionary beside a target": ({"x": X}, Y),
    "list with a dictionary beside a target": [{"x": X}, Y],
    "tuple beside a target": ((X,), Y),
    "texts": (X, [f"text {k}" for k in range(N)], Y),
    "array of texts": (X, np.array([f"text {k}" for k in range(N)]), Y),
    "a number for all": (X, 0.5, Y),
    "a tensor without dimensions": (X, torch.tensor(0.5), Y),
    "TensorDataset": TensorDataset(X, Y),
    "Subset": Subset(TensorDataset(X, Y), range(N)),
    "dataset of pairs": Items(lambda k: (X[k], Y[k])),
    "dataset of arrays and integers": Items(lambda k: (X[k].numpy(), int(Y[k]))),
    "dataset of NumPy numbers": Items(lambda k: (X[k].numpy(), np.int64(Y[k]))),
    "dataset of dictionaries": Items(lambda k: {"x": X[k], "label": Y[k]}),
    "dataset of nested samples": Items(lambda k: ({"x": X[k]}, Y[k])),
    "dataset of lists": Items(lambda k: [X[k].tolist(), int(Y[k])]),
    "dataset of named tuples": Items(lambda k: Pair(X[k], Y[k])),
    "dataset of dataclasses": Items(lambda k: Example(X[k], Y[k])),
    "dataset with texts": Items(lambda k: (X[k], f"text {k}", Y[k])),
    "dataset with lists of texts": Items(lambda k: ({"x": X[k], "words": ["a"] * k}, Y[k])),
    "Hugging Face": Hugging(),
    "iterable dataset": Stream(),
    "list of samples": [(X[k], Y[k]) for k in range(N)],
    "list of samples with integers": [(X[k], int(Y[k])) for k in range(N)],
    "list of samples with lists": [(X[k].tolist(), int(Y[k])) for k in range(N)],
    "list of dictionaries": [{"x": X[k], "label": int(Y[k])} for k in range(N)],
    "tuple of samples": tuple((X[k], Y[k]) for k in range(N)),
    "zip": zip(X, Y, strict=True),
    "generator of samples": ((X[k], Y[k]) for k in range(N)),
    "loader without batches": DataLoader(TensorDataset(X, Y), batch_size=None),
}


@pytest.mark.parametrize("given", WHOLE.values(), ids=WHOLE.keys())
def test_tensors_datasets_and_samples_are_one_batch_that_is_cut_everywhere(given):
    data = load(given, CPU)
    assert data.whole and not data.notes and len(data.batches) == 1 and data.size == N
    (batch,) = data.batches
    assert batch.rows_known
    x, y = pair(batch)
    assert torch.equal(x.float(), X) and torch.equal(y.long(), Y)
    pieces = cut(batch, 7)
    assert [piece.size for piece in pieces] == [7, 7, 7, 3]
    for k, piece in enumerate(pieces):
        x, y = pair(piece)
        assert torch.equal(x.float(), X[7 * k : 7 * k + 7]) and torch.equal(y.long(), Y[7 * k : 7 * k + 7])
        assert type(piece.given) is type(batch.given)
    x, y = pair(batch.rows(torch.tensor([3, 17, 4])))
    assert torch.equal(x.float(), X[[3, 17, 4]]) and torch.equal(y.long(), Y[[3, 17, 4]])
    both = join(pieces)
    assert both is not None and both.size == N and digest([both]) == digest([batch])
    drawn = subset(pieces, 11, seed=0)
    kept = torch.randperm(N, generator=torch.Generator().manual_seed(0))[:11].sort().values
    assert sum(part.size for part in drawn) == 11
    assert torch.equal(torch.cat([pair(part)[0].float() for part in drawn]), X[kept])


BATCHED = {
    "list of pairs": list(zip(X.split(10), Y.split(10), strict=True)),
    "tuple of pairs": tuple(zip(X.split(10), Y.split(10), strict=True)),
    "list of lists": [[x, y] for x, y in zip(X.split(10), Y.split(10), strict=True)],
    "list of dictionaries": [{"x": x, "y": y} for x, y in zip(X.split(10), Y.split(10), strict=True)],
    "list with nested inputs": [((x,), y) for x, y in zip(X.split(10), Y.split(10), strict=True)],
    "loader": DataLoader(TensorDataset(X, Y), batch_size=10),
    "loader of dictionaries": DataLoader(Items(lambda k: {"x": X[k], "label": Y[k]}), batch_size=10),
    "loader with a collate function": DataLoader(
        TensorDataset(X, Y), batch_size=10, collate_fn=lambda rows: Pair(*map(torch.stack, zip(*rows, strict=True)))
    ),
    "loader with a batch sampler": DataLoader(
        TensorDataset(X, Y), batch_sampler=[list(range(10)), list(range(10, 20)), list(range(20, N))]
    ),
    "loader of an iterable dataset": DataLoader(Stream(), batch_size=10),
    "generator": (item for item in zip(X.split(10), Y.split(10), strict=True)),
    "own iterable": Loop(),
    "zip": zip(X.split(10), Y.split(10), strict=True),
}


@pytest.mark.parametrize("given", BATCHED.values(), ids=BATCHED.keys())
def test_batches_stay_as_they_were_given(given):
    data = load(given, CPU)
    assert not data.whole and not data.notes
    assert [batch.size for batch in data.batches] == [10, 10, 4]
    assert all(batch.rows_known for batch in data.batches)
    assert torch.equal(torch.cat([pair(batch)[0] for batch in data.batches]), X)
    assert torch.equal(torch.cat([batch.target for batch in data.batches]), Y)
    drawn = subset(data.batches, 5, seed=1)
    kept = torch.randperm(N, generator=torch.Generator().manual_seed(1))[:5].sort().values
    assert torch.equal(torch.cat([pair(part)[0] for part in drawn]), X[kept])


ADJACENCY = torch.eye(N)
NOTHING_TO_CUT = {
    "graph in a tuple": ((X, EDGES, Y), N),
    "graph in a nested tuple": (((X, EDGES), Y), N),
    "graph in a list of one batch": ([((X, EDGES), Y)], N),
    "graph in a dictionary": ({"x": X, "edge_index": EDGES, "y": Y}, N),
    "graph object": (Graph(), N),
    "graph object beside a target": ((Graph(), Y), N),
    "list of graph objects": ([Graph()], N),
    "sparse tensor": ((X, ADJACENCY.to_sparse_coo(), Y), N),
    "sparse rows": ((CSR[0], Y), N),
    "one label for a graph": ([((X, EDGES), Y[0])], 1),
    "packed sequence": ((pack_sequence([X[:5], X[5:8]]), Y[:2]), 2),
    "nested tensor": ((RAGGED, Y[:2]), 2),
    "nested inputs of other lengths": ([((X, torch.zeros(7)), (Y[:5], Y[:3]))], 5),
}


@pytest.mark.parametrize(("given", "size"), NOTHING_TO_CUT.values(), ids=NOTHING_TO_CUT.keys())
def test_what_has_no_rows_is_one_batch_that_is_never_cut(given, size):
    data = load(given, CPU)
    (batch,) = data.batches
    assert not batch.rows_known and batch.size == size
    assert cut(batch, 1) == (batch,) and subset(data.batches, 1, seed=0) is None and join([batch, batch]) is None
    assert batch.leaves() == []
    assert any("only used whole" in note for note in data.notes)
    with pytest.raises(DataError, match="no rows"):
        batch.rows(torch.tensor([0]))
    assert digest([batch.fresh(clone=True)]) == digest([batch])


def test_a_graph_object_is_copied_and_read_by_its_own_names():
    graph = Graph()
    (batch,) = load([graph], CPU).batches
    assert batch.inputs[0] is batch.given and torch.equal(batch.target, Y)
    graph.x.zero_()
    assert torch.equal(batch.given.x, X) and type(batch.given) is Graph
    again = batch.fresh(clone=True)
    again.given.x.zero_()
    assert torch.equal(batch.given.x, X)
    alias = batch.fresh()
    alias.given.x.requires_grad_()
    assert not batch.given.x.requires_grad and alias.given.x.data_ptr() == batch.given.x.data_ptr()


def test_detection_batches_are_lists_with_one_item_per_example():
    images = [torch.randn(3, 4 + k, 4, generator=GENERATOR) for k in range(5)]
    boxes = [{"boxes": torch.rand(k + 1, 4), "labels": torch.ones(k + 1, dtype=torch.long)} for k in range(5)]
    for targets in (boxes, tuple(boxes)):
        (batch,) = load([(images, targets)], CPU).batches
        assert batch.rows_known and batch.size == 5 and not batch.stacked
        part = batch.rows(torch.tensor([1, 3]))
        assert torch.equal(part.inputs[0][1], images[3]) and torch.equal(part.target[0]["boxes"], boxes[1]["boxes"])
        assert digest([join(cut(batch, 2))]) == digest([batch])
    (batch,) = load([(images[:3], [torch.tensor(1)] * 3)], CPU).batches
    assert batch.size == 3 and len(cut(batch, 1)[0].inputs[0]) == 1, "three images of three channels are three examples"
    (batch,) = load([(images, [torch.tensor(1)] * 5)], CPU).batches
    assert batch.size == 5
    (batch,) = load([{"pixels": torch.zeros(5, 3, 4, 4), "labels": boxes}], CPU).batches
    assert batch.size == 5 and len(batch.rows(torch.tensor([2])).target) == 1


def test_several_targets_are_cut_with_the_inputs():
    (batch,) = load(({"a": X, "b": [X, Z]}, {"class": Y, "value": Z}), CPU).batches
    part = cut(batch, 5)[1]
    assert torch.equal(part.inputs[0]["b"][1], Z[5:10]) and torch.equal(part.target["value"], Z[5:10])
    assert torch.equal(part.target["class"], Y[5:10]) and part.size == 5


def test_a_cut_is_a_view_and_rows_are_a_copy():
    (batch,) = load((X, Y), CPU).batches
    first, second = cut(batch, 12)
    assert second.inputs[0].data_ptr() == batch.inputs[0][12:].data_ptr()
    assert first.rows(torch.arange(12)).inputs[0].data_ptr() != batch.inputs[0].data_ptr()


def test_a_remainder_is_cut_by_the_plan_of_the_whole():
    given = (X, [0.1, 0.2, 0.3], torch.zeros(N, 3), Y)
    (batch,) = load(given, CPU).batches
    last = cut(batch, 7)[-1]
    assert last.size == 3 and last.inputs[1] == [0.1, 0.2, 0.3]
    assert cut(last, 2)[0].inputs[1] == [0.1, 0.2, 0.3], "three numbers for all, though there are three examples now"


def test_batches_of_other_shapes_or_constants_are_not_joined():
    def batch(x, scale=1.0):
        return load([(x, scale, Y[: len(x)])], CPU).batches[0]

    assert join([batch(X[:3]), batch(X[:5])]).size == 8
    assert join([batch(X[:3]), batch(X[:5], 2.0)]) is None
    assert join([batch(X[:3]), batch(X[:5, :2])]) is None
    assert join([batch(X[:3]), batch(X[:5].double())]) is None
    assert len(subset([batch(X[:12]), batch(X[:12, :2])], 12, seed=0)) == 2
    tensors = [load([(X[:3], torch.tensor(v), Y[:3])], CPU).batches[0] for v in (1.0, 1.0, 2.0)]
    assert join(tensors[:2]) is not None and join(tensors) is None


def test_leaves_are_replaced_in_their_order():
    (batch,) = load(({"a": X, "n": 3}, Y), CPU).batches
    a, y = batch.leaves()
    assert a is batch.inputs[0]["a"] and y is batch.target and batch.stacked
    twice = batch.rebuilt([torch.cat([a, a]), torch.cat([y, y])])
    assert twice.size == 2 * N and twice.inputs[0]["n"] == 3 and torch.equal(twice.target, torch.cat([Y, Y]))
    (batch,) = load((X, ["t"] * N, Y), CPU).batches
    assert not batch.stacked
    with pytest.raises(DataError):
        batch.rebuilt(batch.leaves())


def test_fresh_batches_may_be_written_into():
    (batch,) = load({"x": X, "labels": Y}, CPU).batches
    before = digest([batch])
    alias, copied = batch.fresh(), batch.fresh(clone=True)
    alias.given.pop("labels")
    alias.given["x"].requires_grad_()
    copied.given["x"].zero_()
    assert digest([batch]) == before and not batch.keywords["x"].requires_grad
    assert alias.given["x"].data_ptr() == batch.given["x"].data_ptr()


def test_copies_are_private_and_shared_tensors_are_copied_once():
    x, y = X.clone(), X.numpy().copy()
    (batch,) = load({"a": x, "b": x, "y": y}, CPU).batches
    assert batch.keywords["a"] is batch.keywords["b"]
    x.zero_(), y.fill(0)
    assert torch.equal(batch.keywords["a"], X) and torch.equal(batch.target, X)
    batches = load([(x, Y)], CPU).batches
    x.fill_(1.0)
    assert float(batches[0].inputs[0].sum()) == 0
    grad = (X.clone().requires_grad_() * 2, Y)
    assert not load(grad, CPU).batches[0].inputs[0].requires_grad


@pytest.mark.slow
def test_hugging_face_encodings_keep_their_type():
    encoding = pytest.importorskip("transformers").BatchEncoding
    (batch,) = load(encoding({"input_ids": Y[:, None], "attention_mask": torch.ones(N, 1), "labels": Y}), CPU).batches
    part = cut(batch, 5)[0]
    assert type(part.given) is encoding and part.given.input_ids.shape == (5, 1) and part.target.shape == (5,)
    assert set(part.keywords) == {"input_ids", "attention_mask"}


FIELDS = {
    "tuple": ((X, Z, Y), (X, Z), {}, Y),
    "dictionary": ({"x": X, "labels": Y}, (), {"x": X}, Y),
    "labels before y": ({"y": X, "labels": Y}, (), {"y": X}, Y),
    "no target": ({"x": X}, (), {"x": X}, None),
    "one tensor": (X, (X,), {}, None),
    "tuple of one": ((X,), (X,), {}, None),
    "named tuple": (Label(Y, X), (X,), {}, Y),
}


@pytest.mark.parametrize(("given", "inputs", "keywords", "target"), FIELDS.values(), ids=FIELDS.keys())
def test_how_an_ordinary_model_and_loss_read_a_batch(given, inputs, keywords, target):
    batch = Batch.of(given)
    assert all(map(torch.equal, batch.inputs, inputs)) and len(batch.inputs) == len(inputs)
    assert batch.keywords.keys() == keywords.keys()
    assert batch.target is target


def broken(k):
    if k == 3:
        raise KeyError("label")
    return X[k], Y[k]


def failing_stream():
    yield X[0], Y[0]
    raise OSError("disk full")


class Lengthless(Dataset):
    def __getitem__(self, k):
        return X[k], Y[k]


REFUSED = {
    "unequal lengths": (lambda: (X, Y[:-1]), "different numbers of examples.*24.*23"),
    "unequal lengths in a dictionary": (lambda: {"x": X, "y": Y[:-1]}, "'x': 24, 'y': 23"),
    "unequal lengths in a batch": (lambda: [(X, Y), (X, Y[:-1])], "item 1 of the list"),
    "edges that point nowhere": (lambda: (X, torch.full((2, 5), N), Y[:-1]), "different numbers"),
    "no examples": (lambda: (X[:0], Y[:0]), "0 examples"),
    "empty list": (lambda: [], "no examples"),
    "empty dataset": (lambda: Items(broken, 0), "no examples"),
    "empty loader": (lambda: DataLoader(Items(broken, 0)), "no examples"),
    "exhausted generator": (lambda: iter([]), "read only once"),
    "nothing": (lambda: None, "NoneType.*expected"),
    "a number": (lambda: 5, "expected"),
    "a path": (lambda: "data.pt", "Load the file"),
    "a function": (lambda: broken, "Call it"),
    "a class": (lambda: Stream, "Make one"),
    "a module": (lambda: nn.Linear(4, 3), "order"),
    "a dictionary of loaders": (lambda: {"train": DataLoader(TensorDataset(X))}, r"data\['train'\]"),
    "a list of loaders": (lambda: [DataLoader(TensorDataset(X, Y))] * 2, "no tensors"),
    "a list of texts": (lambda: ["a", "b"], "no tensors"),
    "masked array": (lambda: (np.ma.masked_array(X.numpy(), X.numpy() > 0), Y), "masked"),
    "one sample or one batch": (lambda: [(X, torch.tensor(1))], r"x\[None\]"),
    "two batches or one": (lambda: ((X, Z), (Z, X)), r"\[\(inputs, targets\)\]"),
    "ragged samples": (lambda: Items(lambda k: (X[k, : 1 + k % 4], Y[k])), r"item 1 of.*\(2,\).*collate_fn"),
    "ragged late": (lambda: Items(lambda k: (torch.zeros(4 if k < 1500 else 5), k), 2000), r"item 1500 of.*\(5,\)"),
    "ragged list of samples": (lambda: [(X[k, : 1 + k % 4], 1) for k in range(4)], r"item 0.*\(1,\).*item 1.*\(2,\)"),
    "ragged lists": (lambda: Items(lambda k: {"x": [1] * (k + 1), "label": 0}), "item 1 of.*collate_fn"),
    "a key that is missing": (lambda: Items(lambda k: {"x": X[k]} if k else {"x": X[k], "y": 1}), "item 1 of"),
    "ragged loader": (
        lambda: DataLoader(Items(lambda k: (X[k, : 1 + k % 4], Y[k])), batch_size=3),
        "batch 0.*collate_fn",
    ),
    "item that raises": (lambda: Items(broken), "item 3 of the Items.*KeyError.*label"),
    "loader that raises": (lambda: DataLoader(Items(broken), batch_size=2), "batch 1 of the DataLoader.*KeyError"),
    "iterator that raises": (lambda: failing_stream(), "item 1 of the generator.*OSError.*disk full"),
    "no length": (lambda: Lengthless(), "examples=10000"),
    "endless": (lambda: itertools.cycle([(X, Y)]), "examples="),
    "iterable dataset of batches": (Batches, "batch_size=None"),
    "empty dictionary": (dict, "empty"),
    "repeated": (lambda: itertools.repeat((X, Y)), "examples="),
}


@pytest.mark.parametrize(("given", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals_are_one_paragraph(given, words):
    with pytest.raises(DataError, match=f"(?s){words}") as refusal:
        load(given(), CPU)
    assert "\n" not in str(refusal.value) and "expected" in str(refusal.value).lower()


class OwnError(Exception):
    pass


@pytest.mark.parametrize(
    "error", [KeyError("k"), OwnError("mine"), AssertionError(), ZeroDivisionError("0"), RuntimeError("r")]
)
def test_an_exception_of_the_user_arrives_with_its_cause(error):
    def item(k):
        if k == 5:
            raise error
        return X[k], Y[k]

    for data, number in ((Items(item), "item 5"), (DataLoader(Items(item), batch_size=2), "batch 2")):
        with pytest.raises(DataError, match=number) as refusal:
            load(data, CPU)
        assert refusal.value.__cause__ is error and error.__traceback__ is not None
        assert type(error).__name__ in str(refusal.value)


@pytest.mark.parametrize("name", ["batch_size", "examples"])
def test_numpy_integers_are_integers_and_other_numbers_are_refused(name):
    assert load((X, Y), CPU, **{name: np.int64(5)}).batches[0].size == (5 if name == "examples" else N)
    for value in (0, -1, True, 2.5, float("nan"), "4"):
        with pytest.raises(InputError, match=f"{name}.*whole number"):
            load((X, Y), CPU, **{name: value})


def endless(size):
    while True:
        yield X[:size], Y[:size]


class EndlessStream(IterableDataset):
    def __iter__(self):
        return ((X[k % N], Y[k % N]) for k in itertools.count())


LIMITED = {
    "tensors": (lambda: (X, Y), [17]),
    "dataset": (lambda: Items(lambda k: (X[k], Y[k])), [17]),
    "dataset without a length": (Lengthless, [17]),
    "endless generator": (lambda: endless(10), [10, 7]),
    "endless iterable dataset": (EndlessStream, [17]),
    "loader of it": (lambda: DataLoader(EndlessStream(), batch_size=10), [10, 7]),
    "batches": (lambda: list(zip(X.split(10), Y.split(10), strict=True)), [10, 7]),
    "samples": (lambda: [(X[k], Y[k]) for k in range(N)], [17]),
    "generator of samples": (lambda: ((X[k], Y[k]) for k in range(N)), [17]),
    "cycle": (lambda: itertools.cycle([(X[:10], Y[:10])]), [10, 7]),
}


@pytest.mark.parametrize(("given", "sizes"), LIMITED.values(), ids=LIMITED.keys())
def test_at_most_so_many_examples_are_read(given, sizes):
    data = load(given(), CPU, examples=17)
    assert [batch.size for batch in data.batches] == sizes
    assert torch.equal(pair(data.batches[0])[0], X[: sizes[0]])
    assert load(given(), CPU, examples=3).size == 3


def test_an_iterable_without_end_stops_by_itself(monkeypatch):
    monkeypatch.setattr("lossatlas.surface.network._read.MOST_EXAMPLES", 1000)
    for data in (endless(10), EndlessStream(), DataLoader(EndlessStream(), batch_size=10)):
        with pytest.raises(DataError, match="examples=10000"):
            load(data, CPU)


def test_an_iterable_gives_no_more_items_than_its_length():
    class Epoch:
        def __len__(self):
            return 2

        def __iter__(self):
            return endless(10)

    assert [batch.size for batch in load(Epoch(), CPU).batches] == [10, 10]


def test_a_batch_without_rows_is_not_cut_to_a_number_of_examples():
    with pytest.raises(DataError, match="examples=24"):
        load([((X, EDGES), Y)], CPU, examples=5)


def test_notes_say_what_is_left_out():
    data = load([(X, Y), (X[:0], Y[:0])], CPU)
    assert len(data.batches) == 1 and "empty" in data.notes[0]
    data = load(DataLoader(TensorDataset(X, Y), batch_size=10, drop_last=True), CPU)
    assert data.size == 20 and "4 of 24" in data.notes[0]
    assert "not used" in load(DataLoader(TensorDataset(X, Y), batch_size=10), CPU, batch_size=5).notes[0]


def test_a_dataset_of_graphs_gives_a_batch_for_each():
    data = load(Items(lambda k: Graph(X[: k + 2], EDGES % (k + 2), Y[: k + 2]), 3), CPU)
    assert [batch.size for batch in data.batches] == [2, 3, 4] and not data.whole


COLLATED = {
    "tensors and integers": lambda k: (X[k], int(Y[k])),
    "floats and bools": lambda k: (X[k], 0.5 * k, k % 2 == 0),
    "NumPy numbers": lambda k: (np.float32(k), np.int16(k), X[k].numpy()),
    "nested": lambda k: {"a": (X[k], {"b": k}), "y": Y[k]},
    "integers that become floats": lambda k: (X[k], 0 if k == 0 else 0.5),
}


@pytest.mark.parametrize("item", COLLATED.values(), ids=COLLATED.keys())
def test_samples_are_stacked_as_a_loader_stacks_them(item):
    ours = list(_nested.tensors(load(Items(item), CPU).batches[0].given))
    theirs = list(_nested.tensors(next(iter(DataLoader(Items(item), batch_size=N)))))
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_types_are_one_for_all_samples_however_many_there_are():
    (batch,) = load(Items(lambda k: (torch.zeros(1), 0 if k < 1500 else 0.5), 2000), CPU).batches
    assert batch.target.is_floating_point() and float(batch.target.sum()) == 250


class Noisy(Dataset):
    """Augments by a generator of its choice."""

    def __init__(self, draw):
        self.draw = draw

    def __len__(self):
        return N

    def __getitem__(self, k):
        return X[k] + self.draw(), Y[k]


class Own(Dataset):
    def __init__(self, generator):
        self.generator = generator

    def __len__(self):
        return N

    def __getitem__(self, k):
        noise = (
            torch.rand((), generator=self.generator)
            if isinstance(self.generator, torch.Generator)
            else self.generator.random()
        )
        return X[k] + float(noise), Y[k]


def shuffled(**settings):
    return DataLoader(TensorDataset(X, Y), batch_size=10, shuffle=True, **settings)


RANDOM = {
    "shuffle": shuffled,
    "shuffle with a generator": lambda: shuffled(generator=torch.Generator().manual_seed(5)),
    "random sampler": lambda: DataLoader(
        TensorDataset(X, Y), batch_size=10, sampler=RandomSampler(X, generator=torch.Generator().manual_seed(3))
    ),
    "noise of torch": lambda: Noisy(lambda: torch.rand(())),
    "noise of NumPy": lambda: Noisy(lambda: np.random.rand()),  # noqa: NPY002
    "noise of random": lambda: Noisy(random.random),
    "loader of noise": lambda: DataLoader(Noisy(random.random), batch_size=10),
    "own generator of torch": lambda: Own(torch.Generator().manual_seed(2)),
    "own generator of NumPy": lambda: Own(np.random.default_rng(2)),
    "own state of NumPy": lambda: Own(np.random.RandomState(2)),
    "own generator of random": lambda: Subset(Own(random.Random(2)), range(N)),
}


def states():
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()  # noqa: NPY002


@pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM.keys())
def test_random_data_are_one_draw_that_the_notes_name(make):
    digests = []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)  # noqa: NPY002
        before, source = states(), make()
        data = load(source, CPU)
        assert states() == before
        assert len(data.notes) == 1 and "shuffle" in data.notes[0] and data.size == N
        # The second reading of one and the same loader gives the same, however far its generators were moved.
        list(source) if isinstance(source, DataLoader) else source[0]
        digests += [digest(data.batches), digest(load(source, CPU).batches)]
    assert len(set(digests)) == 1


@pytest.mark.parametrize(
    "generator",
    [torch.Generator().manual_seed(1), np.random.default_rng(1), np.random.RandomState(1), random.Random(1)],
    ids=["torch", "NumPy", "NumPy of old", "random"],
)
def test_generators_of_loader_and_dataset_are_as_they_were(generator):
    def state():
        if isinstance(generator, torch.Generator):
            return generator.get_state().tolist()
        if isinstance(generator, np.random.Generator):
            return str(generator.bit_generator.state)
        return str(generator.get_state()) if isinstance(generator, np.random.RandomState) else generator.getstate()

    before = state()
    load(Own(generator), CPU)
    load(DataLoader(Own(generator), batch_size=5, shuffle=True), CPU)
    if isinstance(generator, torch.Generator):
        load(shuffled(generator=generator), CPU)
    assert state() == before


def test_random_states_are_given_back_after_an_interruption():
    def item(k):
        random.random(), torch.rand(1), generator.random()
        if k == 2:
            raise KeyboardInterrupt
        return X[k], Y[k]

    generator = np.random.default_rng(0)
    source = Items(item)
    source.generator = generator
    before, own = states(), str(generator.bit_generator.state)
    with pytest.raises(KeyboardInterrupt):
        load(source, CPU)
    assert states() == before and str(generator.bit_generator.state) == own


class Hidden(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, k):
        return X[k] + np.random.default_rng().random(), Y[k]


class Epochs:
    """A sampler with an order of its own in each epoch."""

    def __init__(self):
        self.epoch = 0

    def __iter__(self):
        self.epoch += 1
        return iter(np.random.default_rng(self.epoch).permutation(N).tolist())

    def __len__(self):
        return N


@pytest.mark.parametrize(
    "make",
    [
        Hidden,
        lambda: DataLoader(Hidden(), batch_size=4),
        lambda: DataLoader(TensorDataset(X, Y), sampler=Epochs(), batch_size=4),
    ],
    ids=["dataset", "loader", "sampler"],
)
def test_data_that_move_under_one_seed_are_refused(make):
    with pytest.raises(DataError, match="shuffle=False"):
        load(make(), CPU)


def test_what_can_be_read_once_is_read_once():
    begun = []

    class Shared:
        def __init__(self):
            self.items = iter([(X, Y), (X, Y)])

        def __iter__(self):
            begun.append(1)
            return self.items

    assert len(load(Shared(), CPU).batches) == 2
    generator = ((X[k : k + 4], Y[k : k + 4]) for k in range(0, N, 4))
    assert len(load(generator, CPU).batches) == 6
    assert next(generator, None) is None


@pytest.mark.slow
def test_loaders_with_workers_are_read_beside_the_users_own():
    loader = DataLoader(Noisy(random.random), batch_size=10, num_workers=1, persistent_workers=True)
    theirs = iter(loader)
    first = next(theirs)
    one, two = (load(loader, CPU) for _ in range(2))
    assert digest(one.batches) == digest(two.batches) and "random" in one.notes[0]
    assert loader._iterator is theirs
    rest = list(theirs)
    assert len(first[0]) == 10 and [len(x) for x, _ in rest] == [10, 4]
    loader._iterator._shutdown_workers()

    raising = DataLoader(Items(broken), batch_size=2, num_workers=1)
    with pytest.raises(DataError, match=r"batch 1.*KeyError"):
        load(raising, CPU)


DIFFERENT = {
    "a value": ((X, Y), (X + 1e-6, Y)),
    "a type": ((X, Y), (X.double(), Y)),
    "a shape": ((X, Y), (X.reshape(N, 2, 2), Y)),
    "order": ((X, Y), (X.flip(0), Y.flip(0))),
    "deep inside": ((X, {"a": {"y": Y}, "b": Z}), (X, {"a": {"y": Y}, "b": Z + 1})),
    "a key": ({"x": X, "y": Y}, {"z": X, "y": Y}),
    "order of keys": ({"a": X, "b": X * 2, "y": Y}, {"b": X, "a": X * 2, "y": Y}),
    "a number": ((X, 0.5, Y), (X, 0.25, Y)),
    "a number's type": ((X, 1, Y), (X, 1.0, Y)),
    "texts": ((X, ["a"] * N, Y), (X, ["a"] * (N - 1) + ["b"], Y)),
    "array of texts": ((X, np.array(["a"] * N), Y), (X, np.array(["a"] * (N - 1) + ["b"]), Y)),
    "a field": (Example(X, Y), Example(X, Y, "other")),
    "a graph's edges": ([Graph()], [Graph(edges=EDGES.flip(1))]),
    "a sparse value": ((X.to_sparse_coo(), Y), ((2 * X).to_sparse_coo(), Y)),
    "rows of a sparse matrix": ((CSR[0], Y), (CSR[1], Y)),
    "a list and a tuple": (([X, Z], Y), ((X, Z), Y)),
    "how batches are cut": ([(X, Y)], [(X[:12], Y[:12]), (X[12:], Y[12:])]),
    "none": ((X, None, Y), (X, "None", Y)),
}


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_digests_tell_data_apart_and_know_them_again(one, other):
    assert digest(load(one, CPU).batches) == digest(load(one, CPU).batches)
    assert digest(load(one, CPU).batches) != digest(load(other, CPU).batches)


def test_objects_of_other_addresses_have_one_digest():
    def given():
        return (X, SimpleNamespace(rate=0.5), broken, Y)

    assert digest(load(given(), CPU).batches) == digest(load(given(), CPU).batches)


def test_shapes_for_messages_are_nested():
    assert describe(Batch.of((X, Y))) == "input (24, 4), target (24,)"
    assert describe(Batch.of(((X, EDGES), Y))) == "input ((24, 4), (2, 50)), target (24,)"
    assert describe(Batch.of({"x": X, "labels": {"a": Y}})) == "x (24, 4), target {a (24,)}"


def test_random_states_are_given_back_as_they_were():
    for start in (lambda: np.random.seed(3), lambda: (np.random.seed(3), np.random.randn())):  # noqa: NPY002
        start()
        before = states()
        for _ in range(3):
            with untouched_randomness():
                torch.rand(3), np.random.randn(1), random.random()  # noqa: NPY002
            assert states() == before
        with pytest.raises(ZeroDivisionError), untouched_randomness():
            np.random.rand(2)  # noqa: NPY002
            raise ZeroDivisionError
        assert states() == before
        with untouched_randomness():
            pass
        assert states() == before


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 1)

    def forward(self, given):
        return self.l(given["x"] if isinstance(given, dict) else given[0])


@pytest.mark.parametrize(
    "given", [Items(lambda k: ({"x": X[k]}, Z[k])), [((X,), Z)], ((X,), Z)], ids=["dict", "list", "tuple"]
)
def test_nested_inputs_meet_their_own_targets_at_any_batch_size(given):
    torch.manual_seed(0)
    model = Nested()
    right = F.mse_loss(model({"x": X}), Z).item()
    for size in (None, 1, 5):
        assert la.NetworkSurface(model, "mse", given, batch_size=size).loss_at_theta == pytest.approx(right, rel=1e-6)


def test_the_same_command_gives_the_same_surface_of_a_loader_that_shuffles():
    torch.manual_seed(0)
    model, found = nn.Linear(4, 3), []
    for _ in range(2):
        torch.rand(1)
        surface = la.NetworkSurface(model, "cross_entropy", shuffled())
        found.append((surface.fingerprint()["data"], surface.loss_at_theta))
    assert found[0] == found[1]


def test_large_tensors_are_held_once():
    x = torch.zeros(1000, 1000)
    (batch,) = load((x, torch.zeros(1000)), CPU).batches
    assert sum(part.inputs[0].untyped_storage().nbytes() for part in cut(batch, 100)[:1]) == x.numel() * 4
    assert isinstance(batch.inputs[0], Tensor)


def test_a_dataset_that_writes_every_sample_into_the_same_tensor_is_read_as_it_gives_them():
    rows, labels, one = torch.arange(12.0).reshape(6, 2), torch.arange(6), torch.zeros(2)

    class Reused(Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, k):
            one.copy_(rows[k])
            return one, labels[k]

    class Streamed(IterableDataset):
        def __iter__(self):
            return (Reused()[k] for k in range(6))

    for data in (Reused(), Streamed()):
        (batch,) = load(data, CPU).batches
        assert torch.equal(batch.inputs[0], rows) and torch.equal(batch.target, labels)


@pytest.mark.parametrize(
    ("found", "advice"),
    [(lambda x: None, "with a return"), (float, "Leave out .item()"), (lambda x: {"loss": x}, "the loss alone")],
)
def test_what_a_loss_returns_instead_of_a_tensor_is_said_with_what_to_do(found, advice):
    data = torch.zeros(6, 2), torch.zeros(6, 1)
    with pytest.raises(la.LossError, match=re.escape(advice)):
        la.NetworkSurface(nn.Linear(2, 1), lambda o, t: found(F.mse_loss(o, t).detach()), data)


@pytest.mark.parametrize("inputs", [tuple, list, lambda pair: dict(zip("xz", pair, strict=True))])
def test_a_model_of_two_inputs_is_told_how_to_get_them(inputs):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(4, 2)

        def forward(self, x, z):
            return self.a(x) + self.b(z)

    x, z, y = torch.randn(5, 3), torch.randn(5, 4), torch.arange(5) % 2
    model = Two()
    with pytest.raises(la.DataError, match=r"data=\(x, z, target\) for two, or objective=f"):
        la.NetworkSurface(model, "cross_entropy", (inputs((x, z)), y))
    expected = nn.functional.cross_entropy(model(x, z), y).item()
    assert la.NetworkSurface(model, "cross_entropy", (x, z, y)).loss_at_theta == pytest.approx(expected, rel=1e-6)
