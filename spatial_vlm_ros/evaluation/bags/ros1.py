# SPDX-License-Identifier: Apache-2.0
"""Handles differences of ROS 1 bags: another wire format, and other names of fields and types.

Uses rosbags' objects, not files. The header's `seq` and other fields that ROS 2 dropped are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.evaluation.bags.types import CAMERA_INFO, TF_MESSAGE, check_rosbags

if TYPE_CHECKING:
    from pathlib import Path

    from rosbags.rosbag1 import Reader
    from rosbags.typesys.store import Typestore

SUFFIX = ".bag"
SAME_TYPES: Mapping[str, str] = MappingProxyType({"tf/msg/tfMessage": TF_MESSAGE})
"""ROS 1 type → ROS 2 type with the same fields; other types have the same name."""


def open_reader(path: Path) -> Reader:
    """Open a reader of one .bag file."""
    check_rosbags()
    from rosbags.rosbag1 import Reader

    reader = Reader(path)
    reader.open()
    return reader


def decode(store: Typestore, raw: bytes | memoryview, type_: str) -> Any:
    """Deserialise a message, with ROS 2 names.

    Args:
        raw: bytes of the message.
    """
    message = store.deserialize_ros1(raw, type_)
    return _Ros1CameraInfo(message) if type_ == CAMERA_INFO else message


@dataclass(frozen=True, eq=False)
class _Ros1CameraInfo:
    """A camera info of ROS 1, whose matrices have capital letters."""

    message: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name.upper() if name in ("d", "k", "r", "p") else name)
