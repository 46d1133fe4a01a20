"""Many optimizers, one surface, one meter: the lockstep race, its verdicts and its statistics."""

from lossatlas.race._basins import BasinMap as BasinMap
from lossatlas.race._basins import basin_map as basin_map
from lossatlas.race._driver import race as race
from lossatlas.race._race import Race as Race
from lossatlas.race._statistics import ecdf as ecdf
from lossatlas.race._statistics import ert as ert
from lossatlas.race._statistics import wilson as wilson
from lossatlas.race._verdict import Verdict as Verdict
