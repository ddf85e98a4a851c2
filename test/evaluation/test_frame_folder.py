# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from spatial_vlm_ros.errors import FileError, InputError, TransformError
from spatial_vlm_ros.evaluation.frame_folder import (
    Case,
    Expectation,
    load_cases,
    load_frame,
    read_camera_info,
    read_depth,
    read_detections,
    read_frame,
    read_rgb,
    read_transform,
)
from spatial_vlm_ros.types import Status

WIDTH, HEIGHT = 64, 48
INFO = {"width": WIDTH, "height": HEIGHT, "k": [60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1], "d": []}
CUP = {"id": "d0", "label": "cup", "score": 0.75, "box": [10, 12, 30, 40], "attributes": ["red"]}
POSE = {"parent": "base", "child": "camera_color_optical_frame", "matrix": np.eye(4).tolist()}


def write_png(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound frame folder."""
    rng = np.random.default_rng(0)
    write_png(tmp_path / "rgb.png", rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    depth = np.full((HEIGHT, WIDTH), 800, np.uint16)
    depth[0, 0] = 0
    write_png(tmp_path / "depth.png", depth)
    write_json(tmp_path / "camera_info.json", INFO)
    write_json(tmp_path / "detections.json", {"image": {"width": WIDTH, "height": HEIGHT}, "detections": [CUP]})
    return tmp_path


# ------------------------------------------------------------------------------------------------ whole frames


def test_a_sound_folder_gives_a_frame_in_metres_and_its_detections(folder: Path) -> None:
    frame, (cup,) = load_frame(folder)
    assert frame.depth[1, 1] == np.float32(0.8)
    assert np.isnan(frame.depth[0, 0])
    assert (frame.camera.width, frame.camera.height, frame.camera.K[0, 2]) == (WIDTH, HEIGHT, 31.5)
    assert frame.frame_id == "camera_color_optical_frame"
    assert frame.base_T_camera is None
    assert (cup.id, cup.label, cup.score, cup.box_xyxy, cup.attributes) == (
        "d0",
        "cup",
        0.75,
        (10, 12, 30, 40),
        ("red",),
    )


def test_colour_is_in_rgb_order(folder: Path) -> None:
    write_png(folder / "rgb.png", np.full((HEIGHT, WIDTH, 3), (255, 128, 1), np.uint8))  # OpenCV writes BGR
    assert load_frame(folder)[0].rgb[0, 0].tolist() == [1, 128, 255]


def test_detections_are_optional(folder: Path) -> None:
    (folder / "detections.json").unlink()
    assert load_frame(folder)[1] == ()


def test_masks_are_read_beside_the_detections(folder: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[12:40, 10:30] = 255
    write_png(folder / "masks" / "d0.png", mask)
    write_json(folder / "detections.json", {"detections": [{**CUP, "mask": "masks/d0.png"}]})
    _, (cup,) = load_frame(folder)
    np.testing.assert_array_equal(cup.mask, mask > 0)


def test_a_camera_pose_is_read(folder: Path) -> None:
    write_json(folder / "base_T_camera.json", POSE)
    frame, _ = load_frame(folder)
    assert frame.base_T_camera is not None
    assert (frame.base_T_camera.parent, frame.base_T_camera.child) == ("base", "camera_color_optical_frame")


def test_the_place_of_the_speaker_is_read(folder: Path) -> None:
    beside = np.eye(4)
    beside[0, 3] = 0.5
    pose = {"parent": "camera_color_optical_frame", "child": "person", "matrix": beside.tolist()}
    write_json(folder / "camera_T_speaker.json", pose)
    frame, _ = load_frame(folder)
    assert frame.camera_T_speaker is not None
    assert frame.camera_T_speaker.child == "person"
    assert frame.camera_T_speaker.translation.tolist() == [0.5, 0.0, 0.0]
    assert frame.base_T_camera is None


def test_a_speaker_seen_from_another_camera_is_refused(folder: Path) -> None:
    write_json(folder / "camera_T_speaker.json", {**POSE, "parent": "wrist_camera", "child": "person"})
    with pytest.raises(TransformError, match="wrist_camera"):
        load_frame(folder)


def test_the_front_of_an_object_is_read_as_a_direction(folder: Path) -> None:
    chairs = [{**CUP, "id": "c0", "front": [0, 3, -4]}, {**CUP, "id": "c1", "front": None}, CUP]
    write_json(folder / "detections.json", {"detections": chairs})
    assert [d.front for d in load_frame(folder)[1]] == [pytest.approx((0.0, 0.6, -0.8)), None, None]


@pytest.mark.parametrize("front", [[0, 0, 0], [1, 0], "left", [1, 0, "x"]])
def test_a_front_that_is_no_direction_is_refused_by_its_place(folder: Path, front: Any) -> None:
    write_json(folder / "detections.json", {"detections": [CUP, {**CUP, "id": "c1", "front": front}]})
    with pytest.raises(FileError, match=r"detections\[1\].*front|detections\[1\]\.front"):
        load_frame(folder)


def test_a_pose_of_another_camera_is_refused(folder: Path) -> None:
    write_json(folder / "base_T_camera.json", {**POSE, "child": "wrist_camera"})
    with pytest.raises(TransformError, match="wrist_camera"):
        load_frame(folder)


def test_depth_of_its_own_camera_is_registered_to_colour(folder: Path) -> None:
    write_png(folder / "depth.png", np.full((24, 32), 800, np.uint16))
    own = {**INFO, "width": 32, "height": 24, "k": [30.0, 0, 15.5, 0, 30.0, 11.5, 0, 0, 1]}
    write_json(folder / "depth_camera_info.json", own)
    moved = np.eye(4)
    moved[2, 3] = 0.1
    write_json(folder / "rgb_t_depth.json", {"parent": "rgb", "child": "depth", "matrix": moved.tolist()})
    frame, _ = load_frame(folder)
    assert frame.depth.shape == (HEIGHT, WIDTH)
    np.testing.assert_allclose(frame.depth[12:-12, 12:-12], 0.9)


def test_a_depth_pose_the_wrong_way_round_is_refused(folder: Path) -> None:
    write_json(folder / "camera_info.json", {**INFO, "frame_id": "rgb"})
    write_json(folder / "depth_camera_info.json", {**INFO, "frame_id": "depth"})
    write_json(folder / "rgb_t_depth.json", {**POSE, "parent": "depth", "child": "rgb"})
    with pytest.raises(TransformError, match="use its inverse"):
        load_frame(folder)
    write_json(folder / "rgb_t_depth.json", {**POSE, "parent": "rgb", "child": "depth"})
    load_frame(folder)


@pytest.mark.parametrize("name", ["depth_camera_info.json", "rgb_t_depth.json"])
def test_depth_intrinsics_and_depth_pose_belong_together(folder: Path, name: str) -> None:
    write_json(folder / name, INFO if "info" in name else POSE)
    with pytest.raises(FileError, match=f"{name}.*one of depth intrinsics and depth pose is missing"):
        load_frame(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        load_frame(tmp_path / "f99")


@pytest.mark.parametrize("name", ["rgb.png", "depth.png", "camera_info.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FileError, match=rf"{name}.*No such file"):
        load_frame(folder)


@pytest.mark.parametrize("name", ["rgb.png", "depth.png"])
def test_images_of_another_size_than_the_intrinsics_are_refused_with_both_sizes(folder: Path, name: str) -> None:
    kind = (3,) if name == "rgb.png" else ()
    write_png(folder / name, np.ones((24, 32, *kind), np.uint8 if kind else np.uint16))
    with pytest.raises(FileError, match=rf"{name}.*32x24.*camera_info.json says 64x48"):
        load_frame(folder)


def test_depth_of_another_size_than_its_own_intrinsics_is_refused(folder: Path) -> None:
    write_json(folder / "depth_camera_info.json", {**INFO, "width": 32})
    write_json(folder / "rgb_t_depth.json", POSE)
    with pytest.raises(FileError, match=r"depth.png.*64x48.*depth_camera_info.json says 32x48"):
        load_frame(folder)


def test_single_files_make_a_frame(folder: Path) -> None:
    frame = read_frame(folder / "rgb.png", folder / "depth.png", folder / "camera_info.json")
    np.testing.assert_array_equal(frame.depth, load_frame(folder)[0].depth)


# ------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("name", ["rgb.png", "depth.png"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_png_is_never_half_read(folder: Path, name: str, part: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * part)])
    with pytest.raises(FileError, match="not a whole image"):
        load_frame(folder)


@pytest.mark.parametrize("name", ["rgb.png", "depth.png"])
def test_a_png_with_a_changed_byte_is_refused(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(FileError, match="checksum"):
        load_frame(folder)


def test_a_file_that_is_no_image_is_refused(folder: Path) -> None:
    (folder / "rgb.png").write_text("hello")
    with pytest.raises(FileError, match="not supported"):
        read_rgb(folder / "rgb.png")


def test_a_png_frame_around_nonsense_is_refused(folder: Path) -> None:
    data = (folder / "rgb.png").read_bytes()
    (folder / "rgb.png").write_bytes(data[:8] + data[-12:])
    with pytest.raises(FileError, match="not a whole image"):
        read_rgb(folder / "rgb.png")


def test_jpeg_colour_is_read_and_a_truncated_one_refused(tmp_path: Path) -> None:
    path = write_png(tmp_path / "rgb.jpg", np.full((HEIGHT, WIDTH, 3), (200, 100, 50), np.uint8))
    np.testing.assert_allclose(read_rgb(path)[5, 5], (50, 100, 200), atol=3)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileError, match="JPEG has no end"):
        read_rgb(path)


@pytest.mark.parametrize("name", ["depth.png", "depth.jpg"])
def test_8_bit_depth_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    path = write_png(tmp_path / name, np.full((HEIGHT, WIDTH), 80, np.uint8))
    with pytest.raises(FileError, match=r"8-bit depth image has lost its unit.*16-bit PNG"):
        read_depth(path)


def test_depth_in_colours_is_refused(tmp_path: Path) -> None:
    path = write_png(tmp_path / "depth.png", np.zeros((HEIGHT, WIDTH, 3), np.uint16))
    with pytest.raises(FileError, match="not a depth image"):
        read_depth(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_depth_arrays_of_floats_are_metres(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "depth.npy", np.array([[0.5, 0.0, np.nan, np.inf]], dtype))
    np.testing.assert_array_equal(read_depth(tmp_path / "depth.npy"), np.float32([[0.5, np.nan, np.nan, np.nan]]))


def test_numbers_too_large_for_a_distance_are_not_measured(tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", np.array([[1e300, 0.5]]))
    np.testing.assert_array_equal(read_depth(tmp_path / "depth.npy"), np.float32([[np.nan, 0.5]]))


def test_depth_arrays_of_16_bit_integers_are_millimetres(tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", np.array([[500, 0]], ">u2"))
    np.testing.assert_array_equal(read_depth(tmp_path / "depth.npy"), np.float32([[0.5, np.nan]]))


def test_depth_tiffs_of_floats_are_metres(tmp_path: Path) -> None:
    path = write_png(tmp_path / "depth.tiff", np.float32([[0.5, 0.25], [0.0, -1.0]]))
    np.testing.assert_array_equal(read_depth(path), np.float32([[0.5, 0.25], [np.nan, np.nan]]))


@pytest.mark.parametrize("array", [np.ones((2, 2), np.int32), np.ones((2, 2), complex), np.ones((2, 2), np.uint32)])
def test_depth_arrays_of_other_numbers_have_no_unit(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "depth.npy", array)
    with pytest.raises(FileError, match="no known unit"):
        read_depth(tmp_path / "depth.npy")


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(FileError, match="not a valid NumPy array"):
        read_depth(tmp_path / "depth.npy")


def test_a_truncated_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", np.ones((20, 20), np.float32))
    for size in (0, 5, 100, 500):
        (tmp_path / "cut.npy").write_bytes((tmp_path / "depth.npy").read_bytes()[:size])
        with pytest.raises(FileError, match="not a valid NumPy array"):
            read_depth(tmp_path / "cut.npy")


# ------------------------------------------------------------------------------------------------ camera and pose


def test_intrinsics_may_be_three_rows_and_carry_a_model(tmp_path: Path) -> None:
    rows = np.array(INFO["k"]).reshape(3, 3).tolist()
    info = {**INFO, "k": rows, "distortion_model": "equidistant", "d": [0.1, 0, 0, 0], "frame_id": "cam", "p": [1] * 12}
    camera, frame_id = read_camera_info(write_json(tmp_path / "i.json", info))
    np.testing.assert_array_equal(camera.K, rows)
    assert (camera.distortion_model, camera.D, frame_id) == ("equidistant", (0.1, 0, 0, 0), "cam")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": [1.0] * 8}, r"at \$\.k: 8 numbers"),
        ({"k": [[1.0, 0.0]] * 3}, r"at \$\.k: 6 numbers"),
        ({"k": ["a"] * 9}, r"at \$\.k\[0\]"),
        ({"k": [0.0] * 9}, "camera K"),
        ({"width": "64"}, r"at \$\.width"),
        ({"width": 0}, "camera size"),
        ({"d": [0.1]}, "coefficients"),
        ({"d": None}, r"at \$\.d"),
        ({"distortion_model": "bubble"}, "bubble"),
    ],
)
def test_intrinsics_of_the_wrong_form_are_refused_by_field(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(FileError, match=words):
        read_camera_info(write_json(tmp_path / "camera_info.json", {**INFO, **change}))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"width": NaN}', '{"width": 64}', "\udcff", '{"x": ' + "[" * 100_000]
)
def test_json_that_is_none_or_another_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "camera_info.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FileError, match=r"camera_info\.json"):
        read_camera_info(path)


def test_a_transform_maps_child_to_parent(tmp_path: Path) -> None:
    transform = read_transform(write_json(tmp_path / "t.json", POSE))
    assert (transform.parent, transform.child) == ("base", "camera_color_optical_frame")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"matrix": np.eye(3).tolist()}, r"\$\.matrix"),
        ({"matrix": [*np.eye(4).tolist()[:3], [0, 0, 1]]}, r"\$\.matrix\[3\]"),
        ({"child": 3}, r"\$\.child"),
    ],
)
def test_a_transform_of_the_wrong_form_is_refused_by_field(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(FileError, match=words):
        read_transform(write_json(tmp_path / "t.json", {**POSE, **change}))


def test_a_matrix_that_is_not_rigid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="not a rotation"):
        read_transform(write_json(tmp_path / "t.json", {**POSE, "matrix": np.diag([2, 2, 2, 1]).tolist()}))


# ------------------------------------------------------------------------------------------------ detections


def detections(tmp_path: Path, *entries: dict[str, Any], **more: Any) -> Path:
    return write_json(tmp_path / "detections.json", {"detections": entries, **more})


def test_score_and_attributes_have_defaults(tmp_path: Path) -> None:
    (found,) = read_detections(detections(tmp_path, {"id": "a", "label": "cup", "box": [0, 0, 5, 5]}), (WIDTH, HEIGHT))
    assert (found.score, found.attributes, found.mask) == (1.0, (), None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"box": [1, 2, 3]}, r"\$\.detections\[0\]\.box"),
        ({"box": "all"}, r"\$\.detections\[0\]\.box"),
        ({"box": [1, 2, "3", 4]}, r"\$\.detections\[0\]\.box\[2\]"),
        ({"box": [30, 12, 10, 40]}, r"\$\.detections\[0\].*box of detection 'd0'"),
        ({"box": [10, 12, 10, 40]}, r"\$\.detections\[0\].*box of detection 'd0'"),
        ({"score": 1.5}, r"\$\.detections\[0\].*score"),
        ({"score": "high"}, r"\$\.detections\[0\]\.score"),
        ({"id": 0}, r"\$\.detections\[0\]\.id"),
        ({"attributes": "red"}, r"\$\.detections\[0\]\.attributes"),
    ],
)
def test_a_detection_of_the_wrong_form_is_refused_by_field(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(FileError, match=words):
        read_detections(detections(tmp_path, {**CUP, **change}), (WIDTH, HEIGHT))


def test_a_detection_without_a_box_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"missing required field `box`.*|\$\.detections\[1\]") as caught:
        read_detections(detections(tmp_path, CUP, {"id": "a", "label": "cup"}), (WIDTH, HEIGHT))
    assert caught.value.field == "$.detections[1]"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_box_with_a_number_that_is_none_is_refused(tmp_path: Path, number: str) -> None:
    text = json.dumps({"detections": [CUP]}).replace("30", number)
    with pytest.raises(FileError, match=r"detections\.json"):
        read_detections(write_json(tmp_path / "detections.json", text), (WIDTH, HEIGHT))


@pytest.mark.parametrize(
    ("written", "meant", "place"),
    [("scores", "score", "$.detections[0]"), ("atributes", "attributes", "$.detections[0]"), ("images", "image", "$")],
)
def test_a_misspelled_optional_field_is_named(tmp_path: Path, written: str, meant: str, place: str) -> None:
    entry = {key: value for key, value in CUP.items() if key != meant}
    content: dict[str, Any] = {"detections": [{**entry, written: 1} if place != "$" else entry]}
    path = write_json(tmp_path / "detections.json", content | ({written: {}} if place == "$" else {}))
    with pytest.raises(FileError, match=f"unknown field `{written}`.*`{meant}`") as caught:
        read_detections(path, (WIDTH, HEIGHT))
    assert caught.value.field == place


def test_other_fields_may_be_there(tmp_path: Path) -> None:
    content = {"source": "a detector", "detections": [{**CUP, "bbox": [1, 2, 3, 4], "category_id": 7}]}
    (read,) = read_detections(write_json(tmp_path / "detections.json", content), (WIDTH, HEIGHT))
    assert read.label == "cup"


def test_repeated_ids_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 detections have the id 'd0'"):
        read_detections(detections(tmp_path, CUP, CUP), (WIDTH, HEIGHT))


def test_boxes_in_fractions_of_the_image_are_refused(tmp_path: Path) -> None:
    some = {**CUP, "box": [0.1, 0.2, 0.5, 0.84]}, {**CUP, "id": "d1", "box": [0, 0.1, 0.5, 0.2]}
    with pytest.raises(
        FileError, match=r"fractions of the image \(the largest number is 0\.84\)\. Give pixels of the 64x48"
    ):
        read_detections(detections(tmp_path, *some), (WIDTH, HEIGHT))


@pytest.mark.parametrize("boxes", [[[0, 0, 1, 1]], [[0.1, 0.2, 0.5, 0.8], [3, 4, 9, 20]]], ids=str)
def test_small_boxes_in_pixels_are_accepted(tmp_path: Path, boxes: list[list[float]]) -> None:
    some = [{**CUP, "id": f"d{n}", "box": box} for n, box in enumerate(boxes)]
    assert len(read_detections(detections(tmp_path, *some), (WIDTH, HEIGHT))) == len(boxes)


def test_boxes_are_clipped_to_the_image_and_refused_outside(tmp_path: Path) -> None:
    (found,) = read_detections(detections(tmp_path, {**CUP, "box": [-5, 12, 30, 99]}), (WIDTH, HEIGHT))
    assert found.box_xyxy == (0, 12, 30, 48)
    with pytest.raises(InputError, match="a box inside the image of 64x48"):
        read_detections(detections(tmp_path, {**CUP, "box": [100, 12, 130, 40]}), (WIDTH, HEIGHT))


def test_detections_of_another_image_size_are_refused_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="32x24 pixels, but the image has 64x48"):
        read_detections(detections(tmp_path, CUP, image={"width": 32, "height": 24}), (WIDTH, HEIGHT))


def test_a_mask_that_is_empty_missing_or_of_another_size_is_refused(tmp_path: Path) -> None:
    path = detections(tmp_path, {**CUP, "mask": "m.png"})
    with pytest.raises(FileError, match=r"m\.png.*No such file"):
        read_detections(path, (WIDTH, HEIGHT))
    write_png(tmp_path / "m.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(FileError, match="the mask is empty"):
        read_detections(path, (WIDTH, HEIGHT))
    write_png(tmp_path / "m.png", np.ones((24, 32), np.uint8))
    with pytest.raises(FileError, match="32x24 pixels, but the image has 64x48"):
        read_detections(path, (WIDTH, HEIGHT))
    with pytest.raises(FileError, match="null"):
        read_detections(detections(tmp_path, {**CUP, "mask": "a\0b"}), (WIDTH, HEIGHT))
    (tmp_path / "m.png").write_bytes(b"")
    detections(tmp_path, {**CUP, "mask": "m.png"})
    with pytest.raises(FileError, match="empty"):
        read_detections(path, (WIDTH, HEIGHT))


# ------------------------------------------------------------------------------------------------ cases


def test_cases_are_read_in_order_with_what_is_expected(tmp_path: Path) -> None:
    lines = [
        '{"frame": "f01", "instruction": "the cup", "expect": {"status": "OK", "id": "d2"}, "kind": ["attribute"]}',
        "",
        '{"frame": "f02", "instruction": "", "expect": {"status": "NOT_FOUND"}}',
        '{"frame": "f02", "instruction": "the box"}',
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(lines) + "\n")
    assert load_cases(tmp_path) == (
        Case("f01", "the cup", Expectation(Status.OK, "d2"), ("attribute",)),
        Case("f02", "", Expectation(Status.NOT_FOUND)),
        Case("f02", "the box"),
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2"),
        ('{"frame": "f01"}', "line 2.*instruction"),
        ('{"frame": 1, "instruction": "a"}', r"line 2 \$\.frame"),
        ('{"frame": "f01", "instruction": "a", "expect": {"status": "FINE"}}', r"line 2 \$\.expect\.status.*FINE"),
        ("\udcff", "line 2"),
    ],
)
def test_a_line_that_is_no_case_is_named(tmp_path: Path, line: str, words: str) -> None:
    good = '{"frame": "f01", "instruction": "the cup"}\n'
    (tmp_path / "cases.jsonl").write_bytes((good + line).encode(errors="surrogateescape"))
    with pytest.raises(FileError, match=words):
        load_cases(tmp_path)


def test_missing_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cases\.jsonl.*No such file"):
        load_cases(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"frame": "f1", "instruction": "x", "expct": {"status": "OK"}}', r"\$\.expct: .*use `expect`"),
        ('{"frame": "f1", "instruction": "x", "expect": {"status": "OK", "idd": "a"}}', r"\$\.expect\.idd: .*`id`"),
        ('{"frame": "f1", "instruction": "x", "expect": {"status": "OK", "zzz": 1}}', r"\$\.expect\.zzz: .*fields are"),
        ('{"frame": "f1", "instruction": "x", "expect": {"status": "OK", "id": "a", "place": {"relation": "on", '
         '"anchor_id": "b", "region_center": [340, 0, 0], "region_half": [60, 60, 3]}}}', "looks like millimetres"),
        ('{"frame": "f1", "instruction": "x", "expect": {"status": "NOT_FOUND", "id": "a"}}', "leave id out"),
    ],
)  # fmt: skip
def test_a_line_of_truth_that_would_be_misread_is_refused(line: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "f1").mkdir()
    (tmp_path / "cases.jsonl").write_text(line + "\n")
    with pytest.raises(FileError, match=words):
        load_cases(tmp_path)


def test_fields_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "f1").mkdir()
    (tmp_path / "cases.jsonl").write_text('{"frame": "f1", "instruction": "x", "by": "written", "author": "me"}\n')
    assert [case.instruction for case in load_cases(tmp_path)] == ["x"]


def test_truth_in_other_encodings_is_read_or_refused_with_the_repair(tmp_path: Path) -> None:
    (tmp_path / "f1").mkdir()
    file, line = tmp_path / "cases.jsonl", '{"frame": "f1", "instruction": "the m\u00fcsli"}\n'
    file.write_bytes(line.encode("utf-8-sig"))
    assert [case.instruction for case in load_cases(tmp_path)] == ["the m\u00fcsli"]
    for encoding, words in (
        ("utf-16", "line 1: it is UTF-16; save"),
        ("latin-1", "line 1: byte 38 of the line"),
    ):
        file.write_bytes(line.encode(encoding))
        with pytest.raises(FileError, match=words):
            load_cases(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "is_contrary"),
    [
        ({"status": "OK", "id": "a"}, {"status": "OK", "id": "b"}, True),
        ({"status": "OK", "id": "a"}, {"status": "NOT_FOUND"}, True),
        ({"status": "OK", "id": "a"}, {"status": "OK", "id": "b", "id_also": ["a"]}, False),
        ({"status": "OK", "id": "a"}, {"status": "OK"}, False),
        ({"status": "OK", "id": "a"}, {"status": "ANSWERED"}, False),
    ],
)
def test_cases_that_no_answer_can_fit_are_refused(
    one: dict[str, object], other: dict[str, object], is_contrary: bool, tmp_path: Path
) -> None:
    (tmp_path / "f1").mkdir()
    lines = [json.dumps({"frame": "f1", "instruction": "x", "expect": expect}) for expect in (one, other)]
    (tmp_path / "cases.jsonl").write_text("\n".join(lines))
    if is_contrary:
        with pytest.raises(FileError, match="line 2: line 1 expects the opposite"):
            load_cases(tmp_path)
    else:
        assert len(load_cases(tmp_path)) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_named(folder: Path, encoding: str) -> None:
    path = folder / "camera_info.json"
    path.write_bytes(path.read_text().encode(encoding))
    with pytest.raises(FileError, match="byte order mark"):
        load_frame(folder)
