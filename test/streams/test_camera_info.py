# SPDX-License-Identifier: Apache-2.0
"""Messages of cameras and detectors: cameras of raw, rectified and mirrored images; detections with their masks."""

import dataclasses
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tables import tables

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.recording.bags.topics import default_store
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Body, Box, Cylinder, Rendering, World, look_at, render
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import (
    detections_of,
    mask_crop,
    rosbags_composer,
    turned_camera,
    turned_detection,
    turned_image,
)
from spatial_vlm_ros.streams.frame_assembler import FrameAssembler
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame, Transform

pytest.importorskip("rosbags")

from sensor_msgs.msg import CameraInfo, RegionOfInterest

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.streams.image import camera_of

TABLES = tables(__file__)
K = [600.0, 0, 321, 0, 610, 241, 0, 0, 1]
P = [580.0, 0, 318, 0, 0, 585, 239, 0, 0, 0, 1, 0]
PLUMB_BOB = [0.1, -0.2, 0.001, 0.002, 0.05]


def info(**fields: Any) -> Any:
    usual = {"width": 640, "height": 480, "distortion_model": "plumb_bob", "d": PLUMB_BOB, "k": K, "p": P}
    given = {**usual, "r": np.eye(3).ravel().tolist(), **fields}
    return CameraInfo(**{name: list(map(float, v)) if isinstance(v, list) else v for name, v in given.items()})


def numbers(camera: PinholeCamera) -> tuple[float, ...]:
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


@pytest.mark.parametrize(("model", "d", "ours", "ours_d"), TABLES["lenses"])
def test_lens_models_of_drivers_become_ours(model: str, d: list[float], ours: str, ours_d: list[float]) -> None:
    camera = camera_of(info(distortion_model=model, d=d), rectified=False)
    assert (camera.distortion_model, camera.D) == (ours, tuple(ours_d))


@pytest.mark.parametrize(("fields", "rectified", "reason"), TABLES["no cameras"])
def test_what_cannot_be_a_camera_of_these_images_is_refused(fields: Any, rectified: bool, reason: str) -> None:
    if "roi" in fields:
        names = ("x_offset", "y_offset", "width", "height")
        fields = {"roi": RegionOfInterest(**dict(zip(names, fields["roi"], strict=True)))}
    with pytest.raises(InputError, match=reason):
        camera_of(info(**fields), rectified)


@pytest.mark.parametrize("fields", TABLES["no camera infos"])
def test_what_is_no_camera_info_and_an_unknown_lens_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        camera_of(SimpleNamespace(**fields), rectified=False)
    with pytest.raises(UnknownNameError, match="rational_polynomial"):
        camera_of(info(distortion_model="ftheta"), rectified=False)


def test_raw_images_of_a_camera_turned_against_its_frame_are_refused() -> None:
    c, s = np.cos(0.01), np.sin(0.01)
    turned = [c, 0, s, 0, 1, 0, -s, 0, c]
    with pytest.raises(InputError, match="rectified topics"):
        camera_of(info(r=turned), rectified=False)
    assert camera_of(info(r=turned), rectified=True).D == ()
    assert camera_of(info(r=[0.0] * 9), rectified=False).D  # not filled


NUMBER = st.sampled_from([0.0, 1.0, 600.0, -1.0, math.nan, 1e300]) | st.floats(-1e3, 1e3)


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


WIDTH, HEIGHT = 8, 6


def mono8(crop: np.ndarray, **fields: Any) -> SimpleNamespace:
    height, width = crop.shape
    usual = {"encoding": "mono8", "height": height, "width": width, "step": width, "data": crop.tobytes()}
    return SimpleNamespace(**{**usual, **fields})


def entry(**fields: Any) -> SimpleNamespace:
    usual = {"id": "a", "label": "cup", "score": 0.5, "box": [1.0, 2.0, 3.0, 4.0], "attributes": ["red"]}
    return SimpleNamespace(**{**usual, "mask_x": 0, "mask_y": 0, "mask": [], **fields})


