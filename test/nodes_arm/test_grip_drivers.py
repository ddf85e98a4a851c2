# SPDX-License-Identifier: Apache-2.0
"""What the client makes of gripper drivers: doubles of ros2_controllers, Franka's, Robotiq's and of digital outputs.

To try something by hand: `python test/nodes_arm/robot_doubles.py franka`, and move_group_double.py beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from double_cell import DoubleCell, discovered, until
from gripper_double import CLOSED, FINGERS, KNUCKLE, ROBOTIQ, GripperParameters, VacuumDouble
from hardware_double import Spun

from spatial_vlm_ros.errors import CancelledError, ExecutionFailedError, InputError, PlannerUnavailableError
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, PlanStep

pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")
MakeCell = Callable[..., DoubleCell]
HASTY = GripperParameters(allow_stalling=True, stall_timeout=0.05)  # as Robotiq's, for the Panda's fingers
FRANKA = {"gripper_interface": "franka", "gripper_action": "/panda_gripper"}
# 2F-85: 85 mm open at 0 rad, closed at 0.7929 rad of the knuckle (robotiq_description/urdf/2f_85.ros2_control.xacro)
KNUCKLES = {"gripper_table": f"0.0 {CLOSED}; 0.085 0.0", "finger_joints": KNUCKLE, "finger_table": "command"}
NO_JOINTS = {"finger_joints": ""}


def close(cell: DoubleCell, width: float = 0.0, phase: Any = "close", holds: float | None = None, **motion: Any) -> Any:
    """Execute one phase of the gripper: fingers that are so far apart, m; returns the client."""
    client = cell.client(**motion)
    client.execute(MotionPlan("block", (PlanStep(phase, width=width, holds=holds),), 0, None, None, "of one phase"))
    return client


# ------------------------------------------------------------------------------------------------ by the width


@pytest.mark.parametrize("gripper", [None, HASTY], ids=["stall aborts", "stall succeeds"])
@pytest.mark.parametrize("motion", [{}, NO_JOINTS], ids=["measured", "not measured"])
def test_ros2_controllers_hold_a_block(make_cell: MakeCell, gripper: GripperParameters | None, motion: Any) -> None:
    cell = make_cell(gripper=gripper)
    cell.robot.hold(0.04)
    close(cell, holds=0.04, **motion)
    assert cell.position(FINGERS[0]) == pytest.approx(0.02)


@pytest.mark.parametrize("gripper", [None, "franka"], ids=["ros2_controllers", "franka"])
def test_fingers_that_meet_nothing_hold_nothing(make_cell: MakeCell, gripper: str | None) -> None:
    with pytest.raises(ExecutionFailedError, match="without meeting an object"):
        close(make_cell(gripper=gripper))


def test_an_object_thinner_than_the_tolerance_of_the_controller_is_held(make_cell: MakeCell) -> None:
    """goal_tolerance of ros2_controllers is 1 cm: fingers on 15 mm count as at 0, and not as stalled."""
    cell = make_cell()
    cell.robot.hold(0.015)
    close(cell, holds=0.015)


def test_a_stall_before_the_fingers_move_is_not_a_grasp(make_cell: MakeCell) -> None:
    cell = make_cell(gripper=HASTY)
    for joint in FINGERS:
        cell.hardware.joints[joint].delay = 0.2
    with pytest.raises(ExecutionFailedError, match=r"closed to 0\.000 m without meeting"):
        close(cell)


def test_an_object_wider_than_the_one_that_was_meant_is_another_one(make_cell: MakeCell) -> None:
    cell = make_cell()
    cell.robot.hold(0.06)
    with pytest.raises(ExecutionFailedError, match=r"are 0.060 m apart, but the object should be 0.040 m wide"):
        close(cell, holds=0.04)


def test_fingers_that_cannot_move_hold_nothing(make_cell: MakeCell) -> None:
    cell = make_cell(gripper=HASTY)
    for joint in FINGERS:
        cell.hardware.joints[joint].held = True
    with pytest.raises(ExecutionFailedError, match=r"(did not move|are 0.080 m apart)"):
        close(cell, holds=0.04)


def test_fingers_that_stay_at_their_opening_hold_nothing_and_are_not_open(make_cell: MakeCell) -> None:
    """The opening is within the tolerance of the width: without power, the arm would have gone on with nothing."""
    cell = make_cell(gripper=HASTY)
    opening, closing = PlanStep("open", width=0.05), PlanStep("close", width=0.0, holds=0.04)
    client = cell.client()
    client.execute(MotionPlan("block", (opening,), 0, None, None, "of one phase"))
    cell.robot.hold(0.05)
    for judged in (client, cell.client(**NO_JOINTS)):
        with pytest.raises(ExecutionFailedError, match=r"phase 'close': the fingers did not move: they are 0\.050 m"):
            judged.execute(MotionPlan("block", (opening, closing), 0, None, None, "of two phases"))
    for joint in FINGERS:
        cell.hardware.joints[joint].held = True
    with pytest.raises(
        ExecutionFailedError, match=r"is 0\.015 m away from the commanded width of 0\.065 m.*one of the two is wrong"
    ):
        client.execute(MotionPlan("block", (PlanStep("open", width=0.065),), 0, None, None, "of one phase"))


# ------------------------------------------------------------------------------------------------ Franka


def test_franka_holds_a_block_by_its_own_grasp(make_cell: MakeCell) -> None:
    cell = make_cell(gripper="franka")
    cell.robot.hold(0.04)
    close(cell, holds=0.045, **FRANKA)
    assert cell.position(FINGERS[0]) == pytest.approx(0.02)


def test_franka_is_judged_by_its_own_word_where_no_joint_states_come(make_cell: MakeCell) -> None:
    cell = make_cell(gripper="franka")
    cell.robot.hold(0.06)
    with pytest.raises(ExecutionFailedError, match="the driver reports that nothing is held"):
        close(cell, holds=0.04, **FRANKA, **NO_JOINTS)


def test_franka_opens_less_than_it_is(make_cell: MakeCell) -> None:
    cell = make_cell(gripper="franka")
    close(cell, 0.06, "open", **FRANKA)
    assert cell.position(FINGERS[0]) == pytest.approx(0.03, abs=0.001)


def test_franka_is_stopped_while_it_closes(make_cell: MakeCell) -> None:
    cell = make_cell(gripper="franka")
    for joint in FINGERS:
        cell.hardware.joints[joint].speed = 0.01
    client = cell.client(**FRANKA)
    moving = lambda: cell.position(FINGERS[0]) < 0.035  # noqa: E731
    with pytest.raises(CancelledError, match="stopped in phase 'close'"):
        client.execute(
            MotionPlan("block", (PlanStep("close", width=0.0, holds=0.04),), 0, None, None, "of one phase"),
            cancelled=moving,
        )
    until(lambda: cell.hardware.still() > 0.2, "the fingers stand")
    assert 0.0 < cell.position(FINGERS[0]) < 0.04


def test_gripper_command_of_franka_is_judged_by_the_width_too(make_cell: MakeCell) -> None:
    """Its driver never says stalled, and aborts a grasp that is 5 mm off; the fingers hold the block all the same."""
    cell = make_cell(gripper="franka")
    cell.robot.hold(0.04)
    close(cell, holds=0.04)


def test_gripper_command_of_franka_cannot_open_less_than_it_is(make_cell: MakeCell) -> None:
    """A command to go to a smaller width is a grasp to that driver: it closes."""
    cell = make_cell(gripper="franka")
    with pytest.raises(ExecutionFailedError, match="away from the commanded width"):
        close(cell, 0.06, "open")


# ------------------------------------------------------------------------------------------------ Robotiq


@pytest.mark.parametrize("parallel", [False, True], ids=["GripperCommand", "ParallelGripperCommand"])
def test_robotiq_closes_on_an_object_and_opens(make_cell: MakeCell, parallel: bool) -> None:
    cell = make_cell(gripper=ROBOTIQ, parallel=parallel)
    motion = KNUCKLES | (
        {"gripper_interface": "parallel_gripper_command", "gripper_joint": KNUCKLE} if parallel else {}
    )
    met = CLOSED * (1 - 0.04 / 0.085)  # where something of 40 mm is between the fingers
    cell.hardware.joints[KNUCKLE].highest = met
    client = close(cell, holds=0.04, **motion)
    assert cell.position(KNUCKLE) == pytest.approx(met)
    cell.hardware.joints[KNUCKLE].highest = 1.0
    with pytest.raises(ExecutionFailedError, match="without meeting an object"):
        client.execute(MotionPlan("b", (PlanStep("close", width=0.0, holds=0.04),), 0, None, None, "of one phase"))
    client.execute(MotionPlan("b", (PlanStep("open", width=0.06),), 0, None, None, "of one phase"))
    until(lambda: cell.position(KNUCKLE) == pytest.approx(CLOSED * (1 - 0.06 / 0.085)), "it is open", 5.0)


# ------------------------------------------------------------------------------------------------ digital outputs


@pytest.fixture
def vacuum(domain: int) -> Iterator[Callable[..., VacuumDouble]]:
    """Makes a vacuum gripper of its own process's kind."""
    made: list[Spun] = []

    def make(**options: Any) -> VacuumDouble:
        spun = Spun(domain)
        made.append(spun)
        double = VacuumDouble(spun.context, **options)
        spun.spin(double)
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


