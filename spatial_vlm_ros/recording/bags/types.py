# SPDX-License-Identifier: Apache-2.0
"""Message types of bags: ROS 2 types from rosbags, and this package's own.

Only names and definitions, no files. rosbags is imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from spatial_vlm_ros.errors import DependencyError

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO, IMU_MESSAGE = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/Imu"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
STRING = "std_msgs/msg/String"
DETECTION, DETECTION_ARRAY = "spatial_vlm_interfaces/msg/Detection", "spatial_vlm_interfaces/msg/DetectionArray"
DETECTION_2D_ARRAY = "vision_msgs/msg/Detection2DArray"

# Fields of interfaces/msg, which is not part of the Python package; a test compares them.
DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        DETECTION: """\
string id
string label
float64 score
float64[4] box
string[] attributes
uint32 mask_x
uint32 mask_y
sensor_msgs/Image[<=1] mask
geometry_msgs/Vector3[<=1] front
""",
        DETECTION_ARRAY: """\
std_msgs/Header header
uint32 image_width
uint32 image_height
Detection[] detections
""",
    }
)


def check_rosbags() -> None:
    """Check that rosbags is installed."""
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise DependencyError("rosbags", "pip install rosbags, into the Python environment of this command") from error


@lru_cache(maxsize=1)
def default_store() -> Typestore:
    """Types of ROS 2 and of this package, for bags without definitions and for writing."""
    check_rosbags()
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in DEFINITIONS.items():
        store.register(get_types_from_msg(text, name))
    return store


@lru_cache(maxsize=256)
def embedded_store(name: str, definition: str, is_idl: bool) -> Typestore:
    """Make a store of one type and its parts, from a definition in a bag.

    Stores are cached by the whole definition, so that topics cannot affect each other, and parsed definitions are
    reused for the next bag.
    """
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_idl(definition) if is_idl else get_types_from_msg(definition, name))
    return store
