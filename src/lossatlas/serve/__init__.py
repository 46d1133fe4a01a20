"""The explorer's server on loopback: a folder's results as a page, true losses of the network, and jobs that are running."""

from lossatlas.serve._folder import Folder as Folder
from lossatlas.serve._serve import serve as serve