def detection_array(*entries: SimpleNamespace, width: int = WIDTH, height: int = HEIGHT) -> SimpleNamespace:
    return SimpleNamespace(image_width=width, image_height=height, detections=list(entries))


def test_fields_become_those_of_a_detection() -> None:
    found = detections_of(detection_array(entry(), entry(id=""), entry(id="")), WIDTH, HEIGHT)
    assert [d.id for d in found] == ["a", "d1", "d2"]  # by their place
    assert (found[0].label, found[0].score, found[0].box_xyxy) == ("cup", 0.5, (1, 2, 3, 4))
    assert (found[0].attributes, found[0].mask, found[0].front) == (("red",), None, None)
    assert detections_of(detection_array(), WIDTH, HEIGHT) == ()
    assert len(detections_of(detection_array(entry(), width=0, height=0), WIDTH, HEIGHT)) == 1  # its size is not told


def test_a_crop_is_laid_into_the_whole_image() -> None:
    crop = np.array([[0, 1], [255, 0], [7, 7]], np.uint8)
    (found,) = detections_of(detection_array(entry(mask=[mono8(crop)], mask_x=5, mask_y=2)), WIDTH, HEIGHT)
    padded = mono8(np.ones((2, 2), np.uint8), step=4, data=bytes([1, 0, 9, 9, 0, 0, 9, 9]))
    (other,) = detections_of(detection_array(entry(mask=[padded])), WIDTH, HEIGHT)
    assert np.argwhere(other.mask).tolist() == [[0, 0]]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[2, 6] = expected[3, 5] = expected[4, 5] = expected[4, 6] = True
    np.testing.assert_array_equal(found.mask, expected)


def test_a_front_becomes_a_direction_of_length_one() -> None:
    faced, other = entry(front=[SimpleNamespace(x=0.0, y=3.0, z=-4.0)]), entry(front=[])
    found = detections_of(detection_array(faced, other), WIDTH, HEIGHT)
    assert [d.front for d in found] == [pytest.approx((0.0, 0.6, -0.8)), None]


@pytest.mark.parametrize("size", [(WIDTH + 1, HEIGHT), (WIDTH, HEIGHT - 1), (0, 3)])
def test_detections_of_an_image_of_another_size_and_other_messages_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="8x6, the size of the colour image"):
        detections_of(detection_array(entry(), width=size[0], height=size[1]), WIDTH, HEIGHT)
    for message in (SimpleNamespace(), detection_array(SimpleNamespace())):
        with pytest.raises(InputError, match="Check the type"):
            detections_of(message, WIDTH, HEIGHT)


@pytest.mark.parametrize(("fields", "reason"), TABLES["malformed entries"])
def test_a_malformed_entry_is_refused_by_its_place(fields: dict[str, Any], reason: str) -> None:
    masks = [SimpleNamespace(**mask | {"data": mask["data"].encode("latin-1")}) for mask in fields.get("mask", ())]
    fronts = [SimpleNamespace(**front) for front in fields.get("front", ())]
    fields = fields | {name: given for name, given in (("mask", masks), ("front", fronts)) if name in fields}
    with pytest.raises(InputError, match=reason) as caught:
        detections_of(detection_array(entry(), entry(**fields)), WIDTH, HEIGHT)
    assert caught.value.what.startswith("detections[1]")


def bbox(x: float, y: float, size_x: float, size_y: float, theta: float = 0.0, new: bool = True) -> SimpleNamespace:
    place = {"position": SimpleNamespace(x=x, y=y)} if new else {"x": x, "y": y}
    return SimpleNamespace(center=SimpleNamespace(theta=theta, **place), size_x=size_x, size_y=size_y)


def hypothesis(name: str, score: float, new: bool = True) -> SimpleNamespace:
    if new:
        return SimpleNamespace(hypothesis=SimpleNamespace(class_id=name, score=score))
    return SimpleNamespace(id=name, score=score)


