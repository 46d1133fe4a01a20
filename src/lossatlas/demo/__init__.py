"""The embedded digits, small networks, and a plain training loop."""

from lossatlas.demo._digits import digits as digits
from lossatlas.demo._digits import digits_cnn as digits_cnn
from lossatlas.demo._digits import digits_mlp as digits_mlp
from lossatlas.demo._fit import accuracy as accuracy
from lossatlas.demo._fit import fit as fit
from lossatlas.demo._transformer import digits_transformer as digits_transformer
