"""Results as one page: the scene that the explorer reads, the page around it, and the tour."""

from lossatlas.page._bundle import bundle as bundle
from lossatlas.page._bundle import digest as digest
from lossatlas.page._make_lecture import lecture as lecture
from lossatlas.page._make_page import document as document
from lossatlas.page._make_page import page as page
from lossatlas.page._make_scene import scene as scene
from lossatlas.page._notebook import shown as shown
from lossatlas.page._page import Page as Page
from lossatlas.page._plain import digested as digested
from lossatlas.page._plain import plain as plain
from lossatlas.page._scene import Scene as Scene
from lossatlas.page._tour import check as check
from lossatlas.page._tour import tour as tour
from lossatlas.page._widget import widget as widget
