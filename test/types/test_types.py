# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError, ShapeError, SpatialVlmError, TransformError
from spatial_vlm_ros.types import (
    Detection,
    OrientedBox,
    PinholeCamera,
    Plane,
    Resolution,
    RgbdFrame,
    RobotPixels,
    Status,
    Transform,
)

K = np.array([[600.0, 0, 31.5], [0, 600, 23.5], [0, 0, 1]])
CAMERA = PinholeCamera(K, 64, 48)


def frame(**changes: Any) -> RgbdFrame:
    fields = {"rgb": np.zeros((48, 64, 3), np.uint8), "depth": np.ones((48, 64), np.float32), "camera": CAMERA}
    return RgbdFrame(**{**fields, **changes})


# ------------------------------------------------------------------------------------------------ status


def test_status_numbers_are_those_that_other_programs_rely_on() -> None:
    groups = {
        0: "OK ANSWERED",
        10: "NOT_UNDERSTOOD INVALID_INPUT DEPTH_INVALID STALE_INPUT NOT_SYNCHRONISED TF_UNAVAILABLE FRAME_UNDEFINED",
        30: "NOT_FOUND AMBIGUOUS RELATION_UNSATISFIED OCCLUDED LOW_CONFIDENCE DISAGREEMENT NO_PLACE",
        50: "MODEL_ERROR TIMEOUT",
        60: "BUSY CANCELLED",
        70: "OUT_OF_WORKSPACE UNREACHABLE NEEDS_APPROVAL REJECTED APPROVAL_EXPIRED SCENE_CHANGED PLANNER_UNAVAILABLE "
        "PLANNING_FAILED EXECUTION_FAILED",
        90: "INTERNAL_ERROR",
    }
    expected = {name: first + n for first, names in groups.items() for n, name in enumerate(names.split())}
    assert {status.name: status.code for status in Status} == expected


def test_the_ros_message_has_every_status_with_its_number() -> None:
    text = (Path(__file__).parents[2] / "interfaces/msg/Status.msg").read_text(encoding="utf-8")
    constants = re.findall(r"^uint8 ([A-Z_]+) = (\d+)$", text, re.MULTILINE)
    assert [(name, int(number)) for name, number in constants] == [(status.name, status.code) for status in Status]


def test_a_status_is_its_name_in_json() -> None:
    assert json.dumps(Status.NOT_FOUND) == '"NOT_FOUND"'
    assert Status("NOT_FOUND") is Status.NOT_FOUND


def test_every_error_becomes_a_status_that_exists() -> None:
    kinds = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, SpatialVlmError)]
    assert len(kinds) >= 11
    assert all(kind.status_name in Status.__members__ for kind in kinds)


def test_a_resolution_without_a_target_cannot_be_ok() -> None:
    assert Resolution("the cup", Status.NOT_FOUND, "no cup").code == 30
    with pytest.raises(ValueError, match="if and only if its status is OK"):
        Resolution("the cup", Status.OK, "here")


# ------------------------------------------------------------------------------------------------ camera


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3)),
        np.full((3, 3), np.nan),
        np.diag([600.0, -600.0, 1.0]),
        np.diag([0.0, 600.0, 1.0]),
        np.diag([600.0, 600.0, 0.0]),
        np.diag([np.inf, 600.0, 1.0]),
    ],
)
def test_a_matrix_that_is_no_calibration_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(InputError, match="camera K"):
        PinholeCamera(matrix, 64, 48)


@pytest.mark.parametrize("matrix", [np.eye(4), np.ones(9), np.ones((3, 4))])
def test_a_camera_matrix_of_another_shape_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="camera K"):
        PinholeCamera(matrix, 64, 48)


@pytest.mark.parametrize("size", [(0, 48), (64, 0), (-64, 48)])
def test_a_camera_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="camera size"):
        PinholeCamera(K, *size)


def test_an_unknown_distortion_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"thin_prism.*plumb_bob, rational_polynomial, equidistant"):
        PinholeCamera(K, 64, 48, "thin_prism", (0.1,))


@pytest.mark.parametrize(
    ("model", "D"),
    [
        ("plumb_bob", (0.1,)),
        ("plumb_bob", (0.1,) * 8),
        ("rational_polynomial", (0.1,) * 5),
        ("equidistant", (0.1,) * 5),
        ("plumb_bob", (0.1, np.nan, 0, 0, 0)),
    ],
)
def test_coefficients_that_do_not_fit_their_model_are_refused(model: str, D: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=f"{model} coefficients"):
        PinholeCamera(K, 64, 48, model, D)


def test_a_camera_keeps_its_own_copy_of_the_matrix() -> None:
    given_K = K.copy()
    camera = PinholeCamera(given_K, 64, 48)
    given_K[0, 0] = 1
    assert camera.K[0, 0] == 600
    with pytest.raises(ValueError, match="read-only"):
        camera.K[0, 0] = 1


