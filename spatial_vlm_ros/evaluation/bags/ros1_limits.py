# SPDX-License-Identifier: Apache-2.0
"""Checks a ROS 1 bag before rosbags opens it: bounded records, and chunks that unpack to a limit.

rosbags looks for the first line end however far it is, reads a record of any length at once, and unpacks a chunk to any
size. Source of the layout: wiki.ros.org/Bags/Format/2.0. A record is the length of its header (4 bytes, little endian),
the header, the length of its data (4) and the data.
"""

from __future__ import annotations

import bz2
import importlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.bags.mcap_records import LARGEST_RECORD
from spatial_vlm_ros.files.reading import MIB, open_regular

_MAGIC = b"#ROSBAG V"
_LINE = 16  # bytes of the first line, at most
_LARGEST_HEADER = MIB  # of a connection: it has the definition of its type
_REPAIR = "pass a bag that rosbag wrote, or record it again"


def check_ros1(path: Path) -> None:
    """Check that no record of a ROS 1 bag exceeds the size limit; rosbags itself reports a cut-off file."""
    with open_regular(path, _REPAIR) as file:
        begin = file.read(_LINE)
        if not begin.startswith(_MAGIC) or b"\n" not in begin:
            repair = f"run `rosbag reindex {path.name}`, or record it again"
            raise FileError(path, "it does not begin like a bag of ROS 1", repair)
        at = begin.index(b"\n") + 1
        for limit in itertools.cycle((_LARGEST_HEADER, LARGEST_RECORD)):
            file.seek(at)
            head = file.read(4)
            if len(head) < 4:
                break
            length = int.from_bytes(head, "little")
            if length > limit:
                raise FileError(path, f"a record of {length} bytes; the limit is {limit}", _REPAIR, f"byte {at}")
            at += 4 + length
    bound_ros1()


def bound_ros1() -> None:
    """Make rosbags unpack a chunk of a ROS 1 bag to at most LARGEST_RECORD."""
    reader = importlib.import_module("rosbags.rosbag1.reader")
    lz4 = importlib.import_module("lz4.frame")
    bounded = {"bz2": _bounded(bz2.BZ2Decompressor), "lz4": _bounded(lz4.LZ4FrameDecompressor)}
    vars(reader)["decompressors"].update(bounded)


def _bounded(packer: Callable[[], Any]) -> Callable[[bytes], bytes]:
    def unpack(data: bytes) -> bytes:
        found = bytes(packer().decompress(data, max_length=LARGEST_RECORD + 1))
        if len(found) > LARGEST_RECORD:
            raise ValueError(f"a chunk of more than {LARGEST_RECORD} bytes when unpacked")
        return found

    return unpack
