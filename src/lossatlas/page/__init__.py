"""A folder of results as one page."""

from lossatlas.page._page import Page as Page
from lossatlas.page._tour import check as check
from lossatlas.page._tour import tour as tour
