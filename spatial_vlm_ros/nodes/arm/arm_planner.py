# SPDX-License-Identifier: Apache-2.0
"""The built-in planner behind MoveIt's actions, for use without MoveIt. docs/motion.md lists what it supports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from geometry_msgs.msg import Pose
from moveit_msgs.action import ExecuteTrajectory, MoveGroup
from moveit_msgs.msg import Constraints, MoveItErrorCodes
from moveit_msgs.srv import ApplyPlanningScene, GetPlanningScene
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from spatial_vlm_ros.errors import CancelledError, InputError, PlannerUnavailableError, SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel, arm_model
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import BASE_LINK, known_arm
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import Floats, MotionRequest
from spatial_vlm_ros.manipulation.planning.moveit import number_of_error
from spatial_vlm_ros.manipulation.planning.planner import Trajectory
from spatial_vlm_ros.nodes import parameters, qos
from spatial_vlm_ros.nodes.arm.motion_messages import matrix_of, robot_trajectory
from spatial_vlm_ros.nodes.arm.planning_scene import ArmScene
from spatial_vlm_ros.nodes.arm.supervision import STOP, StopPaths, planner_topic
from spatial_vlm_ros.nodes.arm.watchdog import Watchdog
from spatial_vlm_ros.nodes.calls import Action, Bridge
from spatial_vlm_ros.nodes.goals import ABORTED, GoalServer, Jobs, ServedGoal
from spatial_vlm_ros.nodes.liveliness import Alive, AliveWatch, ticks
from spatial_vlm_ros.parameters import ArmPlannerConfig
from spatial_vlm_ros.printable import printable

Codes = MoveItErrorCodes
_LOOK = 0.01  # s: how often joint states are looked at
_WATCHED = 0.04  # s: how often it is looked whether the gate is alive
SUCCEEDED = GoalStatus.STATUS_SUCCEEDED
GROUPS = ("panda_arm",)
STRAIGHT = ("LIN",)
UNKNOWN = ("PTP", "CIRC")  # the resulting motion would not have the requested form
_TIME = 5.0  # s if the request gives none, as in MoveIt
_ROUNDING = 1e-9
_SLACK = 10.0  # s that a controller may take beyond `duration_scaling` times the time of a trajectory

_OF_IT = ("robot_description_semantic", "group", "end_effector", "joint_limits")
_ITS_OWN = (*_OF_IT, "tip_link", "openings")


@dataclass(frozen=True, eq=False)
class ServedArm:
    """An arm with its display name and its names in requests."""

    model: ArmModel
    title: str
    groups: tuple[str, ...]


def served_arm(config: ArmPlannerConfig) -> ServedArm:
    """The arm that the parameters name."""
    if not config.robot_description:
        known = known_arm(config.arm)
        without = [name for name in _ITS_OWN if getattr(config, name)]
        if without:
            repair = f"set it to the URDF of that arm, or leave {without[0]} empty for the {known.title}"
            raise InputError("parameter robot_description", f"empty, but {without[0]} is set", "a URDF", repair)
        yaw = config.gripper_yaw_deg
        if yaw and known.turned is None:
            repair = f"set robot_description to the URDF of your {known.title}, or leave gripper_yaw_deg at 0"
            raise InputError("parameter gripper_yaw_deg", f"{yaw:g}, with arm {config.arm}", "0", repair)
        model = known.turned(yaw) if yaw and known.turned is not None else known.model()
        return ServedArm(model, known.title, tuple(dict.fromkeys((known.called, known.group))))
    if config.gripper_yaw_deg:
        repair = "turn the gripper in the URDF, and leave gripper_yaw_deg at 0"
        raise InputError(
            "parameter gripper_yaw_deg", f"{config.gripper_yaw_deg:g}, but robot_description is set", "0", repair
        )
    missing = [name for name in _OF_IT if not getattr(config, name)]
    if missing:
        repair = "with robot_description, set all of robot_description_semantic, group, end_effector and joint_limits"
        raise InputError(f"parameter {missing[0]}", "empty, but robot_description is set", "a value", repair)
    openings: list[tuple[float, float]] = []
    for word in config.openings.split():
        opening, _, position = word.partition(":")
        try:
            openings.append((float(opening), float(position)))
        except ValueError as error:
            repair = "give pairs of the distance between the fingers in metres and the position of the finger joint"
            raise InputError("parameter openings", repr(word), 'pairs such as "0:0.79 0.085:0"', repair) from error
    model = arm_model(
        config.robot_description,
        config.robot_description_semantic,
        config.group,
        config.end_effector,
        tip_link=config.tip_link,
        joint_limits=config.joint_limits,
        openings=openings,
    )
    return ServedArm(model, model.name, (config.group,))


class CodedError(Exception):
    """A refusal with MoveIt's error number; it goes into the result of an action, never to a caller."""

    def __init__(self, number: int, words: str) -> None:
        self.number = number
        super().__init__(words)


