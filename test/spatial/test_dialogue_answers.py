# SPDX-License-Identifier: Apache-2.0
"""Whole sentences on rendered tables: which object is meant, and that nothing but the scene decides it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import Body, Rendering
from spatial_vlm_ros.types import FrameOfReference, Resolution, Status, Transform, UpSource

if TYPE_CHECKING:
    from conftest import Tabletop


def chosen(answer: Resolution) -> str:
    """The target's id, or the refusal."""
    return answer.target.id if answer.target is not None else answer.status.value


# ------------------------------------------------------------------------------------------------ four directions


def around_a_cup(tabletop: Tabletop) -> tuple[Body, ...]:
    """A cup in the middle; seen from y = -0.9, cans to its left and right, blocks behind and in front of it."""
    return (
        tabletop.cup("cup", 0, 0),
        tabletop.can("left", -0.2, 0.0),
        tabletop.can("right", 0.2, 0.0),
        tabletop.block("back", 0.0, 0.25, (0.05, 0.05, 0.13)),
        tabletop.block("front", 0.0, -0.2),
    )


DIRECTIONS = {
    "the can to the left of the cup": "left",
    "the can to the right of the cup": "right",
    "the block behind the cup": "back",
    "the block in front of the cup": "front",
}


@pytest.mark.parametrize("boxes", [False, True], ids=["masks", "boxes"])
@pytest.mark.parametrize("noise", [False, True], ids=["exact", "noisy"])
def test_four_directions_around_a_cup(tabletop: Tabletop, boxes: bool, noise: bool) -> None:
    seen = tabletop.see(*around_a_cup(tabletop))
    frame = noisy(seen.frame, np.random.default_rng(0)) if noise else seen.frame
    given = tabletop.boxes_only(seen.detections) if boxes else seen.detections
    for words, id_ in DIRECTIONS.items():
        assert chosen(tabletop.ask(seen, words, given, frame)) == id_, words


@pytest.mark.parametrize("pitch", [15, 30, 45, 60, 70])
def test_a_tall_bottle_in_front_of_a_low_block_keeps_its_order(tabletop: Tabletop, pitch: float) -> None:
    bodies = tabletop.can("tall", 0.06, -0.08, height=0.24, label="bottle"), tabletop.block("low", -0.02, 0.1)
    seen = tabletop.see(*bodies, eye=tabletop.pitched(pitch))
    assert chosen(tabletop.ask(seen, "the block behind the bottle")) == "low"
    assert chosen(tabletop.ask(seen, "the bottle in front of the block")) == "tall"
    assert chosen(tabletop.ask(seen, "the bottle behind the block")) == "RELATION_UNSATISFIED"
    assert chosen(tabletop.ask(seen, "the block in front of the bottle")) == "RELATION_UNSATISFIED"


def test_higher_in_the_image_is_not_farther(tabletop: Tabletop) -> None:
    """A can on a tall box near the camera is seen above a can that stands farther away."""
    bodies = (
        tabletop.block("tower", 0.08, -0.05, (0.1, 0.1, 0.22), label="box"),
        tabletop.can("up", 0.08, -0.05, z=0.22),
        tabletop.can("down", -0.05, 0.12),
    )
    seen = tabletop.see(*bodies, eye=tabletop.pitched(30))
    rows = {d.id: d.box_xyxy[1] for d in seen.detections}
    assert rows["up"] < rows["down"]
    assert chosen(tabletop.ask(seen, "the nearest can")) == "up"
    assert chosen(tabletop.ask(seen, "the farthest can")) == "down"


@pytest.mark.parametrize("roll", [-30, -10, 30])
@pytest.mark.parametrize("source", ["pose", "imu", "table"])
def test_a_rolled_camera_gives_the_same_answers(tabletop: Tabletop, roll: float, source: str) -> None:
    seen = tabletop.see(*around_a_cup(tabletop), roll_deg=roll)
    up = seen.frame.base_T_camera.rotation[2]
    frame = {
        "pose": seen.frame,
        "imu": tabletop.without_pose(seen.frame, up=up),
        "table": tabletop.without_pose(seen.frame),
    }[source]
    for words, id_ in DIRECTIONS.items():
        assert chosen(tabletop.ask(seen, words, frame=frame)) == id_, words


