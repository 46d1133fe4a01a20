"""One valid call of every public callable, as small as it gets; what is odd is put in the place of its arguments.

Functions and classes are found in `lossatlas.__all__` and its public rooms, methods on what the calls return. Whoever adds one
adds its call to `CALLS` or `METHODS`, or says in `LEFT_OUT` why it has none.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import odd_values as odd
import torch

import lossatlas as la

Arguments = dict[str, Any]


class World:
    """What the calls are about: made once, and never changed by any call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.instances: dict[str, Any] = {}

    @cached_property
    def well(self) -> Any:
        return la.landscapes.four_wells()

    @cached_property
    def model(self) -> Any:
        return odd.mlp()

    @cached_property
    def network(self) -> Any:
        return la.NetworkSurface(self.model, "cross_entropy", (odd.X, odd.Y))

    @cached_property
    def double(self) -> Any:
        return la.NetworkSurface(odd.mlp(double=True), "cross_entropy", (odd.X.double(), odd.Y))

    @cached_property
    def ends(self) -> tuple[Any, Any]:
        return odd.mlp(2), odd.mlp(3)

    @cached_property
    def plane(self) -> Any:
        return la.Plane.random(self.network, seed=0)

    @cached_property
    def line(self) -> Any:
        return la.Line.random(self.network, seed=0)

    @cached_property
    def chart(self) -> Any:
        return la.chart(self.network, self.plane, points=5, exact=True, progress=False)

    @cached_property
    def race(self) -> Any:
        return la.race(self.well, ["gd", "adam"], steps=4, progress=False)

    @cached_property
    def point(self) -> Any:
        return torch.zeros(2, dtype=torch.float64)

    @cached_property
    def run(self) -> Any:
        return torch.stack([self.network.theta + 0.1 * k * torch.linspace(-1, 1, 43) ** k for k in range(1, 5)])

    def instance(self, owner: str) -> Any:
        """One object of a public class, made by the valid call that returns it."""
        if owner not in self.instances:
            maker = MAKERS[owner]
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            room, _, method = maker.partition(".")
            function = public().get(maker) or getattr(
                self.instance(room) if room in ("Chart", "Volume") else getattr(la, room), method
            )
            make = CALLS.get(maker, _nothing)
            self.instances[owner] = Call(maker, function, make).run(self, make(self, folder))
        return self.instances[owner]

    def recorded(self, folder: Path) -> Path:
        model = odd.mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with la.Recorder(model, optimizer, folder / "run", every=1, quiet=True):
            for _ in range(3):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(odd.X), odd.Y).backward()
                optimizer.step()
        return folder / "run"

    def saved(self, folder: Path) -> Path:
        self.race.save(folder / "race")
        return folder / "race"

    def weights(self, folder: Path) -> Path:
        torch.save(odd.mlp(1).state_dict(), folder / "weights.pt")
        return folder / "weights.pt"

    def ledgers(self, folder: Path) -> list[Path]:
        for part in ("1/2", "2/2"):
            la.chart_part(self.network, self.plane, part, folder / part[0], points=3, progress=False)
        return [folder / "1", folder / "2"]


