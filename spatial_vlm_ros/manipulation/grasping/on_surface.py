# SPDX-License-Identifier: Apache-2.0
"""Converts grasps on the target's measured surface, found locally or by a server, to candidates of the pick goal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from spatial_vlm_ros.manipulation.grasping.candidates import GraspCandidate
from spatial_vlm_ros.manipulation.grasping.proposals import ProposedGrasp
from spatial_vlm_ros.manipulation.grasping.proposed import measured
from spatial_vlm_ros.manipulation.grasping.search import SurfaceGrasp, SurfaceMiss, surface_grasps
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
