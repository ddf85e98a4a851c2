# SPDX-License-Identifier: Apache-2.0
"""Handles Ctrl-C while the main thread is in rclpy, which loses a KeyboardInterrupt raised in its generators."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Catch Ctrl-C in the block; yields whether it was pressed, which is always false outside the main thread."""
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
    """Delay Ctrl-C until the block has ended."""
    with interrupts() as pressed:
        yield
    if pressed():
        raise KeyboardInterrupt
