"""Plain layer chains, whose structure makes slices of their surface cheap."""

from lossatlas.surface.chain._chain import find as find
from lossatlas.surface.chain._slice import sliced as sliced
