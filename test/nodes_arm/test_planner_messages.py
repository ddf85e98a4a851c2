# SPDX-License-Identifier: Apache-2.0
"""The scene that `arm_planner` keeps, the requests that it takes, and which arm it plans for; nothing is sent here."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from arm_graph import goals, scene
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose
from moveit_msgs import msg as moveit
from moveit_msgs.action import MoveGroup
from planning_scenes import config
from shape_msgs.msg import Mesh, Plane, SolidPrimitive
from tables import rows
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS, panda
from spatial_vlm_ros.nodes.arm.arm_planner import CodedError, ServedArm, check_end, longest, served_arm, understood
from spatial_vlm_ros.nodes.arm.motion_messages import (
    attached_box,
    attached_by_name,
    box_object,
    motion_goal,
    removed_object,
    scene_diff,
)
from spatial_vlm_ros.nodes.arm.planning_scene import ArmScene
from spatial_vlm_ros.parameters import ArmPlannerConfig

FRAME, LINK = "panda_link0", "panda_hand_tcp"
TIP = np.array([[0, 1, 0, 0.5], [1, 0, 0, 0.1], [0, 0, -1, 0.04], [0, 0, 0, 1.0]])  # fingers down
UR = ARMS["ur5e"]


def at(x: float, y: float, z: float) -> Any:
    pose = np.eye(4)
    pose[:3, 3] = (x, y, z)
    return pose


def block(name: str = "block", **fields: Any) -> moveit.CollisionObject:
    made = box_object(name, FRAME, at(0.5, 0.1, 0.03), (0.04, 0.05, 0.08))
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def empty() -> ArmScene:
    return ArmScene(panda().fixed_links())


def test_objects_are_added_replaced_and_removed() -> None:
    made = empty().changed(scene_diff([block(), block("cup")]), None)
    (box, _) = made.boxes(0.002)
    assert (box.id, box.padding, box.size.tolist()) == ("block", 0.002, [0.04, 0.05, 0.08])
    assert box.pose == pytest.approx(at(0.5, 0.1, 0.03))
    again = made.changed(scene_diff([box_object("block", FRAME, at(0, 0, 1), (1, 1, 1))]), None)
    assert {b.id: b.size[0] for b in again.boxes(0)} == {"block": 1.0, "cup": 0.04}
    assert set(again.changed(scene_diff([removed_object("cup", FRAME)]), None).bodies) == {"block"}
    assert not again.changed(scene_diff([removed_object("", FRAME)]), None).bodies
    assert set(made.bodies) == {"block", "cup"}  # a change makes another scene
    whole = scene_diff([block("plate")])
    whole.is_diff = False
    assert set(made.changed(whole, None).bodies) == {"plate"}


def test_other_primitives_become_the_boxes_around_them() -> None:
    obj = moveit.CollisionObject(id="thing", operation=moveit.CollisionObject.ADD)
    obj.pose.position.z = 1.0
    obj.primitives = [
        SolidPrimitive(type=SolidPrimitive.SPHERE, dimensions=[0.1]),
        SolidPrimitive(type=SolidPrimitive.CYLINDER, dimensions=[0.3, 0.05]),
    ]
    obj.primitive_poses = [Pose(), Pose(position=Point(x=0.2))]
    one, two = empty().changed(scene_diff([obj]), None).boxes(0)
    assert (one.id, one.size.tolist(), one.pose[2, 3]) == ("thing", [0.2, 0.2, 0.2], 1.0)
    assert (two.id, two.size.tolist()) == ("thing#1", [0.1, 0.1, 0.3])
    assert two.pose[:3, 3] == pytest.approx((0.2, 0, 1))


def test_what_is_held_goes_with_the_tip_and_stays_where_it_is_let_go() -> None:
    standing = empty().changed(scene_diff([block()]), None)
    held = standing.changed(scene_diff(attached=[attached_by_name("block", LINK, ())]), TIP)
    assert (set(held.bodies), set(held.held)) == (set(), {"block"})
    assert TIP @ held.held["block"].parts[0][0] == pytest.approx(at(0.5, 0.1, 0.03))
    moved = TIP.copy()
    moved[:3, 3] += (0.1, 0, 0.2)
    down = held.changed(scene_diff(attached=[attached_by_name("block", LINK, (), attach=False)]), moved)
    assert (set(down.bodies), set(down.held)) == ({"block"}, set())
    assert down.boxes(0)[0].pose == pytest.approx(at(0.6, 0.1, 0.23))
    told = attached_box("block", "panda_hand", at(0, 0, 0.1034), (0.04, 0.05, 0.08), ())
    other = standing.changed(scene_diff(attached=[told]), None)
    assert other.held["block"].parts[0][0] == pytest.approx(np.eye(4), abs=1e-4)  # of the hand, told in the tip's
    assert other.segment(TIP, True, 0.04).held.id == "block"  # type: ignore[union-attr]


def test_contacts_follow_the_matrix_and_its_defaults() -> None:
    rows = [[False, True, False], [True, False, True], [False, True, False]]
    matrix = moveit.AllowedCollisionMatrix(
        entry_names=["panda_leftfinger", "block", "support"],
        entry_values=[moveit.AllowedCollisionEntry(enabled=row) for row in rows],
        default_entry_names=["dust", "panda_link5"],
        default_entry_values=[True, False],
    )
    made = empty().changed(scene_diff([block(), block("support"), block("dust")], allowed=matrix), None)
    for one, other, allowed in (
        ("block", "panda_leftfinger", True), ("support", "panda_leftfinger", False), ("dust", "anything", True),
        ("dust", "panda_link5", False), ("anything", "else", False),
    ):  # fmt: skip
        assert made.allows(one, other) is allowed
    assert made.segment(TIP, False, 0.08).touch == {"block", "dust"}
    assert made.stands_on() == {"dust"}
    assert made.changed(scene_diff(), None).matrix is matrix  # a change that names no matrix keeps it
    lifting = made.changed(scene_diff(attached=[attached_by_name("block", LINK, ())]), TIP).segment(TIP, True, 0.04)
    assert (lifting.touch, lifting.held_touch) == ({"dust"}, {"support", "dust"})
    told = made.message()
    assert {each.id for each in told.world.collision_objects} == {"block", "support", "dust"}
    assert told.allowed_collision_matrix == matrix


def octomap() -> moveit.PlanningScene:
    diff = scene_diff()
    diff.world.octomap.octomap.data = [1]
    return diff


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (lambda: scene_diff([block(id="")]), "an id"),
        (lambda: scene_diff([block(meshes=[Mesh()])]), "1 meshes"),
        (lambda: scene_diff([block(planes=[Plane()])]), "1 planes"),
        (lambda: scene_diff([block(primitives=[], primitive_poses=[])]), "0 primitives"),
        (lambda: scene_diff([block(primitives=[SolidPrimitive(type=1, dimensions=[0.1, 0.1])])]), "box, sphere"),
        (lambda: scene_diff([block(primitives=[SolidPrimitive(type=1, dimensions=[0.1, 0.1, 0.0])])]), "edges above 0"),
        (lambda: scene_diff([block(pose=Pose(position=Point(x=math.nan)))]), "finite pose"),
        (lambda: scene_diff([block(operation=moveit.CollisionObject.MOVE)]), "MOVE"),
        (lambda: scene_diff([box_object("block", "world", np.eye(4), (1, 1, 1))]), "'world'"),
        (lambda: scene_diff([removed_object("ghost", FRAME)]), "'ghost'"),
        (lambda: scene_diff(attached=[attached_by_name("ghost", LINK, (), attach=False)]), "'ghost'"),
        (lambda: scene_diff(attached=[attached_box("b", "panda_link3", np.eye(4), (1, 1, 1), ())]), "panda_link3"),
        (lambda: scene_diff(allowed=moveit.AllowedCollisionMatrix(entry_names=["a"])), "rows and columns"),
        (octomap, "octomap"),
    ],
)
def test_a_scene_that_cannot_be_kept_is_refused(message: Callable[[], moveit.PlanningScene], words: str) -> None:
    with pytest.raises(InputError, match=words):
        empty().changed(message(), TIP)


def request(straight: bool = False, **motion: Any) -> MoveGroup.Goal:
    settings = config(motion=motion)
    return motion_goal(settings.motion, goals(scene(), settings)[0].grasps[0].grasp, straight, {}, scene_diff())


def changed(path: str, value: Any) -> MoveGroup.Goal:
    goal = request()
    at_ = goal
    *parents, last = path.split(".")
    for name in parents:
        at_ = at_[int(name)] if name.isdigit() else getattr(at_, name)
    setattr(at_, last, value)
    return goal


def test_a_request_of_the_client_is_understood() -> None:
    pose = goals(scene(), config())[0].grasps[0].grasp
    free, line = (understood(request(straight), panda().fixed_links()) for straight in (False, True))
    assert (free.straight, line.straight, free.time_limit) == (False, True, 5.0)
    assert free.goal[:3, 3] == pytest.approx(pose.position)
    assert free.position_tolerance == 0.001
    flange = understood(request(tip_link="panda_link8"), panda().fixed_links())
    assert np.linalg.norm(flange.goal[:3, 3] - free.goal[:3, 3]) == pytest.approx(0.1034, abs=1e-6)


@pytest.mark.parametrize(
    ("velocity", "acceleration", "counted"), [(0.3, 0.3, (0.3, 0.3)), (0.2, 1.0, (0.2, 1.0)), (0.0, 1.5, (1.0, 1.0))]
)
def test_factors_are_handed_on_and_others_count_as_one(velocity: float, acceleration: float, counted: Any) -> None:
    """What a motion makes of them is tested with the built-in planner."""
    goal = request()
    assert (goal.request.max_velocity_scaling_factor, goal.request.max_acceleration_scaling_factor) == (0.3, 0.3)
    goal.request.max_velocity_scaling_factor, goal.request.max_acceleration_scaling_factor = velocity, acceleration
    asked = understood(goal, panda().fixed_links())
    assert (asked.velocity_scaling, asked.acceleration_scaling) == counted
    given = understood(request(velocity_scaling=0.2, acceleration_scaling=1.0), panda().fixed_links())
    assert (given.velocity_scaling, given.acceleration_scaling) == (0.2, 1.0)


def test_an_end_beside_the_goal_is_told() -> None:
    asked = understood(request(), panda().fixed_links())
    check_end(asked, asked.goal)
    beside, turn = asked.goal.copy(), np.eye(4)
    beside[0, 3] += 0.0011
    turn[:2, :2] = [[1, -0.01], [0.01, 1]]
    for end, words in ((beside, "1.10 mm"), (asked.goal @ turn, "0.57 degrees")):
        with pytest.raises(CodedError, match=words) as refusal:
            check_end(asked, end)
        assert refusal.value.number == -14


JOINT = moveit.Constraints(joint_constraints=[moveit.JointConstraint(joint_name="panda_joint1", position=0.1)])


@pytest.mark.parametrize(("field", "value", "number", "words"), rows(__file__, "requests_refused"))
def test_other_requests_are_refused_with_moveits_number(field: str, value: Any, number: int, words: str) -> None:
    with pytest.raises(CodedError, match=words) as refusal:
        understood(changed(field, {"a joint": JOINT, "joints": [JOINT]}.get(str(value), value)), panda().fixed_links())
    assert refusal.value.number == number


def test_a_slow_simulation_is_waited_for() -> None:
    end = JointTrajectoryPoint(time_from_start=Duration(sec=4, nanosec=500_000_000))
    trajectory = JointTrajectory(points=[JointTrajectoryPoint(), end])
    assert longest(trajectory, 2.0) == pytest.approx(19.0)
    assert longest(trajectory, 20.0) == pytest.approx(100.0)


def told(**parameters: Any) -> ServedArm:
    return served_arm(ArmPlannerConfig(**parameters))


def described(**changes: str) -> dict[str, str]:
    """Parameters that describe the UR5e as an arm of one's own."""
    whole = {
        "robot_description": str(UR.urdf()), "robot_description_semantic": str(UR.srdf()), "group": "ur_manipulator",
        "end_effector": "gripper", "joint_limits": str(UR.urdf().with_suffix(".yaml")),
    }  # fmt: skip
    return {**whole, **changes}


