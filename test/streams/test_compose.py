# SPDX-License-Identifier: Apache-2.0
"""What is composed, for rclpy and for bags, is read back as it was."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rclpy.serialization import deserialize_message, serialize_message

pytest.importorskip("rosbags")

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from scipy.spatial.transform import Rotation
from tables import tables

from spatial_vlm_ros.errors import ShapeError
from spatial_vlm_ros.streams.decoding import Composer, detections_of, rclpy_composer, rosbags_composer
from spatial_vlm_ros.streams.image import camera_of, decode_depth, decode_rgb
from spatial_vlm_ros.streams.transforms import TransformBuffer
from spatial_vlm_ros.types import Detection, PinholeCamera, Transform

TABLES = tables(__file__)
STAMP = 1_700_000_000_123_456_789
CAMERA = PinholeCamera(
    np.array([[600.0, 0, 321], [0, 610, 241], [0, 0, 1]]), 640, 480, "plumb_bob", (0.1, 0.2, 0, 0, 0)
)
MESSAGES = Path(__file__).parents[2] / "interfaces" / "msg"

STORE = get_typestore(Stores.ROS2_KILTED)
for _name in ("Detection", "DetectionArray"):
    _full = f"spatial_vlm_interfaces/msg/{_name}"
    STORE.register(get_types_from_msg((MESSAGES / f"{_name}.msg").read_text(), _full))


def rclpy_class(name: str) -> type:
    package, _, kind = name.split("/")
    if importlib.util.find_spec(package) is None:  # our own are built where there is a compiler; their fields are plain
        return SimpleNamespace
    return getattr(importlib.import_module(f"{package}.msg"), kind)


def through_a_bag(message: Any) -> Any:
    if not hasattr(message, "__msgtype__"):
        return message
    return STORE.deserialize_cdr(STORE.serialize_cdr(message, message.__msgtype__), message.__msgtype__)


def through_dds(message: Any) -> Any:
    if isinstance(message, SimpleNamespace):
        return message
    return deserialize_message(serialize_message(message), type(message))


FINE = st.floats(2.0**-126, width=32, allow_infinity=False)
Way = tuple[Composer, Callable[[Any], Any]]
WAYS: dict[str, Way] = {
    "rclpy": (rclpy_composer(rclpy_class), through_dds),
    "rosbags": (rosbags_composer(STORE), through_a_bag),
}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


def test_images_come_back_as_they_were(way: Way) -> None:
    composer, sent = way
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)[:, 1:, ::-1]  # neither whole nor contiguous
    message = sent(composer.image_rgb(rgb, composer.header(STAMP, "camera")))
    header = message.header
    assert (header.stamp.sec, header.stamp.nanosec, header.frame_id) == (1_700_000_000, 123_456_789, "camera")
    assert (message.encoding, message.height, message.width, message.step) == ("rgb8", 6, 7, 21)
    np.testing.assert_array_equal(decode_rgb(message), rgb)
    own = np.zeros((4, 4, 3), np.uint8)
    message = composer.image_rgb(own, composer.header(0, "camera"))
    own += 1
    assert not decode_rgb(message).any()  # it keeps its own pixels


@pytest.mark.parametrize("name", WAYS)
@given(
    stored=hnp.arrays(np.uint16, (3, 4), elements=st.integers(0, 65535)),
    fine=hnp.arrays(np.float32, (2, 3), elements=FINE | st.just(np.nan)),
)
def test_every_depth_comes_back_and_millimetres_as_integers(name: str, stored: np.ndarray, fine: np.ndarray) -> None:
    composer, sent = WAYS[name]
    depth = np.where(stored > 0, stored * 0.001, np.nan).astype(np.float32)
    message = sent(composer.image_depth(depth, composer.header(0, "camera")))
    assert message.encoding == "16UC1"
    np.testing.assert_array_equal(np.frombuffer(message.data, "<u2").reshape(3, 4), stored)
    np.testing.assert_array_equal(decode_depth(message), depth)
    message = sent(composer.image_depth(fine, composer.header(0, "camera")))
    np.testing.assert_array_equal(decode_depth(message), fine)


@pytest.mark.parametrize(("metres", "encoding"), TABLES["encodings"])
def test_depth_is_sent_as_integers_only_where_nothing_is_lost(way: Way, metres: float, encoding: str) -> None:
    composer, _ = way
    depth = np.array([[1.0, metres]], np.float32)
    assert composer.image_depth(depth, composer.header(0, "camera")).encoding == encoding


@pytest.mark.parametrize(("kind", "shape", "dtype"), TABLES["wrong arrays"])
def test_arrays_of_the_wrong_kind_are_refused(way: Way, kind: str, shape: list[int], dtype: str) -> None:
    composer, _ = way
    with pytest.raises(ShapeError):
        getattr(composer, kind)(np.zeros(shape, dtype), composer.header(0, "camera"))
    found = Detection("a", "cup", 0.5, (0, 0, 1, 1), np.ones((3, 3), bool))
    with pytest.raises(ShapeError, match="mask of detection 'a'"):
        composer.detection_array([found], composer.header(0, "camera"), 4, 3)


@pytest.mark.parametrize(
    ("model", "D"),
    [("plumb_bob", CAMERA.D), ("plumb_bob", ()), ("rational_polynomial", (0.1,) * 8), ("equidistant", (0.1,) * 4)],
)
def test_cameras_come_back_as_they_were(way: Way, model: str, D: tuple[float, ...]) -> None:
    composer, sent = way
    camera = PinholeCamera(CAMERA.K, 640, 480, model, D)
    message = sent(composer.camera_info(camera, composer.header(STAMP, "camera")))
    back = camera_of(message, rectified=False)
    np.testing.assert_array_equal(back.K, camera.K)
    assert (back.width, back.height, back.distortion_model, back.D) == (640, 480, model, D)
    rectified = camera_of(message, rectified=True)
    np.testing.assert_array_equal(rectified.K, camera.K)
    assert rectified.is_rectified
    if not D:  # it says so in the usual way
        message = composer.camera_info(PinholeCamera(CAMERA.K, 640, 480, "equidistant"), composer.header(0, "camera"))
        assert (message.distortion_model, list(message.d)) == ("plumb_bob", [0.0] * 5)
        assert list(message.r) == [1, 0, 0, 0, 1, 0, 0, 0, 1]
        assert list(message.p) == [600, 0, 321, 0, 0, 610, 241, 0, 0, 0, 1, 0]


def test_transforms_come_back_through_the_buffer(way: Way) -> None:
    composer, sent = way
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [0.3, -1.2, 2.9]).as_matrix()
    matrix[:3, 3] = 1, -2, 3
    message = sent(composer.transform_stamped(Transform("base", "camera", matrix), STAMP))
    assert (message.header.frame_id, message.child_frame_id) == ("base", "camera")
    assert message.transform.translation.y == -2
    buffer = TransformBuffer()
    buffer.add_message(SimpleNamespace(transforms=[message]))
    np.testing.assert_allclose(buffer.lookup("base", "camera", STAMP).matrix, matrix, atol=1e-12)
    composer = rosbags_composer(STORE)  # a bag carries several in one message
    frames = [composer.transform_stamped(Transform("base", name, np.eye(4)), STAMP) for name in ("a", "b")]
    buffer.add_message(through_a_bag(composer.tf_message(frames)), static=True)
    assert buffer.frames() == {"camera": "base", "a": "base", "b": "base"}


@st.composite
def detections(draw: st.DrawFn) -> tuple[int, int, list[Detection]]:
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    masks = hnp.arrays(bool, (height, width)).filter(np.any) | st.none()
    numbers = st.floats(-1e3, 1e3)
    found = []
    for number in range(draw(st.integers(0, 3))):
        left, top = draw(numbers), draw(numbers)
        box = (left, top, left + draw(st.floats(0.5, 9)), top + draw(st.floats(0.5, 9)))
        words = tuple(draw(st.lists(st.sampled_from(["red", "größer", ""]), max_size=2)))
        label = draw(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4))
        front = draw(st.tuples(*[st.floats(0.1, 1)] * 3) | st.none())
        found.append(Detection(f"d{number}", label, draw(st.floats(0, 1)), box, draw(masks), words, front))
    return width, height, found


@pytest.mark.parametrize("name", WAYS)
@given(given_=detections())
def test_detections_come_back_as_they_were(name: str, given_: tuple[int, int, list[Detection]]) -> None:
    composer, sent = WAYS[name]
    width, height, found = given_
    message = sent(composer.detection_array(found, composer.header(STAMP, "camera"), width, height))
    back = detections_of(message, width, height)
    assert len(back) == len(found)
    for ours, theirs in zip(found, back, strict=True):
        assert (ours.id, ours.label, ours.score) == (theirs.id, theirs.label, theirs.score)
        assert (ours.box_xyxy, ours.attributes) == (theirs.box_xyxy, theirs.attributes)
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        assert ours.front == (None if theirs.front is None else pytest.approx(theirs.front, abs=1e-12))
