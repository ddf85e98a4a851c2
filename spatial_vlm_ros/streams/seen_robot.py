# SPDX-License-Identifier: Apache-2.0
"""The robot in the streams: names of its links, and removal of its points from a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from spatial_vlm_ros.types import RgbdFrame, Transform


class SeenRobot(Protocol):
    """Interface of a robot whose points can be removed from depth (planning.robot_model.Robot)."""

    @property
    def links(self) -> tuple[str, ...]:
        """TF frames of its links."""

    def removed(self, frame: RgbdFrame, base_T_links: Sequence[Transform]) -> RgbdFrame:
        """Remove the robot's points from a frame, with the poses of `links` in the parent of its `base_T_camera`."""
