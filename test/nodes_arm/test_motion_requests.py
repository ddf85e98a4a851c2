# SPDX-License-Identifier: Apache-2.0
"""What a planner is asked for, motion by motion, as a MoveIt would read it, and what of its answers is a plan."""

import dataclasses
import math
import re
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from arm_graph import BLOCK, CUP, FINGERS, JOINTS, goals, scene
from moveit_msgs.msg import AllowedCollisionEntry, AllowedCollisionMatrix, RobotTrajectory
from planning_scenes import box, config
from scipy.spatial.transform import Rotation
from shape_msgs.msg import SolidPrimitive

from spatial_vlm_ros import errors
from spatial_vlm_ros.manipulation.planning.moveit import FAILURE, limits_of
from spatial_vlm_ros.manipulation.planning.moveit import OWN as OURS
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, Trajectory
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.nodes.arm import motion_messages as messages
from spatial_vlm_ros.nodes.arm.motion_messages import matrix_of, robot_trajectory, trajectory_of, with_allowed
from spatial_vlm_ros.nodes.arm.strategies import Refused, Strategies

FAILED = errors.PlanningFailedError
PHASES = ("reach", "approach", "lift", "carry", "lower", "withdraw")
OWN = AllowedCollisionMatrix(
    entry_names=["panda_link0", "panda_link1"],
    entry_values=[AllowedCollisionEntry(enabled=[False, True]), AllowedCollisionEntry(enabled=[True, False])],
)


class AskedClient:
    """A double of the client: keeps what it is asked for, and answers with steps of a tenth, refusals, or `other`."""

    def __init__(
        self, other: Callable[[str, RobotTrajectory], Any] | None = None, motion: Any = None, **no: int
    ) -> None:
        self.config, self._other, self._refusals = config(motion=motion or {}), other or (lambda _, usual: usual), no
        self.asked: list[Any] = []
        self._number = -1  # of motions; one may be asked for again

    def motion(self, request: Any, _: Any) -> RobotTrajectory:
        again = [each.request.goal_constraints for each in self.asked[-1:]] == [request.request.goal_constraints]
        self.asked.append(request)
        self._number += not again
        phase = PHASES[self._number % 6]
        if phase in self._refusals:
            raise Refused(self._refusals[phase], "", "/move_action")
        told = dict(zip(*self.joints(-1), strict=True))
        start = [told.get(name, 0.0) for name in JOINTS]
        end = [at + 0.1 for at in start]
        return self._other(phase, robot_trajectory(Trajectory(JOINTS, (0.0, 1.0), (tuple(start), tuple(end)))))

    def plan(
        self, around: PlanningScene, own: AllowedCollisionMatrix, joints: Collection[str] = (*JOINTS, *FINGERS)
    ) -> MotionPlan:
        pick, place = goals(around, self.config)
        tool = messages.attached_by_name("camera", "panda_hand", ())  # of another program
        ways = Strategies(self.config, self.motion, pick, around, own, lambda: False, frozenset(joints), carried=[tool])
        return ways.plan(place, {})

    def joints(self, number: int) -> tuple[list[str], list[float]]:
        state = self.asked[number].request.start_state.joint_state
        return list(state.name), list(state.position)


def asked(**motion: Any) -> tuple[AskedClient, MotionPlan]:
    client = AskedClient(motion=motion)
    return client, client.plan(scene(CUP), OWN)


def pairs(matrix: AllowedCollisionMatrix) -> set[frozenset[str]]:
    """What may touch; the matrix is square and symmetric."""
    names = list(matrix.entry_names)
    rows = np.array([list(entry.enabled) for entry in matrix.entry_values])
    assert rows.shape == (len(names), len(names))
    assert (rows == rows.T).all()
    return {frozenset((a, b)) for i, a in enumerate(names) for j, b in enumerate(names) if rows[i, j]}


