# SPDX-License-Identifier: Apache-2.0
"""Serve a page on its own thread, and close it.

uvicorn and Starlette (extra `web`) are imported only when a page is served.
"""

from __future__ import annotations

import importlib.util
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from spatial_vlm_ros.budgets import LARGEST_HEAD
from spatial_vlm_ros.errors import DependencyError, InputError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.web.guard import Guard, is_loopback, names_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn import Server

_STARTS_WITHIN = 30.0  # s
_CLOSES_WITHIN = 10.0  # s
_WAITING = 1024  # connections that the kernel queues; a flood must not keep a Stop out
_REPAIR = install("web")
_OTHER_PORT = "choose another port, or 0 for a free one"


class Page:
    """A page that is being served on a thread. Closing it ends its sessions, but not what it shows."""

    def __init__(self, server: Server, bound: socket.socket, guard: Guard, name: str = "page") -> None:
        self._server, self._guard = server, guard
        self.host, self.port = bound.getsockname()[:2]
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name=name, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _STARTS_WITHIN
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.close()
                expected, repair = "a server that starts", "report this error with the log of uvicorn"
                raise InputError("page", f"the server on {self.address} did not start", expected, repair)
            self._thread.join(0.01)
        bound.listen(_WAITING)

    @property
    def address(self) -> str:
        """URL of the page, without the token."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"

    @property
    def url(self) -> str:
        """URL of the page, with the token.

        Anyone who has it may use the page: show it once, to the person who works with it.
        """
        return f"{self.address}?token={self._guard.token}"

    def close(self) -> None:
        """Stop serving; return when the port is free. Closing twice is fine."""
        self._server.should_exit = True
        self._thread.join(_CLOSES_WITHIN)
        if self._thread.is_alive():  # a client holds a connection open
            self._server.force_exit = True
            self._thread.join(_CLOSES_WITHIN)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_installed() -> None:
    """Report missing packages before work is spent on a page."""
    for name in ("starlette", "uvicorn", "jinja2"):
        if importlib.util.find_spec(name) is None:
            raise DependencyError(name, _REPAIR)


def serve_page(
    application: Callable[[Guard, frozenset[str]], ASGIApp],
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    *,
    allow_network: bool = False,
    names: Iterable[str] = (),
    thread: str = "page",
) -> Page:
    """Serve an application as a page on a port, 0 = a free one; without a token it makes one.

    `names`: further names of the page in the browser's address, "robot.lan:8080", if it is reached by a name, a
    wildcard address or a forwarded port.
    """
    if not is_loopback(host) and not allow_network:
        expected = "a loopback address, because other machines could reach the page without encryption"
        tunnel = f"ssh -L {port or 8080}:127.0.0.1:{port or 8080}"
        repair = f"keep 127.0.0.1 and tunnel to it ({tunnel}), or set allow_network"
        raise InputError("address of the page", host, expected, repair)
    if not 0 <= port <= 65535:
        raise InputError("address of the page", f"port {port}", "a port from 0 to 65535", _OTHER_PORT)
    guard = Guard(token)
    try:
        from uvicorn import Config, Server

        from spatial_vlm_ros.web.connections import ACCEPTED_AT_ONCE, Connections

        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            bound = socket.create_server((host, port), family=family)
        except OSError as error:
            got = f"{host} port {port}: {error.strerror or error}"
            raise InputError("address of the page", got, "a free port of this machine", _OTHER_PORT) from error
        try:
            connections = Connections(application(guard, names_of(host, bound.getsockname()[1], names)))
        except BaseException:
            bound.close()
            raise
    except ImportError as error:
        raise DependencyError(error.name or "starlette", _REPAIR) from error
    config = Config(
        connections,
        http=connections.protocol,
        loop="asyncio",
        h11_max_incomplete_event_size=LARGEST_HEAD,
        backlog=ACCEPTED_AT_ONCE,  # asyncio accepts this many at a time; the kernel queues more, see `Page`
        log_config=None,  # and no access log: the first request contains the token
        log_level="critical",  # no line for each request that is not HTTP: anybody could fill the terminal
        access_log=False,
        server_header=False,
        proxy_headers=False,  # anybody can write those headers; a record names who really connected
        lifespan="off",
        ws="none",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )
    return Page(Server(config), bound, guard, thread)
