# SPDX-License-Identifier: Apache-2.0
"""Serves the approval page of a broker. The server itself is in `web/serving.py`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spatial_vlm_ros.manipulation.approval.broker import ApprovalBroker
from spatial_vlm_ros.web.guard import Guard
from spatial_vlm_ros.web.serving import Page, serve_page

if TYPE_CHECKING:
    from spatial_vlm_ros.web.door import Shield


def serve(
    broker: ApprovalBroker,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    *,
    allow_network: bool = False,
    names: Iterable[str] = (),
) -> Page:
    """Serve the page of a broker: anyone with its `url` can approve. Closing it ends the sessions; the broker stays.

    Args:
        port: 0 = any free port.
        token: 32 or more letters, digits, "-" and "_"; None = make a new one.
        names: other accepted hosts in the browser's address, such as "robot.lan:8080", for a host name, a wildcard
            address or a forwarded port.
    """

    def application(guard: Guard, names: frozenset[str]) -> Shield:
        from spatial_vlm_ros.manipulation.approval import web

        return web.application(broker, guard, names)

    return serve_page(application, host, port, token, allow_network=allow_network, names=names, thread="approval page")


__all__ = ["Page", "serve"]
