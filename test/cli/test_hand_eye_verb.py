# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm hand-eye` writes the mount that a bag shows, and says what a bag lacks; `doctor` checks a mount."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_runs import ended, told
from hand_eye_scenes import BOARD, MOUNT, board_frame, samples, views

from spatial_vlm_ros.geometry.hand_eye import between, twist
from spatial_vlm_ros.recording.bags.writer import BagWriter
from spatial_vlm_ros.streams.frame_assembler import SECOND, STATIC_TRANSFORMS
from spatial_vlm_ros.types import RgbdFrame, Transform

pytest.importorskip("rosbags")

IN_DRIVER = Transform("camera_link", "camera_optical", twist(np.array([0.01, 0.02, 0.0, 1.2, -1.2, 1.2])))


def write(out: Path, poses: list[np.ndarray], frames: list[RgbdFrame], last: float = 0.0) -> Path:
    """A bag of an arm that stands at poses, and of the camera's driver.

    Args:
        last: metres that the arm moves in the half second before each image.
    """
    with BagWriter(out) as writer:
        writer.write_transforms([IN_DRIVER], SECOND, role=STATIC_TRANSFORMS)
        for number, (pose, frame) in enumerate(zip(poses, frames, strict=True), 1):
            for part in range(4):
                moved = pose @ twist(np.array([0, 0, last * part, 0, 0, 0.0]))
                stamp = number * 2 * SECOND + part * SECOND // 4
                writer.write_transforms([Transform("base", "tool", moved)], stamp, stamp)
            writer.write_frame(frame, None, number * 2 * SECOND + SECOND // 2, stamp + 1)
    return out


@pytest.mark.parametrize("eye", ["in-hand", pytest.param("to-hand", marks=pytest.mark.slow)])
def test_a_bag_of_a_board_gives_the_mount_of_the_drivers_root(tmp_path: Path, eye: str) -> None:
    poses = [one.base_T_effector for one in samples(eye == "in-hand")][:6]
    bag = write(tmp_path / "bag", poses, [board_frame(view) for view in views()[:6]])
    words = ("hand-eye", bag, "--eye", eye, "--base", "base", "--effector", "tool", "--out", tmp_path / "mount")
    found = told(*words, "--json")
    assert (found["parent"], found["child"]) == ("tool" if eye == "in-hand" else "base", "camera_link")
    metres, degrees = between(np.array(found["matrix"]) @ IN_DRIVER.matrix, MOUNT)
    assert metres < 3e-3
    assert degrees < 0.5
    assert np.array(found["left_out"]).shape == (6, 2)
    assert "--child-frame-id camera_link" in (tmp_path / "mount.launch.xml").read_text()
    assert '<child link="camera_link"/>' in (tmp_path / "mount.urdf").read_text()
    ended(*words, code=2, says="exists")


def test_what_a_bag_lacks_is_said(tmp_path: Path) -> None:
    poses, empty = [one.base_T_effector for one in samples(True)][:2], board_frame(views()[0] @ twist(np.full(6, 9.0)))
    words = ("--eye", "in-hand", "--base", "base", "--effector", "tool", "--out", tmp_path / "mount")
    without = write(tmp_path / "without", poses, [empty] * 2)
    ended("hand-eye", without, *words, code=3, says="the board was not seen (2 images)")
    moving = write(tmp_path / "moving", poses, [board_frame(view) for view in views()[:2]], last=0.01)
    ended("hand-eye", moving, *words, code=3, says="the arm moved (2 images)")
    ended("hand-eye", moving, code=2, says="give --eye")
    none = write(tmp_path / "none", poses[:1], [empty])
    found = ended("doctor", "--hand-eye", "--bag", none, "--base-frame", "elsewhere", code=3).stdout
    assert "elsewhere" in found
    assert not (tmp_path / "mount.urdf").exists()


def test_the_board_is_written_to_print(tmp_path: Path) -> None:
    ended("hand-eye", "--print-board", tmp_path / "board.png")
    assert (cv2.imread(str(tmp_path / "board.png")) == BOARD.image(200)).all()
