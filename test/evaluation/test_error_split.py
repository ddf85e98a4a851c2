# SPDX-License-Identifier: Apache-2.0
"""What went wrong and who is to blame: a detector that errs as it is told, on a scene whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from frame_files import write_frame

from spatial_vlm_ros.evaluation import case_judge
from spatial_vlm_ros.evaluation.case_judge import EvaluatedCase
from spatial_vlm_ros.evaluation.error_split import same_name
from spatial_vlm_ros.evaluation.frame_writer import write_frame as write_whole_frame
from spatial_vlm_ros.evaluation.model_spec import ModelSpec, load_model
from spatial_vlm_ros.evaluation.reports import failure_image
from spatial_vlm_ros.evaluation.rows import COLUMNS, result_of, row_of
from spatial_vlm_ros.evaluation.sources import Source, evaluate_source
from spatial_vlm_ros.parameters import ResolverConfig, Settings
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

BEHIND = "the chick behind the cup"
BONNET = {"status": "OK", "id": "bonnet"}
NEAR = {"center": [0.22, -0.03, 0.035], "size": [0.07, 0.07, 0.07]}


def evaluated(folder: Path, words: str, expect: dict[str, Any], **options: str) -> EvaluatedCase:
    """One case on the scene by a scripted detector, or by the given detections without options."""
    frame, detections = chicks_and_cup_frame()
    if not (folder / "f1").exists():
        write_whole_frame(folder / "f1", frame, detections)
    (folder / "cases.jsonl").write_text(json.dumps({"frame": "f1", "instruction": words, "expect": expect}) + "\n")
    spec = ModelSpec("scripted", "scripted_grounder:load", options) if options else ModelSpec()
    (one,) = evaluate_source(Source(str(folder)), load_model(spec), Settings())
    return one


@pytest.mark.parametrize(
    ("words", "expect", "options", "error", "blame", "about"),
    [
        (BEHIND, BONNET, {"ghost": "plate"}, "", None, ""),
        (BEHIND, BONNET, {"drop": "bonnet"}, "not detected", "model", "chick (bonnet)"),
        (BEHIND, BONNET, {"drop": "cup"}, "not detected", "model", "cup (cup)"),
        (BEHIND, BONNET, {"rename": "cup:bottle"}, "mislabelled", "model", "cup (cup) as 'bottle'"),
        ("the cup", {"status": "OK", "id": "cup"}, {"rename": "box:cup", "drop": "cup"}, "not detected", "model",
         "cup (cup)"),
        ("the rightmost chick", BONNET, {"ghost": "chick"}, "mislabelled", "model", "no true object as 'chick'"),
        ("the cup", {"status": "OK", "id": "cup"}, {"ghost": "cup"}, "needless refusal", "model", ""),
        ("the chick", {"status": "AMBIGUOUS"}, {"drop": "ribbon"}, "missing refusal", "model",
         "chick (ribbon): not detected"),
        ("the spoon", {"status": "NOT_FOUND"}, {"ghost": "spoon"}, "missing refusal", "model",
         "no true object as 'spoon': mislabelled"),
        (BEHIND, {"status": "RELATION_UNSATISFIED"}, {"ghost": "plate"}, "missing refusal", "resolver", ""),
        ("the cup along the box", {"status": "OK", "id": "cup"}, {"drop": "cup"}, "misread sentence", "resolver", ""),
        (BEHIND, {"status": "OK", "id": "ribbon"}, {"drop": "box"}, "wrong relation", "resolver", ""),
        (BEHIND, {"status": "OK", "id": "box"}, {"ghost": "plate"}, "misread sentence", "resolver", ""),
        (BEHIND, BONNET, {"fails": "yes"}, "failed", "model", ""),
        (BEHIND, {**BONNET, "box_3d": {**NEAR, "center": [0.32, -0.03, 0.035]}, "tolerance_m": 0.05},
         {"ghost": "plate"}, "wrong place", "resolver", ""),
        (BEHIND, {**BONNET, "box_3d": NEAR, "tolerance_m": 0.02}, {"ghost": "plate"}, "", None, ""),
        ("how many chicks are there?", {"status": "ANSWERED", "answer": {"value": 2}}, {"drop": "ribbon"}, "answer",
         "model", ""),
        ("the chick", {"status": "AMBIGUOUS"}, {"drop": "ribbon,bonnet"}, "not detected", "model",
         "chick (bonnet), chick (ribbon)"),
        ("the chick", {"status": "NOT_FOUND"}, {"drop": "box"}, "other refusal", "resolver", ""),
    ],
)  # fmt: skip
def test_the_error_names_what_is_missing(
    words: str, expect: dict[str, Any], options: dict[str, str], error: str, blame: str | None, about: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    row = evaluated(tmp_path, words, expect, **options).row()
    assert (row["error"], row["blame"], row["about"]) == (error, blame, about), row["message"]
    assert row["right"] is (error == "")
    assert row["problem"] == ""


@pytest.mark.parametrize(
    ("words", "expect", "error"),
    [
        (BEHIND, BONNET, ""),
        (BEHIND, {"status": "OK", "id": "ribbon"}, "wrong relation"),
        (BEHIND, {"status": "OK", "id": "box"}, "misread sentence"),
        ("the chick", {"status": "OK", "id": "ribbon"}, "needless refusal"),
    ],
)
def test_of_given_detections_the_resolver_is_to_blame(
    words: str, expect: dict[str, Any], error: str, tmp_path: Path
) -> None:
    one = evaluated(tmp_path, words, expect)
    row = one.row()
    assert (row["error"], row["blame"]) == (error, "resolver" if error else None)
    assert row["oracle_right"] is (error == "")
    assert one.oracle is None  # the run is its own


def test_a_found_object_is_told_by_its_pixels_and_rows_keep_all(tmp_path: Path) -> None:
    one = evaluated(tmp_path, BEHIND, BONNET, ghost="plate")
    assert one.resolution.target is not None
    assert one.resolution.target.id == "g0"
    row = one.row()
    assert (row["id"], row["expected_id"], row["iou"], row["oracle_right"]) == ("bonnet", "bonnet", 1.0, True)
    assert list(row) == list(COLUMNS)
    assert json.loads(json.dumps(row)) == row
    assert one.result is not None
    assert row_of(result_of(row)) == row
    assert result_of(row) == one.result


def test_an_object_told_by_its_box_or_in_space_needs_no_id(tmp_path: Path) -> None:
    expect = {"status": "OK", "box": [318, 155, 359, 195], "label": "chick"}
    for options in ({"ghost": "plate"}, {}):
        row = evaluated(tmp_path, BEHIND, expect, **options).row()
        assert (row["right"], row["expected_id"], row["id"]) == (True, "bonnet", "bonnet")
    row = evaluated(tmp_path, BEHIND, {"status": "OK", "box_3d": NEAR}, ghost="plate").row()
    assert (row["right"], row["expected_id"], row["oracle_right"]) == (True, "(expected)", True)
    assert row["iou"] > 0.5
    row = evaluated(tmp_path, "the chick in front of the cup", {"status": "OK", "box_3d": NEAR}, ghost="plate").row()
    assert (row["right"], row["error"], row["blame"]) == (False, "wrong relation", "resolver")


def test_nobody_is_blamed_where_the_oracle_may_lack_an_anchor(tmp_path: Path) -> None:
    """Without true detections the oracle has the described object alone: that it finds no cup says nothing of it."""
    frame, detections = chicks_and_cup_frame()
    bonnet = next(one for one in detections if one.id == "bonnet")
    described = {"status": "OK", "label": bonnet.label, "box": list(bonnet.box_xyxy)}
    write_whole_frame(tmp_path / "f1", frame, detections)
    (tmp_path / "f1" / "detections.json").unlink()
    row = evaluated(tmp_path, BEHIND, described, drop="cup").row()
    assert (row["right"], row["error"], row["blame"]) == (False, "needless refusal", None), row
    assert row["oracle_right"] is False
    row = evaluated(tmp_path, BEHIND, described, drop="bonnet").row()
    assert (row["error"], row["blame"]) == ("not detected", None)
    row = evaluated(tmp_path, "the cup along the box", described, drop="cup").row()
    assert (row["error"], row["blame"]) == ("misread sentence", "resolver")


def test_a_place_beside_an_object_that_is_not_there_cannot_be_judged(tmp_path: Path) -> None:
    place = {"relation": "on", "anchor_id": "d99", "region_center": [0.3, 0.0, 0.0], "region_half": [0.1, 0.1, 0.0]}
    one = evaluated(tmp_path, BEHIND, {**BONNET, "place": place})
    assert "expect.place.anchor_id: 'd99'" in one.problem


def test_truth_that_does_not_fit_costs_its_case_alone(tmp_path: Path) -> None:
    one = evaluated(tmp_path, BEHIND, {"status": "OK", "id": "cap"})
    assert one.result is None
    assert "'cap'. Expected one of the frame's: bonnet, ribbon, cup, box" in one.problem
    row = one.row()
    assert (row["right"], row["status"], row["problem"]) == (None, "OK", one.problem)
    assert list(row) == list(COLUMNS)
    space = {"status": "OK", "id": "cup", "box_3d": {**NEAR, "frame_id": "map"}, "tolerance_m": 0.1}
    assert "frame_id of box_3d: 'map'" in evaluated(tmp_path, "the cup", space).problem


def test_a_frame_that_cannot_be_read_is_counted_as_failed(tmp_path: Path) -> None:
    frame, detections = chicks_and_cup_frame()
    write_frame(tmp_path / "f1", frame, detections)
    (tmp_path / "f1" / "depth.png").write_bytes(b"no image")
    row = evaluated(tmp_path, BEHIND, BONNET).row()
    assert (row["status"], row["error"], row["blame"], row["right"]) == ("INVALID_INPUT", "failed", None, False)


def test_a_fault_of_ours_costs_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = evaluated(tmp_path, BEHIND, BONNET, drop="cup")

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(failure_image, "draw", fails)
    assert failure_image.failure_image(one, ResolverConfig()) is None
    monkeypatch.setattr(case_judge, "judge_case", fails)
    one = evaluated(tmp_path, BEHIND, BONNET)
    assert one.result is None
    assert one.problem.startswith("it could not be judged: ")
    assert "a fault" in one.problem


def test_the_image_of_a_failure_has_the_right_object_in_it(tmp_path: Path) -> None:
    one = evaluated(tmp_path, BEHIND, BONNET, drop="bonnet")
    jpeg = failure_image.failure_image(one, ResolverConfig())
    assert jpeg is not None
    drawn = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert drawn.shape[1] > 640  # the view from above is beside it
    edge = drawn[155:195, 316:321]
    green = (edge[..., 1] - np.maximum(edge[..., 0], edge[..., 2]) > 40).any(axis=1)
    assert 0.3 < green.mean() < 0.95  # dashed


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("mug", "cup", True), ("red mug", "Mug", True), ("fruit", "apple", True), ("apple", "fruit", True),
     ("cup", "bottle", False), ("", "cup", True)],
)  # fmt: skip
def test_names_that_may_mean_one_object(one: str, other: str, same: bool) -> None:
    assert same_name(one, other) is same
