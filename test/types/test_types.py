# SPDX-License-Identifier: Apache-2.0
"""Cameras, transforms, frames and detections: what they are made of, and what they refuse; intervals of shares."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import binomtest

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
from spatial_vlm_ros.types.proportions import mcnemar, newcombe, newcombe_paired, wilson

K = np.array([[600.0, 0, 31.5], [0, 600, 23.5], [0, 0, 1]])
CAMERA = PinholeCamera(K, 64, 48)
BOX, OPTICAL = (0, 0, 1, 1), "camera_color_optical_frame"


def frame(**changes: Any) -> RgbdFrame:
    fields = {"rgb": np.zeros((48, 64, 3), np.uint8), "depth": np.ones((48, 64), np.float32), "camera": CAMERA}
    return RgbdFrame(**{**fields, **changes})


def test_status_numbers_are_those_that_other_programs_rely_on() -> None:
    groups = {
        0: "OK ANSWERED",
        10: "NOT_UNDERSTOOD INVALID_INPUT DEPTH_INVALID STALE_INPUT NOT_SYNCHRONISED TF_UNAVAILABLE FRAME_UNDEFINED "
        "FRAME_INCONSISTENT NOT_EXECUTABLE SOURCE_CHANGED",
        30: "NOT_FOUND AMBIGUOUS RELATION_UNSATISFIED OCCLUDED LOW_CONFIDENCE DISAGREEMENT NO_PLACE",
        50: "MODEL_ERROR TIMEOUT",
        60: "BUSY CANCELLED",
        70: "OUT_OF_WORKSPACE UNREACHABLE NEEDS_APPROVAL REJECTED APPROVAL_EXPIRED SCENE_CHANGED PLANNER_UNAVAILABLE "
        "PLANNING_FAILED EXECUTION_FAILED",
        90: "INTERNAL_ERROR",
    }
    expected = {name: first + n for first, names in groups.items() for n, name in enumerate(names.split())}
    assert {status.name: status.code for status in Status} == expected
    text = (Path(__file__).parents[2] / "interfaces/msg/Status.msg").read_text(encoding="utf-8")
    constants = re.findall(r"^uint8 ([A-Z_]+) = (\d+)$", text, re.MULTILINE)
    assert [(name, int(number)) for name, number in constants] == [(status.name, status.code) for status in Status]
    assert json.dumps(Status.NOT_FOUND) == '"NOT_FOUND"'
    assert Status("NOT_FOUND") is Status.NOT_FOUND


def test_every_error_becomes_a_status_that_exists_and_only_a_target_is_ok() -> None:
    kinds = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, SpatialVlmError)]
    assert len(kinds) >= 11
    assert all(kind.status_name in Status.__members__ for kind in kinds)
    assert Resolution("the cup", Status.NOT_FOUND, "no cup").code == 30
    with pytest.raises(ValueError, match="if and only if its status is OK"):
        Resolution("the cup", Status.OK, "here")


NAN, INF = np.nan, np.inf
TAKEN, OWN = np.full((48, 64), np.nan, np.float32), np.zeros((48, 64), np.bool_)
REFUSED: dict[str, tuple[type[SpatialVlmError], str, Any, list[Any]]] = {
    "camera matrix": (InputError, "camera K.*Calibrate the camera", lambda K: PinholeCamera(K, 64, 48), [
        np.zeros((3, 3)), np.full((3, 3), NAN), np.diag([600.0, -600.0, 1.0]), np.diag([0.0, 600.0, 1.0]),
        np.diag([600.0, 600.0, 0.0]), np.diag([INF, 600.0, 1.0])]),
    "camera matrix of another shape": (ShapeError, "camera K", lambda K: PinholeCamera(K, 64, 48), [
        np.eye(4), np.ones(9), np.ones((3, 4))]),
    "camera size": (InputError, "camera size", lambda size: PinholeCamera(K, *size), [(0, 48), (64, 0), (-64, 48)]),
    "distortion model": (InputError, r"thin_prism.*plumb_bob, rational_polynomial, equidistant",
                         lambda model: PinholeCamera(K, 64, 48, model, (0.1,)), ["thin_prism"]),
    "plumb_bob": (InputError, "plumb_bob coefficients", lambda D: PinholeCamera(K, 64, 48, "plumb_bob", D), [
        (0.1,), (0.1,) * 8, (0.1, NAN, 0, 0, 0)]),
    "rational_polynomial": (InputError, "rational_polynomial coefficients",
                            lambda D: PinholeCamera(K, 64, 48, "rational_polynomial", D), [(0.1,) * 5]),
    "equidistant": (InputError, "equidistant coefficients", lambda D: PinholeCamera(K, 64, 48, "equidistant", D), [
        (0.1,) * 5]),
    "transform": (TransformError, "base <- camera.*[Cc]heck the calibration",
                  lambda T: Transform("base", "camera", T), [
        np.zeros((4, 4)), np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([1.0, 1.0, -1.0, 1.0]), np.full((4, 4), NAN),
        np.eye(4) + np.outer([0, 0, 0, 1], [1, 0, 0, 0]), np.where(np.eye(4) > 0, INF, 0.0)]),
    "transform of another shape": (ShapeError, "base <- camera", lambda T: Transform("base", "camera", T), [np.eye(3)]),
    "rgb": (ShapeError, "rgb", lambda rgb: frame(rgb=rgb), [
        np.zeros((48, 64, 4), np.uint8), np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3), np.float32),
        np.zeros((64, 48, 3), np.uint8)]),
    "depth": (ShapeError, "depth", lambda depth: frame(depth=depth), [
        np.ones((48, 64), np.float64), np.ones((48, 64), np.uint16), np.ones((24, 32), np.float32)]),
    "no rgb": (InputError, "Pass the rgb image", lambda rgb: frame(rgb=rgb), [None]),
    "no depth": (InputError, "Pass the depth image", lambda depth: frame(depth=depth), [None, [1.0]]),
    "up of another shape": (ShapeError, "up", lambda up: frame(up=up), [np.ones(2)]),
    "up": (InputError, "up.*gravity", lambda up: frame(up=np.array(up)), [(0, 0, 0), (NAN, 0, 1), (INF, 0, 0)]),
    "pose of another camera": (TransformError, f"{OPTICAL}.*frame names", lambda T: frame(base_T_camera=T), [
        Transform("base", "other_camera", np.eye(4))]),
    "speaker of another camera": (TransformError, "other_camera", lambda T: frame(camera_T_speaker=T), [
        Transform("other_camera", "person", np.eye(4))]),
    "speaker": (InputError, r"camera_T_speaker.*a Transform", lambda T: frame(camera_T_speaker=T), [np.eye(4)]),
    "robot of another shape": (ShapeError, r"robot\.", lambda robot: frame(robot=robot), [
        RobotPixels(TAKEN[:9], OWN), RobotPixels(TAKEN, OWN.astype(np.uint8))]),
    "robot": (InputError, "remove_self", lambda robot: frame(robot=robot), [OWN]),
    "box": (InputError, r"'d7'.*\[left, top, right, bottom\]", lambda box: Detection("d7", "cup", 1.0, box), [
        (10, 10, 5, 20), (10, 10, 20, 5), (10, 10, 10, 20), (NAN, 0, 1, 1), (0, 0, INF, 1), (0, 0, 1), (0,) * 5]),
    "score": (InputError, "score of detection 'd7'.*Give a probability",
              lambda score: Detection("d7", "cup", score, BOX), [
        -0.1, 1.1, NAN, INF]),
    "box or score without numbers": (InputError, "'d7'.*Give the box as x0, y0, x1, y1",
                                     lambda given: Detection("d7", "cup", *given), [
        (1.0, None), (1.0, ("a", 0, 1, 1)), (None, BOX), ("high", BOX)]),
    "empty mask": (InputError, "no pixel is set.*Drop the detection",
                   lambda mask: Detection("d7", "cup", 1.0, BOX, mask), [
        np.zeros((4, 4), bool)]),
    "mask": (ShapeError, "'d7'.*how it was converted", lambda mask: Detection("d7", "cup", 1.0, BOX, mask), [
        np.ones((4, 4), np.uint8), np.ones((4, 4, 1), bool), np.ones(4, bool)]),
    "mask that is no array": (InputError, "'d7'", lambda mask: Detection("d7", "cup", 1.0, BOX, mask), [[[True]]]),
    "label": (InputError, "'d7'", lambda label: Detection("d7", label, 1.0, BOX), [None]),
    "front": (InputError, "front of detection 'a'", lambda front: Detection("a", "chair", 0.5, BOX, front=front), [
        (0, 0, 0), (NAN, 0, 1), (INF, 0, 0), (1, 0), "ahead"]),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_none_is_refused_by_name(what: str) -> None:
    error, words, make, values = REFUSED[what]
    for value in values:
        with pytest.raises(error, match=words) as caught:
            make(value)
        assert caught.value.repair.lower() in str(caught.value).lower()
        if what in ("rgb", "depth"):
            assert str(caught.value).startswith(f"{what}: {value.shape} {value.dtype}. Expected")


def test_a_camera_keeps_its_own_copy_of_the_matrix_and_zero_coefficients_are_rectified() -> None:
    given_K = K.copy()
    camera = PinholeCamera(given_K, 64, 48)
    given_K[0, 0] = 1
    assert camera.K[0, 0] == 600
    with pytest.raises(ValueError, match="read-only"):
        camera.K[0, 0] = 1
    assert PinholeCamera(K, 64, 48, "plumb_bob", (0.0,) * 5).is_rectified
    assert not PinholeCamera(K, 64, 48, "plumb_bob", (0.1, 0, 0, 0)).is_rectified


vectors = st.tuples(*[st.floats(-10, 10)] * 3)
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
def test_a_chain_moves_points_as_scipy_does_and_the_inverse_undoes_it(
    a: Parts, b: Parts, point: tuple[float, ...]
) -> None:
    chain = ours("map", "base", a) @ ours("base", "camera", b)
    assert (chain.parent, chain.child) == ("map", "camera")
    np.testing.assert_allclose(chain.apply(np.array([point])), [moved(a, moved(b, point))], atol=1e-9)
    np.testing.assert_allclose(chain.apply(np.array(point)), moved(a, moved(b, point)), atol=1e-9)
    expected = Rotation.from_euler("xyz", a[0]) * Rotation.from_euler("xyz", b[0])
    np.testing.assert_allclose(chain.rotation, expected.as_matrix(), atol=1e-9)
    inverse = chain.inverse()
    assert (inverse.parent, inverse.child) == ("camera", "map")
    np.testing.assert_allclose(inverse.rotation, expected.inv().as_matrix(), atol=1e-9)
    np.testing.assert_allclose((chain @ inverse).matrix, np.eye(4), atol=1e-9)


def test_a_transform_has_a_rotation_and_a_translation_and_chains_where_frames_meet() -> None:
    transform = ours("base", "camera", ((0, 0, np.pi / 2), (1, 2, 3)))
    np.testing.assert_allclose(transform.rotation @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_array_equal(transform.translation, [1, 2, 3])
    with pytest.raises(TransformError, match="map_T_base does not chain with odom_T_camera") as caught:
        Transform("map", "base", np.eye(4)) @ Transform("odom", "camera", np.eye(4))
    assert (caught.value.parent, caught.value.child) == ("map", "camera")


def test_a_frame_holds_what_it_was_given_and_up_is_made_a_unit_vector() -> None:
    made = frame(stamp_ns=5, base_T_camera=Transform("base", OPTICAL, np.eye(4)),
                 camera_T_speaker=Transform(OPTICAL, "person", np.eye(4)))  # fmt: skip
    assert (made.stamp_ns, made.up) == (5, None)
    assert made.camera_T_speaker is not None
    assert made.camera_T_speaker.child == "person"
    assert frame().camera_T_speaker is None
    np.testing.assert_allclose(frame(up=np.array([0, -9.81, 0])).up, [0, -1, 0])


def test_what_was_taken_out_as_the_robot_is_seen_where_it_is_the_robots_own() -> None:
    taken, own = TAKEN.copy(), OWN.copy()
    taken[:2], own[:1] = 0.5, True
    depth = np.where(np.isnan(taken), np.float32(1.0), np.float32(np.nan))
    made = frame(depth=depth, robot=RobotPixels(taken, own))
    assert (made.with_robot[0] == 0.5).all()
    assert np.isnan(made.with_robot[1]).all()  # an object that is merely near hides nothing for the robot
    assert (made.with_robot[2:] == 1.0).all()
    alone = frame()
    assert alone.with_robot is alone.depth


def test_a_detection_has_a_box_of_floats_a_tuple_of_attributes_and_a_unit_front() -> None:
    made = Detection("d7", "cup", 1, [1, 2, 3, 4], None, ["red"])  # type: ignore[arg-type]
    assert made.box_xyxy == (1.0, 2.0, 3.0, 4.0)
    assert all(isinstance(b, float) for b in made.box_xyxy)
    assert (made.attributes, made.front) == (("red",), None)
    found = Detection("a", "chair", 0.5, BOX, front=(0, 3, -4))
    assert found.front == pytest.approx((0.0, 0.6, -0.8))
    assert type(found.front) is tuple


def test_height_is_along_a_planes_normal_and_corners_span_a_box_along_its_axes() -> None:
    plane = Plane(np.array([0.0, 0.0, -1.0]), 1.0, 0.001)
    np.testing.assert_allclose(plane.height(np.array([[5.0, 5.0, 0.8], [0.0, 0.0, 1.0]])), [0.2, 0.0])
    axes = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    corners = OrientedBox(np.array([1.0, 2.0, 3.0]), axes, np.array([0.2, 0.1, 0.4])).corners()
    local = (corners - [1, 2, 3]) @ axes
    np.testing.assert_allclose(np.ptp(local, axis=0), [0.2, 0.1, 0.4])
    np.testing.assert_allclose(local.mean(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 7), (57, 62), (990, 1000)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    theirs = binomtest(k, n).proportion_ci(0.95, method="wilson")
    ours = wilson(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-6)
    assert ours.share == pytest.approx(k / n, abs=1e-6)


@pytest.mark.parametrize(
    ("interval", "counts", "low", "high", "within"),
    [
        (newcombe, (56, 70, 48, 80), 0.0524, 0.3339, 6e-5),  # his table
        (newcombe, (9, 10, 3, 10), 0.1705, 0.8090, 6e-5),
        (newcombe, (10, 10, 0, 10), 0.6075, 1.0, 6e-5),
        (newcombe_paired, (1, 1, 7, 12), -0.507, -0.026, 6e-4),  # Fagerland, Lydersen and Laake (2014), airways
        (newcombe_paired, (36, 12, 2, 0), 0.0569, 0.3404, 6e-4),
    ],
)
def test_differences_have_the_published_intervals(
    interval: object, counts: tuple[int, ...], low: float, high: float, within: float
) -> None:
    found = interval(*counts)  # type: ignore[operator]
    assert (found.low, found.high) == pytest.approx((low, high), abs=within)


def test_intervals_cover_the_true_difference_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    p1, p2, n1, n2 = 0.9, 0.7, 40, 30
    found = [newcombe(int(a), n1, int(b), n2) for a, b in zip(rng.binomial(n1, p1, 1000), rng.binomial(n2, p2, 1000),
                                                              strict=True)]  # fmt: skip
    assert 0.93 <= np.mean([one.low <= p1 - p2 <= one.high for one in found]) <= 0.98
    counts = rng.multinomial(60, [0.5, 0.25, 0.1, 0.15], 1000).tolist()
    paired = [newcombe_paired(*each) for each in counts]
    alone = [newcombe(a + b, 60, a + c, 60) for a, b, c, _ in counts]
    assert 0.93 <= np.mean([one.low <= 0.15 <= one.high for one in paired]) <= 0.98
    narrower = [one.high - one.low <= other.high - other.low for one, other in zip(paired, alone, strict=True)]
    assert np.mean(narrower) > 0.5  # these pairs agree more often than not


def test_a_paired_difference_turns_its_sign_with_the_order_and_there_is_none_to_no_cases() -> None:
    there, back = newcombe_paired(20, 9, 4, 7), newcombe_paired(20, 4, 9, 7)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert (newcombe(3, 4, 0, 0), newcombe_paired(0, 0, 0, 0), newcombe(0, 0, 3, 4)) == (None, None, None)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test_on_the_pairs_that_differ(lost: int, gained: int) -> None:
    """Five losses alone tell nothing, and six do."""
    n = lost + gained
    theirs = binomtest(lost, n, 0.5).pvalue if n else 1.0
    assert mcnemar(lost, gained) == pytest.approx(theirs, rel=1e-9, abs=1e-300)
    assert (mcnemar(5, 0), mcnemar(6, 0)) == pytest.approx((0.0625, 0.03125))
