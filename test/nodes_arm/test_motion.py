# SPDX-License-Identifier: Apache-2.0
"""The client against `arm_planner` in a process of its own, and controllers that record what they are told."""

import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import arm_graph
import pytest
import rclpy
from arm_graph import BLOCK, CUP, HOME, JOINTS, ApprovedClient, ArmGraph, Aside, discovered, goals, planned, scene
from live_domain import free_domain
from live_process import Started
from moveit_msgs.action import MoveGroup
from moveit_msgs.srv import GetPlanningScene
from planning_scenes import box, config
from rclpy.action import ActionServer, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import JointState
from tables import rows
from waiting import until

from spatial_vlm_ros import errors
from spatial_vlm_ros.manipulation.approval.execution_guard import ExecutionGuard
from spatial_vlm_ros.manipulation.held import HeldObject, held_goal
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PlaceGoal
from spatial_vlm_ros.manipulation.planning.gripper import pose_matrix
from spatial_vlm_ros.manipulation.planning.leaving import leaving
from spatial_vlm_ros.manipulation.planning.moveit import OWN
from spatial_vlm_ros.manipulation.planning.planner import PICK, PLACE, MotionPlan, is_plan_of
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.standstill import Standstill
from spatial_vlm_ros.nodes.arm.motion_client import MotionClient
from spatial_vlm_ros.nodes.arm.motion_messages import robot_trajectory
from spatial_vlm_ros.nodes.calls import Bridge
from spatial_vlm_ros.nodes.liveliness import Alive
from spatial_vlm_ros.nodes.messages import message_class

PHASES = (*PICK, *PLACE)
EMPTY: tuple[set[str], set[str]] = (set(), set())
HOLDING = (set(), {"block"})
TAKEN = ["gripper", "arm", "arm", "gripper", "arm"]


class Served(ArmGraph):
    """Controllers, a planner and a client of both; `more` are clients of one test."""

    def __init__(self, domain: int, log: Path, *words: str, **parameters: Any) -> None:
        super().__init__(domain)
        given = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        command = ("-m", "spatial_vlm_ros.nodes", "arm_planner", "--ros-args", *given, *words)
        self.planner = Started(command, log, {"ROS_DOMAIN_ID": str(domain)})
        discovered(lambda: "arm_planner plans for a Panda" in self.planner.output, "the planner is ready")
        if not words:
            until(lambda: self.controllers.heard, "the planner hears the joint states")
        if "controller" not in parameters:
            self.knows("/arm_controller/follow_joint_trajectory")
        self.usual = self.client()
        self.more: list[ApprovedClient] = []

    def another(self, **motion: Any) -> ApprovedClient:
        self.more.append(self.client(**motion))
        return self.more[-1]

    def plan(self, around: PlanningScene, put: bool = False) -> MotionPlan:
        """From where the arm is: what is heard of it may still be of the last test."""
        return planned(self.usual, around, put, start=dict(self.controllers.joints))

    def seen(self) -> tuple[set[str], set[str]]:
        """Ids of what is in the planner's scene, without the beginning of ours, and of what is held there."""
        response = self.usual._get.call(GetPlanningScene.Request(), 30.0)
        held = {each.object.id.removeprefix(OWN) for each in response.scene.robot_state.attached_collision_objects}
        return {each.id.removeprefix(OWN) for each in response.scene.world.collision_objects}, held

    def shut_in(self, client: MotionClient, cancelled: Callable[[], bool] = lambda: False) -> Aside:
        """A plan for which the planner searches to the end of its time; it has begun to."""
        pick, _ = goals(scene(), client.config)
        around, before = scene(*arm_graph.chest(pick)), self.searches()
        call = Aside(lambda: client.plan(pick, around, cancelled=cancelled))
        until(lambda: self.searches() > before, "it plans")
        return call

    def searches(self) -> int:
        return self.planner.output.count("planning a free motion")

    def close(self) -> None:
        planner = self.planner
        super().close()
        if planner.process.poll() is None:  # killed within its shared memory, it may leave a lock that others wait for
            planner.process.terminate()
            planner.ends()
        print(planner.output)  # noqa: T201
        planner.close()


