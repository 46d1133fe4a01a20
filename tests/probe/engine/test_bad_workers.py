"""What goes wrong with workers: each is said in one paragraph, once, and nothing stays behind."""

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import torch

import lossatlas as la
from lossatlas._errors import InputError, OutputError, UnknownNameError, WorkerError
from lossatlas.chart import Plane, _make_chart
from lossatlas.probe import Ledger, Pool, Probe, Values
from lossatlas.probe._recipe import recipe_of
from lossatlas.probe.engine import _wire, _workers
from lossatlas.surface import Function

DEADLY = '''
import os
import time

def deadly(point):
    """Ends the process where it is told to; finite everywhere else."""
    if float(point[0]) > 0.9:
        os._exit(3)
    return float((point**2).sum())

def raising(point):
    if float(point[0]) > 0.9:
        raise ZeroDivisionError("no such point")
    return float((point**2).sum())

def begun():
    """Starts a process of its own, as a loader of data does, which outlives it."""
    if os.fork() == 0:
        time.sleep(100)
        os._exit(0)

children = []

def forking(point):
    if "LOSSATLAS_WORKER" in os.environ and not children:
        children.append(begun())
    time.sleep(0.02)
    return float((point**2).sum())
'''


def test_what_was_made_in_a_console_is_refused_with_what_to_write_instead():
    surface = Function(lambda point: (point**2).sum(), box=[(-1, 1), (-1, 1)])
    with pytest.raises(InputError, match=r"cannot be sent to workers.*from net import") as refused:
        recipe_of(surface)
    assert "\n" not in str(refused.value)


def test_a_model_whose_class_no_worker_can_import_is_refused_with_what_to_write_instead():
    class Net(torch.nn.Linear):
        pass

    surface = la.NetworkSurface(Net(3, 2), "mse", (torch.ones(5, 3), torch.zeros(5, 2)))
    with pytest.raises(InputError, match=r"cannot be sent to workers.*Net.*from net import") as refused:
        recipe_of(surface.on(Plane.random(surface), steady=True))
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_disk_that_fills_on_the_driver_stops_the_chart_and_not_the_workers(
    pool, grounds, tmp_path, sent, monkeypatch
):
    surface = grounds["an MLP on digits"]
    plane, opened = Plane.random(surface, seed=1), Ledger.open

    class Small:
        @staticmethod
        def open(*given, **settings):
            ledger = opened(*given, **settings)
            ledger._store.connection.execute("PRAGMA max_page_count = 20")
            return ledger

    with monkeypatch.context() as full:
        full.setattr(_make_chart, "Ledger", Small)
        with pytest.raises(OutputError, match="answered before are safe in it"):
            la.chart(surface, plane, points=41, exact=True, engine=pool, ledger=tmp_path, progress=False)
    made = la.chart(surface, plane, points=41, exact=True, engine=pool, ledger=tmp_path, progress=False)
    assert made.meter.recalled > 0 and made.ledger["evaluated"] == made.ledger["points"] == 41**2
    here = la.chart(surface, plane, points=41, exact=True, engine="inline", progress=False)
    assert (made.loss == here.loss).all()


@pytest.mark.parametrize("name", ["pol:3", "pool:x", "cluster"])
def test_other_engines_are_refused_by_name(name):
    with pytest.raises((UnknownNameError, InputError), match="engine"), la.engine(name):
        pass


def test_what_is_no_engine_is_refused():
    with pytest.raises(InputError, match="got engine=3; expected an engine"), la.engine(3):
        pass


def test_no_engine_leaves_the_one_around_it():
    with la.engine("inline") as outer, la.engine(None) as inner:
        assert inner is outer


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6, dtype=torch.float64)[::2][None],
        torch.tensor(2.5),
        torch.empty(0, 3),
        torch.tensor([1.5, float("nan"), -float("inf")], dtype=torch.bfloat16),
        torch.tensor([[True], [False]]),
        torch.ones(2, 2).T[:1],
    ],
)
def test_a_message_arrives_as_it_was(tensor):
    there = _wire.unpacked(_wire.packed(_wire.Message({"task": 3}, {"a": tensor, "b": torch.arange(3)})))
    assert there.head == {"task": 3} and there.tensors["b"].tolist() == [0, 1, 2]
    found = there.tensors["a"]
    assert found.dtype == tensor.dtype and found.shape == tensor.shape
    assert torch.equal(torch.nan_to_num(found.float()), torch.nan_to_num(tensor.float()))


def test_an_exception_arrives_as_one_of_its_own_classes():
    class Odd(ValueError):
        pass

    for error, kinds, says in (
        (InputError("what to do"), (InputError, ValueError), "what to do"),
        (Odd("odd"), (WorkerError, ValueError), "ValueError in the worker 2: odd"),
        (KeyError("k"), (WorkerError, KeyError), "KeyError in the worker 2: 'k'"),
        (MemoryError(), (WorkerError, MemoryError), "MemoryError in the worker 2: MemoryError"),
    ):
        made = _wire.raised(_wire.told(error), "2")
        assert isinstance(made, kinds[0]) and isinstance(made, kinds[1]) and str(made) == says


