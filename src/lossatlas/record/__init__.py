"""Recording a training run of the user's own loop, and what was recorded."""

from lossatlas.record._adapters import hf_recorder as hf_recorder
from lossatlas.record._adapters import lightning_recorder as lightning_recorder
from lossatlas.record._checkpoints import Checkpoints as Checkpoints
from lossatlas.record._coordinates import Coordinates as Coordinates
from lossatlas.record._listener import Listener as Listener
from lossatlas.record._recorder import Recorder as Recorder
from lossatlas.record._recording import Recording as Recording
from lossatlas.record._training_loop import rank as rank
