"""Which optimizer suits a surface: a small counted probe, the decision tree with its reasons, and the race that checks it."""

# Records of optimizers and surfaces are read by what the race's room says of them.
import lossatlas.race  # noqa: F401
from lossatlas.advise._advice import Advice as Advice
from lossatlas.advise._advise import advise as advise
from lossatlas.advise._contest import Leg as Leg
from lossatlas.advise._fact import Fact as Fact
from lossatlas.advise._forecast import forecast as forecast
from lossatlas.advise._portfolio import Candidate as Candidate
from lossatlas.advise._tree import Step as Step