def test_it_is_a_panda_unless_another_arm_is_named_or_described() -> None:
    assert told().model is panda()
    assert (told().title, told().groups) == ("Panda", ("panda_arm", "arm"))
    ur, turned = told(arm="ur5e"), told(arm="ur5e", gripper_yaw_deg=90.0)
    assert (ur.title, ur.groups, ur.model) == ("UR5e", ("ur_manipulator",), UR.model())
    assert (turned.title, turned.groups) == ("UR5e", ("ur_manipulator",))
    assert turned.model is not UR.model()
    for each in (described(), described(robot_description=UR.urdf().read_text()),
                 described(robot_description_semantic=UR.srdf().read_text())):  # fmt: skip
        arm = told(**each)
        assert (arm.model.joints, arm.groups, arm.title) == (UR.joints, ("ur_manipulator",), "ur5e_2f85")
    assert told(**described(tip_link="tool0", openings="0:0 0.08:0.04")).model.widest == pytest.approx(0.08)


FILES = {"panda.srdf": str(ARMS["panda"].srdf())}


@pytest.mark.parametrize(("own", "given", "error", "words"), rows(__file__, "arms_refused"))
def test_an_arm_that_cannot_be_is_refused_and_why(own: bool, given: dict[str, Any], error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        told(**(described() if own else {}) | {name: FILES.get(str(v), v) for name, v in given.items()})


def test_the_scene_is_kept_in_the_frame_of_the_arms_base_and_by_its_hand() -> None:
    model = UR.model()
    kept = ArmScene(model.fixed_links(), robot=model.name, base_link="base_link", hand_links=model.hand_links)
    crate = box_object("crate", "base_link", np.eye(4), (0.1, 0.1, 0.1))
    message = moveit.PlanningScene(is_diff=True)
    message.world.collision_objects = [crate]
    after = kept.changed(message, None)
    assert after.message().robot_model_name == "ur5e_2f85"
    assert after.message().world.collision_objects[0].header.frame_id == "base_link"
    whole = after.changed(moveit.PlanningScene(), None)  # not a diff: everything is replaced but the arm
    assert (dict(whole.bodies), whole.base_link) == ({}, "base_link")
    crate.header.frame_id = "panda_link0"
    with pytest.raises(InputError, match="Expected base_link"):
        kept.changed(message, None)
