"""Results to folders and back: nothing lost, nothing half-written, every refusal a sentence."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossatlas import archive
from lossatlas._errors import InputError, OutputError

ARRAYS = {"loss": np.arange(6.0).reshape(2, 3), "status": np.array([0, 1], dtype=np.int8)}
RECORD = {"seed": 0, "rates": [0.1, math.inf], "note": "θ₀", "none": None}
DTYPES = ["bool", "int8", "uint16", "int64", "uint64", "float16", "float32", "float64", "complex64", ">f8", ">i4"]

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__")
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
keys = st.text(max_size=6) | st.sampled_from(["$float", "$$float", "$"])
records = st.dictionaries(
    keys,
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)),
    max_size=4,
)


def same(a: object, b: object) -> bool:
    """Equal in type and value, with nan equal to nan and -0.0 not to 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@given(records)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_records_come_back_as_they_were(record):
    with tempfile.TemporaryDirectory() as folder:
        path = archive.save(folder, "chart", {}, record)
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"not strict JSON: {name}"))
        assert same(archive.load(folder)[2], record)


@pytest.mark.slow
@given(
    st.dictionaries(names, st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3))), st.randoms()
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_arrays_come_back_bit_by_bit(specs, random):
    arrays = {}
    for name, (dtype, shape) in specs.items():
        raw = random.randbytes(math.prod(shape) * np.dtype(dtype).itemsize)
        flat = np.frombuffer(bytes(byte & 1 for byte in raw) if dtype == "bool" else raw, dtype=dtype)
        arrays[name] = flat.reshape(shape)
    with tempfile.TemporaryDirectory() as folder:
        archive.save(folder, "chart", arrays, {})
        found = archive.load(folder)[1]
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert found[name].dtype == native.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == native.tobytes()


def test_round_trip(tmp_path):
    path = archive.save(tmp_path / "new" / "folder", "chart", ARRAYS, RECORD)
    kind, arrays, record = archive.load(path.parent)
    assert path == tmp_path / "new" / "folder" / "chart.json" and kind == "chart" and record == RECORD
    assert all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS) and len(arrays) == 2
    arrays["loss"][0, 0] = 7  # the caller's own
    written = json.loads(path.read_text())
    assert (written["format"], written["version"], written["kind"]) == ("lossatlas result", 2, "chart")
    assert written["arrays"]["loss"] == {"dtype": "float64", "shape": [2, 3]}
    assert sorted(contents(path.parent)) == ["chart.json", "chart.safetensors"]


@pytest.mark.parametrize("view", [lambda a: a.T, lambda a: a[:, ::2], lambda a: a[::-1], np.asfortranarray])
def test_views_are_not_scrambled(tmp_path, view):
    array = view(np.arange(12.0).reshape(3, 4))
    archive.save(tmp_path, "chart", {"a": array}, {})
    assert np.array_equal(archive.load(tmp_path)[1]["a"], array)


def test_the_same_result_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        archive.save(tmp_path / name, "chart", ARRAYS, RECORD)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_scalars_become_plain_numbers(tmp_path):
    scalars = {
        "a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": np.array(2), "e": torch.tensor(1.5),
        "f": torch.tensor(math.nan), "g": np.float64(-math.inf), "h": (1, 2), "i": np.longdouble(0.25),
        "j": np.str_("x"),
    }  # fmt: skip
    path = archive.save(tmp_path, "race", {}, scalars)
    found = archive.load(tmp_path)[2]
    assert math.isnan(found.pop("f"))
    plain = {"a": 0.5, "b": 3, "c": True, "d": 2, "e": 1.5, "g": -math.inf, "h": [1, 2], "i": 0.25, "j": "x"}
    assert found == plain and [type(found[key]) for key in "abc"] == [float, int, bool]
    assert json.loads(path.read_text())["record"]["f"] == {"$float": "nan"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "the entry 'record.x[0]' is a builtins.object"),
        (np.zeros(2), "Put arrays among the arrays"),
        (torch.zeros(2), "Put arrays among the arrays"),
        (1j, "builtins.complex"),
        (b"x", "builtins.bytes"),
        ({1, 2}, "builtins.set"),
        (Path("x"), "Path"),
        ({1: 2}, "has the key 1"),
    ],
)
def test_unknown_objects_are_refused_before_anything_is_touched(tmp_path, value, said):
    with pytest.raises(OutputError) as caught:
        archive.save(tmp_path / "new", "chart", ARRAYS, {"x": [value]})
    assert said in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_number_too_long_to_write_is_refused(tmp_path):
    with pytest.raises(OutputError, match="cannot be stored"):
        archive.write_json(tmp_path / "a.json", 10**5000)
    assert not contents(tmp_path)


