# SPDX-License-Identifier: Apache-2.0
"""What goes wrong between client, planner and controllers, and how it ends: typed, still, and with a clean scene."""

from __future__ import annotations

import dataclasses
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from arm_graph import BLOCK, CUP, ArmGraph, Aside, chest, goals, scene
from live_process import Started
from moveit_msgs.action import MoveGroup
from planning_scenes import box, config
from rclpy.action import ActionServer, GoalResponse
from rclpy.context import Context
from rclpy.node import Node
from test_motion_client import planned, world_of

from spatial_vlm_ros.errors import (
    BusyError,
    CancelledError,
    DependencyError,
    ExecutionFailedError,
    GoalError,
    InputError,
    PlannerUnavailableError,
    PlanningFailedError,
)
from spatial_vlm_ros.manipulation.approval.execution_guard import ExecutionGuard
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PlaceGoal
from spatial_vlm_ros.manipulation.planning.planner import PICK, PLACE
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.nodes.arm.motion_client import MotionClient

# A server that has not discovered its client yet drops a reply and warns; the client is made for that.
pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")

Start = Callable[..., Started]
PHASES = (*PICK, *PLACE)


class TakesNothing(Node):
    """Rejects every request for a plan, as `arm_planner` does while it ends."""

    def __init__(self, context: Context) -> None:
        super().__init__("takes_nothing", context=context)
        self._server = ActionServer(
            self, MoveGroup, "move_action", lambda _: MoveGroup.Result(), goal_callback=lambda _: GoalResponse.REJECT
        )


def shut_in(client: MotionClient, cancelled: Callable[[], bool] = lambda: False) -> Any:
    """A plan for which the planner searches to the end of its time."""
    pick, _ = goals(scene(), client.config)
    around = dataclasses.replace(scene(), neighbours=chest(pick))
    return client.plan(pick, around, cancelled=cancelled)


# ------------------------------------------------------------------------------------------------ planning


def test_an_absent_planner_is_named_with_how_to_start_it(arm: ArmGraph) -> None:
    client = arm.client(server_timeout=0.3)
    with pytest.raises(
        PlannerUnavailableError, match=r"/apply_planning_scene.*it was not available within 0\.3 s.*arm_planner"
    ):
        planned(client, scene())


def test_missing_packages_are_named_with_their_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("moveit_msgs", "control_msgs", "shape_msgs"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, f"{package}.msg", None)
            with pytest.raises(DependencyError, match=rf"'{package}' is not installed.*scripts/setup.sh ros"):
                MotionClient(None, config(), ExecutionGuard())  # type: ignore[arg-type]


def test_a_planner_that_dies_while_it_plans_is_unavailable(arm: ArmGraph, planner: Start) -> None:
    process = planner()
    client = arm.client(planning_time=15.0, answer_timeout=5.0, stop_timeout=2.0)
    call = Aside(lambda: shut_in(client))
    process.says("planning a free motion")
    process.process.terminate()
    call.ended()
    assert isinstance(call.error, PlannerUnavailableError), call.error
    assert "/move_action" in str(call.error)


def test_a_planner_that_takes_no_request_is_unavailable(arm: ArmGraph, node: Start) -> None:
    node("arm_planner", "-r", "move_action:=elsewhere")
    arm.spin(TakesNothing)
    with pytest.raises(PlannerUnavailableError, match=r"/move_action': it rejects the request.*may be shutting down"):
        planned(arm.client(), scene())


def test_planning_is_cancelled_and_the_planner_is_free_again(arm: ArmGraph, planner: Start) -> None:
    process, client, withdrawn = planner(), arm.client(planning_time=300.0), threading.Event()
    call = Aside(lambda: shut_in(client, withdrawn.is_set))
    process.says("planning a free motion")
    withdrawn.set()
    assert isinstance(call.ended().error, CancelledError)
    assert world_of(client) == (set(), set())
    call = Aside(lambda: shut_in(client))
    arm.until(lambda: process.output.count("planning a free motion") == 2, "it plans again")
    with pytest.raises(BusyError):
        planned(client, scene())
    client.stop()
    assert isinstance(call.ended().error, CancelledError)
    assert planned(client, scene(), put=False).grasp == 0


