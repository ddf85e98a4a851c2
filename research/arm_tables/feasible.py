# SPDX-License-Identifier: Apache-2.0
"""Whether a table's task can be done at all, from true meshes and the arm's measures, without the package's searches.

Feasible is a task where the object can be taken by some hand pose (`graspable`), its outline fits the tray (or the
opening of the container), and the middle of the object, its place there, and 0.1 m above either are within the arm's
reach with the fingers down (`benchmarks.arm_reach`: the maker's table of joints and another solver).
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from benchmarks.arm_reach import TABLES, within_reach
from research.arm_tables.catalogue import Catalogue, surface_of_pieces
from research.arm_tables.graspable import HandSize, graspable
from research.arm_tables.layouts import SPARE, TARGET, OthersTable, opening_of, outline_at, width_of
from research.arm_tables.pieces import corners_of
from research.rendered.meshes import Floats
from spatial_vlm_ros.parameters.manipulation import GripperConfig
from spatial_vlm_ros.sim.arm.cell import ArmCell
from spatial_vlm_ros.sim.arm.worlds import TRAY

POINTS = 3000  # of the tray's surface
FLOOR = 0.005  # metres: thickness of the tray's floor


def feasible(table: OthersTable, cell: ArmCell, catalogue: Catalogue, gripper: GripperConfig) -> Mapping[str, bool]:
    """What stands for and against a task, from where objects truly stand at rest: reach, fits, graspable."""
    target = surface_of(table, cell, catalogue, TARGET)
    others = [surface_of(table, cell, catalogue, obj.id) for obj in table.layout.objects if obj.id != TARGET]
    tray = cell.pose(TRAY).translation
    middle = (target[:, :3].min(0) + target[:, :3].max(0)) / 2
    reach = within_reach(middle, np.array([tray[0], tray[1], FLOOR + middle[2]]), arm=TABLES[cell.arm.name])
    hand = HandSize(
        gripper.opening_max,
        gripper.finger_length,
        gripper.finger_thickness,
        gripper.finger_width,
        (gripper.palm_width, gripper.palm_thickness, gripper.palm_depth),
    )
    return {
        "reach": all(reach[name] for name in ("target", "above the target", "tray", "above the tray")),
        "fits": fits(target, table),
        "graspable": graspable(target, np.concatenate(others)[:, :3], hand),
    }


def fits(target: Floats, table: OthersTable) -> bool:
    """Whether the object's rectangle fits the tray's floor, or its circle an opening, with SPARE on each side."""
    sides = sorted(cv2.minAreaRect(target[:, :2].astype(np.float32))[1])
    destination = next(obj.model for obj in table.layout.objects if obj.id == TRAY)
    holder = destination.holder
    if holder is None:
        return width_of(target[:, :2]) + 2 * SPARE <= opening_of(outline_at(destination, np.zeros(2), 0.0))
    return all(side + 2 * SPARE <= 2 * room for side, room in zip(sides, sorted(holder.reach), strict=True))


def surface_of(table: OthersTable, cell: ArmCell, catalogue: Catalogue, id_: str) -> Floats:
    """(N, 6) points of an object's true surface where it stands, in the arm's base frame, metres, and normals."""
    if id_ in table.names:
        points = catalogue.surface(table.names[id_])
    else:
        model = next(obj.model for obj in table.layout.objects if obj.id == id_)
        points = surface_of_pieces([corners_of(solid) for solid in model.solids], POINTS)
    pose = cell.pose(id_)
    return np.concatenate([pose.apply(points[:, :3]), points[:, 3:] @ pose.rotation.T], 1)
