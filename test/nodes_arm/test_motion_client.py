# SPDX-License-Identifier: Apache-2.0
"""The client against `arm_planner` in another process, and against controllers that record what they are told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from arm_graph import CUP, HOME, JOINTS, ArmGraph, goals, scene
from live_process import Started
from rclpy.callback_groups import ReentrantCallbackGroup
from sensor_msgs.msg import JointState

from spatial_vlm_ros.errors import CancelledError
from spatial_vlm_ros.manipulation.planning.planner import PICK, PLACE, MotionPlan, is_plan_of
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.standstill import Standstill
from spatial_vlm_ros.nodes.arm.motion_messages import joint_trajectory

# A server that has not discovered its client yet drops a reply and warns; the client is made for that.
pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")

Start = Callable[..., Started]


def world_of(client: Any) -> tuple[set[str], set[str]]:
    """Ids of what is in the planner's scene, and of what is held there."""
    client._get.await_it(30.0, lambda: False)
    response = client._get.call(client._get_form.Request(), 30.0)
    held = {each.object.id for each in response.scene.robot_state.attached_collision_objects}
    return {each.id for each in response.scene.world.collision_objects}, held


def planned(client: Any, around: PlanningScene, put: bool = True) -> MotionPlan:
    pick, place = goals(around, client.config)
    return client.plan(pick, around, place if put else None)


def test_an_object_is_taken_and_put_down_as_planned(arm: ArmGraph, planner: Start) -> None:
    planner()
    client, around = arm.client(), scene(CUP)
    plan = planned(client, around)
    assert [step.phase for step in plan.steps] == [*PICK, *PLACE]
    assert is_plan_of(plan, goals(around, client.config)[0], around)
    assert plan.trajectories[0].positions[0] == pytest.approx(HOME, abs=1e-3)
    assert arm.controllers.order == []  # nothing has moved
    assert world_of(client) == ({"support", "cup", "block"}, set())
    client.execute(plan)
    assert arm.controllers.order == [
        "gripper", "arm", "arm", "gripper", "arm", "arm", "arm", "gripper", "arm"
    ]  # fmt: skip
    assert arm.controllers.trajectories == [joint_trajectory(each) for each in plan.trajectories]
    widths = [step.width for step in plan.steps if step.width is not None]
    assert arm.controllers.widths == pytest.approx(widths)
    assert widths[1] == pytest.approx(0.0)  # the block is 4 cm wide, and squeezed by 4
    assert world_of(client) == (set(), set())
    end = dict(zip(JOINTS, plan.trajectories[-1].positions[-1], strict=True))
    assert {name: arm.controllers.joints[name] for name in JOINTS} == pytest.approx(end)


def test_a_round_object_is_held_though_it_is_narrower_between_the_fingers(arm: ArmGraph, planner: Start) -> None:
    planner()
    client = arm.client()
    plan = planned(client, scene(), put=False)
    arm.controllers.obj = 0.02  # at the height of the pads; its outline from above is 4 cm wide
    client.execute(plan)
    assert len(arm.controllers.order) == len(PICK)


def test_an_object_is_taken_and_held(arm: ArmGraph, planner: Start) -> None:
    planner()
    client = arm.client()
    plan = planned(client, scene(), put=False)
    assert [step.phase for step in plan.steps] == list(PICK)
    assert (plan.place, plan.placement) == (None, None)
    client.execute(plan)
    assert arm.controllers.order == ["gripper", "arm", "arm", "gripper", "arm"]
    assert world_of(client) == (set(), set())
    assert client.holds, "until the next plan"
    planned(client, scene(), put=False)
    assert not client.holds


def test_no_step_begins_while_it_is_uncertain_that_the_resolver_lives(arm: ArmGraph, planner: Start) -> None:
    planner()
    client = arm.client()
    plan, moved = planned(client, scene(), put=False), []

    def waits() -> bool:
        moved.append(len(arm.controllers.order))
        return len(moved) < 20

    client._waits = waits
    client.execute(plan)
    assert moved[:20] == [0] * 20
    assert arm.controllers.order == ["gripper", "arm", "arm", "gripper", "arm"]


def test_a_stop_before_the_fingers_stand_is_told_as_a_stop(
    arm: ArmGraph, planner: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner()
    client = arm.client()
    plan = planned(client, scene(), put=False)

    def stopped(*_: object) -> float:
        client.stop()
        return 0.01  # where the fingers were then

    monkeypatch.setattr(client._beside, "await_fingers", stopped)
    with pytest.raises(CancelledError, match="stopped in phase 'open'"):
        client.execute(plan)
    assert not client.holds


def test_it_plans_from_where_it_is_told(arm: ArmGraph, planner: Start) -> None:
    planner()
    client, around = arm.client(), scene()
    start = dict(zip(JOINTS, (0.3, *HOME[1:]), strict=True))
    plan = client.plan(goals(around, client.config)[0], around, start=start)
    assert plan.trajectories[0].positions[0] == pytest.approx(tuple(start.values()), abs=1e-6)


def test_the_scene_of_the_last_plan_is_the_one_that_is_shown(arm: ArmGraph, planner: Start) -> None:
    planner()
    client = arm.client()
    planned(client, scene(CUP), put=False)
    planned(client, scene(), put=False)
    assert world_of(client)[0] == {"support", "block"}
    client.clear()
    assert world_of(client)[0] == set()


def test_what_a_client_that_was_killed_left_in_the_hand_hinders_nobody(arm: ArmGraph, planner: Start) -> None:
    planner()
    killed, client = arm.client(), arm.client()
    planned(killed, scene(), put=False)
    killed._scene.hold("block")  # and nothing after that
    assert world_of(client)[1] == {"block"}
    plan = planned(client, scene(), put=False)
    assert world_of(client) == ({"support", "block"}, set())
    client.execute(plan)
    assert world_of(client) == (set(), set())


def test_joint_states_are_listened_to_beside_many_threads(arm: ArmGraph) -> None:
    """rclpy ends a multi-threaded executor that finds an event handler destroyed which it has just listed."""
    beside = arm.client(threads=3)._beside
    node, bridge = beside._node, beside._bridge
    for index in range(300):  # they make listing take long
        node.create_subscription(JointState, f"unused_{index}", lambda _: None, 1)
    node.create_timer(0.001, lambda: None, callback_group=ReentrantCallbackGroup())
    left = [partial(beside._listen, Standstill(JOINTS)), beside._forget] * 150

    def one() -> None:
        left.pop(0)()
        if left:
            bridge.put(one)

    bridge.put(one)
    arm.until(lambda: not left, "the executor has listened and forgotten again and again")
