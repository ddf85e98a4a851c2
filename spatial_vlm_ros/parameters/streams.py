# SPDX-License-Identifier: Apache-2.0
"""How messages become frames: the same for the live node and for a bag."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters.bounds import Bounded, option, parameter


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
        "base_frame and the extra arm; empty = nothing is removed",
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
    frame_timeout: float = parameter(
        2.0, "s", 0.1, 60.0, "an instruction without a complete frame for this long is refused"
    )
    transform_timeout: float = parameter(
        0.5, "s", 0.0, 10.0, "a complete frame waits this long for the camera's transform at its stamp"
    )
    transform_cache: float = parameter(10.0, "s", 1.0, 120.0, "transforms are kept for this long")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.robot_description and not self.base_frame:
            raise InputError(
                "parameter robot_description", "no base_frame beside it", "a base_frame that TF gives the links in",
                "set base_frame, or robot_description: ''",
            )  # fmt: skip
