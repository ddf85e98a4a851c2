# SPDX-License-Identifier: Apache-2.0
"""Positions that an arm reaches with its fingers down, computed independently of the planner.

The arm is the maker's table of Denavit-Hartenberg parameters and joint limits, not the URDF; the solver is scipy's
bounded least squares from many starts, not the planner's. It ignores obstacles and self-collisions: "out of reach" is
certain, but a position "within reach" may still be blocked. Sources: Franka Emika, Robot and interface specifications,
"Denavit-Hartenberg parameters" and "Limits for Panda"; Universal Robots, "DH Parameters for calculations of kinematics
and dynamics", UR5e.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MakersTable:
    """An arm by its maker's table of Denavit-Hartenberg parameters.

    Args:
        a, d, alpha: (J,) metres, metres and radians of each joint.
        modified: whether a row's rotation and shift along x come before those along z (Craig), or after.
        tip: distance from the last frame to the point between the fingertips, metres.
        lower, upper: (J,) radians, limits of joints.
        turned: rotation of the table's first frame about the vertical in the base frame, radians.
    """

    a: tuple[float, ...]
    d: tuple[float, ...]
    alpha: tuple[float, ...]
    modified: bool
    tip: float
    lower: Floats
    upper: Floats
    turned: float = 0.0


PANDA = MakersTable(
    a=(0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088),
    d=(0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0),
    alpha=(0.0, -np.pi / 2, np.pi / 2, np.pi / 2, -np.pi / 2, np.pi / 2, np.pi / 2),
    modified=True,
    tip=0.107 + 0.1034,  # to the flange, and beyond
    lower=np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]),
    upper=np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973]),
)
UR5E = MakersTable(
    a=(0.0, -0.425, -0.3922, 0.0, 0.0, 0.0),
    d=(0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996),
    alpha=(np.pi / 2, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0),
    modified=False,
    tip=0.15,
    lower=np.array([-2 * np.pi, -2 * np.pi, -np.pi, -2 * np.pi, -2 * np.pi, -2 * np.pi]),
    upper=np.array([2 * np.pi, 2 * np.pi, np.pi, 2 * np.pi, 2 * np.pi, 2 * np.pi]),
    turned=np.pi,  # base_link of the ROS description against the manufacturer's base
)
TABLES = {"panda": PANDA, "ur5e": UR5E}
STARTS = 40
POSITION, TILT = 1e-3, np.deg2rad(0.5)  # tolerances of the planner
_LEVER = 0.2  # metres that count as one radian of tilt
_DOWN = np.array([0.0, 0.0, -1.0])


def tip_of(joints: Floats, arm: MakersTable = PANDA) -> tuple[Floats, Floats, Floats, Floats]:
    """Compute forward kinematics.

    Args:
        joints: (J,) radians.
        arm: the arm, for its table.

    Returns:
        (3,) position of the tip (metres) and (3,) direction of the fingers in the base frame; (J, 3) positions and (J,
        3) directions of the joint axes.
    """
    pose, places, axes = _turn(arm.turned), np.empty((len(joints), 3)), np.empty((len(joints), 3))
    for k, (turn, a, d, alpha) in enumerate(zip(joints, arm.a, arm.d, arm.alpha, strict=True)):
        about_x, about_z = np.eye(4), _turn(turn)
        about_x[1:3, 1:3] = [[np.cos(alpha), -np.sin(alpha)], [np.sin(alpha), np.cos(alpha)]]
        about_x[0, 3], about_z[2, 3] = a, d
        if arm.modified:
            pose = pose @ about_x
        places[k], axes[k] = pose[:3, 3], pose[:3, 2]
        pose = pose @ about_z if arm.modified else pose @ about_z @ about_x
    return pose[:3, 3] + arm.tip * pose[:3, 2], pose[:3, 2].copy(), places, axes


def _turn(angle: float) -> Floats:
    """(4, 4) rotation about z."""
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return pose


def reaches(place: Floats, down: bool = True, starts: int = STARTS, seed: int = 0, arm: MakersTable = PANDA) -> bool:
    """Whether the tip can reach a position within the joint limits, with any heading.

    Args:
        place: (3,) position in the base frame, metres.
        down: whether the fingers point straight down; False = any direction.
        starts: number of initial postures; the first is the middle of the limits.
        seed: seed of the other random choices.
        arm: the arm, for its table.
    """
    lever = _LEVER if down else 0.0

    def off(joints: Floats) -> Floats:
        tip, fingers, _, _ = tip_of(joints, arm)
        return np.concatenate([tip - place, lever * (fingers - _DOWN)])

    def slope(joints: Floats) -> Floats:
        tip, fingers, places, axes = tip_of(joints, arm)
        return np.vstack([np.cross(axes, tip - places).T, lever * np.cross(axes, fingers).T])

    rng = np.random.default_rng(seed)
    lower, upper = arm.lower, arm.upper
    for guess in [(lower + upper) / 2, *rng.uniform(lower, upper, (starts - 1, len(lower)))]:
        found = least_squares(off, guess, jac=slope, bounds=(lower, upper), max_nfev=100).x
        tip, fingers, _, _ = tip_of(found, arm)
        tilt = np.arctan2(np.linalg.norm(np.cross(fingers, _DOWN)), float(fingers @ _DOWN))
        if np.linalg.norm(tip - place) <= POSITION and (tilt <= TILT or not down):
            return True
    return False


def within_reach(target: Floats, tray: Floats, above: float = 0.1, arm: MakersTable = PANDA) -> dict[str, bool]:
    """Which positions of a task the tip reaches with the fingers down, and whether it reaches the object at all.

    Args:
        target: (3,) centre of the object, metres.
        tray: (3,) that centre once it is on the tray, metres.
        above: height above both from which the tip comes and to which it goes, metres.
        arm: the arm, for its table.
    """
    up = np.array([0.0, 0.0, above])
    places = {"target": target, "above the target": target + up, "tray": tray, "above the tray": tray + up}
    return {
        **{name: reaches(place, arm=arm) for name, place in places.items()},
        "target, any direction": reaches(target, down=False, arm=arm),
    }
