# SPDX-License-Identifier: Apache-2.0
"""Every fault of the controllers and of the joint states under the gate: rows of the page of faults."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("mujoco")

from fault_record import record
from gate_cell import Cell, Picking, running_cell
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger
from tables import rows

pytestmark = pytest.mark.slow

TARGET = "bonnet"
PATIENCE, SHORT = 240.0, 20.0  # s after which a motion is stopped that has not ended; of one that cannot end


@dataclass(frozen=True)
class ControllerRow:
    """A fault, injected while the plan waits or `early`; CANCELLED is of a motion that did not end and was stopped."""

    fault: str
    injected: str
    right: list[str]
    early: bool = False


ROWS = [ControllerRow(**row) for row in rows(__file__, "fault_controllers")]


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    with running_cell(Cell, tmp_path_factory.mktemp("cell")) as made:
        yield made


@pytest.fixture
def inject(cell: Cell) -> Iterator[Callable[[str], None]]:
    """Sets the parameter `faults` of the simulation, as `ros2 param set` does; takes it back at the end."""
    client = cell.node.create_client(SetParametersAtomically, "/sim_arm/set_parameters_atomically")
    cell.until(client.service_is_ready, "the simulation's parameters can be set")

    def switch(faults: str) -> None:
        request = SetParametersAtomically.Request(parameters=[Parameter("faults", value=faults).to_parameter_msg()])
        result = cell.wait(client.call_async(request), "the parameter is set").result
        assert result.successful, result.reason

    yield switch
    switch("")


def ended(cell: Cell, picking: Picking, patience: float) -> bool:
    """Whether a goal ends by itself before somebody loses patience; it is stopped then."""
    end, gate = time.monotonic() + patience, threading.Event()
    while picking.result is None and time.monotonic() < end:
        gate.wait(0.02)
    if picking.result is not None:
        return True
    cell.wait(cell.stopping.call_async(Trigger.Request()), "stop answers")
    cell.end(picking)
    return False


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ("early " if row.early else "") + row.injected)
def test_a_faulty_controller_ends_the_goal_with_what_happened(cell: Cell, inject: Any, row: ControllerRow) -> None:
    cell.again()
    before = cell.accepted()
    if row.early:
        inject(row.injected)
        cell.until(lambda: cell.run(plan_only=True).name != "OK", "the last joint states are too old to plan from")
        picking = cell.send()
    else:
        picking, proposal = cell.proposed()
        inject(row.injected)
        unapproved = cell.accepted() - before
        assert cell.approve(proposal) == "OK"
    by_itself = ended(cell, picking, SHORT if "=stuck" in row.injected else PATIENCE)
    inject("")
    verdict: dict[str, Any] = cell.verdict()
    accepted = cell.accepted() - before
    others = sorted(set(verdict["moved"]) - {TARGET})
    if row.early:
        unapproved = accepted
    began = time.monotonic()
    cell.again()
    cell.until(lambda: cell.run(plan_only=True).name == "OK", "it plans after the fault")
    recovery = time.monotonic() - began

    done = bool(verdict["done"])
    name = picking.name
    failures = [
        *([f"{name} is not right"] if name not in row.right else []),
        *(["it says OK, and the object is not on the tray"] if name == "OK" and not done else []),
        *([f"moved: {', '.join(others)}"] if others else []),
        *([f"{unapproved} goals before the approval"] if unapproved else []),
    ]
    row_name = ("early " if row.early else "").replace(" ", "_") + row.injected.replace(":", "_").replace("=", "_")
    told = {"fault": row.fault, "injected": row.injected, "at_start": row.early, "right": sorted(row.right)}
    ends = {"status": name, "says": str(picking.result.status.message), "moved_flag": bool(picking.result.moved)}
    goals = {"goals": accepted, "unapproved_goals": unapproved, "stopped_by_hand": not by_itself}
    world = {"moved": verdict["moved"], "moved_wrongly": others, "done": done, "recovery_s": round(recovery, 1)}
    record("Controllers", row_name, **told, **ends, **goals, **world, failures=failures)
    assert not failures
