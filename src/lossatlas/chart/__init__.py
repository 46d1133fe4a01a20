"""Looking at a surface: planes and lines with how they were made, and charts of the loss on them."""

from lossatlas.chart._chart import Chart as Chart
from lossatlas.chart._compare import compare as compare
from lossatlas.chart._comparison import Comparison as Comparison
from lossatlas.chart._comparison import Difference as Difference
from lossatlas.chart._features import Feature as Feature
from lossatlas.chart._forecast import forecast as forecast
from lossatlas.chart._make_chart import chart as chart
from lossatlas.chart._roughness import Roughness as Roughness
from lossatlas.chart._roughness import roughness as roughness
from lossatlas.chart._topology import Topology as Topology
from lossatlas.chart._trajectory import Trajectory as Trajectory
from lossatlas.chart._trajectory import Traveled as Traveled
from lossatlas.chart._trajectory import trajectory as trajectory
from lossatlas.chart.card._card import Card as Card
from lossatlas.chart.card._maker import card as card
from lossatlas.chart.exchange import export as export
from lossatlas.chart.exchange import export_path as export_path
from lossatlas.chart.exchange import read_li2018 as read_li2018
from lossatlas.chart.exchange import to_xarray as to_xarray
from lossatlas.chart.planes._cut import Projection as Projection
from lossatlas.chart.planes._line import Line as Line
from lossatlas.chart.planes._normalize import normalize as normalize
from lossatlas.chart.planes._plane import Plane as Plane
from lossatlas.chart.planes._policy import Policy as Policy
from lossatlas.chart.planes._policy import policy as policy
from lossatlas.chart.sampling._certificate import Certificate as Certificate
