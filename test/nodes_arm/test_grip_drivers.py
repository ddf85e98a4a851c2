# SPDX-License-Identifier: Apache-2.0
"""What the client makes of gripper drivers: doubles of ros2_controllers, Franka's, Robotiq's and of digital outputs."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from arm_graph import planned, scene
from double_cell import DoubleCell
from gripper_double import CLOSED, FINGERS, KNUCKLE, ROBOTIQ, GripperParameters, VacuumDouble
from hardware_double import Spun
from waiting import until

from spatial_vlm_ros.errors import (
    CancelledError,
    ExecutionFailedError,
    InputError,
    NothingHeldError,
    PlannerUnavailableError,
)
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, PlanStep
from spatial_vlm_ros.nodes.arm.motion_client import MotionClient

HASTY = GripperParameters(allow_stalling=True, stall_timeout=0.05)  # as Robotiq's, for the Panda's fingers
FRANKA = {"gripper_interface": "franka", "gripper_action": "/panda_gripper"}
# 2F-85: 85 mm open at 0 rad, closed at 0.7929 rad of the knuckle (robotiq_description/urdf/2f_85.ros2_control.xacro)
KNUCKLES = {"gripper_table": f"0.0 {CLOSED}; 0.085 0.0", "finger_joints": KNUCKLE, "finger_table": "command"}
NO_JOINTS = {"finger_joints": ""}
Doubles = Callable[..., DoubleCell]


def plan(*steps: PlanStep) -> MotionPlan:
    return MotionPlan("block", steps, 0, None, None, "of the gripper alone")


def closing(holds: float | None = None) -> MotionPlan:
    return plan(PlanStep("close", width=0.0, holds=holds))


def opening(width: float) -> MotionPlan:
    return plan(PlanStep("open", width=width))


def fingers(cell: DoubleCell, **fault: Any) -> None:
    for name in FINGERS:
        vars(cell.hardware.joints[name]).update(fault)


@pytest.mark.parametrize(
    ("gripper", "motion"),
    [
        pytest.param(None, {}, id="stall aborts"),
        pytest.param(HASTY, NO_JOINTS, id="stall succeeds, not measured"),
        pytest.param(HASTY, {}, id="stall succeeds", marks=pytest.mark.slow),
        pytest.param(None, NO_JOINTS, id="stall aborts, not measured", marks=pytest.mark.slow),
    ],
)
def test_ros2_controllers_hold_a_block(cell: DoubleCell, gripper: GripperParameters | None, motion: Any) -> None:
    cell.robot.gripper.parameters = gripper or GripperParameters()
    cell.robot.hold(0.04)
    cell.client(**motion).execute(closing(0.04))
    assert cell.position(FINGERS[0]) == pytest.approx(0.02)


def test_an_object_thinner_than_the_tolerance_of_the_controller_is_held(cell: DoubleCell) -> None:
    """goal_tolerance of ros2_controllers is 1 cm: fingers on 15 mm count as at 0, and not as stalled."""
    cell.robot.hold(0.015)
    cell.client().execute(closing(0.015))


def test_what_is_no_grasp_is_told_also_by_a_controller_that_stalls_before_the_fingers_move(cell: DoubleCell) -> None:
    cell.robot.gripper.parameters = HASTY
    fingers(cell, delay=0.2)
    with pytest.raises(ExecutionFailedError, match=r"closed to 0\.000 m without meeting an object"):
        cell.client().execute(closing())
    cell.reset().robot.hold(0.06)
    with pytest.raises(ExecutionFailedError, match=r"are 0.060 m apart, but the object should be 0.040 m wide"):
        cell.client().execute(closing(0.04))


def test_fingers_that_closed_on_nothing_open_again_and_the_arm_goes_back(cell: DoubleCell) -> None:
    client = cell.client()
    made = planned(client, scene(), put=False)
    with pytest.raises(NothingHeldError, match="the next plan takes it from another side"):
        client.execute(made)
    opened, back = made.way_back
    assert cell.beside(back) < 0.01
    assert cell.position(FINGERS[0]) == pytest.approx((opened.width or 0.0) / 2, abs=1e-3)
    assert (client.grip, client.holds, len(cell.arm.taken)) == ("empty", False, 3)


def test_fingers_that_stay_at_their_opening_hold_nothing_and_are_not_open(cell: DoubleCell) -> None:
    """The opening is within the tolerance of the width: without power, the arm would have gone on with nothing."""
    cell.robot.gripper.parameters = HASTY
    client, both = cell.client(), plan(PlanStep("open", width=0.05), PlanStep("close", width=0.0, holds=0.04))
    client.execute(opening(0.05))
    cell.robot.hold(0.05)
    for judged in (client, cell.client(**NO_JOINTS)):
        with pytest.raises(ExecutionFailedError, match=r"phase 'close': the fingers did not move: they are 0\.050 m"):
            judged.execute(both)
    fingers(cell, held=True)
    words = r"is 0\.015 m away from the commanded width of 0\.065 m.*one of the two is wrong"
    with pytest.raises(ExecutionFailedError, match=words):
        client.execute(opening(0.065))


def test_franka_holds_a_block_by_its_own_grasp_and_opens_less_than_it_is(franka: DoubleCell) -> None:
    client = franka.client(**FRANKA)
    franka.robot.hold(0.04)
    client.execute(closing(0.045))
    assert franka.position(FINGERS[0]) == pytest.approx(0.02)
    client.execute(opening(0.07))
    client.execute(opening(0.06))
    assert franka.position(FINGERS[0]) == pytest.approx(0.03, abs=0.001)


def test_franka_is_judged_by_its_own_word_where_no_joint_states_come(franka: DoubleCell) -> None:
    franka.robot.hold(0.06)
    with pytest.raises(ExecutionFailedError, match="the driver reports that nothing is held"):
        franka.client(**FRANKA, **NO_JOINTS).execute(closing(0.04))


def test_franka_is_stopped_while_it_closes(franka: DoubleCell) -> None:
    fingers(franka, speed=0.01)
    with pytest.raises(CancelledError, match="stopped in phase 'close'"):
        franka.client(**FRANKA).execute(closing(0.04), cancelled=lambda: franka.position(FINGERS[0]) < 0.035)
    franka.stands()
    assert 0.0 < franka.position(FINGERS[0]) < 0.04


def test_gripper_command_of_franka_is_judged_by_the_width_too(franka: DoubleCell) -> None:
    """It never says stalled, and aborts a grasp that is 5 mm off. To a smaller width it grasps, and so closes."""
    client = franka.client()
    with pytest.raises(ExecutionFailedError, match="away from the commanded width"):
        client.execute(opening(0.06))
    franka.reset(gripper="franka")
    client = franka.client()
    franka.robot.hold(0.04)
    client.execute(closing(0.04))  # held all the same
    franka.robot.hold(0.0)
    with pytest.raises(ExecutionFailedError, match="without meeting an object"):
        client.execute(closing())


def test_a_driver_that_is_not_there_is_named(franka: DoubleCell) -> None:
    client = franka.client(gripper_interface="franka", gripper_action="/elsewhere", server_timeout=1.0)
    with pytest.raises(PlannerUnavailableError, match=r"/elsewhere/grasp.*motion\.gripper_action"):
        client.execute(closing())
    assert franka.position(FINGERS[0]) == 0.04


@pytest.mark.parametrize("parallel", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_robotiq_closes_on_an_object_and_opens(shared_cell: DoubleCell, parallel: bool) -> None:
    cell = shared_cell.reset(gripper=ROBOTIQ, parallel=parallel)
    own = {"gripper_interface": "parallel_gripper_command", "gripper_joint": KNUCKLE} if parallel else {}
    client, knuckle = cell.client(**KNUCKLES, **own), cell.hardware.joints[KNUCKLE]
    knuckle.highest = met = CLOSED * (1 - 0.04 / 0.085)  # where something of 40 mm is between the fingers
    client.execute(closing(0.04))
    assert cell.position(KNUCKLE) == pytest.approx(met)
    knuckle.highest = 1.0
    with pytest.raises(ExecutionFailedError, match="without meeting an object"):
        client.execute(closing(0.04))
    client.execute(opening(0.06))
    until(lambda: cell.position(KNUCKLE) == pytest.approx(CLOSED * (1 - 0.06 / 0.085)), "it is open")


@pytest.fixture
def vacuum(cell: DoubleCell) -> Iterator[Callable[..., VacuumDouble]]:
    made: list[Spun] = []

    def make(**options: Any) -> VacuumDouble:
        made.append(Spun(cell.domain))
        double = VacuumDouble(made[-1].context, **options)
        made[-1].spin(double)
        return double

    yield make
    for each in made:
        each.close()


SET_BOOL = {
    "gripper_interface": "set_bool",
    "gripper_action": "/vacuum/set",
    "gripper_flag": "/vacuum/held",
} | NO_JOINTS
UR = {
    "gripper_interface": "ur_output", "gripper_action": "/vacuum/set_io", "gripper_flag": "/vacuum/io_states",
    "gripper_pin": 3, "gripper_flag_pin": 3,
} | NO_JOINTS  # fmt: skip


@pytest.mark.parametrize("motion", [SET_BOOL, pytest.param(UR, marks=pytest.mark.slow)])
def test_a_vacuum_gripper_is_judged_by_its_switch(cell: DoubleCell, vacuum: Any, motion: Any) -> None:
    air, client = vacuum(ur=motion is UR), cell.client(**motion)
    client.execute(closing())
    assert air.held
    client.execute(plan(PlanStep("release", width=0.0)))
    assert not air.on
    air.seals = False
    with pytest.raises(ExecutionFailedError, match="the gripper's switch reports that nothing is held"):
        client.execute(closing())
    air.seals, air.works, air.on = True, False, False  # an output that only claims to be set is found by the switch
    words = "nothing is held" if motion is UR else r"nothing is held \(no air\)"
    with pytest.raises(ExecutionFailedError, match=words):
        client.execute(closing())
    assert not air.asked or air.asked[-1] == (3, 1.0)


@pytest.mark.parametrize(("flag", "slips"), [(True, False), (False, True), (None, True)])
def test_a_switch_tells_more_of_a_thin_object_than_the_width(flag: bool | None, slips: bool) -> None:
    fingers = SimpleNamespace(width=lambda _: 0.001)
    parts = {"_closed": 0.0, "_gripper": SimpleNamespace(flag=flag), "_beside": SimpleNamespace(fingers=fingers)}
    assert bool(MotionClient._slipped(SimpleNamespace(**parts))) == slips  # type: ignore[arg-type]


def test_a_gripper_that_reports_nothing_is_not_believed_unless_that_is_allowed(cell: DoubleCell, vacuum: Any) -> None:
    air = vacuum()
    air.silent = True
    new = SET_BOOL | {"answer_timeout": 29.0}  # a client of its own, which has heard no gripper of another test
    with pytest.raises(ExecutionFailedError, match=r"reports neither a width.*motion\.gripper_flag"):
        cell.client(**new).execute(closing())
    blind = SET_BOOL | {"gripper_flag": ""}
    with pytest.raises(InputError, match="gripper_flag"):
        cell.client(**blind)
    air.on = False
    cell.client(**blind, gripper_unjudged=True).execute(closing())
    assert air.on
