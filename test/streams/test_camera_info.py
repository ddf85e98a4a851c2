# SPDX-License-Identifier: Apache-2.0
"""Camera info of drivers, live or of a bag: the camera of raw and of rectified images, or a refusal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rosbags")

from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from spatial_vlm_ros.errors import InputError, SpatialVlmError, UnknownNameError
from spatial_vlm_ros.streams.camera_info import camera_of
from spatial_vlm_ros.types import PinholeCamera

K = [600.0, 0, 321, 0, 610, 241, 0, 0, 1]
P = [580.0, 0, 318, 0, 0, 585, 239, 0, 0, 0, 1, 0]
PLUMB_BOB = [0.1, -0.2, 0.001, 0.002, 0.05]


def info(**fields: Any) -> Any:
    """An rclpy message of a calibrated, distorted camera, 640 x 480."""
    usual = {"width": 640, "height": 480, "distortion_model": "plumb_bob", "d": PLUMB_BOB, "k": K, "p": P}
    given = {**usual, "r": np.eye(3).ravel().tolist(), **fields}
    return CameraInfo(**{name: list(map(float, v)) if isinstance(v, list) else v for name, v in given.items()})


def numbers(camera: PinholeCamera) -> tuple[float, ...]:
    """fx, fy, cx, cy, width, height."""
    return (*camera.K[(0, 1, 0, 1), (0, 1, 2, 2)].tolist(), camera.width, camera.height)


def test_raw_images_follow_k_and_d_and_rectified_ones_p_without_distortion() -> None:
    camera = camera_of(info(), rectified=False)
    assert numbers(camera) == (600, 610, 321, 241, 640, 480)
    assert (camera.distortion_model, camera.D) == ("plumb_bob", tuple(PLUMB_BOB))
    camera = camera_of(info(), rectified=True)
    assert numbers(camera) == (580, 585, 318, 239, 640, 480)
    assert camera.D == ()
    assert camera_of(info(distortion_model="ftheta", d=[0.1] * 14), rectified=True).D == ()  # whatever the lens
    assert numbers(camera_of(info(p=[0.0] * 12, d=[0.0] * 5), rectified=True))[:4] == (600, 610, 321, 241)


def test_messages_of_a_bag_give_the_same_camera() -> None:
    types = get_typestore(Stores.ROS2_KILTED).types
    message = types["sensor_msgs/msg/CameraInfo"](
        header=None, width=640, height=480, distortion_model="plumb_bob", d=np.array(PLUMB_BOB), k=np.array(K),
        r=np.eye(3).ravel(), p=np.array(P), binning_x=2, binning_y=0,
        roi=types["sensor_msgs/msg/RegionOfInterest"](x_offset=20, y_offset=8, height=400, width=600, do_rectify=False),
    )  # fmt: skip
    ours = camera_of(message, rectified=False)
    live = camera_of(
        info(binning_x=2, roi=RegionOfInterest(x_offset=20, y_offset=8, height=400, width=600)), rectified=False
    )
    assert numbers(ours) == numbers(live)
    assert ours.D == live.D


@pytest.mark.parametrize("rectified", [False, True])
def test_a_window_is_cut_out_before_it_is_binned(rectified: bool) -> None:
    # By hand: cx = (321 - 100) / 2, cy = (241 - 40) / 3, fx = 600 / 2, fy = 610 / 3; size 401 / 2, 303 / 3.
    roi = RegionOfInterest(x_offset=100, y_offset=40, width=401, height=303, do_rectify=rectified)
    camera = camera_of(info(binning_x=2, binning_y=3, roi=roi), rectified)
    fx, fy, cx, cy = (580, 585, 318, 239) if rectified else (600, 610, 321, 241)
    assert numbers(camera) == pytest.approx((fx / 2, fy / 3, (cx - 100) / 2, (cy - 40) / 3, 200, 101))
    for binning in (0, 1):  # without binning and window
        assert numbers(camera_of(info(binning_x=binning, binning_y=binning), rectified=False))[:3] == (600, 610, 321)
    roi = RegionOfInterest(x_offset=0, y_offset=100, width=0, height=380)  # over the whole width
    assert numbers(camera_of(info(roi=roi), rectified=False)) == (600, 610, 321, 141, 640, 380)


@pytest.mark.parametrize(
    ("model", "d", "expected_model", "expected_d"),
    [
        ("plumb_bob", [0.1, 0.2, 0, 0], "plumb_bob", (0.1, 0.2, 0, 0)),
        ("plumb_bob", [0.0] * 5, "plumb_bob", ()),
        ("plumb_bob", [], "plumb_bob", ()),
        ("", [], "plumb_bob", ()),
        ("", [0.0] * 5, "plumb_bob", ()),
        ("plumb_bob", [*PLUMB_BOB, 0, 0, 0], "plumb_bob", tuple(PLUMB_BOB)),
        ("rational_polynomial", [0.1] * 8, "rational_polynomial", (0.1,) * 8),
        ("rational_polynomial", [0.1] * 8 + [0.0] * 4, "rational_polynomial", (0.1,) * 8),
        ("rational_polynomial", [0.1] * 8 + [0.0] * 6, "rational_polynomial", (0.1,) * 8),
        ("rational_polynomial", PLUMB_BOB, "plumb_bob", tuple(PLUMB_BOB)),
        ("rational_polynomial", [0.0] * 8, "rational_polynomial", ()),
        ("equidistant", [0.1] * 4, "equidistant", (0.1,) * 4),
        ("equidistant", [0.1] * 4 + [0.0], "equidistant", (0.1,) * 4),
        ("fisheye", [0.1] * 4, "equidistant", (0.1,) * 4),
        ("inverse_brown_conrady", [0.0] * 5, "plumb_bob", ()),
        ("Modified_Brown_Conrady", [0.0] * 5, "plumb_bob", ()),
        ("None", [], "plumb_bob", ()),
    ],
)
def test_lens_models_of_drivers_become_ours(
    model: str, d: list[float], expected_model: str, expected_d: tuple[float, ...]
) -> None:
    camera = camera_of(info(distortion_model=model, d=d), rectified=False)
    assert (camera.distortion_model, camera.D) == (expected_model, expected_d)


def window(x: int, y: int, width: int, height: int) -> RegionOfInterest:
    return RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)


def moved(place: int, value: float) -> list[float]:
    """P of the second camera of a stereo pair."""
    return [*P[:place], value, *P[place + 1 :]]


UNCALIBRATED = {"k": [0.0] * 9, "p": [0.0] * 12, "d": []}


@pytest.mark.parametrize(
    ("fields", "rectified", "reason"),
    [
        ({"p": [0.0] * 12}, True, "Publish P"),
        ({"roi": window(100, 0, 600, 480)}, False, "roi"),
        ({"roi": window(0, 400, 640, 100)}, False, "roi"),
        ({"roi": window(10, 0, 0, 0)}, False, "roi"),
        ({"binning_x": 1000}, False, "camera size"),
        (UNCALIBRATED, False, "Calibrate the camera"),
        (UNCALIBRATED, True, "Calibrate the camera"),
        *(({"p": moved(*change)}, rectified, "left") for change in ((3, -58.0), (7, 1.0), (11, 1.0))
          for rectified in (False, True)),
        ({"width": 0}, False, "camera size"),
        ({"height": 0}, False, "camera size"),
        ({"k": [float("nan"), *K[1:]]}, False, "CameraInfo k"),
        ({"k": [-600.0, *K[1:]]}, False, "K"),
        ({"d": [float("inf")] * 5}, False, "CameraInfo d"),
        *(({"distortion_model": model, "d": d}, False, reason) for model, d, reason in (
            ("", PLUMB_BOB, "with coefficients"), ("inverse_brown_conrady", PLUMB_BOB, "with coefficients"),
            ("rational_polynomial", [0.1] * 9 + [0.0] * 3, "thin prism"),
            ("rational_polynomial", [0.1] * 14, "thin prism"), ("plumb_bob", [0.1] * 8, "at most 5"),
            ("plumb_bob", [0.1], "1 values"), ("equidistant", [0.0] * 4, "fisheye"),
        )),
    ],
)  # fmt: skip
def test_what_cannot_be_a_camera_of_these_images_is_refused(
    fields: dict[str, Any], rectified: bool, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        camera_of(info(**fields), rectified)


@pytest.mark.parametrize(
    "message",
    [
        SimpleNamespace(),
        SimpleNamespace(k=K, p=P, d="abc"),
        SimpleNamespace(k=[1.0]),
        SimpleNamespace(k=K, p=P, d=[], r=[0.0] * 9, width=640, height=480, binning_x=0, binning_y=0),
        SimpleNamespace(k=K, p=P, d=[], r=[0.0] * 9),
    ],
)
def test_what_is_no_camera_info_and_an_unknown_lens_are_refused(message: Any) -> None:
    with pytest.raises(InputError):
        camera_of(message, rectified=False)
    with pytest.raises(UnknownNameError, match="rational_polynomial"):
        camera_of(info(distortion_model="ftheta"), rectified=False)


def test_raw_images_of_a_camera_turned_against_its_frame_are_refused() -> None:
    angle = 0.01
    turned = [np.cos(angle), 0, np.sin(angle), 0, 1, 0, -np.sin(angle), 0, np.cos(angle)]
    with pytest.raises(InputError, match="rectified topics"):
        camera_of(info(r=turned), rectified=False)
    assert camera_of(info(r=turned), rectified=True).D == ()
    assert camera_of(info(r=[0.0] * 9), rectified=False).D  # not filled


NUMBER = st.sampled_from([0.0, 1.0, 600.0, -1.0, float("nan"), 1e300]) | st.floats(-1e3, 1e3)


@given(
    st.lists(NUMBER, min_size=9, max_size=9), st.lists(NUMBER, max_size=14),
    st.lists(st.integers(0, 700), min_size=8, max_size=8),
    st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant", "", "x"]), st.booleans(),
)  # fmt: skip
def test_no_camera_info_crashes(k: list[float], d: list[float], n: list[int], model: str, rectified: bool) -> None:
    roi = RegionOfInterest(x_offset=n[0], y_offset=n[1], width=n[2], height=n[3])
    message = info(k=k, d=d, width=n[4], height=n[5], binning_x=n[6], binning_y=n[7], roi=roi, distortion_model=model)
    try:
        camera = camera_of(message, rectified)
    except SpatialVlmError:
        return
    assert camera.width > 0
