"""The JSON schema of results, made from the types that their fields are declared with."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, get_args, get_type_hints

from lossatlas.archive._archive import FORMAT, SCHEMA, VERSION
from lossatlas.archive._fields import _entry, _holds_arrays, _is_sequence, _is_union, _kind, _translation, saved
from lossatlas.archive._result import Result

Schema = dict[str, Any]
_DRAFT = "https" + "://json-schema.org/draft/2020-12/schema"
_PLAIN: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    str: {"type": "string"},
    type(None): {"type": "null"},
}
_NUMBER: Schema = {
    "description": "A number; one that is not finite is an object, since JSON has none.",
    "anyOf": [
        {"type": "number"},
        {
            "type": "object",
            "properties": {"$float": {"enum": ["nan", "inf", "-inf"]}},
            "required": ["$float"],
            "additionalProperties": False,
        },
    ],
}
_ARRAY: Schema = {
    "description": "An array: listed where it is small, else its shape and type; its numbers are in the safetensors file.",
    "anyOf": [
        {"type": "object", "properties": {"shape": {"type": "array"}, "dtype": _PLAIN[str]}, "required": ["shape", "dtype"]},
        {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/array"}, {"$ref": "#/$defs/number"}, {"type": "boolean"}]}},
        {"$ref": "#/$defs/number"},
    ],
}  # fmt: skip
_VERSIONS: Schema = {"type": "object", "additionalProperties": _PLAIN[str]}
_HEAD: Schema = {"schema": {"const": SCHEMA}, "versions": _VERSIONS}


def record_of(kind: type[Result]) -> Schema:
    """A reference to what the record of a class looks like.

    Args:
        kind: the class.
    """
    return {"$ref": f"#/$defs/{_name(kind)}"}


def _name(kind: type[Any]) -> str:
    """What a class is called in the schema: its KIND, or its room and its name."""
    return getattr(kind, "KIND", "") or f"{kind.__module__.split('.')[1]}.{kind.__name__}"


def generate(kinds: Iterable[type[Result]], commands: Mapping[str, Schema]) -> Schema:
    """The schema of all that is saved and written.

    Args:
        kinds: classes that are saved under their KIND.
        commands: by command, what its record must be beside its head.

    Returns:
        dict: a JSON schema, draft 2020-12.
    """
    definitions: dict[str, Schema] = {"number": _NUMBER, "array": _ARRAY}
    kinds = list(kinds)
    named = sorted({kind.KIND: kind for kind in kinds if kind.KIND}.items())
    for kind in sorted(kinds, key=_name):
        _define(kind, definitions)
    record = [
        {"if": {"properties": {"kind": {"const": name}}}, "then": {"properties": {"record": record_of(kind)}}}
        for name, kind in named
    ]
    saved_: Schema = {
        "description": "A result that was saved: KIND.json, beside KIND.safetensors.",
        "type": "object",
        "properties": {
            **_HEAD,
            "format": {"const": FORMAT},
            "version": {"const": VERSION},
            "kind": {"type": "string"},
            "arrays": {"type": "object"},
            "digest": {"type": "string"},
            "record": {"type": "object"},
        },
        "required": ["schema", "format", "version", "versions", "kind", "arrays", "digest", "record"],
        "allOf": record,
    }
    condition = {
        "type": "object",
        "properties": {"condition": _PLAIN[str], "holds": _PLAIN[bool], "says": _PLAIN[str]},
        "required": ["condition", "holds", "says"],
    }
    written: Schema = {
        "description": "What a command wrote with --json.",
        "type": "object",
        "properties": {
            **_HEAD,
            "command": {"enum": sorted(commands)},
            "conditions": {"type": "array", "items": condition},
            "missed": {"type": "array", "items": _PLAIN[str]},
        },
        "required": ["schema", "command", "versions"],
        "allOf": [
            {"if": {"properties": {"command": {"const": name}}}, "then": one} for name, one in sorted(commands.items())
        ],
    }
    return {
        "$schema": _DRAFT,
        "$id": SCHEMA,
        "title": "Results of lossatlas",
        "oneOf": [{"$ref": "#/$defs/saved"}, {"$ref": "#/$defs/written"}],
        "$defs": {"saved": saved_, "written": written, **definitions},
    }


def _define(kind: type[Any], definitions: dict[str, Schema]) -> Schema:
    """The reference to a dataclass, which is defined where it is met first."""
    name = _name(kind)
    if name not in definitions:
        definitions[name] = {}  # met again inside itself
        fields = saved(kind)
        properties = {key: _of(hint, definitions) for _, key, hint in fields}
        if issubclass(kind, Result):
            properties |= {"sentence": _PLAIN[str]} if hasattr(kind, "sentence") else {}
            if kind.reading is not Result.reading:
                properties["reading"] = {"type": "array", "items": _PLAIN[str]}
        says = list(kind.SAYS) if issubclass(kind, Result) else []
        properties |= {one: _of(_returned(kind, one), definitions) for one in says if one not in properties}
        definitions[name] = {
            "type": "object",
            "properties": properties,
            "required": list(dict.fromkeys([*(key for _, key, _ in fields), *says])),
        }
    return record_of(kind)


def _returned(kind: type[Any], name: str) -> Any:
    """The type of a property, or of what a method returns; Any where it is known to type checkers only."""
    made = inspect.getattr_static(kind, name)
    try:
        return get_type_hints(made.fget if isinstance(made, property) else made).get("return", Any)
    except NameError:
        return Any


def _of(hint: Any, definitions: dict[str, Schema]) -> Schema:
    """What a value of a declared type looks like as plain JSON."""
    if _is_union(hint):
        return {"anyOf": [_of(one, definitions) for one in get_args(hint)]}
    kind = _kind(hint)
    if kind is Literal:
        return {"enum": list(get_args(hint))}
    if not isinstance(kind, type) or kind is object or _translation(kind) is not None:
        return {}
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind is float:
        return {"$ref": "#/$defs/number"}
    if _holds_arrays(kind):
        return {"$ref": "#/$defs/array"}
    if issubclass(kind, enum.Enum):
        return {"enum": [one.value for one in kind]}
    if is_dataclass(kind):
        return _define(kind, definitions)
    if issubclass(kind, Mapping):
        return {"type": "object", "additionalProperties": _of(_entry(hint), definitions)}
    if _is_sequence(kind):
        parts = [part for part in get_args(hint) if part is not Ellipsis]
        if len(parts) == 1:
            return {"type": "array", "items": _of(parts[0], definitions)}
        return {"type": "array"}
    return {}
