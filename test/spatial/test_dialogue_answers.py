# SPDX-License-Identifier: Apache-2.0
"""Whole sentences on rendered tables: which object is meant, and that nothing but the scene decides it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rendered_tables import Table, meant, without_depth

from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import Body, Rendering
from spatial_vlm_ros.types import FrameOfReference, RgbdFrame, Status, Transform, UpSource

ROBOT, VIEWER = FrameOfReference.ROBOT, FrameOfReference.VIEWER
DIRECTIONS = {
    "the can to the left of the cup": "left",
    "the can to the right of the cup": "right",
    "the block behind the cup": "back",
    "the block in front of the cup": "front",
}
SEEN_FROM_ACROSS = dict(zip(DIRECTIONS, ("right", "left", "front", "back"), strict=True))


def around_a_cup(tabletop: Table) -> tuple[Body, ...]:
    """A cup in the middle; seen from y = -0.9, cans to its left and right, blocks behind and in front of it."""
    cans = tabletop.can("left", -0.2, 0.0), tabletop.can("right", 0.2, 0.0)
    blocks = tabletop.block("back", 0.0, 0.25, (0.05, 0.05, 0.13)), tabletop.block("front", 0.0, -0.2)
    return tabletop.cup("cup", 0, 0), *cans, *blocks


@pytest.fixture(scope="module")
def around(tabletop: Table) -> Rendering:
    return tabletop.see(*around_a_cup(tabletop))


def test_answers_name_the_anchors_and_margins_that_decided(tabletop: Table) -> None:
    """The table is the surface, or an anchor like any other where it was detected; no cup is named apart."""
    table = tabletop.block("table", 0.0, 0.0, (0.3, 0.25, 0.04), label="table")
    for seen, words, id_, anchors in (
        (tabletop.scene("can a 0 0; block:box b 0.2 0"), "the can on the table", "a", ("support",)),
        (tabletop.scene("can up 0 0 0.04; can beside 0.35 0", table), "the can on the table", "up", ("table",)),
        (tabletop.scene("cup c0 -0.2 0; cup c1 0.2 0; can k 0.22 0.22"), "the can behind the cup", "k", ("c1",)),
    ):
        answer = tabletop.ask(seen, words)
        assert (meant(answer), answer.candidates[0].clauses[0].anchor_ids) == (id_, anchors)
    assert tabletop.ask(tabletop.scene("can a 0 0.35", eye=(0.0, -0.9, 0.5)), "the can on the floor").target is None
    for scale in (0.8, 1.6):
        seen = tabletop.scene("can a -0.1 0; can b 0.1 0", eye=(0.0, -0.9 * scale, 0.6 * scale))
        clause = tabletop.ask(seen, "the leftmost can").candidates[0].clauses[0]
        assert clause.margin_m == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("boxes", [False, True], ids=["masks", "boxes"])
@pytest.mark.parametrize("noise", [False, True], ids=["exact", "noisy"])
def test_four_directions_around_a_cup(tabletop: Table, around: Rendering, boxes: bool, noise: bool) -> None:
    frame = noisy(around.frame, np.random.default_rng(0)) if noise else around.frame
    given = tabletop.boxes_only(around.detections) if boxes else around.detections
    assert {words: tabletop.meant(around, words, given, frame) for words in DIRECTIONS} == DIRECTIONS


@pytest.mark.parametrize(("roll", "source"), [(-30, "pose"), (30, "imu"), (-30, "table"), (10, "table")])
def test_a_rolled_camera_gives_the_same_answers(tabletop: Table, roll: float, source: str) -> None:
    seen = tabletop.see(*around_a_cup(tabletop), roll_deg=roll)
    up = seen.frame.base_T_camera.rotation[2] if source == "imu" else None
    frame = seen.frame if source == "pose" else tabletop.without_pose(seen.frame, up=up)
    assert {words: tabletop.meant(seen, words, frame=frame) for words in DIRECTIONS} == DIRECTIONS


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_the_mirrored_table_swaps_left_and_right(tabletop: Table, seed: int) -> None:
    sides = ("the can to the {} of the cup", "the {}most can")
    bodies = random_tabletop(np.random.default_rng(seed), 5, labels=("can", "block")).bodies
    bodies = (*bodies, tabletop.cup("cup", 0.0, -0.35))
    mirrored = tuple(dataclasses.replace(b, position=(-b.position[0], *b.position[1:]), yaw=-b.yaw) for b in bodies)
    seen, swapped = tabletop.see(*bodies), tabletop.see(*mirrored)
    for words in sides:
        for one, other in (("left", "right"), ("right", "left")):
            assert tabletop.meant(seen, words.format(one)) == tabletop.meant(swapped, words.format(other))


@given(st.permutations(range(6)), st.integers(0, 1))
@settings(max_examples=6, deadline=None)
def test_the_order_of_detections_changes_nothing(tabletop: Table, order: list[int], seed: int) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(seed), 6, labels=("cup", "can", "box")).bodies)
    shuffled = [seen.detections[n] for n in order if n < len(seen.detections)]
    for words in ("the nearest cup", "the can behind the box", "the leftmost object", "the second can from the left"):
        one, other = tabletop.ask(seen, words), tabletop.ask(seen, words, shuffled)
        assert (one.status, meant(one)) == (other.status, meant(other)), words
        p, q = ({c.id: c.probability for c in a.candidates} for a in (one, other))
        assert p.keys() == q.keys()
        assert all(p[id_] == pytest.approx(q[id_], abs=0.01) for id_ in p)


@pytest.mark.parametrize("turn_deg", [35, 180, -120])
def test_turning_world_and_camera_leaves_the_answers(tabletop: Table, around: Rendering, turn_deg: float) -> None:
    """The base frame is another one; the image is the same."""
    t = np.radians(turn_deg)
    moved = np.array([[np.cos(t), -np.sin(t), 0, 1.5], [np.sin(t), np.cos(t), 0, -0.7], [0, 0, 1, 0.4], [0, 0, 0, 1]])
    pose = Transform("map", around.frame.frame_id, moved @ around.frame.base_T_camera.matrix)
    frame = dataclasses.replace(around.frame, base_T_camera=pose)
    for words, id_ in DIRECTIONS.items():
        here, there = tabletop.ask(around, words), tabletop.ask(around, words, frame=frame)
        assert (meant(there), there.target.pose.frame_id) == (id_, "map")
        expected = moved[:3, :3] @ here.target.pose.position + moved[:3, 3]
        np.testing.assert_allclose(there.target.pose.position, expected, atol=2e-5)


def test_the_same_input_gives_the_same_resolution(tabletop: Table) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(0), 6).bodies, stamp_ns=17)
    frames = [noisy(seen.frame, np.random.default_rng(0)) for _ in range(2)]  # each is lifted anew
    for detections in (seen.detections, tabletop.boxes_only(seen.detections)):
        for words in ("the leftmost object", "the thing behind the box", "the banana"):
            first, again = (tabletop.ask(seen, words, detections, frame) for frame in frames)
            assert first == again
            assert first.stamp_ns == 17


def test_unrelated_objects_do_not_change_the_answer(tabletop: Table) -> None:
    crowd = tabletop.scene("ball x -0.35 0.2; block y 0.3 -0.2", *around_a_cup(tabletop))
    assert {words: tabletop.meant(crowd, words) for words in DIRECTIONS} == DIRECTIONS


@pytest.fixture(scope="module")
def from_across(around: Rendering) -> RgbdFrame:
    """The frame with poses in the base of a robot that stands across the table and looks back."""
    base_T_world = np.array([[0, -1, 0, 0.9], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float64)
    pose = Transform("base_link", around.frame.frame_id, base_T_world @ around.frame.base_T_camera.matrix)
    return dataclasses.replace(around.frame, base_T_camera=pose)


def test_from_across_the_table_sides_are_others(tabletop: Table, around: Rendering, from_across: RgbdFrame) -> None:
    by_config = {"config": ResolverConfig(frame_of_reference=ROBOT)}
    for request, frame, expected in (({}, VIEWER, DIRECTIONS), ({"frame_of_reference": ROBOT}, ROBOT, SEEN_FROM_ACROSS),
                                     (by_config, ROBOT, SEEN_FROM_ACROSS)):  # fmt: skip
        for words, id_ in expected.items():
            answer = tabletop.ask(around, words, frame=from_across, **request)
            assert (meant(answer), answer.frame_of_reference) == (id_, frame), words


@pytest.mark.parametrize(
    ("words", "request_", "config", "id_", "frame"),
    [
        ("the can to the left of the cup", VIEWER, ROBOT, "left", VIEWER),
        ("the can to your left of the cup", VIEWER, VIEWER, "right", ROBOT),
        ("the can to the left of the cup as seen from the camera", None, ROBOT, "left", VIEWER),
        ("the leftmost can", None, VIEWER, "left", VIEWER),
        ("the leftmost can", ROBOT, VIEWER, "right", ROBOT),
        ("the nearest block", ROBOT, VIEWER, "back", ROBOT),
    ],
)
def test_words_come_before_the_request_and_the_request_before_the_configuration(
    tabletop: Table, around: Rendering, from_across: RgbdFrame, words: str, request_: FrameOfReference | None,
    config: FrameOfReference, id_: str, frame: FrameOfReference,
) -> None:  # fmt: skip
    answer = tabletop.ask(around, words, frame=from_across, config=ResolverConfig(frame_of_reference=config),
                          frame_of_reference=request_)  # fmt: skip
    assert (meant(answer), answer.frame_of_reference) == (id_, frame)


def test_an_up_against_which_the_table_faces_down_is_refused(tabletop: Table, around: Rendering) -> None:
    assert tabletop.ask(around, "the cup").up_from is UpSource.TF
    assert tabletop.ask(around, "the cup", frame=tabletop.without_pose(around.frame)).up_from is UpSource.SUPPORT_PLANE
    gravity = -around.frame.base_T_camera.rotation[2]
    answer = tabletop.ask(around, "the cup", frame=tabletop.without_pose(around.frame, up=gravity))
    assert answer.status is Status.INVALID_INPUT
    assert "negative gravity vector" in answer.message


def test_poses_are_those_of_the_world_or_without_a_base_of_the_camera(tabletop: Table, around: Rendering) -> None:
    bodies = {body.id: body for body in around_a_cup(tabletop)}
    for words, id_ in DIRECTIONS.items():
        target, truth = tabletop.ask(around, words).target, bodies[id_]
        assert target.pose.frame_id == "world"
        np.testing.assert_allclose(target.pose.position, truth.centre, atol=0.01)
        np.testing.assert_allclose(target.size, truth.size, atol=0.015)
        assert target.surface_position[1] < target.pose.position[1], "the surface seen is nearer the camera"
        assert np.linalg.norm(target.pose.orientation) == pytest.approx(1.0, abs=1e-5)
    bare = tabletop.without_pose(around.frame)
    target = tabletop.ask(around, "the can to the right of the cup", frame=bare).target
    assert target.pose.frame_id == around.frame.frame_id
    world = around.frame.base_T_camera.apply(np.array(target.pose.position))
    np.testing.assert_allclose(world, (0.2, 0.0, 0.05), atol=0.01)


def test_covariances_are_symmetric_positive_and_turned_with_the_base(tabletop: Table, around: Rendering) -> None:
    words, turn = "the can to the right of the cup", around.frame.base_T_camera.rotation
    bare = tabletop.without_pose(around.frame, up=turn[2])
    base, own = (np.reshape(tabletop.ask(around, words, frame=f).target.covariance, (6, 6)) for f in (None, bare))
    for covariance in (base, own):
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-11)
        assert np.linalg.eigvalsh(covariance).min() > 0
    R = np.kron(np.eye(2), turn)
    np.testing.assert_allclose(base, R @ own @ R.T, atol=1e-9)
    assert base[5, 5] > 3.0, "a can's heading about the base's z is unknown"
    assert base[3, 3] < 0.01


@pytest.mark.parametrize("yaw", [0.6, -1.2])
def test_a_grasp_closes_on_the_shorter_side_and_on_a_round_object_from_any(tabletop: Table, yaw: float) -> None:
    body = tabletop.block("a", 0.0, 0.0, (0.16, 0.05, 0.06), label="box", yaw=yaw)
    grasp = tabletop.ask(tabletop.see(body, eye=tabletop.pitched(50)), "the box").target.grasp
    assert grasp.width == pytest.approx(0.05, abs=0.012)
    closing = np.array([np.cos(grasp.yaw), np.sin(grasp.yaw)])
    assert abs(closing @ (-np.sin(yaw), np.cos(yaw))) > np.cos(np.radians(6))
    can = tabletop.ask(tabletop.scene("can a 0 0"), "the can").target
    assert (can.yaw_known, can.grasp.yaw) == (False, None)
    assert can.grasp.width == pytest.approx(0.07, abs=0.012)


@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_of_three_objects_at_most_one_is_between_the_others(tabletop: Table, seed: int) -> None:
    rng, names = np.random.default_rng(seed), ("can", "cup", "block")
    for _ in range(5):
        places = rng.uniform((-0.25, -0.15), (0.25, 0.25), (3, 2))
        if min(np.linalg.norm(places[i] - places[i - 1]) for i in range(3)) < 0.1:
            continue
        seen = tabletop.scene("; ".join(f"{name} {name} {x} {y}" for name, (x, y) in zip(names, places, strict=True)))
        words = [f"the {name} between the {names[n - 1]} and the {names[n - 2]}" for n, name in enumerate(names)]
        assert sum(tabletop.ask(seen, each).target is not None for each in words) <= 1


def test_an_unmeasured_object_never_makes_an_order_sure(tabletop: Table) -> None:
    seen = tabletop.scene("cup a -0.15 0; cup b 0.15 0; can glass 0 0.1", eye=(0.0, -0.01, 1.0))
    for words, right in (("the rightmost cup", "b"), ("the second cup from the left", "b"), ("the leftmost cup", "a")):
        answer = tabletop.ask(seen, words, frame=without_depth(seen, "glass"))
        assert answer.confidence == answer.confidence, "no NaN"
        assert answer.target is None or answer.target.id == right
