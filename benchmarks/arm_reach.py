# SPDX-License-Identifier: Apache-2.0
"""Which places a Panda reaches with its fingers down: a map that shares nothing with the planner's own.

The arm is the maker's table of Denavit-Hartenberg parameters and joint limits, not the URDF; the solver is scipy's
bounded least squares from many starts, not the planner's. There are no obstacles and no self-collisions in it: what it
calls out of reach is, what it calls within reach may still be blocked.
Source: Franka Emika, Robot and interface specifications, "Denavit-Hartenberg parameters" and "Limits for Panda".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

Floats = npt.NDArray[np.float64]

_A = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)  # metres
_D = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)
_ALPHA = (0.0, -np.pi / 2, np.pi / 2, np.pi / 2, -np.pi / 2, np.pi / 2, np.pi / 2)
_TIP = 0.107 + 0.1034  # from the last joint to the flange, and on to between the fingertips
LOWER = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
UPPER = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
STARTS = 40
POSITION, TILT = 1e-3, np.deg2rad(0.5)  # what the planner promises
_LEVER = 0.2  # metres that a radian of tilt counts as
_DOWN = np.array([0.0, 0.0, -1.0])


def tip_of(joints: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Forward kinematics.

    Args:
        joints: (7,) radians.

    Returns:
        (3,) place of the tip and (3,) direction of the fingers in the base's frame, metres; (7, 3) places and (7, 3)
        directions of the joints' axes.
    """
    pose, places, axes = np.eye(4), np.empty((7, 3)), np.empty((7, 3))
    for k, turn in enumerate(joints):
        ca, sa, ct, st = np.cos(_ALPHA[k]), np.sin(_ALPHA[k]), np.cos(turn), np.sin(turn)
        pose = pose @ np.array(
            [
                [ct, -st, 0.0, _A[k]],
                [st * ca, ct * ca, -sa, -_D[k] * sa],
                [st * sa, ct * sa, ca, _D[k] * ca],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
        places[k], axes[k] = pose[:3, 3], pose[:3, 2]
    return pose[:3, 3] + _TIP * pose[:3, 2], pose[:3, 2].copy(), places, axes


def reaches(place: Floats, down: bool = True, starts: int = STARTS, seed: int = 0) -> bool:
    """Whether the tip can be at a place within the limits of joints, in any heading.

    Args:
        place: (3,) in the base's frame, metres.
        down: with the fingers straight down; False = pointing anywhere.
        starts: postures that are tried; the first is the middle of the limits.
        seed: of the others.
    """
    lever = _LEVER if down else 0.0

    def off(joints: Floats) -> Floats:
        tip, fingers, _, _ = tip_of(joints)
        return np.concatenate([tip - place, lever * (fingers - _DOWN)])

    def slope(joints: Floats) -> Floats:
        tip, fingers, places, axes = tip_of(joints)
        return np.vstack([np.cross(axes, tip - places).T, lever * np.cross(axes, fingers).T])

    rng = np.random.default_rng(seed)
    for guess in [(LOWER + UPPER) / 2, *rng.uniform(LOWER, UPPER, (starts - 1, 7))]:
        found = least_squares(off, guess, jac=slope, bounds=(LOWER, UPPER), max_nfev=100).x
        tip, fingers, _, _ = tip_of(found)
        tilt = np.arctan2(np.linalg.norm(np.cross(fingers, _DOWN)), float(fingers @ _DOWN))
        if np.linalg.norm(tip - place) <= POSITION and (tilt <= TILT or not down):
            return True
    return False


def within_reach(target: Floats, tray: Floats, above: float = 0.1) -> dict[str, bool]:
    """Of the places of a task, which the tip reaches with the fingers down; and whether it reaches the object at all.

    Args:
        target: (3,) centre of the object, metres.
        tray: (3,) where that centre will be on the tray.
        above: metres above either that the tip comes from and goes to.
    """
    up = np.array([0.0, 0.0, above])
    places = {"target": target, "above the target": target + up, "tray": tray, "above the tray": tray + up}
    return {
        **{name: reaches(place) for name, place in places.items()},
        "target, any direction": reaches(target, down=False),
    }
