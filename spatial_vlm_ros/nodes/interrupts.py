# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while the main thread is in rclpy, which loses a KeyboardInterrupt that is raised in one of its generators."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; nothing else comes of it meanwhile. Of another thread than the main one: never."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """Let what is within end first.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    with interrupts() as pressed:
        yield
    if pressed():
        raise KeyboardInterrupt
