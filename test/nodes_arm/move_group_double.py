# SPDX-License-Identifier: Apache-2.0
"""A test double of MoveIt's move_group for a Franka Panda, written from its source. Not a test.

moveit2, branch jazzy, commit 4d841063 (main, commit 8fcb5d23, and kilted do not differ in what is cited). Lines are of
moveit_ros/move_group/src/default_capabilities/: execute_trajectory_action_capability.cpp ("execute" below),
move_action_capability.cpp ("move"), apply_planning_scene_service_capability.cpp; of moveit_core/planning_scene/src/
planning_scene.cpp ("scene"), of moveit_ros/planning/planning_scene_monitor/src/planning_scene_monitor.cpp, and as
execution_double.py says. The paths themselves are those of the built-in planner.

What is left out: plan_only false, pipelines (LIN is straight, every other planner free), request adapters, meshes.
The octomap is kept and told, but nothing is planned around it.

As a process, with the controllers of robot_doubles.py beside it:

    python test/nodes_arm/move_group_double.py --ros-args -p controller:=/arm_controller/follow_joint_trajectory

In a test: `MoveGroupDouble(domain)`, or the fixture `cell` of double_cell.py, which has the controllers, too.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from execution_double import PREEMPTED, SUCCEEDED, TIMED_OUT, ControllerHandle, ExecutionManager, RobotState
from hardware_double import Spun, forget
from moveit_msgs.action import ExecuteTrajectory, MoveGroup
from moveit_msgs.msg import AllowedCollisionMatrix, MoveItErrorCodes, PlanningSceneComponents
from moveit_msgs.srv import ApplyPlanningScene, GetPlanningScene
from octomap_msgs.msg import OctomapWithPose
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from robot_doubles import clients, run
from std_msgs.msg import String

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest
from spatial_vlm_ros.manipulation.builtin_planner.robot import ARM_JOINTS, BASE_LINK, fixed_links, panda
from spatial_vlm_ros.manipulation.planning.moveit_codes import number_of_error
from spatial_vlm_ros.manipulation.planning.planner import Trajectory
from spatial_vlm_ros.nodes.arm import move_group_requests as arm_requests
from spatial_vlm_ros.nodes.arm.motion_messages import robot_trajectory
from spatial_vlm_ros.nodes.arm.planning_scene import ArmScene
from spatial_vlm_ros.nodes.calls import Jobs

Codes = MoveItErrorCodes
CONTROLLER = "/arm_controller/follow_joint_trajectory"
_FINGERS = ("panda_finger_joint1", "panda_finger_joint2")
_PADDING = 0.002  # m around boxes, for the built-in planner


class MoveGroupDouble:
    """move_group: nodes, executors and threads as MoveIt has them.

    Args:
        domain: the ROS domain; None = that of the environment.
        controller: the arm's FollowJointTrajectory.
        args: of ROS.

    Attributes:
        node: `move_group`; name and namespace can be remapped.
        execution: executes and stops.
        codes: error codes that goals of execute_trajectory ended with, newest last.
        planned: how many goals of move_action it has begun to plan for.
        planning: held while it plans; who holds it keeps it planning.
    """

    def __init__(self, domain: int | None = None, controller: str = CONTROLLER, args: list[str] | None = None) -> None:
        self._spun = Spun(domain, args)
        context = self._spun.context
        self.node = Node("move_group", context=context)
        # moveit_configs_utils hands the names of its pipelines over as this parameter
        self.node.declare_parameter("planning_pipelines", ["ompl", "pilz_industrial_motion_planner"])
        controller = str(self.node.declare_parameter("controller", controller).value)
        # manager:164-183: the clients of controllers have a node with an executor of their own
        clients = Node("moveit_simple_controller_manager", context=context)
        # execute:70-74: so has the action, in a callback group; rclpy's executors take nodes
        actions = Node("move_group_execute_trajectory", context=context)
        # planning_scene_monitor.cpp:105-119, 245-248, 658-666, 1364: a private node with a thread of its own
        monitor = Node("move_group_private", context=context)
        self.state = RobotState(monitor, ARM_JOINTS)
        self.handle = ControllerHandle(clients, controller)
        say = self.node.get_logger().info
        self.execution = ExecutionManager(self.state, {ARM_JOINTS: self.handle}, say)
        self.codes: list[int] = []
        self._links = fixed_links()
        self._scene, self._octomap = ArmScene(self._links), OctomapWithPose()
        self._kinematics, self._seed = BuiltinPlanner(), 0
        self.planned, self.planning = 0, threading.Lock()
        self._preempted = False  # preempt_requested_: of whatever is planned
        self._plans: dict[bytes, Future] = {}
        self._jobs = Jobs(self.node)
        self.node.create_service(ApplyPlanningScene, "apply_planning_scene", self._on_apply)
        monitor.create_service(GetPlanningScene, "get_planning_scene", self._on_get)
        # manager:201-206: ServicesQoS: reliable, 10 deep; a group of its own, which is a thread here
        self._events = ThreadPoolExecutor(max_workers=1)
        self.node.create_subscription(String, "trajectory_execution_event", self._on_event, QoSProfile(depth=10))
        self._servers = [
            ActionServer(
                self.node, MoveGroup, "move_action", self._planned,
                handle_accepted_callback=self._plan_aside, cancel_callback=self._on_preempt,
            ),
            ActionServer(actions, ExecuteTrajectory, "execute_trajectory", self._execute, cancel_callback=_accept),
        ]  # fmt: skip
        # They end in this order: first what tells that it lives; rclcpp ends all at once when its context is shut down.
        self._spun.spin(monitor)
        # move_group.cpp:314-329: upstream on several threads. rclpy's executor of several queues a callback again and
        # again until a thread takes it, and a stop event would wait behind that for seconds.
        self._spun.spin(self.node)
        self._spun.spin(clients)
        self._spun.spin(actions)

    def close(self) -> None:
        """End."""
        self._spun.close()
        self._events.shutdown()
        forget(self)

    @property
    def ready(self) -> bool:
        """Whether the controller and the joint states are there."""
        return self.handle.connected and set(ARM_JOINTS) <= set(self.state.positions)

    @property
    def clients(self) -> int:
        """How many clients of its actions it has discovered."""
        return clients(self.node, "/move_action", "/execute_trajectory")

    # -------------------------------------------------------------------------------------------- execution

    def _execute(self, goal: ServerGoalHandle) -> Any:
        """execute:87-149. It runs on the only thread that serves this action.

        Until it returns no request to cancel is even read, no result is sent and no other goal is answered; another
        goal is taken and executed afterwards. A goal that is cancelled before it begins is executed all the same. What
        is stopped ends ABORTED with the code PREEMPTED, never CANCELED (execute:103-112, 131-134).
        """
        result = ExecuteTrajectory.Result()
        result.error_code.val = Codes.CONTROL_FAILED
        if self.execution.push(goal.request.trajectory):
            goal.publish_feedback(ExecuteTrajectory.Feedback(state="MONITOR"))
            self.execution.execute()
            ends = {SUCCEEDED: Codes.SUCCESS, PREEMPTED: Codes.PREEMPTED, TIMED_OUT: Codes.TIMED_OUT}
            result.error_code.val = ends.get(self.execution.wait(), Codes.CONTROL_FAILED)
        self.codes.append(result.error_code.val)
        goal.publish_feedback(ExecuteTrajectory.Feedback(state="IDLE"))
        if result.error_code.val == Codes.SUCCESS:
            goal.succeed()
        else:
            goal.abort()
        return result

    def _on_event(self, message: String) -> None:
        """manager:343-359."""
        self.node.get_logger().info(f"Received event '{message.data}'")
        if message.data == "stop":
            self._events.submit(self.execution.stop)
        else:
            self.node.get_logger().warning(f"Unknown event type: '{message.data}'")

    # -------------------------------------------------------------------------------------------- planning

    def _plan_aside(self, goal: ServerGoalHandle) -> None:
        """move:79-82: on a thread of its own; goals do not replace each other."""
        self._plans[bytes(goal.goal_id.uuid)] = Future()
        goal.execute()
        threading.Thread(target=self._plan, args=(goal,), daemon=True).start()

    async def _planned(self, goal: ServerGoalHandle) -> Any:
        return await self._plans[bytes(goal.goal_id.uuid)]

    def _plan(self, goal: ServerGoalHandle) -> None:
        """move:85-129, 191-233. Cancelled while it plans, it plans on, and ends SUCCEEDED where a plan was found."""
        result = MoveGroup.Result()
        goal.publish_feedback(MoveGroup.Feedback(state="PLANNING"))
        self.state.since(self.state.now())
        if self._preempted:
            result.error_code.val = Codes.PREEMPTED
        else:
            self.planned += 1
            with self.planning:
                self._answer(goal.request, result)
        self._preempted = False
        self._jobs.put(lambda: self._end_plan(goal, result))

    def _end_plan(self, goal: ServerGoalHandle, result: Any) -> None:
        if result.error_code.val == Codes.SUCCESS:
            goal.succeed()
        elif result.error_code.val == Codes.PREEMPTED and goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        self._plans.pop(bytes(goal.goal_id.uuid)).set_result(result)

    def _on_preempt(self, _: ServerGoalHandle) -> CancelResponse:
        """move:281-285: asked for before the planning begins it has an effect, and none later."""
        self._preempted = True
        return CancelResponse.ACCEPT

    def _answer(self, goal: Any, result: Any) -> None:
        try:
            asked = arm_requests.understood(goal, self._links)
            told = dict(zip(goal.request.start_state.joint_state.name, goal.request.start_state.joint_state.position,
                            strict=False))  # fmt: skip
            joints = {**self.state.positions, **told}
            start = np.array([joints[name] for name in ARM_JOINTS], np.float64)
            opening = min(max(sum(float(joints.get(name, 0.04)) for name in _FINGERS), 0.0), 0.08)
            planner, speed = _scaled(goal.request)
            scene = self._scene.changed(goal.planning_options.planning_scene_diff, planner.tip(start))
            self._seed += 1
            request = MotionRequest(
                start,
                [scene.segment(asked.goal, asked.straight, opening)],
                scene.boxes(_PADDING),
                seed=self._seed,
                time_limit=asked.time_limit,
                speed=speed,
                stands_on=scene.stands_on(),
            )
            planned = planner.plan(request)
            only = planned.trajectories[0]
            arm_requests.check_end(asked, planner.tip(only.positions[-1]))
            rows = [tuple(map(tuple, each.tolist())) for each in (only.positions, only.velocities, only.accelerations)]
            result.planned_trajectory = robot_trajectory(Trajectory(only.names, tuple(only.times.tolist()), *rows))
            result.trajectory_start.joint_state.name = list(ARM_JOINTS)
            result.trajectory_start.joint_state.position = start.tolist()
            result.planning_time = planned.planning_seconds
            result.error_code.val = Codes.SUCCESS
        except arm_requests.CodedError as error:
            result.error_code.val, result.error_code.message = error.number, str(error)
        except SpatialVlmError as error:
            result.error_code.val, result.error_code.message = number_of_error(error), str(error)

    # -------------------------------------------------------------------------------------------- scene

    def _on_apply(self, request: Any, response: Any) -> Any:
        """scene:1314-1415: what can be applied is, also where other parts fail; a diff without octomap leaves it."""
        message, response.success = request.scene, True
        tip = self._kinematics.tip(np.array([self.state.positions.get(name, 0.0) for name in ARM_JOINTS]))
        if not message.is_diff:
            self._scene, self._octomap = ArmScene(self._links), OctomapWithPose()
        if message.world.octomap.octomap.id:
            self._octomap = message.world.octomap
        for part in _parts(message):
            try:
                self._scene = self._scene.changed(part, tip)
            except (InputError, ValueError) as error:
                self.node.get_logger().warning(str(error))
                response.success = False
        for each in message.world.collision_objects:
            if each.operation == each.REMOVE and each.id:  # scene:1948
                self._scene = dataclasses.replace(self._scene, matrix=_without(self._scene.matrix, each.id))
        return response

    def _on_get(self, request: Any, response: Any) -> Any:
        """scene:972-1040: only what is asked for; everything where nothing is (planning_scene_monitor.cpp:668-680)."""
        wanted = request.components.components or 2**32 - 1
        whole, scene = self._scene.message(), response.scene
        if wanted & PlanningSceneComponents.ALLOWED_COLLISION_MATRIX:
            scene.allowed_collision_matrix = whole.allowed_collision_matrix
        if wanted & PlanningSceneComponents.ROBOT_STATE_ATTACHED_OBJECTS:
            scene.robot_state = whole.robot_state
        if wanted & (PlanningSceneComponents.ROBOT_STATE_ATTACHED_OBJECTS | PlanningSceneComponents.ROBOT_STATE):
            scene.robot_state.joint_state.header.frame_id = BASE_LINK  # robotStateToRobotStateMsg: the model's frame
            scene.robot_state.joint_state.name = list(self.state.positions)
            scene.robot_state.joint_state.position = list(self.state.positions.values())
        if wanted & PlanningSceneComponents.WORLD_OBJECT_GEOMETRY:
            scene.world.collision_objects = whole.world.collision_objects
        elif wanted & PlanningSceneComponents.WORLD_OBJECT_NAMES:
            for each in whole.world.collision_objects:
                scene.world.collision_objects.append(type(each)(id=each.id))
        if wanted & PlanningSceneComponents.OCTOMAP:
            scene.world.octomap = self._octomap
        return response


def _accept(_: ServerGoalHandle) -> CancelResponse:
    """execute:82."""
    return CancelResponse.ACCEPT


def _scaled(request: Any) -> tuple[BuiltinPlanner, float]:
    """A planner whose trajectories keep to f_v times the velocities and f_a times the accelerations.

    Each factor scales its own limit, once; what is not in (0, 1] counts as 1: moveit_core/trajectory_processing/src/
    time_optimal_trajectory_generation.cpp:939-990, 1290-1312 with DEFAULT_SCALING_FACTOR. The built-in planner has one
    speed s, which scales velocities by s and accelerations by s²: with s² = f_a, limits of velocity become f_v / s.
    """
    velocity, acceleration = (
        given if 0 < given <= 1 else 1.0
        for given in (request.max_velocity_scaling_factor, request.max_acceleration_scaling_factor)
    )
    planner, speed = BuiltinPlanner(), math.sqrt(acceleration)
    planner.robot = dataclasses.replace(panda(), velocity=panda().velocity * velocity / speed)
    return planner, speed


def _parts(message: Any) -> list[Any]:
    """A scene as diffs of one change each, in upstream's order: attached objects, matrix, objects."""

    def part() -> Any:
        made = type(message)(is_diff=True)
        made.robot_state.is_diff = True
        return made

    parts = []
    for attached in message.robot_state.attached_collision_objects:
        parts.append(part())
        parts[-1].robot_state.attached_collision_objects = [attached]
    if message.allowed_collision_matrix.entry_names:
        parts.append(part())
        parts[-1].allowed_collision_matrix = message.allowed_collision_matrix
    for each in message.world.collision_objects:
        parts.append(part())
        parts[-1].world.collision_objects = [each]
    return parts


def _without(matrix: AllowedCollisionMatrix, name: str) -> AllowedCollisionMatrix:
    """Without the row and column of an object."""
    if name not in matrix.entry_names:
        return matrix
    k = list(matrix.entry_names).index(name)
    return AllowedCollisionMatrix(
        entry_names=[each for each in matrix.entry_names if each != name],
        entry_values=[type(row)(enabled=[v for n, v in enumerate(row.enabled) if n != k])
                      for number, row in enumerate(matrix.entry_values) if number != k],
        default_entry_names=list(matrix.default_entry_names),
        default_entry_values=list(matrix.default_entry_values),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(lambda: MoveGroupDouble(args=sys.argv)))
