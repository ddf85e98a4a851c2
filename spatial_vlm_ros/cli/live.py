# SPDX-License-Identifier: Apache-2.0
"""What `ask` and `pick` share: Ctrl-C while a request runs, and a result from the graph on the terminal."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import click

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


def print_message(resolution: Any, as_json: bool) -> None:
    """The answer as people read it at a terminal, or its JSON."""
    if as_json:
        click.echo(resolution.json)
        return
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.output.json_schema import resolution_from_json

    terminal.resolution(resolution_from_json(json.loads(resolution.json)))
