# SPDX-License-Identifier: Apache-2.0
"""The arm in physics: it stands, follows, grasps, puts down; the judge; and the cell on a thread of its own."""

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
import pytest
from waiting import DEADLINE

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import HOME
from spatial_vlm_ros.manipulation.builtin_planner.request import Segment
from spatial_vlm_ros.manipulation.planning.robot_model import load
from spatial_vlm_ros.sim.arm.cell import STEP, RunningCell


def tip_of(cell: Any) -> Any:
    cell.mj.mj_kinematics(cell.model, cell.data)
    return cell.pose("panda_hand_tcp").matrix


def test_a_place_is_the_pose_of_a_link_or_object(cell: Any) -> None:
    cell.mj.mj_kinematics(cell.model, cell.data)
    for name in ("panda_link0", "panda_link4", "panda_hand_tcp", "panda_leftfinger", "cup"):
        position, quaternion = cell.place(name)
        assert position == pytest.approx(cell.pose(name).translation, abs=1e-9)
        assert matrix_from_quaternion_xyzw(quaternion) == pytest.approx(cell.pose(name).rotation, abs=1e-9)
        assert quaternion[3] >= 0


def test_the_model_weighs_and_stands_as_the_planner_thinks(cell: Any, planner: Any) -> None:
    assert cell.joints().position[:7] == pytest.approx(HOME, abs=1e-4)
    assert tip_of(cell) == pytest.approx(planner.tip(HOME), abs=1e-4)
    pin, model = load("pinocchio"), planner.robot.model
    q = np.concatenate([cell.joints().position[:7], [0.04, 0.04]])
    gravity = pin.computeGeneralizedGravity(model, model.createData(), q)
    assert cell.joints().effort[:7] == pytest.approx(gravity[:7], abs=0.01)  # it stands still: nothing else is needed


def test_it_stays_where_it_is_under_gravity(operator: Any, verdict: Any) -> None:
    before = operator.joints
    operator.wait(1.0)
    assert operator.joints == pytest.approx(before, abs=1e-5)
    told = verdict(operator.cell)
    assert (told.forces, told.moved) == ({}, ())
    assert all(state.at_rest and state.on_table for state in told.objects.values())


def test_it_follows_a_planned_motion_within_a_milliradian_and_its_torques(operator: Any) -> None:
    errors, efforts = [], []

    def note(cell: Any) -> None:
        state = cell.joints()
        errors.append(np.abs(cell.follower.desired(cell.time).position - state.position[:7]).max())
        efforts.append(np.abs(state.effort[:7]))

    operator.watch = note
    ends = operator.go(Segment(operator.down(0.5, -0.3, 0.4)), Segment(operator.down(0.5, 0.3, 0.5, 1.0)))
    assert [ended.code for ended in ends] == [0, 0]
    assert max(errors) < 1e-3
    assert (np.max(efforts, axis=0) <= [87, 87, 87, 87, 12, 12, 12]).all()
    assert np.linalg.norm(tip_of(operator.cell)[:3, 3] - (0.5, 0.3, 0.5)) < 1e-3


def test_the_chick_is_taken_and_put_on_the_tray_and_only_then_it_is_done(operator: Any, verdict: Any) -> None:
    cell, target = operator.cell, "bonnet"
    done = []
    operator.watch = lambda cell: done.append(verdict(cell).objects[target].delivered) if len(done) % 50 == 0 else None
    start = cell.pose(target).translation.copy()
    gripped = operator.take(target)
    assert (gripped.stalled, gripped.reached) == (True, False)
    assert gripped.effort == pytest.approx(30.0, abs=0.5)
    assert cell.pose(target).translation[2] - start[2] > 0.11
    assert verdict(cell).objects[target].held
    operator.wait(1.0)  # it does not slip
    assert cell.pose(target).translation[2] - start[2] > 0.11
    x, y, z = cell.pose("tray").translation
    operator.put(x, y, z + 0.04)
    operator.wait(0.7)
    told = verdict(cell)
    assert told.objects[target].delivered
    assert not any(done)  # not while it was held, in the air or still
    assert told.moved == (target,)
    assert 20 < told.forces[target] < 60  # the grip
    assert set(told.forces) <= {target, "table", "tray"}


def test_an_object_put_beside_the_tray_is_not_done(operator: Any, verdict: Any) -> None:
    operator.take("bonnet")
    operator.put(0.42, 0.12, 0.035)
    operator.wait(0.7)
    state = verdict(operator.cell).objects["bonnet"]
    assert (state.at_rest, state.on_table, state.on_tray, state.delivered) == (True, True, False, False)


def test_a_fist_pushes_a_neighbour_and_the_judge_feels_it(operator: Any, verdict: Any) -> None:
    cell = operator.cell
    x, y, _ = cell.pose("cup").translation
    operator.grip(0.0)
    operator.go(Segment(operator.down(x, y - 0.12, 0.05)), Segment(operator.down(x, y - 0.02, 0.05), straight=True))
    told = verdict(cell)
    assert "cup" in told.moved
    assert told.objects["cup"].touched
    assert told.forces["cup"] > 0.1
    assert "ribbon" not in told.forces


def test_what_is_held_touches_for_the_robot(operator: Any, verdict: Any) -> None:
    cell = operator.cell
    operator.take("bonnet")
    x, y, _ = cell.pose("orange").translation
    cell.judge.begin(cell.data)
    operator.go(
        Segment(operator.down(x + 0.11, y, 0.15)),
        Segment(operator.down(x + 0.11, y, 0.035), straight=True),
        Segment(operator.down(x + 0.045, y, 0.035), straight=True),  # the fingers stay beside it, the chick does not
    )
    told = verdict(cell)
    assert told.by_held["orange"] > 0.05
    assert told.forces["orange"] >= told.by_held["orange"]


