# SPDX-License-Identifier: Apache-2.0
"""Connections of a page: slow clients are cut off, and a new connection is always accepted.

A request to stop must not wait behind others, so there is no limit at which new clients are turned away. If too many
connections are open, the oldest one that is not waiting for the server is closed; its page connects again.
Import this only when a page is served, because it needs uvicorn.
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from spatial_vlm_ros.budgets import ASKS_WITHIN, MOST_CONNECTIONS

ACCEPTED_AT_ONCE = 8
"""Connections accepted before their requests are read: far fewer than stay open, so that a request that comes with its
connection is read before others can crowd it out."""
TAKES_WITHIN = 10.0
"""Seconds for taking the whole answer."""

KEPT = "spatial_vlm_ros.kept"
"""Key of a request's scope: its connection stays open for another request. Set for sessions; without a session each
request needs a new connection, so that a flood of requests takes turns with all other clients."""

_Remote = tuple[str, int]


class _Phase(enum.Enum):
    ASKS = enum.auto()
    WORKS = enum.auto()  # the server is working on it
    TAKES = enum.auto()


_MAY_LAST = {_Phase.ASKS: ASKS_WITHIN, _Phase.TAKES: TAKES_WITHIN}


class _Open:
    """One open connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.scope: Scope | None = None  # scope of its last request
        self.phase = _Phase.ASKS
        self.timer: asyncio.TimerHandle | None = None

    def enter(self, phase: _Phase) -> None:
        self.phase = phase
        self.forget()
        if phase in _MAY_LAST:
            self.timer = asyncio.get_running_loop().call_later(_MAY_LAST[phase], self.transport.abort)

    def forget(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Connections:
    """All open connections, and the application that they reach. Runs only on the server's event loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Oldest first, not by phase: a client that sends request after request would always be the youngest.
        self._open: OrderedDict[_Remote, _Open] = OrderedDict()
        there = self._open

        class Protocol(H11Protocol):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                if self.client is None:  # closed by the other side before it was accepted
                    transport.abort()
                    return
                while len(there) >= MOST_CONNECTIONS:
                    idle = (other for other, each in there.items() if each.phase is not _Phase.WORKS)
                    oldest = there.pop(next(idle, next(iter(there))))
                    oldest.forget()
                    oldest.transport.abort()
                there[self.client] = _Open(transport)
                there[self.client].enter(_Phase.ASKS)

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                remote = self.client
                if remote is not None and remote in there and there[remote].transport is self.transport:
                    there.pop(remote).forget()

        self.protocol = Protocol
        """What uvicorn makes for each connection."""

    def _enter(self, remote: _Remote, connection: _Open, phase: _Phase) -> None:
        if self._open.get(remote) is connection and connection.phase is not phase:
            connection.enter(phase)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request."""
        remote: _Remote | None = scope.get("client")
        connection = self._open.get(remote) if remote is not None else None
        if remote is None or connection is None:
            return  # the client has gone
        connection.scope = scope
        with_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        if not with_body:
            self._enter(remote, connection, _Phase.WORKS)

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                self._enter(remote, connection, _Phase.WORKS)
            return message

        async def sent(message: Message) -> None:
            self._enter(remote, connection, _Phase.TAKES)
            if message["type"] == "http.response.start" and KEPT not in scope:
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            if connection.scope is scope:  # the next request may have arrived with it
                self._enter(remote, connection, _Phase.ASKS)
