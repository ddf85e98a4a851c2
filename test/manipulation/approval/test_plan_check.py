# SPDX-License-Identifier: Apache-2.0
"""Plans that run into what was seen are refused by the description of the arm, whatever the planner says of them."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import planned_offer
import pytest
from planned_offer import CONFIG

from spatial_vlm_ros.errors import PlanningFailedError
from spatial_vlm_ros.manipulation.arm_kinematics import ArmKinematics, kinematics_of
from spatial_vlm_ros.manipulation.builtin_planner.robot import ARM_JOINTS, description_file
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.voxels import voxels_at
from spatial_vlm_ros.manipulation.pick_sequence import Offer
from spatial_vlm_ros.manipulation.plan_check import check_plan_clear
from spatial_vlm_ros.manipulation.planned_motion import fingers_at
from spatial_vlm_ros.manipulation.planning.planner import Trajectory
from spatial_vlm_ros.manipulation.planning.solids import Solid

for package in ("pinocchio", "coal", "ompl", "daqp"):
    pytest.importorskip(package)

NOTHING = voxels_at(np.zeros((0, 3), np.int32), 0.01)
GOAL = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def arm() -> ArmKinematics:
    return kinematics_of(str(description_file()), "panda_link0", CONFIG.motion.tip_link, ARM_JOINTS)


def occupied(offer: Offer, *middles: np.ndarray) -> Offer:
    """With a voxel of 1 cm around each place."""
    cells = np.floor(np.array(middles) / 0.01).astype(np.int32)
    scene = dataclasses.replace(offer.scene, occupancy=Occupancy(voxels_at(cells, 0.01), NOTHING, 1.0))
    return dataclasses.replace(offer, scene=scene)


def trajectory_of(offer: Offer, phase: str) -> Trajectory:
    found = next(step.trajectory for step in offer.plan.steps if step.phase == phase)
    assert found is not None
    return found


def with_trajectory(offer: Offer, phase: str, trajectory: Trajectory) -> Offer:
    steps = tuple(
        dataclasses.replace(step, trajectory=trajectory) if step.phase == phase else step for step in offer.plan.steps
    )
    return dataclasses.replace(offer, plan=dataclasses.replace(offer.plan, steps=steps))


def middle_of(arm: ArmKinematics, link: str, joints: dict[str, float], width: float = 0.08) -> np.ndarray:
    """The middle of a link's corners, planning frame."""
    number = list(arm.vertices).index(link)
    pose = arm.poses({**fingers_at(width, CONFIG), **joints})[0][number]
    corners = arm.vertices[link]
    return np.asarray(pose[:3, :3] @ ((corners.min(axis=0) + corners.max(axis=0)) / 2) + pose[:3, 3])


def test_a_plan_that_keeps_clear_passes(arm: ArmKinematics) -> None:
    check_plan_clear(planned_offer.offer(), CONFIG, arm)
    far = occupied(planned_offer.offer(), np.array([0.9, 0.9, 0.05]), np.array([-0.6, 0.0, 0.3]))
    check_plan_clear(far, CONFIG, arm)


OFTEN = {("reach", "panda_link5"), ("approach", "panda_hand"), ("lift", "panda_leftfinger"), ("withdraw", "panda_hand")}


@pytest.mark.parametrize(
    ("phase", "link"),
    [
        pytest.param(phase, link, marks=[] if (phase, link) in OFTEN else pytest.mark.slow)
        for phase in ("reach", "approach", "lift", "carry", "lower", "withdraw")
        for link in ("panda_link5", "panda_hand", "panda_leftfinger")
    ],
)
def test_a_plan_through_an_object_without_a_name_is_refused(arm: ArmKinematics, phase: str, link: str) -> None:
    offer = planned_offer.offer()
    grasp = offer.goal.grasps[offer.plan.grasp]
    width = grasp.width if phase in ("lift", "carry", "lower") else grasp.opening
    middle = middle_of(arm, link, trajectory_of(offer, phase).end, width)
    there = middle + 0.01 * np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    with pytest.raises(PlanningFailedError, match=r"in phase '\w+' of its plan .* mm into an object without a name"):
        check_plan_clear(occupied(offer, *there), CONFIG, arm)