Q = {"progress": False}
L = torch.nn.functional.cross_entropy
# By name: the arguments of a valid call, made of the world and a folder of the call's own. "*" holds unnamed ones.
CALLS: dict[str, Callable[[World, Path], Arguments]] = {
    "advise": lambda w, f: {"surface": w.well, "budget": 60, **Q},
    "align": lambda w, f: {"surface": w.network, "a": w.ends[0], "b": w.ends[1], "restarts": 1, **Q},
    "balance": lambda w, f: {"model": torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))},
    "barriers": lambda w, f: {"paths": w.network, "ends": {"a": w.ends[0], "b": w.ends[1], "c": w.model}, "points": 5, **Q},
    "basin_map": lambda w, f: {"surface": w.well, "optimizer": "gd", "points": 4, "steps": 4, **Q},
    "chart": lambda w, f: {"surface": w.network, "plane": w.plane, "points": 5, **Q},
    "chart_part": lambda w, f: {"surface": w.network, "plane": w.plane, "part": "1/2", "ledger": f / "ledger", "points": 3, **Q},
    "citation": lambda w, f: {"result": w.race},
    "compare": lambda w, f: {"surfaces": [w.network, w.well], "seeds": 1, "points": 3, **Q},
    "compare_traces": lambda w, f: {"a": w.network, "b": w.network, "limit": 32, **Q},
    "connect": lambda w, f: {"surface": w.network, "a": w.ends[0], "b": w.ends[1], "kind": "bezier", "points": 5,
                             "tolerance": None, "steps": 3,
                             "resamples": 10, **Q},
    "copies": lambda w, f: {"surface": w.network},
    "counterfactual": lambda w, f: {"given": w.race, "racer": "gd", "runs": 2, **Q},
    "critical_point": lambda w, f: {"surface": w.well},
    "critical_points": lambda w, f: {"surface": w.well, "starts": 2, "steps": 5, **Q},
    "animate": lambda w, f: {"result": w.race, "path": f / "a.gif", "frames": 3, "dpi": 40.0},
    "fisher_diagonal": lambda w, f: {"surface": w.network, **Q},
    "noise_scale": lambda w, f: {"surface": w.network, **Q},
    "critical_sharpness": lambda w, f: {"surface": w.network},
    "curvature_along": lambda w, f: {"surface": w.network, "checkpoints": w.run[:2], "k": 1, "with_trace": False, **Q},
    "curvature_map": lambda w, f: {"surface": w.well, "plane": la.Plane.random(w.well), "points": 2, "folder": f / "map", **Q},
    "descend_both_sides": lambda w, f: {"surface": w.well, "limit": 5, "point": w.point},
    "diagonal": lambda w, f: {"surface": w.network, "limit": 32, **Q},
    "directions.between": lambda w, f: {"a": w.ends[0], "b": w.ends[1]},
    "directions.given": lambda w, f: {"direction": w.run[0]},
    "directions.pca": lambda w, f: {"iterates": w.run},
    "extremes": lambda w, f: {"surface": w.network, "k": 1, **Q},
    "fast_ensemble": lambda w, f: {"surface": w.network, "cycles": 2, "steps": 2, "batch_size": 8, **Q},
    "forecast": lambda w, f: {"surface": w.network, "plane": w.plane, "points": 5, **Q},
    "hessian": lambda w, f: {"surface": w.network},
    "landscapes.Landscape": lambda w, f: {"name": "own", "formula": w.well.formula, "bounds": [(-1, 1), (-1, 1)], "start": [0.0, 0.5]},
    "landscapes.landscape": lambda w, f: {"name": "rosenbrock"},
    "landscapes.field_indices": lambda w, f: {"dimension": 2, "samples": 100},
    "landscapes.Minimum": lambda w, f: {"name": "A", "center": (0.0, 0.0)},
    "landscapes.total": lambda w, f: {"terms": torch.ones(3, 2)},
    "lesson": lambda w, f: {"name": "A2"},
    "load": lambda w, f: {"folder": w.saved(f)},
    "load_checkpoint": lambda w, f: {"model": odd.mlp(), "path": w.weights(f)},
    "merge": lambda w, f: {"surface": w.network, "a": w.ends[0], "b": w.ends[1], "restarts": 1, **Q},
    "merge_ledgers": lambda w, f: {"folders": w.ledgers(f), "out": f / "merged"},
    "network_race": lambda w, f: {"surface": w.network, "optimizers": ["gd"], "steps": 2, "runs": 2, "batch_size": 8, "checks": 1, **Q},
    "optimizer": lambda w, f: {"name": "adam"},
    "p_saddle": lambda w, f: {"spectrum": [1.0, -1.0, 2.0], "draws": 20},
    "page": lambda w, f: {"*": (w.race,), "path": f / "page.html"},
    "per_block": lambda w, f: {"surface": w.network, "limit": 32, "eigenvalues": False, **Q},
    "policy": lambda w, f: {"surface": w.network},
    "race": lambda w, f: {"surface": w.well, "optimizers": ["gd"], "steps": 3, **Q},
    "random_copy": lambda w, f: {"surface": w.network},
    "read_li2018": lambda w, f: {"path": w.chart.export(f / "chart.h5")},
    "rescale": lambda w, f: {"model": torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)), "factors": 2.0},
    "saddle_directions": lambda w, f: {"surface": w.well},
    "scene": lambda w, f: {"*": (w.race,)},
    "sharpness": lambda w, f: {"surface": w.network, "kind": "sam", "samples": 2, "relative": 0.5, **Q},
    "sharpness_invariance": lambda w, f: {"model": torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3)),
                                          "loss": "cross_entropy", "data": (odd.X, odd.Y), "measures": ({"kind": "sam"},)},
    "similarity": lambda w, f: {"surface": w.network, "points": {"a": w.ends[0], "b": w.ends[1]}, "examples": 8},
    "spectrum": lambda w, f: {"surface": w.well, "steps": 3, **Q},
    "steps": lambda w, f: {"optimizer": "gd", "surface": w.well, "steps": 3},
    "sweep": lambda w, f: {"surface": w.well, "optimizer": "gd", "values": [0.1], "steps": 3, **Q},
    "through": lambda w, f: {"surface": w.network, "start": w.ends[0], "trained": w.ends[1], "points": 5},
    "trace": lambda w, f: {"surface": w.network, "limit": 32, **Q},
    "trajectory": lambda w, f: {"surface": w.network, "plane": w.plane, "runs": w.run, "points": 3, **Q},
    "tune": lambda w, f: {"optimizer": "gd", "surface": w.well, "trials": 2, "steps": 3, **Q},
    "Budget": lambda w, f: {"queries": 5},
    "Frame": lambda w, f: {"origin": w.point, "directions": torch.eye(2, dtype=torch.float64)},
    "Function": lambda w, f: {"function": lambda x: (x * x).sum(), "box": [(-1, 1), (-1, 1)]},
    "Gradients": lambda w, f: {"points": w.point[None]},
    "Hessian": lambda w, f: {"surface": w.network},
    "Line": lambda w, f: {"surface": w.network, "*": (w.run[0],)},
    "NetworkSurface": lambda w, f: {"model": odd.mlp(), "loss": "cross_entropy", "data": (odd.X, odd.Y)},
    "Plane": lambda w, f: {"surface": w.network, "*": (w.run[0], w.run[1])},
    "Probe": lambda w, f: {"surface": w.well},
    "Products": lambda w, f: {"points": w.point[None], "vectors": torch.ones(1, 2, dtype=torch.float64)},
    "Recorder": lambda w, f: _recorder(f),
    "Sample": lambda w, f: {"size": 4, "seeds": torch.tensor([1])},
    "StreamedSurface": lambda w, f: {"model": odd.mlp().eval(), "loss": L, "data": (odd.X, odd.Y)},
    "TorchOptimizer": lambda w, f: {"*": (torch.optim.SGD,)},
    "Values": lambda w, f: {"points": w.point[None]},
    "Plane.between": lambda w, f: {"surface": w.network, "*": (*w.ends, w.run[0])},
    "Plane.hessian": lambda w, f: {"surface": w.network},
    "Plane.of": lambda w, f: {"surface": w.network, "*": (w.run[0], w.run[1])},
    "Plane.pca": lambda w, f: {"surface": w.network, "iterates": w.run},
    "Plane.random": lambda w, f: {"surface": w.network},
    "Plane.restore": lambda w, f: {"surface": w.network, "source": _parent(w.plane.save(f / "plane"))},
    "Plane.worst": lambda w, f: {"surface": w.network, "steps": 1},
    "Plane.gradient": lambda w, f: {"surface": w.network, "second": w.run[0]},
    "Space": lambda w, f: {"surface": w.network, "*": (*w.run[:2], la.directions.random())},
    "Space.random": lambda w, f: {"surface": w.network},
    "Space.between": lambda w, f: {"surface": w.network, "*": (*w.ends, *w.run[:2])},
    "Space.hessian": lambda w, f: {"surface": w.network},
    "Space.of": lambda w, f: {"surface": w.network, "*": (*w.run[:2], torch.arange(len(w.run[0]), dtype=w.run.dtype))},
    "Space.restore": lambda w, f: {"surface": w.network, "source": _parent(la.Space.random(w.network).save(f / "space"))},
    "volume": lambda w, f: {"surface": w.network, "space": la.Space.random(w.network), "points": 2, **Q},
    "Line.between": lambda w, f: {"surface": w.network, "*": tuple(w.ends)},
    "Line.of": lambda w, f: {"surface": w.network, "*": (w.run[0],)},
    "Line.pca": lambda w, f: {"surface": w.network, "iterates": w.run},
    "Line.random": lambda w, f: {"surface": w.network},
    "Line.hessian": lambda w, f: {"surface": w.network},
    "Line.gradient": lambda w, f: {"surface": w.network},
    "Line.worst": lambda w, f: {"surface": w.network, "steps": 1},
    "Line.restore": lambda w, f: {"surface": w.network, "source": _parent(w.line.save(f / "line"))},
    "Recording.load": lambda w, f: {"folder": w.recorded(f), "model": odd.mlp()},
    "Recording.is_in": lambda w, f: {"folder": f},
    "Scene.from_json": lambda w, f: {"text": la.scene(w.race).to_json()},
    "Scene.from_bytes": lambda w, f: {"content": la.scene(w.race).to_bytes()},
    "Scene.load": lambda w, f: {"path": la.scene(w.race).save(f / "a.scene")},
    "Layout.vector": lambda w, f: {"dimension": 3},
}  # fmt: skip
# Of one instance of each class: the arguments that its methods need.
METHODS: dict[str, Callable[[World, Path], Arguments]] = {
    "NetworkSurface.gradients": lambda w, f: {"points": w.run},
    "NetworkSurface.on": lambda w, f: {"framed": w.plane},
    "NetworkSurface.products": lambda w, f: {"point": w.run[0], "vectors": w.run},
    "NetworkSurface.values": lambda w, f: {"points": w.run},
    "NetworkSurface.vector": lambda w, f: {"given": w.ends[0]},
    "NetworkSurface.with_batchnorm": lambda w, f: {"mode": None},
    "Landscape.gradients": lambda w, f: {"points": w.point[None]},
    "Landscape.on": lambda w, f: {"framed": la.Plane.random(w.well)},
    "Landscape.products": lambda w, f: {"point": w.point, "vectors": w.point[None]},
    "Landscape.values": lambda w, f: {"points": w.point[None]},
    "Landscape.vector": lambda w, f: {"given": w.point},
    "Landscape.moved": lambda w, f: {"shift": [0.1, 0.1]},
    "Function.gradients": lambda w, f: {"points": w.point[None]},
    "Function.values": lambda w, f: {"points": w.point[None]},
    "Function.vector": lambda w, f: {"given": w.point},
    "Chart.export": lambda w, f: {"path": f / "chart.csv"},
    "Chart.save": lambda w, f: {"folder": f},
    "Race.costs": lambda w, f: {"racer": "gd", "target": 0.1},
    "Race.ert": lambda w, f: {"racer": "gd", "target": 0.1},
    "Race.final": lambda w, f: {"racer": "gd"},
    "Race.interval": lambda w, f: {"racer": "gd", "well": "A"},
    "Race.last": lambda w, f: {"racer": "gd"},
    "Race.plot_rates": lambda w, f: {"well": "A"},
    "Race.rate": lambda w, f: {"racer": "gd", "well": "A"},
    "Race.save": lambda w, f: {"folder": f},
    "Race.plot": lambda w, f: {"points": 9},
    "Race.plot_relief": lambda w, f: {"points": 9},
    "Race.typical": lambda w, f: {"racer": "gd"},
    "Hessian.at": lambda w, f: {"point": w.run[0]},
    "Hessian.block": lambda w, f: {"names": "0.weight"},
    "Hessian.matmat": lambda w, f: {"other": w.run.T},
    "Hessian.matvec": lambda w, f: {"other": w.run[0]},
    "Hessian.scaled": lambda w, f: {"scaling": w.run[0]},
    "Hessian.diagonal": lambda w, f: {"limit": 32, **Q},
    "Hessian.trace": lambda w, f: {"limit": 32, **Q},
    "Hessian.spectrum": lambda w, f: {"steps": 2, "probes": 2, **Q},
    "Hessian.extremes": lambda w, f: {"k": 1, **Q},
    "Hessian.per_block": lambda w, f: {"limit": 32, "eigenvalues": False, **Q},
    "Frame.points": lambda w, f: {"coords": w.point[None]},
    "Frame.project": lambda w, f: {"theta": w.point},
    "Plane.project": lambda w, f: {"iterates": w.run},
    "Plane.save": lambda w, f: {"folder": f},
    "Space.project": lambda w, f: {"iterates": w.run},
    "Space.save": lambda w, f: {"folder": f},
    "Volume.slice": lambda w, f: {"axis": 0},
    "Volume.export": lambda w, f: {"path": f / "v.vti"},
    "Volume.save": lambda w, f: {"folder": f},
    "Line.project": lambda w, f: {"iterates": w.run},
    "Line.save": lambda w, f: {"folder": f},
    "Path.chart": lambda w, f: {"surface": w.network, "points": 3},
    "Path.plane": lambda w, f: {"surface": w.network},
    "Path.plot_plane": lambda w, f: {"surface": w.network, "points": 3},
    "Path.points": lambda w, f: {"t": 0.5},
    "Path.profile": lambda w, f: {"t": torch.linspace(0, 1, 3).numpy()},
    "Recording.state": lambda w, f: {"step": 0},
    "Recording.vector": lambda w, f: {"step": 0},
    "Scene.array": lambda w, f: {"ref": 0},
    "Scene.save": lambda w, f: {"path": f / "a.scene"},
    "Layout.join": lambda w, f: {"tensors": dict(odd.mlp().state_dict())},
    "Layout.split": lambda w, f: {"points": torch.zeros(1, 3)},
    "Probe.answer": lambda w, f: {"requests": []},
    "Probe.evaluate": lambda w, f: {"query": la.Values(w.point[None])},
}  # fmt: skip
# The call that makes an instance of each class, for its methods.
MAKERS = {
    "Advice": "advise", "Alignment": "align", "Barriers": "barriers", "BasinMap": "basin_map", "BlockCurvature": "per_block",
    "Chart": "chart", "Comparison": "compare", "Copies": "copies", "Copy": "random_copy", "Counterfactual": "counterfactual",
    "CriticalPoint": "critical_point", "CriticalPoints": "critical_points", "CriticalSharpness": "critical_sharpness",
    "CurvatureMap": "curvature_map",
    "Diagonal": "diagonal", "Eigenpairs": "saddle_directions", "Estimate": "trace", "Extremes": "extremes", "FastEnsemble": "fast_ensemble",
    "Forecast": "forecast",
    "Frame": "Frame", "Function": "Function", "Hessian": "Hessian", "Invariance": "sharpness_invariance",
    "Landscape": "landscapes.four_wells",
    "Layout": "Layout.vector", "Lesson": "lesson", "Line": "Line.random", "Merge": "merge", "Merged": "merge_ledgers",
    "NetworkRace": "network_race", "NetworkSurface": "NetworkSurface", "Path": "connect", "Plane": "Plane.random", "Policy": "policy",
    "Probe": "Probe", "Race": "race", "Recorder": "Recorder", "Recording": "Recording.load", "RunCurvature": "curvature_along",
    "SaddleDescent": "descend_both_sides", "SaddleProbability": "p_saddle", "Scene": "scene", "Sharpness": "sharpness",
    "Similarity": "similarity", "Spectrum": "spectrum", "Steps": "steps", "StreamedSurface": "StreamedSurface", "Sweep": "sweep",
    "Through": "through", "TraceComparison": "compare_traces", "Trajectory": "trajectory", "Tuning": "tune", "Card": "Chart.card",
    "Topology": "Chart.topology", "MorseSmale": "Chart.morse_smale", "Smad": "Chart.smad", "Space": "Space.random", "Volume": "volume",
    "VolumeTopology": "Volume.topology",
}  # fmt: skip
# Settings that a signature only hints at.
FURTHER = {
    "diagonal": ("scaling", "how", "blocks", "probe"),
    "extremes": ("scaling", "how", "blocks", "probe"),
    "hessian": ("scaling", "how", "blocks", "probe"),
    "landscapes.landscape": ("dimension",),
    "optimizer": ("lr", "betas", "eps", "amsgrad", "nonsense"),
    "spectrum": ("scaling", "how", "blocks", "probe"),
    "trace": ("scaling", "how", "blocks", "probe"),
    "TorchOptimizer": ("lr", "nonsense"),
    "Landscape.plot": ("points",),
    "Chart.export": ("height", "clamp", "offset", "factor"),
    "Chart.card": ("seed", "probes", "seeds"),
    "Chart.plot": ("levels", "title", "cmap"),
    "Topology.plot": ("levels",),
    "MorseSmale.plot": ("levels", "equal"),
    "Volume.plot": ("cmap",),
}
# Names and why they are not called: `Class.*` means all of its methods.
LEFT_OUT = {
    "Landscape": "called as landscapes.Landscape",
    "Engine": "a protocol",
    "Pool": "starts processes; tests/probe/engine",
    "Ray": "starts processes; tests/probe/engine",
    "engine": "chooses how others are run; tests/probe/engine",
    "lecture": "runs every lesson; tests/page",
    "hf_recorder": "imports transformers, and has the settings of Recorder",
    "lightning_recorder": "imports lightning, and has the settings of Recorder",
    "widget": "only in a notebook; tests/page",
    "Surface": "abstract",
    "Slice": "made by Surface.on",
    "Display": "abstract",
    "Optimizer": "abstract; its catalog is called by name",
    "RecordedOptimizer": "only read from a file",
    "Steps": "made by steps",
    "landscapes.Formula": "abstract",
    "landscapes.rebuilt": "reads what a surface wrote",
    "landscapes.catalog": "a dictionary",
    "directions.Direction": "abstract",
    "directions.catalog": "a dictionary",
}
# Methods that rooms call on one another, or that every result has from `archive.Result`; what they take is never typed by a user.
BETWEEN_ROOMS = {
    "restore", "record", "arrays", "along", "cheaper", "exact_products", "outputs", "read", "reader", "sampled_products", "statistics",
    "departures", "fitted", "variances_positive", "apply", "counted", "doubt", "lift", "restrict", "rows_of", "provenance", "remark",
    "traces", "trusting", "count", "since", "seen_on", "misfit", "difference", "check", "require", "home", "draw", "together", "settings",
    "walk", "direction", "columns", "merge", "subset",
}  # fmt: skip


