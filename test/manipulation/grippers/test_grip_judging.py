# SPDX-License-Identifier: Apache-2.0
"""Whether something is held: what was measured leads, then a switch's word, then the driver's."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.manipulation.grippers.fingers import FingerWatch
from spatial_vlm_ros.manipulation.grippers.judging import GripReport, why_not_held, why_not_open
from spatial_vlm_ros.manipulation.grippers.stroke import read_stroke

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
