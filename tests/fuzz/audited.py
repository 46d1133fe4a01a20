"""Every verb in one process under an audit hook: python audited.py FOLDER; prints what no verb may do, one JSON list.

Run on its own, since a hook stays for the life of a process.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import lossatlas

SOURCE = str(Path(lossatlas.__file__).parent)
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
seen: list[str] = []
allowed: tuple[str, ...] = ()


def hook(event: str, arguments: tuple[object, ...]) -> None:
    """Note what reads code or classes out of data, what leaves the machine, and what is written elsewhere."""
    if event == "pickle.find_class" or event in NETWORK or event == "os.system":
        seen.append(f"{event} {arguments!r:.200}")
    elif event in ("compile", "exec"):
        frame = sys._getframe(1)
        if frame.f_code.co_filename.startswith(SOURCE):
            place = Path(frame.f_code.co_filename).relative_to(SOURCE)
            seen.append(f"{event} {place}:{frame.f_lineno} {arguments!r:.200}")
    elif event == "open":
        path, mode, flags = arguments
        writes = bool(flags & WRITING) if isinstance(flags, int) else any(c in str(mode or "") for c in "wax+")
        if writes and isinstance(path, (str, bytes, os.PathLike)):
            where = os.path.realpath(os.fsdecode(path))
            if not where.startswith(allowed) and "__pycache__" not in where:
                seen.append(f"open {where}")


def main(folder: Path, lines: list[list[str]]) -> None:
    """Run the commands, and say how each ended and what the hook saw."""
    global allowed
    import matplotlib as mpl

    from lossatlas.cli import main as lossatlas_main

    work = (
        tempfile.gettempdir() + "/tmp",
        tempfile.gettempdir() + "/torchinductor",
        mpl.get_cachedir(),
        mpl.get_configdir(),
        "/dev/null",
    )
    allowed = (str((folder / "out").resolve()), *work)
    os.chdir(folder)
    sys.addaudithook(hook)
    codes = []
    for line in lines:
        before = len(seen)
        try:
            lossatlas_main(line)
            codes.append(0)
        except SystemExit as done:
            codes.append(done.code or 0)
        seen[before:] = [f"{line[0]}: {one}" for one in seen[before:]]
    (folder / "seen.json").write_text(json.dumps({"codes": codes, "seen": seen}))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    main(place, json.loads((place / "lines.json").read_text()))
