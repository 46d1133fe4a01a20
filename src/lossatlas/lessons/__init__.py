"""Every claim as an experiment that can fail."""

from lossatlas.lessons._catalog import catalog as catalog
from lossatlas.lessons._catalog import lesson as lesson
from lossatlas.lessons._lesson import Check as Check
from lossatlas.lessons._lesson import Evidence as Evidence
from lossatlas.lessons._lesson import Lesson as Lesson