def test_no_way_is_told_with_what_stands_in_it(arm: ArmGraph, planner: Start) -> None:
    planner()
    client = arm.client(planning_time=0.2, attempts=1)
    with pytest.raises(PlanningFailedError, match=r"(grasp \d|\d+ ways): reach: .*no path in 0\.2 s"):
        shut_in(client)
    assert world_of(client) == (set(), set())


def test_an_object_in_the_base_of_the_arm_ends_it_at_once_and_the_support_may_be_there(
    arm: ArmGraph, planner: Start
) -> None:
    running = planner()
    client = arm.client(attempts=3)
    buried = box("vase", 0.0, 0.0, (0.06, 0.06, 0.1))
    with pytest.raises(PlanningFailedError, match=r"the arm's base is 0\.\d\d m inside an obstacle \(vase\)"):
        planned(client, scene(buried), put=False)
    assert running.output.count("planning a ") == 1  # no other grasp helps
    around = scene()
    solid = Solid((0.0, 0.0, -0.02), 0.0, (0.3, 0.3, 0.12))
    stand = dataclasses.replace(around.support[0], id="stand", solid=solid)
    mounted = dataclasses.replace(around, support=(*around.support, stand))
    assert planned(client, mounted, put=False).grasp == 0


def test_the_object_may_be_touched_only_where_the_scene_allows_it(arm: ArmGraph, planner: Start) -> None:
    planner(padding=0.006)  # more than the fingers are clear of the object: without leave they may not reach for it
    client, around = arm.client(attempts=1), scene()
    for phase, words in (("grasp", r"approach: .*line is blocked.*\(block\)"), ("lift", r"lift: .*\(support\)")):
        fewer = tuple(contact for contact in around.allowed if contact.phase != phase)
        with pytest.raises(PlanningFailedError, match=words):
            planned(client, dataclasses.replace(around, allowed=fewer), put=False)
    assert planned(client, around, put=False).grasp == 0


def test_what_cannot_be_reached_is_unreachable(arm: ArmGraph, planner: Start) -> None:
    planner()
    client = arm.client()
    far = dataclasses.replace(BLOCK, solid=dataclasses.replace(BLOCK.solid, centre=(0.95, 0.1, 0.04)))
    pick, _ = goals(scene(target=far), client.config)
    few = dataclasses.replace(pick, grasps=tuple(grasp for grasp in pick.grasps if grasp.way == "top_down"))
    with pytest.raises(GoalError, match="the arm cannot reach the pose") as refusal:
        client.plan(few, scene(target=far))
    assert refusal.value.status_name == "UNREACHABLE"


@pytest.mark.parametrize(
    ("motion", "words"),
    [
        ({"planning_frame": "world"}, r"frame of the goal: 'panda_link0'. Expected motion.planning_frame"),
        ({"group": "left_arm"}, "INVALID_GROUP_NAME.*'panda_arm'"),
        ({"tip_link": "tool0"}, "INVALID_LINK_NAME.*panda_hand_tcp"),
        ({"straight_planner": "CIRC"}, "UNRECOGNIZED_GOAL_TYPE.*use LIN for straight motions"),
    ],
)
def test_names_that_the_planner_does_not_know_are_told(
    arm: ArmGraph, planner: Start, motion: dict[str, str], words: str
) -> None:
    planner()
    with pytest.raises(InputError, match=words):
        planned(arm.client(**motion), scene(), put=False)


def test_joint_states_that_nobody_publishes_are_told(arm: ArmGraph, node: Start) -> None:
    started = node("arm_planner", "-r", "joint_states:=nowhere")
    started.says("arm_planner plans for a Panda")
    with pytest.raises(Exception, match="/nowhere has had no state of panda_joint1 for 1 s") as refusal:
        planned(arm.client(), scene())
    assert refusal.value.status_name == "STALE_INPUT"  # type: ignore[attr-defined]


