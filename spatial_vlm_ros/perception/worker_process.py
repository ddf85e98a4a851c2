# SPDX-License-Identifier: Apache-2.0
"""The process of a grounder, seen from its owner: start it, exchange frames, end it, and say how it died.

Handles processes and file descriptors, not requests. Ending the process also ends the children that the model started.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import spatial_vlm_ros
from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.worker_wire import Body, Channel, FromWorker, WorkerCall

GRACE_S = 2.0  # between asking a process to end and killing it
_TAIL_LINES, _TAIL_BYTES, _TAIL_WIDTH = 20, 8192, 200
# `-c` and not `-m`: files in the working directory must not replace a library.
_CODE = (
    "import sys; sys.path[:] = sys.argv[3:] + [p for p in sys.path if p]; "
    "from spatial_vlm_ros.perception.worker_main import main; main()"
)


class WorkerProcess:
    """A started process. Except for `alive`, one thread at a time may use it.

    Args:
        name: name of the backend, for messages.

    Raises:
        ModelError: no process can be started.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = time.monotonic()
        ours, theirs = socket.socketpair()
        read_end, write_end = os.pipe()
        folder = Path(str(spatial_vlm_ros.__file__)).resolve().parent.parent
        # unless Python already searches it; it must not come before Python's own libraries
        own = [] if folder.name in ("site-packages", "dist-packages") else [str(folder)]
        command = [sys.executable, "-c", _CODE, str(theirs.fileno()), str(read_end), *own]
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                pass_fds=(theirs.fileno(), read_end), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            os.close(write_end)
            raise ModelError(name, f"no process can be started: {error}", "free memory or processes") from error
        finally:
            theirs.close()
            os.close(read_end)
        ours.setblocking(False)
        self._lifeline = os.fdopen(write_end, "wb", buffering=0)
        self._channel = Channel(ours, FromWorker)
        self._all_sent = True
        assert self._process.stdout is not None  # noqa: S101 - because of stdout=PIPE
        self._log = _Log(self._process.stdout)
        self._log.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs. It is not reaped here, so that its id is not reused before `end`."""
        if self._process.returncode is not None:
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:  # the owner's program ignores SIGCHLD: reaped already
            return False

    def post(self, header: WorkerCall, body: Sequence[memoryview] = ()) -> None:
        """Begin to send a frame; `step` sends the rest."""
        self._channel.post(header, body)
        self._all_sent = False

    def step(self, seconds: float) -> tuple[Any, Body] | None:
        """Send and receive for at most `seconds`; see Channel.receive.

        Raises:
            EOFError: the process is dead or has closed its socket.
            WireError: it sent something that is not a frame.
        """
        died = not self.alive  # checked before reading: what it sent before it died is still read
        poll = select.poll()
        poll.register(self._channel, select.POLLIN | (0 if self._all_sent else select.POLLOUT))
        events = poll.poll(0 if died else max(0.0, seconds) * 1e3)
        happened = events[0][1] if events else 0
        if happened & select.POLLOUT and not died:
            with contextlib.suppress(OSError):  # it is gone; reading reports that
                self._all_sent = self._channel.flush()
        if happened & ~select.POLLOUT:
            frame = self._channel.receive()
            if frame is not None:
                return frame
        elif died:
            raise EOFError
        return None

    def end(self, grace_s: float = 0.0) -> str:
        """End the process and its children, and reap it. Repeated calls are harmless.

        Args:
            grace_s: time to end by itself after it was asked to, seconds.

        Returns:
            How it ended, in words, with the last lines it printed if it ended by itself.
        """
        by_itself = not self.alive
        if self._process.returncode is None:
            deadline = time.monotonic() + grace_s
            if grace_s and self.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGTERM)
                while self.alive and time.monotonic() < deadline:
                    time.sleep(0.005)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # not reaped yet, so the group is its own
            self._process.wait()
        self._lifeline.close()
        self._channel.close()
        self._log.join(timeout=1.0)
        if not by_itself:
            return "its process closed the connection and was ended"
        code = self._process.returncode
        if code >= 0:
            return f"its process ended with exit code {code}" + self._log.tail()
        known = {one.value: one.name for one in signal.Signals}
        memory = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"its process was killed by {known.get(-code, f'signal {-code}')}{memory}" + self._log.tail()

    def wait_gone(self, seconds: float) -> None:
        """Wait until it is dead, at most `seconds`: a process closes its socket shortly before it dies."""
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.002)


class _Log(threading.Thread):
    """Passes the output of a process on to standard error, and keeps the end of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(name="log of a grounder", daemon=True)
        self._stream, self._kept = stream, b""

    def run(self) -> None:
        with self._stream:
            while data := self._stream.read(65536):
                self._kept = (self._kept + data)[-_TAIL_BYTES:]
                with contextlib.suppress(OSError):  # the owner has no standard error
                    os.write(2, data)

    def tail(self) -> str:
        lines = [line.rstrip()[:_TAIL_WIDTH] for line in self._kept.decode(errors="replace").splitlines()]
        lines = [line for line in lines if line][-_TAIL_LINES:]
        return "; it last printed:\n" + "\n".join(lines) if lines else ""
