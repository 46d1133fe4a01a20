"""From one minimum to another: lines and curves between two networks, and how high they rise."""

from lossatlas.connect._barrier import DEFINITIONS as DEFINITIONS
from lossatlas.connect._barrier import Barrier as Barrier
from lossatlas.connect._connect import connect as connect
from lossatlas.connect._curve import Curve as Curve
from lossatlas.connect._path import Path as Path
from lossatlas.connect._path import Side as Side
