"""One schema for every record: what commands write and what is saved follow it, and it follows the code."""

import json
import math
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import lossatlas as la
from lossatlas import archive
from lossatlas.cli import main

MINE = """
import torch
from torch import nn

def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()

def make_data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(20, 4, generator=generator, dtype=torch.float64), torch.arange(20) % 3
"""
NETWORK = ("--model", "net_schema.py:make_model", "--data", "net_schema.py:make_data")
ENDS = ("a.safetensors", "b.safetensors")
COMMANDS = {
    "connect": ("connect", *ENDS, *NETWORK, "--points", "9", "--quiet"),
    "dimension": ("dimension", "resnet18"),
}
SLOW = {
    "critical": ("curvature", "--critical", *NETWORK),
    "align": ("connect", *ENDS, *NETWORK, "--points", "7", "--align", "--quiet"),
    "barriers": ("barriers", *ENDS, "c.safetensors", *NETWORK, "--points", "7", "--similarity", "--quiet"),
    "chart": ("chart", *NETWORK, "--points", "7", "--exact", "--quiet", "--no-card"),
    "volume": ("volume", *NETWORK, "--points", "3", "--quiet"),
    "curvature": ("curvature", *NETWORK, "--k", "2", "--probes", "2", "--steps", "9", "--search", "1", "--along", ENDS[0], "--along",
                  ENDS[1], "--quiet"),
    "race extras": ("race", "himmelblau", "--optimizers", "gd", "--steps", "4", "--runs", "2", "--tune", "2", "--sweep",
                    "lr=0.001:0.01:2", "--map", "2", "--why"),
    "race network": ("race", *NETWORK, "--optimizers", "momentum", "--steps", "4", "--runs", "1", "--batch-size", "10"),
    "race": ("race", "four-wells", "--optimizers", "gd,annealing", "--steps", "9", "--runs", "3"),
    "lessons": ("lessons", "A2"),
    "advise": ("advise", "himmelblau", "--budget", "120", "--quiet"),
}  # fmt: skip


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net_schema.py").write_text(MINE)
    shapes = {"0.weight": (5, 4), "0.bias": (5,), "2.weight": (3, 5), "2.bias": (3,)}
    for seed, name in enumerate("abc"):
        torch.manual_seed(seed)
        save_file({key: torch.randn(shape).double() for key, shape in shapes.items()}, f"{name}.safetensors")
    return tmp_path


def complaints(record):
    """What a record has against the schema, by jsonschema where it is installed."""
    schema = archive.schema()
    if find_spec("jsonschema") is None:
        return list(_complaints(record, schema, schema, "record"))
    import jsonschema

    best = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(record))
    return [] if best is None else [f"{best.json_path}: {best.message[:400]}"]


_TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None),
}  # fmt: skip


def _complaints(value, schema, whole, place):
    """The part of draft 2020-12 that the schema uses, in a few lines."""
    if "$ref" in schema:
        yield from _complaints(value, whole["$defs"][schema["$ref"].removeprefix("#/$defs/")], whole, place)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    fits = [isinstance(value, _TYPES[one]) and (one == "boolean" or not isinstance(value, bool)) for one in kinds]
    if kinds and not any(fits):
        yield f"{place} is a {type(value).__name__}, expected {kinds}"
    if "const" in schema and value != schema["const"]:
        yield f"{place} is {value!r}, expected {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place} is {value!r}, expected one of {schema['enum']}"
    for word, least in (("anyOf", 1), ("oneOf", 1)):
        parts = [list(_complaints(value, one, whole, place)) for one in schema.get(word, ())]
        if parts and sum(not one for one in parts) < least:
            yield from min(parts, key=len)
    for one in schema.get("allOf", ()):
        if "if" not in one:
            yield from _complaints(value, one, whole, place)
        elif not list(_complaints(value, one["if"], whole, place)):
            yield from _complaints(value, one["then"], whole, place)
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{place} has no {name!r}"
        for name, one in value.items():
            part = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
            if part is False:
                yield f"{place} has {name!r}"
            elif part is not True:
                yield from _complaints(one, part, whole, f"{place}.{name}")
    if isinstance(value, list) and "items" in schema:
        for k, one in enumerate(value):
            yield from _complaints(one, schema["items"], whole, f"{place}.{k}")


# Years of sources, and the confidence of intervals.
CONSTANTS = {"2022", "95"}
_NUMERAL = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def unfounded(record):
    """Numbers that a sentence of a record says and no field holds: in any unit of 1, %, thousands or thousandths."""
    held = np.abs(np.array(sorted(set(_held(record)))))
    for sentence in _sentences(record):
        for numeral in _NUMERAL.findall(sentence):
            text = numeral.replace(",", "")
            value, digits = float(text), len(re.sub(r"e.*|\.", "", text).lstrip("0")) or 1
            unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1) if value else 1e-12
            if numeral.rstrip(",") not in CONSTANTS and not any(
                (np.abs(held * scale - value) <= 0.51 * unit).any() for scale in (1, 100, 1e3, 1e-3)
            ):
                yield numeral, sentence


def _held(value):
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _held(one) if key not in ("sentence", "reading") else ()
    elif isinstance(value, list):
        yield len(value)
        for one in value:
            yield from _held(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _sentences(value):
    if isinstance(value, dict):
        for key, one in value.items():
            yield from one if key == "reading" else [one] if key == "sentence" else _sentences(one)
    elif isinstance(value, list):
        for one in value:
            yield from _sentences(one)


def test_a_number_that_no_field_holds_is_noticed():
    said = "a barrier of 0.31 (12.5 % of 1,204 losses)"
    assert not list(unfounded({"sentence": said, "barrier": 0.3104, "share": 0.125, "losses": 1204}))
    assert [one for one, _ in unfounded({"sentence": said, "barrier": 0.322, "losses": 1204})] == ["0.31", "12.5"]


def run(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code


@pytest.mark.parametrize("words", [*COMMANDS.values(), *(pytest.param(one, marks=pytest.mark.slow) for one in SLOW.values())],
                         ids=[*COMMANDS, *SLOW])  # fmt: skip
def test_what_a_command_writes_follows_the_schema(mine, words):
    assert run(*words, "--json", "c.json", "--fail-if", "missing>1") == 2
    record = json.loads(Path("c.json").read_text())
    assert record["command"] == words[0]
    assert not list(unfounded(record)) or words[0] == "lessons"
    assert not complaints(record) and not list(_complaints(record, archive.schema(), archive.schema(), "record"))


@pytest.mark.slow
def test_a_wrong_record_is_noticed(mine):
    assert run(*COMMANDS["connect"], "--json", "c.json") == 0
    right = json.loads(Path("c.json").read_text())
    wrong = [
        {**right, "schema": "urn:lossatlas:result:0"},
        {**right, "command": "unknown"},
        {**right, "barrier": "high"},
        {**right, "status": "fine"},
        {name: one for name, one in right.items() if name != "interval"},
    ]
    schema = archive.schema()
    for record in wrong:
        assert complaints(record), record
        assert list(_complaints(record, schema, schema, "record")), record


def test_what_is_saved_follows_the_schema(tmp_path):
    bowl = la.landscapes.quadratic(condition=9.0, dimension=3)
    for one in (la.extremes(bowl, 1), la.trace(bowl), la.spectrum(bowl)):
        assert not complaints(json.loads(one.save(tmp_path).read_text()))


@pytest.mark.slow
def test_the_schema_is_that_of_the_code():
    from lossatlas.cli._schema import generated

    assert archive.schema() == json.loads(json.dumps(generated())), "write it anew: python -m lossatlas.cli._schema"
