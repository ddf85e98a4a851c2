# SPDX-License-Identifier: Apache-2.0
"""How messages become frames: the same for the live node and for a bag."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters.bounds import Bounded, option, parameter

DESCRIPTION_TOPIC = "topic"
"""Value of robot_description that means: read the URDF from the topic robot_description."""


@dataclass(frozen=True)
class StreamConfig(Bounded):
    """How messages become frames: the same for the live node and for a bag."""

    base_frame: str = option("base_link", "TF frame of output poses, z up; empty = the camera frame")
    fixed_frame: str = option(
        "",
        "TF frame that stays still while the camera moves, such as odom; it is used to move depth to the time of "
        "colour if they differ; empty = both are taken as simultaneous",
    )
    speaker_frame: str = option(
        "", "TF frame of the speaker (x ahead, z up), for 'my left'; empty = 'my left' is FRAME_UNDEFINED"
    )
    imu: bool = option(
        False,
        "the topic imu (sensor_msgs/Imu; at rest its acceleration points up, REP-145) tells where up is; TF must "
        "connect its frame with the camera's",
        fixed=True,
    )
    mirrored: bool = option(False, "the driver mirrors its images left to right; they are mirrored back first")
    robot_description: str = option(
        "",
        "path of the robot's URDF; measurements of its links, at their poses from TF, are removed from depth; needs "
        "base_frame and the extra arm; 'topic' = the URDF on the topic robot_description when the node is configured; "
        "empty = remove nothing",
        fixed=True,
    )
    robot_padding: float = parameter(0.02, "0 to 0.2 m", "points within this distance of the robot are also removed")
    rectified: bool = option(
        False, "the image topics are rectified and pixels follow P of camera info; false = they follow K and D"
    )
    depth_registered: bool = option(
        True, "depth is registered to colour (aligned); false = the node registers it with the depth camera info and TF"
    )
    depth_scale: float = parameter(
        0.0, "0 to 1 m", "metres per unit of integer depth, if it is not millimetres; 0 = by encoding (REP-118)"
    )
    sync_slop: float = parameter(0.02, "0 to 1 s", "maximum difference between the stamps of colour and depth")
    sync_queue: int = parameter(
        15,
        "2 to 200 messages",
        "number of messages of each stream kept while waiting for the others; detectors are slow",
    )
    max_latency: float = parameter(
        0.3,
        "0 to 5 s",
        "maximum time from exposure to arrival; an image can answer a request only if it arrives at least this long "
        "after the request. The camera presets set it; `spatial-vlm doctor` measures it if the clocks are synchronised",
    )
    clocks_in_step: bool = option(
        False,
        "the clock of the image stamps is synchronised with this host (one host and system time, PTP, chrony, /clock);"
        " an image can then answer a request if its stamp is later than the request, without waiting for max_latency",
    )
    clock_error: float = parameter(
        0.02,
        "0 to 1 s",
        "with clocks_in_step: maximum time of a stamp after the exposure, from clock error and the delay of a driver "
        "that stamps on receipt",
    )
    max_ahead: float = parameter(0.1, "0 to 10 s", "images stamped farther than this in the future are refused")
    max_behind: float = parameter(
        2.0,
        "0.01 to 60 s",
        "images stamped longer than this before their arrival are refused (wrong clock or slow link)",
    )
    transform_max_ahead: float = parameter(
        0.1,
        "0 to 10 s",
        "moving transforms between base and camera stamped farther than this in the future are refused; some "
        "localisers stamp theirs in the future on purpose (amcl: transform_tolerance)",
    )
    frame_timeout: float = parameter(
        2.0, "0.1 to 60 s", "maximum wait for a complete frame; then the instruction is refused"
    )
    transform_timeout: float = parameter(
        0.5, "0 to 10 s", "maximum wait of a complete frame for the camera's transform at its stamp"
    )
    transform_cache: float = parameter(10.0, "1 to 120 s", "how long transforms are kept")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clocks_in_step and self.frame_timeout <= self.max_latency:
            got, expected = f"{self.frame_timeout:g} s", f"more than max_latency ({self.max_latency:g} s)"
            why = "because no image counts as new before max_latency has passed"
            repair = f"raise frame_timeout or lower max_latency, {why}"
            raise InputError("parameter frame_timeout", got, expected, repair)
        if self.robot_description and not self.base_frame:
            expected = "base_frame to be set to a frame in which TF has the links"
            repair = "set base_frame, or robot_description: ''"
            raise InputError("parameter robot_description", "it is set without base_frame", expected, repair)
