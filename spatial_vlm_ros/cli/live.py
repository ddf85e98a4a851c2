# SPDX-License-Identifier: Apache-2.0
"""Shared by `ask` and `pick`: prints a request's progress and result."""

from __future__ import annotations

import json
import sys
from typing import Any

from spatial_vlm_ros.cli.group import print_json, say

INTERRUPTED = 130


def print_progress(words: str) -> None:
    """Print a stage of a request; on a terminal, the page's address includes its secret if the user may read it.

    In a file or pipe, and for another user's page, the address comes without the secret, with the path of the secret.
    """
    from spatial_vlm_ros.manipulation.approval.address import address_in

    where = address_in(words)
    link = where.link() if where is not None and sys.stderr.isatty() else None
    say(f"… {words if where is None or link is None else words.replace(where.place, link)}", err=True)


def print_message(resolution: Any, as_json: bool) -> None:
    """Print the answer as text or JSON."""
    if as_json:
        print_json(json.loads(resolution.json))
        return
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.output.json_schema import resolution_from_json

    terminal.resolution(resolution_from_json(json.loads(resolution.json)))
