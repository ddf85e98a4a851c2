# SPDX-License-Identifier: Apache-2.0
"""The truth of a case as it is written: what it means, and what is refused and with which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.case import Box3d, Case, Expectation
from spatial_vlm_ros.evaluation.frame_folder import load_cases
from spatial_vlm_ros.evaluation.object_truth import EXPECTED, case_truth
from spatial_vlm_ros.evaluation.truth_file import cases_of_bag, load_truth
from spatial_vlm_ros.types import Detection, Status

STAMP = 1_700_000_000_400_001_000


OK: dict[str, Any] = {"status": "OK"}


BOX = [10, 20, 50, 60]


SPACE = {"center": [0.5, 0.0, 0.05], "size": [0.1, 0.1, 0.1]}


def written(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def of_bag(expect: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"stamp_ns": STAMP, "instruction": "the cup", **({} if expect is None else {"expect": expect}), **fields}


def test_a_case_keeps_every_field_and_a_question_is_an_instruction(tmp_path: Path) -> None:
    expect = {**OK, "label": "cup", "box": BOX, "mask": "m.png", "box_3d": {**SPACE, "yaw": 0.5}, "tolerance_m": 0.03}
    (case,) = load_truth(written(tmp_path / "truth.jsonl", of_bag(expect, bag="run1", kind=["near"])))
    space = Box3d((0.5, 0.0, 0.05), (0.1, 0.1, 0.1), 0.5)
    due = Expectation(Status.OK, label="cup", box=(10, 20, 50, 60), mask="m.png", box_3d=space, tolerance_m=0.03)
    assert case == Case("", "the cup", due, ("near",), STAMP, "run1")
    written(tmp_path / "cases.jsonl", {"frame": "f1", "question": "how many cups are there?"})
    assert load_cases(tmp_path) == (Case("f1", "how many cups are there?"),)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (of_bag(question="what?"), "both `instruction` and `question`"),
        ({"stamp_ns": STAMP}, "no words"),
        (of_bag(frame="f1"), "`frame`, for a folder, and `stamp_ns`"),
        ({"frame": "f1", "instruction": "the cup"}, "of the frame 'f1'"),
        ({"instruction": "the cup"}, "no `stamp_ns`"),
        (of_bag(stamp_ns=1_700_000_000.4), "Expected `int | null`, got `float`"),
        (of_bag(stamp_ns=-5), "stamp_ns is -5"),
        (of_bag({**OK, "box": [0.1, 0.2, 0.5, 0.6]}), "fractions of the image"),
        (of_bag({**OK, "box": [50, 20, 10, 60]}), "left < right"),
        (of_bag({**OK, "box_3d": {"center": [500, 0, 50], "size": [80, 80, 90]}}), "looks like millimetres"),
        (of_bag({**OK, "box_3d": {"center": [5e5, 0, 0], "size": [0.1, 0.1, 0.1]}}), "looks like millimetres"),
        (of_bag({**OK, "box_3d": {**SPACE, "yaw": 90}}), "looks like degrees"),
        (of_bag({**OK, "box_3d": {**SPACE, "size": [0.1, 0, 0.1]}}), "three lengths above 0"),
        (of_bag({**OK, "tolerance_m": 0.1}), "add box_3d"),
        (of_bag({**OK, "box_3d": SPACE, "tolerance_m": 30}), "use metres"),
        (of_bag({"status": "NOT_FOUND", "box": BOX}), "is a refusal, which has no object"),
        (of_bag({"status": "FINE"}), "Invalid enum value 'FINE'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_line(tmp_path: Path, line: dict[str, Any], words: str) -> None:
    path = written(tmp_path / "truth.jsonl", of_bag(), line)
    with pytest.raises(FileError) as caught:
        load_truth(path)
    assert "line 2" in str(caught.value)
    assert words in str(caught.value)


def test_a_folder_does_not_take_cases_of_bags_and_each_bag_has_its_own(tmp_path: Path) -> None:
    for line, words in ((of_bag(), "belong in a file for --truth"), ({"instruction": "the cup"}, "no `frame`")):
        written(tmp_path / "cases.jsonl", line)
        with pytest.raises(FileError, match=words):
            load_cases(tmp_path)
    near, far = of_bag(bag="sub/one.mcap"), of_bag(bag="s3://store/two.mcap")
    path = written(tmp_path / "truth.jsonl", near, far)
    bags = [str(tmp_path / "sub" / "one.mcap"), "s3://store/two.mcap"]
    assert [cases_of_bag(path, bag, bags)[0].bag for bag in bags] == ["sub/one.mcap", "s3://store/two.mcap"]
    with pytest.raises(FileError, match=r"no case of three; its cases are of s3://store/two\.mcap, sub/one\.mcap"):
        cases_of_bag(path, "three")
    path = written(tmp_path / "truth.jsonl", near, of_bag())
    with pytest.raises(FileError, match="names no bag, but 2 bags are evaluated"):
        cases_of_bag(path, bags[0], bags)
    assert len(cases_of_bag(path, bags[0])) == 2
    with pytest.raises(FileError, match="it has no cases"):
        load_truth(written(tmp_path / "empty.jsonl"))


# ------------------------------------------------------------------------------------------------ objects

KNOWN = (
    Detection("d0", "cup", 1.0, (10.0, 20.0, 50.0, 60.0)),
    Detection("d1", "can", 1.0, (100.0, 20.0, 140.0, 60.0)),
)


def truth(expect: Expectation, folder: Path = Path(), known: tuple[Detection, ...] = KNOWN) -> Any:
    return case_truth(Case("f", "w", expect), expect, known, (200, 100), folder)


def test_a_box_is_the_detection_that_it_shares_half_with_or_an_object_more() -> None:
    found = truth(Expectation(Status.OK, box=(12, 20, 52, 60), label="mug"))
    assert (found.expect.id, found.expected.label, found.expected.box) == ("d0", "mug", (12, 20, 52, 60))
    assert found.expected.detection is None  # its name and box are not the detection's
    assert [one.id for one in found.objects] == ["d0", "d1"]
    found = truth(Expectation(Status.OK, box=(150, 60, 190, 90)))
    assert (found.expect.id, [one.id for one in found.objects]) == (EXPECTED, ["d0", "d1", EXPECTED])
    found = truth(Expectation(Status.OK, "d1", box_3d=Box3d((0, 0, 0), (1, 1, 1)), tolerance_m=0.1))
    assert (found.expected.detection, found.expected.tolerance_m) == (KNOWN[1], 0.1)


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        (Expectation(Status.OK, "d9"), "'d9'. Expected one of the frame's: d0, d1"),
        (Expectation(Status.OK, "d0", id_also=("d7",)), "expect.id_also: 'd7'"),
        (Expectation(Status.OK, "d0", box=(100, 20, 140, 60)), "expect.id: 'd0' with the box"),
        (Expectation(Status.OK, box=(300, 20, 340, 60)), "a box that overlaps the image"),
        (Expectation(Status.OK, mask="../m.png"), "a file below the folder"),
    ],
)
def test_truth_that_does_not_fit_the_image_is_refused(expect: Expectation, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        truth(expect, tmp_path)
    assert words in str(caught.value)


def test_a_mask_is_read_beside_the_truth_and_has_the_size_of_the_image(tmp_path: Path) -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[60:90, 150:190] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    found = truth(Expectation(Status.OK, mask="m.png"), tmp_path)
    assert found.expected.mask.sum() == 1200
    assert found.expected.box == (150.0, 60.0, 190.0, 90.0)
    cv2.imwrite(str(tmp_path / "m.png"), mask[:50])
    with pytest.raises(FileError, match="the mask has 200x50 pixels, but the image has 200x100"):
        truth(Expectation(Status.OK, mask="m.png"), tmp_path)
