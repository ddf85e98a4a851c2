# SPDX-License-Identifier: Apache-2.0
"""The drawn arm over the table: all of it is removed, and no object is taken for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from planning_scenes import fingers_down

from spatial_vlm_ros.geometry.lift import robot_shares
from spatial_vlm_ros.geometry.support import find_support
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARM_JOINTS, HOME, description_file, panda
from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest, Segment
from spatial_vlm_ros.manipulation.planning.robot_model import RobotModel, read_hulls
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.arm.cell import ArmView
from spatial_vlm_ros.sim.tabletop import camera_of
from spatial_vlm_ros.types import Detection, Mask, RgbdFrame, Transform

SENTENCE = "put the chick behind the cup on the tray"
HAND = ("panda_hand", "panda_leftfinger", "panda_rightfinger")
OVER = ((0.6, 0.2, 0.15), (0.45, -0.25, 0.2), (0.55, 0.0, 0.3), (0.65, -0.1, 0.1), (0.57, 0.0, 0.12), (0.42, 0.03, 0.1))
AROUND = ((0.42, 0.03, 0.03), (0.69, 0.06, 0.03))  # closed on a chick
CLOSED = 0.04  # metres between the fingers: less than a chick is wide
LIMIT = LiftConfig().robot_share


@dataclass(frozen=True, eq=False)
class Look:
    """A noisy frame, what is detected in it, where the links are, and which pixels show which body."""

    frame: RgbdFrame
    found: tuple[Detection, ...]
    links: tuple[Transform, ...]
    bodies: Any

    def detection(self, *names: str) -> Detection:
        mask: Mask = np.isin(self.bodies, names)
        rows, columns = np.nonzero(mask)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return Detection("gripper", "cup", 0.9, tuple(map(float, box)), mask)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def robot() -> RobotModel:
    return RobotModel(read_hulls(description_file()), 0.02, DepthConfig())


@pytest.fixture
def look(cell: Any, planner: Any, robot: RobotModel) -> Callable[..., Look]:
    """The cell with the tip at a place over the table, fingers down, as the camera opposite sees it."""

    def seen(x: float, y: float, z: float, opening: float = 0.08, mount: Transform | None = None) -> Look:
        tip = Segment(fingers_down(x, y, z))
        joints = planner.plan(MotionRequest(HOME, [tip], seed=1, time_limit=60.0)).trajectories[-1].positions[-1]
        qpos = cell.data.qpos.copy()
        fingers = dict.fromkeys(("panda_finger_joint1", "panda_finger_joint2"), opening / 2)
        for name, value in (dict(zip(ARM_JOINTS, joints, strict=True)) | fingers).items():
            qpos[cell.model.joint(name).qposadr[0]] = value
        poses = {link.name: link.base_T_link for link in panda().link_hulls(joints, opening)}
        eye = cell.layout.base_T_camera if mount is None else poses[mount.parent] @ mount
        view = ArmView(cell, camera_of(640, 480))
        try:
            frame, found = view.look(qpos, eye)
            geom = view._renderer.draw(view.camera, eye).geom
        finally:
            view.close()
        names = np.array([cell.model.body(int(body)).name for body in cell.model.geom_bodyid])
        bodies = np.where(geom >= 0, names[np.maximum(geom, 0)], "")
        return Look(frame, found, tuple(poses[name] for name in robot.links), bodies)

    return seen


def shares(frame: RgbdFrame, *detections: Detection) -> list[float]:
    given = (*detections, *(replace(d, mask=None) for d in detections))
    support = find_support(frame, detections, DepthConfig(), frame.base_T_camera.rotation[2])
    return robot_shares(frame, given, support, LiftConfig())


def shifted(poses: tuple[Transform, ...], by: float) -> list[Transform]:
    """Where TF of a wrong calibration has the links."""
    moved = []
    for pose in poses:
        matrix = pose.matrix.copy()
        matrix[0, 3] += by * (pose.parent != pose.child)
        moved.append(Transform(pose.parent, pose.child, matrix))
    return moved


@pytest.mark.parametrize("at", [*OVER[:2], *(pytest.param(at, marks=pytest.mark.slow) for at in OVER[2:])])
def test_all_of_the_arm_goes_and_the_answer_stays(at: tuple[float, float, float], look: Any, robot: RobotModel) -> None:
    seen = look(*at)
    arm = np.char.startswith(seen.bodies.astype(str), "panda")
    assert arm.mean() > 0.03
    for by in (0.0, 0.02):
        frame = robot.removed(seen.frame, shifted(seen.links, by))
        assert np.isfinite(frame.depth)[arm].mean() < 0.001
        assert min(shares(frame, seen.detection(*HAND), seen.detection(*np.unique(seen.bodies[arm])))) >= LIMIT
    frame = robot.removed(seen.frame, seen.links)
    gripper = seen.detection(*HAND)
    assert min(shares(frame, gripper)) >= LIMIT
    assert max(shares(frame, *seen.found)) < LIMIT
    answer = Resolver().resolve(frame, SENTENCE, seen.found)
    assert answer.target.id == "bonnet"
    for named in (gripper, replace(gripper, mask=None)):
        again = Resolver().resolve(frame, SENTENCE, (*seen.found, named))
        assert again.target.id == "bonnet"
        assert again.target.pose.position == pytest.approx(answer.target.pose.position, abs=1e-3)
        assert "Detections discarded as part of the robot: cup (gripper)." in again.message


def test_a_camera_on_the_hand_that_sees_fingers_sees_objects_alone(look: Any, robot: RobotModel, cell: Any) -> None:
    """Mounted 20 cm before the hand, at the height of its flange, and tilted so that the fingers are in its view."""
    tilt = np.radians(30)
    mount = np.eye(4)
    mount[:3, :3] = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ [
        [1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)],
    ]  # fmt: skip
    mount[:3, 3] = 0.2, 0.0, -0.1
    seen = look(0.45, 0.05, 0.25, mount=Transform("panda_hand", "wrist_optical_frame", mount))
    hand = np.isin(seen.bodies, HAND)
    assert hand.mean() > 0.02
    frame = robot.removed(seen.frame, seen.links)
    assert np.isfinite(frame.depth)[hand].mean() < 0.001
    assert min(shares(frame, seen.detection(*HAND))) >= LIMIT
    answer = Resolver().resolve(frame, "the cup", (*seen.found, seen.detection(*HAND)))
    true = next(obj.position for obj in cell.layout.objects if obj.id == "cup")
    assert answer.target is not None, answer.message
    assert (answer.target.id, answer.target.pose.frame_id) == ("cup", "panda_link0")
    assert np.hypot(*np.subtract(answer.target.pose.position[:2], true[:2])) < 0.02
    raw = Resolver().resolve(seen.frame, "the cup", (*seen.found, seen.detection(*HAND)))
    assert raw.target is None or raw.target.id != "cup"


@pytest.mark.parametrize("at", [AROUND[0], pytest.param(AROUND[1], marks=pytest.mark.slow)])
def test_what_fingers_hold_is_not_the_robot_and_is_refused(at: Any, look: Any, robot: RobotModel) -> None:
    seen = look(*at, CLOSED)
    frame = robot.removed(seen.frame, seen.links)
    assert max(shares(frame, *seen.found)) < LIMIT
    assert min(shares(frame, seen.detection(*HAND))) >= LIMIT
    for found in (seen.found, tuple(replace(d, mask=None) for d in seen.found)):
        answer = Resolver().resolve(frame, SENTENCE, found)
        assert answer.target is None
        assert "Left out" not in answer.message
