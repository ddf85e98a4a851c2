# SPDX-License-Identifier: Apache-2.0
"""A socket connection whose reads and writes end at a deadline, however slow the other side is.

A socket's own timeout starts again with every byte; here every read and write checks the clock first.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from dataclasses import dataclass
from typing import Any

from spatial_vlm_ros.perception.backends.server_address import Address

_CHUNK = 1 << 16  # bytes sent between two checks of the clock


@dataclass(frozen=True)
class Deadline:
    """A point in time at which an operation must end.

    Args:
        at: value of time.monotonic, seconds.
    """

    at: float

    def remaining(self) -> float:
        """Seconds left; negative after the deadline."""
        return self.at - time.monotonic()

    def left(self, most: float = math.inf) -> float:
        """Return the seconds left, at most `most`."""
        seconds = min(self.remaining(), most)
        if seconds <= 0.0:
            raise TimeoutError
        return seconds


class _Reader(io.RawIOBase):
    """Reads from a socket and checks the clock before every piece, so that a slow sender cannot pass the deadline."""

    def __init__(self, sock: socket.socket, silence_s: float, deadline: Deadline) -> None:
        self._sock, self._silence_s, self._deadline = sock, silence_s, deadline

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive the available bytes, at least one unless the other side has closed the connection."""
        self._sock.settimeout(self._deadline.left(self._silence_s))
        return self._sock.recv_into(buffer)


class Wire:
    """The socket methods that http.client needs, with one deadline for everything. The owner closes the socket.

    Args:
        silence_s: longest pause of the other side, seconds.
    """

    def __init__(self, sock: socket.socket, silence_s: float, deadline: Deadline) -> None:
        self._sock, self._silence_s, self._deadline = sock, silence_s, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        """A file that reads from the socket."""
        return io.BufferedReader(_Reader(self._sock, self._silence_s, self._deadline))

    def sendall(self, data: bytes) -> None:
        """Send all data in pieces, checking the clock before each."""
        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            self._sock.settimeout(self._deadline.left(self._silence_s))
            self._sock.sendall(view[start : start + _CHUNK])

    def close(self) -> None:
        """Do nothing: http.client calls this while a reply is still being read."""


class Connection(http.client.HTTPConnection):
    """An HTTP connection over an open wire."""

    def __init__(self, address: Address, wire: Wire) -> None:
        super().__init__(address.host, address.port)
        self._wire = wire

    def connect(self) -> None:
        """Use the open wire; called by http.client."""
        self.sock: Any = self._wire
