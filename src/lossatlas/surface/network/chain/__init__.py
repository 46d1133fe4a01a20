"""Plain layer chains, whose structure makes slices of their surface cheap."""

from lossatlas.surface.network.chain._chain import Chain as Chain
from lossatlas.surface.network.chain._chain import find as find
from lossatlas.surface.network.chain._shortcut import LayerChain as LayerChain
from lossatlas.surface.network.chain._slice import sliced as sliced