@contextmanager
def serving(log: Path, *words: str, **parameters: Any) -> Iterator[Served]:
    with free_domain() as domain:
        made = Served(domain, log, *words, **parameters)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("planner") / "log.txt") as made:
        yield made


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A planner with more distance than the fingers keep to the object, and a controller that is not there."""
    given = {"padding": 0.006, "controller": "/other/follow_joint_trajectory", "controller_timeout": 0.3}
    with serving(tmp_path_factory.mktemp("planner") / "log.txt", **given) as made:
        yield made


@pytest.fixture
def arm(served: Served) -> Iterator[Served]:
    served.controllers.reset()
    served.usual.clear()
    yield served
    for client in served.more:
        served.leave(client.node)
    served.more.clear()


def test_an_object_is_taken_and_put_down_as_planned(arm: Served) -> None:
    client, around, controllers = arm.usual, scene(CUP), arm.controllers
    plan = arm.plan(around, put=True)
    assert [step.phase for step in plan.steps] == [*PICK, *PLACE]
    assert is_plan_of(plan, goals(around, client.config)[0], around)
    assert plan.trajectories[0].positions[0] == pytest.approx(HOME, abs=1e-3)
    assert controllers.order == []  # nothing has moved
    assert arm.seen() == ({"support", "cup", "block"}, set())
    client.execute(plan)
    assert controllers.order == [*TAKEN, "arm", "arm", "gripper", "arm"]
    assert controllers.trajectories == [robot_trajectory(each).joint_trajectory for each in plan.trajectories]
    widths = [step.width for step in plan.steps if step.width is not None]
    assert controllers.widths == pytest.approx(widths)
    assert widths[1] == pytest.approx(0.0)  # the block is 4 cm wide, and squeezed by 4
    assert arm.seen() == EMPTY
    end = dict(zip(JOINTS, plan.trajectories[-1].positions[-1], strict=True))
    assert {name: controllers.joints[name] for name in JOINTS} == pytest.approx(end)


def test_an_object_is_taken_and_held_though_it_is_narrower_between_the_fingers(arm: Served) -> None:
    plan = arm.plan(scene())
    assert [step.phase for step in plan.steps] == list(PICK)
    assert (plan.place, plan.placement) == (None, None)
    arm.controllers.obj = 0.02  # at the height of the pads, of a round one; its outline from above is 4 cm wide
    arm.usual.execute(plan)
    assert arm.controllers.order == TAKEN
    assert arm.seen() == HOLDING
    assert arm.usual.holds, "until the next plan"
    arm.plan(scene())
    assert not arm.usual.holds


def test_no_step_begins_while_the_resolver_may_be_dead(arm: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, moved = arm.plan(scene()), []

    def waits() -> bool:
        moved.append(len(arm.controllers.order))
        return len(moved) < 20

    monkeypatch.setattr(arm.usual, "_waits", waits)
    arm.usual.execute(plan)
    assert moved[:20] == [0] * 20
    assert arm.controllers.order == TAKEN
    plan, arm.controllers.obj = arm.plan(scene()), 0.0
    asked = len(moved)
    with pytest.raises(errors.NothingHeldError):
        arm.usual.execute(plan)
    assert len(moved) - asked >= 4 + len(plan.way_back), "each step of the way back waits, too"


def test_it_plans_from_where_it_is_told_and_shows_the_scene_of_the_last_plan(arm: Served) -> None:
    arm.plan(scene(CUP))
    start = dict(zip(JOINTS, (0.3, *HOME[1:]), strict=True))
    plan = planned(arm.usual, scene(), put=False, start=start)
    assert plan.trajectories[0].positions[0] == pytest.approx(tuple(start.values()), abs=1e-6)
    assert arm.seen()[0] == {"support", "block"}
    arm.usual.clear()
    assert arm.seen() == EMPTY


@pytest.mark.parametrize(
    ("wider", "phases"),
    [(0.02, ["close", "lift", *PLACE]), (0.006, ["open", "leave", *PICK]),
     pytest.param(0.0, ["lift", *PLACE], marks=pytest.mark.slow)],
)  # fmt: skip
def test_what_was_stopped_in_contact_leaves_it_first(arm: Served, wider: float, phases: list[str]) -> None:
    client, controllers, around = arm.usual, arm.controllers, scene(CUP)
    goal, place = goals(around, client.config)
    (grasp, *_), held = goal.grasps, "open" not in phases
    plan = client.plan(dataclasses.replace(goal, grasps=(grasp,)), around, place, dict(controllers.joints))
    hand, width = pose_matrix(grasp.grasp), grasp.width + wider
    controllers.joints |= plan.trajectories[2].start | dict.fromkeys(arm_graph.FINGERS, width / 2)
    if held:
        around, goal = held_goal(around, HeldObject("block", BLOCK.solid, grasp).at(hand), "place", False, None)
    around, goal = leaving(around, goal, hand, width, client.config)
    plan = client.plan(goal, around, place if held else None, dict(controllers.joints))
    assert [step.phase for step in plan.steps] == phases
    client.execute(plan)
    assert (client.grip, len(controllers.order)) == ("empty" if held else "holds", len(phases))


def test_a_plan_of_another_client_is_not_executed(arm: Served) -> None:
    other = box("block", 0.5, 0.11, (0.06, 0.04, 0.08))  # else this client may have made the same plan
    plan = planned(arm.another(), scene(CUP, target=other), put=False, start=dict(arm.controllers.joints))
    with pytest.raises(errors.RejectedError, match=r"the scene that it was planned in is not known\. Plan it again"):
        arm.usual.execute(plan)
    assert arm.controllers.order == []


def test_what_a_client_that_was_killed_left_in_the_hand_hinders_nobody(arm: Served) -> None:
    killed = arm.another()
    planned(killed, scene(), put=False, start=dict(arm.controllers.joints))
    killed._scene.hold("block")  # and nothing after that
    assert arm.seen()[1] == {"block"}
    plan = arm.plan(scene())
    assert arm.seen() == ({"support", "block"}, set())
    arm.usual.execute(plan)
    assert arm.seen() == HOLDING


def test_a_grasp_without_placements_is_passed_over(arm: Served) -> None:
    client, around = arm.usual, scene()
    pick, place = goals(around, client.config)
    first, second = pick.grasps[0], next(g for g in pick.grasps if g.grasp != pick.grasps[0].grasp)
    asked: list[Grasp] = []

    def placements(grasp: Grasp) -> PlaceGoal:
        asked.append(grasp)
        if grasp == second:
            raise errors.GoalError("put it down", [("blocked", "something stands there")], "clear it")
        return place

    turned = dataclasses.replace(pick, grasps=(second, first))
    for given in (placements, place):  # a goal for one grasp alone is not used for another
        plan = client.plan(turned, around, given)
        assert (plan.grasp, plan.place) == (1, place)
    assert asked == [second, first]
    for words, given in (("the placements belong to another grasp", place), ("something stands there", placements)):
        with pytest.raises(errors.GoalError, match=words):
            client.plan(dataclasses.replace(pick, grasps=(second,)), around, given)


def test_joint_states_are_listened_to_beside_many_threads(arm: Served) -> None:
    """rclpy ends a multi-threaded executor that finds an event handler destroyed which it has just listed."""
    arm.more.append(arm.client(threads=3))
    beside = arm.more[-1]._beside
    node, bridge = beside._node, beside._bridge
    for index in range(300):  # they make listing take long
        node.create_subscription(JointState, f"unused_{index}", lambda _: None, 1)
    node.create_timer(0.001, lambda: None, callback_group=ReentrantCallbackGroup())
    left = [partial(beside._listen, Standstill(JOINTS)), beside._forget] * 50

    def one() -> None:
        left.pop(0)()
        if left:
            bridge.put(one)

    bridge.put(one)
    until(lambda: not left, "the executor has listened and forgotten again and again")


def test_missing_packages_are_named_with_their_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("moveit_msgs", "control_msgs", "shape_msgs"):
        with monkeypatch.context() as without:
            message_class.cache_clear()
            without.setitem(sys.modules, f"{package}.msg", None)
            with pytest.raises(errors.DependencyError, match=rf"'{package}' is not installed.*scripts/setup.sh ros"):
                MotionClient(None, config(), ExecutionGuard())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("motion", "error", "words"),
    [
        ({"planning_frame": "world"}, errors.InputError,
         r"frame of the goal: 'panda_link0'. Expected motion.planning_frame"),
        ({"tip_link": "tool0"}, errors.InputError, "INVALID_LINK_NAME.*panda_hand_tcp"),
        ({"apply_scene": "/nowhere", "server_timeout": 0.3}, errors.PlannerUnavailableError,
         r"/nowhere.*it was not available within 0\.3 s.*arm_planner"),
    ],
    ids=["frame", "tip", "absent"],
)  # fmt: skip
def test_names_that_the_planner_does_not_know_are_told(
    arm: Served, motion: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Others are refused in test_planner_messages.py, whose numbers become errors in test_motion_requests.py."""
    with pytest.raises(error, match=words):
        planned(arm.another(**motion), scene(), put=False)