def test_what_is_held_may_not_pass_an_object_without_a_name_either(arm: ArmKinematics) -> None:
    offer = planned_offer.offer()
    middle = trajectory_of(offer, "carry")
    half = dict(zip(middle.joint_names, middle.positions[len(middle.positions) // 2], strict=True))
    below = arm.poses(half)[1][:3, 3] - (0.0, 0.0, 0.02)  # of the tip: between the fingers, and no part of the hand
    with pytest.raises(PlanningFailedError, match=r"'carry' of its plan block would run \d+ mm into an object without"):
        check_plan_clear(occupied(offer, below), CONFIG, arm)


def test_what_is_beside_the_target_may_touch_it_while_it_is_lifted(arm: ArmKinematics) -> None:
    offer = planned_offer.offer()
    x, y, _ = offer.scene.target.solid.centre
    check_plan_clear(occupied(offer, np.array([x, y, 0.012])), CONFIG, arm)


def in_a_crate(offer: Offer) -> Offer:
    """The tray has a rim of 12 cm, and the place is on its floor."""
    tray, rim = offer.scene.neighbours[1], 0.12
    assert tray.id == "t1"
    x, y, _ = tray.solid.centre
    crate = dataclasses.replace(tray, solid=Solid((x, y, rim / 2), tray.solid.yaw, (*tray.solid.size[:2], rim)))
    space = Solid((x, y, 0.05), tray.solid.yaw, (*tray.solid.size[:2], 0.06))
    scene = dataclasses.replace(offer.scene, neighbours=(offer.scene.neighbours[0], crate), entered=space)
    return dataclasses.replace(offer, scene=scene)


def test_inside_a_rim_the_gripper_is_checked_against_what_is_measured_there(arm: ArmKinematics) -> None:
    offer = in_a_crate(planned_offer.offer())
    check_plan_clear(offer, CONFIG, arm)
    lower = trajectory_of(offer, "lower")
    finger = middle_of(arm, "panda_leftfinger", lower.end, offer.goal.grasps[offer.plan.grasp].width)
    with pytest.raises(PlanningFailedError, match=r"leftfinger would run \d+ mm into an object without a name"):
        check_plan_clear(occupied(offer, finger), CONFIG, arm)
    wall = arm.poses(lower.end)[1][:3, 3] - (0.0, 0.0, 0.02)  # where the target's box, not its real shape, reaches
    check_plan_clear(occupied(offer, wall), CONFIG, arm)
    elsewhere = dataclasses.replace(offer, scene=dataclasses.replace(offer.scene, entered=None))
    with pytest.raises(PlanningFailedError, match=r"'lower' of its plan block would run"):
        check_plan_clear(occupied(elsewhere, wall), CONFIG, arm)


def test_what_lies_between_two_points_of_a_trajectory_counts(arm: ArmKinematics) -> None:
    """A planner that gives but the ends of a way is followed all along it."""
    offer = planned_offer.offer()
    start, end = trajectory_of(offer, "carry").start, trajectory_of(offer, "carry").end
    ends = Trajectory(ARM_JOINTS, (0.0, 9.0), tuple(tuple(at[j] for j in ARM_JOINTS) for at in (start, end)))
    half = {joint: (start[joint] + end[joint]) / 2 for joint in ARM_JOINTS}
    sparse = with_trajectory(offer, "carry", ends)
    place = arm.poses(half)[1][:3, 3]
    cup = offer.scene.neighbours[0]
    solid = dataclasses.replace(cup.solid, centre=tuple(place.tolist()))
    scene = dataclasses.replace(offer.scene, neighbours=(dataclasses.replace(cup, solid=solid),))
    with pytest.raises(PlanningFailedError, match=r"phase 'carry' of its plan \w+ would run \d+ mm into the cup"):
        check_plan_clear(dataclasses.replace(sparse, scene=scene), CONFIG, arm)


def test_positions_beyond_a_limit_and_ways_too_fast_are_refused(arm: ArmKinematics) -> None:
    offer = planned_offer.offer()
    reach = trajectory_of(offer, "reach")
    rows = np.array(reach.positions)
    rows[len(rows) // 2, 3] = 0.4  # the elbow of a Panda does not open so far
    beyond = dataclasses.replace(reach, positions=tuple(map(tuple, rows.tolist())), velocities=(), accelerations=())
    with pytest.raises(PlanningFailedError, match=r"takes panda_joint4 to 0\.400; its range is -3\.\d+ to -0\.\d+"):
        check_plan_clear(with_trajectory(offer, "reach", beyond), CONFIG, arm)
    hasty = dataclasses.replace(reach, times=tuple(at / 100 for at in reach.times), velocities=(), accelerations=())
    with pytest.raises(PlanningFailedError, match=r"moves panda_joint\d at \d+\.\d+ per second; its limit is 2\.\d+"):
        check_plan_clear(with_trajectory(offer, "reach", hasty), CONFIG, arm)


def test_such_a_plan_is_laid_before_nobody() -> None:
    proposals = pytest.importorskip("spatial_vlm_ros.nodes.arm.proposals")
    offer = planned_offer.offer()
    arm = kinematics_of(str(description_file()), "panda_link0", CONFIG.motion.tip_link, ARM_JOINTS)
    through = occupied(offer, middle_of(arm, "panda_hand", trajectory_of(offer, "reach").end))
    with pytest.raises(PlanningFailedError, match="into an object without a name"):
        proposals.proposal_of(GOAL, through, 60.0, CONFIG, str(description_file()))
    assert proposals.proposal_of(GOAL, through, 60.0, CONFIG).preview is not None  # no arm is known: nothing is judged
