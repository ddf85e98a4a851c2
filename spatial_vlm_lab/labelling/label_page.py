# SPDX-License-Identifier: Apache-2.0
"""Serves the labelling page on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spatial_vlm_lab.labelling.session import LabelSession
from spatial_vlm_ros.web.guard import Guard
from spatial_vlm_ros.web.serving import Page, serve_page

if TYPE_CHECKING:
    from spatial_vlm_ros.web.shield import Shield


def serve_labels(labels: LabelSession, title: str, port: int = 0, token: str | None = None) -> Page:
    """Serve the page of a session on 127.0.0.1: anyone with its `url` can change the truth file.

    Args:
        port: 0 = any free port.
        token: 32 or more letters, digits, "-" and "_"; None = make a new one.
    """

    def application(guard: Guard, names: frozenset[str]) -> Shield:
        from spatial_vlm_lab.labelling import label_web

        return label_web.application(labels, title, guard, names)

    return serve_page(application, "127.0.0.1", port, token, thread="labelling page")
