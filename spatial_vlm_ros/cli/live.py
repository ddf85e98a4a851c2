# SPDX-License-Identifier: Apache-2.0
"""What `ask` and `pick` share: Ctrl-C while a request runs, and a result from the graph on the terminal."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from spatial_vlm_ros.cli.group import print_json, say

INTERRUPTED = 130


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; nothing else comes of it meanwhile."""
    pressed = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def print_progress(words: str) -> None:
    """A stage of a request; the page's address with its secret where a person looks at the terminal, and may read it.

    Into a file or a pipe, and for another user's page, goes the address without it, and where the secret is.
    """
    from spatial_vlm_ros.manipulation.approval.address import address_in

    where = address_in(words)
    link = where.link() if where is not None and sys.stderr.isatty() else None
    say(f"… {words if link is None else words.replace(str(where), f'approve at {link}')}", err=True)


def print_message(resolution: Any, as_json: bool) -> None:
    """The answer as people read it at a terminal, or its JSON."""
    if as_json:
        print_json(json.loads(resolution.json))
        return
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.output.json_schema import resolution_from_json

    terminal.resolution(resolution_from_json(json.loads(resolution.json)))
