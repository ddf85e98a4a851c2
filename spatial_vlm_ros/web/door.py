# SPDX-License-Identifier: Apache-2.0
"""How a browser gets in: a token for a cookie, a session of a cookie, and whether a request is of our own page."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from spatial_vlm_ros.web.connections import KEPT
from spatial_vlm_ros.web.guard import Guard, Session


@dataclass(frozen=True)
class TriedToken:
    """What became of a token.

    Args:
        secret: of a new session; None where the token is wrong.
        wait: seconds until a wrong token of this address counts as tried again; 0 = this one did.
    """

    secret: str | None
    wait: float


class Door:
    """The way into one page.

    Args:
        guard: who may use it.
        names: values of the Host header that are answered.
        page: name of the page, part of its cookie's name.
    """

    def __init__(self, guard: Guard, names: frozenset[str], page: str) -> None:
        self._guard, self._page = guard, page
        self._origins = {f"{scheme}://{name}" for name in names for scheme in ("http", "https")}

    def cookie(self, request: Request) -> str:
        """Name of the cookie. Cookies are not kept apart by port: two pages on one machine need two names."""
        return f"spatial_vlm_{self._page}_{request.url.port or 0}"

    def session(self, request: Request) -> Session | None:
        """The session of a request; its connection is kept open then."""
        session = self._guard.session(request.cookies.get(self.cookie(request)))
        if session is not None:
            request.scope[KEPT] = True
        return session

    def is_foreign(self, request: Request) -> bool:
        """Whether a form came from elsewhere. Browsers name the origin of each form they send."""
        return request.headers.get("origin") not in self._origins

    def try_token(self, request: Request, token: str) -> TriedToken:
        """Try a token, by address alone: each connection has a port of its own."""
        address = request.client.host if request.client else "unknown"
        wait = self._guard.wait_before(address)
        return TriedToken(self._guard.sign_in(token, address), wait)

    def let_in(self, request: Request, secret: str) -> Response:
        """The answer that opens a session: to the page, without the token in its address."""
        response = RedirectResponse("/", 303)
        response.set_cookie(self.cookie(request), secret, httponly=True, samesite="strict", path="/")
        return response
