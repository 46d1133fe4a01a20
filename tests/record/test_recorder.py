"""The recorder writes down where a run goes, and leaves no trace in it."""

from __future__ import annotations

import copy
import errno
import json
import tarfile

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import nn

import lossatlas as la
from lossatlas._errors import CheckpointError, InputError, ModelError, OutputError
from lossatlas.demo import digits_cnn, digits_mlp
from lossatlas.record import _folder


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"every": 1}, {"every": 7, "sketch": 256}, {"every": 3, "keep": 4}])
def test_the_run_is_bit_for_bit_the_one_it_would_be(run, tmp_path, settings):
    plain = run().steps(40).bits()
    recorded = run()
    with la.Recorder(recorded.model, recorded.optimizer, tmp_path, quiet=True, **settings) as recorder:
        recorded.steps(40, recorder.note)
    assert recorder.status == "closed" and recorder.step == 40
    assert same(recorded.bits(), plain)
    torch.manual_seed(3)
    assert not same(run().steps(40).bits()[:4], run().steps(39).bits()[:4])  # the comparison can fail


@pytest.mark.slow
def test_what_is_recorded_is_where_the_run_was(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=4, quiet=True) as recorder:
        one.steps(10, recorder.note)
    found = la.Recording.load(tmp_path, one.model)
    assert found.steps.tolist() == [0, 4, 8, 10] and found.status == "closed"
    for step in found.steps:
        assert torch.equal(found.vector(step), one.points[step])
    assert len(found.iterates) == 4 and [p.suffix for p in found.iterates] == [".safetensors"] * 4
    steps, losses = found.curve()
    assert steps.tolist() == list(range(10)) and np.isfinite(losses).all()
    assert np.array_equal(found.losses[:3], losses[[0, 4, 8]]) and np.isnan(found.losses[3])
    assert "steps 0 to 10, 4 whole points; closed" in found.sentence and found.sentence in found._repr_html_()
    assert found.plot().ax_.get_xlabel() == "steps"
    with pytest.raises(la.LossAtlasError, match="no note in this recording named 'accuracy'"):
        found.curve("accuracy")
    with pytest.raises(InputError, match="no whole point at step 5"):
        found.vector(5)


def test_points_are_checkpoints_with_buffers(tmp_path):
    model = digits_cnn().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with la.Recorder(model, optimizer, tmp_path, every=1, quiet=True):
        for _ in range(2):
            model(torch.rand(8, 1, 8, 8)).square().mean().backward()
            optimizer.step()
    found = la.Recording.load(tmp_path)
    fresh = digits_cnn(seed=5)
    la.load_checkpoint(fresh, found.iterates[-1])
    ours, theirs = fresh.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert int(ours["1.num_batches_tracked"]) == 2


def test_steps_are_chosen_by_number_too(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=(1, 2, 5, 900), quiet=True):
        one.steps(6)
    assert la.Recording.load(tmp_path).steps.tolist() == [0, 1, 2, 5, 6]


