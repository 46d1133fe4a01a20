"""Graphs and nested inputs: data of which not every tensor has one row per example."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ._kind import Kind, kind, noise, objective_kind, seeded, whole_numbers

NODES, LABELS = noise(24, 4), whole_numbers(3, 24)
EDGES = torch.stack([whole_numbers(24, 60, seed=2), whole_numbers(24, 60, seed=3)])
ADJACENCY = torch.eye(24, dtype=torch.float64).index_put((EDGES[0], EDGES[1]), torch.ones(1, dtype=torch.float64))


class Dense(nn.Module):
    """A graph convolution whose adjacency is a buffer, so that only all nodes together can be run."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)
        self.register_buffer("adjacency", ADJACENCY / ADJACENCY.sum(1, keepdim=True))

    def forward(self, x):
        return self.adjacency @ self.b(torch.tanh(self.adjacency @ self.a(x)))


class Messages(nn.Module):
    """Sums over edges; 60 edges and 24 nodes."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x, edges):
        hidden = self.a(x)
        return self.b(torch.tanh(hidden.index_add(0, edges[1], hidden[edges[0]])))


class PairMessages(Messages):
    def forward(self, pair):
        return super().forward(*pair)


class Sparse(Messages):
    def forward(self, x, adjacency):
        return self.b(torch.tanh(torch.sparse.mm(adjacency, self.a(x))))


class Graph:
    """As PyTorch Geometric's Data: attributes, no rows, no length that means examples."""

    def __init__(self, x, edge_index, y, train_mask):
        self.x, self.edge_index, self.y, self.train_mask = x, edge_index, y, train_mask

    def to(self, *args, **more):
        moved = {key: value.to(*args, **more) for key, value in vars(self).items()}
        return Graph(**moved)


class OnGraph(Messages):
    def forward(self, graph):
        return super().forward(graph.x, graph.edge_index)


def on_graph(model, graph):
    kept = graph.train_mask
    return F.cross_entropy(model(graph)[kept], graph.y[kept]), int(kept.sum())


@dataclass
class Scene:
    points: torch.Tensor
    context: torch.Tensor


class OnScene(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, scene):
        return self.a(scene.points) + self.b(scene.context)


class OnDict(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, d):
        return {"y": self.a(d["x"]) + self.b(d["more"]["z"]), "kept": d["x"]}


class OneLine(nn.Module):
    """Takes one dictionary and returns one column, as in faults.md 1.7."""

    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 1)

    def forward(self, d):
        return self.l(d["x"])


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 3)

    def forward(self, pair):
        return self.l(pair[0])


class Columns(torch.utils.data.Dataset):
    def __init__(self, *rows):
        self.rows = rows

    def __len__(self):
        return 24

    def __getitem__(self, i):
        return {"x": NODES[i]}, COLUMN[i]


class Rows(torch.utils.data.IterableDataset):
    """Has no length."""

    def __iter__(self):
        return iter(zip(NODES, LABELS, strict=True))


def nested(output, target):
    return F.cross_entropy(output["y"], target["a"]) + F.l1_loss(output["y"], target["deep"]["b"])


def graphs():
    for number, nodes in enumerate((7, 12, 5)):
        edges = whole_numbers(nodes, 2, 3 * nodes, seed=number)
        mask = torch.arange(nodes) % 3 != 0
        yield Graph(noise(nodes, 4, seed=number), edges, whole_numbers(3, nodes, seed=number), mask)


class Pooled(OnGraph):
    def forward(self, graph):
        return super().forward(graph).mean(0, keepdim=True)


COLUMN = noise(24, 1, seed=4)
NAMED = [
    {"x": NODES[r], "y": LABELS[r], "mask": None, "name": "part", "scale": 2.0, "kept": (r.stop - r.start,)}
    for r in (slice(0, 9), slice(9, 24))
]


def named(model, batch):
    assert batch["mask"] is None and batch["name"] == "part"
    return F.cross_entropy(batch["scale"] * model(batch["x"]), batch["y"]), batch["kept"][0]


GRAPH = Graph(NODES, EDGES, LABELS, torch.arange(24) % 2 == 0)
GRAPHS = list(graphs())
NEST = {"x": NODES, "more": {"z": noise(24, 2, seed=5)}}
TARGETS = {"a": LABELS, "deep": {"b": noise(24, 3, seed=6)}}
NO_ROWS = ("cheap subset", "cuts")


def over_graphs(model):
    pairs = [on_graph(model, graph) for graph in GRAPHS]
    return sum(loss * weight for loss, weight in pairs) / sum(weight for _, weight in pairs)


def message_passing(name, make, inputs, data, **rest):
    return Kind(
        name,
        make,
        lambda model: {"loss": "cross_entropy", "data": data},
        lambda model: F.cross_entropy(model(*inputs), LABELS),
        breaks=NO_ROWS,
        **rest,
    )


