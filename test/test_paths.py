# SPDX-License-Identifier: Apache-2.0
"""Public functions that take a path take a `str` as well as a `Path`, and answer and refuse alike."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from frame_files import case, write_cases

from spatial_vlm_lab.benchmarks.asking import read_benchmark
from spatial_vlm_lab.benchmarks.relations import WHATSUP
from spatial_vlm_lab.scoring.case_result import read_runs
from spatial_vlm_ros import Resolver, load_frame
from spatial_vlm_ros.doctor.bags import examine_bag
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.manipulation.approval.audit import AuditLog, verify
from spatial_vlm_ros.manipulation.planning.robot_model import read_hulls
from spatial_vlm_ros.recording import frame_folder as frames
from spatial_vlm_ros.recording.bags.topics import open_bag
from spatial_vlm_ros.recording.bags.writer import record
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.recording.frame_folder import write_frame
from spatial_vlm_ros.recording.replay import answer_cases
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.spatial.second_opinion import load_reliabilities
from spatial_vlm_ros.types import Detection

PUBLIC = (
    load_frame, load_cases, frames.read_frame, frames.read_rgb, frames.read_depth, frames.read_camera_info,
    frames.read_transform, frames.read_detections, answer_cases, open_bag, record,
    read_runs, examine_bag, read_benchmark, read_hulls, load_reliabilities, AuditLog, verify,
)  # fmt: skip
NEEDS = {open_bag: "rosbags", record: "rosbags", examine_bag: "rosbags", read_hulls: "pinocchio"}
OTHERS: dict[str, Any] = {
    "image_size": (8, 6), "resolver": Resolver(), "resolutions": (), "settings": None, "benchmark": WHATSUP,
}  # fmt: skip


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    frame, _ = chicks_and_cup_frame()
    folder = write_frame(tmp_path / "recordings" / "f1", frame, [Detection("a", "cup", 1.0, (300, 200, 360, 280))])
    write_cases(folder.parent, [case("f1", "the cup")])
    return folder.parent


@pytest.mark.parametrize("kind", [str, Path])
def test_a_frame_folder_is_read(recordings: Path, kind: type) -> None:
    folder = recordings / "f1"
    frame, detections = load_frame(kind(folder))
    assert frame.rgb.shape == (480, 640, 3)
    assert [d.id for d in detections] == ["a"]
    again = frames.read_frame(
        kind(folder / "rgb.png"), kind(folder / "depth.png"), kind(folder / "camera_info.json"),
        base_T_camera=kind(folder / "base_T_camera.json"),
    )  # fmt: skip
    assert (again.rgb == frame.rgb).all()
    assert np.array_equal(again.depth, frame.depth, equal_nan=True)
    assert again.base_T_camera is not None
    assert [d.id for d in frames.read_detections(kind(folder / "detections.json"), (640, 480))] == ["a"]
    assert [case.frame for case in load_cases(kind(recordings))] == ["f1"]
    (answer,) = answer_cases(kind(recordings), Resolver())
    assert answer.frame is not None


@pytest.mark.parametrize("function", PUBLIC, ids=lambda f: f.__name__)
def test_what_is_missing_is_refused_alike(function: Callable[..., Any], tmp_path: Path) -> None:
    if function in NEEDS:
        pytest.importorskip(NEEDS[function])
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    needed = [name for name, each in inspect.signature(function).parameters.items() if each.default is each.empty]
    paths = [name for name in needed if hints[name] == str | Path]
    assert paths
    nowhere = tmp_path / "a" / "b"
    (tmp_path / "a").touch()  # no folder: nothing can be made below it

    def refusal(kind: type) -> str:
        given = {name: kind(nowhere) if name in paths else OTHERS[name] for name in needed}
        with pytest.raises(FileError) as refused:
            list(function(**given))  # some begin when they are asked for the first answer
        return str(refused.value)

    assert refusal(str) == refusal(Path)
    assert str(nowhere) in refusal(str)
