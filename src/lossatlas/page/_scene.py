"""A scene: everything a page shows, as one document of a JSON head and arrays, that files and pages carry."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lossatlas import _checks, _said, archive
from lossatlas._errors import OutputError
from lossatlas.page import _arrays, _schema
from lossatlas.page._arrays import Array, damaged
from lossatlas.page._plain import plain

FORMAT, VERSION = "lossatlas-scene", 1
MAGIC = b"lossatlas-scene 1\n"
# Parts of a scene that are lists, in the order of the page's tabs.
PARTS = (
    "surfaces", "optimizers", "runs", "many", "basins", "sweeps", "paths", "recordings", "spectra", "comparisons", "lessons",
    "lecture", "cards", "views",
)  # fmt: skip
_WORDS = {
    "optimizers": "", "views": "", "many": "sets of runs", "basins": "basin maps", "spectra": "spectra",
    "lecture": "lecture sections",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scene:
    """Results as the explorer's page reads them; `lossatlas.scene` makes one and `lossatlas.page` writes it as a page.

    Attributes:
        head: the document without its arrays, plain JSON values; whatever refers to an array holds its number.
        arrays: of float32, float64, uint8 or int32.

    Example:
        >>> import lossatlas as la
        >>> race = la.race(la.landscapes.four_wells(), ["gd", "adam"], steps=20)
        >>> scene = la.scene(race)
        >>> [run["label"] for run in scene.head["runs"]]
        ['gd', 'adam']
    """

    head: dict[str, Any]
    arrays: list[Array] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Of the page."""
        return str(self.head["title"])

    @property
    def sentence(self) -> str:
        """What it holds."""
        parts = [(_WORDS.get(name, name), len(self.head.get(name, ()))) for name in PARTS]
        said = [f"{n} {word if n > 1 else word.removesuffix('s')}" for word, n in parts if word and n]
        return f"{self.title}: {', '.join(said) or 'nothing'}"

    def array(self, ref: int) -> Array:
        """The array of a number in the head."""
        return self.arrays[_checks.whole("ref", ref, 0, len(self.arrays) - 1, where="Scene.array")]

    def to_json(self) -> str:
        """The document as one JSON text, arrays as base64: what a page carries."""
        listed = []
        for array in self.arrays:
            said, data = _arrays.entry(array)
            listed.append({**said, "data": base64.b64encode(data).decode("ascii")})
        return _text({**self.head, "arrays": listed})

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """A scene from what `to_json` gave.

        Raises:
            OutputError: if it is none, damaged, or of a later version.
        """
        head = _read(text)
        arrays = [
            _arrays.unpacked(said, _arrays.from_text(said.get("data"), f"array {k}"), f"array {k}")
            for k, said in enumerate(_listed(head))
        ]
        return _checked(cls(head, arrays))

    def to_bytes(self) -> bytes:
        """The document as a file holds it: a line that names it, the length of the head, the head, the arrays' bytes."""
        listed, body = [], b""
        for array in self.arrays:
            said, data = _arrays.entry(array)
            listed.append({**said, "offset": len(body), "bytes": len(data)})
            body += data
        head = _text({**self.head, "arrays": listed}).encode()
        return MAGIC + struct.pack("<I", len(head)) + head + body

    @classmethod
    def from_bytes(cls, content: bytes) -> Scene:
        """A scene from the bytes of a ``.scene`` file.

        Raises:
            OutputError: if they are none, cut short, damaged, or of a later version.
        """
        _checks.instance("content", content, bytes, "the bytes of a scene", where="Scene.from_bytes")
        name, newline, rest = content[:64].partition(b"\n")
        if not newline or not name.startswith(FORMAT.encode() + b" "):
            raise OutputError(
                "this is no scene of lossatlas: it does not begin as one. Give a file that Scene.save wrote."
            )
        begin = len(name) + 5
        if len(rest) < 4 or len(content) < begin + (size := struct.unpack("<I", content[begin - 4 : begin])[0]):
            raise damaged("it is cut short")
        try:
            head = _read(content[begin : begin + size].decode())
        except UnicodeDecodeError:
            raise damaged("its head is no text") from None
        body, arrays = memoryview(content)[begin + size :], []
        for k, said in enumerate(_listed(head)):
            offset, length = said.get("offset"), said.get("bytes")
            if type(offset) is not int or type(length) is not int or not 0 <= offset <= offset + length <= len(body):
                raise damaged(f"array {k} lies outside of it: it is cut short")
            arrays.append(_arrays.unpacked(said, bytes(body[offset : offset + length]), f"array {k}"))
        return _checked(cls(head, arrays))

    def save(self, path: str | Path) -> Path:
        """Write it to a file, all or nothing.

        Args:
            path: for example ``atlas.scene``.

        Raises:
            OutputError: if it cannot be written.
        """
        return archive.write_bytes(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Scene:
        """Read what `save` wrote.

        Raises:
            OutputError: if there is no such file, or it is no scene, cut short, damaged, or of a later version.
        """
        try:
            content = archive.content_of(_checks.path("path", path, where="Scene.load", error=OutputError))
        except (OSError, ValueError) as error:
            raise OutputError(f"{str(path)!r} cannot be read ({error}). Give a file that Scene.save wrote.") from None
        return cls.from_bytes(content)

    def __repr__(self) -> str:
        return _said.line(self, self.sentence)

    def _repr_html_(self) -> str:
        from lossatlas.page._notebook import shown

        return shown(self, _said.block([self.sentence]))


def _listed(head: dict[str, Any]) -> list[dict[str, Any]]:
    found = head.pop("arrays", None)
    if not isinstance(found, list) or not all(isinstance(said, dict) for said in found):
        raise damaged("it lists no arrays")
    return found


def _read(text: str) -> dict[str, Any]:
    _checks.text("text", text, where="Scene.from_json")
    try:
        head = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise damaged(f"its head is no strict JSON ({error})") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise OutputError("this is JSON, but no scene of lossatlas. Give a file that Scene.save wrote, or a page.")
    version = head.get("version")
    if version != VERSION:
        raise OutputError(
            f"this scene is of version {version!r}; this lossatlas reads version {VERSION}. Open it with the lossatlas "
            "that wrote it or a later one, or make it again."
        )
    return head


def _refused(name: str) -> float:
    raise ValueError(f"it holds a bare {name}")


def _checked(scene: Scene) -> Scene:
    why = next(_schema.faults({**scene.head, "arrays": []}), None)
    if why is None:
        why = next((f"{where} is {ref}, and there are {len(scene.arrays)} arrays" for where, ref in _refs(scene)), None)
    if why is not None:
        raise damaged(why)
    return scene


def _refs(scene: Scene) -> Iterator[tuple[str, int]]:
    """References to arrays that are not there."""
    for where, holder, key in _schema.references(scene.head):
        if not 0 <= holder[key] < len(scene.arrays):
            yield where, holder[key]


def _text(head: dict[str, Any]) -> str:
    return json.dumps(plain(head), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
