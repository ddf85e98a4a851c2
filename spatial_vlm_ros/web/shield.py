# SPDX-License-Identifier: Apache-2.0
"""Protect every response: answer only under our own host names, and send restrictive security headers."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers would then send Origin: null with our own forms, too.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Shield:
    """Refuse requests under other host names (DNS rebinding), and add security headers to every response."""

    def __init__(self, app: ASGIApp, names: frozenset[str], refused: Callable[[str, Request], Awaitable[None]]) -> None:
        self._app, self._names, self._refused = app, names, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        request = Request(scope, receive)
        hosts = request.headers.getlist("host")
        if len(hosts) == 1 and hosts[0].lower() in self._names:
            with contextlib.suppress(Exception):  # answered with 500 and recorded; raised again to be printed
                await self._app(scope, receive, with_headers)
            return
        await self._refused(f"unknown Host {', '.join(hosts)[:100]!r}", request)
        answer = Response("this page is not served under this name", 400, media_type="text/plain")
        await answer(scope, receive, with_headers)
