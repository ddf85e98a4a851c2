# SPDX-License-Identifier: Apache-2.0
"""Whether something is held or let go, and the way from widths to positions of drivers and joints and back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import tables

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation import grippers as stroke
from spatial_vlm_ros.manipulation.grippers import (
    FingerWatch,
    GripReport,
    Stroke,
    linear_stroke,
    read_stroke,
    why_not_held,
    why_not_open,
)
from spatial_vlm_ros.parameters import MotionConfig

TABLES = tables(__file__)
FINGERS = ("left", "right")


def held(report: GripReport, sent: float = 0.0, expected: float | None = 0.04, unjudged: bool = False) -> str:
    return why_not_held(report, sent, expected, 0.01, unjudged)


@pytest.mark.parametrize(("what", "report", "why"), TABLES["held"])
def test_held_or_opened_or_why_not(what: str, report: dict[str, Any], why: str) -> None:
    given = GripReport(**report)
    said = held(given) if what == "held" else why_not_open(given, 0.06, unjudged=False, slack=0.005)
    assert why in said
    assert bool(why) is bool(said)


def test_an_unmoved_or_unknown_object_or_a_gripper_that_reports_nothing_may_be_held() -> None:
    assert held(GripReport(before=0.041, width=0.041)) == "", "the fingers touched it before they closed"
    assert held(GripReport(before=0.08, width=0.07), expected=None) == "", "every width that fingers have moved to"
    assert "did not move" in held(GripReport(before=0.08, width=0.08), expected=None)
    assert held(GripReport(), unjudged=True) == "", "believed on request"
    assert why_not_open(GripReport(), 0.06, unjudged=True) == ""
    assert "reports neither a width" in why_not_open(GripReport(), 0.06, unjudged=False, slack=0.005)


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
    line = linear_stroke(scale, offset)
    assert line.width(line.position(width)) == pytest.approx(width, abs=1e-9)


@pytest.mark.parametrize(("table", "words"), TABLES["no tables"])
def test_what_is_not_a_table_is_refused_with_an_example(table: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_stroke("motion.gripper_table", table)


def test_fingers_share_the_width_or_follow_the_command_or_a_table_of_their_own() -> None:
    assert stroke.finger_stroke(MotionConfig()) is None
    follows = stroke.finger_stroke(MotionConfig(gripper_table=ROBOTIQ, finger_table="command"))
    own = stroke.finger_stroke(MotionConfig(finger_table="0 0.1; 1 0.6"))
    assert follows.position(0.0) == pytest.approx(0.7929)
    assert own.position(0.2) == pytest.approx(0.2)
    with pytest.raises(InputError, match="gripper_scale"):
        stroke.command_stroke(MotionConfig(gripper_scale=0.0))
