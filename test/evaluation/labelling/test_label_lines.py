# SPDX-License-Identifier: Apache-2.0
"""Truth is proposed from answers and written in lines: nothing that somebody wrote by hand is lost.

Also the scene from above, in which places are shown.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.case import CaseLine
from spatial_vlm_ros.evaluation.labelling.case_lines import case_line, checked_kind, checked_truth
from spatial_vlm_ros.evaluation.labelling.ground import Ground, ground_of
from spatial_vlm_ros.evaluation.labelling.proposal import proposed, same_truth
from spatial_vlm_ros.resolver import Answered, Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup, chicks_and_cup_frame
from spatial_vlm_ros.types import RgbdFrame

PLACE = {"relation": "on", "anchor_id": "d2", "region_center": [0.1, 0.2, 0.3], "region_half": [0.1, 0.1, 0.0]}


OLD = {
    "frame": "f1",
    "question": "where is the cup?",
    "kind": ["1 bare"],
    "annotator": "Ann",
    "expect": {"status": "OK", "id": "d1", "mask": "m.png", "sure": 0.7, "tolerance_m": 0.02,
               "box_3d": {"center": [0, 0, 1], "size": [1, 1, 1]}, "place": {**PLACE, "because": "the plate"}},
}  # fmt: skip


def truth(**given: Any) -> dict[str, Any]:
    return checked_truth(given, ("d1", "d2", "d3"), (640, 480), with_place=True)


def corrected(old: dict[str, Any], words: str = "", **given: Any) -> dict[str, Any]:
    return case_line(old, {}, words, None, truth(**given), "corrected")


# ------------------------------------------------------------------------------------------------ lines


def test_a_new_line_has_its_own_fields_and_those_that_the_page_does_not_write_stay() -> None:
    line = case_line({}, {"frame": "f1"}, "the cup", [], truth(status="OK", id="d1"), "accepted")
    expect = {"status": "OK", "id": "d1"}
    assert line == {"frame": "f1", "instruction": "the cup", "expect": expect, "by": "accepted"}
    line = corrected(OLD, "where is the cup?", status="OK", id="d1", place=PLACE)
    assert line == {**OLD, "by": "corrected"}
    assert list(line)[:2] == ["frame", "question"]


def test_fields_within_a_place_go_with_its_relation_and_anchor() -> None:
    moved, other = {**PLACE, "region_center": [0.2, 0.2, 0.3]}, {**PLACE, "anchor_id": "d3"}
    line = corrected(OLD, status="OK", id="d1", place=moved)
    assert line["expect"]["place"] == {**moved, "because": "the plate"}
    assert "replaced" not in line
    line = corrected(OLD, status="OK", id="d1", place=other)
    assert line["expect"]["place"] == other
    assert line["replaced"] == {"place": {**PLACE, "because": "the plate"}}


def test_what_describes_another_object_or_none_is_moved_and_not_lost() -> None:
    line = corrected(OLD, status="OK", id="d2")
    assert line["expect"] == {"status": "OK", "id": "d2", "sure": 0.7}
    moved = {name: OLD["expect"][name] for name in ("mask", "box_3d", "tolerance_m", "place")}  # type: ignore[index]
    assert line["replaced"] == moved
    old = {"frame": "f1", "instruction": "x", "expect": {"status": "OK", "mask": "m.png"}, "replaced": {"id": "d0"}}
    line = corrected(old, "x", status="NOT_FOUND")
    assert line["expect"] == {"status": "NOT_FOUND"}
    assert line["replaced"] == {"id": "d0", "mask": "m.png"}
    with pytest.raises(InputError, match="both `instruction` and `question`"):
        corrected({"frame": "f1", "instruction": "x", "question": "x"}, "x", status="OK")


@pytest.mark.parametrize(
    "given",
    [
        {"status": "OK", "id": "d1", "id_also": ["d2"], "place": PLACE},
        {"status": "OK", "box": [1, 2, 30.25, 40], "label": "cup"},
        {"status": "ANSWERED", "answer": {"value": "yes", "ids": ["d1"]}},
        {"status": "ANSWERED", "id": "d1", "answer": {"value": 0.25, "tolerance": 0.01}},
        {"status": "AMBIGUOUS"},
    ],
)
def test_what_is_checked_can_be_read_as_a_case(given: dict[str, Any]) -> None:
    line = case_line({}, {"frame": "f1"}, "x", ["a"], truth(**given), "written")
    case = msgspec.json.decode(json.dumps(line), type=CaseLine).case()
    assert case.expect is not None
    assert case.expect.status.value == given["status"]
    assert case.expect.id == given.get("id")
    assert case.kind == ("a",)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Choose one, or the right object"),
        ({"status": "FINE"}, "Choose one, or the right object"),
        ({"status": "OK", "id": "d9"}, "Choose one of the numbered objects"),
        ({"status": "NOT_FOUND", "id": "d1"}, "a refusal without an object"),
        ({"status": "NOT_FOUND", "box": [1, 2, 3, 4]}, "a refusal without an object"),
        ({"status": "OK", "answer": {"value": "yes"}}, "the status ANSWERED"),
        ({"status": "OK", "id_also": ["d1"]}, "Choose the right object first"),
        ({"status": "OK", "id": "d1", "id_also": ["d1"]}, "Choose the right object first"),
        ({"status": "OK", "box": [1, 2, 1, 4]}, "left before right"),
        ({"status": "OK", "box": [1, 2, 900, 4]}, "inside the image of 640x480"),
        ({"status": "OK", "box": [1, 2, float("nan"), 4]}, "left, top, right, bottom"),
        ({"status": "OK", "box": [True, 2, 3, 4]}, "left, top, right, bottom"),
        ({"status": "OK", "place": {**PLACE, "region_center": [0, 0]}}, "three numbers"),
        ({"status": "OK", "place": {**PLACE, "region_half": [-1, 0, 0]}}, "0 to 1000"),
        ({"status": "OK", "place": {**PLACE, "region_center": [5000, 0, 0]}}, "-1000 to 1000"),
        ({"status": "OK", "place": {**PLACE, "relation": " "}}, "text of up to"),
        ({"status": "OK", "place": {**PLACE, "anchor_id": None}}, "Choose one of the numbered objects"),
        ({"status": "ANSWERED", "answer": {"value": "yes", "tolerance": 1}}, "not a number"),
        ({"status": "ANSWERED", "answer": {"value": 1, "tolerance": -1}}, "0 to 1000"),
        ({"status": "OK", "mask": "m.png"}, "an object with status"),
    ],
)
def test_wrong_truth_is_refused_in_words(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        truth(**given)


def test_kinds_are_words() -> None:
    assert checked_kind(None) is None
    assert checked_kind([" a ", "b", "a"]) == ["a", "b"]
    for wrong in ("a", [1], [""]):
        with pytest.raises(InputError):
            checked_kind(wrong)
    with pytest.raises(InputError, match=r"Add base_T_camera.json or truth.json"):
        checked_truth({"status": "OK", "place": PLACE}, ("d2",), None, with_place=False)


# ------------------------------------------------------------------------------------------------ proposals


@pytest.fixture(scope="module")
def seen() -> tuple[RgbdFrame, tuple[Any, ...]]:
    return chicks_and_cup_frame()


def answered(seen: tuple[RgbdFrame, tuple[Any, ...]], words: str) -> tuple[Answered, Ground]:
    frame, detections = seen
    answer = Resolver().look_at(frame, detections).ask(words)
    assert answer.scene is not None
    return answer, ground_of(answer.scene, frame.base_T_camera)


def proposal(seen: tuple[RgbdFrame, tuple[Any, ...]], words: str, by_id: bool = True) -> dict[str, Any]:
    answer, ground = answered(seen, words)
    return proposed(answer.resolution, answer.detections, ground, by_id=by_id)


def test_objects_and_refusals_are_proposed_by_id_or_by_label_and_box(seen: Any) -> None:
    assert proposal(seen, "the chick behind the cup") == {"status": "OK", "id": "bonnet"}
    (bonnet,) = [one for one in seen[1] if one.id == "bonnet"]
    found = proposal(seen, "the chick behind the cup", by_id=False)
    assert found == {"status": "OK", "label": "chick", "box": [pytest.approx(v, abs=0.05) for v in bonnet.box_xyxy]}
    found = proposal(seen, "both chicks")
    assert {found["id"], *found["id_also"]} == {"bonnet", "ribbon"}
    assert proposal(seen, "the chick") == {"status": "AMBIGUOUS"}
    assert proposal(seen, "the fork") == {"status": "NOT_FOUND"}


def test_the_answer_of_a_question_with_half_its_interval(seen: Any) -> None:
    answer, _ = answered(seen, "how far is the cup from the box?")
    found = proposal(seen, "how far is the cup from the box?")
    space = answer.resolution.answer
    assert space is not None
    assert space.interval is not None
    assert found["status"] == "ANSWERED"
    assert found["answer"]["value"] == pytest.approx(space.value, abs=0.0006)
    assert found["answer"]["tolerance"] == pytest.approx((space.interval[1] - space.interval[0]) / 2, abs=0.0006)
    counted = proposal(seen, "how many chicks are there?")["answer"]
    assert (counted["value"], set(counted["ids"])) == (2, {"ribbon", "bonnet"})


def test_a_side_is_one_spot_around_the_place_and_next_to_a_box_around_the_anchor(seen: Any) -> None:
    words = "put the box to the right of the cup"
    answer, _ = answered(seen, words)
    place, given = proposal(seen, words)["place"], answer.resolution.place
    assert given is not None
    assert given.pose.frame_id == "world"
    assert (place["relation"], place["anchor_id"]) == ("right of", "cup")
    assert place["region_center"] == pytest.approx(given.pose.position, abs=1e-4)
    assert place["region_half"] == [0.06, 0.06, 0.0]
    place = proposal(seen, "put the box next to the cup")["place"]
    assert place["region_center"][:2] == pytest.approx((0.0, 0.0), abs=0.01)  # where the cup stands
    assert place["region_half"][:2] == pytest.approx((0.19, 0.19), abs=0.01)  # its radius and 15 cm
    bare = dataclasses.replace(seen[0], base_T_camera=None)
    assert "place" not in proposal((bare, seen[1]), words)


def test_the_scene_from_above_is_where_the_bodies_are(seen: Any) -> None:
    _, ground = answered(seen, "the cup")
    assert ground.frame_id == "world"
    for body in chicks_and_cup().bodies:
        found = ground.object(body.id)
        assert found is not None
        low, high = found.outline.min(axis=0), found.outline.max(axis=0)
        assert (low + high) / 2 == pytest.approx(body.position[:2], abs=0.012)
        assert found.bottom == pytest.approx(0.0, abs=0.01)
    assert ground.camera == pytest.approx((-0.74, 0.0), abs=1e-6)
    assert ground.ahead == pytest.approx((1.0, 0.0), abs=1e-6)
    assert ground.object("nobody") is None


def test_without_a_pose_the_axes_are_the_cameras(seen: Any) -> None:
    frame, detections = seen
    bare = dataclasses.replace(frame, base_T_camera=None)
    _, ground = answered((bare, detections), "the cup")
    _, posed = answered(seen, "the cup")
    assert ground.frame_id is None
    assert ground.ahead == pytest.approx((0.0, 1.0), abs=1e-6)
    one, other = (
        np.linalg.norm(g.object("bonnet").outline.mean(axis=0) - g.object("ribbon").outline.mean(axis=0))  # type: ignore[union-attr]
        for g in (ground, posed)
    )
    assert one == pytest.approx(other, abs=0.01)
    assert ground.json()["frame_id"] is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"status": "OK", "id": "d1"}, {"status": "OK", "id": "d1", "id_also": [], "place": None}, True),
        ({"status": "OK", "id": "d1"}, {"status": "OK", "id": "d2"}, False),
        ({"status": "OK"}, {"status": "OK", "sure": 0.3}, True),
        ({"status": "OK"}, {"status": "OK", "box": [1, 2, 3, 4]}, False),
    ],
)
def test_when_two_truths_say_the_same(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert same_truth(one, other) is same
