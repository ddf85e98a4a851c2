# SPDX-License-Identifier: Apache-2.0
"""Cases on bags: which image a stamp means, and what a bag or its truth that is not right ends in."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")
from bag_builder import FIXED, WORDS, BagBuilder, scene, seconds

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.bags.reader import open_bag
from spatial_vlm_ros.evaluation.bags.types import CAMERA_INFO, IMAGE
from spatial_vlm_ros.evaluation.case_judge import EvaluatedCase
from spatial_vlm_ros.evaluation.model_spec import ModelSpec, load_model
from spatial_vlm_ros.evaluation.sources import evaluate_source, sources_of
from spatial_vlm_ros.evaluation.stamps import SeenStamps
from spatial_vlm_ros.parameters import Settings, StreamConfig

OK = {"status": "OK", "id": "bonnet"}
GIVEN = ModelSpec()
STAMPS = [seconds(0.1 + 0.1 * n) for n in range(5)]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames, a tenth of a second apart."""
    out = tmp_path_factory.mktemp("bags") / "run"
    with BagBuilder(out) as builder:
        builder.stands(FIXED)
        for stamp in STAMPS:
            builder.frame(scene(), stamp)
    return out


def line(stamp_ns: int, expect: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"stamp_ns": stamp_ns, "instruction": WORDS, "expect": OK if expect is None else expect, **fields}


def evaluated(
    bag: Path, lines: list[dict[str, Any]], folder: Path, spec: ModelSpec = GIVEN, **streams: Any
) -> tuple[list[EvaluatedCase], list[str]]:
    """The cases and the notes of a bag."""
    truth, notes = folder / "truth.jsonl", list[str]()
    truth.write_text("".join(json.dumps(each) + "\n" for each in lines))
    (source,) = sources_of([], [str(bag)], str(truth), {})
    config = dataclasses.replace(Settings(), streams=dataclasses.replace(StreamConfig(), **streams))
    return list(evaluate_source(source, load_model(spec), config, note=notes.append)), notes


def test_cases_are_asked_on_the_image_of_their_stamp(bag: Path, tmp_path: Path) -> None:
    lines = [line(STAMPS[3]), line(STAMPS[1]), line(STAMPS[1], {"status": "AMBIGUOUS"}, instruction="the chick")]
    cases, notes = evaluated(bag, lines, tmp_path)
    assert [one.resolution.stamp_ns for one in cases] == [STAMPS[1], STAMPS[1], STAMPS[3]]  # the order of the bag
    assert all(one.row()["right"] for one in cases)
    assert cases[0].row()["source"] == str(bag)
    assert cases[0].frame is cases[1].frame
    assert notes == []


def test_a_model_needs_no_topic_of_detections_where_the_truth_has_boxes(tmp_path: Path) -> None:
    bonnet = next(d for d in scene().detections if d.id == "bonnet")
    with BagBuilder(tmp_path / "bare") as builder:
        builder.stands(FIXED)
        builder.frame(scene(), STAMPS[0], leave_out=("detections",))
    expect = {"status": "OK", "box": list(bonnet.box_xyxy), "label": "chick"}
    spec = ModelSpec("small", "small_scene_grounder:load")
    (one,), _ = evaluated(tmp_path / "bare", [line(STAMPS[0], expect)], tmp_path, spec)
    assert one.row()["right"]
    assert one.row()["iou"] == 1.0
    with pytest.raises(InputError, match="no topic of detections"):
        evaluated(tmp_path / "bare", [line(STAMPS[0])], tmp_path)


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        (1_700_000_000, "a stamp in seconds. Expected nanoseconds: a stamp between"),
        (1_700_000_000_400, "a stamp in milliseconds"),
        (1_700_000_000_400_000, "a stamp in microseconds"),
        (STAMPS[0] - 500_000_000, "a stamp 0.500 s before the first colour image"),
        (STAMPS[4] + 2_000_000_000, "a stamp 2.000 s after the last colour image"),
        (STAMPS[2] + 30_000_000, f"no colour image has this stamp; the nearest is {STAMPS[2]}, 0.030 s away"),
    ],
)
def test_a_stamp_of_no_image_costs_its_case_alone(stamp: int, words: str, bag: Path, tmp_path: Path) -> None:
    cases, _ = evaluated(bag, [line(stamp), line(STAMPS[2])], tmp_path)
    assert [one.result is not None for one in cases] == [True, False]
    assert words in cases[1].problem
    assert cases[1].problem.startswith("its expected result is invalid: stamp_ns")
    seen = SeenStamps([5])
    for n in (*range(0, 10), *range(60, 70)):
        seen.add(n * 100_000_000)
    assert "it is in a gap of 5.1 s" in seen.why_absent(3_000_000_000)[0]


