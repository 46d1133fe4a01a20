"""What L is: surfaces, their layout, and the frames that slices are taken on."""

from lossatlas.surface import landscapes as landscapes
from lossatlas.surface._bits import tensor_digest as tensor_digest
from lossatlas.surface._code import Code as Code
from lossatlas.surface._code import code_digest as code_digest
from lossatlas.surface._code import read_code as read_code
from lossatlas.surface._dimension import Dimension as Dimension
from lossatlas.surface._dimension import count as count
from lossatlas.surface._dimension import standard as standard
from lossatlas.surface._dimension import standard_dimension as standard_dimension
from lossatlas.surface._frame import Frame as Frame
from lossatlas.surface._frame import Framed as Framed
from lossatlas.surface._frame import inner as inner
from lossatlas.surface._layout import Block as Block
from lossatlas.surface._layout import Layout as Layout
from lossatlas.surface._points import PointLike as PointLike
from lossatlas.surface._remembered import Remembered as Remembered
from lossatlas.surface._remembered import remember as remember
from lossatlas.surface._slice import Slice as Slice
from lossatlas.surface._surface import Reading as Reading
from lossatlas.surface._surface import Sample as Sample
from lossatlas.surface._surface import Surface as Surface
from lossatlas.surface._surface import Well as Well
from lossatlas.surface.network._checkpoint import load_checkpoint as load_checkpoint
from lossatlas.surface.network._checkpoint import read_checkpoint as read_checkpoint
from lossatlas.surface.network._network import NetworkSurface as NetworkSurface
from lossatlas.surface.network._state import StateSurface as StateSurface
