# SPDX-License-Identifier: Apache-2.0
"""What went wrong and who is to blame: a detector that errs as it is told, on a scene whose truth is known."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from tables import tables

from spatial_vlm_lab.reports import report
from spatial_vlm_lab.scoring import frame_truth, outcome
from spatial_vlm_lab.scoring.case_result import COLUMNS, result_of, row_of, same_name
from spatial_vlm_lab.scoring.model_spec import ModelSpec, load_model
from spatial_vlm_lab.scoring.outcome import EvaluatedCase
from spatial_vlm_lab.scoring.sources import Source, evaluate_source
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters import ResolverConfig, Settings
from spatial_vlm_ros.recording.cases import Box3d
from spatial_vlm_ros.recording.frame_folder import write_frame as write_whole_frame
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, Transform

TABLES = tables(__file__)

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


@pytest.mark.parametrize(("words", "expect", "options", "error", "blame", "about"), TABLES["errors"])
def test_the_error_names_what_is_missing(
    words: str, expect: dict[str, Any], options: dict[str, str], error: str, blame: str | None, about: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    row = evaluated(tmp_path, words, expect, **options).row()
    assert (row["error"], row["blame"], row["about"]) == (error, blame, about), row["message"]
    assert row["right"] is (error == "")
    assert row["problem"] == ""


@pytest.mark.parametrize(("words", "id_", "error"), TABLES["of given detections"])
def test_of_given_detections_the_resolver_is_to_blame(words: str, id_: str, error: str, tmp_path: Path) -> None:
    one = evaluated(tmp_path, words, {"status": "OK", "id": id_})
    row = one.row()
    assert (row["error"], row["blame"]) == (error, "resolver" if error else None)
    assert row["oracle_right"] is (error == "")
    assert one.oracle is None  # the run is its own


def test_a_found_object_is_told_by_its_pixels_and_rows_keep_all(tmp_path: Path) -> None:
    one: Any = evaluated(tmp_path, BEHIND, BONNET, ghost="plate")
    assert one.resolution.target.id == "g0"
    row = one.row()
    assert (row["id"], row["expected_id"], row["iou"], row["oracle_right"]) == ("bonnet", "bonnet", 1.0, True)
    assert list(row) == list(COLUMNS)
    assert json.loads(json.dumps(row)) == row
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


def test_truth_that_does_not_fit_costs_its_case_alone(tmp_path: Path) -> None:
    one = evaluated(tmp_path, BEHIND, {"status": "OK", "id": "cap"})
    assert one.result is None
    assert "'cap'. Expected one of the frame's: bonnet, ribbon, cup, box" in one.problem
    row = one.row()
    assert (row["right"], row["status"], row["problem"]) == (None, "OK", one.problem)
    assert list(row) == list(COLUMNS)
    space = {"status": "OK", "id": "cup", "box_3d": {**NEAR, "frame_id": "map"}, "tolerance_m": 0.1}
    assert "frame_id of box_3d: 'map'" in evaluated(tmp_path, "the cup", space).problem
    place = {"relation": "on", "anchor_id": "d99", "region_center": [0.3, 0.0, 0.0], "region_half": [0.1, 0.1, 0.0]}
    one = evaluated(tmp_path, BEHIND, {**BONNET, "place": place})
    assert "expect.place.anchor_id: 'd99'" in one.problem
    (tmp_path / "f1" / "depth.png").write_bytes(b"no image")  # a frame that cannot be read is counted
    row = evaluated(tmp_path, BEHIND, BONNET).row()
    assert (row["status"], row["error"], row["blame"], row["right"]) == ("INVALID_INPUT", "failed", None, False)


def test_a_fault_of_ours_costs_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, fails = evaluated(tmp_path, BEHIND, BONNET, drop="cup"), Mock(side_effect=RuntimeError("a fault"))
    monkeypatch.setattr(report, "draw", fails)
    assert report.failure_image(one, ResolverConfig()) is None
    monkeypatch.setattr(outcome, "judge_case", fails)
    one = evaluated(tmp_path, BEHIND, BONNET)
    assert one.result is None
    assert one.problem.startswith("it could not be judged: ")
    assert "a fault" in one.problem


def test_the_image_of_a_failure_has_the_right_object_in_it(tmp_path: Path) -> None:
    one = evaluated(tmp_path, BEHIND, BONNET, drop="bonnet")
    jpeg: Any = report.failure_image(one, ResolverConfig())
    drawn = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert drawn.shape[1] > 640  # the view from above is beside it
    edge = drawn[155:195, 316:321]
    green = (edge[..., 1] - np.maximum(edge[..., 0], edge[..., 2]) > 40).any(axis=1)
    assert 0.3 < green.mean() < 0.95  # dashed


@pytest.mark.parametrize(("one", "other", "same"), TABLES["names"])
def test_names_that_may_mean_one_object(one: str, other: str, same: bool) -> None:
    assert same_name(one, other) is same


def box(x: float, size: float = 1.0, turned_deg: float = 0.0) -> frame_truth.ComparedBox:
    turned = np.radians(turned_deg)
    axes = np.array([[np.cos(turned), -np.sin(turned), 0], [np.sin(turned), np.cos(turned), 0], [0, 0, 1]])
    return frame_truth.ComparedBox(np.array([x, 0.0, 0.0]), axes, np.full(3, size), "base")


def mask(left: int, right: int) -> np.ndarray:
    found = np.zeros((10, 40), bool)
    found[:, left:right] = True
    return found


@pytest.mark.parametrize(("other", "share", "why"), TABLES["volumes"])
def test_volumes_that_two_boxes_share(other: list[float], share: float, why: str) -> None:
    assert frame_truth.overlap(box(0.0), box(*other)) == pytest.approx(share, abs=0.01), why
    assert frame_truth.overlap(box(*other), box(0.0)) == pytest.approx(share, abs=0.01), why


def test_a_box_goes_into_another_frame_and_back() -> None:
    pose = Transform("base", "camera", np.array([[0, -1, 0, 1.0], [1, 0, 0, 2.0], [0, 0, 1, 3.0], [0, 0, 0, 1.0]]))
    seen = frame_truth.box_of_truth(Box3d((1.0, 0.0, 0.0), (0.1, 0.2, 0.3), 0.0, "camera"))
    moved = frame_truth.in_frame(seen, "base", [pose])
    assert moved.centre == pytest.approx([1.0, 3.0, 3.0])
    assert moved.axes[:, 0] == pytest.approx([0.0, 1.0, 0.0])
    assert frame_truth.in_frame(moved, "camera", [pose]).centre == pytest.approx(seen.centre)
    with pytest.raises(InputError, match=r"'map'. Expected one of the frame's: base, camera"):
        frame_truth.in_frame(seen, "map", [pose])


def test_masks_count_before_boxes() -> None:
    found = frame_truth.ImageObject("g0", "cup", (0, 0, 40, 10), mask(0, 20))
    true = frame_truth.ImageObject("d0", "cup", (0, 0, 40, 10), mask(10, 30))
    assert frame_truth.match_objects([found], [true]).ious == {("g0", "d0"): round(1 / 3, 6)}
    assert frame_truth.match_objects([found], [true]).of == {}
    boxes = frame_truth.match_objects([frame_truth.ImageObject("g0", "cup", (0, 0, 40, 10))], [true])
    assert (boxes.of, boxes.iou("g0", "d0")) == ({"g0": "d0"}, 1.0)


@pytest.mark.parametrize(("right", "is_same"), [(20.0, True), (19.0, False)])
def test_half_of_a_box_is_enough(right: float, is_same: bool) -> None:
    """Of 40 pixels' width, the left 20 are shared: exactly one half."""
    found, true = (frame_truth.ImageObject(id_, "cup", (0, 0, x, 10)) for id_, x in (("g0", right), ("d0", 40)))
    matching = frame_truth.match_objects([found], [true])
    assert bool(matching.of) is is_same
    assert matching.iou("g0", "d0") == pytest.approx(right / 40)
    assert matching.iou("g0", "d1") == 0.0
    assert matching.iou(None, "d0") is None


