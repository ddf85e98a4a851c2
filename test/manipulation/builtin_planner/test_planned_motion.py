# SPDX-License-Identifier: Apache-2.0
"""What is shown of a plan is what the arm would do, judged by MuJoCo on the same URDF; fingers that mimic one joint."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import planned_offer
import pytest
from planned_offer import CONFIG

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.manipulation.arm_kinematics import ArmKinematics, box_pose, kinematics_of
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARM_JOINTS, description_file
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox
from spatial_vlm_ros.manipulation.pick_sequence import Offer
from spatial_vlm_ros.manipulation.planned_motion import PlannedMotion, planned_motion
from spatial_vlm_ros.output.plan_images import motion_from

for package in ("pinocchio", "coal", "ompl", "daqp"):
    pytest.importorskip(package)

HOLDING = ("lift", "carry", "lower")


@pytest.fixture(scope="module")
def offer() -> Offer:
    return planned_offer.offer()


def arm_of(description: str) -> Any:
    return kinematics_of(description, "panda_link0", "panda_hand_tcp", ARM_JOINTS)


@pytest.fixture(scope="module")
def motion(offer: Offer) -> PlannedMotion:
    return planned_motion(offer, CONFIG, arm_of(str(description_file())))


def test_links_hand_and_tip_are_where_mujoco_has_them(offer: Offer, motion: PlannedMotion, witness: Any) -> None:
    judge = witness([], None)
    way = []
    for step, phase in zip(offer.plan.steps, motion.phases, strict=True):
        if step.trajectory is None:
            continue
        trajectory = step.trajectory
        for at, row in zip(trajectory.times, trajectory.positions, strict=True):
            judge.place(np.array(row), phase.width)
            way.append(judge.tip()[:3, 3].copy())
            frame = next((f for f in motion.frames if f.time == round(phase.begin + at, 4)), None)
            if frame is None:
                continue
            for link, pose in zip(motion.links, frame.links, strict=True):
                body = judge.data.body(link.name)
                assert pose[:3] == pytest.approx(body.xpos, abs=2e-5), (phase.name, at, link.name)
                w, x, y, z = body.xquat
                assert abs(np.dot(pose[3:], (x, y, z, w))) == pytest.approx(1.0, abs=1e-5)
    assert len(way) == len(motion.tip_path) > 500
    assert np.abs(np.array(way) - np.array(motion.tip_path)).max() < 2e-5
    assert motion.fault == ""


def test_the_clearance_of_each_phase_is_what_mujoco_measures(offer: Offer, motion: PlannedMotion, witness: Any) -> None:
    scene = offer.scene
    target = scene.target
    around = [*scene.neighbours, *scene.support]
    grasp = offer.goal.grasps[offer.plan.grasp]
    held = HeldBox(target.id, np.linalg.inv(planned_offer.matrix(grasp.grasp)) @ box_pose(target.solid),
                   np.array(target.solid.size))  # fmt: skip
    for step, phase in zip(offer.plan.steps, motion.phases, strict=True):
        if step.phase not in ("reach", *HOLDING):
            continue
        boxes = [obj for obj in around if step.phase in HOLDING or obj is not target]
        boxes += [] if step.phase in HOLDING else [target]
        judge = witness([BoxObstacle(b.id, box_pose(b.solid), np.array(b.solid.size)) for b in boxes],
                        held if step.phase in HOLDING else None)  # fmt: skip
        allowed = {"lift": scene.carrier_ids, "lower": ("t1",)}.get(step.phase, ())
        least = np.inf
        for row in step.trajectory.positions:
            judge.place(np.array(row), phase.width)
            for (one, other), away in judge.nearest(most=0.3).items():
                pair = {one, other}
                if len(pair & judge.boxes) != 1 or ("held" in pair and pair & set(allowed)):
                    continue
                least = min(least, away)
        assert phase.clearance == pytest.approx(least, abs=5e-4), phase


def test_durations_and_ways_are_the_planned_ones_and_the_grippers_too(offer: Offer, motion: PlannedMotion) -> None:
    grasp, gripper = offer.goal.grasps[offer.plan.grasp], CONFIG.gripper
    closed = planned_offer.closed(CONFIG, grasp)
    expected = {
        "open": max(gripper.opening_max - grasp.opening, grasp.opening) / gripper.speed,
        "close": max((grasp.opening - closed) / gripper.speed, (grasp.opening - grasp.width) / gripper.speed + 0.25),
        "release": (motion.phases[7].width - closed) / gripper.speed,
    }
    begin = 0.0
    for step, phase in zip(offer.plan.steps, motion.phases, strict=True):
        took = step.trajectory.times[-1] if step.trajectory is not None else expected[step.phase]
        assert (phase.begin, phase.duration) == (pytest.approx(begin), pytest.approx(took, abs=1e-4)), phase.name
        assert phase.estimated == (step.trajectory is None)
        begin += took
    assert motion.duration == pytest.approx(begin)
    assert [frame.time for frame in motion.frames] == sorted(frame.time for frame in motion.frames)
    place, centre = next(box for box in motion.boxes if box.role == "place"), offer.scene.target.solid.centre
    assert motion.frames[0].target[:3] == pytest.approx(centre, abs=1e-4)
    assert motion.frames[-1].target[:3] == pytest.approx(place.solid.centre, abs=2e-3)
    lifted = next(f for f in motion.frames if f.time >= motion.phases[4].end - 1e-3)
    assert lifted.target[2] == pytest.approx(centre[2] + 0.1, abs=2e-3)


def test_the_description_of_another_arm_is_noticed(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hand is a decimetre longer; its text comes as the topic robot_description has it."""
    urdf = description_file()
    monkeypatch.setenv("ROS_PACKAGE_PATH", str(urdf.parents[4]))
    text = urdf.read_text()
    assert text.count('xyz="0 0 0.1034"') == 1
    same = planned_motion(offer, CONFIG, arm_of(text))
    assert (same.fault, same.missing) == ("", "")
    longer = planned_motion(offer, CONFIG, arm_of(text.replace('xyz="0 0 0.1034"', 'xyz="0 0 0.2034"')))
    assert "reach ends 0.100 m from" in longer.fault


