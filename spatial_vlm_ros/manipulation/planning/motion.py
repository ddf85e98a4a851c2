# SPDX-License-Identifier: Apache-2.0
"""What moved since the observation: camera, base, target; and transforms that jumped.

Pure functions on what was and what is. Each limit holds for how far and for how much it turned.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from spatial_vlm_ros.errors import SceneChangedError, TransformError
from spatial_vlm_ros.parameters import ObservationConfig
from spatial_vlm_ros.types import Target, Transform

_AGAIN = "resolve the instruction again"


def moved_by(then: Transform, now: Transform) -> tuple[float, float]:
    """How far a frame moved, metres, and turned, degrees.

    Raises:
        TransformError: the two are not of the same frames.
    """
    if (then.parent, then.child) != (now.parent, now.child):
        raise TransformError(now.parent, now.child, f"compared with {then.parent} <- {then.child}")
    turn = then.rotation.T @ now.rotation
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    angle = math.atan2(float(np.linalg.norm(axis)), float(np.trace(turn)) - 1.0)
    return float(np.linalg.norm(now.translation - then.translation)), math.degrees(angle)


def check_camera_still(then: Transform, now: Transform, config: ObservationConfig) -> None:
    """Refuse when the camera moved against the base.

    Args:
        then: base_T_camera at the observation.
        now: the same now.
        config: limits.

    Raises:
        SceneChangedError: it moved or turned by more than allowed.
        TransformError: the two are not of the same frames.
    """
    _check("the camera", *moved_by(then, now), config.camera_moved, config.camera_turned_deg, _AGAIN)


def check_base_still(then: Transform, now: Transform, config: ObservationConfig) -> None:
    """Refuse when the robot's base moved: poses in its frame no longer hold.

    Args:
        then: fixed_T_base at the observation, from a frame that stands still, such as odom.
        now: the same now.
        config: limits.

    Raises:
        SceneChangedError: it moved or turned by more than allowed.
        TransformError: the two are not of the same frames.
    """
    _check("the base", *moved_by(then, now), config.base_moved, config.base_turned_deg, _AGAIN)


def check_target_there(then: Target, now: Iterable[Target], config: ObservationConfig) -> Target:
    """Refuse when the target is no longer where it was.

    Ids hold for one image, so it is looked for by its label and place.

    Args:
        then: the target, as resolved.
        now: all that a fresh image shows of its kind, in the same frame; of other labels they are left out.
        config: limits.

    Returns:
        The one that it is now.

    Raises:
        SceneChangedError: the nearest of its label is farther away than allowed, or there is none (infinitely far).
        TransformError: a fresh one is in another frame.
    """
    same = [obj for obj in now if obj.label == then.label]
    for obj in same:
        if obj.pose.frame_id != then.pose.frame_id:
            raise TransformError(then.pose.frame_id, obj.pose.frame_id, "targets of two frames were compared")
    moved, nearest = min(
        ((math.dist(then.pose.position, obj.pose.position), obj) for obj in same),
        key=lambda pair: pair[0],
        default=(math.inf, None),
    )
    _check(f"the {then.label} ({then.id})", moved, 0.0, config.target_moved, math.inf, _AGAIN)
    assert nearest is not None  # noqa: S101 - an infinite distance was refused
    return nearest


def check_no_jump(samples: Sequence[tuple[int, Transform]], config: ObservationConfig) -> None:
    """Refuse a transform that moved faster than anything can: a relocalisation, or two publishers of one frame.

    Args:
        samples: stamps (nanoseconds) and values of one transform, oldest first.
        config: limits.

    Raises:
        SceneChangedError: from one sample to the next it moved or turned faster than allowed; or it did so at once,
            with the same stamp or an earlier one.
        TransformError: the samples are not of the same frames.
    """
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


def _check(
    what: str, moved: float, turned: float, limit: float, limit_deg: float, repair: str, happened: str | None = None
) -> None:
    if not (moved <= limit and turned <= limit_deg):  # NaN fails closed
        raise SceneChangedError(what, moved, turned, limit, limit_deg, repair, happened)