def test_every_motion_begins_where_the_one_before_ends() -> None:
    client, plan = asked()
    assert [set(client.joints(k)[0]) for k in range(6)] == [set(FINGERS)] + [{*FINGERS, *JOINTS}] * 5
    for number in range(1, 6):
        told = dict(zip(*client.joints(number), strict=True))
        assert [told[name] for name in JOINTS] == pytest.approx([0.1 * number] * 7)
    widths = [sum(dict(zip(*client.joints(k), strict=True))[f] for f in FINGERS) for k in range(6)]
    opening = plan.steps[0].width
    assert widths == pytest.approx([opening, opening, 0.04, 0.04, 0.04, opening])
    assert [t.positions[0][0] for t in plan.trajectories] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_requests_plan_only_with_the_planners_that_are_set() -> None:
    client, _ = asked()
    straight = ("pilz_industrial_motion_planner", "LIN")
    chosen = [(each.request.pipeline_id, each.request.planner_id) for each in client.asked]
    assert chosen == [("", ""), straight, straight, ("", ""), straight, straight]
    for each in client.asked:
        assert each.planning_options.plan_only
        assert each.planning_options.planning_scene_diff.is_diff
        assert each.planning_options.planning_scene_diff.robot_state.is_diff
        assert each.request.start_state.is_diff
        assert each.request.group_name == "panda_arm"
        assert 0 < each.request.max_velocity_scaling_factor <= 1


def test_contacts_that_somebody_else_left_for_our_names_are_not_taken_over() -> None:
    """As of a task that was killed between allowing a contact and taking it back."""
    table, cup = f"{OURS}support", f"{OURS}cup"
    left = with_allowed(OWN, [("panda_leftfinger", table), ("panda_link5", cup), ("panda_link5", "camera")])
    left.default_entry_names, left.default_entry_values = [f"{OURS}block", "gripper_cover"], [True, True]
    client = AskedClient()
    client.plan(scene(CUP), left)
    for each in client.asked:
        matrix = each.planning_options.planning_scene_diff.allowed_collision_matrix
        found = pairs(matrix)
        assert frozenset(("panda_leftfinger", table)) not in found
        assert frozenset(("panda_link5", cup)) not in found
        assert {frozenset(("panda_link5", "camera")), frozenset(("panda_link0", "panda_link1"))} <= found
        assert matrix.default_entry_names == ["gripper_cover"]


def test_goals_are_one_pose_of_the_tip_in_the_planning_frame() -> None:
    client, _ = asked()
    pick, place = goals(scene(CUP), client.config)
    grasp, down = pick.grasps[0], place.placements[0]
    wanted = (grasp.pre_grasp, grasp.grasp, grasp.retreat, down.pre_place, down.place, down.retreat)
    for each, pose in zip(client.asked, wanted, strict=True):
        (goal,) = each.request.goal_constraints
        (place_,), (turn,) = goal.position_constraints, goal.orientation_constraints
        assert {place_.header.frame_id, turn.header.frame_id} == {"panda_link0"}
        assert {place_.link_name, turn.link_name} == {"panda_hand_tcp"}
        (shape,), (centre,) = place_.constraint_region.primitives, place_.constraint_region.primitive_poses
        assert (shape.type, list(shape.dimensions)) == (SolidPrimitive.SPHERE, [0.001])
        assert (centre.position.x, centre.position.y, centre.position.z) == pytest.approx(pose.position)
        q = turn.orientation
        assert (q.x, q.y, q.z, q.w) == pytest.approx(pose.orientation)
        assert turn.absolute_x_axis_tolerance == pytest.approx(math.radians(0.5))


def test_contacts_are_allowed_in_their_phases_and_the_planners_own_are_kept() -> None:
    client, _ = asked()
    own = {frozenset(("panda_link0", "panda_link1")), frozenset(("panda_link0", f"{OURS}support"))}
    fingers = {frozenset((f"panda_{side}finger", f"{OURS}block")) for side in ("left", "right")}
    table = {frozenset((f"{OURS}block", f"{OURS}support"))}
    found = [pairs(each.planning_options.planning_scene_diff.allowed_collision_matrix) - own for each in client.asked]
    assert found == [set(), fingers, table, set(), table, fingers]
    for each in client.asked:
        assert own <= pairs(each.planning_options.planning_scene_diff.allowed_collision_matrix)


