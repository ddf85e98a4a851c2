# SPDX-License-Identifier: Apache-2.0
"""Lines that are written: nothing that somebody wrote by hand is lost, and all of it can be read again."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.case import CaseLine
from spatial_vlm_ros.evaluation.labelling.case_lines import case_line, checked_kind, checked_truth

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


def test_a_new_line_has_the_fields_of_the_frame_the_words_and_how_it_was_made() -> None:
    line = case_line({}, {"frame": "f1"}, "the cup", [], truth(status="OK", id="d1"), "accepted")
    expect = {"status": "OK", "id": "d1"}
    assert line == {"frame": "f1", "instruction": "the cup", "expect": expect, "by": "accepted"}


def test_fields_that_the_page_does_not_write_stay() -> None:
    line = case_line(OLD, {}, "where is the cup?", None, truth(status="OK", id="d1", place=PLACE), "corrected")
    assert line == {**OLD, "by": "corrected"}
    assert list(line)[:2] == ["frame", "question"]


def test_fields_within_a_place_go_with_its_relation_and_anchor() -> None:
    moved = {**PLACE, "region_center": [0.2, 0.2, 0.3]}
    line = case_line(OLD, {}, "", None, truth(status="OK", id="d1", place=moved), "corrected")
    assert line["expect"]["place"] == {**moved, "because": "the plate"}
    assert "replaced" not in line
    other = {**PLACE, "anchor_id": "d3"}
    line = case_line(OLD, {}, "", None, truth(status="OK", id="d1", place=other), "corrected")
    assert line["expect"]["place"] == other
    assert line["replaced"] == {"place": {**PLACE, "because": "the plate"}}


def test_what_describes_another_object_is_moved_and_not_lost() -> None:
    line = case_line(OLD, {}, "", None, truth(status="OK", id="d2"), "corrected")
    assert line["expect"] == {"status": "OK", "id": "d2", "sure": 0.7}
    moved = {name: OLD["expect"][name] for name in ("mask", "box_3d", "tolerance_m", "place")}  # type: ignore[index]
    assert line["replaced"] == moved


def test_a_refusal_keeps_no_object() -> None:
    old = {"frame": "f1", "instruction": "x", "expect": {"status": "OK", "mask": "m.png"}, "replaced": {"id": "d0"}}
    line = case_line(old, {}, "x", None, truth(status="NOT_FOUND"), "corrected")
    assert line["expect"] == {"status": "NOT_FOUND"}
    assert line["replaced"] == {"id": "d0", "mask": "m.png"}


def test_what_stands_in_the_old_line_may_contradict_and_is_said() -> None:
    old = {"frame": "f1", "instruction": "x", "question": "x"}
    with pytest.raises(InputError, match="both `instruction` and `question`"):
        case_line(old, {}, "x", None, truth(status="OK"), "written")


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


def test_no_place_without_the_cameras_pose() -> None:
    with pytest.raises(InputError, match=r"Add base_T_camera.json or truth.json"):
        checked_truth({"status": "OK", "place": PLACE}, ("d2",), None, with_place=False)


def test_kinds_are_words() -> None:
    assert checked_kind(None) is None
    assert checked_kind([" a ", "b", "a"]) == ["a", "b"]
    for wrong in ("a", [1], [""]):
        with pytest.raises(InputError):
            checked_kind(wrong)
