# SPDX-License-Identifier: Apache-2.0
"""What `ask` and `pick` share: a request's progress and its result on the terminal."""

from __future__ import annotations

import json
import sys
from typing import Any

from spatial_vlm_ros.cli.group import print_json, say

INTERRUPTED = 130


def print_progress(words: str) -> None:
    """A stage of a request; the page's address with its secret where a person looks at the terminal, and may read it.

    Into a file or a pipe, and for another user's page, goes the address without it, and where the secret is.
    """
    from spatial_vlm_ros.manipulation.approval.address import address_in

    where = address_in(words)
    link = where.link() if where is not None and sys.stderr.isatty() else None
    say(f"… {words if where is None or link is None else words.replace(where.place, link)}", err=True)


def print_message(resolution: Any, as_json: bool) -> None:
    """The answer as people read it at a terminal, or its JSON."""
    if as_json:
        print_json(json.loads(resolution.json))
        return
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.output.json_schema import resolution_from_json

    terminal.resolution(resolution_from_json(json.loads(resolution.json)))
