"""Results of a command of several measurements, each written as soon as it is known, and read back by the same command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

from lossatlas import archive
from lossatlas._errors import OutputError
from lossatlas.cli._log import message

if TYPE_CHECKING:
    from lossatlas.probe import Probe

_Result = TypeVar("_Result", bound=archive.Result)
# Parts of curvature.json that are lists: their results are numbered.
_NUMBERED = "sharpness"


@final
class Kept:
    """What was measured so far, in a folder: the record of all, and a pair of files for each result.

    A result is taken from the folder if it was measured of the same surface at the same point with the same settings; else
    it is measured, and saved at once. A process that is killed loses the measurement that it was at.

    Args:
        out: the folder, or None.
        of: what is measured, plain JSON values.
        probe: that counts.

    Attributes:
        done: the results, by name.
        found: how many came from the folder.
    """

    def __init__(self, out: Path | None, of: Mapping[str, Any], probe: Probe) -> None:
        self.out, self.probe, self.found = out, probe, 0
        self.done: dict[str, Any] = {}
        self._of, self._status = archive.parse(archive.dump(dict(of))), "unfinished"
        self._settings: dict[str, Any] = {}
        self._before: dict[str, Any] = {}
        self._earlier: dict[str, Any] = {}
        file = None if out is None else out / "curvature.json"
        if file is not None and file.is_file():
            earlier = archive.read_json(file)
            earlier = earlier if isinstance(earlier, dict) else {}
            if earlier.get("of") == self._of:
                self._earlier, self._before = earlier, earlier.get("settings", {})
            elif "of" in earlier:
                message(f"note: {file} holds the curvature of something else; it is measured anew")

    def one(self, name: str, settings: Mapping[str, Any], measure: Callable[[], _Result]) -> _Result:
        """A result, from the folder or measured.

        Args:
            name: of it.
            settings: it depends on, plain JSON values.
            measure: measures it.
        """
        settings = archive.parse(archive.dump(dict(settings)))
        before = self._before.get(name, {})
        made: Any = self._read(before) if before.get("settings") == settings else None
        self._settings[name] = before
        new = made is None
        if new:
            made = measure()
            file = None if self.out is None else made.save(self._folder(name))
            self._settings[name] = {"settings": settings, "file": self._named(file), "digest": self._digest(file)}
        else:
            self.found += 1
        self.done[name] = made
        if new:
            self._write()
        return made  # type: ignore[no-any-return]

    def finish(self) -> None:
        """All that was to be measured is."""
        self._status = "complete"
        self._write()

    def record(self, *, folder: bool = False) -> dict[str, Any]:
        """Everything so far, plain JSON values.

        Args:
            folder: also what else lies in the folder: of an earlier run of the same, not measured (yet) by this one.
        """
        parts = {name: one.record() for name, one in self.done.items() if not name.startswith(f"{_NUMBERED}-")}
        numbered = [one.record() for name, one in self.done.items() if name.startswith(f"{_NUMBERED}-")]
        settings = self._settings
        if folder:
            settings = self._before | settings
            parts = {name: self._earlier[name] for name in self._before if name in self._earlier} | parts
            numbered += self._earlier.get(_NUMBERED, [])[len(numbered) :]
        return {
            "kind": "curvature", "status": self._status, "surface": self._of["surface"], **parts, _NUMBERED: numbered,
            "meter": self.probe.meter.record(), "of": self._of, "settings": settings,
        }  # fmt: skip

    def _folder(self, name: str) -> Path:
        assert self.out is not None
        return self.out / name if name.startswith(f"{_NUMBERED}-") else self.out

    def _named(self, file: Path | None) -> str | None:
        return None if file is None or self.out is None else str(file.relative_to(self.out))

    def _digest(self, file: Path | None) -> str | None:
        return None if file is None or not file.is_file() else hashlib.sha256(file.read_bytes()).hexdigest()

    def _read(self, before: Mapping[str, Any]) -> Any:
        """What was measured before, if its files are still those that were written then."""
        import lossatlas

        assert self.out is not None
        file = self.out / str(before.get("file"))
        if self._digest(file) != before.get("digest"):
            return None
        try:
            return lossatlas.load(file)
        except OutputError as error:
            message(f"note: {file} is measured anew: {error}")
            return None

    def _write(self) -> None:
        if self.out is not None:
            archive.write_json(self.out / "curvature.json", archive.headed("curvature", self.record(folder=True)))
