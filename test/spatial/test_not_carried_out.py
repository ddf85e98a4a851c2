# SPDX-License-Identifier: Apache-2.0
"""What is understood and never taken: other actions, several commands, prohibitions, supports and large boxes."""

from __future__ import annotations

import dataclasses

import pytest
from rendered_tables import Table

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.spatial.support_check import check_carried_out
from spatial_vlm_ros.types import Detection, Status

OTHERS = {
    "wipe the tray": "'wipe'", "push the cup": "'push'", "let go of the cup": "'release'",
    "throw away the can": "'throw'", "avoid the cup": "'avoid'", "find the mug": "'find'",
    "could you find the mug": "'find'", "open the drawer and put the bowl in it": "'open'",
    "pick up the ball and then pick up the cup": "2 (pick the ball, pick the cup)",
    "the dining table": "a dining table is never taken",
}  # fmt: skip
CARRIED_OUT = (
    "grab me the chick behind the cup", "the chick behind the cup", "pick up the mug and put it on the tray",
    "put the cup on the tray without touching the plate", "find the mug and pick it up",
)  # fmt: skip


@pytest.mark.parametrize("words", OTHERS)
def test_an_arm_refuses_by_name_what_it_does_not_carry_out(words: str) -> None:
    with pytest.raises(NotUnderstoodError) as refused:
        check_carried_out(parse(words)[0])
    assert OTHERS[words] in refused.value.reason


@pytest.mark.parametrize("words", CARRIED_OUT)
def test_an_arm_carries_out_one_command_to_take_give_or_place(words: str) -> None:
    check_carried_out(parse(words)[0])


@pytest.mark.parametrize("words", ["don't touch the can", "avoid the can", "leave the can where it is"])
def test_a_prohibition_has_no_target(tabletop: Table, words: str) -> None:
    answer = tabletop.ask(tabletop.scene("can can 0 0"), words)
    assert (answer.status, answer.target) == (Status.NOT_UNDERSTOOD, None)
    assert "what not to do" in answer.message


@pytest.fixture(scope="module")
def seen(tabletop: Table) -> Rendering:
    return tabletop.scene("can can 0.2 0; cup cup 0 0")


def boxed(label: str, x0: float, y0: float, x1: float, y1: float) -> Detection:
    return Detection(id="large", label=label, box_xyxy=(x0, y0, x1, y1), score=0.9)


TABLE = boxed("dining table", 0.0, 300.0, 639.0, 400.0)  # farther left than both
OVER_A_THIRD = boxed("tray", 0.0, 160.0, 639.0, 330.0)
UNDER_A_THIRD = boxed("tray", 0.0, 160.0, 639.0, 310.0)


def test_a_support_is_none_of_the_objects_but_an_anchor(tabletop: Table, seen: Rendering) -> None:
    """It is not taken under its own name, and can be looked for."""
    for large in (TABLE, OVER_A_THIRD):
        assert tabletop.meant(seen, "take the leftmost object", [*seen.detections, large]) == "cup"
    answer = tabletop.ask(seen, "grab the dining table", [*seen.detections, TABLE])
    assert (answer.status, answer.target) == (Status.NOT_UNDERSTOOD, None)
    assert "a dining table is never taken" in answer.message
    given = [*seen.detections, dataclasses.replace(TABLE, box_xyxy=(0.0, 160.0, 639.0, 479.0))]
    assert tabletop.meant(seen, "take the cup on the dining table", given) == "cup"
    assert tabletop.meant(seen, "find the dining table", given) != "NOT_FOUND"


def test_a_box_over_a_third_of_the_image_is_not_taken_and_the_answer_says_so(tabletop: Table, seen: Rendering) -> None:
    answer = tabletop.ask(seen, "take the tray", [*seen.detections, OVER_A_THIRD])
    assert (answer.status, answer.target) == (Status.NOT_FOUND, None)
    assert "over a third of the image: tray (large)" in answer.message
    assert tabletop.meant(seen, "take the tray", [*seen.detections, UNDER_A_THIRD]) != "NOT_FOUND"