def test_the_mirrored_table_swaps_left_and_right(tabletop: Tabletop) -> None:
    words = (
        "the can to the left of the cup",
        "the can to the right of the cup",
        "the leftmost can",
        "the rightmost can",
    )
    for seed in range(4):
        bodies = random_tabletop(np.random.default_rng(seed), 5, labels=("can", "block")).bodies
        bodies = (*bodies, tabletop.cup("cup", 0.0, -0.35))
        mirrored = tuple(dataclasses.replace(b, position=(-b.position[0], *b.position[1:]), yaw=-b.yaw) for b in bodies)
        answers = [
            [chosen(tabletop.ask(seen, w)) for w in words] for seen in (tabletop.see(*bodies), tabletop.see(*mirrored))
        ]
        swapped = [answers[1][n] for n in (1, 0, 3, 2)]
        assert answers[0] == swapped


# ------------------------------------------------------------------------------------------------ what must not matter


@given(st.permutations(range(6)), st.integers(0, 3))
@settings(max_examples=12, deadline=None)
def test_the_order_of_detections_changes_nothing(tabletop: Tabletop, order: list[int], seed: int) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(seed), 6, labels=("cup", "can", "box")).bodies)
    shuffled = [seen.detections[n] for n in order if n < len(seen.detections)]
    for words in ("the nearest cup", "the can behind the box", "the leftmost object", "the second can from the left"):
        one, other = tabletop.ask(seen, words), tabletop.ask(seen, words, shuffled)
        assert (one.status, chosen(one)) == (other.status, chosen(other)), words
        p, q = ({c.id: c.probability for c in a.candidates} for a in (one, other))
        assert p.keys() == q.keys()
        assert all(p[id_] == pytest.approx(q[id_], abs=0.01) for id_ in p)


@pytest.mark.parametrize("turn_deg", [35, 90, 180, -120])
def test_turning_and_moving_the_world_with_the_camera_leaves_the_answers(tabletop: Tabletop, turn_deg: float) -> None:
    """The base frame is another one; the image is the same."""
    seen = tabletop.see(*around_a_cup(tabletop))
    t = np.radians(turn_deg)
    moved = np.array([[np.cos(t), -np.sin(t), 0, 1.5], [np.sin(t), np.cos(t), 0, -0.7], [0, 0, 1, 0.4], [0, 0, 0, 1]])
    pose = Transform("map", seen.frame.frame_id, moved @ seen.frame.base_T_camera.matrix)
    frame = dataclasses.replace(seen.frame, base_T_camera=pose)
    for words, id_ in DIRECTIONS.items():
        here, there = tabletop.ask(seen, words), tabletop.ask(seen, words, frame=frame)
        assert chosen(there) == id_
        assert there.target.pose.frame_id == "map"
        expected = moved[:3, :3] @ here.target.pose.position + moved[:3, 3]
        np.testing.assert_allclose(there.target.pose.position, expected, atol=2e-5)


def test_the_same_input_gives_the_same_resolution(tabletop: Tabletop) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(0), 6).bodies, stamp_ns=17)
    frame = noisy(seen.frame, np.random.default_rng(0))
    for words in ("the leftmost object", "the thing behind the box", "the cup", "the banana"):
        for detections in (seen.detections, tabletop.boxes_only(seen.detections)):
            first, again = (tabletop.ask(seen, words, detections, frame) for _ in range(2))
            assert first == again
            assert first.stamp_ns == 17


def test_unrelated_objects_do_not_change_the_answer(tabletop: Tabletop) -> None:
    bodies = around_a_cup(tabletop)
    crowd = (*bodies, tabletop.ball("x", -0.35, 0.2), tabletop.block("y", 0.3, -0.2))
    for words, id_ in DIRECTIONS.items():
        assert chosen(tabletop.ask(tabletop.see(*crowd), words)) == id_


# ------------------------------------------------------------------------------------------------ orders


@pytest.fixture(scope="module")
def row_of_cans(tabletop: Tabletop) -> Rendering:
    """Four cans from left to right, ever farther away, and ever taller; a cup beyond them."""
    cans = (tabletop.can(f"o{n}", -0.27 + 0.17 * n, -0.15 + 0.12 * n, height=0.06 + 0.03 * n) for n in range(4))
    return tabletop.see(*cans, tabletop.cup("cup", -0.5, 0.2))