def test_the_object_is_held_in_the_frame_of_the_tip_and_stands_at_its_place_afterwards() -> None:
    client, _ = asked()
    pick, place = goals(scene(CUP), client.config)
    diffs = [each.planning_options.planning_scene_diff for each in client.asked]
    assert [len(diff.robot_state.attached_collision_objects) for diff in diffs] == [0, 0, 1, 1, 1, 0]
    (held,) = diffs[2].robot_state.attached_collision_objects
    assert (held.object.id, held.link_name) == (f"{OURS}block", "panda_hand_tcp")
    assert held.object.header.frame_id == held.link_name
    assert list(held.touch_links) == ["panda_leftfinger", "panda_rightfinger"]
    grasp = pick.grasps[0].grasp
    base_T_tip = np.eye(4)
    base_T_tip[:3, :3], base_T_tip[:3, 3] = Rotation.from_quat(grasp.orientation).as_matrix(), grasp.position
    assert (base_T_tip @ matrix_of(held.object.pose))[:3, 3] == pytest.approx(BLOCK.solid.centre, abs=1e-5)
    assert [[each.id for each in diff.world.collision_objects] for diff in diffs] == [[]] * 5 + [[f"{OURS}block"]]
    (stands,) = diffs[5].world.collision_objects
    assert matrix_of(stands.pose)[:3, 3] == pytest.approx(place.placements[0].obj.position)
    assert list(stands.primitives[0].dimensions) == pytest.approx(BLOCK.solid.size)


def test_a_planner_of_the_flange_is_asked_for_the_flange() -> None:
    tip, _ = asked()
    flange, _ = asked(tip_link="panda_link8", at_flange=True)
    away = np.eye(4)  # of the Franka Hand, as in its URDF: turned by -45 degrees, 103.4 mm on
    away[:3, :3], away[2, 3] = Rotation.from_euler("z", -45, degrees=True).as_matrix(), 0.1034
    for one, other in zip(tip.asked, flange.asked, strict=True):
        poses = []
        for each in (one, other):
            (goal,) = each.request.goal_constraints
            pose = goal.position_constraints[0].constraint_region.primitive_poses[0]
            pose.orientation = goal.orientation_constraints[0].orientation
            poses.append(matrix_of(pose))
        assert poses[1] @ away == pytest.approx(poses[0], abs=1e-5)
    held = [each.planning_options.planning_scene_diff.robot_state.attached_collision_objects[0]
            for each in (tip.asked[2], flange.asked[2])]  # fmt: skip
    assert held[1].link_name == "panda_link8"
    assert away @ matrix_of(held[0].object.pose) == pytest.approx(matrix_of(held[1].object.pose), abs=1e-5)


def test_what_is_added_to_a_matrix_heeds_its_defaults() -> None:
    matrix = AllowedCollisionMatrix(
        entry_names=OWN.entry_names, entry_values=OWN.entry_values, default_entry_names=["sensor"],
        default_entry_values=[True],
    )  # fmt: skip
    wider = with_allowed(matrix, [("block", "panda_link1"), ("sensor", "block")])
    expected = (
        ("panda_link0", "panda_link1"), ("block", "panda_link1"), ("sensor", "block"), ("sensor", "panda_link0"),
        ("sensor", "panda_link1"),
    )  # fmt: skip
    assert pairs(wider) == set(map(frozenset, expected))
    assert list(matrix.entry_names) == ["panda_link0", "panda_link1"]  # the planner's own is left as it was
    assert len(pairs(matrix)) == 1


@pytest.mark.parametrize(
    ("refusal", "error", "words"),
    [
        ({"reach": -10}, FAILED, "the arm is in collision"),
        ({"reach": -15}, errors.InputError, "INVALID_GROUP_NAME"),
        ({"lift": -21}, errors.InputError, "FRAME_TRANSFORM_FAILURE"),
        ({"approach": -28}, errors.InputError, "UNRECOGNIZED_GOAL_TYPE"),
        ({"approach": -23}, errors.StaleInputError, "joint states are too old"),
        ({"lower": -29}, errors.PlannerUnavailableError, "crashed"),
        ({"reach": -31}, errors.GoalError, "grasp 0: reach: the arm cannot reach the goal .NO_IK_SOLUTION."),
        ({"lower": -1}, FAILED, "grasp 0, placement 0: lower: no path was found .PLANNING_FAILED."),
        ({"approach": -10}, FAILED, "approach: the arm is in collision"),
    ],
)
def test_moveits_numbers_become_our_errors(refusal: dict[str, int], error: Any, words: str) -> None:
    client, around = AskedClient(motion={"attempts": 1}, **refusal), scene()
    pick, place = goals(around, client.config)
    one = dataclasses.replace(pick, grasps=pick.grasps[:1])
    down = dataclasses.replace(place, placements=place.placements[:1])
    with pytest.raises(error, match=words):
        Strategies(client.config, client.motion, one, around, OWN, lambda: False).plan(down, {})


