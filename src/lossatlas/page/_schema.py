"""A document against the JSON Schema of scenes: the part of the standard that our schema uses, without a library."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
}


@functools.cache
def schema() -> dict[str, Any]:
    """The schema as it lies in the package."""
    text = resources.files("lossatlas.page").joinpath("static", "scene.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def faults(document: Any) -> Iterator[str]:
    """What does not fit, one sentence each, the first places first."""
    yield from _faults(document, schema(), "the scene")


def references(document: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every place that refers to an array: what it is called, and the dict or list and the key under which the number stands."""
    yield from _references([document], 0, schema(), "the scene")


def _resolved(rule: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in rule:
        rule = schema()["$defs"][rule["$ref"].rpartition("/")[2]]
    return rule


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, _KINDS[kind])


def _faults(value: Any, rule: dict[str, Any], where: str) -> Iterator[str]:
    rule = _resolved(rule)
    if "anyOf" in rule:
        tried = [list(_faults(value, one, where)) for one in rule["anyOf"]]
        if all(tried):
            yield min(tried, key=len)[0]
        return
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{where} is {_shown(value)} instead of {' or '.join(kinds)}"
        return
    if "enum" in rule and value not in rule["enum"]:
        yield f"{where} is {_shown(value)} instead of one of {', '.join(map(str, rule['enum']))}"
    if "minimum" in rule and _is(value, "number") and value < rule["minimum"]:
        yield f"{where} is {value}, below {rule['minimum']}"
    if isinstance(value, dict):
        yield from (f"{where} has no {name!r}" for name in rule.get("required", ()) if name not in value)
        others = rule.get("additionalProperties")
        for name, one in value.items():
            how = rule.get("properties", {}).get(name, others)
            if isinstance(how, dict):
                yield from _faults(one, how, f"{where}.{name}")
    if isinstance(value, list | tuple):
        if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)):
            yield f"{where} has {len(value)} items"
        if "items" in rule:
            for k, one in enumerate(value):
                yield from _faults(one, rule["items"], f"{where}[{k}]")


def _references(holder: Any, key: Any, rule: dict[str, Any], where: str) -> Iterator[tuple[str, Any, Any]]:
    value, reference = holder[key], rule.get("$ref") == "#/$defs/ref"
    rule = _resolved(rule)
    if reference:
        if _is(value, "integer"):
            yield where, holder, key
        return
    for one in rule.get("anyOf", ()):
        yield from _references(holder, key, one, where)
    if isinstance(value, dict):
        others = rule.get("additionalProperties")
        for name in value:
            how = rule.get("properties", {}).get(name, others)
            if isinstance(how, dict):
                yield from _references(value, name, how, f"{where}.{name}")
    if isinstance(value, list) and "items" in rule:
        for k in range(len(value)):
            yield from _references(value, k, rule["items"], f"{where}[{k}]")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else text[:40] + "…"
