# SPDX-License-Identifier: Apache-2.0
"""Checks before a motion: the age of the observation, what moved since, image against TF, depth of the way.

Pure functions. What moved is compared as translation and rotation; transforms that jumped are detected.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.errors import ClockError, DepthError, SceneChangedError, StaleInputError, TransformError
from spatial_vlm_ros.manipulation.planning.surroundings import Surroundings
from spatial_vlm_ros.parameters import ObservationConfig
from spatial_vlm_ros.types import Transform

_AGAIN = "resolve the instruction again"


def moved_by(then: Transform, now: Transform) -> tuple[float, float]:
    """Translation in metres and rotation in degrees between two poses of a frame."""
    if (then.parent, then.child) != (now.parent, now.child):
        raise TransformError(now.parent, now.child, f"compared with {then.parent} <- {then.child}")
    turn = then.rotation.T @ now.rotation
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    angle = math.atan2(float(np.linalg.norm(axis)), float(np.trace(turn)) - 1.0)
    return float(np.linalg.norm(now.translation - then.translation)), math.degrees(angle)


def check_camera_still(then: Transform, now: Transform, config: ObservationConfig) -> None:
    """Refuse if the camera moved relative to the base."""
    _check("the camera", *moved_by(then, now), config.camera_moved, config.camera_turned_deg, _AGAIN)


def check_base_still(then: Transform, now: Transform, config: ObservationConfig) -> None:
    """Refuse if the robot's base moved in a fixed frame such as odom: poses in the base's frame are no longer valid."""
    _check("the base", *moved_by(then, now), config.base_moved, config.base_turned_deg, _AGAIN)


def check_no_jump(samples: Sequence[tuple[int, Transform]], config: ObservationConfig) -> None:
    """Refuse a transform that moved impossibly fast, by a relocalisation or two publishers: stamps (ns) and values."""
    for (before_ns, before), (after_ns, after) in itertools.pairwise(samples):
        moved, turned = moved_by(before, after)
        took = max(0.0, (after_ns - before_ns) / 1e9)
        when = f"within {took:.3f} s" if took else "at once, without a newer stamp"
        _check(
            f"the transform {after.parent} <- {after.child}",
            moved,
            turned,
            took * config.jump_speed + 1e-6,
            took * config.jump_turning_deg + 1e-4,
            "look for a second publisher, or wait until localisation settles",
            f"moved by {moved:.3f} m and turned by {turned:.1f}° {when}, but only {config.jump_speed:g} m/s and "
            f"{config.jump_turning_deg:g}°/s are allowed",
        )


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


def _check(
    what: str, moved: float, turned: float, limit: float, limit_deg: float, repair: str, happened: str | None = None
) -> None:
    if not (moved <= limit and turned <= limit_deg):  # NaN fails closed
        raise SceneChangedError(what, moved, turned, limit, limit_deg, repair, happened)