@dataclass(frozen=True, eq=False)
class Understood:
    """A request in the form that the built-in planner uses.

    Args:
        goal: (4, 4) base_T_tip, metres.
        position_tolerance: allowed distance of the tip from the goal, metres.
        angles: (3,) allowed rotation about the tip's axes, radians.
        time_limit: for planning, seconds.
        velocity_scaling, acceleration_scaling: fractions of the maximum velocities and accelerations.
    """

    goal: Floats
    straight: bool
    position_tolerance: float
    angles: Floats
    time_limit: float
    velocity_scaling: float
    acceleration_scaling: float


def understood(
    goal: Any, links: Mapping[str, Floats], groups: Sequence[str] = GROUPS, base: str = BASE_LINK
) -> Understood:
    """Read a MoveGroup goal.

    Args:
        links: link → (4, 4) link_T_tip, metres, for every link that a goal may name.
        groups: names of the arm's group; an empty name also means this group.
    """
    request = goal.request
    if not goal.planning_options.plan_only:
        raise CodedError(
            Codes.UNRECOGNIZED_GOAL_TYPE, "this planner does not execute: set plan_only, then use ExecuteTrajectory"
        )
    if request.group_name not in ("", *groups):
        words = f"unknown group {request.group_name!r}; use {groups[0]!r}"
        raise CodedError(Codes.INVALID_GROUP_NAME, words)
    if request.planner_id in UNKNOWN:
        words = f"unknown planner {request.planner_id!r}; use LIN for straight motions, or no name for free motions"
        raise CodedError(Codes.UNRECOGNIZED_GOAL_TYPE, words)
    c, points = request.path_constraints, request.trajectory_constraints.constraints
    if c.joint_constraints or c.position_constraints or c.orientation_constraints or c.visibility_constraints or points:
        raise CodedError(Codes.UNRECOGNIZED_GOAL_TYPE, "path constraints are not supported; remove them")
    if len(request.goal_constraints) != 1:
        raise CodedError(Codes.INVALID_GOAL_CONSTRAINTS, f"there are {len(request.goal_constraints)} goals; give one")
    pose, place_by, angles = _pose(request.goal_constraints[0], links, base)
    return Understood(
        pose,
        request.planner_id in STRAIGHT,
        place_by,
        angles,
        request.allowed_planning_time if request.allowed_planning_time > 0 else _TIME,
        _factor(request.max_velocity_scaling_factor),
        _factor(request.max_acceleration_scaling_factor),
    )


