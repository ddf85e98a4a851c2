# SPDX-License-Identifier: Apache-2.0
"""Frames to label: those of a folder, and the complete frames of a bag, exactly as a replay sees them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_builder import FIXED, MS, WORDS, BagBuilder, scene, seconds

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.bags.reader import open_bag
from spatial_vlm_ros.evaluation.bags.topics import choose_roles
from spatial_vlm_ros.evaluation.labelling.label_file import LabelFile
from spatial_vlm_ros.evaluation.labelling.label_sources import BagSource, FolderSource
from spatial_vlm_ros.evaluation.labelling.session import LabelSession
from spatial_vlm_ros.evaluation.replay import replay
from spatial_vlm_ros.evaluation.truth_file import load_truth
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.resolver import Resolver

pytest.importorskip("rosbags")

CONFIG = StreamConfig()


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Five frames half a second apart."""
    seen = scene()
    with BagBuilder(tmp_path / "run1") as builder:
        builder.stands(FIXED, seconds(0.0))
        for n in range(5):
            builder.frame(seen, seconds(0.1 + 0.5 * n), seconds(0.1 + 0.5 * n) + 20 * MS)
    return tmp_path / "run1"


def source_of(bag: Path, apart: float = 0.0, folder: Path | None = None) -> BagSource:
    with open_bag(bag) as opened:
        return BagSource(opened, folder or bag.parent, choose_roles(opened.contents, CONFIG), CONFIG, apart)


def stamps_of(source: BagSource) -> list[Any]:
    return [source.naming(n)["stamp_ns"] for n in range(len(source.names))]


def test_every_complete_frame_is_as_a_replay_sees_it(bag: Path) -> None:
    with open_bag(bag) as opened:
        roles = choose_roles(opened.contents, CONFIG)
        replayed = list(replay(opened, Resolver(), roles, CONFIG, [WORDS], every=True))
    with source_of(bag) as source:
        folder = Path(source._folder.name)
        assert len(source.names) == len(replayed) == 5
        for number, answer in enumerate(replayed):
            kept = source.load(number)
            assert answer.frame is not None
            assert kept.frame.stamp_ns == answer.frame.stamp_ns == source.naming(number)["stamp_ns"]
            np.testing.assert_array_equal(kept.frame.rgb, answer.frame.rgb)
            np.testing.assert_array_equal(kept.frame.depth, answer.frame.depth)
            np.testing.assert_array_equal(kept.base_T_camera.matrix, answer.frame.base_T_camera.matrix)  # type: ignore[union-attr]
            assert kept.detections is not None
            assert [one.id for one in kept.detections] == [one.id for one in answer.detections]
            for one, other in zip(kept.detections, answer.detections, strict=True):
                np.testing.assert_array_equal(one.mask, other.mask)
            resolved = Resolver().resolve(kept.frame, WORDS, kept.detections)
            assert resolved.target == answer.resolution.target
    assert not folder.exists()  # it goes with the source


def test_frames_are_as_far_apart_as_is_asked_and_stamps_come_once(bag: Path, tmp_path: Path) -> None:
    with source_of(bag, apart=1.0) as source:
        assert np.diff(stamps_of(source)).tolist() == [10**9, 10**9]
    seen = scene()
    with BagBuilder(tmp_path / "back") as builder:
        builder.stands(FIXED, seconds(0.0))
        for n, stamp in enumerate((20.1, 20.6, 0.1, 0.6, 20.1)):  # set back
            builder.frame(seen, seconds(stamp), seconds(0.2 + 0.5 * n))
    with source_of(tmp_path / "back") as source:
        stamps = stamps_of(source)
    assert len(set(stamps)) == len(stamps)
    assert stamps[0] in (seconds(20.1), seconds(0.1))


def test_truth_of_a_bag_is_read_back_by_its_stamp_and_lines_of_others_are_left_alone(bag: Path) -> None:
    path = bag.with_name("truth.jsonl")
    with LabelFile(path) as file, source_of(bag, 1.0) as source:
        session = LabelSession(source, file, Resolver(), [WORDS])
        for number in range(3):
            session.decide(number, session.case(number)["proposal"])
        stamps = stamps_of(source)
    assert {json.loads(line)["bag"] for line in path.read_text().splitlines()} == {"run1"}
    cases = load_truth(path)
    assert [one.stamp_ns for one in cases] == stamps
    assert all(one.expect is not None and one.expect.status.value == "OK" for one in cases)
    with LabelFile(path) as file, source_of(bag) as source:
        found = LabelSession(source, file, Resolver()).overview()["cases"]
        assert [one["frame"] for one in found] == [0, 2, 4]
        stamp = stamps_of(source)[1]
        for name in ({}, {"bag": "run1"}, {"bag": "./run1/../run1"}):
            assert source.number_of({"stamp_ns": stamp, **name}) == 1
        for other in ({"stamp_ns": stamp, "bag": "run2"}, {"stamp_ns": stamp + 1}, {"stamp_ns": "1"}, {"frame": "f1"},
                      {"stamp_ns": stamp, "bag": 3}):  # fmt: skip
            assert source.number_of(other) is None


def test_folders_and_bags_without_a_complete_frame_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        FolderSource(tmp_path / "nothing", ask_grounder=False)
    with pytest.raises(InputError, match="without a frame"):
        FolderSource(tmp_path, ask_grounder=False)
    with BagBuilder(tmp_path / "empty") as builder:
        builder.frame(scene(), seconds(0.1), leave_out=("rgb/camera_info",))
    with pytest.raises(InputError):
        source_of(tmp_path / "empty")


def test_places_may_be_told_where_truth_has_the_cameras_pose(two_frames: Path, tmp_path: Path) -> None:
    """The resolver never reads truth.json; whoever writes truth does."""
    folder = Path(shutil.copytree(two_frames / "f2", tmp_path / "frames" / "f2")).parent
    assert FolderSource(folder, ask_grounder=False).load(0).base_T_camera is None
    pose = json.loads((two_frames / "f1" / "base_T_camera.json").read_text())
    (folder / "f2" / "truth.json").write_text(json.dumps({"base_T_camera": pose}))
    kept = FolderSource(folder, ask_grounder=False).load(0)
    assert kept.base_T_camera is not None
    assert kept.frame.base_T_camera is None
