# SPDX-License-Identifier: Apache-2.0
"""Converts grasps on the target's measured surface, found locally or by a server, to candidates of the pick goal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from spatial_vlm_ros.manipulation.grasping.candidates import GraspCandidate
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
    surface_grasps,
)
from spatial_vlm_ros.manipulation.grasping.target_points import Array, TargetPoints
from spatial_vlm_ros.manipulation.grasping.thin_parts import ThinParts
from spatial_vlm_ros.manipulation.planning.goal import Kind, Rejection, Side
from spatial_vlm_ros.manipulation.planning.gripper import LINKS, PALM, Tip, links
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import distances
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Vector3

WORDS: dict[str, tuple[Kind, str]] = {
    "too_wide": ("too_wide", "its visible part is wider than the gripper opens"),
    "too_narrow": ("too_narrow", "it is thinner than the closed gripper"),
    "not_opposite": ("not_opposite", "it has no two opposite faces that the fingers can hold deep enough"),
    "no_room": ("no_room", "there is no room for a finger beside it"),
    "palm": ("palm", "the palm would touch it before the fingers reach far enough"),
    "below_support": ("below_support", "the gripper would come too close to what is below"),
}


# Measures the grasps that a server proposes, by the same rules as the grasps found locally.
#
# The server gives the poses; width, opening and hold are measured. Whether the faces are turned towards the fingers
# only affects the score, because that is what the learned model decides.

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


def on_surface(scene: PlanningScene, floor: float, config: PlanningConfig) -> Iterator[GraspCandidate | Rejection]:
    """Yield candidates on the measured surface, and orientations without one; nothing without a measured surface.

    Args:
        floor: least height for the gripper, metres.
    """
    target = scene.target
    if target.seen is None:
        return
    middle = np.array(target.solid.centre)
    found, missed = surface_grasps(target.seen, middle, target.solid.yaw, floor, config)
    for miss in missed:
        kind, words = WORDS[miss.kind]
        yield Rejection(_side(miss.way), kind, words)
    for grasp in found:
        yield _candidate(scene, grasp, config)


def on_proposals(
    scene: PlanningScene, proposed: Sequence[ProposedGrasp], config: PlanningConfig
) -> Iterator[GraspCandidate | Rejection]:
    """Yield candidates for a server's grasps, measured by the surface between the fingers, and rejected ones."""
    if scene.target.seen is None:
        return
    for proposal, found in measured(scene.target.seen, np.array(scene.target.solid.centre), proposed, config):
        if isinstance(found, SurfaceMiss):
            kind, words = WORDS[found.kind]
            yield Rejection(_side(found.way), kind, words)
        else:
            yield _candidate(scene, found, config, proposal.score)


def _candidate(
    scene: PlanningScene, grasp: SurfaceGrasp, config: PlanningConfig, server: float | None = None
) -> GraspCandidate | Rejection:
    """Make a candidate, unless the palm would be inside the box that planners keep it out of."""
    way = _side(grasp.way)
    tip = Tip(_vector(grasp.position), _unit(grasp.rotation[:, 2]), _unit(grasp.rotation[:, 1]))
    palm = links(config.gripper, tip, grasp.opening)[LINKS.index(PALM)]
    if float(distances([palm], [scene.target.solid])[0, 0]) < 0:
        return Rejection(way, *WORDS["palm"])
    margin = (config.gripper.opening_max - grasp.width - 2 * config.goal.jaw_clearance) / 2
    return GraspCandidate(
        way, "surface", tip, grasp.width, grasp.opening, margin, grasp.hold, tip.back(config.goal.approach),
        grasp.sigma, grasp.angle, grasp.lever, server,
    )  # fmt: skip


def _side(way: str) -> Side:
    sides: dict[str, Side] = {
        "top_down": "top_down", "side": "side", "slanted": "slanted", "rim": "rim", "handle": "handle",
    }  # fmt: skip
    return sides[way]


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _unit(values: np.ndarray) -> Vector3:
    """A unit vector with rounding noise set to zero."""
    clean = np.where(np.abs(values) < 1e-12, 0.0, values)
    return _vector(clean / np.linalg.norm(clean))