def test_planning_is_cancelled_and_the_planner_is_free_again(arm: Served) -> None:
    client, withdrawn = arm.another(planning_time=300.0), threading.Event()
    call = arm.shut_in(client, withdrawn.is_set)
    withdrawn.set()
    assert isinstance(call.ended().error, errors.CancelledError)
    assert arm.seen() == EMPTY
    call = arm.shut_in(client)
    with pytest.raises(errors.BusyError):
        planned(client, scene())
    client.stop()
    assert isinstance(call.ended().error, errors.CancelledError)
    assert planned(client, scene(), put=False).grasp == 0


def test_what_cannot_be_planned_is_told_with_what_stands_in_the_way(arm: Served) -> None:
    hasty = arm.another(planning_time=0.2, attempts=1)
    error = arm.shut_in(hasty).ended().error
    with pytest.raises(errors.PlanningFailedError, match=r"(grasp \d|\d+ ways): reach: .*no path in 0\.2 s"):
        raise error or AssertionError("a plan was found")
    assert arm.seen() == EMPTY
    buried, before = box("vase", 0.0, 0.0, (0.06, 0.06, 0.1)), arm.planner.output.count("planning a ")
    with pytest.raises(errors.PlanningFailedError, match=r"the arm's base is 0\.\d\d m inside an obstacle \(vase\)"):
        arm.plan(scene(buried))
    assert arm.planner.output.count("planning a ") == before + 1  # no other grasp helps
    around, solid = scene(), Solid((0.0, 0.0, -0.02), 0.0, (0.3, 0.3, 0.12))
    stand = dataclasses.replace(around.support[0], id="stand", solid=solid)
    standing = dataclasses.replace(around, support=(*around.support, stand))
    assert arm.plan(standing).grasp == 0, "the support may be there"
    far = dataclasses.replace(BLOCK, solid=dataclasses.replace(BLOCK.solid, centre=(0.95, 0.1, 0.04)))
    pick, _ = goals(scene(target=far), arm.usual.config)
    few = dataclasses.replace(pick, grasps=tuple(grasp for grasp in pick.grasps if grasp.way == "top_down"))
    with pytest.raises(errors.GoalError, match="the arm cannot reach the pose") as refusal:
        arm.usual.plan(few, scene(target=far))
    assert refusal.value.status_name == "UNREACHABLE"