def test_a_description_that_does_not_fit_is_refused() -> None:
    for base, joints, words in (
        ("panda_link0", ("ur5_joint",), "no joint 'ur5_joint'"),
        ("map", ARM_JOINTS, "no link 'map'"),
    ):
        with pytest.raises(InputError, match=words):
            kinematics_of(str(description_file()), base, "panda_hand_tcp", joints)
    with pytest.raises(FileError, match="robot_description"):
        arm_of("<launch/>")


def test_without_a_description_only_the_known_poses_of_the_tip_are_told(offer: Offer) -> None:
    motion = planned_motion(offer, CONFIG, None, "nobody knows")
    assert (motion.arm, motion.missing, motion.links, motion.frames) == ("", "nobody knows", (), ())
    assert all(phase.clearance is None for phase in motion.phases)
    assert len(motion.tip_path) == 6
    assert motion.duration == pytest.approx(sum(phase.duration for phase in motion.phases))


def test_the_kept_bytes_are_read_back_as_they_were(motion: PlannedMotion) -> None:
    assert motion_from(motion.data()) == motion
    assert motion.data() == dataclasses.replace(motion).data()
    with pytest.raises(InputError, match="planned motion"):
        motion_from(motion.data().replace(b'"frames"', b'"frame"'))


def test_a_planner_of_the_flange_shows_the_same_motion(offer: Offer, motion: PlannedMotion) -> None:
    motion_of_flange = dataclasses.replace(CONFIG.motion, at_flange=True, tip_link="panda_link8")
    config = dataclasses.replace(CONFIG, motion=motion_of_flange)
    flange = kinematics_of(str(description_file()), "panda_link0", "panda_link8", ARM_JOINTS)
    same = planned_motion(offer, config, flange)
    assert (same.fault, same.tip_link) == ("", "")
    assert np.abs(np.array(same.tip_path) - np.array(motion.tip_path)).max() < 2e-5
    here, there = ([phase.clearance for phase in each.phases] for each in (same, motion))
    assert here == pytest.approx(there, abs=2e-4)


@pytest.fixture(scope="module")
def arm() -> ArmKinematics:
    return kinematics_of(str(Path(__file__).with_name("mimicking.urdf")), "base", "palm", ("turn",))


def test_fingers_follow_the_joint_that_they_mimic_unless_they_are_told(arm: ArmKinematics) -> None:
    for joints, left, right in (
        ({"knuckle_joint": 0.0}, 0.04, -0.04),
        ({"knuckle_joint": 0.4}, 0.02, -0.02),
        ({"knuckle_joint": 0.8}, 0.0, 0.0),
        ({"knuckle_joint": 0.8, "left_joint": 0.03}, 0.03, 0.0),
        ({}, 0.04, -0.04),  # a leader that is not told stands at zero
    ):
        links, _ = arm.poses(joints)
        at = dict(zip(arm.vertices, links[:, 1, 3].tolist(), strict=True))
        assert (at["left"], at["right"]) == pytest.approx((left, right), abs=1e-12)


def test_all_links_that_the_finger_joints_move_are_the_hand(arm: ArmKinematics) -> None:
    other_model = ("gripper_left_finger", "gripper_right_finger")  # a planner's own model has other names
    assert arm.hand_links(other_model) == frozenset()
    assert arm.hand_links(other_model, ["knuckle_joint"]) == {"left", "right", "palm"}
    assert arm.hand_links(["left"]) == {"left", "palm"}
    assert arm.hand_links(["left"], ["no_such_joint"]) == {"left", "palm"}
