"""The loop that gives rows to workers, with workers in this process that end, raise and come back as they are told."""

import queue

import pytest
import torch

from lossatlas._errors import WorkerError
from lossatlas.probe.engine._dispatch import MOST
from lossatlas.probe.engine._station import Station
from lossatlas.probe.engine._wire import Message, told
from lossatlas.probe.engine._workers import Workers
from lossatlas.surface import Function

pytestmark = pytest.mark.usefixtures("sent")


def bowl(point):
    return float((point**2).sum())


POINTS = torch.tensor([[0.0, 0.1], [0.2, 0.1], [0.95, -0.25], [0.4, 0.1]], dtype=torch.float64)


class Near(Workers):
    """Workers without processes: each answers when it is asked, or ends.

    Args:
        count: of workers.
        ends: whether a worker ends over a message, by its head.
        starts: whether a worker that is started says so, or ends.
    """

    def __init__(self, count, *, ends=lambda head, tensors: False, starts=True):
        super().__init__(count)
        self.ends, self.starts, self.stations, self.started = ends, starts, {}, 0
        for slot in self._slots.values():
            self._start(slot)

    def _start(self, slot):
        self.started += 1
        self.stations[slot.name] = Station()
        self._events.put((slot, Message({"kind": "ready", "task": 0}, {}) if self.starts else None))

    def _send(self, slot, message):
        dead = self.ends(message.head, message.tensors)
        self._events.put((slot, None if dead else self.stations[slot.name].answer(message)))

    def _end(self, slot):
        self.stations.pop(slot.name, None)


def deadly(head, tensors):
    return head["kind"] == "work" and bool((tensors["points"][:, 0] > 0.9).any())


@pytest.fixture(autouse=True)
def not_for_ever(monkeypatch):
    """Whoever waits for a worker that nobody starts fails, instead of waiting."""

    def get(self, patience):
        try:
            return self._events.get_nowait()
        except queue.Empty:
            pytest.fail("waits for a worker, and none is there")

    monkeypatch.setattr(Workers, "_next", get)


@pytest.mark.parametrize("count", [1, 3])
def test_a_point_that_ends_workers_is_refused_and_the_next_query_is_answered(count):
    surface = Function(bowl, box=[(-1, 1), (-1, 1)])
    workers = Near(count, ends=deadly)
    for _ in range(2):
        with pytest.raises(WorkerError, match=r"3 workers ended while they evaluated the point \(0.95, -0.25\)"):
            workers.read(surface, POINTS)
        others = POINTS[[0, 1, 3]]
        assert workers.read(surface, others).values.tolist() == [bowl(point) for point in others]
    assert workers.deaths == workers.started - count == 2 * MOST


def test_workers_that_cannot_start_are_refused_each_time():
    surface = Function(bowl, box=[(-1, 1), (-1, 1)])
    for count, said in ((1, "the only worker ended 3 times"), (2, "all 2 workers ended 3 times")):
        workers = Near(count, starts=False)
        for _ in range(2):
            with pytest.raises(WorkerError, match=said):
                workers.read(surface, POINTS)
        assert workers.started == workers.deaths == count * MOST


def test_what_a_surface_of_a_query_that_was_given_up_raises_is_not_said_of_the_next_one():
    surface, other = (Function(bowl, box=[(-1, 1), (-1, 1)]) for _ in range(2))
    workers = Near(2)
    workers.read(surface, POINTS)
    slot = workers._slots["2"]
    workers._tasks += 1
    slot.state, slot.task = "building", workers._tasks
    said = {"kind": "raised", "of": "build", "task": slot.task, "error": told(MemoryError("no room for it"))}
    workers._events.put((slot, Message(said, {})))
    assert workers.read(other, POINTS).values.tolist() == [bowl(point) for point in POINTS]