def tell(cell: DoubleCell, **motion: Any) -> Callable[[str], None]:
    """Executes one phase of a gripper that has no action which the cell could wait for."""
    cell.robot.knows = lambda *_: True  # type: ignore[method-assign]
    client = cell.client(**motion)

    def run(phase: Any) -> None:
        client.execute(MotionPlan("block", (PlanStep(phase, width=0.0),), 0, None, None, "of one phase"))

    return run


@pytest.mark.parametrize("motion", [SET_BOOL, UR], ids=["SetBool", "Universal Robots"])
def test_a_vacuum_gripper_is_judged_by_its_switch(
    make_cell: MakeCell, vacuum: Callable[..., VacuumDouble], motion: Any
) -> None:
    air = vacuum(ur=motion is UR)
    run = tell(make_cell(), **motion)
    run("close")
    assert air.held
    run("release")
    assert not air.on
    air.seals = False
    with pytest.raises(ExecutionFailedError, match="the gripper's switch reports that nothing is held"):
        run("close")


def test_a_service_that_fails_says_so(make_cell: MakeCell, vacuum: Callable[..., VacuumDouble]) -> None:
    air = vacuum()
    air.works = False
    run = tell(make_cell(), **SET_BOOL)
    with pytest.raises(ExecutionFailedError, match=r"nothing is held \(no air\)"):
        run("close")


