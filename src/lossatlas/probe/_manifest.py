"""What a ledger is of: its manifest, and how another one is told from it, entry by entry."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lossatlas import archive
from lossatlas._errors import OutputError
from lossatlas.probe import _store

FORMAT = "lossatlas ledger"
NAME = "manifest.json"


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
    return {
        "torch": str(torch.__version__),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "precision": torch.get_float32_matmul_precision(),
    }


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


def refuse_other(folder: Path, was: Any, now: Any, what: str) -> None:
    """Refuse an identity that is not the one that was, naming what differs.

    Raises:
        OutputError: with the first few entries, then and now.
    """
    differences = list(_differences(was, now, ""))
    if differences:
        shown = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
        raise OutputError(
            f"{what}the ledger in {str(folder)!r} is of something else: {shown}. Expected what it was begun with. "
            "Choose another folder, or give the same model, data and plane again. Nothing was changed."
        )


def _differences(was: Any, now: Any, where: str) -> Iterator[str]:
    if isinstance(was, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*was, *now]):
            inner = f"{where}.{name}" if where else name
            if name not in was or name not in now:
                there, here = (_short(side[name]) if name in side else "absent" for side in (was, now))
                yield f"{inner} was {there}, now {here}"
            else:
                yield from _differences(was[name], now[name], inner)
    elif was != now and not _measured_alike(was, now):
        yield f"{where} was {_short(was)}, now {_short(now)}"


def _measured_alike(was: Any, now: Any) -> bool:
    """Lists of numbers, one by one: a float is measured, and comes out a little different on another machine."""
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return all(a == b or _measured_alike(a, b) for a, b in zip(was, now, strict=True))
    return isinstance(was, float) and isinstance(now, float) and math.isclose(was, now, rel_tol=1e-4, abs_tol=1e-9)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