def test_the_best_one_counts_and_of_equals_that_of_the_same_id() -> None:
    same = (0.0, 0.0, 40.0, 10.0)
    drawer = frame_truth.ImageObject("b", "drawer", same)
    true = [frame_truth.ImageObject("a", "cabinet", same), drawer, frame_truth.ImageObject("c", "cup", (0, 0, 39, 10))]
    matching = frame_truth.match_objects([drawer, frame_truth.ImageObject("x", "box", same)], true)
    assert (matching.id_of("b"), matching.id_of("x")) == ("b", "a")
    assert [one.id for one in matching.on("a")] == ["x"]
    assert matching.id_of("y") == "y (no object of the truth)"


@pytest.mark.parametrize(("away", "tolerance", "is_same"), TABLES["apart"])
def test_boxes_in_space_match_by_volume_or_their_middles(away: float, tolerance: float | None, is_same: bool) -> None:
    """1 m cubes 0.3 m apart share 0.7 of 1.3; 0.7 m apart 0.3 of 1.7, which is less than a quarter."""
    there = frame_truth.box_of_truth(Box3d((away, 0, 0), (1, 1, 1)))
    true = frame_truth.ImageObject("d0", "cup", box_3d=there, tolerance_m=tolerance)
    matching = frame_truth.match_objects([frame_truth.ImageObject("g0", "cup", (0, 0, 9, 9), None, box(0.0))], [true])
    assert bool(matching.of) is is_same
    assert matching.ious["g0", "d0"] == pytest.approx((1 - away) / (1 + away), abs=0.01)
    one = Detection("d0", "cup", 1.0, (0.0, 0.0, 40.0, 10.0))
    given = frame_truth.Matching(frame_truth.found_objects([one], None), is_truth=True)  # given, the truth itself
    assert (given.is_truth, given.id_of("d0"), given.iou("d0", "d0")) == (True, "d0", 1.0)