@pytest.mark.parametrize(
    ("words", "id_"),
    [
        ("the leftmost can", "o0"),
        ("the rightmost can", "o3"),
        ("the nearest can", "o0"),
        ("the farthest can", "o3"),
        ("the tallest can", "o3"),
        ("the shortest can", "o0"),
        ("the can on the left", "o0"),
        ("the first can from the left", "o0"),
        ("the second can from the left", "o1"),
        ("the third can from the left", "o2"),
        ("the second can from the right", "o2"),
        ("the fourth can from the right", "o0"),
        ("the fifth can from the left", "RELATION_UNSATISFIED"),
        ("the leftmost object", "cup"),
    ],
)
def test_orders_are_over_the_objects_of_that_name(
    tabletop: Tabletop, row_of_cans: Rendering, words: str, id_: str
) -> None:
    assert chosen(tabletop.ask(row_of_cans, words)) == id_


def test_orders_are_over_the_set_that_the_other_words_leave(tabletop: Tabletop) -> None:
    bodies = (
        tabletop.can("red left", -0.3, 0.0, colour="red"),
        tabletop.can("blue left", -0.15, 0.0),
        tabletop.cup("cup", 0.0, 0.0),
        tabletop.can("blue right", 0.15, 0.0),
        tabletop.can("red right", 0.3, 0.0, colour="red"),
    )
    seen = tabletop.see(*bodies)
    assert chosen(tabletop.ask(seen, "the leftmost blue can")) == "blue left"
    assert chosen(tabletop.ask(seen, "the leftmost can to the right of the cup")) == "blue right"


@pytest.mark.parametrize("words", ["the nearest can", "the tallest can", "the farthest can", "the shortest can"])
def test_ties_are_ambiguous(tabletop: Tabletop, words: str) -> None:
    seen = tabletop.see(tabletop.can("a", -0.2, 0.0), tabletop.can("b", 0.2, 0.0))
    answer = tabletop.ask(seen, words)
    assert answer.status is Status.AMBIGUOUS
    assert {c.id for c in answer.candidates} == {"a", "b"}


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.6])
def test_the_margin_of_an_order_is_in_metres_at_any_distance(tabletop: Tabletop, scale: float) -> None:
    seen = tabletop.see(tabletop.can("a", -0.1, 0.0), tabletop.can("b", 0.1, 0.0), eye=(0.0, -0.9 * scale, 0.6 * scale))
    answer = tabletop.ask(seen, "the leftmost can")
    assert chosen(answer) == "a"
    assert answer.candidates[0].clauses[0].margin_m == pytest.approx(0.2, rel=0.05)


