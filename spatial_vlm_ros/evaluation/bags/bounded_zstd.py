# SPDX-License-Identifier: Apache-2.0
"""A zstd module for rosbags that limits the unpacked size.

A message is unpacked to at most mcap_records.LARGEST_RECORD, a file to at most MOST_TIMES its size: a few kilobytes of
zstd can contain terabytes of zeros.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from spatial_vlm_ros.evaluation.bags.mcap_records import LARGEST_RECORD, MOST_TIMES
from spatial_vlm_ros.files.reading import MIB

_ALWAYS = 64 * MIB


class BoundedZstd:
    """Wraps a zstd module with the interface of Python's own (PEP 784)."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def decompress(self, data: bytes) -> bytes:
        """Decompress a message."""
        packer = self._module.ZstdDecompressor()
        found = bytes(packer.decompress(data, max_length=LARGEST_RECORD + 1))
        if len(found) > LARGEST_RECORD or not packer.eof:
            raise ValueError(f"a message that is cut off or has more than {LARGEST_RECORD} bytes when unpacked")
        return found

    def open(self, file: BinaryIO, mode: str = "rb") -> Any:
        """Open a file of a bag for reading."""
        at = file.tell()
        size = file.seek(0, os.SEEK_END)
        file.seek(at)
        return _BoundedFile(self._module.open(file, mode), size * MOST_TIMES + _ALWAYS)


class _BoundedFile:
    def __init__(self, file: Any, most: int) -> None:
        self._file, self._left = file, most

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes."""
        data = bytes(self._file.read(size))
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"a file that unpacks to more than {MOST_TIMES} times its size")
        return data

    def __enter__(self) -> _BoundedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
