"""Displays of plain arrays: what every other room hands its numbers to when a picture is wanted."""

from lossatlas.draw._along import AlongDisplay
from lossatlas.draw._barrier import BarrierDisplay
from lossatlas.draw._bars import BarsDisplay
from lossatlas.draw._basins import BasinsDisplay
from lossatlas.draw._card import CardDisplay
from lossatlas.draw._cells import CellsDisplay
from lossatlas.draw._compare import CompareDisplay
from lossatlas.draw._curves import CurvesDisplay
from lossatlas.draw._decisions import Decision, DecisionsDisplay
from lossatlas.draw._display import Display
from lossatlas.draw._display import need_axes as need_axes
from lossatlas.draw._field import FieldDisplay
from lossatlas.draw._index import IndexDisplay
from lossatlas.draw._ladder import LadderDisplay
from lossatlas.draw._levels import Levels, scale_of
from lossatlas.draw._matrix import MatrixDisplay
from lossatlas.draw._merge_tree import MergeTreeDisplay
from lossatlas.draw._morse_smale import MorseSmaleDisplay
from lossatlas.draw._motion import Motion, animate
from lossatlas.draw._network_ends import EndsDisplay
from lossatlas.draw._palette import Stroke, apart, colors, strokes, well_colors
from lossatlas.draw._paths import PathsDisplay
from lossatlas.draw._profile import ProfileDisplay
from lossatlas.draw._relief import ReliefDisplay
from lossatlas.draw._slices import SlicesDisplay
from lossatlas.draw._spectrum import SpectrumDisplay
from lossatlas.draw._style import figures
from lossatlas.draw._surrogate import SurrogateDisplay
from lossatlas.draw._table import Table
from lossatlas.draw._topology import TopologyDisplay
from lossatlas.draw._trajectory import TrajectoryDisplay

__all__ = [
    "AlongDisplay",
    "BarrierDisplay",
    "BarsDisplay",
    "BasinsDisplay",
    "CardDisplay",
    "CellsDisplay",
    "CompareDisplay",
    "CurvesDisplay",
    "Decision",
    "DecisionsDisplay",
    "Display",
    "EndsDisplay",
    "FieldDisplay",
    "IndexDisplay",
    "LadderDisplay",
    "Levels",
    "MatrixDisplay",
    "MergeTreeDisplay",
    "MorseSmaleDisplay",
    "Motion",
    "PathsDisplay",
    "ProfileDisplay",
    "ReliefDisplay",
    "SlicesDisplay",
    "SpectrumDisplay",
    "Stroke",
    "SurrogateDisplay",
    "Table",
    "TopologyDisplay",
    "TrajectoryDisplay",
    "animate",
    "apart",
    "colors",
    "figures",
    "scale_of",
    "strokes",
    "well_colors",
]