def test_a_grasp_without_placements_is_passed_over(arm: ArmGraph, planner: Start) -> None:
    planner()
    client, around = arm.client(), scene()
    pick, place = goals(around, client.config)
    first, other = pick.grasps[0], next(g for g in pick.grasps if g.grasp != pick.grasps[0].grasp)
    asked: list[Grasp] = []

    def placements(grasp: Grasp) -> PlaceGoal:
        asked.append(grasp)
        if grasp == other:
            raise GoalError("put it down", [("blocked", "something stands there")], "clear it")
        return place

    turned = dataclasses.replace(pick, grasps=(other, first))
    for given in (placements, place):  # a goal for one grasp alone is not used for another
        plan = client.plan(turned, around, given)
        assert (plan.grasp, plan.place) == (1, place)
    assert asked == [other, first]
    with pytest.raises(GoalError, match="the placements belong to another grasp"):
        client.plan(dataclasses.replace(pick, grasps=(other,)), around, place)
    with pytest.raises(GoalError, match="something stands there"):
        client.plan(dataclasses.replace(pick, grasps=(other,)), around, placements)


# ------------------------------------------------------------------------------------------------ execution


@pytest.mark.parametrize("phase", ["open", "reach", "close", "lift"])
def test_a_goal_that_is_rejected_ends_the_execution(arm: ArmGraph, planner: Start, phase: str) -> None:
    planner()
    client, number = arm.client(), PHASES.index(phase)  # type: ignore[arg-type]
    plan = planned(client, scene(CUP))
    arm.controllers.reject = {number}
    with pytest.raises(ExecutionFailedError, match=f"phase '{phase}'.*rejects the") as failure:
        client.execute(plan)
    assert failure.value.phase == phase
    assert len(arm.controllers.order) == number
    assert world_of(client) == (set(), set())


def test_a_controller_that_aborts_is_told_with_its_words(arm: ArmGraph, planner: Start) -> None:
    planner()
    client = arm.client()
    plan = planned(client, scene())
    arm.controllers.fail = {4}
    words = r"phase 'lift': a controller failed \(CONTROL_FAILED: .*panda_joint4 is 0\.2 rad off"
    with pytest.raises(ExecutionFailedError, match=words) as failure:
        client.execute(plan)
    assert (failure.value.number, failure.value.status_name) == (-4, "EXECUTION_FAILED")
    assert len(arm.controllers.order) == 5
    assert world_of(client) == (set(), set())


def test_fingers_that_meet_nothing_end_the_execution(arm: ArmGraph, planner: Start) -> None:
    planner()
    client = arm.client()
    plan = planned(client, scene())
    arm.controllers.obj = 0.0
    with pytest.raises(ExecutionFailedError, match=r"phase 'close': the fingers closed to 0\.000 m without meeting"):
        client.execute(plan)
    assert arm.controllers.order == ["gripper", "arm", "arm", "gripper"]


@pytest.mark.parametrize(
    ("away", "words"),
    [
        (0.04, r"phase 'reach': .*starts 0\.040 rad from the position of panda_joint1"),  # the planner's own check
        (
            0.1,
            r"phase 'reach': .*starts 0\.100 rad or m from the position of panda_joint1.*nothing has moved",
        ),  # the client's
    ],
)
def test_an_arm_that_has_moved_since_does_not_execute(arm: ArmGraph, planner: Start, away: float, words: str) -> None:
    planner()
    client = arm.client()
    plan = planned(client, scene())
    arm.controllers.joints |= {"panda_joint1": away}
    with pytest.raises(ExecutionFailedError, match=words):
        client.execute(plan)
    assert arm.controllers.trajectories == []


