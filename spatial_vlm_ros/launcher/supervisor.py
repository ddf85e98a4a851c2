# SPDX-License-Identifier: Apache-2.0
"""Supervises processes: prints their output, restarts those that fail, and ends all of them together."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

from spatial_vlm_ros.launcher.plan import Command
from spatial_vlm_ros.printable import printable_line

DELAY = 2.0
"""Seconds before a node restarts: DDS and a camera's driver need time to notice that the last one has gone."""
MOST = 3
"""Restarts within `WITHIN` seconds; a node that fails more often ends everything."""
WITHIN = 60.0

CONFIGURATION = 1
"""Exit code of a node that cannot start with its configuration (`nodes/main.py`); a restart would not help."""
USAGE = 2
CRASHED = 70
"""Exit code of a node that ends with an unexpected error; EX_SOFTWARE of sysexits.h."""

STOPPED = (signal.SIGINT, signal.SIGTERM)  # signals that end everything cleanly
_FINAL = {0, CONFIGURATION, USAGE, *(-number for number in STOPPED), *(128 + number for number in STOPPED)}


class Respawn:
    """Decides on restarts of one node; the clock counts monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._again: deque[float] = deque(maxlen=MOST)

    def again(self, code: int) -> bool:
        """Decide whether it is restarted after an exit code (-n or 128 + n of signal n), and count the restart."""
        now = self._clock()
        if code in _FINAL or (len(self._again) == MOST and now - self._again[0] < WITHIN):
            return False
        self._again.append(now)
        return True


_PATIENCE = 5.0  # seconds between two steps of ending a process
_LAST_WORDS = 1.0  # seconds for output after the end: a grandchild may hold the pipe
_ESCALATION = (*STOPPED, signal.SIGKILL)
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


def run(
    commands: Sequence[Command], out: IO[str] | None = None, aside: Callable[[str], str | None] = lambda _: None
) -> int:
    """Run commands until an essential one ends for good or a signal arrives; then end all of them.

    0 after SIGINT or SIGTERM. Else the exit code of the essential command that ended first for good, 128 + n if signal
    n ended it; if that is 0, the code of the first other command that failed while it was being ended. `aside` gives a
    message to print after a line of output.
    """
    return asyncio.run(_Supervisor(commands, out or sys.stdout, aside).run())


@dataclass(eq=False)
class _Child:
    """One running process and the reader of its output."""

    command: Command
    life: Respawn
    process: asyncio.subprocess.Process
    say: Callable[[str, str], None]

    def __post_init__(self) -> None:
        self.ended = asyncio.ensure_future(self._live())

    async def _live(self) -> int:
        reading = asyncio.ensure_future(self._read())
        code = await self.process.wait()
        await asyncio.wait([reading], timeout=_LAST_WORDS)
        reading.cancel()
        return code if code >= 0 else 128 - code

    async def _read(self) -> None:
        """Print lines of any length."""
        rest, stream = b"", self.process.stdout
        while stream is not None and (chunk := await stream.read(65536)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.say(self.command.name, line.decode("utf-8", "replace"))
        if rest:
            self.say(self.command.name, rest.decode("utf-8", "replace"))

    def tell(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class _Supervisor:
    def __init__(self, commands: Sequence[Command], out: IO[str], aside: Callable[[str], str | None]) -> None:
        self._commands, self._aside = commands, aside
        self._out: IO[str] | None = out
        self._children: list[_Child] = []
        self._starting: list[asyncio.Future[None]] = []  # restarts
        self._told = 0  # current step of the escalation
        self._interrupted = False
        self._stop = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in STOPPED:
            loop.add_signal_handler(number, self._on_signal)
        try:
            code = await self._live()
        finally:
            await self._end_all()
        if self._interrupted or code:
            return 0 if self._interrupted else code
        # The first essential one that failed while it was ended, other than by the signals it was sent.
        told = {128 + number for number in _ESCALATION}
        ends = [child.ended.result() for child in self._children if child.command.essential]
        return next((end for end in ends if end and end not in told), 0)

    async def _live(self) -> int:
        """Start all, restart those that fail, and wait for the first end that matters."""
        for command in self._commands:
            await self._start(command, Respawn())
        stop: asyncio.Future[Any] = asyncio.ensure_future(self._stop.wait())
        known: list[_Child] = []  # those whose end was handled
        while not stop.done():
            running = [child for child in self._children if child not in known]
            changes = [stop, *(child.ended for child in running), *self._starting]
            await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
            for each in [each for each in self._starting if each.done()]:
                self._starting.remove(each)
                each.result()
            for child in [child for child in running if child.ended.done()]:
                known.append(child)
                code = child.ended.result()
                self._say(child.command.name, f"has exited with code {code}")
                if self._stop.is_set():
                    continue
                if child.command.respawn and child.life.again(code):
                    self._say(child.command.name, f"restarts in {DELAY:g} s")
                    self._children.remove(child)
                    self._starting.append(asyncio.ensure_future(self._start(child.command, child.life, DELAY)))
                elif child.command.essential:
                    stop.cancel()
                    return code
        return 0

    async def _start(self, command: Command, life: Respawn, delay: float = 0.0) -> None:
        await asyncio.sleep(delay)
        if self._stop.is_set():
            return
        parent = os.getpid()

        def die_with_parent() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        process = await asyncio.create_subprocess_exec(
            *command.words,
            env=command.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._children.append(_Child(command, life, process, self._say))

    async def _end_all(self) -> None:
        """End all processes: ask, then insist, then kill."""
        for each in self._starting:
            each.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        while waiting := [child for child in self._children if not child.ended.done()]:
            number = _ESCALATION[min(self._told, len(_ESCALATION) - 1)]
            for child in waiting:
                child.tell(number)
            self._told += 1
            self._stop.clear()
            again: asyncio.Future[Any] = asyncio.ensure_future(self._stop.wait())
            everyone: asyncio.Future[Any] = asyncio.gather(*(child.ended for child in waiting))
            await asyncio.wait([again, everyone], timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            if not everyone.done():
                names = ", ".join(child.command.name for child in waiting if not child.ended.done())
                self._say("spatial-vlm", f"still running: {names}")

    def _on_signal(self) -> None:
        self._interrupted = True
        self._stop.set()

    def _say(self, name: str, line: str) -> None:
        if self._out is None:
            return
        try:
            self._out.write(f"[{name}] {printable_line(line)}\n")
            told = self._aside(line)
            if told is not None:
                self._out.write(f"[spatial-vlm] {printable_line(told)}\n")
            self._out.flush()
        except (BrokenPipeError, ValueError):  # nobody reads any more
            self._out = None
            self._stop.set()
