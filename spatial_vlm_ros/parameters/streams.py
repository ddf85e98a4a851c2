# SPDX-License-Identifier: Apache-2.0
"""How messages become frames: the same for the live node and for a bag."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters.bounds import Bounded, option, parameter

DESCRIPTION_TOPIC = "topic"
"""In place of a path in robot_description: the URDF is what the topic robot_description has."""


@dataclass(frozen=True)
class StreamConfig(Bounded):
    """How messages become frames: the same for the live node and for a bag."""

    base_frame: str = option("base_link", "frame that poses are given in, z up; empty = the camera's own")
    fixed_frame: str = option(
        "",
        "frame that stands still while the camera moves, such as odom: depth taken at another time than colour is "
        "moved to colour's time through it; empty = both are taken as simultaneous",
    )
    speaker_frame: str = option(
        "", "TF frame of the person who speaks (x ahead, z up), for 'my left'; empty = 'my left' is FRAME_UNDEFINED"
    )
    mirrored: bool = option(False, "the driver mirrors its pictures left to right: they are turned back first")
    robot_description: str = option(
        "",
        "path of the robot's URDF: what is measured of its links, at their places by TF, is removed from depth; needs "
        "base_frame and the extra arm; 'topic' = what the topic robot_description has when the node is configured; "
        "empty = nothing is removed",
        fixed=True,
    )
    robot_padding: float = parameter(0.02, "m", 0.0, 0.2, "what is this near to the robot is removed with it")
    rectified: bool = option(
        False, "the image topics are rectified: pixels follow P of camera info; false: they follow K and D"
    )
    depth_registered: bool = option(
        True, "depth is registered to colour (aligned); false: it is registered here, by its own camera info and TF"
    )
    depth_scale: float = parameter(
        0.0, "m", 0.0, 1.0, "metres per unit of integer depth, where it is not millimetres; 0 = by encoding (REP-118)"
    )
    sync_slop: float = parameter(0.02, "s", 0.0, 1.0, "largest difference between the stamps of colour and depth")
    sync_queue: int = parameter(
        15, "messages", 2, 200, "kept of each stream while its partners are awaited; detectors are slow"
    )
    max_latency: float = parameter(
        0.3,
        "s",
        0.0,
        5.0,
        "longest time from exposure to arrival: an image answers a request if it arrives later than the request by "
        "this or more. The camera presets set it; `spatial-vlm doctor` measures it where clocks are in step",
    )
    clocks_in_step: bool = option(
        False,
        "something keeps the clock of the image stamps in step with this host's (one host and system time, PTP, "
        "chrony, /clock): an image answers a request if it is stamped later, and max_latency is not waited for",
    )
    clock_error: float = parameter(
        0.02,
        "s",
        0.0,
        1.0,
        "with clocks_in_step: a stamp may lie this long after the exposure: error of the clocks, and delay of a driver "
        "that stamps on receipt",
    )
    max_ahead: float = parameter(0.1, "s", 0.0, 10.0, "images stamped farther ahead of now are refused")
    max_behind: float = parameter(
        2.0, "s", 0.01, 60.0, "images stamped farther before their arrival are refused: a wrong clock or a slow link"
    )
    transform_max_ahead: float = parameter(
        0.1,
        "s",
        0.0,
        10.0,
        "moving transforms between base and camera that are stamped farther ahead of now are refused; some localisers "
        "(amcl: transform_tolerance) stamp theirs in the future on purpose",
    )
    frame_timeout: float = parameter(
        2.0, "s", 0.1, 60.0, "an instruction without a complete frame for this long is refused"
    )
    transform_timeout: float = parameter(
        0.5, "s", 0.0, 10.0, "a complete frame waits this long for the camera's transform at its stamp"
    )
    transform_cache: float = parameter(10.0, "s", 1.0, 120.0, "transforms are kept for this long")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clocks_in_step and self.frame_timeout <= self.max_latency:
            raise InputError(
                "parameter frame_timeout",
                f"{self.frame_timeout:g} s",
                f"more than max_latency ({self.max_latency:g} s)",
                "raise frame_timeout, or lower max_latency: no image counts as new before it has passed",
            )
        if self.robot_description and not self.base_frame:
            raise InputError(
                "parameter robot_description", "no base_frame beside it", "a base_frame that TF gives the links in",
                "set base_frame, or robot_description: ''",
            )  # fmt: skip
