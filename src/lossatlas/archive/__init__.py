"""The archive: results to folders and back, arrays as safetensors and the rest as JSON, written all or nothing."""

from lossatlas.archive._archive import kinds as kinds
from lossatlas.archive._archive import load as load
from lossatlas.archive._archive import only as only
from lossatlas.archive._archive import read_json as read_json
from lossatlas.archive._archive import save as save
from lossatlas.archive._archive import write_json as write_json
from lossatlas.archive._fields import UNSAVED as UNSAVED
from lossatlas.archive._fields import needs as needs
from lossatlas.archive._fields import translate as translate
from lossatlas.archive._files import Location as Location
from lossatlas.archive._files import commit as commit
from lossatlas.archive._files import content_of as content_of
from lossatlas.archive._files import located as located
from lossatlas.archive._files import prepare as prepare
from lossatlas.archive._files import prepare_file as prepare_file
from lossatlas.archive._files import settle as settle
from lossatlas.archive._files import write_bytes as write_bytes
from lossatlas.archive._files import write_text as write_text
from lossatlas.archive._plain import dump as dump
from lossatlas.archive._plain import parse as parse
from lossatlas.archive._result import Result as Result
from lossatlas.archive._result import results as results
from lossatlas.archive._status import Status as Status
