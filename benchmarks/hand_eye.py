# SPDX-License-Identifier: Apache-2.0
"""Hand-eye calibration by a board, and its check without one.

Boards: a ChArUco board of 7x5 squares of 3 cm at 15 random poses, 0.35 to 0.55 m from a camera of 640x480 pixels,
tilted by 10 to 35 degrees; half with the camera on the hand. Its corners have errors of 0.3 pixels per axis, the
arm's poses of 0.1 mm and 0.1 mrad per axis. Error of the camera's pose.

Check: random tables with the simulated Panda and the noise of a stereo camera; random poses of the arm, three to
eight as the check asks for, in view of a camera that stands, or with a camera on the hand. The camera's pose is told
right, and with an error of 2 degrees about, or 1 cm along, each axis of the camera, in both directions. An error is
found if a finding says that the camera is elsewhere; a right pose with such a finding is a false alarm.

    python -m benchmarks.hand_eye
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.harness import Claim, arguments, finish, in_processes, share, spreads
from spatial_vlm_ros.doctor.hand_eye import LEAST, MOST, NOT_MEASURED, ArmLook, hand_eye_findings
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.geometry.hand_eye import CharucoTarget, PoseSample, between, calibrate, twist
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.manipulation.planning.robot_model import read_surfaces
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.sim.arm.cell import ArmCell, ArmView
from spatial_vlm_ros.sim.arm.machines import PANDA
from spatial_vlm_ros.sim.arm.worlds import random_layout, wrist_camera
from spatial_vlm_ros.sim.tabletop import VGA
from spatial_vlm_ros.types import Transform

Array = npt.NDArray[np.float64]
TARGET = CharucoTarget(CharucoTarget.EXAMPLE)
PIXELS, ARM = 0.3, 1e-4
ABOVE, SPREAD = np.array([0, -0.4, 0, -2.2, 0, 1.9, 0.785]), np.array([0.5, 0.3, 0.2, 0.3, 0.2, 0.3, 0.7])
AXES = ("about right", "about down", "about forward", "along right", "along down", "along forward")


def turned(*vector: float) -> Array:
    """(3, 3) rotation by a rotation vector, radians."""
    return np.asarray(cv2.Rodrigues(np.array(vector))[0], np.float64)


def board_view(rng: np.random.Generator) -> Array:
    """(4, 4) pose of a board that is wholly in view."""
    middle = TARGET.points.mean(axis=0)
    while True:
        tilt, around, roll = math.radians(rng.uniform(10, 35)), rng.uniform(0, 2 * math.pi), rng.uniform(-0.8, 0.8)
        turn = turned(0, 0, around) @ turned(tilt, 0, 0) @ turned(0, 0, roll - around)
        at = np.array([*rng.uniform(-0.05, 0.05, 2), rng.uniform(0.35, 0.55)])
        view = rigid_matrix(turn, at - turn @ middle)
        pixels = project(VGA, TARGET.points @ turn.T + view[:3, 3])
        if pixels.min() > 5 and (pixels.max(axis=0) < [VGA.width - 5, VGA.height - 5]).all():
            return view


def board_error(seed: int, poses: int = 15) -> tuple[float, float]:
    """Error of one calibration, metres and degrees."""
    rng, in_hand = np.random.default_rng((49, seed)), seed % 2 == 0
    camera = rigid_matrix(turned(*rng.normal(0, 1, 3)), rng.uniform(-0.3, 0.3, 3))
    board = rigid_matrix(turned(*rng.normal(0, 1, 3)), rng.uniform(-0.5, 0.5, 3))
    samples = []
    for _ in range(poses):
        view = board_view(rng)
        pixels = project(VGA, TARGET.points @ view[:3, :3].T + view[:3, 3])
        seen = TARGET.pose(TARGET.points, pixels + rng.normal(0, PIXELS, pixels.shape), VGA)
        arm = board @ np.linalg.inv(camera @ view)
        arm = (arm if in_hand else np.linalg.inv(arm)) @ rigid_matrix(
            turned(*rng.normal(0, ARM, 3)), rng.normal(0, ARM, 3)
        )
        samples.append(PoseSample(arm, seen))
    return between(calibrate(samples, in_hand).pose, camera)


@functools.cache
def surfaces() -> dict[str, Array]:
    """Surfaces of the links whose poses are known."""
    return {name: part for name, part in read_surfaces(PANDA.urdf()).items() if name in PANDA.links}


def looks(seed: int, on_hand: bool) -> Iterator[ArmLook]:
    """Looks of a still arm over a random table, with the true pose of the camera."""
    rng, cell = np.random.default_rng((50, seed)), ArmCell(random_layout(seed))
    view = ArmView(cell, VGA, seed=seed)
    joints = [cell.model.joint(name).qposadr[0] for name in PANDA.arm_joints]
    while True:
        cell.data.qpos[joints] = ABOVE + rng.uniform(-1, 1, 7) * SPREAD
        cell.mj.mj_kinematics(cell.model, cell.data)
        hand, finger = cell.pose(PANDA.hand_link), cell.pose(PANDA.fingers[0]).translation
        camera = hand @ wrist_camera() if on_hand else cell.layout.base_T_camera
        u, v = project(VGA, camera.inverse().apply(np.array([finger])))[0]
        over = 0.3 < camera.translation[2] < 0.7 and 0.3 < camera.translation[0] < 0.7 and hand.matrix[2, 2] < -0.8
        if finger[2] > 0.12 and (over if on_hand else 60 < u < 580 and 40 < v < 440):
            links = {name: cell.pose(name) for name in PANDA.links if name not in ("panda_link8", "panda_hand_tcp")}
            frame = view.look(cell.data.qpos.copy(), camera, 1)[0]
            yield ArmLook(frame, camera, links)


def alarms(seed: int, on_hand: bool) -> tuple[bool, list[bool]]:
    """Whether the right pose raises an alarm; and each pose with an error, of each axis in both directions."""
    more, raised = looks(seed, on_hand), []
    seen = [next(more) for _ in range(LEAST)]
    errors = [sign * row for row in np.diag([math.radians(2.0)] * 3 + [0.01] * 3) for sign in (-1, 1)]
    for error in (np.zeros(6), *errors):
        off = twist(np.roll(error, 3))
        for count in range(LEAST, MOST + 1):
            seen += [next(more)] if count > len(seen) else []
            told = [ArmLook(frame, Transform(true.parent, true.child, true.matrix @ off), links)
                    for frame, true, links in seen[:count]]  # fmt: skip
            findings = list(hand_eye_findings(told, surfaces(), DepthConfig(), table_height=0.0))
            if findings[-1].check != NOT_MEASURED:
                break
        raised.append(any(one.is_error and one.check == "hand-eye" for one in findings))
    return raised[0], raised[1:]


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, boards=100, worlds=24, first=5000, processes=2)
    errors = np.array([board_error(given.first + n) for n in range(given.boards)])
    claims = [
        Claim("error of a board, 95th percentile", float(np.percentile(errors[:, 0] * 1e3, 95)), 1.0, "mm"),
        Claim("error of a board, 95th percentile", float(np.percentile(errors[:, 1], 95)), 0.2, "degrees"),
    ]
    measured: dict[str, Any] = {
        "boards": spreads({"mm": (errors[:, 0] * 1e3).tolist(), "degrees": errors[:, 1].tolist()}),
        "within": share([bool(mm <= 1e-3 and degrees <= 0.2) for mm, degrees in errors]),
    }
    for name, on_hand in (("stands", False), ("on_hand", True)):
        found: dict[str, list[bool]] = {axis: [] for axis in AXES}
        false: list[bool] = []
        jobs = ((given.first + n, on_hand) for n in range(given.worlds))
        for alarm, raised in in_processes(alarms, jobs, given.processes):
            false.append(alarm)
            for number, axis in enumerate(AXES):
                found[axis] += raised[2 * number : 2 * number + 2]
            print(name, len(false), sum(false), {axis: v.count(False) for axis, v in found.items()}, flush=True)
        measured[name] = {"false": share(false), **{axis: share(every) for axis, every in found.items()}}
        claims += [
            Claim(f"{name}: false alarms", sum(false) / len(false), 0.02, ""),
            Claim(f"{name}: errors found", min(sum(v) / len(v) for v in found.values()), 0.95, "", least=True),
        ]
    return finish("hand_eye", measured, claims)


if __name__ == "__main__":
    raise SystemExit(main())
