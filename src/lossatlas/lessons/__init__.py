"""Every claim as an experiment that can fail."""

from lossatlas.lessons._catalog import claims as claims
from lossatlas.lessons._catalog import durations as durations
from lossatlas.lessons._catalog import lesson as lesson
from lossatlas.lessons._catalog import register as register
from lossatlas.lessons._catalog import title as title
from lossatlas.lessons._lecture import LECTURE as LECTURE
from lossatlas.lessons._lesson import Check as Check
from lossatlas.lessons._lesson import Ending as Ending
from lossatlas.lessons._lesson import Evidence as Evidence
from lossatlas.lessons._lesson import Lesson as Lesson
from lossatlas.lessons._lesson import Part as Part
from lossatlas.lessons._lesson import spent as spent
from lossatlas.lessons._section import Section as Section
from lossatlas.lessons._section import Statement as Statement