def test_the_object_may_be_touched_only_where_the_scene_allows_it(other: Served) -> None:
    client, around = other.usual, scene()
    for phase, words in (("grasp", r"approach: .*line is blocked.*\(block\)"), ("lift", r"lift: .*\(support\)")):
        fewer = tuple(contact for contact in around.allowed if contact.phase != phase)
        with pytest.raises(errors.PlanningFailedError, match=words):
            planned(client, dataclasses.replace(around, allowed=fewer), put=False)
    assert planned(client, around, put=False).grasp == 0


class TakesNothing(Node):
    """Rejects every request for a plan, as `arm_planner` does while it ends."""

    def __init__(self, context: Context) -> None:
        super().__init__("takes_nothing", context=context)
        self._server = ActionServer(
            self, MoveGroup, "move_action", lambda _: MoveGroup.Result(), goal_callback=lambda _: GoalResponse.REJECT
        )


def test_a_planner_that_takes_no_request_or_hears_no_joint_states_is_told(tmp_path: Path) -> None:
    with serving(tmp_path / "log.txt", "-r", "move_action:=elsewhere", "-r", "joint_states:=nowhere") as arm:
        arm.spin(TakesNothing)
        with pytest.raises(
            errors.PlannerUnavailableError, match=r"/move_action': it rejects the request.*may be shutting down"
        ):
            planned(arm.usual, scene())
        with pytest.raises(Exception, match="/nowhere has had no state of panda_joint1 for 1 s") as refusal:
            planned(arm.client(move_action="/elsewhere"), scene())
        assert refusal.value.status_name == "STALE_INPUT"  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_planner_that_ends_while_it_plans_ends_cleanly_and_is_missed(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path / "log.txt") as arm:
        call = arm.shut_in(arm.client(planning_time=300.0, answer_timeout=5.0, stop_timeout=2.0))
        arm.planner.process.send_signal(number)
        assert arm.planner.ends() == 0
        assert "Traceback" not in arm.planner.output
        error = call.ended().error
        assert isinstance(error, errors.PlannerUnavailableError), error
        assert "/move_action" in str(error)


