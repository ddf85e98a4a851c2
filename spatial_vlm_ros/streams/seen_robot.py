# SPDX-License-Identifier: Apache-2.0
"""The robot as the streams know it: names of its links, and how its points are taken out of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from spatial_vlm_ros.types import RgbdFrame, Transform


class SeenRobot(Protocol):
    """The robot, as far as its points have to be taken out of depth (planning.robot_model.Robot)."""

    @property
    def links(self) -> tuple[str, ...]:
        """TF frames of its links."""

    def removed(self, frame: RgbdFrame, base_T_links: Sequence[Transform]) -> RgbdFrame:
        """The frame without the robot's points.

        Args:
            frame: with `base_T_camera`.
            base_T_links: poses of `links`, in their order, at the frame's stamp, in the parent of `base_T_camera`.
        """
