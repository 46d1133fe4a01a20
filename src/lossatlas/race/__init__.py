"""Many optimizers, one surface, one meter: the lockstep race, its verdicts and its statistics."""

from lossatlas.race import _keep as _keep
from lossatlas.race._basins import BasinMap as BasinMap
from lossatlas.race._basins import basin_map as basin_map
from lossatlas.race._counterfactual import Counterfactual as Counterfactual
from lossatlas.race._counterfactual import Fix as Fix
from lossatlas.race._counterfactual import counterfactual as counterfactual
from lossatlas.race._driver import race as race
from lossatlas.race._network import network_race as network_race
from lossatlas.race._network import with_heads as with_heads
from lossatlas.race._network_result import Ends as Ends
from lossatlas.race._network_result import NetworkRace as NetworkRace
from lossatlas.race._network_result import Runner as Runner
from lossatlas.race._race import Race as Race
from lossatlas.race._replay import Replay as Replay
from lossatlas.race._replay import replay as replay
from lossatlas.race._settings import numbers_of as numbers_of
from lossatlas.race._statistics import ert as ert
from lossatlas.race._statistics import wilson as wilson
from lossatlas.race._steps import Steps as Steps
from lossatlas.race._steps import steps as steps
from lossatlas.race._sweep import Sweep as Sweep
from lossatlas.race._sweep import sweep as sweep
from lossatlas.race._tune import Tuning as Tuning
from lossatlas.race._tune import searched as searched
from lossatlas.race._tune import tune as tune
from lossatlas.race._verdict import Verdict as Verdict