def test_a_record_that_contains_itself_is_refused(tmp_path):
    record: dict[str, object] = {}
    record["again"] = record
    with pytest.raises(OutputError, match="contains itself"):
        archive.save(tmp_path, "chart", {}, record)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("a", np.zeros(2, dtype=complex), "of type complex128"),
        ("a", np.array(["x"]), "of type <U1"),
        ("a", np.array([None]), "of type object"),
        ("a", [1.0], "with a list"),
        ("a", torch.zeros(2), "with a Tensor"),
        ("__metadata__", np.zeros(2), "not '__metadata__'"),
        ("\ud800", np.zeros(2), "Rename or convert"),
    ],
)
def test_arrays_that_cannot_be_stored_are_refused(tmp_path, name, array, said):
    with pytest.raises(OutputError) as caught:
        archive.save(tmp_path, "chart", {name: array}, {})
    assert said in str(caught.value) and not contents(tmp_path)


@pytest.mark.parametrize("kind", ["", ".", "../chart", "a/b", "a.b", "-a", "ä", "a\n", 3])
def test_a_kind_is_a_plain_name(tmp_path, kind):
    for act in (lambda: archive.save(tmp_path, kind, {}, {}), lambda: archive.load(tmp_path, kind)):
        with pytest.raises(OutputError, match="expected a name of letters"):
            act()


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, failing, earlier):
    if earlier:
        archive.save(tmp_path, "chart", ARRAYS, RECORD)
    before, calls, replace = contents(tmp_path), [], Path.replace

    def break_one(self, target):
        calls.append(target)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", break_one)
    with pytest.raises(OutputError, match="the disk is full"):
        archive.save(tmp_path, "chart", {"other": np.ones(3)}, {})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, error):
    synced, fsync = [], os.fsync

    def break_second(handle):
        synced.append(handle)
        if len(synced) == 2:
            raise error
        fsync(handle)

    monkeypatch.setattr(os, "fsync", break_second)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        archive.save(tmp_path, "chart", ARRAYS, RECORD)
    assert len(synced) == 2 and not contents(tmp_path)


def test_json_is_put_in_place_last(tmp_path, monkeypatch):
    order, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: order.append(Path(to).name) or replace(self, to))
    archive.save(tmp_path, "chart", ARRAYS, RECORD)
    assert order == ["chart.safetensors", "chart.json"]


def test_kinds_and_the_choice_among_them(tmp_path):
    assert archive.kinds(tmp_path / "nowhere") == []
    with pytest.raises(OutputError, match="holds no result"):
        archive.load(tmp_path)
    archive.write_json(tmp_path / "manifest.json", {})
    archive.save(tmp_path, "race", {}, {"n": 1})
    assert archive.kinds(tmp_path) == ["race"] and archive.load(tmp_path)[0] == "race"
    archive.save(tmp_path, "chart", {}, {"n": 2})
    assert archive.kinds(tmp_path) == ["chart", "race"]
    with pytest.raises(OutputError, match="kinds chart, race"):
        archive.load(tmp_path)
    assert archive.load(tmp_path, "race") == ("race", {}, {"n": 1})
    with pytest.raises(OutputError, match="there is no file"):
        archive.load(tmp_path, "spectrum")
    with pytest.raises(OutputError, match="no result of lossatlas"):
        archive.load(tmp_path, "manifest")


def damage_json(folder):
    path = folder / "chart.json"
    path.write_bytes(path.read_bytes()[:-20])


def damage_bytes(folder):
    path = folder / "chart.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)


def mix(folder):
    archive.save(folder / "other", "chart", {}, {})
    (folder / "other" / "chart.safetensors").replace(folder / "chart.safetensors")


