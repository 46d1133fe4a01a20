"""A folder of results as one page."""

from lossatlas.report._page import Page as Page
from lossatlas.report._tour import check as check
from lossatlas.report._tour import tour as tour
