"""Starts the server: a port on loopback, a token, and the address that holds both."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from lossatlas import _checks
from lossatlas._errors import InputError, OutputError
from lossatlas.surface import Surface

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    folder: str | Path,
    *,
    surfaces: Mapping[str, Surface] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    anyone: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a folder of results until it is interrupted.

    Args:
        folder: with results that lossatlas saved; it may change meanwhile.
        surfaces: slices of networks, to evaluate them from the page: by the titles of the charts that show them, or where
            several have one title, by `lossatlas.page.digested` of their provenance.
        host: address to listen at; another than loopback needs ``anyone``.
        port: 0 for a free one.
        anyone: whether other machines may connect, with the token alone between them and your computer.
        say: takes the lines to print.

    Raises:
        InputError: for another host without ``anyone``, or a port that is taken; or without the extra ``serve``.
    """
    try:
        import uvicorn

        from lossatlas.serve._app import app
    except ImportError as error:
        raise InputError("serving needs starlette and uvicorn: pip install 'lossatlas[serve]'.") from error
    from lossatlas.serve._folder import Folder

    if host not in LOOPBACK and not anyone:
        raise InputError(
            f"got --host {host}, which other machines can reach: whoever has the address with the token can make this computer "
            "evaluate your network, and what is sent is not encrypted. Add --anyone if that is what you want, or forward the port "
            "with ssh -L instead."
        )
    root = _checks.path("folder", folder, where="serve", error=OutputError)
    if not root.is_dir():
        raise InputError(f"{str(root)!r} is no folder; expected one with results that lossatlas saved.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"port {port} of {host} cannot be used ({error.strerror}). Give another with --port, or none."
        ) from None
    port, token = listening.getsockname()[1], secrets.token_urlsafe(32)
    names = (host,) if host not in LOOPBACK else ()
    # The part after # stays in the browser: no log and no other page sees the token.
    say(f"open http://{f'[{host}]' if ':' in host else host}:{port}/#token={token}")
    say("stop with Ctrl+C; nothing in the folder is changed")
    config = uvicorn.Config(
        app(Folder(root, dict(surfaces or {})), port, token, names),
        log_level="warning", access_log=False, server_header=False, date_header=False, timeout_graceful_shutdown=1,
        limit_concurrency=512,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])
