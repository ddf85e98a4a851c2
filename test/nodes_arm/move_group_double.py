# SPDX-License-Identifier: Apache-2.0
"""A test double of MoveIt's move_group for a Franka Panda, written from its source. Not a test.

moveit2, branch jazzy, commit 4d841063 (main, commit 8fcb5d23, and kilted do not differ in what is cited). Lines are of
moveit_ros/move_group/src/default_capabilities/: execute_trajectory_action_capability.cpp ("execute" below),
move_action_capability.cpp ("move"), apply_planning_scene_service_capability.cpp; of moveit_ros/move_group/src/
move_group_capability.cpp ("capability"), move_group.cpp, of moveit_core/planning_interface/src/planning_interface.cpp,
of moveit_ros/planning/planning_scene_monitor/src/planning_scene_monitor.cpp, of moveit_planners/
pilz_industrial_motion_planner/src/ ("pilz"), of moveit_planners/ompl/ompl_interface/src/planning_context_manager.cpp,
and as execution_double.py, scene_double.py and pilz_double.py say. The paths themselves are those of the built-in
planner.

Pipelines are those of its parameters, as move_group has them: `ompl` plans freely, whatever planner is named;
`pilz_industrial_motion_planner` plans LIN and PTP, and only where the pipeline validates its solutions it heeds the
world.

What is left out: plan_only false (and with it replanning and looking around), CIRC, path constraints, request
adapters, meshes. The octomap is kept and told, but nothing is planned around it.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from execution_double import PREEMPTED, SUCCEEDED, TIMED_OUT, ControllerHandle, ExecutionManager, RobotState
from geometry_msgs.msg import PoseStamped
from hardware_double import Spun, clients, forget
from moveit_msgs.action import ExecuteTrajectory, MoveGroup
from moveit_msgs.msg import MoveItErrorCodes
from moveit_msgs.srv import ApplyPlanningScene, GetPlanningScene, GetPositionFK, GetPositionIK
from octomap_msgs.msg import OctomapWithPose
from pilz_double import lin, ptp
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from robot_doubles import run
from scene_double import PlanningSceneDouble
from std_msgs.msg import String

from spatial_vlm_ros.errors import SpatialVlmError, UnreachableError
from spatial_vlm_ros.manipulation.builtin_planner.configurations import Inverse
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARM_JOINTS, panda
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest, PlannedTrajectory
from spatial_vlm_ros.manipulation.planning.moveit import number_of_error
from spatial_vlm_ros.manipulation.planning.planner import Trajectory
from spatial_vlm_ros.nodes.arm import arm_planner as arm_requests
from spatial_vlm_ros.nodes.arm.arm_planner import GROUPS
from spatial_vlm_ros.nodes.arm.motion_messages import matrix_of, pose_message, robot_trajectory
from spatial_vlm_ros.nodes.arm.planning_scene import ArmScene
from spatial_vlm_ros.nodes.goals import Jobs

Codes = MoveItErrorCodes
CONTROLLER = "/arm_controller/follow_joint_trajectory"
_FINGERS = ("panda_finger_joint1", "panda_finger_joint2")
SOLVER = 0.05  # s: kinematics_solver_timeout of the Panda's kinematics.yaml (moveit_resources)
_PADDING = 0.002  # m around boxes, for the built-in planner
OMPL, PILZ = "ompl", "pilz_industrial_motion_planner"
_VALIDATES = "default_planning_response_adapters/ValidateSolution"
PARAMETERS = {
    "planning_pipelines": [OMPL, PILZ],
    "default_planning_pipeline": OMPL,
    f"{OMPL}.planning_plugins": ["ompl_interface/OMPLPlanner"],
    f"{OMPL}.response_adapters": ["default_planning_response_adapters/AddTimeOptimalParameterization", _VALIDATES],
    f"{OMPL}.panda_arm.planner_configs": ["RRTConnect", "BiTRRT"],
    f"{PILZ}.planning_plugins": ["pilz_industrial_motion_planner/CommandPlanner"],
    f"{PILZ}.response_adapters": [_VALIDATES],
    **{
        f"robot_description_planning.joint_limits.{name}.{key}": value
        for name, speed, most in zip(ARM_JOINTS, panda().velocity, panda().acceleration, strict=True)
        for kind, limit in (("velocity", speed), ("acceleration", most))
        for key, value in ((f"has_{kind}_limits", True), (f"max_{kind}", float(limit)))
    },
    "robot_description_semantic": '<robot name="panda"><group name="panda_arm"/><group name="hand"/></robot>',
}
"""Of move_group, as moveit_configs_utils makes them (default_configs/), for a Panda."""


class MoveGroupDouble:
    """move_group: nodes, executors and threads as MoveIt has them; who holds `planning` keeps it planning."""

    def __init__(self, domain: int | None = None, controller: str = CONTROLLER, args: list[str] | None = None) -> None:
        self._spun = Spun(domain, args)
        context = self._spun.context
        # move_group.cpp:222-225: parameters that are not there are told as not set; without this, none would be told
        self.node = Node("move_group", context=context, allow_undeclared_parameters=True)
        controller = str(self.node.declare_parameter("controller", controller).value)
        for name, value in PARAMETERS.items():
            self.node.declare_parameter(name, value)
        # manager:164-183: the clients of controllers have a node with an executor of their own
        clients = Node("moveit_simple_controller_manager", context=context)
        # execute:70-74: so has the action, in a callback group; rclpy's executors take nodes
        actions = Node("move_group_execute_trajectory", context=context)
        # planning_scene_monitor.cpp:105-119, 245-248, 658-666, 1364: a private node with a thread of its own
        monitor = Node("move_group_private", context=context)
        self.state = RobotState(monitor, ARM_JOINTS)
        self.handle = ControllerHandle(clients, controller)
        self.execution = ExecutionManager(self.state, ARM_JOINTS, self.handle, self.node.get_logger().info)
        self.failures: list[int] = []
        self._links = panda().fixed_links()
        self.scene = PlanningSceneDouble()
        self._kinematics, self._solver, self._seed = BuiltinPlanner(), Inverse(panda()), 0
        self.straight = True  # false: some line passes a singularity, and LIN fails however slow it is
        self.requests: list[Any] = []
        self.planned, self.planning = 0, threading.Lock()
        self._preempted = False  # preempt_requested_: of whatever is planned
        self._plans: dict[bytes, Future] = {}
        self._jobs = Jobs(self.node)
        self.node.create_service(ApplyPlanningScene, "apply_planning_scene", self._on_apply)
        monitor.create_service(GetPlanningScene, "get_planning_scene", self._on_get)
        self.node.create_service(GetPositionIK, "compute_ik", self._on_ik)
        self.node.create_service(GetPositionFK, "compute_fk", self._on_fk)
        # manager:201-206: ServicesQoS: reliable, 10 deep; a group of its own, which is a thread here
        self._events = ThreadPoolExecutor(max_workers=1)
        self.node.create_subscription(String, "trajectory_execution_event", self._on_event, QoSProfile(depth=10))
        self._servers = [
            ActionServer(
                self.node, MoveGroup, "move_action", self._planned,
                handle_accepted_callback=self._plan_aside, cancel_callback=self._on_preempt,
            ),
            ActionServer(
                actions, ExecuteTrajectory, "execute_trajectory", self._execute,
                cancel_callback=lambda _: CancelResponse.ACCEPT,  # execute:82
            ),
        ]  # fmt: skip
        # They end in this order: first what tells that it lives; rclcpp ends all at once when its context is shut down.
        self._spun.spin(monitor)
        # move_group.cpp:314-329: upstream on several threads. rclpy's executor of several queues a callback again and
        # again until a thread takes it, and a stop event would wait behind that for seconds.
        self._spun.spin(self.node)
        self._spun.spin(clients)
        self._spun.spin(actions)

    def close(self) -> None:
        self._spun.close()
        self._events.shutdown()
        forget(self)

    @property
    def ready(self) -> bool:
        return self.handle.connected and set(ARM_JOINTS) <= set(self.state.positions)

    @property
    def clients(self) -> int:
        return clients(self.node, "/move_action", "/execute_trajectory")

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
        """move:205-232. Whatever a pipeline fails with, and one that is not there, is FAILURE, without a word."""
        try:
            self._plan_in(self._pipeline(goal.request.pipeline_id), goal, result)
            result.error_code.val = Codes.SUCCESS
            return
        except arm_requests.CodedError as error:
            number, words = error.number, str(error)
        except SpatialVlmError as error:
            number, words = number_of_error(error), str(error)
        self.failures.append(number)
        self.node.get_logger().error(f"Generating a plan with planning pipeline failed. ({number}: {words})")
        result.error_code.val = Codes.FAILURE

    def _parameter(self, name: str) -> Any:
        return self.node.get_parameter_or(name).value

    def _pipeline(self, name: str) -> str:
        """capability:223-246, move_group.cpp:247-287."""
        loaded, default = self._parameter("planning_pipelines"), self._parameter("default_planning_pipeline")
        name = name or (default if default in loaded else loaded[0])
        if name not in loaded:
            raise arm_requests.CodedError(Codes.FAILURE, f"Couldn't find requested planning pipeline '{name}'")
        return name

    def _plan_in(self, pipeline: str, goal: Any, result: Any) -> None:
        """What is told of the start goes over where the joints are; the scene's own is not changed.

        Each factor scales its own limit, once; what is not in (0, 1] counts as 1: moveit_core/trajectory_processing/
        src/time_optimal_trajectory_generation.cpp:939-990, 1290-1312.
        """
        name = goal.request.planner_id
        if pipeline == PILZ:
            _check_pilz(goal.request)
            goal.request.planner_id = name.replace("PTP", "")  # which arm_planner does not know
        self.requests.append((name, goal.request.max_velocity_scaling_factor))
        asked = arm_requests.understood(goal, self._links)
        if goal.request.allowed_planning_time <= 0:  # planning_interface.cpp:92-97
            asked = dataclasses.replace(asked, time_limit=1.0)
        if pipeline != PILZ:  # planning_context_manager.cpp:505-526: a planner that is not known is the default
            asked = dataclasses.replace(asked, straight=False)
        state = goal.request.start_state
        joints = {**self.state.positions, **dict(zip(state.joint_state.name, state.joint_state.position, strict=False))}
        start = np.array([joints[name] for name in ARM_JOINTS], np.float64)
        opening = min(max(sum(float(joints.get(name, 0.04)) for name in _FINGERS), 0.0), 0.08)
        planner = BuiltinPlanner()
        scene = self._arm_scene(goal.planning_options.planning_scene_diff, state, planner.tip(start))
        validates = _VALIDATES in self._parameter(f"{pipeline}.response_adapters")
        self._seed += 1
        request = MotionRequest(
            start,
            [scene.segment(asked.goal, asked.straight, opening)],
            scene.boxes(_PADDING) if validates or pipeline != PILZ else [],
            seed=self._seed,
            time_limit=asked.time_limit,
            velocity_scaling=asked.velocity_scaling,
            acceleration_scaling=asked.acceleration_scaling,
            stands_on=scene.stands_on(),
        )
        only = self._trajectory(planner, request, pipeline, name)
        arm_requests.check_end(asked, planner.tip(only.positions[-1]))
        rows = [tuple(map(tuple, each.tolist())) for each in (only.positions, only.velocities, only.accelerations)]
        result.planned_trajectory = robot_trajectory(Trajectory(only.names, tuple(only.times.tolist()), *rows))
        result.trajectory_start.joint_state.name = list(ARM_JOINTS)
        result.trajectory_start.joint_state.position = start.tolist()

    def _trajectory(
        self, planner: BuiltinPlanner, request: MotionRequest, pipeline: str, name: str
    ) -> PlannedTrajectory:
        """OMPL samples goals until its time is over where none can be reached (planning_context_manager.cpp:258-260),
        and AddTimeOptimalParameterization accelerates up to 1.4 times as much as is asked for (moveit2 #3779)."""
        if pipeline == PILZ:
            if name == "LIN" and not self.straight:
                raise arm_requests.CodedError(Codes.NO_IK_SOLUTION, "Failed to compute inverse kinematics solution")
            return lin(planner, request) if name == "LIN" else ptp(planner, request)
        harder = min(1.0, 1.3 * request.acceleration_scaling)
        try:
            return planner.plan(dataclasses.replace(request, acceleration_scaling=harder)).trajectories[0]
        except UnreachableError:
            threading.Event().wait(request.time_limit)
            raise

    def _on_ik(self, request: Any, response: Any) -> Any:
        """kinematics_service_capability.cpp:82-200. Of the timeout only whole seconds count (:113), and for 0 the
        solver's own (robot_state.cpp:2011); it begins at the given state and goes on at random ones."""
        ask, robot = request.ik_request, self._solver.robot
        if ask.group_name not in GROUPS or ask.ik_link_name not in self._links:
            response.error_code.val = Codes.INVALID_GROUP_NAME
            return response
        ends = time.monotonic() + (ask.timeout.sec or SOLVER)
        now = self.state.positions | dict(zip(ask.robot_state.joint_state.name, ask.robot_state.joint_state.position,
                                              strict=True))  # fmt: skip
        near, goal = (
            np.array([now[n] for n in ARM_JOINTS]),
            matrix_of(ask.pose_stamped.pose) @ self._links[ask.ik_link_name],
        )
        draw = np.random.default_rng(0)
        while not (reached := self._solver.reach(goal, near)).there and time.monotonic() < ends:
            near = draw.uniform(robot.lower, robot.upper)
        response.error_code.val = Codes.SUCCESS if reached.there else Codes.NO_IK_SOLUTION
        response.solution.joint_state.name = list(ARM_JOINTS)
        response.solution.joint_state.position = reached.joints.tolist()
        return response

    def _on_fk(self, request: Any, response: Any) -> Any:
        """kinematics_service_capability.cpp:202-253."""
        state = request.robot_state.joint_state
        joints = self.state.positions | dict(zip(state.name, state.position, strict=True))
        tip = self._solver.tip(np.array([joints[name] for name in ARM_JOINTS]))
        for name in request.fk_link_names:
            response.pose_stamped.append(PoseStamped(pose=pose_message(tip @ np.linalg.inv(self._links[name]))))
        response.error_code.val = Codes.SUCCESS
        return response

    def _place(self) -> PlanningSceneDouble:
        """The scene, with its links where the joints are now."""
        now = dict(self.state.positions)
        tip = self._kinematics.tip(np.array([now.get(name, 0.0) for name in ARM_JOINTS]))
        self.scene.poses = {name: tip @ np.linalg.inv(link_T_tip) for name, link_T_tip in self._links.items()}
        self.scene.joints = now
        return self.scene

    def _arm_scene(self, difference: Any, state: Any, tip: Any) -> ArmScene:
        """The scene of one request, for the built-in planner: move:216-217. A state that is whole takes off what is
        attached, unless it names it (conversions.cpp:387-394)."""
        scene = self._place().copy()
        scene.apply(difference)
        if not state.is_diff and state.joint_state.name:
            scene.attached.clear()
            for each in state.attached_collision_objects:
                scene.attach(each)
        whole = scene.tell()
        whole.world.octomap = OctomapWithPose()
        return ArmScene(self._links).changed(whole, tip)

    def _on_apply(self, request: Any, response: Any) -> Any:
        """apply_planning_scene_service_capability.cpp:64-77."""
        response.success = self._place().apply(request.scene)
        for words in self.scene.said:
            self.node.get_logger().error(words)
        self.scene.said.clear()
        return response

    def _on_get(self, request: Any, response: Any) -> Any:
        """planning_scene_monitor.cpp:668-680."""
        response.scene = self._place().tell(request.components.components)
        return response


def _check_pilz(request: Any) -> None:
    """pilz/pilz_industrial_motion_planner.cpp:165-203, pilz/trajectory_generator.cpp:89-109, 247-255.

    Both factors have to lie in (0.0001, 1].
    """
    if request.planner_id not in ("LIN", "PTP"):
        raise arm_requests.CodedError(Codes.PLANNING_FAILED, f"No ContextLoader for planner_id '{request.planner_id}'")
    for factor in (request.max_velocity_scaling_factor, request.max_acceleration_scaling_factor):
        if not 0.0001 < factor <= 1.0:
            raise arm_requests.CodedError(Codes.INVALID_MOTION_PLAN, f"Scaling not in range: {factor}")


if __name__ == "__main__":
    sys.exit(run(lambda: MoveGroupDouble(args=sys.argv)))
