# SPDX-License-Identifier: Apache-2.0
"""Whether a second look shows what the first one showed: what is planned from the first holds only then."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.errors import CancelledError, SceneChangedError, StaleInputError, TransformUnavailableError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.planning.motion import check_camera_still
from spatial_vlm_ros.manipulation.planning.surroundings import SurroundingObject, Surroundings
from spatial_vlm_ros.parameters import ObservationConfig
from spatial_vlm_ros.types import Resolution, Status, Transform

_AGAIN = "resolve the instruction again"


def check_same(then: Surroundings, resolution: Resolution, now: Surroundings | None, config: ObservationConfig) -> None:
    """Refuse what differs from the first look by more than is allowed.

    Ids hold for one image, so objects are matched by label and place. What the second image shows more, or no
    longer, counts as changed: a hand that reaches in is an object more.

    Args:
        then: of the first look.
        resolution: of the second look, of the same words.
        now: of the second look; None where it was refused.
        config: limits.

    Raises:
        SceneChangedError: camera, target or a neighbour moved, is gone or is new; or the words are refused now.
        StaleInputError, TransformUnavailableError: the second look saw nothing.
    """
    if resolution.status in (Status.STALE_INPUT, Status.NOT_SYNCHRONISED):
        raise StaleInputError(f"the second look failed: {resolution.message}", "mend the camera, then ask again")
    if resolution.status is Status.TF_UNAVAILABLE:
        raise TransformUnavailableError(then.frame_id, then.camera_frame, resolution.message, "mend TF, then ask again")
    if resolution.status is Status.CANCELLED:
        raise CancelledError(resolution.message)
    what = f"the {then.target.label} ({then.target.id})"
    if now is None:
        happened = f"cannot be found any more ({resolution.status.value}: {resolution.message})"
        raise SceneChangedError(what, math.inf, 0.0, config.target_moved, math.inf, _AGAIN, happened)
    check_camera_still(_transform(then), _transform(now), config)
    moved = math.dist(then.target.solid.centre, now.target.solid.centre)
    if now.target.label != then.target.label:
        happened = f"is no longer what the words mean: that is a {now.target.label} now"
        raise SceneChangedError(what, moved, 0.0, config.target_moved, math.inf, _AGAIN, happened)
    if not moved <= config.target_moved:
        raise SceneChangedError(what, moved, 0.0, config.target_moved, math.inf, _AGAIN)
    _check_neighbours(then.others, now.others, config)


def _check_neighbours(
    then: Sequence[SurroundingObject], now: Sequence[SurroundingObject], config: ObservationConfig
) -> None:
    """Each object of the one look is near one of its label in the other, and there are as many."""
    left = list(now)
    for body in then:
        alike = [one for one in left if one.label == body.label]
        nearest = min(alike, key=lambda one: math.dist(one.solid.centre, body.solid.centre), default=None)
        moved = math.inf if nearest is None else math.dist(nearest.solid.centre, body.solid.centre)
        if nearest is None or not moved <= config.neighbour_moved:
            raise SceneChangedError(
                f"the {body.label} ({body.id})", moved, 0.0, config.neighbour_moved, math.inf, _AGAIN
            )
        left.remove(nearest)
    for body in left:
        what = f"the {body.label} ({body.id})"
        raise SceneChangedError(what, math.inf, 0.0, config.neighbour_moved, math.inf, _AGAIN, "has come")


def _transform(seen: Surroundings) -> Transform:
    matrix = np.eye(4)
    matrix[:3, :3] = matrix_from_quaternion_xyzw(seen.camera.orientation)
    matrix[:3, 3] = seen.camera.position
    return Transform(seen.frame_id, seen.camera_frame, matrix)
