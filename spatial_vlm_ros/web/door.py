# SPDX-License-Identifier: Apache-2.0
"""Access by browsers: sign in, read forms within limits, check that one is from our page, protect every response.

A page answers only under its own host names, and sends restrictive security headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spatial_vlm_ros.budgets import ASKS_WITHIN, LARGEST_FORM
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.web import STATIC, STATIC_KINDS, templates_of
from spatial_vlm_ros.web.connections import KEPT
from spatial_vlm_ros.web.guard import Guard, Session


@dataclass(frozen=True)
class TriedToken:
    """Result of trying a token."""

    secret: str | None  # of a new session; None if the token is wrong
    wait: float  # seconds without a record of wrong tokens from this address; 0 = recorded


class Door:
    """Sign-in to one page, whose name is part of its cookie's, and its templates/ and static/ in a folder."""

    def __init__(self, guard: Guard, names: frozenset[str], page: str, folder: Path) -> None:
        self._guard, self._page = guard, page
        self._origins = {f"{scheme}://{name}" for name in names for scheme in ("http", "https")}
        self.templates = templates_of(folder / "templates")
        self.templates.filters["line"] = printable
        own = {path.name: path for path in (folder / "static").iterdir() if path.suffix in STATIC_KINDS}
        self._static = {**STATIC, **own}

    def cookie(self, request: Request) -> str:
        """Name of the cookie. Browsers share cookies between ports, so two pages on one machine need two names.

        With TLS, here or in a proxy, other hosts cannot set it.
        """
        tls = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
        return f"{'__Host-' * tls}spatial_vlm_{self._page}_{request.url.port or 0}"

    def secret(self, request: Request) -> str:
        """Secret of a request's session, or "". Other cookies of that name are ignored."""
        given = (pair.strip().partition("=") for each in request.headers.getlist("cookie") for pair in each.split(";"))
        secrets = (value for name, _, value in given if name == self.cookie(request))
        return next((secret for secret in secrets if self._guard.session(secret) is not None), "")

    def session(self, request: Request) -> Session | None:
        """Session of a request; then its connection is kept open."""
        session = self._guard.session(self.secret(request))
        if session is not None:
            request.scope[KEPT] = True
        return session

    def is_foreign(self, request: Request) -> bool:
        """True if a form came from another site. Browsers send the origin with each form."""
        return request.headers.get("origin") not in self._origins

    def try_token(self, request: Request, token: str) -> TriedToken:
        """Try a token; attempts are counted by address, because each connection has its own port."""
        address = request.client.host if request.client else "unknown"
        wait = self._guard.wait_before(address)
        return TriedToken(self._guard.sign_in(token, address), wait)

    def let_in(self, request: Request, secret: str) -> Response:
        """Response that opens a session: it redirects to the page, without the token in the address."""
        response = RedirectResponse("/", 303)
        name = self.cookie(request)
        secure = name.startswith("__Host-")
        response.set_cookie(name, secret, secure=secure, httponly=True, samesite="strict", path="/")
        return response

    def shown(self, template: str, status: int, **values: Any) -> Response:
        """Response with a template that is filled with values."""
        text = self.templates.get_template(template).render(values)
        headers = {"WWW-Authenticate": "Cookie"} if status == 401 else None
        return Response(text, status, headers, media_type="text/html")

    async def static(self, request: Request) -> Response:
        """Response with a file of the page, or of every page, by its name."""
        path = self._static.get(request.path_params["name"])
        if path is None:
            return Response("no such file", 404, media_type="text/plain")
        return Response(path.read_bytes(), media_type=STATIC_KINDS[path.suffix])


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


async def read_form(request: Request) -> dict[str, str]:
    """Read the fields of a form."""
    body = await _body(request, "form", "application/x-www-form-urlencoded", LARGEST_FORM, "use the forms of the page")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict", max_num_fields=20
        )
    except ValueError as error:
        raise InputError("form", "it has another encoding", "URL-encoded UTF-8", "use the forms of the page") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise InputError("form", "a field occurs twice", "each field once", "use the forms of the page")
    return form


async def read_json(request: Request, largest: int) -> dict[str, Any]:
    """Read a JSON object of up to `largest` bytes."""
    try:
        value = json.loads(await _body(request, "request", "application/json", largest, "use the page"))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError("request", "it has another encoding", "JSON in UTF-8", "use the page") from error
    if not isinstance(value, dict):
        raise InputError("request", type(value).__name__, "a JSON object", "use the page")
    return value


async def _body(request: Request, what: str, kind: str, largest: int, repair: str) -> bytes:
    async def read() -> bytes:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > largest:
                raise InputError(what, "it is too long", f"at most {largest} bytes", "shorten it")
        return body

    if request.headers.get("content-type", "").split(";")[0].strip() != kind:
        raise InputError(what, "it has another content type", kind, repair)
    try:
        return await asyncio.wait_for(read(), ASKS_WITHIN)
    except (asyncio.TimeoutError, ClientDisconnect) as error:
        raise InputError(what, "it is incomplete", f"all of it within {ASKS_WITHIN:g} s", "send it again") from error
