# SPDX-License-Identifier: Apache-2.0
"""Frame folders become bags that give the very same answers; cases on bags are asked on the image of their stamp."""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from bag_builder import FIXED, SMALL, WORDS, BagBuilder, replayed, scene, seconds
from tables import tables

from spatial_vlm_lab.scoring.model_spec import ModelSpec, load_model
from spatial_vlm_lab.scoring.outcome import EvaluatedCase
from spatial_vlm_lab.scoring.sources import evaluate_source, sources_of
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.parameters import Settings, StreamConfig
from spatial_vlm_ros.recording.bags.topics import open_bag
from spatial_vlm_ros.recording.bags.writer import PERIOD_NS, START_NS, STORAGES, Recorded, record
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame, write_frame
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Rendering, look_at
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.types import Status, Transform

pytest.importorskip("rosbags")


Placed = Transform | None


def save(folder: Path, seen: Rendering, pose: Placed = None, speaker: Placed = None) -> None:
    scored = [dataclasses.replace(one, score=0.9) for one in seen.detections]
    write_frame(folder, dataclasses.replace(seen.frame, base_T_camera=pose), scored)
    if speaker is not None:
        parts = {"parent": speaker.parent, "child": speaker.child, "matrix": speaker.matrix.tolist()}
        (folder / "camera_T_speaker.json").write_text(json.dumps(parts))


def contents(bag: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(bag.iterdir())]


def recordings(root: Path, poses: Sequence[Placed], speakers: Sequence[Placed] = ()) -> Path:
    """A folder with one case for each pose, or for each place of the speaker."""
    cases = []
    for n, (pose, speaker) in enumerate(itertools.zip_longest(poses, speakers)):
        save(root / f"f{n}", scene(pose or FIXED), pose, speaker)
        cases.append(json.dumps({"frame": f"f{n}", "instruction": WORDS}))
    (root / "cases.jsonl").write_text("\n".join(cases))
    return root


def eye(x: float) -> Transform:
    return look_at((x, 0.0, 0.43), (0.0, 0.0, 0.03), parent="base_link")


def beside(x: float, name: str = "person") -> Transform:
    """A person x metres to the right of the camera."""
    matrix = np.eye(4)
    matrix[0, 3] = x
    return Transform(scene().frame.frame_id, name, matrix)


ALL = [pytest.param(storage, 1, marks=pytest.mark.slow) for storage in ("mcap", "sqlite3")]


@pytest.mark.parametrize(("storage", "every"), [("mcap", 8), *ALL])
def test_real_cases_get_the_very_same_answers(storage: str, every: int, real_frames: Path, tmp_path: Path) -> None:
    lines = (real_frames / "cases.jsonl").read_text().splitlines()[::every]
    (tmp_path / "cases.jsonl").write_text("\n".join(lines))
    cases = load_cases(tmp_path)
    for name in {case.frame for case in cases}:
        shutil.copytree(real_frames / name, tmp_path / name)
    done = record(tmp_path, tmp_path / "bag", storage)
    answers = replayed(tmp_path / "bag", base_frame="")
    assert len(answers) == done.instructions == done.frames == len(cases) > 3
    for case, answer in zip(cases, answers, strict=True):
        frame, detections = load_frame(tmp_path / case.frame)
        stamped = dataclasses.replace(frame, stamp_ns=answer.resolution.stamp_ns)
        alone = Resolver().look_at(stamped, detections, UNMEASURED).ask(case.instruction)
        assert answer.resolution == alone.resolution, case


@pytest.mark.parametrize("storage", STORAGES)
def test_masks_scores_attributes_and_poses_survive(storage: str, tmp_path: Path) -> None:
    folder = recordings(tmp_path / "frames", [eye(-0.74)])
    record(folder, tmp_path / "bag", storage, namespace="/cell3/")
    with open_bag(tmp_path / "bag") as bag:
        assert {"/cell3/rgb/image", "/cell3/instruction", "/tf_static"} <= set(bag.topics)
    (answer,) = replayed(tmp_path / "bag")
    frame, detections = load_frame(folder / "f0")
    assert np.array_equal(answer.frame.rgb, frame.rgb)
    assert np.array_equal(answer.frame.depth, frame.depth, equal_nan=True)
    assert np.array_equal(answer.frame.camera.K, frame.camera.K)
    assert np.allclose(answer.frame.base_T_camera.matrix, eye(-0.74).matrix, atol=1e-12)
    record(folder, tmp_path / "again" / "bag", storage, namespace="/cell3/")
    assert contents(tmp_path / "again" / "bag") == contents(tmp_path / "bag")
    for one, other in zip(answer.detections, detections, strict=True):
        assert vars(one) | {"mask": None} == vars(other) | {"mask": None}
        assert np.array_equal(one.mask, other.mask)


