"""Directions of lines and planes as objects: any two of them make a plane, ``Plane(surface, one, other)``.

Each name in lower case is the class of the same name: ``la.directions.gradient()`` is a `Gradient`.
"""

from lossatlas.chart.directions._between import Between as Between
from lossatlas.chart.directions._direction import Direction as Direction
from lossatlas.chart.directions._direction import Drawn as Drawn
from lossatlas.chart.directions._eigenvector import Eigenvector as Eigenvector
from lossatlas.chart.directions._given import Given as Given
from lossatlas.chart.directions._gradient import Gradient as Gradient
from lossatlas.chart.directions._pca import Pca as Pca
from lossatlas.chart.directions._random import Random as Random
from lossatlas.chart.directions._worst import Worst as Worst

random, gradient, eigenvector, worst = Random, Gradient, Eigenvector, Worst
between, pca, given = Between, Pca, Given

catalog: dict[str, type[Direction]] = {
    "random": Random,
    "gradient": Gradient,
    "eigenvector": Eigenvector,
    "worst": Worst,
    "between": Between,
    "pca": Pca,
    "given": Given,
}