def check_end(asked: Understood, base_T_tip: Floats) -> None:
    """Check that a planned motion ends within the tolerances of its request."""
    away = float(np.linalg.norm(base_T_tip[:3, 3] - asked.goal[:3, 3]))
    turn = asked.goal[:3, :3].T @ base_T_tip[:3, :3]
    turned = np.abs([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2  # small angles
    if away > asked.position_tolerance + _ROUNDING or (turned > asked.angles + _ROUNDING).any():
        words = f"the tip ends {away * 1000:.2f} mm and up to {np.degrees(turned.max()):.2f} degrees away from the goal"
        raise CodedError(Codes.GOAL_CONSTRAINTS_VIOLATED, f"{words}; its accuracy is 1 mm and 0.5 degrees")


def _factor(given: float) -> float:
    """A scaling factor; values outside (0, 1] count as 1.

    Source: moveit_core/trajectory_processing/src/time_optimal_trajectory_generation.cpp:1290-1312, verifyScalingFactor.
    """
    return float(given) if 0 < given <= 1 else 1.0


def _pose(constraints: Constraints, links: Mapping[str, Floats], base: str) -> tuple[Floats, float, Floats]:
    """base_T_tip (4, 4), and the position and angle tolerances."""
    places, turns = constraints.position_constraints, constraints.orientation_constraints
    if len(places) != 1 or len(turns) != 1 or constraints.joint_constraints or constraints.visibility_constraints:
        words = "a goal must be one position and one orientation of one link"
        raise CodedError(Codes.UNRECOGNIZED_GOAL_TYPE, words)
    place, turn = places[0], turns[0]
    region = place.constraint_region
    if place.link_name != turn.link_name or place.link_name not in links:
        words = f"goals must be for one of {', '.join(sorted(links))}, not {place.link_name!r} and {turn.link_name!r}"
        raise CodedError(Codes.INVALID_LINK_NAME, words)
    for frame in (place.header.frame_id, turn.header.frame_id):
        if frame not in ("", base):
            raise CodedError(Codes.FRAME_TRANSFORM_FAILURE, f"goals must be in {base!r}, not in {frame!r}")
    offset = place.target_point_offset
    shapes = region.primitives
    if any((offset.x, offset.y, offset.z)) or region.meshes or len(shapes) != 1 or len(region.primitive_poses) != 1:
        words = "a position must be the centre of one primitive, without an offset"
        raise CodedError(Codes.INVALID_GOAL_CONSTRAINTS, words)
    dimensions = [float(v) for v in shapes[0].dimensions]
    if not dimensions or shapes[0].type not in (shapes[0].SPHERE, shapes[0].BOX):
        raise CodedError(Codes.INVALID_GOAL_CONSTRAINTS, "the region of a position must be a sphere or a box")
    reach = dimensions[0] if shapes[0].type == shapes[0].SPHERE else min(dimensions) / 2
    try:
        base_T_link = matrix_of(Pose(position=region.primitive_poses[0].position, orientation=turn.orientation))
    except ValueError as error:
        raise CodedError(Codes.INVALID_GOAL_CONSTRAINTS, str(error)) from error
    angles = np.array([getattr(turn, f"absolute_{axis}_axis_tolerance") for axis in "xyz"], np.float64)
    return base_T_link @ links[place.link_name], reach, angles


def longest(trajectory: JointTrajectory, scaling: float) -> float:
    """Longest wall-clock time that a controller may take for a trajectory, seconds.

    Args:
        trajectory: has at least one point.
        scaling: wall-clock seconds per second of the controller, which may run in a slow simulation.
    """
    last = trajectory.points[-1].time_from_start
    return float(scaling * (last.sec + last.nanosec * 1e-9) + _SLACK)


class ArmPlanner(Node):
    """Node `arm_planner`; launcher/interfaces.toml has its interfaces."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("arm_planner", **kwargs)
        self._config = config = parameters.configured(self, ArmPlannerConfig())
        self._arm = served_arm(config)
        self._robot = robot = self._arm.model
        self._planner, self._kinematics = BuiltinPlanner(robot), BuiltinPlanner(robot)  # one planner per thread
        self._fingers = tuple(finger.name for finger in robot.fingers)
        self._links = robot.fixed_links()
        self._scene = ArmScene(self._links, robot=robot.name, base_link=robot.base_link, hand_links=robot.hand_links)
        self._joints: dict[str, tuple[float, float]] = {}  # position, and when it was heard
        self._seed = config.seed
        self._planning: ServedGoal | None = None
        self._executing: ServedGoal | None = None
        self._plans = ThreadPoolExecutor(max_workers=1, thread_name_prefix="plan")
        self._moves = ThreadPoolExecutor(max_workers=1, thread_name_prefix="execute")
        self._wake = Jobs(self).put
        remedy = "start the arm controller, and check the parameter controller"
        bridge = Bridge(self)
        self._controller = Action(bridge, FollowJointTrajectory, config.controller, remedy, config.controller_timeout)
        self._paths = StopPaths(bridge, "", [self._controller.name])
        self._watchdog = Watchdog(bridge, "", [self._controller.name])
        self._ends = False
        self._alive = Alive(self, planner_topic("execute_trajectory"))
        self._gates = AliveWatch(self, "execute_trajectory/gate")
        self._watches = ticks(self, _WATCHED, self._look_for_gates)
        self.create_subscription(String, "trajectory_execution_event", self._on_event, qos.INSTRUCTIONS)
        self.create_subscription(JointState, "joint_states", self._on_joints, qos.images())
        self.create_service(ApplyPlanningScene, "apply_planning_scene", self._on_apply)
        self.create_service(GetPlanningScene, "get_planning_scene", self._on_get)
        # A new plan request replaces the running one, as in MoveIt; an execution is not replaced.
        self._plan_server = GoalServer(
            self, MoveGroup, "move_action", self._accept_plan, self._wake,
            takes=lambda _: not self._ends, result_timeout=10 + qos.ODD,
        )  # fmt: skip
        self._execute_server = GoalServer(
            self, ExecuteTrajectory, "execute_trajectory", self._accept_execution, self._wake,
            takes=lambda _: not self._ends and self._executing is None, result_timeout=10 + qos.ODD,
        )  # fmt: skip

    def start(self) -> None:
        """Show that the planner is alive."""
        name = self.resolve_topic_name("joint_states")
        self._watchdog.start()
        self.get_logger().info(printable(f"arm_planner plans for a {self._arm.title}; joint states from {name}"))

    def end(self) -> float:
        """Cancel running goals and accept no new ones; returns the longest time this takes, seconds."""
        self._ends = True
        if self._executing is not None:
            self._paths.send()
        self._cancel_all()
        return self._config.controller_timeout

    @property
    def ended(self) -> bool:
        """Whether all goals have ended and their clients have the results."""
        return self._plan_server.ended and self._execute_server.ended

    def stop(self) -> None:
        """End running goals and free everything; call it after the executor has stopped."""
        self._cancel_all()
        self._watchdog.close()
        for pool in (self._plans, self._moves):
            pool.shutdown(wait=False, cancel_futures=True)

    def _cancel_all(self) -> None:
        for goal in (*self._plan_server.goals.values(), *self._execute_server.goals.values()):
            goal.cancelled.set()

    def _accept_plan(self, goal: ServedGoal) -> None:
        if self._planning is not None:
            self._planning.cancelled.set()
        self._planning = goal
        self._plans.submit(self._work, goal, self._plan, self._plan_server)

    def _accept_execution(self, goal: ServedGoal) -> None:
        self._executing = goal
        self._gates.forget()  # those that had ended before do not command this motion
        self._watches.reset()
        self._moves.submit(self._work, goal, self._execute, self._execute_server)

    def _work(self, goal: ServedGoal, work: Any, server: GoalServer) -> None:
        """Serve one goal on a pool thread; this always produces a result."""
        result, number, words = server.form.Result(), Codes.SUCCESS, ""
        try:
            work(goal.request, result, goal.cancelled.is_set)
        except CodedError as error:
            number, words = error.number, str(error)
        except CancelledError as error:
            number, words = number_of_error(error), str(error)
            if self._ends:
                number, words = Codes.COMMUNICATION_FAILURE, "arm_planner was told to exit"
        except SpatialVlmError as error:
            number, words = number_of_error(error), str(error)
        except Exception as error:  # a bug here costs one request, not the node
            number, words = Codes.FAILURE, f"{type(error).__name__}: {error}"
        if number != Codes.SUCCESS:  # without what was already in it
            result = server.form.Result()
            result.error_code.message, result.error_code.source = words, "arm_planner"
        result.error_code.val = number
        self._wake(lambda: self._end(goal, server, result))

    def _end(self, goal: ServedGoal, server: GoalServer, result: Any) -> None:
        """Send the result; runs on the executor's thread."""
        self._planning = None if self._planning is goal else self._planning
        self._executing = None if self._executing is goal else self._executing
        code = result.error_code
        how = server.end(goal, result, code.val == Codes.SUCCESS, cancelled=code.val == Codes.PREEMPTED)
        if how == ABORTED:
            self.get_logger().info(printable(f"refused ({code.val}): {code.message}"))

    def _look_for_gates(self) -> None:
        """Stop if the gate that commands the arm is lost, with its watchdog: their machine, or the network to it."""
        lost, goal = self._gates.look(), self._executing
        if lost and goal is not None:
            goal.cancelled.set()
            self._paths.send()
            self.get_logger().warning(printable(f"the gate {lost}: the arm is stopped"))
        if lost or goal is None:
            self._watches.cancel()

    def _on_event(self, event: String) -> None:
        if event.data == STOP and self._executing is not None:
            self._executing.cancelled.set()

    def _plan(self, goal: Any, result: Any, cancelled: Callable[[], bool]) -> None:
        begun = time.monotonic()
        asked = understood(goal, self._links, self._arm.groups, self._robot.base_link)
        state, robot = goal.request.start_state.joint_state, self._robot
        told = dict(zip(state.name, state.position, strict=False))  # otherwise joint states tell
        now = {} if set(robot.joints) <= set(told) else self._current()
        heard = robot.opening_of({**self._heard(self._fingers), **told})
        opening = robot.widest if heard is None else min(max(heard, 0.0), robot.widest)
        start = np.array([told.get(name, now.get(name, 0.0)) for name in robot.joints], np.float64)
        scene = self._scene.changed(goal.planning_options.planning_scene_diff, self._planner.tip(start))
        number, self._seed = self._seed, self._seed + 1
        self.get_logger().info(
            printable(f"planning a {'straight' if asked.straight else 'free'} motion (seed {number})")
        )
        request = MotionRequest(
            start,
            [scene.segment(asked.goal, asked.straight, opening)],
            scene.boxes(self._config.padding),
            seed=number % 2**31,
            time_limit=asked.time_limit,
            velocity_scaling=asked.velocity_scaling,
            acceleration_scaling=asked.acceleration_scaling,
            stands_on=scene.stands_on(),
        )
        planned = self._planner.plan(request, cancelled).trajectories[0]
        check_end(asked, self._planner.tip(planned.positions[-1]))
        rows = [
            tuple(map(tuple, each.tolist())) for each in (planned.positions, planned.velocities, planned.accelerations)
        ]
        trajectory = Trajectory(planned.names, tuple(planned.times.tolist()), *rows)
        result.planned_trajectory = robot_trajectory(trajectory)
        result.trajectory_start.joint_state.name = list(self._robot.joints)
        result.trajectory_start.joint_state.position = [float(at) for at in start]
        result.planning_time = time.monotonic() - begun

    def _heard(self, names: tuple[str, ...], since: float = 0.0) -> dict[str, float]:
        """Joint positions within `joint_state_age` that came after `since` (time.monotonic)."""
        oldest = max(since, time.monotonic() - self._config.joint_state_age)
        joints = dict(self._joints)
        return {name: joints[name][0] for name in names if name in joints and joints[name][1] >= oldest}

    def _current(self) -> dict[str, float]:
        heard = self._heard(self._robot.joints)
        silent = [name for name in self._robot.joints if name not in heard]
        if silent:
            topic = self.resolve_topic_name("joint_states")
            reason = f"{topic} has had no state of {silent[0]} for {self._config.joint_state_age:g} s"
            raise CodedError(Codes.ROBOT_STATE_STALE, reason)
        return heard

    def _on_joints(self, message: JointState) -> None:
        now = time.monotonic()
        for name, at in zip(message.name, message.position, strict=False):
            self._joints[name] = (float(at), now)

    def _execute(self, goal: Any, _: Any, cancelled: Callable[[], bool]) -> None:
        joint = goal.trajectory.joint_trajectory
        if goal.trajectory.multi_dof_joint_trajectory.points or set(joint.joint_names) != set(self._robot.joints):
            words = f"the trajectory has {', '.join(joint.joint_names) or 'no joints'}"
            words += f"; it must have exactly the joints of the {self._arm.title} arm"
            raise CodedError(Codes.INVALID_MOTION_PLAN, words)
        if not joint.points:
            return
        try:
            self._controller.await_it(self._config.controller_timeout, cancelled)
            seconds = longest(joint, self._config.duration_scaling)
            request = FollowJointTrajectory.Goal(trajectory=joint)
            self._watchdog.begin(self._config.controller_timeout, cancelled)
            self._await_start(dict(zip(joint.joint_names, joint.points[0].positions, strict=True)), cancelled)
            told = lambda: cancelled() or bool(self._watchdog.tripped)  # noqa: E731
            ended = self._controller.run(request, seconds, self._config.controller_timeout, told, halt=self._paths.send)
        except PlannerUnavailableError as error:
            raise CodedError(Codes.CONTROL_FAILED, str(error)) from error
        except Exception as error:
            if not isinstance(error, (CodedError, SpatialVlmError)):  # unforeseen: the arm must not go on unwatched
                self._paths.send()
            raise
        finally:
            if self.context.ok():  # otherwise the arm may still move: the watchdog stops it
                self._watchdog.end()
        name, result = self._controller.name, ended.result
        if not ended.accepted:
            raise CodedError(Codes.CONTROL_FAILED, f"{name} rejects the trajectory; see its log")
        done = ended.status == SUCCEEDED and result.error_code == result.SUCCESSFUL
        if ended.status == GoalStatus.STATUS_CANCELED or (ended.withdrawn and not done):
            raise CancelledError("the execution was cancelled")  # here, or by who cancels all of the controller's goals
        if not done:
            words = result.error_string or "no reason given"
            raise CodedError(Codes.CONTROL_FAILED, f"{name}: {words} (error {result.error_code})")

    def _await_start(self, start: dict[str, float], cancelled: Callable[[], bool]) -> None:
        """Wait until new joint states show the arm at the start of a trajectory.

        Joint states may come later than the result of the motion before.
        """
        gate, begun = threading.Event(), time.monotonic()
        while not cancelled():
            is_over = time.monotonic() > begun + self._config.joint_state_age
            now = self._current() if is_over else self._heard(self._robot.joints, begun)
            apart = {name: abs(now[name] - at) for name, at in start.items() if name in now}
            worst = max(apart, key=lambda name: apart[name], default="")
            if len(apart) == len(start) and apart[worst] <= self._config.start_tolerance:
                return
            if is_over:
                words = f"the trajectory starts {apart[worst]:.3f} rad from the position of {worst}"
                raise CodedError(Codes.CONTROL_FAILED, f"{words}; plan it again from the current position")
            gate.wait(_LOOK)
        raise CancelledError("the execution was cancelled")

    def _on_apply(self, request: Any, response: Any) -> Any:
        joints = self._robot.joints
        heard = self._heard(joints)
        tip = self._kinematics.tip(np.array([heard[name] for name in joints])) if len(heard) == len(joints) else None
        try:
            self._scene = self._scene.changed(request.scene, tip)
            response.success = True
        except (InputError, ValueError) as error:
            self.get_logger().warning(printable(f"the scene was not changed: {error}"))
            response.success = False
        return response

    def _on_get(self, _: Any, response: Any) -> Any:
        response.scene = self._scene.message()
        return response