def test_accumulated_gradients_are_one_step_and_notes_of_a_step_are_averaged(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=1, quiet=True) as recorder:
        for k in range(6):
            one.model(one.x[:8]).square().mean().backward()
            recorder.note(loss=float(k), rate=torch.tensor(0.5))
            if k % 3 == 2:
                one.optimizer.step()
                one.optimizer.zero_grad()
    found = la.Recording.load(tmp_path)
    assert found.steps.tolist() == [0, 1, 2]
    assert found.curve()[1].tolist() == [1.0, 4.0] and found.noted == ("loss", "rate")


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_the_gradient_scaler_skips_are_not_counted(run, tmp_path, fused):
    one = run(torch.optim.Adam, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with la.Recorder(one.model, one.optimizer, tmp_path, every=1, quiet=True) as recorder:
        for k in range(5):
            one.optimizer.zero_grad()
            factor = float("inf") if k in (1, 3) else 1.0
            scaler.scale(one.model(one.x[:8]).square().mean() * factor).backward()
            scaler.step(one.optimizer)
            scaler.update()
            one.points.append(one.theta())
    assert recorder.step == 3
    found = la.Recording.load(tmp_path)
    assert found.steps.tolist() == [0, 1, 2, 3]
    for step, place in zip([1, 2, 3], [1, 3, 5], strict=True):
        assert torch.equal(found.vector(step), one.points[place])


def test_several_optimizers_make_one_step(tmp_path):
    model = digits_mlp((8,))
    first, second = torch.optim.SGD(model[0].parameters(), lr=0.1), torch.optim.Adam(model[2].parameters())
    with la.Recorder(model, [first, second], tmp_path, every=1, quiet=True) as recorder:
        for _ in range(3):
            model(torch.rand(4, 64)).square().mean().backward()
            first.step()
            second.step()
    assert recorder.step == 3
    assert torch.equal(la.Recording.load(tmp_path).vector(3), nn.utils.parameters_to_vector(model.parameters()))


def test_wrappers_are_looked_through(tmp_path):
    model = digits_mlp((8,))
    wrapped = nn.DataParallel(model)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    with la.Recorder(wrapped, optimizer, tmp_path, quiet=True):
        wrapped(torch.rand(4, 64)).square().mean().backward()
        optimizer.step()
    assert la.Recording.load(tmp_path, model).layout.blocks[0].name == "0.weight"


def test_few_points_are_kept_evenly_spread_and_the_last(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=1, keep=5, quiet=True):
        most = 0
        for _ in range(37):
            one.steps(1)
            most = max(most, len(list((tmp_path / "points").glob("*.safetensors"))))
    found = la.Recording.load(tmp_path)
    assert [int(found.steps[k]) for k in found.kept] == [0, 8, 16, 24, 32, 37]
    assert most <= 7 and len(found.rows) == 38  # one being written while others are being dropped
    assert torch.equal(found.vector(24), one.points[24])


def test_hooks_go_and_a_copy_of_the_optimizer_is_not_recorded(run, tmp_path):
    one = run()
    recorder = la.Recorder(one.model, one.optimizer, tmp_path, every=1, quiet=True)
    other = copy.deepcopy(one.optimizer)
    one.steps(2)
    other.step()
    recorder.close()
    recorder.close()
    one.steps(2)
    assert recorder.step == 2 and not one.optimizer._optimizer_step_post_hooks
    assert not one.optimizer._optimizer_step_pre_hooks


def test_it_says_what_it_cost(run, tmp_path, capsys):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=5) as recorder:
        one.steps(20)
        held = recorder.memory
    said = capsys.readouterr().err
    assert (
        "recorded 5 points on the way to step 20" in said and "of the training time" in said and said.count("\n") == 1
    )
    assert 0 < held - sum(4 * p.numel() for p in one.model.parameters()) < 1024  # the header of the file
    assert 0 < recorder.overhead == la.Recording.load(tmp_path).ends[-1]["overhead"]


def test_a_run_that_ends_by_an_error_says_so(run, tmp_path):
    one = run()
    with pytest.raises(KeyError), la.Recorder(one.model, one.optimizer, tmp_path, quiet=True):
        one.steps(3)
        raise KeyError("mine")
    found = la.Recording.load(tmp_path)
    assert found.status == "ended by KeyError" and found.steps.tolist() == [0, 3]


def test_a_run_without_a_step_is_a_point(run, tmp_path):
    one = run()
    la.Recorder(one.model, one.optimizer, tmp_path, quiet=True).close()
    assert la.Recording.load(tmp_path).steps.tolist() == [0]


@pytest.mark.slow
def test_a_full_disk_stops_the_recorder_and_not_the_run(run, disk, capsys):
    plain = run().steps(60).bits()
    one = run()
    with la.Recorder(one.model, one.optimizer, disk, every=1) as recorder:
        one.steps(60)
    assert same(one.bits(), plain)
    assert recorder.status == "stopped" and "disk is full" in str(recorder.reason)
    said = capsys.readouterr().err
    assert said.startswith("lossatlas: recording stopped at step") and "the training goes on" in said
    found = la.Recording.load(disk)
    assert 3 < len(found.steps) < 40 and found.status in ("stopped", "unfinished")
    for step in found.steps:
        assert torch.equal(found.vector(step), one.points[step])
    assert not [path for path in (disk / "points").iterdir() if path.name.startswith(".")]