@pytest.mark.parametrize(("number", "why"), [(signal.SIGKILL, "has ended"), (signal.SIGSTOP, "is suspended")])
def test_a_planner_that_dies_while_it_plans_is_not_waited_for(tmp_path: Path, number: signal.Signals, why: str) -> None:
    with serving(tmp_path / "log.txt") as arm:
        call = arm.shut_in(arm.client(planning_time=300.0, answer_timeout=300.0))
        arm.planner.process.send_signal(number)
        error = call.ended().error
        arm.planner.process.kill()
        assert isinstance(error, errors.PlannerUnavailableError), error
        assert why in str(error)


def test_the_planner_stops_the_arm_when_the_gate_that_commands_it_is_lost(arm: Served) -> None:
    """With its watchdog, as when the network to it is gone."""
    marks: list[Alive] = []

    def gate(context: Context) -> Node:
        node = rclpy.create_node("gate_double", context=context)
        marks.append(Alive(node, "/execute_trajectory/gate"))
        return node

    node = arm.spin(gate)
    plan = arm.plan(scene())
    until(lambda: node.count_subscribers("/execute_trajectory/gate"), "the planner hears it")
    arm.controllers.hold = {1}
    call = Aside(lambda: arm.usual.execute(plan))
    until(lambda: "arm" in arm.controllers.running, "the arm moves")
    Bridge(node).put(marks[0].end)
    assert "PREEMPTED" in str(call.ended().error)
    assert arm.controllers.cancelled == ["arm"]
    assert "the gate has ended: the arm is stopped" in arm.planner.output


SETUP, INSTALL = "scripts/setup.sh ros arm", "pip install pin coal"
ALSO = pytest.param("control_msgs", SETUP, marks=pytest.mark.slow)
LACKING = [("moveit_msgs", SETUP), ALSO, ("pinocchio", INSTALL)]


