"""What is being written right now, read without touching it: rows of a chart's ledger, lines of a recording's journal."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Frame = dict[str, Any]
# Rows of one frame at most.
MOST_ROWS = 5000


class LedgerWatch:
    """New points of a ledger, each once.

    Args:
        path: of ``ledger.sqlite``; opened for reading only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = -1
        self.seen: set[tuple[str, int, int]] = set()

    def news(self) -> Iterator[Frame]:
        """What came since the last time; a sentence while the file cannot be read."""
        try:
            connection = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)
        except sqlite3.Error as error:
            yield {"kind": "note", "sentence": f"the ledger cannot be read right now ({error}); trying again."}
            return
        try:
            (last,) = connection.execute("SELECT COALESCE(MAX(id), 0) FROM events").fetchone()
            if last == self.last:
                return
            rows = []
            for channel, a, b, status, value in connection.execute("SELECT channel, a, b, status, value FROM points"):
                if (channel, a, b) in self.seen:
                    continue
                self.seen.add((channel, a, b))
                rows.append([channel, *struct.unpack("<dd", struct.pack("<qq", a, b)), status, value])
            self.last = last
        except (sqlite3.Error, OverflowError, struct.error) as error:
            yield {"kind": "note", "sentence": f"the ledger cannot be read right now ({error}); trying again."}
            return
        finally:
            connection.close()
        for k in range(0, len(rows), MOST_ROWS):
            yield {"kind": "points", "rows": rows[k : k + MOST_ROWS], "known": len(self.seen)}


class JournalWatch:
    """New whole lines of a recording's journal.

    Args:
        path: of ``steps.jsonl``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read = 0

    def news(self) -> Iterator[Frame]:
        """What came since the last time; a row that is still being written comes when it is whole."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self.read:  # begun anew
                    self.read = 0
                file.seek(self.read)
                content = file.read(2**22)
        except OSError as error:
            yield {
                "kind": "note",
                "sentence": f"the recording cannot be read right now ({error.strerror}); trying again.",
            }
            return
        whole = content[: content.rfind(b"\n") + 1]
        self.read += len(whole)
        rows = []
        for line in whole.splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and "step" in said:
                notes = said.get("notes", {})
                rows.append({"step": said["step"], "seconds": said.get("seconds"), "notes": notes})
            elif isinstance(said, dict) and "end" in said:
                yield {"kind": "ended", "sentence": f"recording ended: {said['end']}"}
        for k in range(0, len(rows), MOST_ROWS):
            yield {"kind": "rows", "rows": rows[k : k + MOST_ROWS]}
