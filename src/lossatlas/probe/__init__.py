"""Between algorithms and surfaces: queries, the meter, the budget, the engine."""

from lossatlas.probe._blobs import digest as digest
from lossatlas.probe._channel import Lasting as Lasting
from lossatlas.probe._channel import Memory as Memory
from lossatlas.probe._forecast import Forecast as Forecast
from lossatlas.probe._ledger import Ledger as Ledger
from lossatlas.probe._manifest import differing as differing
from lossatlas.probe._merge import Merged as Merged
from lossatlas.probe._merge import merge_ledgers as merge_ledgers
from lossatlas.probe._meter import Budget as Budget
from lossatlas.probe._meter import Exchange as Exchange
from lossatlas.probe._meter import Meter as Meter
from lossatlas.probe._probe import Probe as Probe
from lossatlas.probe._probe import Request as Request
from lossatlas.probe._queries import Answer as Answer
from lossatlas.probe._queries import At as At
from lossatlas.probe._queries import Gradients as Gradients
from lossatlas.probe._queries import Products as Products
from lossatlas.probe._queries import Query as Query
from lossatlas.probe._queries import Values as Values
from lossatlas.probe._queries import count as count
from lossatlas.probe._queries import standing as standing
from lossatlas.probe.engine import Engine as Engine
from lossatlas.probe.engine import Inline as Inline
from lossatlas.probe.engine import Pool as Pool
from lossatlas.probe.engine import Ray as Ray
from lossatlas.probe.engine import chosen as chosen