def test_zero_coefficients_are_a_rectified_camera() -> None:
    assert PinholeCamera(K, 64, 48, "plumb_bob", (0.0,) * 5).is_rectified
    assert not PinholeCamera(K, 64, 48, "plumb_bob", (0.1, 0, 0, 0)).is_rectified


# ------------------------------------------------------------------------------------------------ transform

number = st.floats(-10, 10)
vectors = st.tuples(number, number, number)
rigid = st.tuples(st.tuples(*[st.floats(-3.2, 3.2)] * 3), vectors)


Parts = tuple[tuple[float, ...], tuple[float, ...]]  # Euler angles and translation


def ours(parent: str, child: str, parts: Parts) -> Transform:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", parts[0]).as_matrix()
    matrix[:3, 3] = parts[1]
    return Transform(parent, child, matrix)


def moved(parts: Parts, point: Any) -> np.ndarray:
    return Rotation.from_euler("xyz", parts[0]).apply(point) + parts[1]


@given(a=rigid, b=rigid, point=vectors)
def test_a_chain_moves_points_as_scipy_does_one_after_the_other(a: Parts, b: Parts, point: tuple[float, ...]) -> None:
    chain = ours("map", "base", a) @ ours("base", "camera", b)
    assert (chain.parent, chain.child) == ("map", "camera")
    np.testing.assert_allclose(chain.apply(np.array([point])), [moved(a, moved(b, point))], atol=1e-9)
    np.testing.assert_allclose(chain.apply(np.array(point)), moved(a, moved(b, point)), atol=1e-9)
    expected = Rotation.from_euler("xyz", a[0]) * Rotation.from_euler("xyz", b[0])
    np.testing.assert_allclose(chain.rotation, expected.as_matrix(), atol=1e-9)


@given(a=rigid)
def test_the_inverse_undoes_a_transform(a: Parts) -> None:
    transform = ours("base", "camera", a)
    inverse = transform.inverse()
    assert (inverse.parent, inverse.child) == ("camera", "base")
    np.testing.assert_allclose(inverse.rotation, Rotation.from_euler("xyz", a[0]).inv().as_matrix(), atol=1e-9)
    np.testing.assert_allclose((transform @ inverse).matrix, np.eye(4), atol=1e-9)


def test_a_transform_has_a_rotation_and_a_translation() -> None:
    transform = ours("base", "camera", ((0, 0, np.pi / 2), (1, 2, 3)))
    np.testing.assert_allclose(transform.rotation @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_array_equal(transform.translation, [1, 2, 3])


def test_transforms_of_frames_that_do_not_meet_do_not_chain() -> None:
    a = Transform("map", "base", np.eye(4))
    with pytest.raises(TransformError, match="map_T_base does not chain with odom_T_camera") as caught:
        a @ Transform("odom", "camera", np.eye(4))
    assert (caught.value.parent, caught.value.child) == ("map", "camera")


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((4, 4)),
        np.diag([2.0, 2.0, 2.0, 1.0]),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.full((4, 4), np.nan),
        np.eye(4) + np.outer([0, 0, 0, 1], [1, 0, 0, 0]),
        np.where(np.eye(4) > 0, np.inf, 0.0),
    ],
)
def test_a_matrix_that_is_not_rigid_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(TransformError, match="base <- camera"):
        Transform("base", "camera", matrix)


def test_a_transform_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match="base <- camera"):
        Transform("base", "camera", np.eye(3))


# ------------------------------------------------------------------------------------------------ frame


def test_a_frame_holds_what_it_was_given() -> None:
    made = frame(stamp_ns=5, base_T_camera=Transform("base", "camera_color_optical_frame", np.eye(4)))
    assert made.stamp_ns == 5
    assert made.up is None


@pytest.mark.parametrize(
    "changes",
    [
        {"rgb": np.zeros((48, 64, 4), np.uint8)},
        {"rgb": np.zeros((48, 64), np.uint8)},
        {"rgb": np.zeros((48, 64, 3), np.float32)},
        {"rgb": np.zeros((64, 48, 3), np.uint8)},
        {"depth": np.ones((48, 64), np.float64)},
        {"depth": np.ones((48, 64), np.uint16)},
        {"depth": np.ones((24, 32), np.float32)},
        {"up": np.ones(2)},
    ],
)
def test_images_of_another_size_or_type_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match=next(iter(changes))):
        frame(**changes)


@pytest.mark.parametrize("name", ["rgb", "depth"])
def test_a_missing_image_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"Pass the {name} image"):
        frame(**{name: None})


@pytest.mark.parametrize("up", [(0, 0, 0), (np.nan, 0, 1), (np.inf, 0, 0)])
def test_up_that_is_no_direction_is_refused(up: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="up"):
        frame(up=np.array(up))


def test_up_is_made_a_unit_vector() -> None:
    made = frame(up=np.array([0, -9.81, 0]))
    assert made.up is not None
    np.testing.assert_allclose(made.up, [0, -1, 0])


def test_a_pose_of_another_camera_is_refused() -> None:
    with pytest.raises(TransformError, match="camera_color_optical_frame"):
        frame(base_T_camera=Transform("base", "other_camera", np.eye(4)))