@pytest.fixture
def own_functions(tmp_path, monkeypatch):
    (tmp_path / "own_functions.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_functions

    yield own_functions
    del sys.modules["own_functions"]


@pytest.mark.slow
def test_a_point_that_ends_every_worker_stops_with_its_coordinates(own_functions, sent):
    surface = Function(own_functions.deadly, box=[(-1, 1), (-1, 1)])
    points = torch.tensor([[0.0, 0.1], [0.2, 0.1], [0.95, -0.25], [0.4, 0.1], [0.5, 0.5]], dtype=torch.float64)
    with Pool(1) as pool:
        with pytest.raises(
            WorkerError, match=r"3 workers ended while they evaluated the point \(0.95, -0.25\)"
        ) as stopped:
            Probe(surface, engine=pool).evaluate(Values(points))
        assert "exit code 3" in str(stopped.value) and "\n" not in str(stopped.value)
        assert pool.deaths == 3


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_worker_that_is_killed_is_noticed_though_a_process_of_its_own_lives_on(own_functions, sent):
    surface = Function(own_functions.forking, box=[(-1, 1), (-1, 1)])
    points = torch.rand(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with Pool(1) as pool:
        parts, found = pool.stream(surface, points), []
        while not found or found[-1].worker == "here":
            found.append(next(parts))
        begin = time.monotonic()
        os.kill(pool.processes[0], signal.SIGKILL)
        found += parts
        assert pool.deaths == 1 and time.monotonic() - begin < 60
    assert sorted(row for part in found for row in part.rows.tolist()) == list(range(100))


@pytest.mark.slow
def test_an_exception_of_the_users_code_is_raised_once_as_it_is_here(own_functions, sent):
    surface = Function(own_functions.raising, box=[(-1, 1), (-1, 1)])
    points = torch.tensor([[0.0, 0.1], [0.95, -0.25]], dtype=torch.float64)
    with pytest.raises(ZeroDivisionError) as here:
        surface.read(points)
    with Pool(1) as pool:
        with pytest.raises(ZeroDivisionError) as there:
            Probe(surface, engine=pool).evaluate(Values(points))
        assert str(there.value) == str(here.value) and "own_functions.py" in there.value.__notes__[0]
        # The worker is still there.
        assert pool.deaths == 0
        assert Probe(surface, engine=pool).evaluate(Values(points[:1])).values.tolist() == [0.1**2]


@pytest.mark.slow
def test_a_file_that_changed_meanwhile_is_refused_by_the_name_of_what_differs(own_file, own_surface, sent):
    surface, text = own_surface(), own_file.read_text()
    own_file.write_text(text.replace("torch.sin", "torch.tanh"))
    try:
        with Pool(1) as pool, pytest.raises(WorkerError, match=r"another surface.*model_code is"):
            Probe(surface, engine=pool).evaluate(Values(surface.own_point[None].repeat(3, 1)))
    finally:
        own_file.write_text(text)


@pytest.fixture
def listening():
    """Ctrl-C is heard as in a terminal: a shell that starts things in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_after_the_last_answer_is_raised(listening):
    with pytest.raises(KeyboardInterrupt), _workers._Interrupt(queue.SimpleQueue()):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ValueError, match="own"), _workers._Interrupt(queue.SimpleQueue()):
        signal.raise_signal(signal.SIGINT)
        raise ValueError("own")


@pytest.mark.slow
def test_ctrl_c_ends_quickly_keeps_what_was_answered_and_leaves_no_worker(
    own_surface, tmp_path, sent, monkeypatch, listening
):
    monkeypatch.setenv("OWN_SECONDS", "0.1")
    surface = own_surface()
    plane = Plane.random(surface, seed=1)
    with Pool(2) as pool:
        Probe(surface.on(plane, steady=True), engine=pool).evaluate(Values(torch.zeros(3, 2, dtype=torch.float64)))
        begin = []

        def interrupt():
            begin.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(1.5, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            la.chart(surface, plane, points=31, exact=True, engine=pool, ledger=tmp_path, progress=False)
        took = time.perf_counter() - begin[0]
        processes = pool.processes
    # Batches hold a quarter of a second's worth here, and the grace is a second.
    assert took < 2.5
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    resumed = la.chart(surface, plane, points=5, exact=True, engine="inline", ledger=tmp_path, progress=False)
    assert resumed.ledger["evaluated"] == resumed.ledger["points"] > 25


@pytest.mark.slow
@pytest.mark.parametrize("guarded", [True, False])
def test_a_script_with_its_own_classes_runs_if_it_may_be_imported_and_is_refused_if_not(tmp_path, guarded):
    body = """
        import torch, lossatlas as la
        from lossatlas.probe.engine import _workers
        _workers.WORTH = _workers.QUICK = 0.0

        class Net(torch.nn.Linear):
            pass

        def work():
            torch.manual_seed(0)
            surface = la.NetworkSurface(Net(3, 2), "mse", (torch.ones(5, 3), torch.zeros(5, 2)))
            chart = la.chart(surface, la.Plane.random(surface), points=5, exact=True, engine="pool:1", progress=False)
            print("busy", chart.meter.worker_seconds > 0)

    """
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(body) + ("if __name__ == '__main__':\n    work()\n" if guarded else "work()\n"))
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    if guarded:
        assert ran.returncode == 0 and ran.stdout == "busy True\n", ran.stderr
    else:
        assert "under if __name__ == '__main__'" in ran.stderr.strip().splitlines()[-1]
