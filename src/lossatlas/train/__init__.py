"""Training: recording a run of the user's own loop; the embedded digits data, small models, and a plain loop."""

from lossatlas.train._adapters import hf_recorder as hf_recorder
from lossatlas.train._adapters import lightning_recorder as lightning_recorder
from lossatlas.train._coordinates import Coordinates as Coordinates
from lossatlas.train._digits import digits as digits
from lossatlas.train._digits import digits_cnn as digits_cnn
from lossatlas.train._digits import digits_mlp as digits_mlp
from lossatlas.train._fit import accuracy as accuracy
from lossatlas.train._fit import fit as fit
from lossatlas.train._listener import Listener as Listener
from lossatlas.train._recorder import Recorder as Recorder
from lossatlas.train._recording import Recording as Recording
from lossatlas.train._transformer import digits_transformer as digits_transformer
