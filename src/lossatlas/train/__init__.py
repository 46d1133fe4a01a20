"""Training: the embedded digits data, small models for it, and a plain training loop."""

from lossatlas.train._digits import digits as digits
from lossatlas.train._digits import digits_cnn as digits_cnn
from lossatlas.train._digits import digits_mlp as digits_mlp
from lossatlas.train._fit import accuracy as accuracy
from lossatlas.train._fit import fit as fit
