"""What stands in front of every request: only a page that this server itself sent, with its token, may talk to it.

A page elsewhere in the browser can reach loopback: by its address, or by a name that it makes resolve there (rebinding).
So the Host must be this server, an Origin that is sent must be too, and everything under ``/api`` needs a token that only
the address printed in the terminal holds.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY = 1_000_000
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data: blob:; worker-src blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """An ASGI application around another.

    Args:
        inner: what answers once a request may pass.
        port: of this server.
        token: that requests to ``/api`` must carry as ``x-atlas-token``.
        names: further hosts under which it may be reached.
    """

    def __init__(self, inner: App, port: int, token: str, names: tuple[str, ...] = ()) -> None:
        self.inner, self.token = inner, token.encode()
        self.hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost", "[::1]", *names)}
        self.origins = {b"http://" + host for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on with the headers that keep the page to itself."""
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        why = self.refusal(scope)
        if why is not None:
            await _answer(send, 403, why)
            return
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if any(not value.isdigit() or int(value) > LARGEST_BODY for value in lengths):
            await _answer(send, 413, f"a request may hold at most {LARGEST_BODY:,} bytes")
            return

        async def headed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        await self.inner(scope, _limited(receive), headed)

    def refusal(self, scope: Scope) -> str | None:
        """Why a request may not pass, or None."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        host = headers.get(b"host", [])
        if len(host) != 1 or host[0].lower() not in self.hosts:
            return "this server answers under its own address only"
        if any(origin not in self.origins for origin in headers.get(b"origin", [])):
            return "another page may not talk to this server"
        if any(site not in (b"same-origin", b"none") for site in headers.get(b"sec-fetch-site", [])):
            return "another page may not talk to this server"
        if not scope["path"].startswith("/api"):
            return None if scope["method"] in ("GET", "HEAD") else "only GET is known here"
        if scope["method"] != "POST":
            return "only POST is known here"
        given = headers.get(b"x-atlas-token", [b""])
        if len(given) != 1 or not secrets.compare_digest(given[0], self.token):
            return "open the address that the terminal printed: it holds the token"
        return None


def _limited(receive: Receive) -> Receive:
    held = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal held
        message = await receive()
        held += len(message.get("body", b""))
        if held > LARGEST_BODY:
            return {"type": "http.disconnect"}
        return message

    return counted


async def _answer(send: Send, status: int, why: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{why}.\n".encode()})