def _parent(path: Any) -> Any:
    return path.parent if Path(path).is_file() else path


def _recorder(folder: Path) -> Arguments:
    model = odd.mlp()
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "folder": folder / "run",
        "quiet": True,
    }


@dataclass
class Call:
    """A valid call, and the parameters that it has; of a method, `owner` names the class of the instance it is called on."""

    name: str
    function: Callable[..., Any]
    make: Callable[[World, Path], Arguments]
    owner: str = ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of what can be given, "*" for unnamed ones."""
        every = list(inspect.signature(self.function).parameters.values())[bool(self.owner) :]
        named = [p.name for p in every if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        unnamed = ["*"] * any(p.kind is p.VAR_POSITIONAL for p in every)
        return (*named, *unnamed, *FURTHER.get(self.name, ()))

    def run(self, world: World, arguments: Arguments) -> Any:
        """Call it, on the instance that the world keeps for this."""
        function = getattr(world.instance(self.owner), self.function.__name__) if self.owner else self.function
        keywords = dict(arguments)
        unnamed = keywords.pop("*", ())
        names = list(inspect.signature(function).parameters.values())
        # What stands before the unnamed ones cannot be given by name.
        first = [
            keywords.pop(p.name) for p in names if p.kind is p.POSITIONAL_OR_KEYWORD and p.name in keywords and unnamed
        ]
        return function(*first, *unnamed, **keywords)


def public() -> dict[str, Any]:
    """Every callable that a user can name: of the package, and of its public rooms."""
    found: dict[str, Any] = {}
    for name in la.__all__:
        value = getattr(la, name)
        if inspect.ismodule(value):
            found |= {
                f"{name}.{inner}": getattr(value, inner) for inner in _names(value) if callable(getattr(value, inner))
            }
        elif callable(value):
            found[name] = value
    return found


def is_record(value: Any) -> bool:
    """Whether a class only holds what a function found: nobody but the package makes one."""
    return inspect.isclass(value) and (issubclass(value, BaseException) or is_dataclass(value))


def calls() -> list[Call]:
    """Every call that can be made, those of methods on what the valid calls return."""
    found = []
    for name, function in public().items():
        owner = name if inspect.isclass(function) and name in MAKERS else ""
        if owner:
            found += methods(owner)
        make = CALLS.get(name)
        if make is None and not is_record(function) and name not in LEFT_OUT and not _required(function):
            make = _nothing
        if make is not None:
            found.append(Call(name, function, make))
    for name, make in CALLS.items():
        owner, _, method = name.partition(".")
        if owner not in ("landscapes", "directions") and method:
            found.append(Call(name, getattr(getattr(la, owner), method), make))
    return found


def methods(owner: str) -> list[Call]:
    """The public methods of a class that a user calls, and that need nothing or have their arguments in the table."""
    found = []
    for name, function in inspect.getmembers(getattr(la, owner), inspect.isfunction):
        given = METHODS.get(f"{owner}.{name}")
        if not name.startswith("_") and name not in BETWEEN_ROOMS and (given or len(_required(function)) == 1):
            found.append(Call(f"{owner}.{name}", function, given or _nothing, owner))
    return found


def _names(room: Any) -> list[str]:
    return getattr(room, "__all__", [name for name in vars(room) if not name.startswith("_")])


def _nothing(world: World, folder: Path) -> Arguments:
    return {}


def _required(function: Any) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_ONLY)
    return [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty and p.kind in kinds]
