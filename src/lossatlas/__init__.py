"""Charts of loss surfaces and races on them: probed, metered, and honest about their error.

Names are imported on first use, so that `import lossatlas` and the command line do not wait for torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossatlas._citation import citation as citation
    from lossatlas._errors import BudgetError as BudgetError
    from lossatlas._errors import InputError as InputError
    from lossatlas._errors import LossAtlasError as LossAtlasError
    from lossatlas._errors import NotApplicableError as NotApplicableError
    from lossatlas._load import load as load
    from lossatlas.chart import Card as Card
    from lossatlas.chart import Chart as Chart
    from lossatlas.chart import Comparison as Comparison
    from lossatlas.chart import Feature as Feature
    from lossatlas.chart import Line as Line
    from lossatlas.chart import Plane as Plane
    from lossatlas.chart import Topology as Topology
    from lossatlas.chart import Trajectory as Trajectory
    from lossatlas.chart import chart as chart
    from lossatlas.chart import compare as compare
    from lossatlas.chart import forecast as forecast
    from lossatlas.chart import policy as policy
    from lossatlas.chart import read_li2018 as read_li2018
    from lossatlas.chart import trajectory as trajectory
    from lossatlas.connect import Alignment as Alignment
    from lossatlas.connect import Path as Path
    from lossatlas.connect import align as align
    from lossatlas.connect import barriers as barriers
    from lossatlas.connect import connect as connect
    from lossatlas.connect import copies as copies
    from lossatlas.connect import merge as merge
    from lossatlas.connect import random_copy as random_copy
    from lossatlas.curvature import BlockCurvature as BlockCurvature
    from lossatlas.curvature import CriticalPoint as CriticalPoint
    from lossatlas.curvature import CriticalPoints as CriticalPoints
    from lossatlas.curvature import Diagonal as Diagonal
    from lossatlas.curvature import Estimate as Estimate
    from lossatlas.curvature import Extremes as Extremes
    from lossatlas.curvature import Hessian as Hessian
    from lossatlas.curvature import RunCurvature as RunCurvature
    from lossatlas.curvature import SaddleProbability as SaddleProbability
    from lossatlas.curvature import Sharpness as Sharpness
    from lossatlas.curvature import Spectrum as Spectrum
    from lossatlas.curvature import TraceComparison as TraceComparison
    from lossatlas.curvature import balance as balance
    from lossatlas.curvature import compare_traces as compare_traces
    from lossatlas.curvature import critical_point as critical_point
    from lossatlas.curvature import critical_points as critical_points
    from lossatlas.curvature import curvature_along as curvature_along
    from lossatlas.curvature import descend_both_sides as descend_both_sides
    from lossatlas.curvature import diagonal as diagonal
    from lossatlas.curvature import extremes as extremes
    from lossatlas.curvature import hessian as hessian
    from lossatlas.curvature import p_saddle as p_saddle
    from lossatlas.curvature import per_block as per_block
    from lossatlas.curvature import rescale as rescale
    from lossatlas.curvature import saddle_directions as saddle_directions
    from lossatlas.curvature import sharpness as sharpness
    from lossatlas.curvature import sharpness_invariance as sharpness_invariance
    from lossatlas.curvature import spectrum as spectrum
    from lossatlas.curvature import trace as trace
    from lossatlas.lessons import lesson as lesson
    from lossatlas.optimize import Optimizer as Optimizer
    from lossatlas.optimize import TorchOptimizer as TorchOptimizer
    from lossatlas.optimize import optimizer as optimizer
    from lossatlas.probe import Budget as Budget
    from lossatlas.probe import Forecast as Forecast
    from lossatlas.probe import Meter as Meter
    from lossatlas.probe import Probe as Probe
    from lossatlas.race import BasinMap as BasinMap
    from lossatlas.race import NetworkRace as NetworkRace
    from lossatlas.race import Race as Race
    from lossatlas.race import basin_map as basin_map
    from lossatlas.race import counterfactual as counterfactual
    from lossatlas.race import network_race as network_race
    from lossatlas.race import race as race
    from lossatlas.race import sweep as sweep
    from lossatlas.race import tune as tune
    from lossatlas.record import Checkpoints as Checkpoints
    from lossatlas.record import Recorder as Recorder
    from lossatlas.record import Recording as Recording
    from lossatlas.record import hf_recorder as hf_recorder
    from lossatlas.record import lightning_recorder as lightning_recorder
    from lossatlas.surface import Frame as Frame
    from lossatlas.surface import Layout as Layout
    from lossatlas.surface import NetworkSurface as NetworkSurface
    from lossatlas.surface import Surface as Surface
    from lossatlas.surface import landscapes as landscapes
    from lossatlas.surface import load_checkpoint as load_checkpoint

_HOMES = {
    "RunCurvature": "curvature",
    "curvature_along": "curvature",
    "Sharpness": "curvature",
    "sharpness": "curvature",
    "sharpness_invariance": "curvature",
    "CriticalPoint": "curvature",
    "CriticalPoints": "curvature",
    "balance": "curvature",
    "critical_point": "curvature",
    "critical_points": "curvature",
    "descend_both_sides": "curvature",
    "saddle_directions": "curvature",
    "rescale": "curvature",
    "BasinMap": "race",
    "TorchOptimizer": "optimize",
    "basin_map": "race",
    "counterfactual": "race",
    "sweep": "race",
    "tune": "race",
    "Budget": "probe",
    "BudgetError": "_errors",
    "Card": "chart",
    "Chart": "chart",
    "Comparison": "chart",
    "Extremes": "curvature",
    "per_block": "curvature",
    "BlockCurvature": "curvature",
    "spectrum": "curvature",
    "p_saddle": "curvature",
    "diagonal": "curvature",
    "compare_traces": "curvature",
    "TraceComparison": "curvature",
    "Hessian": "curvature",
    "SaddleProbability": "curvature",
    "Spectrum": "curvature",
    "Diagonal": "curvature",
    "Estimate": "curvature",
    "Frame": "surface",
    "InputError": "_errors",
    "Layout": "surface",
    "Line": "chart",
    "LossAtlasError": "_errors",
    "Meter": "probe",
    "NetworkSurface": "surface",
    "NotApplicableError": "_errors",
    "Optimizer": "optimize",
    "Path": "connect",
    "Alignment": "connect",
    "align": "connect",
    "barriers": "connect",
    "copies": "connect",
    "merge": "connect",
    "random_copy": "connect",
    "Plane": "chart",
    "Probe": "probe",
    "NetworkRace": "race",
    "Race": "race",
    "Recorder": "record",
    "Checkpoints": "record",
    "Recording": "record",
    "hf_recorder": "record",
    "lightning_recorder": "record",
    "Surface": "surface",
    "Feature": "chart",
    "Topology": "chart",
    "Trajectory": "chart",
    "trajectory": "chart",
    "chart": "chart",
    "policy": "chart",
    "read_li2018": "chart",
    "citation": "_citation",
    "compare": "chart",
    "forecast": "chart",
    "Forecast": "probe",
    "connect": "connect",
    "extremes": "curvature",
    "hessian": "curvature",
    "landscapes": "surface",
    "lesson": "lessons",
    "load": "_load",
    "load_checkpoint": "surface",
    "optimizer": "optimize",
    "network_race": "race",
    "race": "race",
    "trace": "curvature",
}

__version__ = "0.1.0"
__all__ = sorted(_HOMES)


class _Package(ModuleType):
    """A package whose functions `chart` and `race` live in rooms of the same names.

    Importing a room binds its module to the room's name here; where a public function bears that name, it wins.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'lossatlas' has no attribute {name!r}")
        value = getattr(import_module(f"lossatlas.{_HOMES[name]}"), name)
        super().__setattr__(name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
