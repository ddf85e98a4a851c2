# SPDX-License-Identifier: Apache-2.0
"""A connection on which no other side, however slow, can hold its reader beyond a deadline.

A socket's own timeout begins anew with every byte that arrives; here every read and write looks at the clock first.
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

_CHUNK = 1 << 16  # bytes sent between two looks at the clock


@dataclass(frozen=True)
class Deadline:
    """A moment that must not be outlived.

    Args:
        at: time.monotonic then, seconds.
    """

    at: float

    def remaining(self) -> float:
        """Seconds left, perhaps none."""
        return self.at - time.monotonic()

    def left(self, most: float = math.inf) -> float:
        """Seconds left, at most `most`.

        Raises:
            TimeoutError: none is left.
        """
        seconds = min(self.remaining(), most)
        if seconds <= 0.0:
            raise TimeoutError
        return seconds


class _Reader(io.RawIOBase):
    """Reads from a socket, looking at the clock before every piece: a slow drip cannot outlive the deadline."""

    def __init__(self, sock: socket.socket, silence_s: float, deadline: Deadline) -> None:
        self._sock, self._silence_s, self._deadline = sock, silence_s, deadline

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive what is there, at least one byte unless the other side has ended."""
        self._sock.settimeout(self._deadline.left(self._silence_s))
        return self._sock.recv_into(buffer)


class Wire:
    """What http.client needs of a socket, with a deadline for all of it. The socket's owner closes it.

    Args:
        sock: connected, with or without TLS.
        silence_s: longest pause of the other side, seconds.
        deadline: of everything sent and received.
    """

    def __init__(self, sock: socket.socket, silence_s: float, deadline: Deadline) -> None:
        self._sock, self._silence_s, self._deadline = sock, silence_s, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        """A file that reads from the socket."""
        return io.BufferedReader(_Reader(self._sock, self._silence_s, self._deadline))

    def sendall(self, data: bytes) -> None:
        """Send all of it, in pieces, looking at the clock before each.

        Raises:
            TimeoutError: the deadline or the longest pause is over.
        """
        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            self._sock.settimeout(self._deadline.left(self._silence_s))
            self._sock.sendall(view[start : start + _CHUNK])

    def close(self) -> None:
        """Nothing: a reply is still being read when http.client calls this."""


class Connection(http.client.HTTPConnection):
    """An HTTP connection over a wire that stands already.

    Args:
        address: named in the request.
        wire: to it.
    """

    def __init__(self, address: Address, wire: Wire) -> None:
        super().__init__(address.host, address.port)
        self._wire = wire

    def connect(self) -> None:
        """Take the wire; called by http.client."""
        self.sock: Any = self._wire
