# SPDX-License-Identifier: Apache-2.0
"""From widths to positions of drivers and joints, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.grippers.stroke import (
    Stroke,
    command_stroke,
    finger_stroke,
    linear_stroke,
    read_stroke,
)
from spatial_vlm_ros.parameters import MotionConfig

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
