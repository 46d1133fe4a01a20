"""The server's answers: the page, the folder's scene, jobs on its surfaces, and what is being written in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from lossatlas._errors import InputError, LossAtlasError
from lossatlas.page import bundle
from lossatlas.probe import Probe
from lossatlas.serve._folder import Folder, Missing
from lossatlas.serve._guard import App, Guard
from lossatlas.serve._jobs import Jobs, packed
from lossatlas.serve._live import JournalWatch, LedgerWatch
from lossatlas.serve._work import forecast, plan, spent

FRAMES = "application/octet-stream"
POLL = 0.5
_SHELL = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>lossatlas</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/atlas.css">'
    '<link rel="stylesheet" href="/live.css"></head><body><div id="atlas"><p>Reading the folder …</p></div>'
    '<main id="record"></main><section id="live" aria-label="With the network"></section>'
    "<noscript><p>This page needs JavaScript; lossatlas page writes one that reads without.</p></noscript>"
    '<script src="/live.js"></script></body></html>\n'
)


def app(folder: Folder, port: int, token: str, names: tuple[str, ...] = ()) -> App:
    """The guarded application.

    Args:
        folder: what it serves.
        port: under which it is reached.
        token: that clients must show.
        names: further hosts under which it may be reached.
    """
    routes = _Routes(folder)
    listed = [
        Route("/", routes.shell),
        Route("/{name:str}", routes.static),
        Route("/api/scene", routes.scene, methods=["POST"]),
        Route("/api/list", routes.list, methods=["POST"]),
        Route("/api/forecast", routes.forecast, methods=["POST"]),
        Route("/api/job", routes.job, methods=["POST"]),
        Route("/api/live", routes.live, methods=["POST"]),
    ]
    inner = Starlette(routes=listed, exception_handlers={LossAtlasError: _said, ClientDisconnect: _gone})
    inner.state.jobs = routes.jobs
    return Guard(inner, port, token, names)


class _Routes:
    def __init__(self, folder: Folder) -> None:
        self.folder, self.jobs = folder, Jobs()

    async def shell(self, request: Request) -> Response:
        return Response(_SHELL, media_type="text/html")

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        kinds = {"js": "text/javascript", "css": "text/css"}
        if name in ("atlas.js", "atlas.css"):
            return Response(bundle(name), media_type=kinds[name.rpartition(".")[2]])
        if name in ("live.js", "live.css"):
            text = resources.files("lossatlas.serve").joinpath("static", name).read_text(encoding="utf-8")
            return Response(text, media_type=kinds[name.rpartition(".")[2]])
        return PlainTextResponse("there is no such page.\n", 404)

    async def scene(self, request: Request) -> Response:
        made = await asyncio.to_thread(self.folder.scene)
        return Response(await asyncio.to_thread(made.to_json), media_type="application/json")

    async def list(self, request: Request) -> Response:
        live = await asyncio.to_thread(self.folder.live)
        root = self.folder.root
        listed = [
            {"id": name, "kind": kind, "title": path.parent.relative_to(root).as_posix()}
            for name, (kind, path) in live.items()
        ]
        return JSONResponse({"live": listed, "evaluable": sorted(self.folder.surfaces)})

    async def forecast(self, request: Request) -> Response:
        wanted = await _read(request)
        return JSONResponse(await asyncio.to_thread(self._forecast, wanted))

    async def job(self, request: Request) -> Response:
        wanted = await _read(request)
        surface = await asyncio.to_thread(self.folder.surface, wanted.get("surface"))
        _, work, losses, gradients = plan(wanted, surface)

        def run() -> Iterator[dict[str, Any]]:
            yield forecast(surface, losses, gradients)
            probe = Probe(surface)
            yield from work(probe)
            yield spent(probe.meter)

        return StreamingResponse(self.jobs.stream(run), media_type=FRAMES)

    async def live(self, request: Request) -> Response:
        wanted = await _read(request)
        kind, path = await asyncio.to_thread(self.folder.watched, str(wanted.get("id")))
        watch = LedgerWatch(path) if kind == "ledger" else JournalWatch(path)
        return StreamingResponse(_followed(watch), media_type=FRAMES)

    def _forecast(self, wanted: dict[str, Any]) -> dict[str, Any]:
        surface = self.folder.surface(wanted.get("surface"))
        _, _, losses, gradients = plan(wanted, surface)
        return forecast(surface, losses, gradients)


async def _followed(watch: LedgerWatch | JournalWatch) -> AsyncIterator[bytes]:
    # Nothing for long is told too: a client that has gone away is noticed when something is sent to it.
    while True:
        sent = False
        for frame in await asyncio.to_thread(lambda: list(watch.news())):
            sent = True
            yield packed(frame)
        if not sent:
            yield packed({"kind": "nothing"})
        await asyncio.sleep(POLL)


async def _read(request: Request) -> dict[str, Any]:
    body = await request.body()
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError("expected a JSON object.")
    return found


async def _said(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 404 if isinstance(error, Missing) else 400)


async def _gone(request: Request, error: Exception) -> Response:
    return PlainTextResponse("the request was too large, or was given up.\n", 413)
