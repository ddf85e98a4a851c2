# SPDX-License-Identifier: Apache-2.0
"""A hand-eye calibration is exact to the noise, says how sure it is, and refuses poses that cannot tell it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hand_eye_scenes import BOARD, CAMERA, MOUNT, board_frame, samples, views

from spatial_vlm_ros.doctor.hand_eye import mount_texts, read_hand_eye
from spatial_vlm_ros.errors import CalibrationError, FileError, InputError
from spatial_vlm_ros.geometry.hand_eye import CharucoTarget, PoseSample, between, calibrate, missing_view, twist
from spatial_vlm_ros.types import Transform


@pytest.mark.parametrize("in_hand", [True, False])
def test_fifteen_noisy_poses_give_the_mount_within_a_millimetre_and_a_fifth_of_a_degree(in_hand: bool) -> None:
    metres, degrees = between(calibrate(samples(in_hand), in_hand).pose, MOUNT)
    assert metres < 1e-7
    assert degrees < 1e-5
    result = calibrate(samples(in_hand, 0.3), in_hand)
    metres, degrees = between(result.pose, MOUNT)
    assert metres < 1e-3
    assert degrees < 0.2
    assert (result.left_out < [3e-3, 1.5]).all()  # tilt of one board is unsure
    assert (result.sigma < [1e-3, 0.2]).all()


def changed(*moves: tuple[int, list[float]], grown: float = 1.0) -> list[PoseSample]:
    """Samples of a camera on the hand: the arm is told to be elsewhere at some poses, and the squares to be larger."""
    found = samples(True)
    for number, by in moves:
        found[number] = PoseSample(found[number].base_T_effector @ twist(np.array(by)), found[number].camera_T_board)
    scale = np.array([[1.0, 1.0, 1.0, grown]] * 3 + [[1.0] * 4])
    return [PoseSample(arm, view * scale) for arm, view in found]


ABOUT_Z = [PoseSample(twist(np.array([0.1 * n, 0, 0.02 * n, 0, 0, 0.3 * n])), views()[0]) for n in range(5)]
REFUSED = [
    (samples(True)[:3], "poses: 3", "4 or more"),
    ([samples(True)[0]] * 6, "turn by 0.0 degrees", "turn the view of the board"),
    (ABOUT_Z, "by 0.0 about any other", "about several axes"),
    (changed((6, [0.05, 0, 0, 0, 0, 0.0])), "most by pose 7", "leave it out"),
    (changed(grown=1.2), "poses left out are missed by", "check the size of the squares"),
]


@pytest.mark.parametrize(("poses", "got", "repair"), REFUSED)
def test_poses_that_cannot_tell_the_mount_are_refused_with_what_to_do(
    poses: list[PoseSample], got: str, repair: str
) -> None:
    with pytest.raises(CalibrationError) as refused:
        calibrate(poses, True)
    assert got in str(refused.value)
    assert repair in str(refused.value).lower()


def test_the_missing_view_is_the_rotation_that_no_sample_has() -> None:
    seen = [twist(np.array([0, 0, 0.4, *np.radians(turn)])) for turn in [(25, 0, 0), (-25, 0, 0), (0, -25, 0)]]
    seen += [twist(np.array([0, 0, 0.4, *np.radians(turn)])) for turn in [(0, 0, 30), (0, 0, -30)]]
    assert missing_view([PoseSample(np.eye(4), view) for view in seen]) == "tilted, its right edge nearer"


def test_a_board_is_found_at_its_pose_and_no_other_board() -> None:
    for view in views()[:3]:
        found = BOARD.find(board_frame(view).rgb, CAMERA)
        assert found is not None
        assert len(found[1]) == 24
        metres, degrees = between(found[0], view)
        assert metres < 2e-3
        assert degrees < 0.5
    other = CharucoTarget("7x5 0.03 0.022 DICT_4X4_50")
    assert other.find(board_frame(views()[0]).rgb, CAMERA) is None


@pytest.mark.parametrize("words", ["7x5 0.03", "7x5 0.02 0.03 DICT_5X5_100", "7x5 0.03 0.02 DICT_9X9", "7 5 a b c"])
def test_a_board_that_cannot_be_is_refused(words: str) -> None:
    with pytest.raises(InputError, match="for example '7x5"):
        CharucoTarget(words)


EASY = """parameters: {calibration_type: KIND, robot_base_frame: base_link, robot_effector_frame: tool0,
  tracking_base_frame: camera_optical, tracking_marker_frame: marker, freehand_robot_movement: true}