def test_how_many_ways_failed_and_how_many_were_not_free_is_told_and_bounded() -> None:
    def talks(_: str, __: RobotTrajectory) -> RobotTrajectory:
        into = f"motion 0: {len(client.asked) / 7:.3f} m into the cup {'x' * 500}; go away"
        raise Refused(-1, into, "/move_action")

    client, around = AskedClient(talks, {"attempts": 2}), scene(box("can", 0.56, 0.1, (0.04, 0.04, 0.1)))
    pick, _ = goals(around, client.config)
    ways, unfree = len(pick.grasps), len(pick.rejected)
    assert min(ways, unfree) > 1
    with pytest.raises(errors.PlanningFailedError) as caught:
        Strategies(client.config, client.motion, pick, around, OWN, lambda: False).plan(None, {})
    said = str(caught.value)
    assert f"{ways} ways: reach: motion 0: 0.143 m into the cup x" in said
    assert re.search(rf"not planned: the can \(can\) is in the way \(\d of {unfree} ways\)", said), said
    assert len(said) < 800
    everywhere = AskedClient(None, {"attempts": 2}, **dict.fromkeys(PHASES, -31))
    nowhere = Strategies(everywhere.config, everywhere.motion, pick, around, OWN, lambda: False)
    with pytest.raises(errors.GoalError) as unreachable:
        nowhere.plan(None, {})
    kinds = [kind for kind, _ in unreachable.value.reasons]
    assert kinds[0] == "unreachable"
    assert "blocked" in kinds[1:]
    assert f"{ways} ways: reach: the arm cannot reach the goal" in str(unreachable.value)


def test_failure_without_a_reason_sends_to_the_log_of_move_group() -> None:
    client = AskedClient(None, {"attempts": 1}, **dict.fromkeys(PHASES, FAILURE))
    with pytest.raises(
        errors.PlanningFailedError, match=r"attached: 'camera'. Clear .*see move_group's log: since Jazzy"
    ) as caught:
        client.plan(scene(), OWN)
    assert caught.value.number == FAILURE


def test_a_straight_motion_that_fails_without_a_reason_is_asked_for_slower_and_as_a_joint_motion() -> None:
    def limited(phase: str, usual: RobotTrajectory) -> RobotTrajectory:
        if phase == "lift" and client.asked[-1].request.max_acceleration_scaling_factor > 0.1:
            raise Refused(FAILURE, "", "/move_action")
        return usual

    client = AskedClient(limited, {"acceleration_scaling": 0.3, "velocity_scaling": 0.2})
    client.plan(scene(), OWN)
    factors = [(each.request.max_velocity_scaling_factor, each.request.max_acceleration_scaling_factor)
               for each in client.asked]  # fmt: skip
    assert factors[2:5] == [pytest.approx((0.2 * k, 0.3 * k)) for k in (1, 0.5, 0.25)]
    assert factors[5] == (0.2, 0.3)
    told = AskedClient(None, {"attempts": 1}, lift=FAILURE)
    with pytest.raises(FAILED, match="lift: the planner failed without a reason"):
        told.plan(scene(), OWN)
    tries = [each.request.planner_id for each in told.asked[2:7]]
    assert tries == ["LIN"] * 4 + ["PTP"], "a joint motion is tried last, and is none where its way is not known"
    for phase, number in (("reach", FAILURE), ("lift", -31)):
        once = AskedClient(None, {"attempts": 1}, **{phase: number})
        with pytest.raises((FAILED, errors.GoalError)):
            once.plan(scene(), OWN)
        assert {each.request.max_velocity_scaling_factor for each in once.asked} == {0.3}


def test_a_trajectory_is_slowed_to_the_limits_of_the_robots_own_files() -> None:
    begins = "robot_description_planning.joint_limits"
    values = {f"{begins}.a.has_velocity_limits": True, f"{begins}.a.max_velocity": 1.0,
              f"{begins}.a.has_acceleration_limits": True, f"{begins}.a.max_acceleration": 2,
              f"{begins}.b.has_velocity_limits": False, f"{begins}.b.max_velocity": 0.01}  # fmt: skip
    limits = limits_of(values, ("a", "b"))
    assert limits == {"a": (1.0, 2.0), "b": (math.inf, math.inf)}
    rows = ((0.0, 0.0), (2.0, 5.0))
    fast = Trajectory(("a", "b"), (0.5, 1.5), rows, ((0.0, 0.0), (1.5, 9.0)), ((8.0, 0.0), (-2.0, 0.0)))
    slowed = fast.within(limits)  # by the acceleration: twice the time, a quarter of the acceleration
    assert (slowed.times, slowed.positions) == ((1.0, 3.0), rows)
    assert (slowed.velocities, slowed.accelerations) == (((0.0, 0.0), (0.75, 4.5)), ((2.0, 0.0), (-0.5, 0.0)))
    assert fast.within({}) == fast
    assert Trajectory(("a",), (0.0, 1.0), ((0.0,), (2.0,))).within(limits).times == (0.0, 2.0)


