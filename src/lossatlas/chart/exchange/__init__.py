"""Charts in the formats of other programs: Li et al.'s .h5, ParaView's .vts, .vtp and .vti, CSV, xarray."""

from lossatlas.chart.exchange._export import export as export
from lossatlas.chart.exchange._export import export_path as export_path
from lossatlas.chart.exchange._li2018 import read_li2018 as read_li2018
from lossatlas.chart.exchange._volume import export_volume as export_volume
from lossatlas.chart.exchange._volume import volume_to_xarray as volume_to_xarray
from lossatlas.chart.exchange._xarray import to_xarray as to_xarray