def test_an_arm_that_is_blocked_leaves_its_path(operator: Any) -> None:
    below = operator.down(0.45, -0.1, -0.15)  # the table is at 0
    motion_end = operator.go(Segment(operator.down(0.45, -0.1, 0.15)), Segment(below, straight=True))[-1]
    assert motion_end.code == -4
    assert "rad off" in motion_end.words
    operator.wait(1.0)
    assert np.abs(operator.cell.joints().velocity[:7]).max() < 0.05
    assert operator.cell.judge.verdict(operator.cell.data).forces["table"] > 5.0


def test_the_gripper_goes_where_it_is_told_and_grips_no_harder(operator: Any) -> None:
    there = operator.grip(0.02)
    assert (there.reached, there.stalled) == (True, False)
    assert there.position == pytest.approx(0.02, abs=1e-3)
    assert operator.grip(0.04).reached
    gripped = operator.take("ribbon", force=12.0)
    assert gripped.stalled
    assert gripped.effort == pytest.approx(12.0, abs=0.5)


def test_fingers_that_tremble_on_an_object_end(operator: Any) -> None:
    shakes = itertools.cycle((0.05, -0.05))

    def tremble(cell: Any) -> None:
        cell.data.qvel[cell.hand.dofs] += next(shakes)

    operator.watch = tremble
    assert operator.take("ribbon", force=12.0).stalled


def test_objects_are_moved_and_taken_away_by_hand(operator: Any, verdict: Any) -> None:
    cell = operator.cell
    cell.move("cup", (0.5, -0.1, 0.002), 0.5)
    cell.remove("orange")
    operator.wait(0.8)
    told = verdict(cell)
    assert told.objects["cup"].position == pytest.approx((0.5, -0.1, 0.0), abs=0.003)
    assert told.objects["cup"].moved < 0.005  # judged from where it was put
    assert not told.objects["orange"].there
    assert told.moved == ("orange",)
    with pytest.raises(UnknownNameError, match="kettle"):
        cell.move("kettle", (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="finite"):
        cell.move("cup", (np.nan, 0.0, 0.0))


def test_contacts_that_chatter_are_rest_and_a_slow_turn_is_none(operator: Any, verdict: Any) -> None:
    cell, target = operator.cell, "bonnet"
    adr, judge = cell.model.body(target).dofadr[0], cell.judge
    for turning in (False, True):
        for k in range(600):
            cell.data.qvel[adr + 5] = 0.1 * (1 if turning or k % 2 else -1)
            if turning:
                mujoco.mj_integratePos(cell.model, cell.data.qpos, cell.data.qvel, cell.model.opt.timestep)
                mujoco.mj_kinematics(cell.model, cell.data)
            judge.record(cell.data)
        assert verdict(cell).objects[target].at_rest is not turning


@pytest.fixture
def begin() -> Iterator[Any]:
    made: list[RunningCell] = []

    def make(cell: Any, **options: Any) -> RunningCell:
        made.append(RunningCell(cell, **options))
        return made[-1]

    yield make
    for running in made:
        running.stop()


def test_simulated_time_passes_and_never_runs_ahead_of_the_clock(cell: Any, begin: Any) -> None:
    running, seen, far = begin(cell, speed=2.0), [], threading.Event()
    running.every(0.1, lambda cell: (seen.append((cell.time, time.monotonic())), cell.time > 1.0 and far.set()))
    begun = time.monotonic()
    running.start()
    assert far.wait(DEADLINE)
    assert all(simulated <= 2.0 * (wall - begun) + 1e-3 for simulated, wall in seen)
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(seen)]
    assert min(gaps) >= 0.1 - STEP - 1e-9


def test_what_is_asked_is_done_between_steps_and_its_errors_are_the_askers(cell: Any, begin: Any) -> None:
    running = begin(cell)
    running.start()
    assert running.ask(lambda cell: cell.pose("cup").child) == "cup"
    with pytest.raises(UnknownNameError, match="kettle"):
        running.ask(lambda cell: cell.pose("kettle"))
    assert running.ask(lambda cell: cell.time) <= running.ask(lambda cell: cell.time)
    running.stop()
    with pytest.raises(ModelError, match="has ended"):
        running.ask(lambda cell: cell.time)


def test_time_goes_on_when_the_world_is_replaced(cell: Any, begin: Any) -> None:
    from spatial_vlm_ros.sim.arm.cell import ArmCell
    from spatial_vlm_ros.sim.arm.worlds import layout

    running = begin(cell)
    running.start()
    before = running.ask(lambda _: running.now)
    running.replace(ArmCell(layout("swapped")))
    assert running.ask(lambda cell: cell.layout.name) == "swapped"
    assert running.ask(lambda _: running.now) >= before


def test_a_failure_on_the_thread_is_told_and_ends_it(cell: Any, begin: Any) -> None:
    told: list[Exception] = []
    failed = threading.Event()
    running = begin(cell, failed=lambda error: (told.append(error), failed.set()))

    def fail(_: Any) -> None:
        raise RuntimeError("no more")

    running.every(0.0, fail)
    running.start()
    assert failed.wait(DEADLINE)
    assert str(told[0]) == "no more"
    with pytest.raises(ModelError, match="has ended"):
        running.ask(lambda cell: cell.time)