def test_a_controller_that_is_not_there_is_named(arm: ArmGraph, planner: Start) -> None:
    planner(controller="/other/follow_joint_trajectory", controller_timeout=0.3)
    client = arm.client()
    plan = planned(client, scene(), put=False)
    with pytest.raises(ExecutionFailedError, match=r"phase 'reach': .*/other/follow_joint_trajectory.*not available"):
        client.execute(plan)


def test_execution_without_a_gripper_moves_nothing(arm: ArmGraph, planner: Start) -> None:
    planner()
    client = arm.client(gripper_action="/hand", server_timeout=30.0)
    plan = planned(client, scene(), put=False)
    object.__setattr__(client.config.motion, "server_timeout", 0.3)
    with pytest.raises(PlannerUnavailableError, match=r"/hand.*gripper driver"):
        client.execute(plan)
    assert arm.controllers.order == []


def test_stopping_in_any_phase_cancels_what_runs_and_nothing_follows(arm: ArmGraph, planner: Start) -> None:
    planner()
    client, controllers = arm.client(), arm.controllers
    home, around = dict(controllers.joints), scene(CUP)
    pick, place = goals(around, client.config)
    for number, phase in enumerate(PHASES):
        controllers.joints |= home
        plan = client.plan(pick, around, place, start=home)  # what is heard of the arm may still be of the last turn
        controllers.order.clear()
        controllers.cancelled.clear()
        controllers.hold = {controllers._asked + number}
        withdrawn = threading.Event()
        call = Aside(lambda plan=plan, withdrawn=withdrawn: client.execute(plan, withdrawn.is_set))
        arm.until(lambda call=call: controllers.running or call.error, f"phase {phase} runs")
        assert call.error is None, phase
        if number % 2:
            client.stop()
        else:
            withdrawn.set()
        call.ended()
        assert isinstance(call.error, CancelledError), (phase, call.error)
        assert f"phase {phase!r}" in str(call.error)
        assert (controllers.running, len(controllers.order)) == ([], number + 1)
        assert controllers.cancelled == controllers.order[-1:]
        assert world_of(client) == (set(), set())


@pytest.mark.parametrize("phase", ["open", "reach"])
def test_a_controller_that_does_not_stop_is_no_cancelled_execution(arm: ArmGraph, planner: Start, phase: str) -> None:
    planner()
    client, number = arm.client(), PHASES.index(phase)  # type: ignore[arg-type]
    plan = planned(client, scene(), put=False)
    object.__setattr__(client._gripper, "_stop_timeout", 1.0)
    arm.controllers.hold, arm.controllers.deaf = {number}, True
    call = Aside(lambda: client.execute(plan))
    arm.until(lambda: arm.controllers.running or call.error, "it moves")
    client.stop()
    call.ended()
    assert isinstance(call.error, ExecutionFailedError), call.error
    assert (call.error.phase, len(arm.controllers.order)) == (phase, number + 1)
    assert "after it was cancelled" in str(call.error)


# ------------------------------------------------------------------------------------------------ the node


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_planner_ends_cleanly_while_it_plans(arm: ArmGraph, planner: Start, number: signal.Signals) -> None:
    process, client = planner(), arm.client(planning_time=300.0, stop_timeout=2.0)
    call = Aside(lambda: shut_in(client))
    process.says("planning a free motion")
    process.process.send_signal(number)
    assert process.ends() == 0
    assert "Traceback" not in process.output
    client.stop()
    call.ended()


@pytest.mark.parametrize(
    ("package", "repair"),
    [
        ("moveit_msgs", "scripts/setup.sh ros arm"),
        ("control_msgs", "scripts/setup.sh ros arm"),
        ("pinocchio", "pip install pin coal"),
    ],
)
def test_a_package_that_the_planner_lacks_is_named(start: Start, domain: int, package: str, repair: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; from spatial_vlm_ros.nodes import __main__; "
        "sys.exit(__main__.run(['arm_planner']))"
    )
    process = start("-c", code, ROS_DOMAIN_ID=str(domain))
    assert process.ends() == 1
    assert len(process.output.strip().splitlines()) == 1, process.output
    assert package in process.output
    assert repair in process.output