def test_what_was_taken_out_as_the_robot_is_seen_where_it_is_the_robots_own() -> None:
    taken, own = np.full((48, 64), np.nan, np.float32), np.zeros((48, 64), np.bool_)
    taken[:2], own[:1] = 0.5, True
    depth = np.where(np.isnan(taken), np.float32(1.0), np.float32(np.nan))
    made = frame(depth=depth, robot=RobotPixels(taken, own))
    assert (made.with_robot[0] == 0.5).all()
    assert np.isnan(made.with_robot[1]).all()  # an object that is merely near hides nothing for the robot
    assert (made.with_robot[2:] == 1.0).all()
    alone = frame()
    assert alone.with_robot is alone.depth
    for wrong in (RobotPixels(taken[:9], own), RobotPixels(taken, own.astype(np.uint8))):
        with pytest.raises(ShapeError, match=r"robot\."):
            frame(robot=wrong)
    with pytest.raises(InputError, match="remove_self"):
        frame(robot=own)


def test_a_frame_knows_where_its_speaker_is() -> None:
    made = frame(camera_T_speaker=Transform("camera_color_optical_frame", "person", np.eye(4)))
    assert made.camera_T_speaker is not None
    assert made.camera_T_speaker.child == "person"
    assert frame().camera_T_speaker is None


def test_a_speaker_seen_from_another_camera_is_refused() -> None:
    with pytest.raises(TransformError, match="other_camera"):
        frame(camera_T_speaker=Transform("other_camera", "person", np.eye(4)))
    with pytest.raises(InputError, match=r"camera_T_speaker.*a Transform"):
        frame(camera_T_speaker=np.eye(4))


# ------------------------------------------------------------------------------------------------ detection


@pytest.mark.parametrize(
    "box",
    [(10, 10, 5, 20), (10, 10, 20, 5), (10, 10, 10, 20), (np.nan, 0, 1, 1), (0, 0, np.inf, 1), (0, 0, 1), (0,) * 5],
)
def test_a_box_that_is_none_is_refused_by_the_id_of_its_detection(box: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="'d7'"):
        Detection("d7", "cup", 1.0, box)  # type: ignore[arg-type]


@pytest.mark.parametrize("score", [-0.1, 1.1, np.nan, np.inf])
def test_a_score_that_is_no_probability_is_refused(score: float) -> None:
    with pytest.raises(InputError, match="score of detection 'd7'"):
        Detection("d7", "cup", score, (0, 0, 1, 1))


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match="no pixel is set"):
        Detection("d7", "cup", 1.0, (0, 0, 1, 1), np.zeros((4, 4), bool))


@pytest.mark.parametrize("mask", [np.ones((4, 4), np.uint8), np.ones((4, 4, 1), bool), np.ones(4, bool)])
def test_a_mask_that_is_no_bool_image_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="'d7'"):
        Detection("d7", "cup", 1.0, (0, 0, 1, 1), mask)


def test_a_front_is_made_a_unit_vector() -> None:
    found = Detection("a", "chair", 0.5, (0, 0, 1, 1), front=(0, 3, -4))
    assert found.front == pytest.approx((0.0, 0.6, -0.8))
    assert type(found.front) is tuple
    assert Detection("a", "cup", 0.5, (0, 0, 1, 1)).front is None


@pytest.mark.parametrize("front", [(0, 0, 0), (np.nan, 0, 1), (np.inf, 0, 0), (1, 0), "ahead"])
def test_a_front_that_is_no_direction_is_refused_by_the_id_of_its_detection(front: Any) -> None:
    with pytest.raises(InputError, match="front of detection 'a'"):
        Detection("a", "chair", 0.5, (0, 0, 1, 1), front=front)


def test_a_detection_has_a_box_of_floats_and_a_tuple_of_attributes() -> None:
    made = Detection("d7", "cup", 1, [1, 2, 3, 4], None, ["red"])  # type: ignore[arg-type]
    assert made.box_xyxy == (1.0, 2.0, 3.0, 4.0)
    assert all(isinstance(b, float) for b in made.box_xyxy)
    assert made.attributes == ("red",)


# ------------------------------------------------------------------------------------------------ shapes


def test_height_is_measured_along_the_planes_normal() -> None:
    plane = Plane(np.array([0.0, 0.0, -1.0]), 1.0, 0.001)
    np.testing.assert_allclose(plane.height(np.array([[5.0, 5.0, 0.8], [0.0, 0.0, 1.0]])), [0.2, 0.0])


def test_corners_of_a_box_span_its_size_along_its_axes() -> None:
    axes = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    corners = OrientedBox(np.array([1.0, 2.0, 3.0]), axes, np.array([0.2, 0.1, 0.4])).corners()
    local = (corners - [1, 2, 3]) @ axes
    np.testing.assert_allclose(np.ptp(local, axis=0), [0.2, 0.1, 0.4])
    np.testing.assert_allclose(local.mean(axis=0), 0, atol=1e-12)
