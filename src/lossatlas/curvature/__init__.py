"""Curvature with error bars: Hessian products, both ends of the spectrum, the trace."""

from lossatlas.curvature._catch import CriticalPoint as CriticalPoint
from lossatlas.curvature._catch import CriticalPoints as CriticalPoints
from lossatlas.curvature._critical import critical_point as critical_point
from lossatlas.curvature._critical import critical_points as critical_points
from lossatlas.curvature._dense import hessian as hessian
from lossatlas.curvature._diagonal import Diagonal as Diagonal
from lossatlas.curvature._diagonal import diagonal as diagonal
from lossatlas.curvature._estimate import Estimate as Estimate
from lossatlas.curvature._extremes import Eigenpairs as Eigenpairs
from lossatlas.curvature._extremes import Extremes as Extremes
from lossatlas.curvature._extremes import extremes as extremes
from lossatlas.curvature._gauge import Joint as Joint
from lossatlas.curvature._gauge import balance as balance
from lossatlas.curvature._gauge import joints as joints
from lossatlas.curvature._gauge import rescale as rescale
from lossatlas.curvature._gauge import spread as spread
from lossatlas.curvature._operator import Operator as Operator
from lossatlas.curvature._saddle import SaddleDescent as SaddleDescent
from lossatlas.curvature._saddle import Side as Side
from lossatlas.curvature._saddle import descend_both_sides as descend_both_sides
from lossatlas.curvature._saddle import saddle_directions as saddle_directions
from lossatlas.curvature._trace import TraceComparison as TraceComparison
from lossatlas.curvature._trace import compare_traces as compare_traces
from lossatlas.curvature._trace import trace as trace
