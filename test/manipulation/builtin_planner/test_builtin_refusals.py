# SPDX-License-Identifier: Apache-2.0
"""When the built-in planner refuses, and with which status."""

from __future__ import annotations

import dataclasses
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


def to(
    bench: Any, *goals: tuple[float, float, float], boxes: Any = (), start: Any = HOME, **more: Any
) -> MotionRequest:
    """A request for goals with the fingers down, on the table and among boxes; `more` of the last segment."""
    segments = [Segment(bench.down(*goal)) for goal in goals]
    segments[-1] = dataclasses.replace(segments[-1], **more)
    return MotionRequest(start, segments, [bench.table(), *boxes], time_limit=60)


def test_a_goal_or_a_line_out_of_reach_is_unreachable(bench: Any, planner: Any) -> None:
    with pytest.raises(UnreachableError) as caught:
        planner.plan(to(bench, (1.3, 0, 0.3)))
    assert Status(caught.value.status_name) is Status.UNREACHABLE
    assert caught.value.segment == 0
    # Stretched out, the tip is 0.855 m from the shoulder and 0.107 + 0.1034 m of hand (the maker's data sheet) at most.
    assert caught.value.position_error > 1.3 - 0.855 - 0.211
    with pytest.raises(UnreachableError) as caught:
        planner.plan(to(bench, (0.6, 0, 0.3), (1.3, 0, 0.3), straight=True))
    assert caught.value.segment == 1


def test_a_walled_in_goal_fails_after_the_time_limit_or_when_it_is_cancelled(bench: Any, planner: Any) -> None:
    planner.plan(dataclasses.replace(bench.cage(60.0), boxes=[bench.table()]))  # nothing but the chest is in the way
    with pytest.raises(NoPathError, match="no path in 1 s") as caught:
        planner.plan(bench.cage(1.0))
    assert Status(caught.value.status_name) is Status.PLANNING_FAILED
    asked = []

    def cancelled() -> bool:
        """From some time on while the search goes on."""
        asked.append(True)
        return len(asked) > 30

    with pytest.raises(CancelledError):
        planner.plan(bench.cage(600.0), cancelled)


def test_what_takes_the_goal_or_the_start_or_blocks_a_line_is_named(bench: Any, planner: Any) -> None:
    taken = bench.box("crate", (0.5, 0, 0.2), (0.3, 0.3, 0.4))
    with pytest.raises(NoPathError) as caught:
        planner.plan(to(bench, (0.5, 0, 0.2), boxes=[taken]))
    assert "crate" in caught.value.touched
    around = bench.box("crate", planner.tip(HOME)[:3, 3], (0.2, 0.2, 0.2))
    with pytest.raises(NoPathError, match="too close") as caught:
        planner.plan(dataclasses.replace(to(bench, (0.5, 0.2, 0.2)), boxes=[around]))
    assert caught.value.touched == ("crate",)
    boxes = [dataclasses.replace(box, padding=0.03) if box.id == "target" else box for box in bench.clutter(0)]
    asked = bench.pick(boxes, time_limit=60)
    over, grasp, lift = asked.segments
    for segments, number, touched in (
        ([over, dataclasses.replace(grasp, touch=frozenset()), lift], 1, "target"),
        ([over, grasp, dataclasses.replace(lift, held_touch=frozenset())], 2, "table"),
    ):
        with pytest.raises(NoPathError) as caught:
            planner.plan(dataclasses.replace(asked, segments=segments))
        assert (caught.value.segment, caught.value.touched) == (number, (touched,))


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
    asked = dataclasses.replace(to(bench, (0.5, 0.2, 0.3)), boxes=[wrong])
    with pytest.raises(StandsWrongError, match=rf"base is {depth}\d* m inside an obstacle \(wrong\)\. .*TF") as caught:
        planner.plan(asked)
    assert caught.value.touched == ("wrong",)
    assert Status(caught.value.status_name) is Status.PLANNING_FAILED
    planner.plan(dataclasses.replace(asked, boxes=[dataclasses.replace(wrong, pose=shifted(wrong.pose, 1.0))]))


def test_what_the_base_stands_on_may_touch_it_or_reach_into_it_where_that_is_said(bench: Any, planner: Any) -> None:
    for up in (-0.001, 0.0, 0.015):
        table = bench.box("table", (0.5, 0.0, up - 0.02), (1.2, 1.6, 0.04))
        planner.plan(dataclasses.replace(to(bench, (0.5, 0.2, 0.3)), boxes=[table]))
    stand = to(bench, (0.5, 0.2, 0.3), boxes=[bench.box("stand", (-0.05, 0.0, -0.02), (0.3, 0.3, 0.14))])
    with pytest.raises(StandsWrongError):
        planner.plan(stand)
    planner.plan(dataclasses.replace(stand, stands_on={"stand"}))


def shifted(pose: Any, x: float) -> Any:
    moved = pose.copy()
    moved[0, 3] += x
    return moved


def test_a_start_beyond_limits_or_of_another_arm_and_an_opening_of_another_hand_are_refused(
    bench: Any, planner: Any
) -> None:
    for changed, words in (
        ({"start": np.degrees(HOME)}, "beyond its limits"),
        ({"start": HOME[:6]}, r"6 positions\. Expected 7"),
        ({"opening": 0.2}, r"0\.2. Expected 0 to 0\.08 m"),
    ):
        with pytest.raises(InputError, match=words):
            planner.plan(to(bench, (0.5, 0, 0.3), **changed))


GOAL, CUBE = np.eye(4), np.ones(3)
BOX = BoxObstacle("a", GOAL, CUBE)


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        (MotionRequest, {"start": np.full(7, np.nan), "segments": [Segment(GOAL)]}, "finite joint positions"),
        (MotionRequest, {"segments": []}, "segments"),
        (MotionRequest, {"boxes": [BOX, BOX]}, "'a' twice"),
        (MotionRequest, {"boxes": [BOX], "stands_on": {"b"}}, "stands_on"),
        (MotionRequest, {"boxes": [BOX], "segments": [Segment(GOAL, touch={"b"})]}, "touch"),
        (MotionRequest, {"velocity_scaling": 0.0}, "velocity_scaling"),
        (MotionRequest, {"acceleration_scaling": 1.1}, "acceleration_scaling"),
        (MotionRequest, {"time_limit": -1.0}, "time limit"),
        (MotionRequest, {"seed": -1}, "seed"),
        (Segment, {"goal": GOAL, "opening": -0.2}, "opening"),
        (Segment, {"goal": 2 * GOAL}, ""),
        (BoxObstacle, {"id": "a", "pose": GOAL, "size": CUBE, "padding": -0.1}, "padding"),
        (HeldBox, {"id": "a", "pose": GOAL, "size": np.array([1.0, 0.0, 1.0])}, "size"),
    ],
)
def test_requests_that_make_no_sense_are_refused(make: Any, given: dict[str, Any], words: str) -> None:
    if make is MotionRequest:
        given = {"start": HOME, "segments": [Segment(GOAL)], **given}
    with pytest.raises(InputError if words else TransformError, match=words or None):
        make(**given)
