"""Curvature with error bars: Hessian products, both ends of the spectrum, the trace."""

from lossatlas.curvature._dense import hessian as hessian
from lossatlas.curvature._extremes import Eigenpairs as Eigenpairs
from lossatlas.curvature._extremes import Extremes as Extremes
from lossatlas.curvature._extremes import extremes as extremes
from lossatlas.curvature._operator import Operator as Operator
from lossatlas.curvature._trace import Estimate as Estimate
from lossatlas.curvature._trace import trace as trace
