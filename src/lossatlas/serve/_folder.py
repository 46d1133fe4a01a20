"""The folder that is served: its results by ids, read again when they change, and what is being written in it right now."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lossatlas._errors import InputError, OutputError
from lossatlas._load import results_in
from lossatlas.page import Scene, digested, scene
from lossatlas.surface import Surface
from lossatlas.surface.landscapes import rebuilt

LEDGER, JOURNAL = "ledger.sqlite", "steps.jsonl"


class Missing(InputError):
    """What a client named is not there (any more)."""


def name_of(place: str) -> str:
    """The id of something in the folder: what clients say instead of a path."""
    return hashlib.sha256(place.encode()).hexdigest()[:16]


@dataclass
class Folder:
    """Results of a folder, and the surfaces that can be evaluated.

    Attributes:
        root: the folder.
        surfaces: slices of networks that are at hand, by the digest of the provenance of the chart that shows them, or by its
            title where no other chart has that title.
    """

    root: Path
    surfaces: dict[str, Surface] = field(default_factory=dict)
    _stamp: tuple[tuple[str, int, int], ...] = ()
    _scene: Scene | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def scene(self) -> Scene:
        """Everything in it as one scene, made anew when a file has changed.

        Raises:
            OutputError: if the folder is gone, or holds no result.
        """
        with self._lock:
            stamp = self._seen()
            if self._scene is None or stamp != self._stamp:
                found, faults = results_in(self.root)
                if not found:
                    raise OutputError(f"{str(self.root)!r} holds no result yet; this page shows what is saved there.")
                made = scene(*found.values(), title=self.root.resolve().name)
                made.head["notes"] += faults
                self._scene, self._stamp = made, stamp
            return self._scene

    def live(self) -> dict[str, tuple[str, Path]]:
        """Ledgers and journals by id: what they are of, and where they lie."""
        found = {}
        for kind, name in (("ledger", LEDGER), ("recording", JOURNAL)):
            for path in sorted(self.root.rglob(name)):
                found[name_of(path.relative_to(self.root).as_posix())] = (kind, path)
        return found

    def watched(self, name: str) -> tuple[str, Path]:
        """One of these.

        Raises:
            Missing: if there is none of that id (any more).
        """
        found = self.live()
        if name not in found:
            raise Missing("there is no such job in the folder any more; read its list again.")
        return found[name]

    def surface(self, name: Any) -> Surface:
        """The surface behind a part of the scene, to be evaluated.

        Raises:
            Missing: if there is none of that id.
            InputError: if it is not at hand.
        """
        listed = self.scene().head["surfaces"]
        entry = next((one for one in listed if one["id"] == name), None)
        if entry is None:
            raise Missing("there is no such surface in the folder any more; load the page again.")
        # Charts of one network share its title, and each lies on a plane of its own.
        key, alike = digested(entry["provenance"]), sum(one["title"] == entry["title"] for one in listed)
        if key in self.surfaces or (alike == 1 and entry["title"] in self.surfaces):
            return self.surfaces[key if key in self.surfaces else entry["title"]]
        made = rebuilt(entry["provenance"]) if entry["kind"] == "formula" else None
        if made is None:
            raise InputError(
                f"the network behind {entry['title']!r} is not at hand: start the server with --model, --data and what else the "
                "chart was made with."
            )
        self.surfaces[key] = made
        return made

    def _seen(self) -> tuple[tuple[str, int, int], ...]:
        if not self.root.is_dir():
            raise OutputError(f"the folder {str(self.root)!r} is gone; put it back, or stop the server.")
        stamps = []
        for path in sorted(self.root.rglob("*.json")):
            try:
                said = path.stat()
            except FileNotFoundError:
                continue
            stamps.append((path.as_posix(), said.st_mtime_ns, said.st_size))
        return tuple(stamps)