def instead(phase: str, answer: Callable[[RobotTrajectory], RobotTrajectory]) -> Callable[[str, Any], RobotTrajectory]:
    return lambda asked_for, usual: answer(usual) if asked_for == phase else usual


def renamed(*names: str) -> Callable[[RobotTrajectory], RobotTrajectory]:
    zeros, ends = (0.0,) * len(names), (0.1,) * len(names)
    return lambda _: robot_trajectory(Trajectory(names, (0.0, 1.0), (zeros, ends)))


def several_axes(usual: RobotTrajectory) -> RobotTrajectory:
    usual.multi_dof_joint_trajectory.joint_names = ["base"]
    return usual


def jumping(usual: RobotTrajectory) -> RobotTrajectory:
    for point in usual.joint_trajectory.points:
        point.positions = [at + 0.05 for at in point.positions]
    return usual


@pytest.mark.parametrize(
    ("phase", "answer", "words"),
    [
        ("reach", renamed("elbow", "wrist"), "moves joints that do not belong to the arm: .*elbow, wrist"),
        ("reach", renamed(*JOINTS, FINGERS[0]), f"moves joints that do not .*{FINGERS[0]}"),
        ("approach", renamed(*JOINTS[:6]), f"moves joints that do not .*{JOINTS[6]}"),
        ("lift", several_axes, "moves joints that do not belong to the arm: .*base"),
        ("approach", jumping, "does not start at the end of the previous one"),
    ],
)
def test_a_trajectory_of_other_joints_or_from_elsewhere_is_no_plan(phase: str, answer: Any, words: str) -> None:
    assert len(AskedClient().plan(scene(), OWN).trajectories) == 6
    with pytest.raises(FAILED, match=f"'{phase}' {words}"):
        AskedClient(instead(phase, answer)).plan(scene(), OWN)


def test_a_planner_that_does_not_tell_its_joints_is_held_to_its_first_answer() -> None:
    with pytest.raises(errors.PlanningFailedError, match="'approach' moves joints that do not belong"):
        AskedClient(instead("reach", renamed("elbow"))).plan(scene(), OWN, joints=())


def test_success_with_an_empty_trajectory_is_no_plan_and_other_ways_are_tried() -> None:
    client = AskedClient(lambda _, usual: RobotTrajectory() if len(client.asked) == 1 else usual, {"attempts": 2})
    assert client.plan(scene(), OWN).grasp == 0
    empty = AskedClient(lambda _, __: RobotTrajectory(), {"attempts": 2})
    with pytest.raises(
        errors.PlanningFailedError, match="reach: it reports SUCCESS, but its trajectory is empty"
    ) as caught:
        empty.plan(scene(), OWN)
    assert caught.value.number == -2


def test_cumotion_is_told_where_the_arm_is_as_it_reads_it() -> None:
    (usual, _), (nvidia, _) = asked(), asked(free_pipeline="isaac_ros_cumotion")
    states = [each.request.start_state for each in nvidia.asked]
    assert states[0].is_diff
    assert not states[0].joint_state.name  # it adds the joints of a difference to where the arm is
    assert not states[3].is_diff
    assert dict(zip(*nvidia.joints(3), strict=True)) == dict(zip(*usual.joints(3), strict=True))
    attached = [each.object.id for each in states[3].attached_collision_objects]
    assert attached == [f"{OURS}block", "camera"], "what is not named is taken off"
    assert all(states[number].is_diff for number in (1, 2, 4, 5))


def test_a_trajectory_survives_the_message() -> None:
    rows = ((0.1, -0.2), (1.0 / 3.0, 0.0))
    for made in (
        Trajectory(("a", "b"), (0.0, 123.456789012), rows, rows, rows),
        Trajectory(("a", "b"), (0.0, 0.02), rows),
    ):
        assert trajectory_of(robot_trajectory(made)) == made