def test_a_disk_that_fails_stops_the_recorder_too(run, tmp_path, monkeypatch):
    """The same where nothing can be mounted."""

    def save(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    one = run()
    recorder = la.Recorder(one.model, one.optimizer, tmp_path, every=1, quiet=True)
    one.steps(3)
    recorder._writer.wait()
    monkeypatch.setattr("pathlib.Path.replace", save)
    one.steps(5)
    assert recorder.status == "stopped" and "the disk is full" in recorder.sentence
    monkeypatch.undo()
    assert la.Recording.load(tmp_path).steps.tolist() == [0, 1, 2, 3]
    assert la.Recording.load(tmp_path).status == "stopped"


def _shrink(model):
    model[1] = nn.Linear(64, 4)


CHANGES = {
    "has changed its shape": _shrink,
    "has changed its type": lambda model: model.double(),
    "is gone": lambda model: model.pop(1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_changes_under_way_goes_on_in_a_new_segment(run, tmp_path, change, capsys):
    one = run(torch.optim.SGD)
    recorder = la.Recorder(one.model, one.optimizer, tmp_path, every=1)
    one.steps(2)
    one.optimizer.zero_grad()
    CHANGES[change](one.model)
    one.optimizer.step()
    assert recorder.status == "recording" and not capsys.readouterr().err
    recorder.close()
    said = capsys.readouterr().err
    assert "in 2 segments (from step 3 on the parameter '1.weight'" in said and change in said
    first, second = la.Recording.load(tmp_path).segments
    assert first.steps.tolist() == [0, 1, 2] and first.status == "continued"
    assert second.steps.tolist() == [3] and second.status == "closed" and change in second.manifest["after"]
    assert torch.equal(second.vector(3), one.theta())
    if change == "has changed its shape":
        with pytest.raises(InputError, match=r"differ in '1\.weight', which was not merely frozen"):
            first.joined(tmp_path / "whole")
        assert not (tmp_path / "whole").exists()


def test_a_model_that_loses_its_numbers_stops_the_recorder(run, tmp_path, capsys):
    one = run(torch.optim.SGD)
    recorder = la.Recorder(one.model, one.optimizer, tmp_path, every=1)
    one.steps(2)
    one.optimizer.zero_grad()
    one.model.to("meta")
    one.optimizer.step()  # the training goes on as well as it can
    assert recorder.status == "stopped" and "the meta device" in str(recorder.reason)
    assert "the training goes on" in capsys.readouterr().err
    assert la.Recording.load(tmp_path).steps.tolist() == [0, 1, 2]


def test_an_optimizer_over_other_parameters_is_refused(tmp_path):
    model, other = digits_mlp((8,)), digits_mlp((8,))
    with pytest.raises(InputError, match=r"4 of the 4 tensors .* are no parameters of the model Sequential"):
        la.Recorder(model, torch.optim.SGD(other.parameters(), lr=0.1), tmp_path / "a")
    both = [*model.parameters(), nn.Parameter(torch.ones(3))]
    with pytest.raises(InputError, match=r"1 of the 5 tensors .*\(shapes \(3,\)\)"):
        la.Recorder(model, torch.optim.SGD(both, lr=0.1), tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_part_of_a_model_may_be_trained(tmp_path):
    model = digits_mlp((8,))
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    la.Recorder(model, optimizer, tmp_path, quiet=True).close()
    assert la.Recording.load(tmp_path).layout.dimension == sum(p.numel() for p in model.parameters())


def test_bad_settings(run, tmp_path):
    one = run()
    for settings, said in (
        ({"every": 0}, "every=0"),
        ({"every": None}, "every=None"),
        ({"every": []}, r"every=\[\]; expected a whole number of at least 1. Or give the steps to record"),
        ({"every": torch.tensor([])}, "every=Tensor of shape"),
        ({"every": "10"}, "every='10'"),
        ({"every": [1.5]}, "every=1.5"),
        ({"seed": "x"}, "seed='x'"),
        ({"seed": -1, "sketch": 64}, "seed=-1"),
        ({"keep": 2}, "keep=2; expected a whole number of at least 3"),
        ({"sketch": 10}, "from 64 to"),
    ):
        with pytest.raises(InputError, match=said):
            la.Recorder(one.model, one.optimizer, tmp_path / "new", **settings)
    with pytest.raises(ModelError, match="got a model of type list"):
        la.Recorder([1], one.optimizer, tmp_path / "new")
    with pytest.raises(InputError, match="got an optimizer of type str"):
        la.Recorder(one.model, "adam", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        la.Recorder(one.model, one.optimizer, tmp_path / "file")
    with (
        pytest.raises(InputError, match=r"got loss of shape \(2,\)"),
        la.Recorder(one.model, one.optimizer, tmp_path / "a", quiet=True) as recorder,
    ):
        recorder.note(loss=torch.ones(2))
    recorder = la.Recorder(one.model, one.optimizer, tmp_path / "b", quiet=True)
    for value in ("low", None, 1j, torch.tensor(1j), [1.0], np.ones(2)):
        with pytest.raises(InputError, match=r"got loss=.*; expected one real number"):
            recorder.note(loss=value)
    for state in (3, None, "step"):
        with pytest.raises(InputError, match=r"load_state_dict got .*; expected what state_dict\(\) returned"):
            recorder.load_state_dict(state)
    recorder.close()
    for step in ("last", None, 1.5, -1):
        with pytest.raises(InputError, match=r"got step=.*; expected a whole number"):
            la.Recording.load(tmp_path / "b").vector(step)


@pytest.mark.parametrize("steps", [torch.tensor([1, 3]), np.array([3, 1]), range(1, 4, 2), iter([1, 3])])
def test_steps_to_record_may_come_in_any_sequence(run, tmp_path, steps):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=steps, quiet=True):
        one.steps(4)
    assert la.Recording.load(tmp_path).steps.tolist() == [0, 1, 3, 4]


def test_a_folder_that_holds_a_recording_is_not_written_over(run, tmp_path):
    one = run()
    la.Recorder(one.model, one.optimizer, tmp_path, quiet=True).close()
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(OutputError, match=r"holds a recording already.*resume=True"):
        la.Recorder(one.model, one.optimizer, tmp_path)
    other = run(model=digits_mlp((5,)))
    with pytest.raises(OutputError, match=r"only in the first: 1.weight.*only in the second: 0.weight"):
        la.Recorder(other.model, other.optimizer, tmp_path, resume=True)
    with pytest.raises(OutputError, match="it has the sketch None"):
        la.Recorder(one.model, one.optimizer, tmp_path, resume=True, sketch=128)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_recording_of_another_model_is_refused_and_the_difference_named(run, tmp_path):
    one = run()
    la.Recorder(one.model, one.optimizer, tmp_path, quiet=True).close()
    wider = nn.Sequential(nn.Dropout(0.2), *digits_mlp((20,)))
    with pytest.raises(CheckpointError, match=r"another model \(Sequential\).*1.weight \(\(16, 64\) and \(20, 64\)\)"):
        la.Recording.load(tmp_path, wider)
    surface = la.NetworkSurface(one.model.eval(), "cross_entropy", (one.x, one.y))
    assert la.Recording.load(tmp_path, surface).layout.dimension == surface.dimension
    with pytest.raises(OutputError, match=r"holds no recording: there is no recording.json"):
        la.Recording.load(tmp_path / "points")


def interrupted(run, folder, make, **settings):
    """A run of 20 steps whose second half is recorded again from the user's checkpoint at step 10."""
    whole = run(make)
    with la.Recorder(whole.model, whole.optimizer, folder / "whole", every=3, quiet=True, **settings):
        whole.steps(20)
    one = run(make)
    first = la.Recorder(one.model, one.optimizer, folder / "parts", every=3, quiet=True, **settings)
    one.steps(10)
    checkpoint = copy.deepcopy((one.model.state_dict(), one.optimizer.state_dict(), first.state_dict()))
    random = torch.get_rng_state()
    one.steps(7)
    first._writer.wait()
    first._unhook()  # as a killed process leaves it: no end is written
    again = run(make)
    return again, checkpoint, random, whole


def finish(again, checkpoint, random):
    again.model.load_state_dict(checkpoint[0])
    again.optimizer.load_state_dict(checkpoint[1])
    torch.set_rng_state(random)
    return again.steps(10)


def same_recordings(a, b):
    one, two = la.Recording.load(a), la.Recording.load(b)
    assert one.steps.tolist() == [0, 3, 6, 9, 12, 15, 18, 20]
    assert set(two.steps.tolist()) == {*one.steps.tolist(), 10}  # the point it was resumed at is recorded too
    for step in one.steps:
        assert torch.equal(one.vector(step), two.vector(step))


@pytest.mark.slow
def test_a_killed_run_goes_on_at_the_step_that_the_optimizer_counts(run, tmp_path):
    again, checkpoint, random, _ = interrupted(run, tmp_path, torch.optim.Adam)
    assert la.Recording.load(tmp_path / "parts").status == "unfinished"
    assert la.Recording.load(tmp_path / "parts").steps.tolist() == [0, 3, 6, 9, 12, 15]
    with la.Recorder(again.model, again.optimizer, tmp_path / "parts", every=3, resume=True, quiet=True):
        finish(again, checkpoint, random)
    same_recordings(tmp_path / "whole", tmp_path / "parts")


def test_a_recorder_counts_for_optimizers_that_do_not(run, tmp_path):
    again, checkpoint, random, _ = interrupted(run, tmp_path, torch.optim.SGD)
    with la.Recorder(again.model, again.optimizer, tmp_path / "parts", every=3, resume=True, quiet=True) as recorder:
        recorder.load_state_dict(checkpoint[2])
        finish(again, checkpoint, random)
    same_recordings(tmp_path / "whole", tmp_path / "parts")


def test_a_recorded_point_is_recognized(run, tmp_path):
    one = run(torch.optim.SGD)
    with la.Recorder(one.model, one.optimizer, tmp_path, every=5, quiet=True):
        one.steps(12)
    two = run(torch.optim.SGD)
    nn.utils.vector_to_parameters(one.points[10], two.model.parameters())
    with la.Recorder(two.model, two.optimizer, tmp_path, every=5, resume=True, quiet=True):
        two.steps(5)
    assert la.Recording.load(tmp_path).steps.tolist() == [0, 5, 10, 15]


def test_a_run_that_cannot_be_placed_is_not_recorded_and_goes_on(run, tmp_path, capsys):
    one = run(torch.optim.SGD)
    with la.Recorder(one.model, one.optimizer, tmp_path, every=5, quiet=True):
        one.steps(12)
    before = la.Recording.load(tmp_path).steps.tolist()
    two = run(torch.optim.SGD).steps(2)
    recorder = la.Recorder(two.model, two.optimizer, tmp_path, every=5, resume=True)
    two.steps(8)
    assert recorder.status == "stopped" and "nothing tells at which step" in recorder.sentence
    assert "Give start=" in capsys.readouterr().err
    assert la.Recording.load(tmp_path).steps.tolist() == before


def test_a_torn_last_line_is_left_aside_and_a_damaged_one_is_an_error(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=5, quiet=True):
        one.steps(12)
    path = tmp_path / "steps.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-60])
    assert la.Recording.load(tmp_path).steps.tolist() == [0, 5, 10, 12]
    path.write_bytes(b"\n".join([b"nonsense", *whole.split(b"\n")[1:]]))
    with pytest.raises(OutputError, match=r"line 1 of .* is damaged"):
        la.Recording.load(tmp_path)
    path.write_bytes(whole)
    content = json.loads((tmp_path / "recording.json").read_text())
    (tmp_path / "recording.json").write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(OutputError, match="no manifest of a recording of version 1"):
        la.Recording.load(tmp_path)
    point = _folder.point_file(tmp_path, 5)
    point.write_bytes(point.read_bytes()[:100])
    (tmp_path / "recording.json").write_text(json.dumps(content))
    with pytest.raises(OutputError, match="cannot be read"):
        la.Recording.load(tmp_path).vector(5)


def test_losses_that_are_no_numbers_come_back(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=1, quiet=True) as recorder:
        for loss in (float("nan"), float("inf")):
            recorder.note(loss=loss)
            one.steps(1)
    assert str(la.Recording.load(tmp_path).curve()[1].tolist()) == "[nan, inf]"


def test_another_rank_than_the_first_records_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path / "new") as recorder:
        one.steps(2, recorder.note)
    assert recorder.status == "passive" and not (tmp_path / "new").exists()
    assert "process 1 records nothing" in recorder.sentence


KILLED = """
import os, signal, sys, torch, lossatlas as la
from lossatlas.demo import digits, digits_mlp
torch.manual_seed(0)
model = digits_mlp((16,))
optimizer = torch.optim.Adam(model.parameters())
x, y = digits("test")
begin = 0
if os.path.exists("mine.pt"):
    begin, weights, state = torch.load("mine.pt")
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
la.Recorder(model, optimizer, "run", every=4, resume=True)
for step in range(begin, 30):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[step::30]), y[step::30]).backward()
    optimizer.step()
    if step == 14:
        torch.save((15, model.state_dict(), optimizer.state_dict()), "mine.pt")
    if step == 25 and not begin:
        os.kill(os.getpid(), signal.SIGKILL)
print(float(sum(p.double().sum() for p in model.parameters())))
"""


@pytest.mark.slow
def test_a_process_that_was_killed_and_one_that_closes_nothing(script, tmp_path):
    assert script(KILLED, check=False).returncode == -9
    found = la.Recording.load(tmp_path / "run")
    assert found.status == "unfinished" and found.steps.tolist()[:4] == [0, 4, 8, 12] and found.steps[-1] >= 20
    done = script(KILLED)
    found = la.Recording.load(tmp_path / "run")
    # Nobody called close: what is left is written when the interpreter ends.
    assert found.steps.tolist() == [0, 4, 8, 12, 15, 16, 20, 24, 28, 30] and found.status == "closed"
    assert float(found.vector(30).double().sum()) == pytest.approx(float(done.stdout), rel=1e-12)
    assert "recorded 10 points on the way to step 30" in done.stderr


SEVERAL = """
import os, sys, torch, lossatlas as la
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from lossatlas.demo import digits, digits_mlp

def work(rank, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    model = DistributedDataParallel(digits_mlp((16,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = digits("test")
    with la.Recorder(model, optimizer, "run", every=2) as recorder:
        for step in range(5):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rank::2]), y[rank::2]).backward()
            optimizer.step()
    assert recorder.status == ("passive" if rank else "closed"), recorder.status
    print(recorder.sentence, flush=True)
    dist.destroy_process_group()

if __name__ == "__main__":
    torch.multiprocessing.spawn(work, (sys.argv[1],), nprocs=2)
"""


@pytest.mark.slow
def test_of_several_processes_the_first_writes(script, tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    said = script(SEVERAL, port).stdout
    assert "process 1 records nothing: process 0 does" in said
    found = la.Recording.load(tmp_path / "run", digits_mlp((16,)))
    assert found.steps.tolist() == [0, 2, 4, 5] and found.status == "closed"


MEMORY = """
import os, sys, torch, lossatlas as la
la.Recorder  # what importing takes is not counted
model = torch.nn.Sequential(*(torch.nn.Linear(2000, 2000, bias=False) for _ in range(5)))  # 20 million, 80 MB
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

def steps(count):
    for _ in range(count):
        model(torch.ones(1, 2000)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

def highest():
    return int([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1]) * 1024

steps(3)
before = highest()
with la.Recorder(model, optimizer, "run", every=1, keep=3, sketch=16384) as recorder:
    steps(4)
    print(recorder.memory, highest() - before)
"""


@pytest.mark.slow
def test_memory_is_as_stated(script):
    """The process grows by what the recorder says it holds: there is no second copy."""
    said, grown = map(int, script(MEMORY, MALLOC_MMAP_THRESHOLD_="1000000").stdout.split())
    assert said == pytest.approx(80e6, rel=0.01)
    assert grown < 1.1 * said


def test_a_point_that_a_loss_of_power_cut_short_is_none(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=2, quiet=True):
        one.steps(8)
    files = la.Recording.load(tmp_path).iterates
    assert len(files) == 5
    files[1].write_bytes(b"")
    files[2].write_bytes(files[2].read_bytes()[:-1])
    files[3].write_bytes((2**60).to_bytes(8, "little"))
    found = la.Recording.load(tmp_path)
    assert found.kept == (0, 4) and len(found.rows) == 5
    assert torch.equal(found.vector(8), one.points[8])


class Clamped(torch.optim.SGD):
    """Its step calls its parent's, and torch puts hooks around both."""

    def step(self, closure=None):
        loss = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.clamp_(-0.05, 0.05)
        return loss


def test_a_step_inside_a_step_is_no_step_of_its_own(run, tmp_path):
    run(torch.optim.SGD)  # from now on the parent's step has hooks
    one = run(Clamped)
    with la.Recorder(one.model, one.optimizer, tmp_path, every=1, quiet=True) as recorder:
        one.steps(4)
    assert recorder.step == 4
    found = la.Recording.load(tmp_path)
    assert found.steps.tolist() == [0, 1, 2, 3, 4]
    for step in range(1, 5):
        assert torch.equal(found.vector(step), one.points[step]) and float(found.vector(step).abs().max()) < 0.0501


def test_a_recorder_that_stopped_counts_no_steps_for_a_checkpoint(run, tmp_path):
    one = run(torch.optim.SGD)
    recorder = la.Recorder(one.model, one.optimizer, tmp_path, every=1, quiet=True)
    recorder.load_state_dict({"step": 30})
    assert recorder.state_dict() == {"step": 30}
    one.steps(2)
    assert recorder.state_dict() == {"step": 32}
    recorder._stop("the disk is full")
    one.steps(5)
    assert recorder.state_dict() == {}
    recorder.load_state_dict({})


def test_a_sketch_that_a_loss_of_power_cut_short_is_left_out(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=1, sketch=64, quiet=True):
        one.steps(7)
    sorted((tmp_path / "sketches").iterdir())[3].write_bytes(b"")
    found = la.Recording.load(tmp_path)
    assert found.steps.tolist() == [0, 1, 2, 4, 5, 6, 7] and found.coordinates().coords.shape == (7, 2)
    with la.Recorder(one.model, one.optimizer, tmp_path, every=1, sketch=64, resume=True, quiet=True):
        one.steps(2)
    assert la.Recording.load(tmp_path).steps.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_a_script_that_changes_its_directory_is_recorded_where_it_began(run, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    one = run()
    with la.Recorder(one.model, one.optimizer, "made", every=1, quiet=True):
        monkeypatch.chdir(tmp_path / "elsewhere")
        one.steps(2)
    assert la.Recording.load(tmp_path / "made").steps.tolist() == [0, 1, 2]


def test_layers_that_are_unfrozen_under_way_make_new_segments(run, tmp_path):
    one = run(torch.optim.SGD)
    for parameter in [*one.model[1].parameters()]:
        parameter.requires_grad_(False)
    last = torch.optim.SGD(one.model[3].parameters(), lr=0.1)
    one.optimizer = last
    recorder = la.Recorder(one.model, last, tmp_path, every=3, quiet=True)
    one.steps(4)
    for parameter in one.model[1].parameters():
        parameter.requires_grad_(True)
    # A new optimizer over everything, as most would make it: the recorder was never told of it.
    one.optimizer = torch.optim.Adam(one.model.parameters(), lr=0.01)
    one.steps(3)
    recorder.close()
    assert recorder.step == 7
    first, second = la.Recording.load(tmp_path).segments
    assert first.steps.tolist() == [0, 3] and second.steps.tolist() == [4, 6, 7]
    assert "'1.weight' was frozen when recording began" in first.sentence and "segment-2" in first.sentence
    for step in (4, 6, 7):
        assert torch.equal(second.vector(step), one.points[step])
    # Frozen parameters stood still: the whole path is one of the whole model.
    whole = first.joined(tmp_path / "whole")
    assert whole.steps.tolist() == [0, 3, 4, 6, 7] and whole.status == "closed"
    assert all(torch.equal(whole.vector(step), one.points[step]) for step in whole.steps)
    surface = la.NetworkSurface(one.model.eval(), "cross_entropy", (one.x, one.y))
    assert la.Plane.pca(surface, whole).project(whole, surface=surface).residuals[-1] == 0


def test_an_optimizer_per_parameter_within_the_backward_pass(tmp_path):
    """Each recorded point is the model between two backward passes, although the last optimizer steps first."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    x, y = torch.randn(24, 4), torch.randint(0, 3, (24,))
    each = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

    def step(parameter):
        each[parameter].step()
        each[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    true = [nn.utils.parameters_to_vector(model.parameters()).detach().clone()]
    with la.Recorder(model, list(each.values()), tmp_path, every=1, quiet=True):
        for _ in range(4):
            nn.functional.cross_entropy(model(x), y).backward()
            true.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
    found = la.Recording.load(tmp_path)
    assert found.steps.tolist() == [0, 1, 2, 3, 4]
    assert all(torch.equal(found.vector(k), true[k]) for k in range(5))


def test_an_optimizer_that_never_steps_is_not_waited_for(tmp_path):
    model = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
    each = [torch.optim.SGD(part.parameters(), lr=0.1) for part in model]
    true = [nn.utils.parameters_to_vector(model.parameters()).detach().clone()]
    with la.Recorder(model, each, tmp_path, every=5, quiet=True) as recorder:
        for _ in range(23):
            model[1](model[0](torch.ones(2, 3))).square().sum().backward()
            each[1].step()
            each[0].step()
            for one in each:
                one.zero_grad()
            true.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
    assert recorder.step == 23 and "1 optimizer of 3 (SGD) never stepped" in recorder.sentence
    found = la.Recording.load(tmp_path)
    assert found.steps.tolist() == [0, 10, 15, 20, 23] or found.steps.tolist() == [0, 9, 10, 15, 20, 23]
    assert all(torch.equal(found.vector(k), true[k]) for k in (15, 20, 23))


def test_a_critic_steps_more_often_than_its_generator(tmp_path):
    model = nn.ModuleDict({"critic": nn.Linear(2, 1), "generator": nn.Linear(2, 2)})
    critic, generator = (torch.optim.SGD(part.parameters(), lr=0.01) for part in model.values())
    with la.Recorder(model, [critic, generator], tmp_path, every=1, quiet=True) as recorder:
        for _ in range(3):
            for one in (critic, critic, critic, generator):
                one.zero_grad()
                model["critic"](model["generator"](torch.ones(4, 2))).sum().backward()
                one.step()
        critic.step()  # training ends within a step
    assert recorder.step == 4
    found = la.Recording.load(tmp_path)
    assert found.steps.tolist() == [0, 1, 2, 3, 4] and found.ends[-1]["made"] == [10, 3]
    assert torch.equal(found.vector(4), nn.utils.parameters_to_vector(model.parameters()).detach())


def test_the_last_point_is_the_model_as_it_is_when_recording_ends(run, tmp_path):
    one = run()
    with la.Recorder(one.model, one.optimizer, tmp_path, every=2, sketch=64, keep=4, quiet=True):
        one.steps(4)
        with torch.no_grad():
            one.model[1].bias.clamp_(min=0.01)
    found = la.Recording.load(tmp_path)
    assert found.steps.tolist() == [0, 2, 4] and torch.equal(found.vector(4), one.theta())
    assert torch.equal(found.sketches[-1], found._fold([one.theta()]))


def test_an_optimizer_that_never_stepped_is_said_with_what_was_seen(run, tmp_path, capsys):
    one, other = run(), run()
    with la.Recorder(one.model, one.optimizer, tmp_path / "a"):
        other.steps(3)
    said = capsys.readouterr().err
    assert (
        "Its optimizer (Adam) never stepped: 0 of its 4 parameters have a gradient; 1 other optimizer stepped" in said
    )
    assert "Check that" in said
    one = run(torch.optim.Adam, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with la.Recorder(one.model, one.optimizer, tmp_path / "b"):
        scaler.scale(one.model(one.x[:8]).square().mean() * float("inf")).backward()
        scaler.step(one.optimizer)
        scaler.update()
    said = capsys.readouterr().err
    assert "4 of its 4 parameters have a gradient; a gradient scaler skipped 1 step" in said


def test_a_recorder_that_stops_disturbs_no_other_hook(run, tmp_path):
    one = run(torch.optim.SGD)
    with la.Recorder(one.model, one.optimizer, tmp_path, every=5, quiet=True):
        one.steps(5)
    two, met = run(torch.optim.SGD).steps(1), []
    recorder = la.Recorder(two.model, two.optimizer, tmp_path, resume=True, quiet=True)
    for _ in range(2):
        two.optimizer.register_step_pre_hook(lambda *_: met.append(1))
    two.steps(2)
    assert recorder.status == "stopped" and len(met) == 4
    recorder.close()
    assert len(two.optimizer._optimizer_step_pre_hooks) == 2


def test_a_resumed_run_finds_its_segment(run, tmp_path):
    one = run(torch.optim.SGD)
    recorder = la.Recorder(one.model, one.optimizer, tmp_path, every=2, quiet=True)
    one.steps(4)
    one.model[1], one.model[3] = nn.Linear(64, 20), nn.Linear(20, 10)
    one.optimizer = torch.optim.SGD(one.model.parameters(), lr=0.1)
    one.steps(4)
    recorder.close()
    again = la.Recorder(one.model, one.optimizer, tmp_path, every=2, resume=True, start=6, quiet=True)
    one.steps(2)
    again.close()
    segments = la.Recording.load(tmp_path).segments
    assert [part.steps.tolist() for part in segments] == [[0, 2, 4], [4, 6, 8]]


def test_small_points_go_into_one_file(run, tmp_path):
    """Read as from files of their own, by any tar too; resumed, cut short and taken up again."""
    one = run(torch.optim.SGD)
    recorder = la.Recorder(one.model, one.optimizer, tmp_path / "run", every=2, pack=True, quiet=True)
    one.steps(6)
    with torch.no_grad():
        one.model[1].bias.add_(1.0)
    recorder.close()
    found = la.Recording.load(tmp_path / "run", one.model)
    assert not list((tmp_path / "run" / "points").iterdir()) and found.steps.tolist() == [0, 2, 4, 6]
    assert all(torch.equal(found.vector(step), one.points[step]) for step in (0, 2, 4))
    assert torch.equal(found.vector(6), one.theta())
    with tarfile.open(tmp_path / "run" / "points.tar") as archive:
        assert [member.name for member in archive][:3] == [f"step-{step:09d}.safetensors" for step in (0, 2, 4)]
        taken = load(archive.extractfile("step-000000004.safetensors").read())
    assert torch.equal(found.layout.join(taken), one.points[4])
    surface = la.NetworkSurface(one.model.eval(), "cross_entropy", (one.x, one.y))
    seen = la.trajectory(surface, la.Plane.pca(surface, found), found, points=None)
    assert seen.runs["run"].residuals[-1] == 0 and np.isfinite(seen.runs["run"].loss).all()
    assert found.coordinates().coords.shape == (4, 2)
    nn.utils.vector_to_parameters(one.points[4], one.model.parameters())
    again = la.Recorder(
        one.model, one.optimizer, tmp_path / "run", every=2, pack=True, resume=True, start=4, quiet=True
    )
    one.steps(2)
    again.close()
    found = la.Recording.load(tmp_path / "run")
    assert found.steps.tolist() == [0, 2, 4, 6] and torch.equal(found.vector(6), one.theta())
    pack = tmp_path / "run" / "points.tar"
    pack.write_bytes(pack.read_bytes()[:-600])
    assert la.Recording.load(tmp_path / "run").kept == (0, 1, 2)
    with pytest.raises(InputError, match="pack=True with keep=… or sketch=…"):
        la.Recorder(one.model, one.optimizer, tmp_path / "new", pack=True, keep=5)