@pytest.mark.parametrize(("package", "repair"), LACKING)
def test_a_package_that_the_planner_lacks_is_named(start: Any, domain: int, package: str, repair: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from spatial_vlm_ros.nodes import __main__ as nodes; "
    process = start("-c", f"{code}sys.exit(nodes.run(['arm_planner']))", ROS_DOMAIN_ID=str(domain))
    assert process.ends() == 1
    (line,) = process.output.strip().splitlines()
    assert (package in line, repair in line) == (True, True), line


FAULTS = [
    pytest.param(*row, id=name, marks=[pytest.mark.slow] if slow else [])
    for name, slow, *row in rows(__file__, "controller_faults")
]


@pytest.mark.parametrize(("fault", "words", "number"), FAULTS)
def test_a_fault_of_controllers_ends_the_execution(arm: Served, fault: dict[str, Any], words: str, number: int) -> None:
    plan = arm.plan(scene(CUP))
    if "turned" in fault:
        arm.controllers.joints[JOINTS[0]] = fault["turned"]
    vars(arm.controllers).update({name: set(v) if isinstance(v, list) else v for name, v in fault.items()})
    with pytest.raises(errors.ExecutionFailedError, match=words) as failure:
        arm.usual.execute(plan)
    assert f"phase {failure.value.phase!r}" in str(failure.value)
    assert (failure.value.number, failure.value.status_name) == (-4, "EXECUTION_FAILED") or "fail" not in fault
    assert len(arm.controllers.order) == number
    phase = failure.value.phase
    assert arm.seen() == (EMPTY if phase in ("open", "reach", "approach", "close") else HOLDING)
    may_hold = phase not in ("open", "reach", "approach") and "obj" not in fault
    assert arm.usual.holds == may_hold, "fingers that began to close may hold it"


def test_a_controller_that_is_not_there_is_named(other: Served) -> None:
    plan = planned(other.usual, scene(), put=False)
    with pytest.raises(
        errors.ExecutionFailedError, match=r"phase 'reach': .*/other/follow_joint_trajectory.*not available"
    ):
        other.usual.execute(plan)


def test_execution_without_a_gripper_moves_nothing(arm: Served) -> None:
    client = arm.another(gripper_action="/hand", server_timeout=30.0)
    plan = planned(client, scene(), put=False)
    object.__setattr__(client.config.motion, "server_timeout", 0.3)
    with pytest.raises(errors.PlannerUnavailableError, match=r"/hand.*gripper driver"):
        client.execute(plan)
    assert arm.controllers.order == []


def test_a_stop_before_the_fingers_stand_is_told_as_a_stop(arm: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = arm.plan(scene())

    def stopped(*_: object) -> float:
        arm.usual.stop()
        return 0.01  # where the fingers were then

    monkeypatch.setattr(arm.usual._beside, "await_fingers", stopped)
    with pytest.raises(errors.CancelledError, match="stopped in phase 'open'"):
        arm.usual.execute(plan)
    assert not arm.usual.holds


@pytest.mark.parametrize(
    "phase", [p if p in ("reach", "close") else pytest.param(p, marks=pytest.mark.slow) for p in PHASES]
)
def test_stopping_in_any_phase_cancels_what_runs_and_nothing_follows(arm: Served, phase: str) -> None:
    controllers, number, withdrawn = arm.controllers, PHASES.index(phase), threading.Event()  # type: ignore[arg-type]
    plan = arm.plan(scene(CUP), put=True)
    controllers.hold = {number}
    call = Aside(lambda: arm.usual.execute(plan, withdrawn.is_set))
    until(lambda: controllers.running or call.error, f"phase {phase} runs")
    assert call.error is None
    if number % 2:
        arm.usual.stop()
    else:
        withdrawn.set()
    assert isinstance(call.ended().error, errors.CancelledError), call.error
    assert f"phase {phase!r}" in str(call.error)
    assert (controllers.running, len(controllers.order)) == ([], number + 1)
    assert controllers.cancelled == controllers.order[-1:]
    assert arm.seen() == (HOLDING if phase in ("lift", "carry", "lower") else EMPTY)


@pytest.mark.parametrize("phase", [pytest.param("open", marks=pytest.mark.slow), "reach"])
def test_a_controller_that_does_not_stop_is_no_cancelled_execution(arm: Served, phase: str) -> None:
    client, controllers = arm.another(stop_timeout=2.0), arm.controllers
    number = PHASES.index(phase)  # type: ignore[arg-type]
    plan = planned(client, scene(), put=False, start=dict(controllers.joints))
    controllers.hold, controllers.deaf = {number}, True
    call = Aside(lambda: client.execute(plan))
    until(lambda: controllers.running or call.error, "it moves")
    client.stop()
    error = call.ended().error
    controllers.lets_go = True
    until(lambda: not controllers.running, "it has ended all the same")
    assert isinstance(error, errors.ExecutionFailedError), error
    assert (error.phase, len(controllers.order)) == (phase, number + 1)
    assert "after it was cancelled" in str(error)
