"""What is read from a folder that holds several things, one, or none; and what is said of what is no folder."""

import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas import archive
from lossatlas.lessons import Check, Evidence, Part
from lossatlas.probe import Ledger, Meter
from lossatlas.record import Checkpoints, Recording

WELLS = la.landscapes.four_wells()
EVIDENCE = Evidence("X1", "Sums are sums.", (Part("Added.", (Check("1 + 1 is 2", "2", True),), {"values": 2}),))


def tuning():
    return la.tune("gd", WELLS, trials=2, steps=3, progress=False)


def copies():
    return la.copies(la.NetworkSurface(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), "mse", data()))


def data():
    return torch.ones(4, 2), torch.ones(4, 1)


def recorded(folder):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with la.Recorder(model, optimizer, folder, every=1, quiet=True):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(4, 2)).square().mean().backward()
            optimizer.step()
    return Recording.load(folder)


def checkpoint(folder):
    """What training a curve leaves beside its path."""
    archive.save(folder, "training", {}, {"step": 3})


def test_a_recording_hides_nothing_beside_it(tmp_path):
    recorded(tmp_path)
    assert isinstance(la.load(tmp_path), Recording)
    checkpoint(tmp_path)
    assert isinstance(la.load(tmp_path), Recording)
    tuning().save(tmp_path)
    with pytest.raises(la.InputError, match=r"kinds tuning, recording; .*tuning\.json' or '.*recording\.json'\.$"):
        la.load(tmp_path)
    assert isinstance(la.load(tmp_path / "recording.json"), Recording)
    assert type(la.load(tmp_path / "tuning.json")).__name__ == "Tuning"


def test_files_of_other_kinds_are_left_aside(tmp_path):
    checkpoint(tmp_path)
    with pytest.raises(la.InputError, match="holds a training; expected one of advice, alignment, "):
        la.load(tmp_path)
    tuning().save(tmp_path)
    assert type(la.load(tmp_path)).__name__ == "Tuning"
    EVIDENCE.save(tmp_path)
    with pytest.raises(la.InputError, match=r"kinds tuning, lesson-X1; .*lesson-X1\.json'\.$"):
        la.load(tmp_path)
    assert la.load(tmp_path / "lesson-X1.json") == EVIDENCE


def test_two_results_in_one_folder_are_told_apart_by_their_files(tmp_path):
    tuning().save(tmp_path)
    copies().save(tmp_path)
    with pytest.raises(la.InputError, match=r"kinds copies, tuning; .*copies\.json' or '.*tuning\.json'") as refused:
        la.load(tmp_path)
    assert "\n" not in str(refused.value)
    assert type(la.load(tmp_path / "copies.json")).__name__ == "Copies"


def test_evidence_is_loaded_from_its_folder(tmp_path):
    EVIDENCE.save(tmp_path)
    assert la.load(tmp_path) == EVIDENCE
    with pytest.raises(la.InputError, match="needs no surface"):
        la.load(tmp_path, surface=WELLS)


def test_a_folder_without_a_result_has_its_own_sentence(tmp_path):
    with pytest.raises(la.InputError, match="holds no result; expected a pair"):
        la.load(tmp_path)
    with pytest.raises(la.InputError, match=r"there is no '.*nowhere'; expected a folder"):
        la.load(tmp_path / "nowhere")


@pytest.mark.parametrize("given", [None, 3, 2.5, b"x", ["a"]])
@pytest.mark.parametrize(
    "act",
    [
        la.load,
        lambda given: tuning().save(given),
        Recording.load,
        Recording.is_in,
        Checkpoints.load,
        lambda given: Checkpoints.of([given]),
        lambda given: la.Recorder(nn.Linear(1, 1), torch.optim.SGD(nn.Linear(1, 1).parameters()), given),
        lambda given: Ledger.open(given, {}),
        Ledger.rescue,
        Evidence.load,
        archive.kinds,
        archive.prepare_file,
        lambda given: archive.write_text(given, "x"),
    ],
)
def test_what_is_no_path_is_refused_in_a_sentence(act, given):
    with pytest.raises(la.InputError, match=r"^(got|the optimizer)") as refused:
        act(given)
    assert "\n" not in str(refused.value)


def test_a_surface_is_wanted_by_some_kinds_only(tmp_path):
    tuning().save(tmp_path)
    with pytest.raises(la.InputError, match=r"holds a tuning, which needs no surface; .*kinds basins, race, sweep\."):
        la.load(tmp_path, surface=WELLS)


def test_what_lies_where_it_is_and_parts_say_why_they_are_not_saved(tmp_path):
    recording = recorded(tmp_path / "run")
    (tmp_path / "net-1.pt").touch()
    several = Checkpoints.of([tmp_path / "net-1.pt"])
    for one, said in (
        (recording, f"a recording lies in its folder, '{tmp_path}.*run', .*Recording.load"),
        (several, "checkpoints lie where the training left them, 'net-1.pt' first.*Checkpoints.load"),
        (Meter(), "a Meter has no KIND: it is saved only inside a result that holds it"),
    ):
        with pytest.raises(la.InputError, match=said) as refused:
            one.save(tmp_path / "new")
        assert "\n" not in str(refused.value)
        archive.dump(one.record())
    assert recording.record()["folder"] == str(tmp_path / "run") and not (tmp_path / "new").exists()


def test_words_take_their_article(tmp_path):
    with pytest.raises(la.InputError, match="the record of an Evidence is damaged"):
        Evidence.load(archive.write_json(tmp_path / "lesson-X.json", {"id": "X"}))
    with pytest.raises(la.InputError, match="the record of an alignment is damaged"):
        archive.results["alignment"].restore({}, {})