def test_repeated_stamps_and_time_set_back_are_noted(tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "odd") as builder:
        builder.stands(FIXED)
        builder.frame(scene(), STAMPS[0])
        builder.frame(scene(), STAMPS[0], STAMPS[0] + 20_000_000)
        builder.frame(scene(), STAMPS[0] + 9_000_000_000)
        builder.frame(scene(), STAMPS[1], STAMPS[0] + 9_100_000_000)
    cases, notes = evaluated(tmp_path / "odd", [line(STAMPS[0]), line(STAMPS[1])], tmp_path)
    assert [one.row()["right"] for one in cases] == [True, True]
    assert f"2 colour images have the stamp {STAMPS[0]}" in notes[0]
    assert "the stamps go back once by 8.9 s, after the stamp" in notes[1]


def test_an_image_without_depth_and_a_bag_without_transforms_are_refusals_that_say_what_to_give(tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "still") as builder:
        builder.frame(scene(), STAMPS[0], leave_out=("depth/image",))
        builder.frame(scene(), STAMPS[1])
    lines = [line(STAMPS[0]), line(STAMPS[1])]
    (one,), _ = evaluated(tmp_path / "still", lines[1:], tmp_path)
    assert (one.row()["status"], one.row()["error"]) == ("TF_UNAVAILABLE", "failed")
    assert "Pass --base-frame ''" in one.row()["message"]
    cases, _ = evaluated(tmp_path / "still", lines, tmp_path, base_frame="")
    rows = {one.case.stamp_ns: one.row() for one in cases}
    assert (rows[STAMPS[0]]["status"], rows[STAMPS[0]]["error"]) == ("NOT_SYNCHRONISED", "failed")
    assert "never got a depth image within sync_slop" in rows[STAMPS[0]]["message"]
    assert rows[STAMPS[1]]["right"]


def test_two_cameras_are_not_guessed(tmp_path: Path) -> None:
    frame = scene().frame
    with BagBuilder(tmp_path / "two") as builder:
        builder.stands(FIXED)
        for camera in ("left", "right"):
            for name, type_, make, content in (
                ("color/image_raw", IMAGE, "image_rgb", frame.rgb),
                ("depth/image_raw", IMAGE, "image_depth", frame.depth),
                ("color/camera_info", CAMERA_INFO, "camera_info", frame.camera),
            ):

                def made(composer: Any, make: str = make, content: Any = content) -> Any:
                    return getattr(composer, make)(content, composer.header(STAMPS[0], frame.frame_id))

                builder.message(f"/{camera}/{name}", type_, STAMPS[0], made)
    with pytest.raises(InputError, match=r"several cameras \(/left, /right\).*--rgb TOPIC and --depth TOPIC"):
        evaluated(tmp_path / "two", [line(STAMPS[0])], tmp_path, ModelSpec("small", "small_scene_grounder:load"))


def test_a_bag_that_ends_too_early_costs_the_cases_after_its_end(bag: Path, tmp_path: Path) -> None:
    class Cut:
        """A bag whose reading fails after its second frame."""

        def __init__(self, path: str) -> None:
            self._bag = open_bag(path)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._bag, name)

        def __enter__(self) -> Cut:
            return self

        def __exit__(self, *_: object) -> None:
            self._bag.close()

        def messages(self, names: Any = None) -> Any:
            for message in self._bag.messages(names):
                if message.log_ns >= STAMPS[2]:
                    raise FileError(bag, "it ends before its index", "record it again")
                yield message

    truth, notes = tmp_path / "truth.jsonl", list[str]()
    truth.write_text("".join(json.dumps(line(stamp)) + "\n" for stamp in STAMPS))
    (source,) = sources_of([], [str(bag)], str(truth))
    cases = list(evaluate_source(source, load_model(GIVEN), Settings(), note=notes.append, opened=Cut))  # type: ignore[arg-type]
    assert [one.row()["right"] for one in cases] == [True, True, None, None, None]
    assert all(one.row()["problem"].startswith("it was not run: ") for one in cases[2:])
    assert "the bag is damaged" in notes[0]
