# SPDX-License-Identifier: Apache-2.0
"""Whether something is held or let go, and the way from widths to positions of drivers and joints and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.grippers.fingers import FingerWatch
from spatial_vlm_ros.manipulation.grippers.judging import GripReport, why_not_held, why_not_open
from spatial_vlm_ros.manipulation.grippers.stroke import (
    Stroke,
    command_stroke,
    finger_stroke,
    linear_stroke,
    read_stroke,
)
from spatial_vlm_ros.parameters import MotionConfig

FINGERS = ("left", "right")


def held(report: GripReport, sent: float = 0.0, expected: float | None = 0.04, unjudged: bool = False) -> str:
    return why_not_held(report, sent, expected, 0.01, unjudged)


@pytest.mark.parametrize(
    "report",
    [
        GripReport(before=0.06, width=0.04),
        GripReport(before=0.06, width=0.02),  # narrower between the fingers than from above
        GripReport(before=0.06, width=0.045),  # within the tolerance
        GripReport(width=0.04, done=False, said="not within epsilon"),  # the driver is wrong
        GripReport(width=0.015, reached=True),  # it counts a centimetre as there
        GripReport(stalled=True, told_width=0.04),
        GripReport(stalled=True),
        GripReport(done=True),
        GripReport(flag=True),
        GripReport(flag=True, width=0.0),  # a vacuum cup has no width
    ],
)
def test_held(report: GripReport) -> None:
    assert held(report) == ""


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (GripReport(before=0.06, width=0.001, stalled=True), "closed to 0.001 m without meeting an object"),
        (GripReport(before=0.08, width=0.08, stalled=True), "did not move"),
        (GripReport(before=0.048, width=0.048, stalled=True), "did not move: they are 0.048 m"),  # in the tolerance
        (GripReport(before=0.048, width=0.0475, reached=True), "did not move"),
        (GripReport(before=0.048, stalled=True, told_width=0.048), "did not move"),
        (GripReport(before=0.08, width=0.06, stalled=True), "they hold something else"),
        (GripReport(stalled=True, told_width=0.07), "they hold something else"),
        (GripReport(reached=True), "closed to 0.000 m without meeting an object"),
        (GripReport(done=False, said="communication"), "nothing is held (communication)"),
        (GripReport(told_width=0.05), "is 0.050 m away"),
        (GripReport(flag=False, done=True), "the gripper's switch reports that nothing is held"),
        (GripReport(), "reports neither a width"),
    ],
)
def test_not_held(report: GripReport, why: str) -> None:
    assert why in held(report)


def test_an_unmoved_or_unknown_object_or_a_gripper_that_reports_nothing_may_be_held() -> None:
    assert held(GripReport(before=0.041, width=0.041)) == "", "the fingers touched it before they closed"
    assert held(GripReport(before=0.08, width=0.07), expected=None) == "", "every width that fingers have moved to"
    assert "did not move" in held(GripReport(before=0.08, width=0.08), expected=None)
    assert held(GripReport(), unjudged=True) == "", "believed on request"
    assert why_not_open(GripReport(), 0.06, unjudged=True) == ""
    assert "reports neither a width" in why_not_open(GripReport(), 0.06, unjudged=False, slack=0.005)


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (GripReport(reached=True), ""),
        (GripReport(done=True), ""),
        (GripReport(width=0.0605), ""),
        (GripReport(flag=False), ""),
        (GripReport(width=0.056, reached=True), ""),  # a controller may count millimetres as there
        (GripReport(width=0.02, stalled=True), "is 0.040 m away"),
        (
            GripReport(width=0.0, reached=True),
            "is 0.060 m away from the commanded width of 0.060 m according to joint states, but the driver reports",
        ),
        (GripReport(width=0.08, done=True), "one of the two is wrong"),
        (GripReport(width=0.02, flag=False), "one of the two is wrong"),
        (GripReport(width=0.056), "is 0.004 m away"),
        (GripReport(done=False, said="no power"), "reports a failure (no power)"),
        (GripReport(flag=True, done=True), "still held"),
    ],
)
def test_opened(report: GripReport, why: str) -> None:
    said = why_not_open(report, 0.06, unjudged=False, slack=0.005)
    assert why in said
    assert bool(why) is bool(said)


def test_fingers_share_the_width_and_stand_after_some_time() -> None:
    watch = FingerWatch(FINGERS)
    assert watch.width(0.0) is None
    for k in range(10):
        watch.add(1 + 0.1 * k, ["right", "arm", "left"], [0.04 - 0.004 * k, 9.0, 0.04 - 0.004 * k])
    assert watch.width(1.5) == pytest.approx(0.008)
    assert not watch.settled(1.0, 0.2)
    for k in range(4):
        watch.add(2 + 0.1 * k, ["right", "left"], [0.004, 0.004])
    assert watch.settled(1.0, 0.3)
    assert not watch.settled(2.1, 0.3)  # of what came after that, not for long enough
    assert watch.width(3.0) is None


def test_a_knuckle_tells_the_width_by_its_stroke_and_other_messages_say_nothing() -> None:
    for message in ((["left"], [0.02]), (["left", "right"], [0.02]), (["left", "right"], [0.02, float("nan")])):
        watch = FingerWatch(FINGERS)
        watch.add(1.0, *message)
        assert watch.width(0.0) is None
    assert FingerWatch(()).width(0.0) is None
    watch = FingerWatch(("knuckle",), read_stroke("motion.finger_table", "0.0 0.7929; 0.085 0.0"))
    watch.add(1.0, ["knuckle"], [0.7929 / 2])
    assert watch.width(0.0) == pytest.approx(0.0425)


ROBOTIQ = "0.0 0.7929; 0.085 0.0"


def test_a_franka_hand_has_half_the_width_and_a_robotiq_turns_the_other_way() -> None:
    franka, robotiq = linear_stroke(0.5, 0.0), read_stroke("motion.gripper_table", ROBOTIQ)
    assert franka.position(0.08) == pytest.approx(0.04)
    assert robotiq.position(0.0425) == pytest.approx(0.7929 / 2)
    assert robotiq.width(0.7929) == pytest.approx(0.0)
    assert linear_stroke(-0.7929 / 0.085, 0.7929).position(0.085) == pytest.approx(0.0)


def test_a_table_bends_where_the_linkage_does() -> None:
    table = Stroke((0.0, 0.04, 0.085), (0.8, 0.5, 0.0))
    assert table.position(0.02) == pytest.approx(0.65)
    assert table.position(0.1) == pytest.approx(0.0 - 0.5 / 0.045 * 0.015)  # on with the last slope
    assert table.width(0.65) == pytest.approx(0.02)


@given(st.floats(-0.01, 0.1), st.sampled_from([0.5, -9.33, 1.0]), st.floats(-1, 1))
def test_there_and_back_is_the_same_width(width: float, scale: float, offset: float) -> None:
    stroke = linear_stroke(scale, offset)
    assert stroke.width(stroke.position(width)) == pytest.approx(width, abs=1e-9)


EXAMPLE, JUMPS = r"parameter motion\.gripper_table.*For example", "less than 1000 for each millimetre"
NO_TABLES = ("", "0.0 1.0", "a b; c d", "0 1; 0 2", "0 1; 1 1", "0 0; 1 2; 2 1", "0 nan; 1 2", "0 1 2; 3 4 5")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        *((table, EXAMPLE) for table in NO_TABLES),
        ("0 0.79; 85 0", r"motion\.gripper_table: '0 0.79; 85 0'.*not millimetres"),  # it would have stayed closed
        ("0 1e308; 0.085 -1e308", JUMPS),
        ("0 0; 1e-9 0.79; 0.085 0.8", JUMPS),
    ],
)
def test_what_is_not_a_table_is_refused_with_an_example(table: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_stroke("motion.gripper_table", table)


def test_fingers_share_the_width_or_follow_the_command_or_a_table_of_their_own() -> None:
    assert finger_stroke(MotionConfig()) is None
    follows = finger_stroke(MotionConfig(gripper_table=ROBOTIQ, finger_table="command"))
    own = finger_stroke(MotionConfig(finger_table="0 0.1; 1 0.6"))
    assert follows is not None
    assert own is not None
    assert follows.position(0.0) == pytest.approx(0.7929)
    assert own.position(0.2) == pytest.approx(0.2)
    with pytest.raises(InputError, match="gripper_scale"):
        command_stroke(MotionConfig(gripper_scale=0.0))
