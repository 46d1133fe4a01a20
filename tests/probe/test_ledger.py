"""The ledger: what is kept is kept to the bit, and whatever does not fit is refused with everything as it was."""

import contextlib
import json
import math
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch

import lossatlas as la
from lossatlas._errors import InputError, OutputError
from lossatlas.probe import Ledger, Probe, Values, _manifest, _store, digest
from lossatlas.surface import Reading

IDENTITY = {"surface": {"model": "abc", "loss": "mse", "shape": (3, 4)}, "plane": {"seed": 0, "origin": "123"}}
SURFACE = la.landscapes.himmelblau()


def coords(n, seed=0):
    return torch.randn(500, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)[:n]


def fill(folder, n=400, identity=IDENTITY):
    """A ledger with answers to some points, closed again."""
    with Ledger.open(folder, identity) as ledger:
        return Probe(SURFACE, ledger=ledger.channel("exact")).evaluate(Values(coords(n))).values


def contents(folder):
    """Every file of a folder but the empty lock, bit for bit."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file() and p.name != "ledger.lock"}


def bits(tensor):
    return tensor.view(torch.int64)


HARD = [0.0, 5e-324, -1e-310, 1.7976931348623157e308, 1.0, 3.0, 2**53 + 1.0, 1e22, 0.1, -0.3, math.pi, 1 / 3]


def test_losses_and_channels_come_back_to_the_bit(tmp_path):
    values = torch.tensor([*HARD, math.nan, math.inf, -math.inf], dtype=torch.float64)
    points, extras = coords(len(values)), {"accuracy": values.flip(0), "other channel": values.roll(3)}
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        channel = ledger.channel("exact")
        assert not channel.recall(points)[0].any()
        channel.record(points, Reading(values, extras), 7, 1.5)
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(1))
        queried = torch.cat([points[order], coords(3, seed=9)])
        known, reading = ledger.channel("exact").recall(queried)
        assert known.tolist() == [True] * len(points) + [False] * 3
        assert torch.equal(bits(reading.values), bits(values[order]))
        assert list(reading.extras) == list(extras)
        for name, channel in extras.items():
            assert torch.equal(bits(reading.extras[name]), bits(channel[order]))
    query = "SELECT status, count(*), count(value), sum(examples), round(sum(seconds), 9) FROM points GROUP BY status"
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        rows = connection.execute(query).fetchall()
    n = len(HARD)
    assert {row[0]: row[1:3] for row in rows} == {"ok": (n, n), "nan": (1, 0), "posinf": (1, 0), "neginf": (1, 0)}


def test_signs_of_zero_and_nan_are_one_in_keys_and_answers(tmp_path):
    negative = torch.tensor([-0.0, -math.nan], dtype=torch.float64)
    assert bits(negative).tolist() != bits(torch.tensor([0.0, math.nan], dtype=torch.float64)).tolist()
    surface = la.landscapes.himmelblau()
    rows = lambda points: negative[(points[:, 0] != 0).long()]  # noqa: E731
    surface.read = lambda points: Reading(rows(points), {"more": rows(points)})
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        probe = Probe(surface, ledger=ledger.channel("exact"))
        new = probe.evaluate(Values(torch.tensor([[-0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)))
        old = probe.evaluate(Values(torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)))
        assert (probe.meter.values, probe.meter.recalled) == (2, 2)
    for found in (new.values, old.values, new.extras["more"], old.extras["more"]):
        assert bits(found).tolist() == bits(torch.tensor([0.0, math.nan], dtype=torch.float64)).tolist()


def test_neighboring_floats_are_different_points(tmp_path):
    x = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    near = torch.nextafter(x, torch.full_like(x, 1.0))
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        channel = ledger.channel("exact")
        channel.record(x, Reading(torch.zeros(1, dtype=torch.float64)), 0, 0.0)
        assert channel.recall(torch.cat([x, near]))[0].tolist() == [True, False]


def test_an_answer_is_evaluated_once_over_all_sessions_and_never_changed(tmp_path):
    first = fill(tmp_path, 50)
    surface, queried = la.landscapes.himmelblau(), []
    read = surface.read
    surface.read = lambda p: (queried.append(len(p)), read(p))[1]
    with Ledger.open(tmp_path, IDENTITY, settings={"points": 51}) as ledger:
        probe = Probe(surface, ledger=ledger.channel("exact"))
        both = probe.evaluate(Values(coords(80)))
        assert torch.equal(both.values[:50], first) and torch.equal(both.values, SURFACE.values(coords(80)))
        assert (probe.meter.values, probe.meter.recalled, probe.meter.confirmed, sum(queried)) == (30, 50, 3, 33)
        assert (len(ledger), ledger.evaluated, ledger.sessions, ledger.notes) == (80, 80, 2, ())
        ledger.channel("exact").record(coords(5), Reading(torch.ones(5, dtype=torch.float64)), 0, 0.0)
        # An answer that comes twice is seen, and the first one stays.
        assert len(ledger) == 80 and ledger.evaluated == 85
        assert torch.equal(ledger.channel("exact").recall(coords(5))[1].values, first[:5])
        assert json.loads(json.dumps(ledger.record()))["evaluated"] == 85


def test_channels_are_fields_of_their_own(tmp_path):
    points = coords(4)
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        for k, name in enumerate(("exact", "cheap")):
            ledger.channel(name).record(points, Reading(torch.full((4,), float(k), dtype=torch.float64)), 0, 0.0)
        for k, name in enumerate(("exact", "cheap")):
            assert ledger.channel(name).recall(points)[1].values.tolist() == [k] * 4
        ledger.channel("cheap", {"subset": 100, "dtype": "bfloat16"})
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.channel("cheap", {"subset": 100, "dtype": "bfloat16"})
        with pytest.raises(OutputError, match=r"the field 'cheap' of the ledger .* subset was 100, now 200"):
            ledger.channel("cheap", {"subset": 200, "dtype": "bfloat16"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"surface": {"model": "xyz", "loss": "mse", "shape": (3, 4)}}, 'surface.model was "abc", now "xyz"'),
        ({"plane": {"seed": 1, "origin": "123"}}, "plane.seed was 0, now 1"),
        ({"plane": {"seed": 0}}, 'plane.origin was "123", now absent'),
        ({"device": "cuda"}, 'device was absent, now "cuda"'),
        ({"surface": {"model": "abc", "loss": "mse", "shape": (3, 5)}}, "surface.shape was [3, 4], now [3, 5]"),
    ],
)
def test_another_model_data_or_plane_is_refused_with_the_difference_named(tmp_path, change, says):
    fill(tmp_path, 20)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="is of something else") as refused:
        Ledger.open(tmp_path, IDENTITY | change)
    assert says in str(refused.value) and "Choose another folder" in str(refused.value)
    assert contents(tmp_path) == before
    fill(tmp_path, 20)


def test_measured_numbers_of_an_identity_may_differ_by_rounding_only(tmp_path):
    """Norms and losses come out a little different on other cores; what must be exact goes in as a digest."""
    measured = {"plane": {"norms": [3.0, 4.000001], "cosine": 0.0}, "loss": 0.12345678}
    with Ledger.open(tmp_path, measured):
        pass
    with Ledger.open(tmp_path, {"plane": {"norms": [3.00001, 4.0], "cosine": 1e-12}, "loss": 0.12345679}):
        pass
    for other, says in (
        ({"loss": 0.1236}, "loss was 0.12345678, now 0.1236"),
        ({"plane": {"norms": [3.0, 4.1], "cosine": 0.0}}, r"plane.norms was \[3.0, 4.000001\], now \[3.0, 4.1\]"),
        ({"plane": {"norms": [3.0], "cosine": 0.0}}, "plane.norms was"),
        ({"loss": math.nan}, "loss was"),
    ):
        with pytest.raises(OutputError, match=says):
            Ledger.open(tmp_path, measured | other)


def said_elsewhere(folder):
    """What another process is told that opens the same ledger."""
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            Ledger.open(folder, IDENTITY)
        except OutputError as refused:
            os.write(write, str(refused).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.wait()
    with os.fdopen(read) as pipe:
        return pipe.read()


def test_a_second_run_on_the_folder_is_refused_and_the_first_goes_on(tmp_path):
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        channel = ledger.channel("exact")
        channel.record(coords(3), Reading(torch.zeros(3, dtype=torch.float64)), 0, 0.0)
        with pytest.raises(OutputError, match=f"in use by process {os.getpid()} on .*expected one run at a time"):
            Ledger.open(tmp_path, IDENTITY)
        assert f"in use by process {os.getpid()}" in said_elsewhere(tmp_path)
        with pytest.raises(OutputError, match="in use"):
            Ledger.rescue(tmp_path)
        # Anyone may read along.
        reader = sqlite3.connect(f"{(tmp_path / 'ledger.sqlite').as_uri()}?mode=ro", uri=True)
        with contextlib.closing(reader):
            channel.record(coords(3, seed=1), Reading(torch.zeros(3, dtype=torch.float64)), 0, 0.0)
            assert reader.execute("SELECT count(*) FROM points").fetchone() == (6,)
    Ledger.open(tmp_path, IDENTITY).close()


def test_an_interrupt_inside_a_transaction_keeps_none_of_it(tmp_path):
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.channel("exact").record(coords(3), Reading(torch.zeros(3, dtype=torch.float64)), 0, 0.0)
        with pytest.raises(KeyboardInterrupt), ledger._store.writing() as connection:
            connection.execute("DELETE FROM points")
            raise KeyboardInterrupt
        assert len(ledger) == 3
        ledger.channel("exact").record(coords(5), Reading(torch.zeros(5, dtype=torch.float64)), 0, 0.0)
        assert len(ledger) == 5


def rewrite(path, begin, new):
    raw = bytearray(path.read_bytes())
    raw[begin : begin + len(new)] = new
    path.write_bytes(bytes(raw))


_FLIP = "UPDATE points SET value = value * 1.000001 WHERE a = (SELECT a FROM points ORDER BY a LIMIT 1 OFFSET 7)"


def flip_a_loss(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(_FLIP)
        connection.commit()


DAMAGES = {
    "a page in the middle overwritten": lambda p: rewrite(p, p.stat().st_size // 8192 * 4096, b"\x5a" * 4096),
    "a byte of a loss": flip_a_loss,
    "the end cut off": lambda p: os.truncate(p, p.stat().st_size - 3 * 4096),
    "the beginning overwritten": lambda p: rewrite(p, 0, b"\x00" * 4096),
    "nothing left": lambda p: os.truncate(p, 0),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_ledger_is_refused_saying_how_much_is_left_and_rescued(tmp_path, how):
    truth = fill(tmp_path)
    DAMAGES[how](tmp_path / "ledger.sqlite")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"is damaged .* ([\d,]+) answered points in it can still be read") as refused:
        Ledger.open(tmp_path, IDENTITY)
    assert "Ledger.rescue" in str(refused.value) and "another folder" in str(refused.value)
    assert contents(tmp_path) == before
    left = Ledger.rescue(tmp_path)
    assert f"; {left:,} answered points" in str(refused.value)
    assert left == {"a byte of a loss": 399, "the beginning overwritten": 0, "nothing left": 0}.get(how, left)
    assert "page" not in how or 200 < left < 400
    assert (tmp_path / "ledger.damaged.sqlite").read_bytes() == before["ledger.sqlite"]
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        assert len(ledger) == left
        probe = Probe(SURFACE, ledger=ledger.channel("exact"))
        assert torch.equal(bits(probe.evaluate(Values(coords(400))).values), bits(truth))
        assert (probe.meter.values, probe.meter.recalled) == (400 - left, left)


def test_a_ledger_of_another_version_is_refused(tmp_path):
    fill(tmp_path, 10)
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 7")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"ledger format 7; expected 1\. It was written by another version"):
        Ledger.open(tmp_path, IDENTITY)
    assert contents(tmp_path) == before


def test_databases_and_manifests_of_others_are_left_alone(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        connection.execute("CREATE TABLE mine (x)")
        connection.commit()
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="no ledger of lossatlas"):
        Ledger.open(tmp_path, IDENTITY)
    assert contents(tmp_path) == before
    (tmp_path / "ledger.sqlite").unlink()
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(OutputError, match="no manifest of a ledger"):
        Ledger.open(tmp_path, IDENTITY)
    assert (tmp_path / "manifest.json").read_text() == '{"name": "a web page"}'


def test_a_manifest_that_is_damaged_edited_or_of_another_version_is_refused(tmp_path):
    truth = fill(tmp_path, 10)
    path = tmp_path / "manifest.json"
    text = path.read_text()
    for bad, says in (
        (text[: len(text) // 2], "damaged: it is no strict JSON.*remove the manifest"),
        (text.replace('"seed": 0', '"seed": 1'), "not the manifest that the ledger beside it was begun with"),
        (text.replace('"version": 1', '"version": 2'), "ledger format 2; expected 1"),
        ('{"format": "lossatlas ledger"}', "no manifest of a ledger"),
    ):
        assert bad != text
        path.write_text(bad)
        with pytest.raises(OutputError, match=says):
            Ledger.open(tmp_path, IDENTITY | {"plane": {"seed": 1, "origin": "123"}})
        assert path.read_text() == bad
    path.unlink()
    assert torch.equal(fill(tmp_path, 10), truth)
    assert path.read_text() == text


def test_points_that_went_missing_are_not_silently_begun_anew(tmp_path):
    fill(tmp_path, 10)
    (tmp_path / "ledger.sqlite").unlink()
    with pytest.raises(OutputError, match=r"ledger.sqlite is missing. Put back a copy of it, or remove manifest.json"):
        Ledger.open(tmp_path, IDENTITY)


def test_the_manifest_says_what_the_run_is_of(tmp_path):
    fill(tmp_path, 1)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["identity"] == json.loads(json.dumps(IDENTITY))
    assert manifest["torch"] == torch.__version__ and manifest["instructions"]


@pytest.fixture
def disk(tmp_path):
    """A tiny disk of its own; skipped where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("needs to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def until_full(ledger):
    """Evaluate until the disk is full; the points that were handed on."""
    probe = Probe(SURFACE, ledger=ledger.channel("exact"))
    for k in range(2000):
        try:
            probe.evaluate(Values(coords(40, seed=k)))
        except OutputError as error:
            return k, str(error)
    raise AssertionError("never full")


def check_full(folder, batches, said, more):
    assert "the disk is full" in said or "could not be read or written" in said
    assert "answered before are safe in it" in said and batches > 0
    more()
    with Ledger.open(folder, IDENTITY) as ledger:
        probe = Probe(SURFACE, ledger=ledger.channel("exact"))
        for k in range(batches):
            assert torch.equal(probe.evaluate(Values(coords(40, seed=k))).values, SURFACE.values(coords(40, seed=k)))
        assert probe.meter.values == 0 and probe.meter.recalled == 40 * batches
        probe.evaluate(Values(coords(40, seed=batches)))


def test_a_full_disk_is_a_clean_error_and_what_was_handed_on_is_there(disk):
    with Ledger.open(disk, IDENTITY) as ledger:
        batches, said = until_full(ledger)
    grow = ["mount", "-o", "remount,size=1m", str(disk)]
    check_full(disk, batches, said, lambda: subprocess.run(grow, check=True))


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_a_clean_error_too(tmp_path):
    """The same where nothing can be mounted: SQLite refuses to grow the file as it does on a full disk."""
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger._store.connection.execute("PRAGMA max_page_count = 20")
        batches, said = until_full(ledger)
    check_full(tmp_path, batches, said, lambda: None)


def test_no_room_for_a_beginning_leaves_nothing(disk):
    (disk / "ballast").write_bytes(b"0" * 156 * 1024)
    with pytest.raises(OutputError, match=r"full|no room|cannot be opened"):
        Ledger.open(disk, IDENTITY)
    assert not [path.name for path in disk.iterdir() if path.name not in ("ballast", "ledger.lock")]


def test_a_read_only_folder_is_a_clean_error(disk):
    truth = fill(disk, 20)
    before = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(OutputError, match="read-only"):
        Ledger.open(disk, IDENTITY)
    assert contents(disk) == before
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert torch.equal(fill(disk, 20), truth)


def test_a_folder_without_permission_is_a_clean_error(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        Ledger.open(tmp_path, IDENTITY)
    assert not list(tmp_path.iterdir())
    tmp_path.chmod(0o700)


def test_a_file_that_turns_read_only_during_a_run_is_a_clean_error(tmp_path):
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        probe = Probe(SURFACE, ledger=ledger.channel("exact"))
        probe.evaluate(Values(coords(10)))
        ledger._store.connection.execute("PRAGMA query_only = 1")
        with pytest.raises(OutputError, match=r"read-only\. The 10 points answered before are safe in it"):
            probe.evaluate(Values(coords(20)))
        assert probe.meter.values == 10
    assert torch.equal(fill(tmp_path, 20), SURFACE.values(coords(20)))


def test_a_folder_that_cannot_be_is_a_clean_error(tmp_path):
    path = tmp_path / "file"
    path.write_text("in the way")
    with pytest.raises(OutputError, match="in the way"):
        Ledger.open(path, IDENTITY)
    with pytest.raises(OutputError, match="a part of that path is a file"):
        Ledger.open(path / "deeper", IDENTITY)


TABLE = """22 27 0:21 / / rw - ext4 /dev/vda rw
30 22 0:25 / /home rw shared:1 - nfs4 server:/home rw
31 22 0:26 / /scratch\\040one rw - lustre x rw
32 30 0:27 / /home/me/local rw - xfs /dev/vdb rw"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/tmp/x", "ext4"),
        ("/home/me/run", "nfs4"),
        ("/home/me/local/run", "xfs"),
        ("/homes/me", "ext4"),
        ("/scratch one/x", "lustre"),
    ],
)
def test_the_file_system_is_the_one_mounted_nearest_above(folder, kind):
    assert _store._mounted(Path(folder), TABLE) == kind


def test_off_local_disks_there_is_a_rollback_journal_and_the_same_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(_store, "_mounted", lambda folder, table: "nfs4")
    assert _store.journal(tmp_path) == ("DELETE", "nfs4")
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        assert ledger._store.one("PRAGMA journal_mode") == "delete" and ledger.record()["file_system"] == "nfs4"
        values = Probe(SURFACE, ledger=ledger.channel("exact")).evaluate(Values(coords(30))).values
        assert not (tmp_path / "ledger.sqlite-wal").exists()
    monkeypatch.undo()
    assert torch.equal(fill(tmp_path, 30), values)


def test_answers_from_different_environments_are_noted(tmp_path, monkeypatch):
    fill(tmp_path, 10)
    other = {"torch": "9.9", "instructions": "AVX512", "precision": "highest"}
    monkeypatch.setattr(_manifest, "environment", lambda: other)
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        assert ledger.notes == ()  # nothing was answered here yet
        Probe(SURFACE, ledger=ledger.channel("exact")).evaluate(Values(coords(12)))
        (note,) = ledger.notes
        assert "2 environments, which agree to rounding only" in note and torch.__version__ in note and "9.9" in note


def test_tensors_are_kept_under_their_digest(tmp_path):
    generator = torch.Generator().manual_seed(0)
    given = {
        "origin": torch.randn(50, generator=generator),
        "directions": torch.randn(2, 50, generator=generator).double().T,
        "small": torch.randn(3, generator=generator).bfloat16(),
        "empty": torch.zeros(0, 2),
    }
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        name = ledger.keep(given)
        assert ledger.keep({k: v.clone() for k, v in given.items()}) == name
        assert [p.name for p in (tmp_path / "blobs").iterdir()] == [name] == list(ledger.blobs)
        back = ledger.fetch(name)
        assert set(back) == set(given)
        assert all(torch.equal(back[k], v) and back[k].dtype == v.dtype for k, v in given.items())
        assert set(safetensors.torch.load_file(tmp_path / "blobs" / name)) == set(given)
        rewrite(tmp_path / "blobs" / name, 300, b"\xff")
        with pytest.raises(OutputError, match="damaged"):
            ledger.fetch(name)
        with pytest.raises(OutputError, match="cannot read"):
            ledger.fetch("nothing.safetensors")


def test_digests_tell_bits_shapes_and_types_apart():
    a = torch.arange(6.0)
    others = [a.reshape(2, 3), a.double(), torch.nextafter(a, a + 1), a.flip(0)]
    assert len({digest(x) for x in (a, *others)}) == 5 and digest(a) == digest(a.clone())


def test_only_points_of_lines_planes_and_spaces_are_kept(tmp_path):
    with Ledger.open(tmp_path, IDENTITY) as ledger, pytest.raises(InputError, match="Slice the surface first"):
        Probe(la.landscapes.quadratic(dimension=9), ledger=ledger.channel("exact")).evaluate(
            Values(torch.zeros(1, 9, dtype=torch.float64))
        )


def test_points_of_a_space_are_told_apart_in_every_coordinate(tmp_path):
    bowl = la.landscapes.quadratic(dimension=4)
    at = torch.tensor([[0.5, -1.0, 2.0, -0.0], [0.5, -1.0, 2.0, -3.0], [0.5, -1.0, -2.0, 0.0]], dtype=torch.float64)
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        first = Probe(bowl, ledger=ledger.channel("exact")).evaluate(Values(at)).values
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        probe = Probe(bowl, ledger=ledger.channel("exact"))
        again = probe.evaluate(Values(at.flip(0).abs() * at.flip(0).sign())).values
        assert torch.equal(again, first.flip(0)) and probe.meter.recalled == 3 and 0 < probe.meter.confirmed <= 3
        assert torch.equal(first, bowl.values(at)) and len(set(first.tolist())) == 2
        assert probe.evaluate(Values(at + 1)).values.shape == (3,) and probe.meter.recalled == 3


def test_points_of_a_line_have_one_coordinate(tmp_path):
    line = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.channel("exact").record(line, Reading(line[:, 0].square()), 0, 0.0)
        known, reading = ledger.channel("exact").recall(line.flip(0))
        assert known.all() and torch.equal(reading.values, line.flip(0)[:, 0].square())


def edit(folder, statement):
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DELETE FROM manifest", "its own copy of the manifest is missing"),
        ("UPDATE manifest SET text = x'00ff'", "its own copy of the manifest is missing"),
        ("DROP TABLE manifest", "its table manifest is missing"),
        ("DROP TABLE events", "its table events is missing"),
        ("DROP TABLE points", "its table points is missing"),
        ("ALTER TABLE points RENAME COLUMN extras TO more", "its table points has no extras"),
        ("ALTER TABLE events DROP COLUMN detail", "its table events has no detail"),
    ],
)
def test_a_ledger_that_lost_a_part_is_called_damaged_and_can_be_rescued(tmp_path, statement, says):
    truth = fill(tmp_path, 30)
    edit(tmp_path, statement)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=f"is damaged .{says}.") as refused:
        Ledger.open(tmp_path, IDENTITY)
    assert "cannot write" not in str(refused.value) and "Ledger.rescue" in str(refused.value)
    assert contents(tmp_path) == before
    left = Ledger.rescue(tmp_path)
    assert left == (0 if "points" in statement else 30)
    assert torch.equal(fill(tmp_path, 30), truth)


@pytest.mark.parametrize("detail", ["no JSON", "", "null", "[1]", '{"with": 3}', "{}", None])
def test_an_event_whose_detail_cannot_be_read_costs_nothing(tmp_path, detail):
    truth = fill(tmp_path, 10)
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        connection.execute("UPDATE events SET detail = ?", (detail,))
        connection.commit()
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        probe = Probe(SURFACE, ledger=ledger.channel("exact"))
        assert torch.equal(probe.evaluate(Values(coords(10))).values, truth)
        assert probe.meter.confirmed == 3 and json.dumps(ledger.record())
        probe.evaluate(Values(coords(12)))
        (note,) = ledger.notes
        assert "2 environments" in note and "one that cannot be read" in note


def test_what_a_field_is_of_that_cannot_be_read_is_called_damaged(tmp_path):
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.channel("cheap", {"subset": 100})
    edit(tmp_path, "UPDATE events SET detail = 'no JSON' WHERE kind = 'channel'")
    with (
        Ledger.open(tmp_path, IDENTITY) as ledger,
        pytest.raises(OutputError, match="field 'cheap' is of cannot be read"),
    ):
        ledger.channel("cheap", {"subset": 100})


@pytest.mark.parametrize("name", ["ledger.lock", "ledger.sqlite", "manifest.json"])
def test_what_stands_in_the_place_of_a_file_is_named_and_left_alone(tmp_path, name):
    truth = fill(tmp_path / "other", 5)
    for folder in (tmp_path / "new", tmp_path / "other"):
        folder.mkdir(exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()
        with pytest.raises(OutputError, match=f"{name}' is a folder; expected a file.*Move it away"):
            Ledger.open(folder, IDENTITY)
        (folder / name).rmdir()
        os.mkfifo(folder / name)
        with pytest.raises(OutputError, match=f"{name}' is no regular file"):
            Ledger.open(folder, IDENTITY)
        (folder / name).unlink()
    if name != "ledger.sqlite":
        assert torch.equal(fill(tmp_path / "other", 5), truth)
    (tmp_path / "new" / "ledger.lock").write_bytes(b"some text" * 1000)
    with pytest.raises(OutputError, match="not the empty file that a run locks"):
        Ledger.open(tmp_path / "new", IDENTITY)


@pytest.mark.slow
def test_a_refused_ledger_leaves_no_connection_open(tmp_path, monkeypatch):
    opened, connect = [], sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: (opened.append(connect(*a, **k)), opened[-1])[1])
    for k, damage in enumerate([*DAMAGES.values(), lambda p: edit(p.parent, "DROP TABLE events"), lambda p: None]):
        folder = tmp_path / str(k)
        fill(folder)
        damage(folder / "ledger.sqlite")
        with pytest.raises(OutputError):
            Ledger.open(folder, {"another": 1})
    assert len(opened) > 20
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    monkeypatch.undo()

    def broken(*_):
        raise MemoryError

    monkeypatch.setattr(_store.Store, "_verify", broken)
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: (opened.append(connect(*a, **k)), opened[-1])[1])
    with pytest.raises(MemoryError):
        Ledger.open(tmp_path / "0", IDENTITY)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[-1].execute("SELECT 1")


def off(by, **also):
    surface = la.landscapes.himmelblau()
    read = surface.read
    surface.read = lambda points: Reading(by(read(points).values))
    for name, value in also.items():
        setattr(surface, name, value)
    return surface


CHANGED = {
    "the highest losses cut off": lambda v: v.clamp(max=1.0),
    "the lowest losses lifted": lambda v: v.clamp(min=150.0),
    "everywhere by one unit in the last place": lambda v: torch.nextafter(v, v + 1),
    "no finite loss any more": lambda v: v * math.nan,
    "an infinite one": lambda v: torch.where(v == v.max(), math.inf, v),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_surface_that_changed_behind_its_name_is_refused_before_anything_is_recalled(tmp_path, what):
    truth = fill(tmp_path, 40)
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        probe = Probe(off(CHANGED[what]), ledger=ledger.channel("exact"))
        for _ in range(2):  # trying again does not help
            with pytest.raises(OutputError, match="is of another surface") as refused:
                probe.evaluate(Values(coords(45)))
        said = str(refused.value)
        assert "3 of its cells were evaluated again" in said and "Choose another folder" in said
        assert "expected the same to the bit" in said
        assert len(ledger) == 40 and probe.meter.recalled == 0
    assert torch.equal(fill(tmp_path, 40), truth)


def test_the_refusal_names_the_cell_with_both_losses(tmp_path):
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        points = torch.tensor([[0.2, -0.4], [0.0, 0.0]], dtype=torch.float64)
        ledger.channel("exact").record(points, Reading(torch.tensor([5.036, 1.0], dtype=torch.float64)), 0, 0.0)
        probe = Probe(off(lambda v: torch.tensor([1.0, 2.0]).double()), ledger=ledger.channel("exact"))
        with pytest.raises(OutputError) as refused:
            probe.evaluate(Values(points))
    assert "at cell (0.2, -0.4) the ledger has 5.036, the surface now gives 2; expected" in str(refused.value)


def test_cells_that_are_evaluated_again_are_the_lowest_the_highest_and_one_between(tmp_path):
    truth = fill(tmp_path, 200)
    points, seen = coords(200), []
    surface = la.landscapes.himmelblau()
    read = surface.read
    surface.read = lambda p: (seen.append(p), read(p))[1]
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        probe = Probe(surface, ledger=ledger.channel("exact"))
        probe.evaluate(Values(points))
        probe.evaluate(Values(points))
    (once,) = seen
    rows = {tuple(row) for row in once.tolist()}
    assert len(rows) == 3 and {tuple(points[k].tolist()) for k in (truth.argmin(), truth.argmax())} <= rows
    assert rows <= {tuple(row) for row in points.tolist()}
    assert (probe.meter.confirmed, probe.meter.values, probe.meter.recalled) == (3, 0, 400)
    assert probe.meter.cost() == 3 and probe.meter.record()["confirmed"] == 3


@pytest.mark.slow
def test_where_bits_are_not_promised_losses_must_agree_to_the_rounding_of_their_type(tmp_path, monkeypatch):
    """|a − b| ≤ √ε·max(|a|, |b|), 3.5e-4 in float32: on another machine, with another torch, or without steady readings."""
    fill(tmp_path, 40)
    near, far = (lambda by: lambda v: v * (1 + by))(3.0e-4), (lambda by: lambda v: v * (1 + by))(5.0e-4)

    def again(by):
        with Ledger.open(tmp_path, IDENTITY) as ledger:
            probe = Probe(off(by, dtype=torch.float32), ledger=ledger.channel("exact"))
            return probe.evaluate(Values(coords(40)))

    with pytest.raises(OutputError, match="to the bit"):
        again(near)
    for change in (
        lambda m: m.setattr(_manifest, "environment", lambda: {"torch": "9.9"}),
        lambda m: m.setattr("platform.node", lambda: "another"),
        lambda m: m.setattr(type(SURFACE), "rows_alone", False),
    ):
        with monkeypatch.context() as patch:
            change(patch)
            again(near)
            with pytest.raises(OutputError, match=r"expected the same to a relative 0\.0003"):
                again(far)


def test_a_ledger_begun_before_code_had_a_digest_goes_on_and_other_pythons_are_not_compared(tmp_path):
    old = {"surface": {"model": "abc", "loss": "mse"}}
    new = {"surface": {"model": "abc", "loss": "mse", "code": "py3.11:" + "a" * 16, "model_code": "py3.11:" + "b" * 16}}
    truth = fill(tmp_path / "old", 10, old)
    assert torch.equal(fill(tmp_path / "old", 10, new), truth)
    fill(tmp_path / "new", 10, new)
    other = {"surface": {**new["surface"], "code": "py3.12:" + "c" * 16}}
    assert torch.equal(fill(tmp_path / "new", 10, other), truth)
    edited = {"surface": {**new["surface"], "code": "py3.11:" + "c" * 16}}
    with pytest.raises(OutputError, match=r"surface.code was .*The code of the loss computes something else now"):
        fill(tmp_path / "new", 10, edited)
    with pytest.raises(OutputError, match=r'code was "py3\.11:a+", now absent'):
        fill(tmp_path / "new", 10, old)


def test_data_that_differ_for_a_loader_that_shuffles_say_so(tmp_path):
    fill(tmp_path, 10, {"surface": {"data": "abc", "loss_at_theta": 1.0}})
    note = "The loader shuffles: the order of the examples is this one."
    for now, notes, says in (
        ({"data": "xyz", "loss_at_theta": 1.0}, (note,), True),
        ({"data": "xyz", "loss_at_theta": 1.5}, (note,), True),  # it may augment as well
        ({"data": "xyz", "loss_at_theta": 1.0}, ("something else",), False),
        ({"data": "xyz", "loss_at_theta": 1.0, "loss": "mse"}, (note,), False),
        ({"data": "abc", "loss_at_theta": 1.5}, (note,), False),
    ):
        with pytest.raises(OutputError, match="is of something else") as refused:
            Ledger.open(tmp_path, {"surface": now}, notes=notes)
        assert ("shuffle=False" in str(refused.value)) == says