transform: {translation: {x: 0.1, y: 0.2, z: 0.3}, rotation: {x: 0.0, y: 0.0, z: 0.70710678, w: 0.70710678}}
"""
"""Form: marcoesposito1988/easy_handeye2 b42cae6, handeye_calibration.py:41-55 and msg/HandeyeCalibration.msg."""


@pytest.mark.parametrize(("kind", "parent"), [("eye_in_hand", "tool0"), ("eye_on_base", "base_link")])
def test_a_result_of_easy_handeye2_is_read(tmp_path: Path, kind: str, parent: str) -> None:
    (tmp_path / "cell.calib").write_text(EASY.replace("KIND", kind))
    mount = read_hand_eye(tmp_path / "cell.calib")
    assert isinstance(mount, Transform)
    assert (mount.parent, mount.child) == (parent, "camera_optical")
    np.testing.assert_allclose(mount.apply(np.array([[1.0, 0, 0]])), [[0.1, 1.2, 0.3]], atol=1e-6)


def test_samples_of_moveit_calibration_are_read_and_solved(tmp_path: Path) -> None:
    names = (
        "effector_wrt_world",
        "object_wrt_sensor",
    )  # moveit_calibration a883ec2, handeye_control_widget.cpp:768-785
    rows = [{name: one.reshape(-1).tolist() for name, one in zip(names, pair, strict=True)} for pair in samples(False)]
    (tmp_path / "samples.yaml").write_text(json.dumps(rows))
    told = read_hand_eye(tmp_path / "samples.yaml")
    assert isinstance(told, list)
    assert between(calibrate(told, False).pose, MOUNT)[0] < 1e-6


@pytest.mark.parametrize("text", ["3", "[]]", "[{effector_wrt_world: [1, 2]}]", "{parameters: {}}",
                                  EASY.replace("KIND", "eye_nowhere"), EASY.replace("0.70710678", "0.2")])  # fmt: skip
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "cell.calib").write_text(text)
    with pytest.raises(FileError, match="Pass samples of MoveIt Calibration"):
        read_hand_eye(tmp_path / "cell.calib")


@pytest.mark.parametrize("turn", [[0.1, -0.2, 1.5], [0.0, np.pi / 2, 0.0], [0.3, 2.8, -0.4]])
def test_launch_file_and_urdf_hold_the_same_mount(turn: list[float]) -> None:
    mount = Transform("tool0", "camera_link", twist(np.array([0.1, -0.2, 0.3, *turn])))
    launch, urdf = mount_texts(mount)
    told = dict(re.findall(r"--([\w-]+) (\S+?)(?=[ \"])", launch))
    assert (told["frame-id"], told["child-frame-id"]) == ("tool0", "camera_link")
    xyz, rpy = (
        np.array([told[name] for name in names], float) for names in (("x", "y", "z"), ("roll", "pitch", "yaw"))
    )
    origin = " ".join(re.findall(r'(?:xyz|rpy)="(.*?)"', urdf))
    np.testing.assert_allclose(np.array(origin.split(), float), [*xyz, *rpy])
    x, y, z = (twist(np.array([0, 0, 0, *(angle * axis)])) for angle, axis in zip(rpy, np.eye(3), strict=True))
    np.testing.assert_allclose((z @ y @ x)[:3, :3], mount.rotation, atol=1e-7)
    np.testing.assert_allclose(xyz, mount.translation, atol=1e-8)