def age(folder):
    path = folder / "chart.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 3'))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage_json, "chart.json' is damaged"),
        (damage_bytes, "chart.safetensors' is damaged"),
        (mix, "does not belong to 'chart.json'"),
        (age, "format version 3"),
        (lambda folder: (folder / "chart.json").write_text('{"a": NaN}'), "bare NaN"),
        (lambda folder: (folder / "chart.json").write_text("[" * 100_000), "nested too deeply"),
        (lambda folder: (folder / "chart.json").write_bytes(b'"\xff"'), "is damaged"),
        (lambda folder: (folder / "chart.json").write_text('{"$float": "x"}'), "is damaged"),
        (lambda folder: (folder / "chart.json").write_text('{"$float": [1]}'), "is damaged"),
        (lambda folder: (folder / "chart.safetensors").unlink(), "there is no file"),
        (lambda folder: (folder / "chart.json").unlink(), "there is no file"),
        (lambda folder: ((folder / "chart.json").unlink(), (folder / "chart.json").mkdir()), "cannot read"),
    ],
)
def test_damage_is_named(tmp_path, harm, said):
    archive.save(tmp_path, "chart", ARRAYS, RECORD)
    harm(tmp_path)
    with pytest.raises(OutputError) as caught:
        archive.load(tmp_path, "chart")
    assert said in str(caught.value) and str(tmp_path) in str(caught.value)


def test_text_and_json(tmp_path):
    path = archive.write_text(tmp_path / "a" / "b.txt", "θ\n")
    assert path.read_text(encoding="utf-8") == "θ\n"
    archive.write_text(path, "again")
    assert path.read_text() == "again" and sorted(contents(path.parent)) == ["b.txt"]
    found = archive.read_json(archive.write_json(tmp_path / "c.json", [1, math.nan, {"a": None}]))
    assert same(found, [1, math.nan, {"a": None}])
    with pytest.raises(OutputError, match="not valid Unicode"):
        archive.write_text(tmp_path / "d.txt", "\ud800")
    with pytest.raises(OutputError, match="a folder of that name is in the way"):
        archive.write_text(tmp_path / "a", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c.json"]


def test_prepare_creates_and_leaves_no_trace(tmp_path):
    assert archive.prepare(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert archive.prepare(tmp_path / "a" / "b").is_dir() and not contents(tmp_path / "a" / "b")


def test_prepare_says_what_is_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a file of that name is in the way"):
        archive.prepare(tmp_path / "file")
    with pytest.raises(OutputError, match="a part of that path is a file"):
        archive.prepare(tmp_path / "file" / "below")
    with pytest.raises(OutputError, match="a zero byte in it"):
        archive.prepare("a\0b")


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EACCES, "no permission"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota")]
)
def test_prepare_tries_to_write(tmp_path, monkeypatch, number, said):
    def refuse(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match=said) as caught:
        archive.save(tmp_path, "chart", ARRAYS, RECORD)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [archive.write_bytes, lambda path, _: archive.write_json(path, "kept")])
def test_what_is_no_regular_file_is_written_into_and_stays(tmp_path, write):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    before = sorted(path.name for path in tmp_path.iterdir())
    try:
        for path in (pipe, link):
            archive.prepare_file(path)
            write(path, b'"kept"\n')
            assert os.read(reader, 100) == b'"kept"\n'
    finally:
        os.close(reader)
    assert pipe.is_fifo() and link.is_symlink() and sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system names no open streams")
def test_an_open_stream_is_written_into_even_where_it_is_a_file(tmp_path):
    with (tmp_path / "all.txt").open("wb", buffering=0) as file:
        file.write(b"first\n")
        stream = Path(f"/dev/fd/{file.fileno()}")
        assert archive.write_bytes(stream, b"second\n") == stream
    assert list(tmp_path.iterdir()) == [tmp_path / "all.txt"]
    assert (tmp_path / "all.txt").read_bytes() == b"first\nsecond\n"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root makes devices")
def test_a_device_stays_a_device(tmp_path):
    device = tmp_path / "full"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    with pytest.raises(OutputError, match=r"full|permission"):
        archive.write_bytes(device, b"anything")
    assert device.is_char_device() and list(tmp_path.iterdir()) == [device]


def test_without_pandas_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="to_dataframe needs pandas, which is not installed: pip install pandas"):
        archive.data_frame([{"a": 1}])
