# SPDX-License-Identifier: Apache-2.0
"""A remote file as a stream that fetches only the ranges that are read, and counts them.

A reader that seeks by an index thus downloads only the index and the needed chunks.
"""

from __future__ import annotations

import bisect
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD = 4096  # bytes fetched at the beginning: magic and header of a file
TAIL = 64 * 1024  # bytes fetched at the end: footer, and the whole index of most files
LEAST, MOST = 64 * 1024, 8 * 1024 * 1024  # bytes fetched elsewhere: twice as many each time that reading goes on


class RangedStream(io.RawIOBase):
    """Stream of a file that is fetched range by range.

    Args:
        fetch: returns the bytes from a first byte to a last byte, exclusive.
        size: size of the file, bytes.

    Attributes:
        fetched: bytes fetched so far.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._fetch, self._size = fetch, size
        self._at = 0
        self._head, self._tail, self._middle = _NOTHING, _NOTHING, _NOTHING
        self._ranges: list[tuple[int, int]] = []
        self.fetched = self.requests = 0

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Announce ranges (first byte, last byte exclusive) that will be read completely: each is fetched at once."""
        self._ranges = sorted(ranges)

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def seekable(self) -> bool:
        """Whether places in it can be read: always."""
        return True

    def tell(self) -> int:
        """Position of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position without fetching."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(22, "a position before the beginning of the file")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer with the next bytes; returns how many there were."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read the next `size` bytes, fewer only at the end."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        parts = []
        while self._at < end:
            first, window = self._window(self._at, end)
            part = window[self._at - first : end - first]
            parts.append(part)
            self._at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _window(self, at: int, end: int) -> tuple[int, bytes]:
        """First byte and bytes of a window that holds the byte `at`, of what is wanted up to `end`."""
        for first, window in (self._middle, self._tail, self._head):
            if first <= at < first + len(window):
                return first, window
        first, last = self._extent(at, end)
        data = self._fetch(first, last)
        self.fetched += len(data)
        self.requests += 1
        if len(data) != last - first:
            raise OSError(f"{len(data)} bytes arrived instead of {last - first}")
        if first == 0:
            self._head = first, data
        elif last == self._size:
            self._tail = first, data
        else:
            self._middle = first, data
        return first, data

    def _extent(self, at: int, end: int) -> tuple[int, int]:
        """What is fetched for a byte, of what is wanted up to `end`."""
        n = bisect.bisect_right(self._ranges, at, key=lambda known: known[0]) - 1
        if n >= 0 and at < self._ranges[n][1]:
            return self._ranges[n]
        if at == 0:
            return 0, min(max(end, HEAD), self._size)
        if at >= self._size - TAIL:
            return max(self._size - TAIL, 0), self._size
        first, window = self._middle
        length = min(2 * len(window), MOST) if first + len(window) == at else LEAST
        stop = max(end, at + length)
        tail_begins = self._tail[0] if self._tail[1] else self._size
        return at, min(stop, tail_begins if at < tail_begins else self._size)


_NOTHING = (0, b"")