def test_objects_one_behind_the_other_tie_for_leftmost(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", 0.0, -0.1, height=0.05), tabletop.can("b", 0.0, 0.2))
    assert tabletop.ask(seen, "the leftmost can").status is Status.AMBIGUOUS
    assert tabletop.ask(seen, "the second can from the left").status is Status.AMBIGUOUS


# ------------------------------------------------------------------------------------------------ other relations


@pytest.fixture(scope="module")
def stacked(tabletop: Tabletop) -> Rendering:
    """A can on a box, a can on the table, a ball in a bowl, a ball on the table well away."""
    return tabletop.see(
        tabletop.block("box", -0.2, 0.0, (0.12, 0.1, 0.06), label="box"),
        tabletop.can("on box", -0.2, 0.0, z=0.06),
        tabletop.can("on table", 0.0, 0.2),
        tabletop.cup("bowl", 0.05, -0.05, 0.07, 0.055, label="bowl"),
        tabletop.ball("in bowl", 0.05, -0.05, 0.025, z=0.004),
        tabletop.ball("outside", 0.3, 0.05, 0.025),
    )


@pytest.mark.parametrize("boxes", [False, True], ids=["masks", "boxes"])
@pytest.mark.parametrize(
    ("words", "id_"),
    [
        ("the can on the box", "on box"), ("the can on top of the box", "on box"), ("the can above the box", "on box"),
        ("the can on the table", "on table"), ("the can that is not on the box", "on table"),
        ("the box under the can", "box"), ("the box below the can", "box"),
        ("the ball in the bowl", "in bowl"), ("the ball inside the bowl", "in bowl"),
        ("the ball that is not in the bowl", "outside"), ("the object in the bowl", "in bowl"),
        ("the can under the box", "RELATION_UNSATISFIED"), ("the bowl on the box", "RELATION_UNSATISFIED"),
        ("the box on the can", "RELATION_UNSATISFIED"), ("the bowl in the ball", "RELATION_UNSATISFIED"),
        ("the can in the bowl", "RELATION_UNSATISFIED"),
    ],
)  # fmt: skip
def test_on_above_under_and_inside(tabletop: Tabletop, stacked: Rendering, words: str, id_: str, boxes: bool) -> None:
    given = tabletop.boxes_only(stacked.detections) if boxes else stacked.detections
    assert chosen(tabletop.ask(stacked, words, given)) == id_


def test_on_the_table_names_the_support_as_anchor(tabletop: Tabletop, stacked: Rendering) -> None:
    answer = tabletop.ask(stacked, "the can on the table")
    assert answer.candidates[0].clauses[0].anchor_ids == ("support",)


def test_a_table_that_was_detected_is_an_anchor_like_any_other(tabletop: Tabletop) -> None:
    table = tabletop.block("table", 0.0, 0.0, (0.3, 0.25, 0.04), label="table")
    seen = tabletop.see(table, tabletop.can("up", 0.0, 0.0, z=0.04), tabletop.can("beside", 0.35, 0.0))
    answer = tabletop.ask(seen, "the can on the table")
    assert chosen(answer) == "up"
    assert answer.candidates[0].clauses[0].anchor_ids == ("table",)


@pytest.mark.parametrize(
    ("words", "id_"),
    [
        ("the can next to the cup", "close"), ("the can near the cup", "close"), ("the can beside the cup", "close"),
        ("the can far from the cup", "away"), ("the can that is not next to the cup", "away"),
        ("the can that is not far from the cup", "close"),
    ],
)  # fmt: skip
def test_next_to_near_and_far(tabletop: Tabletop, words: str, id_: str) -> None:
    seen = tabletop.see(
        tabletop.cup("cup", -0.25, 0), tabletop.can("close", -0.15, 0.02), tabletop.can("away", 0.3, 0.1)
    )
    assert chosen(tabletop.ask(seen, words)) == id_


@pytest.mark.parametrize(
    "words",
    ["the can between the cups", "the can between the two cups", "the can between the cup and the bowl",
     "the can between the bowl and the cup"],
)  # fmt: skip
def test_between_two_objects_and_between_two_of_a_kind(tabletop: Tabletop, words: str) -> None:
    other = tabletop.cup("b", 0.2, 0.0, label="bowl" if "bowl" in words else "cup")
    cans = tabletop.can("mid", 0.0, 0.02), tabletop.can("off", 0.0, 0.25)
    assert chosen(tabletop.ask(tabletop.see(tabletop.cup("a", -0.2, 0.0), other, *cans), words)) == "mid"


def test_a_negated_side_leaves_the_others(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("l", -0.2, 0.0), tabletop.can("r", 0.2, 0.0))
    assert chosen(tabletop.ask(seen, "the can that is not to the left of the cup")) == "r"
    answer = tabletop.ask(seen, "the can that is not behind the cup")
    assert answer.status is Status.AMBIGUOUS


# ------------------------------------------------------------------------------------------------ joint choice


def test_of_two_cups_the_one_is_meant_that_has_a_can_behind_it(tabletop: Tabletop) -> None:
    """No cup is named apart; the sentence holds for one pair only."""
    bodies = tabletop.cup("c0", -0.2, 0.0), tabletop.cup("c1", 0.2, 0.0), tabletop.can("k", 0.22, 0.22)
    seen = tabletop.see(*bodies)
    answer = tabletop.ask(seen, "the can behind the cup")
    assert chosen(answer) == "k"
    assert answer.candidates[0].clauses[0].anchor_ids == ("c1",)


def test_the_anchor_of_an_anchor_is_chosen_jointly(tabletop: Tabletop) -> None:
    """Blocks stand behind both cups; only one of the cups is left of the can."""
    bodies = (
        tabletop.cup("c0", -0.25, -0.1), tabletop.cup("c1", 0.25, -0.1), tabletop.can("k", 0.0, -0.1),
        tabletop.block("b0", -0.27, 0.12), tabletop.block("b1", 0.27, 0.12),
    )  # fmt: skip
    seen = tabletop.see(*bodies)
    assert chosen(tabletop.ask(seen, "the block behind the cup to the left of the can")) == "b0"
    assert chosen(tabletop.ask(seen, "the block behind the cup to the right of the can")) == "b1"


@pytest.mark.parametrize(("bowl_behind", "expected"), [(True, "m0"), (False, "m1")])
def test_the_scene_decides_between_two_readings(tabletop: Tabletop, bowl_behind: bool, expected: str) -> None:
    """ "The mug left of the bowl behind the box": is it the bowl that is behind the box, or the mug?"""
    bowl_y = 0.15 if bowl_behind else -0.25
    bodies = (
        tabletop.block("box", 0.0, -0.1, (0.1, 0.05, 0.05), label="box"),
        tabletop.cup("bowl", 0.02, bowl_y, 0.06, 0.05, label="bowl"),
        tabletop.cup("m0", -0.3, bowl_y, label="mug") if bowl_behind else tabletop.cup("m1", -0.05, 0.2, label="mug"),
        tabletop.cup("other", 0.3, 0.1, label="mug"),
    )
    answer = tabletop.ask(tabletop.see(*bodies), "the mug left of the bowl behind the box")
    assert chosen(answer) == expected
    assert answer.query.readings >= 2


# ------------------------------------------------------------------------------------------------ frames of reference


def robot_opposite(seen: Rendering) -> Any:
    """The frame with poses in the base of a robot that stands across the table and looks back."""
    base_T_world = np.array([[0, -1, 0, 0.9], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float64)
    pose = Transform("base_link", seen.frame.frame_id, base_T_world @ seen.frame.base_T_camera.matrix)
    return dataclasses.replace(seen.frame, base_T_camera=pose)


SEEN_FROM_ACROSS = {
    "the can to the left of the cup": "right",
    "the can to the right of the cup": "left",
    "the block behind the cup": "front",
    "the block in front of the cup": "back",
}


def test_a_robot_across_the_table_means_the_other_side(tabletop: Tabletop) -> None:
    seen = tabletop.see(*around_a_cup(tabletop))
    frame = robot_opposite(seen)
    by_config = ResolverConfig(frame_of_reference=FrameOfReference.ROBOT)
    for words, id_ in SEEN_FROM_ACROSS.items():
        plain = tabletop.ask(seen, words, frame=frame)
        assert (chosen(plain), plain.frame_of_reference) == (DIRECTIONS[words], FrameOfReference.VIEWER)
        for answer in (
            tabletop.ask(seen, words, frame=frame, frame_of_reference=FrameOfReference.ROBOT),
            tabletop.ask(seen, words, frame=frame, config=by_config),
        ):
            assert (chosen(answer), answer.frame_of_reference) == (id_, FrameOfReference.ROBOT), words


def test_words_come_before_the_request_and_the_request_before_the_configuration(tabletop: Tabletop) -> None:
    seen = tabletop.see(*around_a_cup(tabletop))
    frame = robot_opposite(seen)
    robot = ResolverConfig(frame_of_reference=FrameOfReference.ROBOT)
    words = "the can to the left of the cup"
    assert (
        chosen(tabletop.ask(seen, words, frame=frame, config=robot, frame_of_reference=FrameOfReference.VIEWER))
        == "left"
    )
    spoken = tabletop.ask(
        seen, "the can to your left of the cup", frame=frame, frame_of_reference=FrameOfReference.VIEWER
    )
    assert (chosen(spoken), spoken.frame_of_reference) == ("right", FrameOfReference.ROBOT)
    seen_by_camera = tabletop.ask(
        seen, "the can to the left of the cup as seen from the camera", frame=frame, config=robot
    )
    assert (chosen(seen_by_camera), seen_by_camera.frame_of_reference) == ("left", FrameOfReference.VIEWER)


def test_the_robots_leftmost_is_the_cameras_rightmost(tabletop: Tabletop) -> None:
    seen = tabletop.see(*around_a_cup(tabletop))
    frame = robot_opposite(seen)
    assert chosen(tabletop.ask(seen, "the leftmost can", frame=frame)) == "left"
    assert (
        chosen(tabletop.ask(seen, "the leftmost can", frame=frame, frame_of_reference=FrameOfReference.ROBOT))
        == "right"
    )
    assert (
        chosen(tabletop.ask(seen, "the nearest block", frame=frame, frame_of_reference=FrameOfReference.ROBOT))
        == "back"
    )


@pytest.mark.parametrize("words", ["the can to my left of the cup", "the can on my left",
                                   "the can to the left of the cup from where I stand"])  # fmt: skip
def test_the_speakers_side_is_undefined_until_it_is_configured(tabletop: Tabletop, words: str) -> None:
    answer = tabletop.ask(tabletop.see(*around_a_cup(tabletop)), words)
    assert answer.status is Status.FRAME_UNDEFINED
    assert "speaker" in answer.message
    assert answer.target is None


def test_without_a_pose_the_robots_side_is_undefined(tabletop: Tabletop) -> None:
    seen = tabletop.see(*around_a_cup(tabletop))
    answer = tabletop.ask(seen, "the can to your left of the cup", frame=tabletop.without_pose(seen.frame))
    assert answer.status is Status.FRAME_UNDEFINED
    assert "base_T_camera" in answer.message


def test_looking_straight_down_left_is_the_images_and_behind_is_undefined(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.block("l", -0.15, 0.1), tabletop.can("r", 0.15, 0.1),
                        eye=(0.0, -0.1, 1.0), target=(0, 0, 0))  # fmt: skip
    assert chosen(tabletop.ask(seen, "the object to the left of the cup")) == "l"
    assert chosen(tabletop.ask(seen, "the object to the right of the cup")) == "r"
    assert chosen(tabletop.ask(seen, "the leftmost object")) == "l"
    for words in ("the can behind the cup", "the block in front of the cup"):
        answer = tabletop.ask(seen, words)
        assert answer.status is Status.FRAME_UNDEFINED
        assert "robot" in answer.message, "names the frame that would do"


def test_frames_are_echoed_and_up_is_told(tabletop: Tabletop) -> None:
    seen = tabletop.see(*around_a_cup(tabletop))
    words = "the block behind the cup"
    assert tabletop.ask(seen, words).up_from is UpSource.TF
    assert tabletop.ask(seen, words, frame=tabletop.without_pose(seen.frame)).up_from is UpSource.SUPPORT_PLANE
    assert tabletop.ask(seen, words).frame_of_reference is FrameOfReference.VIEWER


# ------------------------------------------------------------------------------------------------ the target


def test_poses_are_those_of_the_world(tabletop: Tabletop) -> None:
    bodies = around_a_cup(tabletop)
    seen = tabletop.see(*bodies)
    for words, id_ in DIRECTIONS.items():
        target = tabletop.ask(seen, words).target
        truth = next(b for b in bodies if b.id == id_)
        assert target.pose.frame_id == "world"
        np.testing.assert_allclose(target.pose.position, truth.centre, atol=0.01)
        np.testing.assert_allclose(target.size, truth.size, atol=0.015)
        assert target.surface_position[1] < target.pose.position[1], "the surface seen is nearer the camera"
        assert np.linalg.norm(target.pose.orientation) == pytest.approx(1.0, abs=1e-5)


def test_without_a_base_poses_are_the_cameras(tabletop: Tabletop) -> None:
    seen = tabletop.see(*around_a_cup(tabletop))
    target = tabletop.ask(seen, "the can to the right of the cup", frame=tabletop.without_pose(seen.frame)).target
    assert target.pose.frame_id == seen.frame.frame_id
    world = seen.frame.base_T_camera.apply(np.array(target.pose.position))
    np.testing.assert_allclose(world, (0.2, 0.0, 0.05), atol=0.01)


def test_covariances_are_symmetric_positive_and_turned_with_the_base(tabletop: Tabletop) -> None:
    seen = tabletop.see(*around_a_cup(tabletop))
    words = "the can to the right of the cup"
    base = np.array(tabletop.ask(seen, words).target.covariance).reshape(6, 6)
    up = seen.frame.base_T_camera.rotation[2]
    own = np.array(tabletop.ask(seen, words, frame=tabletop.without_pose(seen.frame, up=up)).target.covariance).reshape(
        6, 6
    )
    for covariance in (base, own):
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-11)
        assert np.linalg.eigvalsh(covariance).min() > 0
    R = np.kron(np.eye(2), seen.frame.base_T_camera.rotation)
    np.testing.assert_allclose(base, R @ own @ R.T, atol=1e-9)
    assert base[5, 5] > 3.0, "a can's heading about the base's z is unknown"
    assert base[3, 3] < 0.01


def test_a_grasp_closes_on_the_shorter_side(tabletop: Tabletop) -> None:
    for yaw in (0.0, 0.6, -1.2):
        body = tabletop.block("a", 0.0, 0.0, (0.16, 0.05, 0.06), label="box", yaw=yaw)
        grasp = tabletop.ask(tabletop.see(body, eye=tabletop.pitched(50)), "the box").target.grasp
        assert grasp.width == pytest.approx(0.05, abs=0.012)
        closing = np.array([np.cos(grasp.yaw), np.sin(grasp.yaw)])
        assert abs(closing @ (-np.sin(yaw), np.cos(yaw))) > np.cos(np.radians(6))


def test_a_round_object_may_be_grasped_from_any_side(tabletop: Tabletop) -> None:
    target = tabletop.ask(tabletop.see(tabletop.can("a", 0, 0)), "the can").target
    assert not target.yaw_known
    assert target.grasp.yaw is None
    assert target.grasp.width == pytest.approx(0.07, abs=0.012)


# ------------------------------------------------------------------------------------------------ closest to, middle


def test_closest_and_farthest_compare_the_distance_to_an_anchor(tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.can("near", -0.1, 0.0), tabletop.can("far", 0.25, 0.1), tabletop.block("box", -0.25, 0.05, label="box")
    )
    assert chosen(tabletop.ask(seen, "the can closest to the box")) == "near"
    assert chosen(tabletop.ask(seen, "the can farthest from the box")) == "far"


def test_the_middle_one_has_as_many_on_either_side(tabletop: Tabletop) -> None:
    cans = [tabletop.can(f"c{n}", -0.2 + 0.2 * n, 0.0) for n in range(3)]
    assert chosen(tabletop.ask(tabletop.see(*cans), "the middle can")) == "c1"
    assert tabletop.ask(tabletop.see(*cans[:2]), "the middle can").target is None


@pytest.mark.parametrize("words", ["the can next to it", "the can behind something", "the can left of that one"])
def test_an_anchor_that_nobody_described_is_refused_by_name(tabletop: Tabletop, words: str) -> None:
    seen = tabletop.see(tabletop.can("a", -0.1, 0.0), tabletop.cup("b", 0.1, 0.0))
    answer = tabletop.ask(seen, words)
    assert answer.target is None
    assert answer.status.value == "NOT_UNDERSTOOD"


def test_the_floor_is_not_the_table_where_a_lower_ground_is_seen(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", 0.0, 0.35), eye=(0.0, -0.9, 0.5))
    assert chosen(tabletop.ask(seen, "the can on the table")) == "a"
    assert tabletop.ask(seen, "the can on the floor").target is None


def test_of_three_objects_at_most_one_is_between_the_others(tabletop: Tabletop) -> None:
    rng = np.random.default_rng(3)
    for _ in range(12):
        places = rng.uniform((-0.25, -0.15), (0.25, 0.25), (3, 2))
        if min(np.linalg.norm(places[i] - places[i - 1]) for i in range(3)) < 0.1:
            continue
        seen = tabletop.see(
            tabletop.can("can", *places[0]),
            tabletop.cup("cup", *places[1]),
            tabletop.block("box", *places[2], label="box"),
        )
        names = ("can", "cup", "box")
        held = []
        for n, name in enumerate(names):
            words = f"the {name} between the {names[n - 1]} and the {names[n - 2]}"
            held += [name] if tabletop.ask(seen, words).target is not None else []
        assert len(held) <= 1


def test_an_unmeasured_object_never_makes_an_order_sure(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("a", -0.15, 0.0), tabletop.cup("b", 0.15, 0.0), tabletop.can("glass", 0.0, 0.1),
                        eye=(0.0, -0.01, 1.0))  # fmt: skip
    depth = seen.frame.depth.copy()
    depth[seen.masks["glass"]] = np.nan
    frame = dataclasses.replace(seen.frame, depth=depth)
    for words, right in (("the rightmost cup", "b"), ("the second cup from the left", "b"), ("the leftmost cup", "a")):
        answer = Resolver().resolve(frame, words, seen.detections)
        assert answer.confidence == answer.confidence, "no NaN"
        assert answer.target is None or answer.target.id == right


def test_an_up_against_which_the_table_faces_down_is_refused(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("a", -0.1, 0.0), tabletop.can("b", 0.1, 0.0))
    assert seen.frame.base_T_camera is not None
    gravity = -seen.frame.base_T_camera.rotation[2]
    upside_down = dataclasses.replace(seen.frame, base_T_camera=None, up=gravity)
    answer = Resolver().resolve(upside_down, "the cup", seen.detections)
    assert answer.status.value == "INVALID_INPUT"
    assert "negative gravity vector" in answer.message