def of_vision_msgs(box: SimpleNamespace, results: Sequence[SimpleNamespace] = (), id_: str = "7") -> Detection:
    message = SimpleNamespace(detections=[SimpleNamespace(id=id_, results=results, bbox=box)])
    (found,) = detections_of(message, WIDTH, HEIGHT)
    return found


@pytest.mark.parametrize("new", [True, False])
def test_messages_of_vision_msgs_of_every_version_are_read(new: bool) -> None:
    results = [hypothesis("bowl", 0.2, new), hypothesis("cup", 0.7, new), hypothesis("can", 0.1, new)]
    found = of_vision_msgs(bbox(4, 3, 2, 4, new=new), results, id_="")
    assert (found.id, found.label, found.score, found.box_xyxy) == ("d0", "cup", 0.7, (3, 1, 5, 5))
    found = of_vision_msgs(bbox(4, 3, 2, 4, new=new))
    assert (found.id, found.label, found.score) == ("7", "object", 1.0)


@pytest.mark.parametrize(
    ("theta", "half"),
    [(math.pi / 2, (2, 1)), (-math.pi / 2, (2, 1)), (math.pi / 4, (4.5**0.5, 4.5**0.5)), (1e-9, (1, 2))],
)
def test_a_turned_box_becomes_the_one_around_it(theta: float, half: tuple[float, float]) -> None:
    found = of_vision_msgs(bbox(4, 3, 2, 4, theta))
    assert found.box_xyxy == pytest.approx((4 - half[0], 3 - half[1], 4 + half[0], 3 + half[1]))
    for size in ((0.0, 1.0), (1.0, math.nan)):
        with pytest.raises(InputError, match=r"detections\[0\]"):
            of_vision_msgs(bbox(4, 3, *size))


def test_a_crop_is_as_tight_as_worked_by_hand() -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2, 3] = mask[4, 6] = True
    x, y, crop = mask_crop(mask)
    assert (x, y) == (3, 2)
    np.testing.assert_array_equal(crop, [[255, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 255]])
    with pytest.raises(InputError, match="no pixel"):
        mask_crop(np.zeros((3, 3), bool))


@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any))
def test_every_mask_comes_back_from_its_crop(mask: np.ndarray) -> None:
    x, y, crop = mask_crop(mask)
    assert all(side.any() for side in (crop[0], crop[-1], crop[:, 0], crop[:, -1]))
    height, width = mask.shape
    message = detection_array(entry(mask=[mono8(crop)], mask_x=x, mask_y=y), width=width, height=height)
    (found,) = detections_of(message, width, height)
    np.testing.assert_array_equal(found.mask, mask)


@given(
    st.lists(st.floats() | st.text(max_size=2), max_size=5), st.floats(), st.integers(0, 9), st.integers(0, 9),
    st.integers(0, 9), st.binary(max_size=40),
)  # fmt: skip
def test_no_detection_crashes(box: list[Any], score: float, x: int, height: int, step: int, data: bytes) -> None:
    mask = SimpleNamespace(encoding="mono8", height=height, width=3, step=step, data=data)
    message = detection_array(entry(box=box), entry(score=score, mask=[mask], mask_x=x))
    try:
        assert len(detections_of(message, WIDTH, HEIGHT)) == 2
    except SpatialVlmError as error:
        assert "detections[" in str(error)  # noqa: PT017


STAMP = 1_700_000_000_000_000_000
OFF_CENTRE = np.array([[300.0, 0, 171.3], [0, 305, 110], [0, 0, 1]])
LENSES = {lens: (model, tuple(D)) for lens, model, D in TABLES["bent lenses"]}
REFLECTION = np.array([-1.0, 1.0, 1.0])


def camera(lens: str) -> PinholeCamera:
    model, D = LENSES[lens]
    return PinholeCamera(OFF_CENTRE, 320, 240, model, D)


@pytest.mark.parametrize("lens", LENSES)
@given(x=st.floats(-0.5, 0.5), y=st.floats(-0.4, 0.4), z=st.floats(0.3, 3.0))
def test_the_turned_camera_sees_at_the_mirrored_column(lens: str, x: float, y: float, z: float) -> None:
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
