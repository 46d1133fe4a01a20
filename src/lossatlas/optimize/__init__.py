"""The algorithms that walk, one file each, and their catalog."""

from lossatlas.optimize._adam import Adam as Adam
from lossatlas.optimize._adamw import AdamW as AdamW
from lossatlas.optimize._annealing import Annealing as Annealing
from lossatlas.optimize._catalog import catalog as catalog
from lossatlas.optimize._catalog import citation as citation
from lossatlas.optimize._catalog import optimizer as optimizer
from lossatlas.optimize._catalog import resolve as resolve
from lossatlas.optimize._gd import GD as GD
from lossatlas.optimize._momentum import Momentum as Momentum
from lossatlas.optimize._nesterov import Nesterov as Nesterov
from lossatlas.optimize._optimizer import Optimizer as Optimizer
from lossatlas.optimize._optimizer import Walk as Walk
from lossatlas.optimize._restart import Restart as Restart
from lossatlas.optimize._rmsprop import RMSprop as RMSprop
from lossatlas.optimize._streams import Streams as Streams