SPARSE = ADJACENCY.to_sparse_coo().coalesce()

KINDS = [
    kind("graph whose adjacency is a buffer", seeded(Dense), "cross_entropy", (NODES, LABELS), split=False),
    message_passing("nodes, edges, labels", seeded(Messages), (NODES, EDGES), (NODES, EDGES, LABELS)),
    message_passing(
        "a pair of nodes and edges, in a list of one batch",
        seeded(PairMessages),
        ((NODES, EDGES),),
        [((NODES, EDGES), LABELS)],
    ),
    message_passing("sparse adjacency", seeded(Sparse), (NODES, SPARSE), [(NODES, SPARSE, LABELS)]),
    Kind(
        "graph object as an objective",
        seeded(OnGraph),
        lambda model: {"objective": on_graph, "data": [GRAPH]},
        lambda model: on_graph(model, GRAPH)[0],
        breaks=NO_ROWS,
    ),
    Kind(
        "graphs of several sizes, weighted by their kept nodes",
        seeded(OnGraph),
        lambda model: {"objective": on_graph, "data": GRAPHS},
        over_graphs,
        breaks=NO_ROWS,
    ),
    Kind(
        "graph object with a loss",
        seeded(OnGraph),
        lambda model: {"loss": "cross_entropy", "data": [(GRAPH, LABELS)]},
        lambda model: F.cross_entropy(model(GRAPH), LABELS),
        breaks=NO_ROWS,
    ),
    Kind(
        "dataclass as input",
        seeded(OnScene),
        lambda model: {"loss": "cross_entropy", "data": [(Scene(NODES, noise(24, 2, seed=7)), LABELS)]},
        lambda model: F.cross_entropy(model(Scene(NODES, noise(24, 2, seed=7))), LABELS),
    ),
    kind("dictionary of dictionaries, nested targets", seeded(OnDict), nested, (NEST, TARGETS)),
    kind(
        "dictionary of dictionaries in batches",
        seeded(OnDict),
        nested,
        (NEST, TARGETS),
        settings={"batch_size": 7},
        breaks=("cuts",),
    ),
    *[
        Kind(
            f"dataset of dictionaries, batch_size={size}",
            seeded(OneLine),
            lambda model, size=size: {"loss": "mse", "data": Columns(), "batch_size": size},
            lambda model: F.mse_loss(model({"x": NODES}), COLUMN),
        )
        for size in (None, 1, 7)
    ],
    Kind(
        "tuple of one tensor as input",
        seeded(Wrapped),
        lambda model: {"loss": "cross_entropy", "data": [((NODES,), LABELS)]},
        lambda model: F.cross_entropy(model((NODES,)), LABELS),
    ),
    Kind(
        "list of samples",
        seeded(lambda: nn.Linear(4, 3)),
        lambda model: {"loss": "cross_entropy", "data": [(NODES[i], LABELS[i]) for i in range(24)]},
        lambda model: F.cross_entropy(model(NODES), LABELS),
    ),
    Kind(
        "dataset without a length",
        seeded(lambda: nn.Linear(4, 3)),
        lambda model: {"loss": "cross_entropy", "data": Rows()},
        lambda model: F.cross_entropy(model(NODES), LABELS),
    ),
    Kind(
        "loader whose last batch is smaller",
        seeded(lambda: nn.Linear(4, 3)),
        lambda model: {
            "loss": "cross_entropy",
            "data": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(NODES, LABELS), batch_size=10),
        },
        lambda model: F.cross_entropy(model(NODES), LABELS),
    ),
    Kind(
        "list of unequal batches",
        seeded(lambda: nn.Linear(4, 3)),
        lambda model: {
            "loss": "cross_entropy",
            "data": [(NODES[:2], LABELS[:2]), (NODES[2:23], LABELS[2:23]), (NODES[23:], LABELS[23:])],
        },
        lambda model: F.cross_entropy(model(NODES), LABELS),
    ),
    objective_kind(
        "objective of batches with their own weights",
        seeded(lambda: nn.Linear(4, 3)),
        lambda model, batch: (F.cross_entropy(model(batch[0]), batch[1]), batch[2].sum()),
        [(NODES[r], LABELS[r], noise(24, seed=8).abs()[r]) for r in (slice(0, 5), slice(5, 24))],
    ),
    objective_kind("batches with None, names and numbers", seeded(lambda: nn.Linear(4, 3)), named, NAMED),
    Kind(
        "arrays of NumPy",
        seeded(lambda: nn.Linear(4, 3)),
        lambda model: {"loss": "cross_entropy", "data": (NODES.numpy()[::-1], LABELS.numpy()[::-1])},
        lambda model: F.cross_entropy(model(NODES.flip(0)), LABELS.flip(0)),
    ),
]
