# SPDX-License-Identifier: Apache-2.0
"""Measures the grasps that a server proposes, by the same rules as the grasps found locally.

The server gives the poses; width, opening and hold are measured. Whether the faces are turned towards the fingers only
affects the score, because that is what the learned model decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from spatial_vlm_ros.manipulation.grasping.faces import face_of
from spatial_vlm_ros.manipulation.grasping.hand_room import STRAY, beside, in_the_way
from spatial_vlm_ros.manipulation.grasping.hand_view import GraspBody
from spatial_vlm_ros.manipulation.grasping.proposals import ProposedGrasp
from spatial_vlm_ros.manipulation.grasping.search import (
    SurfaceGrasp,
    SurfaceMiss,
    grasp_body,
    least_hold,
    lever_of,
    sigma_of,
)
from spatial_vlm_ros.manipulation.grasping.target_points import Array, TargetPoints
from spatial_vlm_ros.manipulation.grasping.thin_parts import ThinParts
from spatial_vlm_ros.parameters import PlanningConfig

_STEEP = math.cos(math.radians(15.0))  # cosine of the approach above which a grasp is named "top_down" or "side"
_FLAT = math.sin(math.radians(15.0))
_FEW_POINTS = 6  # measured points between the fingers, below which nothing is known to be there


def measured(
    seen: TargetPoints, middle: Array, proposed: Sequence[ProposedGrasp], config: PlanningConfig
) -> Iterator[tuple[ProposedGrasp, SurfaceGrasp | SurfaceMiss]]:
    """Yield each proposal with its measured grasp, or why it does not fit.

    Args:
        middle: (3,) centre of its box, metres.
    """
    body = grasp_body(seen, middle)
    thin = ThinParts(body, config)
    for proposal in proposed:
        down = -float(proposal.rotation[2, 2])
        name = "top_down" if down > _STEEP else "side" if abs(down) < _FLAT else "slanted"
        found = _measured(name, proposal, body, seen, thin, config)
        yield proposal, SurfaceMiss(name, found) if isinstance(found, str) else found


def _measured(
    name: str, proposal: ProposedGrasp, body: GraspBody, seen: TargetPoints, thin: ThinParts, config: PlanningConfig
) -> SurfaceGrasp | str:
    """The grasp, or the kind of its rejection."""
    gripper, goal, rotation = config.gripper, config.goal, proposal.rotation
    deep, palm = gripper.finger_beyond, gripper.finger_beyond - gripper.finger_length
    local = (body.points - proposal.position) @ rotation
    x, y, z = local.T
    strip = (np.abs(x) < gripper.finger_width / 2) & (z < deep)
    inner = strip & (z > palm) & (np.abs(y) + body.reach < gripper.opening_max / 2)
    if np.count_nonzero(inner & body.seen) < _FEW_POINTS:
        return "not_opposite"
    faces = [
        face_of(
            side, local[inner], body.reach[inner], (body.normals @ rotation)[inner], body.seen[inner], 0.0, deep,
            gripper.finger_width, 0.0,
        )
        for side in (-1.0, 1.0)
    ]  # fmt: skip
    low, high = -faces[0].at, faces[1].at
    width = max(high - low, proposal.width)
    needed = width + 2 * goal.jaw_clearance
    if needed > gripper.opening_max or width < max(gripper.opening_min, 0.001):
        return "too_wide" if needed > gripper.opening_max else "too_narrow"
    hold = min(deep, faces[0].end, faces[1].end) - max(faces[0].begin, faces[1].begin)
    if hold < least_hold(body, config):
        return "not_opposite"
    aside = (low + high) / 2
    known = sum(face.looks for face in faces)
    sigma, estimated = sigma_of(faces, width, seen, rotation[:2, 1])
    wanted = min(needed + 2 * goal.sigmas * estimated, gripper.opening_max)
    between = local - (0.0, aside, 0.0)
    for opening in (max(wanted, gripper.opening_min), max(needed, gripper.opening_min)):
        blocked = in_the_way(between, opening, config)
        if blocked != "no_room":
            break
    if blocked == "no_room":
        out = between[beside(between, opening, config), 1]
        return "too_wide" if min(np.count_nonzero(out > 0), np.count_nonzero(out < 0)) > STRAY else "no_room"
    if blocked is not None:
        return blocked
    position = proposal.position + aside * rotation[:, 1]
    way = thin.way(name, position, rotation[:, 1], width, gripper.finger_thickness) or name
    return SurfaceGrasp(
        way, rotation, position, width, sigma, opening, hold, max(face.angle for face in faces), known,
        lever_of(body, position, rotation[:2, 1]),
    )  # fmt: skip
