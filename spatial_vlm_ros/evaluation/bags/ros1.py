# SPDX-License-Identifier: Apache-2.0
"""What bags of ROS 1 have that those of ROS 2 have not: another wire format, and other names of fields and types.

Knows rosbags' objects; knows nothing of files. The header's `seq` and what ROS 2 dropped is left as it is.
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
"""Types of ROS 1 → those of ROS 2 with the same fields; others have one name in both."""


def open_reader(path: Path) -> Reader:
    """A reader of one .bag file, opened.

    Raises:
        DependencyError: rosbags is not installed.
        Exception: rosbags' own, where the file is damaged.
    """
    check_rosbags()
    from rosbags.rosbag1 import Reader

    reader = Reader(path)
    reader.open()
    return reader


def decode(store: Typestore, raw: bytes | memoryview, type_: str) -> Any:
    """A message with the names of ROS 2.

    Args:
        store: the types as the bag defines them.
        raw: its bytes.
        type_: as the bag has it.

    Raises:
        Exception: rosbags' own, where the bytes do not fit the type.
    """
    message = store.deserialize_ros1(raw, type_)
    return _Ros1CameraInfo(message) if type_ == CAMERA_INFO else message


@dataclass(frozen=True, eq=False)
class _Ros1CameraInfo:
    """A camera info of ROS 1, whose matrices have capital letters."""

    message: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name.upper() if name in ("d", "k", "r", "p") else name)