def test_a_pose_that_never_changes_is_static_and_kept_for_who_comes_late(tmp_path: Path) -> None:
    record(recordings(tmp_path / "frames", [eye(-0.74)] * 2), tmp_path / "bag")
    with open_bag(tmp_path / "bag") as bag:
        assert "/tf" not in bag.topics
        assert sum(topic.count for topic in bag.contents if topic.name == "/tf_static") == 1
    listed = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    topics = [topic["topic_metadata"] for topic in listed["topics_with_message_count"]]
    profiles = {topic["name"]: yaml.safe_load(topic["offered_qos_profiles"])[0] for topic in topics}
    reliable, transient_local, volatile = 1, 1, 2  # as rmw numbers them
    assert {profile["reliability"] for profile in profiles.values()} == {reliable}
    assert profiles["/tf_static"]["durability"] == transient_local
    assert profiles["/rgb/image"]["durability"] == volatile


def test_poses_that_change_are_sent_with_each_frame(tmp_path: Path) -> None:
    poses = [eye(-0.74), eye(-0.7), eye(-0.8)]
    folder = recordings(tmp_path / "frames", poses)
    record(folder, tmp_path / "bag")
    answers = replayed(tmp_path / "bag")
    assert [a.resolution.stamp_ns // PERIOD_NS - START_NS // PERIOD_NS for a in answers] == [0, 1, 2]
    for n, answer in enumerate(answers):
        frame, detections = load_frame(folder / f"f{n}")
        direct = Resolver().resolve(frame, WORDS, detections)
        assert np.allclose(answer.resolution.target.pose.position, direct.target.pose.position, atol=1e-9)


@pytest.mark.parametrize("places", [(0.4, 0.4), (0.4, 0.6, 0.5)])
def test_the_place_of_the_speaker_survives_and_moves_with_the_frames(places: tuple[float, ...], tmp_path: Path) -> None:
    speakers = [beside(x) for x in places]
    record(recordings(tmp_path / "frames", [eye(-0.74)] * len(places), speakers), tmp_path / "bag")
    answers = replayed(tmp_path / "bag", speaker_frame="person")
    for answer, speaker in zip(answers, speakers, strict=True):
        assert np.allclose(answer.frame.camera_T_speaker.matrix, speaker.matrix, atol=1e-9)
    for answer in replayed(tmp_path / "bag"):
        assert answer.frame.camera_T_speaker is None
        assert answer.resolution.status is Status.OK


def test_a_speaker_who_is_the_base_needs_no_transform_of_its_own(tmp_path: Path) -> None:
    back = eye(-0.74).inverse()
    record(recordings(tmp_path / "frames", [eye(-0.74)], [back]), tmp_path / "bag")
    (answer,) = replayed(tmp_path / "bag", speaker_frame="base_link")
    assert np.allclose(answer.frame.camera_T_speaker.matrix, back.matrix, atol=1e-9)


@pytest.mark.parametrize(
    ("poses", "speakers", "words"),
    [
        ([eye(-0.74), None], [], "separate bags"),
        ([None, eye(-0.74)], [], "separate bags"),
        ([eye(-0.74), look_at((-0.7, 0, 0.4), (0, 0, 0), parent="torso")], [], "separate bags"),
        ([eye(-0.74)] * 2, [beside(0.4), None], r"camera_T_speaker\.json.*separate bags"),
        ([eye(-0.74)] * 2, [beside(0.4), beside(0.4, name="other")], r"camera_T_speaker\.json.*separate bags"),
        ([eye(-0.74)] * 2, [beside(0.4)] * 2, "one speaker seen by two cameras"),
    ],
)
def test_frames_with_different_bases_or_speakers_are_refused(
    poses: list[Placed], speakers: list[Placed], words: str, tmp_path: Path
) -> None:
    folder = recordings(tmp_path / "frames", poses, speakers)
    if "two cameras" in words:
        for name in ("camera_info", "base_T_camera", "camera_T_speaker"):
            path = folder / "f1" / f"{name}.json"
            path.write_text(path.read_text().replace(scene().frame.frame_id, "wrist_optical_frame"))
    with pytest.raises(InputError, match=words):
        record(folder, tmp_path / "bag")
    assert not (tmp_path / "bag").exists()


def test_up_of_a_frame_survives_as_an_imu_at_rest(tmp_path: Path) -> None:
    seen, up = scene(), (0.0, -0.8, -0.6)
    resting = dataclasses.replace(seen.frame, base_T_camera=None, up=np.array(up))
    write_frame(tmp_path / "frame", resting, seen.detections)
    record(tmp_path / "frame", tmp_path / "bag")
    (answer,) = replayed(tmp_path / "bag", WORDS, base_frame="", imu=True)
    assert np.allclose(answer.frame.up, up, atol=1e-12)
    (without,) = replayed(tmp_path / "bag", WORDS, base_frame="")
    assert without.frame.up is None


def test_a_single_frame_is_recorded_without_instruction_or_detections(tmp_path: Path) -> None:
    save(tmp_path / "frame", scene(), FIXED)
    assert record(tmp_path / "frame", tmp_path / "bag") == Recorded(frames=1, instructions=0, messages=5)
    (answer,) = replayed(tmp_path / "bag", WORDS)
    assert answer.resolution.status is Status.OK
    save(tmp_path / "bare", scene())
    (tmp_path / "bare" / "detections.json").unlink()
    record(tmp_path / "bare", tmp_path / "other")
    with open_bag(tmp_path / "other") as bag:
        assert sorted(bag.topics) == ["/depth/image", "/rgb/camera_info", "/rgb/image"]


def test_depth_that_is_no_whole_millimetres_is_recorded_as_it_is(tmp_path: Path) -> None:
    seen = scene()
    save(tmp_path / "frame", seen)
    fine = (seen.frame.depth * 10000).round()
    cv2.imwrite(str(tmp_path / "frame" / "depth.tiff"), (fine / 10000).astype(np.float32))
    (tmp_path / "frame" / "depth.tiff").rename(tmp_path / "frame" / "depth.png")
    record(tmp_path / "frame", tmp_path / "bag")
    (answer,) = replayed(tmp_path / "bag", WORDS, base_frame="")
    frame, _ = load_frame(tmp_path / "frame")
    assert np.array_equal(answer.frame.depth, frame.depth, equal_nan=True)
    assert answer.frame.camera.width == SMALL.width


def test_nothing_is_overwritten_and_nothing_half_done_is_left(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "frames", [None, None])
    for name in ("there", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "there" / "notes.txt").write_text("mine")
    (tmp_path / "empty" / "cases.jsonl").write_text("\n")
    (tmp_path / "file").write_text("")
    save(tmp_path / "frame", scene())
    (folder / "f1" / "depth.png").write_bytes(b"\x89PNG")
    for frames, out, words in (
        ("frame", "there", "already exists"),
        ("frames", "bag", r"depth\.png"),
        ("frame", "file/bag", "Choose a writable location"),
        ("nothing", "bag", "nothing"),
        ("empty", "bag", "it has no cases"),
    ):
        with pytest.raises(FileError, match=words):
            record(tmp_path / frames, tmp_path / out)
    with pytest.raises(InputError, match="mcap or sqlite3"):
        record(tmp_path / "frame", tmp_path / "bag", storage="zip")
    assert not (tmp_path / "bag").exists()


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


Evaluated = tuple[list[EvaluatedCase], list[str]]


def evaluated(bag: Path, lines: list[Any], folder: Path, spec: ModelSpec = GIVEN, **streams: Any) -> Evaluated:
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
    spec = ModelSpec("small", "scripted_grounder:load")
    (one,), _ = evaluated(tmp_path / "bare", [line(STAMPS[0], expect)], tmp_path, spec)
    assert one.row()["right"]
    assert one.row()["iou"] == 1.0
    with pytest.raises(InputError, match="no topic of detections"):
        evaluated(tmp_path / "bare", [line(STAMPS[0])], tmp_path)


@pytest.mark.parametrize(("stamp", "words"), tables(__file__)["no image"])
def test_a_stamp_of_no_image_costs_its_case_alone(stamp: int, words: str, bag: Path, tmp_path: Path) -> None:
    cases, _ = evaluated(bag, [line(stamp), line(STAMPS[2])], tmp_path)
    assert [one.result is not None for one in cases] == [True, False]
    assert words in cases[1].problem
    assert cases[1].problem.startswith("its expected result is invalid: stamp_ns")


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
