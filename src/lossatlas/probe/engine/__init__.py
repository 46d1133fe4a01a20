"""Where answers are computed: in this process, or in worker processes on this machine or on a cluster."""

from lossatlas.probe.engine._base import Engine as Engine
from lossatlas.probe.engine._base import Part as Part
from lossatlas.probe.engine._chosen import EngineLike as EngineLike
from lossatlas.probe.engine._chosen import chosen as chosen
from lossatlas.probe.engine._chosen import engine as engine
from lossatlas.probe.engine._dispatch import Dispatch as Dispatch
from lossatlas.probe.engine._inline import Inline as Inline
from lossatlas.probe.engine._pool import Pool as Pool
from lossatlas.probe.engine._pool import cores as cores
from lossatlas.probe.engine._ray import Ray as Ray
