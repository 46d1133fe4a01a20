"""What a ledger is of: its manifest, and how another one is told from it, entry by entry."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lossatlas import archive
from lossatlas._errors import OutputError
from lossatlas.probe import _store

FORMAT = "lossatlas ledger"
NAME = "manifest.json"
# Entries that identities of earlier versions do not have.
LATER = frozenset({"code", "model_code", "frame"})
_COMPILED = re.compile(r"(py\d+\.\d+):[0-9a-f]{16}$")


def new(identity: Mapping[str, Any]) -> str:
    """The text of a manifest that is begun now."""
    content = {
        "format": FORMAT,
        "version": _store.VERSION,
        "identity": identity,
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "lossatlas": version("lossatlas"),
        **environment(),
    }
    return archive.dump(content).decode()


def environment() -> dict[str, str]:
    """What decides the last bits of an answer besides the identity."""
    told = {
        "torch": str(torch.__version__),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "precision": torch.get_float32_matmul_precision(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        told["accelerator"] = torch.cuda.get_device_name()
    return told


def parse(path: Path, text: bytes) -> dict[str, Any]:
    """A manifest's content.

    Raises:
        OutputError: if it is damaged, none of ours, or of another version.
    """
    try:
        content = archive.parse(text)
    except ValueError as error:
        raise OutputError(
            f"{str(path)!r} is damaged: it is no strict JSON ({error}). If ledger.sqlite is beside it, remove the manifest: "
            "it is written again from the ledger's own copy, and no point is lost."
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or "identity" not in content:
        raise OutputError(f"{str(path)!r} is JSON, but no manifest of a ledger. Choose another folder.")
    if content.get("version") != _store.VERSION:
        raise _store.other_version(path, content.get("version"))
    return content


def refuse_other(folder: Path, was: Any, now: Any, what: str, notes: Sequence[str] = ()) -> None:
    """Refuse an identity that is not the one that was, naming what differs.

    Args:
        folder: of the ledger.
        was: the identity that it was begun with.
        now: the identity that is given.
        what: the part of the ledger that this is about, or nothing.
        notes: of the surface.

    Raises:
        OutputError: with the first few entries, then and now.
    """
    found = list(differing(was, now))
    if found:
        shown = "; ".join(map(str, found[:4])) + (f"; and {len(found) - 4} more" if len(found) > 4 else "")
        raise OutputError(
            f"{what}the ledger in {str(folder)!r} is of something else: {shown}. Expected what it was begun with. "
            f"{_likely(found, notes)}Choose another folder, or give the same model, loss, data and plane again. Nothing "
            "was changed."
        )


class Difference(NamedTuple):
    """An entry in which two identities differ.

    Attributes:
        where: names down to it, with dots.
        was: what it was, as text.
        now: what it is now.
    """

    where: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.where} was {self.was}, now {self.now}"


def differing(was: Any, now: Any, where: str = "") -> Iterator[Difference]:
    """The entries in which two identities differ, as far as they can be compared.

    Floats are measured and agree to four digits. Records of earlier versions have no digests of code, which does not
    count as a difference, nor does code that was compiled by two versions of Python.

    Args:
        was: as it was read back, plain JSON values.
        now: as it is given.
        where: names down to both.
    """
    if isinstance(was, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*was, *now]):
            inner = f"{where}.{name}" if where else name
            if name not in was and name in LATER:
                continue
            if name not in was or name not in now:
                there, here = (_short(side[name]) if name in side else "absent" for side in (was, now))
                yield Difference(inner, there, here)
            else:
                yield from differing(was[name], now[name], inner)
    elif was != now and not _measured_alike(was, now) and not _incomparable(was, now):
        yield Difference(where, _short(was), _short(now))


def _incomparable(was: Any, now: Any) -> bool:
    versions = [_COMPILED.match(side) if isinstance(side, str) else None for side in (was, now)]
    return all(versions) and len({found[1] for found in versions if found}) > 1


def _likely(found: Sequence[Difference], notes: Sequence[str]) -> str:
    """The likely reason of a difference, where there is one."""
    last = {one.where.rpartition(".")[2] for one in found}
    shuffles = next((note for note in notes if "shuffle" in note.lower()), None)
    if "data" in last and last <= {"data", "loss_at_theta"} and shuffles is not None:
        return (
            f"The likely reason is a loader with shuffle=True, which gives the examples in another order each time "
            f"({shuffles.rstrip('.')}): write shuffle=False, or give the loader a generator with a fixed seed. "
        )
    if last <= {"code", "model_code"}:
        parts = {"code": "the loss", "model_code": "the model"}
        return f"The code of {' and of '.join(parts[name] for name in sorted(last))} computes something else now. "
    return ""


def _measured_alike(was: Any, now: Any) -> bool:
    """Lists of numbers, one by one: a float is measured, and comes out a little different on another machine."""
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return all(a == b or _measured_alike(a, b) for a, b in zip(was, now, strict=True))
    return isinstance(was, float) and isinstance(now, float) and math.isclose(was, now, rel_tol=1e-4, abs_tol=1e-9)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
