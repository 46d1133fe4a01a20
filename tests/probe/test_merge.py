"""Ledgers of parts: joined they are the ledger of the whole, and what is missing, doubled or wrong is said."""

import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import lossatlas as la
from lossatlas._errors import InputError, OutputError
from lossatlas.chart import Plane, chart_part, gaps
from lossatlas.cli._main import group
from lossatlas.probe import Ledger, Probe, Values, merge_ledgers
from lossatlas.surface import Reading

SURFACE = la.landscapes.himmelblau()
PLANE = Plane.random(SURFACE, seed=2)
GRID = {"points": (7, 5), "span": (-1.0, 2.0)}


def parts(root, count, only=None):
    folders = [root / f"part-{k}" for k in range(1, count + 1)]
    for number, folder in enumerate(folders, 1):
        if only is None or number in only:
            chart_part(SURFACE, PLANE, (number, count), folder, progress=False, **GRID)
    return [folder for folder in folders if folder.exists()]


@pytest.mark.slow
def test_merged_parts_are_the_chart_without_another_evaluation(tmp_path):
    merged = merge_ledgers(parts(tmp_path, 4), tmp_path / "all")
    assert merged.points == 35 and list(merged.new.values()) == [9, 9, 9, 8] and gaps(merged) == []
    assert merged.overlapping == merged.differing == 0
    whole = la.chart(SURFACE, PLANE, exact=True, ledger=tmp_path / "all", progress=False, **GRID)
    alone = la.chart(SURFACE, PLANE, exact=True, engine="inline", progress=False, **GRID)
    assert np.array_equal(whole.loss, alone.loss)
    assert whole.meter.values == 0 and whole.meter.recalled == 35
    assert whole.ledger["evaluated"] == whole.ledger["points"] == 35


@pytest.mark.slow
def test_merging_again_and_one_after_another_changes_nothing(tmp_path):
    folders = parts(tmp_path, 3)
    for folder in (*folders, *folders):
        again = merge_ledgers([folder], tmp_path / "all")
    assert again.points == 35 and again.new == {str(folders[-1].resolve()): 0} and again.overlapping == 0
    into_first = merge_ledgers(folders)
    assert into_first.folder == folders[0] and into_first.points == 35


def test_cells_that_no_part_holds_are_counted_by_part(tmp_path):
    merged = merge_ledgers(parts(tmp_path, 3, only={1, 3}), tmp_path / "all")
    (said,) = gaps(merged)
    assert said.startswith("12 of 35 cells are missing, of the parts 2/3 (12)")


@pytest.mark.slow
def test_parts_that_overlap_and_parts_of_two_divisions_are_said(tmp_path):
    first = parts(tmp_path, 3)
    chart_part(SURFACE, PLANE, "1/2", tmp_path / "other", progress=False, **GRID)
    merged = merge_ledgers([*first, tmp_path / "other"], tmp_path / "all")
    assert merged.points == 35 and merged.overlapping == 18
    assert any(
        "18 points were evaluated by more than one of them, with the same answers" in s for s in merged.sentences()
    )
    assert any("2 different divisions" in said for said in gaps(merged))


def test_ledgers_of_another_plane_or_with_another_loss_at_a_point_are_refused_and_nothing_is_written(tmp_path):
    (first,) = parts(tmp_path, 2, only={1})
    other = tmp_path / "plane"
    chart_part(SURFACE, Plane.random(SURFACE, seed=3), "2/2", other, progress=False, **GRID)
    with pytest.raises(OutputError, match="something else: plane"):
        merge_ledgers([first, other], tmp_path / "all")
    wrong = tmp_path / "wrong"
    with Ledger.open(first, identity_in(first)) as ledger:
        identity = ledger.identity
    with Ledger.open(wrong, identity) as ledger:
        point = torch.tensor([[-1.0, -1.0]], dtype=torch.float64)
        ledger.channel("exact").record(point, Reading(torch.tensor([3.0], dtype=torch.float64)), 0, 0.1)
    with pytest.raises(OutputError, match=r"of the same point.*Nothing was changed"):
        merge_ledgers([first, wrong], tmp_path / "all")
    assert not (tmp_path / "all" / "ledger.sqlite").exists()


def identity_in(folder):
    import json

    return json.loads((folder / "manifest.json").read_text())["identity"]


def test_answers_of_other_machines_that_agree_to_rounding_are_joined_and_measured(tmp_path):
    (first,) = parts(tmp_path, 2, only={1})
    point = torch.tensor([[-1.0, -1.0]], dtype=torch.float64)
    value = Probe(SURFACE.on(PLANE)).evaluate(Values(point)).values * (1 + 1e-9)
    with Ledger.open(tmp_path / "near", identity_in(first)) as ledger:
        ledger.channel("exact").record(point, Reading(value), 0, 0.1)
    merged = merge_ledgers([first, tmp_path / "near"], tmp_path / "all")
    assert merged.differing == 1 and merged.largest == pytest.approx(1e-9, rel=1e-3)


@pytest.mark.parametrize("part", ["0/3", "4/3", "x", "3", "1/2/3", None, (1, 0)])
def test_what_is_no_part_is_refused(tmp_path, part):
    with pytest.raises(InputError, match="as in 3/16"):
        chart_part(SURFACE, PLANE, part, tmp_path, progress=False)


def test_a_folder_without_a_ledger_and_one_in_use_are_refused(tmp_path):
    (first,) = parts(tmp_path, 2, only={1})
    with pytest.raises(OutputError, match="there is no ledger"):
        merge_ledgers([first, tmp_path / "nothing"], tmp_path / "all")
    with Ledger.open(first, identity_in(first)), pytest.raises(OutputError, match="in use"):
        merge_ledgers([first], tmp_path / "all")
    with pytest.raises(InputError, match="got no ledgers"):
        merge_ledgers([])


def test_the_command_says_what_it_did(tmp_path):
    folders = parts(tmp_path, 2, only={2})
    shutil.copytree(folders[0], tmp_path / "copy")
    ran = CliRunner().invoke(group, ["merge", str(folders[0]), str(tmp_path / "copy"), "--out", str(tmp_path / "all")])
    assert ran.exit_code == 0 and "17 points were evaluated by more than one" in ran.output
    assert "18 of 35 cells are missing, of the parts 1/2 (18)" in ran.output
