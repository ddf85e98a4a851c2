# SPDX-License-Identifier: Apache-2.0
"""Processes on their machine: Ctrl-C, signs of life, the kernel's state, removed shared memory. No rclpy."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

MOST = 0.9  # s of silence that count, however late signs of life have been
_SLOWER = 3.0  # times the slowest of the last signs of life
_REMEMBERED = 100  # signs of life
_HELD_UP = 0.06  # s: if two looks are further apart, the listener itself was delayed, and the rest does not count
_SUSPENDED = "is suspended"
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


class Silence:
    """How long no sign of life has come while the listener ran, and whether that is too long.

    The limit is `least`, or three times the slowest of the last signs of life up to `MOST`; before the first one it is
    `MOST`. Times are of the monotonic clock.
    """

    def __init__(self, least: float) -> None:
        self.least = least
        self._delays: deque[float] = deque(maxlen=_REMEMBERED)
        self._heard = self._looked = self.seconds = 0.0

    def begin(self, now: float) -> None:
        """Start measuring silence."""
        self._looked, self.seconds = now, 0.0

    def heard(self, delay: float, now: float) -> None:
        """Note a sign of life, and the seconds in which it came."""
        self._heard = now
        self._delays.append(delay)

    def too_long(self, now: float, least: float = 0.0) -> bool:
        """Whether the silence is too long at `now`, and longer than `least`; call this often."""
        self.seconds = 0.0 if self._heard >= self._looked else self.seconds + min(now - self._looked, _HELD_UP)
        self._looked = now
        slowest = _SLOWER * max(self._delays, default=MOST)
        return self.seconds > max(self.least, least, min(slowest, MOST))


class OtherProcess:
    """What the kernel says of another process of this machine, which its start (of `stat_of`) tells from later ones."""

    def __init__(self, number: int, started: str) -> None:
        self._number, self._started, self._held = number, started, 0

    def look(self) -> str:
        """Say "has ended", "is suspended" (SIGSTOP or a debugger, at two looks in a row), or ""."""
        state, *_, started = stat_of(self._number) or ("X", "")
        if state in "ZX" or started != self._started:
            return "has ended"
        self._held = self._held + 1 if state in "Tt" else 0
        return _SUSPENDED if self._held > 1 else ""

    def runs(self) -> bool:
        """Whether one of its threads runs or waits for a processor: what it does not do is late."""
        try:
            threads = Path(f"/proc/{self._number}/task").iterdir()
            return any(stat_of(self._number, thread.name)[:1] == ["R"] for thread in threads)
        except OSError:  # it has just ended
            return False


def why_lost(silence: Silence, kernel: OtherProcess | None, now: float, least: float = 0.0) -> str:
    """Why a process counts as lost: what the kernel says, or its silence; "" if it does not.

    Args:
        kernel: None = it says nothing of this process.
        least: seconds of silence that count at least; they are `MOST` for a process that runs. With `MOST`, for times
            when nothing moves, the kernel alone tells where it can, and a suspended process counts only after as much
            silence: what hangs then ends by the limit of what was asked.
    """
    quiet, state, still = silence.too_long(now, least), "" if kernel is None else kernel.look(), least >= MOST
    if state == _SUSPENDED and not quiet and still:
        return ""
    if state or not quiet or (kernel is not None and (still or (silence.seconds <= MOST and kernel.runs()))):
        return state
    return f"has sent no heartbeat for {silence.seconds:.2f} s"


def stat_of(number: int, thread: str = "") -> list[str]:
    """State and start of a process, fields 3 to 22 of proc(5) stat; empty if there is no such process or no /proc."""
    try:
        told = Path(f"/proc/{number}/task/{thread or number}/stat").read_text(errors="replace")
    except OSError:
        return []
    return told.rpartition(")")[2].split()[:20]


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