def test_an_output_that_only_claims_to_be_set_is_found_by_the_switch(
    make_cell: MakeCell, vacuum: Callable[..., VacuumDouble]
) -> None:
    air = vacuum(ur=True)
    air.works = False
    with pytest.raises(ExecutionFailedError, match="nothing is held"):
        tell(make_cell(), **UR)("close")
    assert air.asked == [(3, 1.0)]


def test_a_gripper_that_reports_nothing_is_not_believed(
    make_cell: MakeCell, vacuum: Callable[..., VacuumDouble]
) -> None:
    vacuum().silent = True
    run = tell(make_cell(), **SET_BOOL)
    with pytest.raises(ExecutionFailedError, match=r"reports neither a width.*motion\.gripper_flag"):
        run("close")


def test_a_gripper_without_a_switch_needs_leave_to_be_believed(
    make_cell: MakeCell, vacuum: Callable[..., VacuumDouble]
) -> None:
    air, cell = vacuum(), make_cell()
    blind = SET_BOOL | {"gripper_flag": ""}
    with pytest.raises(InputError, match="gripper_flag"):
        cell.client(**blind)
    tell(cell, **blind, gripper_unjudged=True)("close")
    assert air.on


def test_a_driver_that_is_not_there_is_named(make_cell: MakeCell) -> None:
    cell = make_cell(gripper="franka")
    cell.robot.knows = lambda *_: True  # type: ignore[method-assign]
    client = cell.client(gripper_interface="franka", gripper_action="/elsewhere", server_timeout=1.0)
    with pytest.raises(PlannerUnavailableError, match=r"/elsewhere/grasp.*motion\.gripper_action"):
        client.execute(MotionPlan("b", (PlanStep("close", width=0.0),), 0, None, None, "of one phase"))
    discovered(lambda: True, "nothing moved")
    assert cell.position(FINGERS[0]) == 0.04
