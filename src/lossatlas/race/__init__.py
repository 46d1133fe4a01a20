"""Many optimizers, one surface, one meter: the lockstep race, its verdicts and its statistics."""

from lossatlas.race._driver import race as race
from lossatlas.race._race import Race as Race
from lossatlas.race._statistics import wilson as wilson
from lossatlas.race._verdict import Verdict as Verdict
