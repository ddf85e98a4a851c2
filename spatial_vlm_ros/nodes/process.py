# SPDX-License-Identifier: Apache-2.0
"""This process on its machine: Ctrl-C, whether CPU time is short, and whether others reach its shared memory. No rclpy.

Linux reports how long some task had to wait for a CPU (pressure stall information, /proc/pressure/cpu, "some"). Where
this is not available, the load average of the last minute is used.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_FILE = Path("/proc/pressure/cpu")
_SHARE = 0.4  # share of the time in which some task waits: from here on the machine counts as busy
MOST = 1.0  # s: a longer silence is not explained by a lack of CPU time
_LOCK = re.compile(r"/(fastdds_port\d+)_el(?: \(deleted\))?$")  # kept open by the process that listens
_REMOVED = re.compile(r"/(fastdds_port\d+) \(deleted\)$", re.MULTILINE)


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Catch Ctrl-C in the block; yields whether it was pressed, which is always false outside the main thread.

    rclpy loses a KeyboardInterrupt raised in its generators.
    """
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


class Pressure:
    """CPU pressure since one of the last two marks, whichever is greater: what is late now was delayed before.

    While it is high, silence does not mean that a node is dead.
    """

    def __init__(self) -> None:
        self._marks = [_now()] * 2

    def mark(self, after: float = 0.0) -> None:
        """Set a new mark if the last one is at least `after` seconds old."""
        now = _now()
        if now[0] - self._marks[1][0] >= after:
            self._marks = [self._marks[1], now]

    def patience(self, seconds: float, most: float = MOST) -> float:
        """How long to wait, in seconds, given how busy the machine was.

        Args:
            most: wait on a busy machine, seconds.
        """
        now, waited = _now()
        if waited is None:
            busy = os.getloadavg()[0] > (os.cpu_count() or 1)
        else:
            busy = any(waited - before > _SHARE * (now - since) for since, before in self._marks if before is not None)
        return max(seconds, most) if busy else seconds


def _now() -> tuple[float, float | None]:
    """The time, and seconds since boot in which some task waited for a CPU; None if the kernel does not report it."""
    now = time.monotonic()
    try:
        line = _FILE.read_text("ascii").partition("\n")[0]
        return now, int(line.rpartition("total=")[2]) * 1e-6
    except (OSError, ValueError):
        return now, None


def removed_ports(process: Path = Path("/proc/self")) -> tuple[str, ...]:
    """Shared-memory ports of a process whose files were removed, so that others cannot reach it there.

    Fast DDS removes the port of a killed process, and sometimes that of its successor (eProsima/Fast-DDS, issues 5053
    and 5469), which then listens at a file that no other process can open.

    Args:
        process: its folder in /proc; the result is empty if it cannot be read, as on systems other than Linux.
    """
    try:
        removed = set(_REMOVED.findall((process / "maps").read_text(errors="replace")))
        opened = list((process / "fd").iterdir()) if removed else []
    except OSError:
        return ()
    listens = set()
    for link in opened:
        with contextlib.suppress(OSError):  # closed meanwhile
            listens.update(_LOCK.findall(str(link.readlink())))
    return tuple(sorted(removed & listens))
