# SPDX-License-Identifier: Apache-2.0
"""Pictures of a driver that mirrors them are turned back before anything is measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.evaluation.bags.types import default_store
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.shapes import Box, Cylinder
from spatial_vlm_ros.sim.tabletop import Body, Rendering, World, look_at, render
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.compose import rosbags_composer
from spatial_vlm_ros.streams.frame_assembler import FrameAssembler
from spatial_vlm_ros.streams.mirror import turned_camera, turned_detection, turned_image
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame, Transform

STAMP = 1_700_000_000_000_000_000
OFF_CENTRE = np.array([[300.0, 0, 171.3], [0, 305, 110], [0, 0, 1]])
LENSES = {
    "no lens": ("plumb_bob", ()),
    "plumb bob": ("plumb_bob", (0.08, -0.05, 0.004, -0.007, 0.01)),
    "four coefficients": ("plumb_bob", (0.08, -0.05, 0.004, -0.007)),
    "rational": ("rational_polynomial", (0.2, 0.05, 0.003, 0.006, 0.01, 0.15, 0.02, 0.001)),
    "fisheye": ("equidistant", (0.03, -0.01, 0.004, -0.001)),
}
REFLECTION = np.array([-1.0, 1.0, 1.0])


def camera(lens: str) -> PinholeCamera:
    model, D = LENSES[lens]
    return PinholeCamera(OFF_CENTRE, 320, 240, model, D)


@pytest.mark.parametrize("lens", LENSES)
@given(x=st.floats(-0.5, 0.5), y=st.floats(-0.4, 0.4), z=st.floats(0.3, 3.0))
def test_the_turned_camera_sees_at_the_mirrored_column_what_the_mirror_showed(
    lens: str, x: float, y: float, z: float
) -> None:
    seen = camera(lens)
    point = np.array([[x * z, y * z, z]])
    ((u, v),) = project(seen, point * REFLECTION)
    ((turned_u, turned_v),) = project(turned_camera(seen), point)
    assert (turned_u, turned_v) == pytest.approx((seen.width - 1 - u, v), abs=1e-9)


@pytest.mark.parametrize("lens", LENSES)
def test_turning_twice_changes_nothing(lens: str) -> None:
    seen = camera(lens)
    back = turned_camera(turned_camera(seen))
    np.testing.assert_allclose(back.K, seen.K, atol=1e-12)
    assert (back.D, back.distortion_model) == (seen.D, seen.distortion_model)
    obj = Detection("a", "chair", 0.5, (1, 2, 30, 40), np.tri(240, 320, dtype=bool), ("red",), (0.6, 0.0, -0.8))
    turned = turned_detection(obj, 320)
    assert turned.front == pytest.approx((-0.6, 0.0, -0.8))
    again = turned_detection(turned, 320)
    assert (again.box_xyxy, again.front, again.attributes) == (obj.box_xyxy, obj.front, obj.attributes)
    np.testing.assert_array_equal(again.mask, obj.mask)
    image = turned_image(np.arange(12, dtype=np.uint8).reshape(1, 4, 3))
    assert image[0].tolist() == [[9, 10, 11], [6, 7, 8], [3, 4, 5], [0, 1, 2]]  # with all its channels
    assert image.flags.c_contiguous


@given(left=st.integers(0, 318), width=st.integers(1, 319))
def test_the_box_of_a_mask_stays_the_box_of_the_turned_mask(left: int, width: int) -> None:
    right = min(left + width, 320)
    mask = np.zeros((240, 320), bool)
    mask[10:20, left:right] = True
    turned = turned_detection(Detection("a", "cup", 1.0, (left, 10, right, 20), mask), 320)
    columns = np.flatnonzero(turned.mask.any(axis=0))
    assert turned.box_xyxy == (columns[0], 10, columns[-1] + 1, 20)


BASE_T_CAMERA = look_at((0.1, -0.9, 0.6), (0.0, 0.0, 0.03), parent="base_link")
CUP = Body("cup", "cup", Cylinder(0.04, 0.1), (0.0, 0.0, 0.0), "green")
BLOCKS = (
    Body("l", "block", Box((0.05, 0.05, 0.05)), (-0.2, 0.03, 0.0), "red"),
    Body("r", "block", Box((0.05, 0.05, 0.05)), (0.13, -0.04, 0.0), "red"),
)


def mirrored(seen: Rendering) -> tuple[RgbdFrame, tuple[Detection, ...]]:
    """What a driver publishes that mirrors `seen`, calibrated on its own images, and a detector that saw those."""
    width, height = seen.frame.camera.width, seen.frame.camera.height
    K, D = seen.frame.camera.K.copy(), seen.frame.camera.D
    K[0, 2] = width - 1 - K[0, 2]
    published = PinholeCamera(K, width, height, "plumb_bob", (D[0], D[1], D[2], -D[3], D[4]))
    found = []
    for obj in seen.detections:
        mask = np.ascontiguousarray(np.fliplr(obj.mask))
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        found.append(dataclasses.replace(obj, mask=mask, box_xyxy=box))
    rgb, depth = (np.ascontiguousarray(np.fliplr(image)) for image in (seen.frame.rgb, seen.frame.depth))
    return dataclasses.replace(seen.frame, rgb=rgb, depth=depth, camera=published), tuple(found)


def through_the_assembler(frame: RgbdFrame, detections: tuple[Detection, ...], **config: Any) -> Any:
    """The frame and detections that the assembler decodes of it; unregistered depth has a frame of its own."""
    make = rosbags_composer(default_store())
    header = depth_header = make.header(STAMP, frame.frame_id)
    assembler = FrameAssembler(StreamConfig(**config), with_detections=True)
    pose = make.tf_message([make.transform_stamped(BASE_T_CAMERA, 0)])
    if not assembler.config.depth_registered:
        depth_header = make.header(STAMP, "depth_optical_frame")
        still = Transform(frame.frame_id, "depth_optical_frame", np.eye(4))
        pose.transforms.append(make.transform_stamped(still, 0))
        assembler.add(roles.DEPTH_INFO, make.camera_info(frame.camera, depth_header), STAMP)
    for role, message in (
        (roles.STATIC_TRANSFORMS, pose),
        (roles.RGB_INFO, make.camera_info(frame.camera, header)),
        (roles.RGB, make.image_rgb(frame.rgb, header)),
        (roles.DEPTH, make.image_depth(frame.depth, depth_header)),
        (roles.DETECTIONS, make.detection_array(detections, header, frame.camera.width, frame.camera.height)),
    ):
        assembler.add(role, message, STAMP)
    return assembler.take(0, STAMP).decode()


@pytest.fixture(scope="module")
def seen() -> Rendering:
    """Two blocks beside a cup, as a camera with an off-centre, bent lens sees them."""
    return render(World((CUP, *BLOCKS)), camera("plumb bob"), BASE_T_CAMERA, STAMP)


def test_a_mirrored_stream_becomes_the_very_frame_that_was_seen(seen: Rendering) -> None:
    frame, found = through_the_assembler(*mirrored(seen), mirrored=True)
    np.testing.assert_array_equal(frame.rgb, seen.frame.rgb)
    np.testing.assert_array_equal(frame.depth, seen.frame.depth)
    np.testing.assert_allclose(frame.camera.K, seen.frame.camera.K, atol=1e-9)
    np.testing.assert_allclose(frame.camera.D, seen.frame.camera.D, atol=1e-12)
    for ours, theirs in zip(found, seen.detections, strict=True):
        assert ours.box_xyxy == theirs.box_xyxy
        np.testing.assert_array_equal(ours.mask, theirs.mask)


@pytest.mark.parametrize("words", ["the block left of the cup", "the leftmost block"])
def test_left_of_a_mirrored_image_is_left_of_the_world(seen: Rendering, words: str) -> None:
    frame, found = through_the_assembler(*mirrored(seen), mirrored=True)
    answer = Resolver().resolve(frame, words, found)
    assert answer.target is not None, answer.message
    assert answer.target.id == "l"
    assert answer.target.pose.position == pytest.approx((-0.2, 0.03, 0.025), abs=0.01)
    taken_as_seen, found = through_the_assembler(*mirrored(seen))
    deceived = Resolver().resolve(taken_as_seen, words, found)
    assert deceived.target is None or deceived.target.id == "r"  # what the parameter is for


def test_depth_of_its_own_camera_is_turned_with_its_info(seen: Rendering) -> None:
    frame, _ = through_the_assembler(*mirrored(seen), mirrored=True, depth_registered=False)
    both = np.isfinite(frame.depth) & np.isfinite(seen.frame.depth)
    assert both.mean() > 0.8 * np.isfinite(seen.frame.depth).mean()
    assert np.median(np.abs(frame.depth - seen.frame.depth)[both]) < 1e-3
