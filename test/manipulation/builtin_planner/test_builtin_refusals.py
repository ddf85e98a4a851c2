# SPDX-License-Identifier: Apache-2.0
"""When the built-in planner refuses, with which status, and how soon."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import (
    CancelledError,
    InputError,
    NoPathError,
    StandsWrongError,
    TransformError,
    UnreachableError,
)
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, MotionRequest, Segment
from spatial_vlm_ros.types import Status

HOME = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])


def test_a_goal_out_of_reach_is_unreachable(bench: Any, planner: Any) -> None:
    with pytest.raises(UnreachableError) as caught:
        planner.plan(MotionRequest(HOME, [Segment(bench.down(1.3, 0, 0.3))], [bench.table()], time_limit=60))
    assert Status(caught.value.status_name) is Status.UNREACHABLE
    assert caught.value.segment == 0
    # Stretched out, the tip is 0.855 m from the shoulder and 0.107 + 0.1034 m of hand (the maker's data sheet) at most.
    assert caught.value.position_error > 1.3 - 0.855 - 0.211


def test_a_line_that_leaves_the_reach_is_unreachable(bench: Any, planner: Any) -> None:
    segments = [Segment(bench.down(0.6, 0, 0.3)), Segment(bench.down(1.3, 0, 0.3), straight=True)]
    with pytest.raises(UnreachableError) as caught:
        planner.plan(MotionRequest(HOME, segments, [bench.table()], time_limit=60))
    assert caught.value.segment == 1


def test_a_walled_in_goal_fails_within_the_time_limit(bench: Any, planner: Any, slowness: Callable[[], float]) -> None:
    free = dataclasses.replace(bench.cage(60.0), boxes=[bench.table()])
    planner.plan(free)  # nothing but the chest keeps the hand away
    began = time.monotonic()
    with pytest.raises(NoPathError, match="no path in 2 s") as caught:
        planner.plan(bench.cage(2.0))
    assert time.monotonic() - began < 2.0 + slowness()
    assert Status(caught.value.status_name) is Status.PLANNING_FAILED


def test_what_takes_the_goal_is_named(bench: Any, planner: Any) -> None:
    taken = bench.box("crate", (0.5, 0, 0.2), (0.3, 0.3, 0.4))
    with pytest.raises(NoPathError) as caught:
        planner.plan(MotionRequest(HOME, [Segment(bench.down(0.5, 0, 0.2))], [bench.table(), taken], time_limit=60))
    assert "crate" in caught.value.touched


def test_what_blocks_a_line_is_named(bench: Any, planner: Any) -> None:
    boxes = [dataclasses.replace(box, padding=0.03) if box.id == "target" else box for box in bench.clutter(0)]
    asked = bench.pick(boxes, time_limit=60)
    over, grasp, lift = asked.segments
    untouchable = dataclasses.replace(grasp, touch=frozenset())
    with pytest.raises(NoPathError) as caught:
        planner.plan(dataclasses.replace(asked, segments=[over, untouchable, lift]))
    assert (caught.value.segment, caught.value.touched) == (1, ("target",))
    stuck = dataclasses.replace(lift, held_touch=frozenset())
    with pytest.raises(NoPathError) as caught:
        planner.plan(dataclasses.replace(asked, segments=[over, grasp, stuck]))
    assert (caught.value.segment, caught.value.touched) == (2, ("table",))


def test_a_start_in_a_box_is_refused(bench: Any, planner: Any) -> None:
    around = bench.box("crate", planner.tip(HOME)[:3, 3], (0.2, 0.2, 0.2))
    with pytest.raises(NoPathError, match="too close") as caught:
        planner.plan(MotionRequest(HOME, [Segment(bench.down(0.5, 0.2, 0.2))], [around], time_limit=60))
    assert caught.value.touched == ("crate",)


@pytest.mark.parametrize(
    ("centre", "size", "depth"),
    [
        ((0.0, 0.0, 0.07), (0.05, 0.05, 0.1), "0.09"),
        ((0.12, 0.0, 0.05), (0.2, 0.2, 0.1), "0.05"),
        ((0.5, 0.0, 0.03), (1.2, 1.6, 0.04), "0.05"),
    ],
    ids=["a mug in the middle of it", "a crate from the front", "a table told 5 cm too high"],
)
def test_a_box_in_the_base_of_the_arm_is_refused_by_name(
    bench: Any, planner: Any, centre: tuple[float, ...], size: tuple[float, ...], depth: str
) -> None:
    wrong = bench.box("wrong", centre, size)
    asked = MotionRequest(HOME, [Segment(bench.down(0.5, 0.2, 0.3))], [wrong], time_limit=60)
    with pytest.raises(StandsWrongError, match=rf"base is {depth}\d* m inside an obstacle \(wrong\)\. .*TF") as caught:
        planner.plan(asked)
    assert caught.value.touched == ("wrong",)
    assert Status(caught.value.status_name) is Status.PLANNING_FAILED
    planner.plan(dataclasses.replace(asked, boxes=[dataclasses.replace(wrong, pose=shifted(wrong.pose, 1.0))]))


def test_what_the_base_is_mounted_on_may_reach_into_it_where_that_is_said(bench: Any, planner: Any) -> None:
    stand = bench.box("stand", (-0.05, 0.0, -0.02), (0.3, 0.3, 0.14))
    asked = MotionRequest(HOME, [Segment(bench.down(0.5, 0.2, 0.3))], [bench.table(), stand], time_limit=60)
    with pytest.raises(StandsWrongError):
        planner.plan(asked)
    planner.plan(dataclasses.replace(asked, stands_on={"stand"}))


@pytest.mark.parametrize("up", [-0.001, 0.0, 0.015])
def test_a_table_that_touches_the_base_is_what_it_stands_on(bench: Any, planner: Any, up: float) -> None:
    table = bench.box("table", (0.5, 0.0, up - 0.02), (1.2, 1.6, 0.04))
    planner.plan(MotionRequest(HOME, [Segment(bench.down(0.5, 0.2, 0.3))], [table], time_limit=60))


def shifted(pose: Any, x: float) -> Any:
    moved = pose.copy()
    moved[0, 3] += x
    return moved


def test_a_start_beyond_the_joint_limits_is_refused(bench: Any, planner: Any) -> None:
    with pytest.raises(InputError, match="beyond its limits"):
        planner.plan(MotionRequest(np.degrees(HOME), [Segment(bench.down(0.5, 0, 0.3))]))


def test_a_start_of_another_arm_and_an_opening_of_another_hand_are_refused(bench: Any, planner: Any) -> None:
    with pytest.raises(InputError, match=r"6 positions\. Expected 7"):
        planner.plan(MotionRequest(HOME[:6], [Segment(bench.down(0.5, 0, 0.3))]))
    with pytest.raises(InputError, match=r"0\.2. Expected 0 to 0\.08 m"):
        planner.plan(MotionRequest(HOME, [Segment(bench.down(0.5, 0, 0.3), opening=0.2)]))


def test_cancelling_stops_within_half_a_second(bench: Any, planner: Any) -> None:
    withdrawn, when = threading.Event(), []

    def withdraw() -> None:
        when.append(time.monotonic())
        withdrawn.set()

    timer = threading.Timer(1.0, withdraw)
    timer.start()
    with pytest.raises(CancelledError):
        planner.plan(bench.cage(60.0), withdrawn.is_set)
    assert time.monotonic() - when[0] < 0.5
    timer.join()


def test_requests_that_make_no_sense_are_refused() -> None:
    goal, cube = np.eye(4), np.ones(3)
    with pytest.raises(InputError, match="finite joint positions"):
        MotionRequest(np.full(7, np.nan), [Segment(goal)])
    with pytest.raises(InputError, match="segments"):
        MotionRequest(HOME, [])
    with pytest.raises(InputError, match="'a' twice"):
        MotionRequest(HOME, [Segment(goal)], [BoxObstacle("a", goal, cube), BoxObstacle("a", goal, cube)])
    with pytest.raises(InputError, match="stands_on"):
        MotionRequest(HOME, [Segment(goal)], [BoxObstacle("a", goal, cube)], stands_on={"b"})
    with pytest.raises(InputError, match="touch"):
        MotionRequest(HOME, [Segment(goal, touch={"b"})], [BoxObstacle("a", goal, cube)])
    for wrong in ({"velocity_scaling": 0.0}, {"acceleration_scaling": 1.1}, {"time_limit": -1.0}, {"seed": -1}):
        with pytest.raises(InputError):
            MotionRequest(HOME, [Segment(goal)], **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="opening"):
        Segment(goal, opening=-0.2)
    with pytest.raises(InputError, match="padding"):
        BoxObstacle("a", goal, cube, -0.1)
    with pytest.raises(InputError, match="size"):
        HeldBox("a", goal, np.array([1.0, 0.0, 1.0]))
    with pytest.raises(TransformError):
        Segment(2 * goal)
