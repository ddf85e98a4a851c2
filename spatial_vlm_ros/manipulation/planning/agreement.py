# SPDX-License-Identifier: Apache-2.0
"""Checks an observation before a motion: its age, that camera and TF agree, and that depth covers the way."""

from __future__ import annotations

import math

from spatial_vlm_ros.errors import ClockError, DepthError, StaleInputError, TransformError
from spatial_vlm_ros.manipulation.planning.surroundings import Surroundings
from spatial_vlm_ros.parameters import ObservationConfig


def check_fresh(stamp_ns: int, now_ns: int, config: ObservationConfig) -> None:
    """Refuse an observation that is too old, or from the future.

    Args:
        stamp_ns: stamp of the observation, nanoseconds.
        now_ns: current time on the same clock, nanoseconds; 0 = not known yet.
    """
    if not now_ns:
        raise StaleInputError("no message on /clock", "start its publisher, or set use_sim_time to false")
    age = (now_ns - stamp_ns) / 1e9
    if age > config.max_age:
        reason = f"the observation is {age:.2f} s old; {config.max_age:g} s are allowed"
        raise StaleInputError(reason, "resolve the instruction again")
    if -age > config.max_ahead:
        raise ClockError("the observation", -age, "observation.max_ahead", config.max_ahead)


def check_tilt(seen: Surroundings, config: ObservationConfig) -> None:
    """Refuse a camera pose that makes the visible support tilted; does nothing without a support."""
    if seen.support_tilt is None:
        return
    tilt = math.degrees(seen.support_tilt)
    if not tilt <= config.support_tilt_deg:
        reason = f"the visible support plane is tilted by {tilt:.1f}°; {config.support_tilt_deg:g}° are allowed"
        raise TransformError(seen.frame_id, seen.camera_frame, f"it disagrees with the image: {reason}")


def check_way_seen(seen: Surroundings, config: ObservationConfig) -> None:
    """Refuse a motion through space without depth."""
    if seen.occupancy is None:
        reason = "there is no depth of the way to the target, so unnamed obstacles are not known"
        raise DepthError(reason, "use a resolver of this version, and check its depth image")
    share = seen.occupancy.seen_share
    if not share >= config.least_seen:
        reason = f"depth covers {share:.0%} of the way to the target or its place; {config.least_seen:.0%} are needed"
        raise DepthError(reason, "move the camera, or what blocks it, until it sees the space around target and place")
