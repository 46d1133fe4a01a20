"""From one minimum to another: lines, curves, barriers and alignment."""

from lossatlas.connect._barrier import DEFINITIONS as DEFINITIONS
from lossatlas.connect._barrier import Barrier as Barrier
from lossatlas.connect._barrier import barrier as barrier
from lossatlas.connect._connect import connect as connect
from lossatlas.connect._curve import Curve as Curve
from lossatlas.connect._pairs import Barriers as Barriers
from lossatlas.connect._pairs import barriers as barriers
from lossatlas.connect._pairs import ladder as ladder
from lossatlas.connect._path import CRITIQUE as CRITIQUE
from lossatlas.connect._path import Path as Path
from lossatlas.connect._path import Side as Side
from lossatlas.connect._similarity import Similarity as Similarity
from lossatlas.connect._similarity import similarity as similarity
from lossatlas.connect._through import Through as Through
from lossatlas.connect._through import through as through
from lossatlas.connect.symmetry._align import Alignment as Alignment
from lossatlas.connect.symmetry._align import align as align
from lossatlas.connect.symmetry._merge import Merge as Merge
from lossatlas.connect.symmetry._merge import merge as merge
from lossatlas.connect.symmetry._specification import Specification as Specification
from lossatlas.connect.symmetry._symmetry import Copies as Copies
from lossatlas.connect.symmetry._symmetry import Copy as Copy
from lossatlas.connect.symmetry._symmetry import copies as copies
from lossatlas.connect.symmetry._symmetry import random_copy as random_copy
