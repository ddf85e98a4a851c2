# SPDX-License-Identifier: Apache-2.0
"""Frames, detections and cases of a folder: what is read, and what is refused by its place and with the repair."""

from __future__ import annotations

import dataclasses
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
from spatial_vlm_ros.evaluation.frame_writer import write_frame
from spatial_vlm_ros.types import Status

WIDTH, HEIGHT = 64, 48


WIDTH, HEIGHT = 64, 48


INFO = {"width": WIDTH, "height": HEIGHT, "k": [60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1], "d": []}


CUP = {"id": "d0", "label": "cup", "score": 0.75, "box": [10, 12, 30, 40], "attributes": ["red"]}


POSE = {"parent": "base", "child": "camera_color_optical_frame", "matrix": np.eye(4).tolist()}
SIZE = (WIDTH, HEIGHT)


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


def detections(tmp_path: Path, *entries: dict[str, Any], **more: Any) -> Path:
    return write_json(tmp_path / "detections.json", {"detections": entries, **more})


# ------------------------------------------------------------------------------------------------ whole frames


def test_a_sound_folder_gives_a_frame_in_metres_and_its_detections(folder: Path) -> None:
    write_png(folder / "rgb.png", np.full((HEIGHT, WIDTH, 3), (255, 128, 1), np.uint8))  # OpenCV writes BGR
    frame, (cup,) = load_frame(folder)
    assert frame.rgb[0, 0].tolist() == [1, 128, 255]
    assert frame.depth[1, 1] == np.float32(0.8)
    assert np.isnan(frame.depth[0, 0])
    assert (frame.camera.width, frame.camera.height, frame.camera.K[0, 2]) == (WIDTH, HEIGHT, 31.5)
    assert (frame.frame_id, frame.base_T_camera) == ("camera_color_optical_frame", None)
    assert (cup.id, cup.label, cup.score, cup.attributes) == ("d0", "cup", 0.75, ("red",))
    assert cup.box_xyxy == (10, 12, 30, 40)
    single = read_frame(folder / "rgb.png", folder / "depth.png", folder / "camera_info.json")
    np.testing.assert_array_equal(single.depth, frame.depth)
    (folder / "detections.json").unlink()
    assert load_frame(folder)[1] == ()


def test_masks_and_fronts_are_read_beside_the_detections(folder: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[12:40, 10:30] = 255
    write_png(folder / "masks" / "d0.png", mask)
    detections(folder, {**CUP, "mask": "masks/d0.png"}, {**CUP, "id": "c0", "front": [0, 3, -4]},
               {**CUP, "id": "c1", "front": None})  # fmt: skip
    found = load_frame(folder)[1]
    np.testing.assert_array_equal(found[0].mask, mask > 0)
    assert [d.front for d in found] == [None, pytest.approx((0.0, 0.6, -0.8)), None]


def test_poses_of_the_camera_and_of_the_speaker_are_read(folder: Path) -> None:
    beside = np.eye(4)
    beside[0, 3] = 0.5
    pose = {"parent": "camera_color_optical_frame", "child": "person", "matrix": beside.tolist()}
    write_json(folder / "camera_T_speaker.json", pose)
    frame, _ = load_frame(folder)
    assert frame.camera_T_speaker is not None
    assert frame.camera_T_speaker.child == "person"
    assert frame.camera_T_speaker.translation.tolist() == [0.5, 0.0, 0.0]
    assert frame.base_T_camera is None
    write_json(folder / "base_T_camera.json", POSE)
    read = load_frame(folder)[0].base_T_camera
    assert read is not None
    assert (read.parent, read.child) == ("base", "camera_color_optical_frame")


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


RGB_INFO, DEPTH_INFO = {**INFO, "frame_id": "rgb"}, {**INFO, "frame_id": "depth"}


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"camera_T_speaker.json": {**POSE, "parent": "wrist_camera", "child": "me"}}, TransformError, "wrist_camera"),
        ({"base_T_camera.json": {**POSE, "child": "wrist_camera"}}, TransformError, "wrist_camera"),
        ({"depth_camera_info.json": INFO}, FileError, "one of depth intrinsics and depth pose is missing"),
        ({"rgb_t_depth.json": POSE}, FileError, "rgb_t_depth.json.*one of depth intrinsics and depth pose is missing"),
        (
            {"camera_info.json": RGB_INFO, "depth_camera_info.json": DEPTH_INFO,
             "rgb_t_depth.json": {**POSE, "parent": "depth", "child": "rgb"}},
            TransformError, "use its inverse",
        ),
        ({"depth_camera_info.json": {**INFO, "width": 32}, "rgb_t_depth.json": POSE}, FileError,
         r"depth.png.*64x48.*depth_camera_info.json says 32x48"),
        ({"rgb.png": np.ones((24, 32, 3), np.uint8)}, FileError, r"rgb.png.*32x24.*camera_info.json says 64x48"),
        ({"depth.png": np.ones((24, 32), np.uint16)}, FileError, r"depth.png.*32x24.*camera_info.json says 64x48"),
        *(({name: None}, FileError, rf"{name}.*No such file") for name in ("rgb.png", "depth.png", "camera_info.json")),
        *(({"camera_info.json": json.dumps(INFO).encode(code)}, FileError, "byte order mark")
          for code in ("utf-8-sig", "utf-16")),
    ],
)  # fmt: skip
def test_files_that_do_not_belong_together_are_refused(
    folder: Path, files: dict[str, Any], error: type[Exception], words: str
) -> None:
    for name, content in files.items():
        if content is None:
            (folder / name).unlink()
        elif isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif isinstance(content, np.ndarray):
            write_png(folder / name, content)
        else:
            write_json(folder / name, content)
    with pytest.raises(error, match=words):
        load_frame(folder)
    with pytest.raises(FileError, match="no such folder"):
        load_frame(folder / "f99")


def test_a_depth_pose_the_right_way_round_is_taken(folder: Path) -> None:
    for name, content in (("camera_info", RGB_INFO), ("depth_camera_info", DEPTH_INFO),
                          ("rgb_t_depth", {**POSE, "parent": "rgb", "child": "depth"})):  # fmt: skip
        write_json(folder / f"{name}.json", content)
    assert load_frame(folder)[0].depth[20, 20] == np.float32(0.8)


def test_a_frame_that_was_written_is_read_again(tmp_path: Path, tabletop: Any) -> None:
    rendered = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("far", 0.1, 0.2))
    frame, seen = dataclasses.replace(rendered.frame, domain="simulated"), rendered.detections
    read, found = load_frame(write_frame(tmp_path / "f0", frame, seen))
    assert (read.rgb == frame.rgb).all()
    assert abs(read.depth - frame.depth)[frame.depth > 0].max() <= 0.0006
    assert (read.domain, read.frame_id) == ("simulated", frame.frame_id)
    assert read.base_T_camera is not None
    assert frame.base_T_camera is not None
    assert (read.base_T_camera.matrix == frame.base_T_camera.matrix).all()
    assert [d.id for d in found] == [d.id for d in seen]
    assert all((one.mask == other.mask).all() for one, other in zip(found, seen, strict=True))  # type: ignore[union-attr]
    with pytest.raises(FileError, match="writable location"):
        write_frame(tmp_path / "f0" / "rgb.png", frame)


# ------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("name", ["rgb.png", "depth.png"])
def test_a_png_that_is_cut_off_or_changed_is_never_half_read(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for part in (0.0, 0.01, 0.2, 0.5, 0.9, 0.999):
        (folder / name).write_bytes(data[: int(len(data) * part)])
        with pytest.raises(FileError, match="not a whole image"):
            load_frame(folder)
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0xFF
    (folder / name).write_bytes(bytes(changed))
    with pytest.raises(FileError, match="checksum"):
        load_frame(folder)


def test_what_is_no_image_is_refused_and_jpeg_colour_is_read(folder: Path) -> None:
    data, path = (folder / "rgb.png").read_bytes(), folder / "rgb.jpg"
    for content, words in ((b"hello", "not supported"), (data[:8] + data[-12:], "not a whole image")):
        (folder / "rgb.png").write_bytes(content)
        with pytest.raises(FileError, match=words):
            read_rgb(folder / "rgb.png")
    write_png(path, np.full((HEIGHT, WIDTH, 3), (200, 100, 50), np.uint8))
    np.testing.assert_allclose(read_rgb(path)[5, 5], (50, 100, 200), atol=3)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileError, match="JPEG has no end"):
        read_rgb(path)


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("depth.png", np.full((HEIGHT, WIDTH), 80, np.uint8), r"8-bit depth image has lost its unit.*16-bit PNG"),
        ("depth.jpg", np.full((HEIGHT, WIDTH), 80, np.uint8), r"8-bit depth image has lost its unit.*16-bit PNG"),
        ("depth.png", np.zeros((HEIGHT, WIDTH, 3), np.uint16), "not a depth image"),
        *(("depth.npy", np.ones((2, 2), kind), "no known unit") for kind in (np.int32, complex, np.uint32)),
        ("depth.npy", np.array([{"a": 1}], object), "not a valid NumPy array"),  # pickled arrays are never loaded
    ],
)
def test_depth_without_a_unit_is_refused(tmp_path: Path, name: str, image: np.ndarray, words: str) -> None:
    if name.endswith("npy"):
        np.save(tmp_path / name, image, allow_pickle=True)
    else:
        write_png(tmp_path / name, image)
    with pytest.raises(FileError, match=words):
        read_depth(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "metres"),
    [
        *((np.array([[0.5, 0.0, np.nan, np.inf]], kind), [0.5, np.nan, np.nan, np.nan])
          for kind in (np.float16, np.float32, np.float64)),
        (np.array([[1e300, 0.5]]), [np.nan, 0.5]),  # too large for a distance
        (np.array([[500, 0]], ">u2"), [0.5, np.nan]),  # millimetres
    ],
)  # fmt: skip
def test_depth_arrays_are_metres_or_millimetres_by_their_numbers(
    tmp_path: Path, array: np.ndarray, metres: list[float]
) -> None:
    np.save(tmp_path / "depth.npy", array)
    np.testing.assert_array_equal(read_depth(tmp_path / "depth.npy"), np.float32([metres]))
    path = write_png(tmp_path / "depth.tiff", np.float32([[0.5, 0.25], [0.0, -1.0]]))
    np.testing.assert_array_equal(read_depth(path), np.float32([[0.5, 0.25], [np.nan, np.nan]]))
    whole = (tmp_path / "depth.npy").read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        (tmp_path / "cut.npy").write_bytes(whole[:size])
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


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"matrix": np.eye(3).tolist()}, FileError, r"\$\.matrix"),
        ({"matrix": [*np.eye(4).tolist()[:3], [0, 0, 1]]}, FileError, r"\$\.matrix\[3\]"),
        ({"child": 3}, FileError, r"\$\.child"),
        ({"matrix": np.diag([2, 2, 2, 1]).tolist()}, TransformError, "not a rotation"),
    ],
)
def test_a_transform_of_the_wrong_form_is_refused_by_field(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read_transform(write_json(tmp_path / "t.json", {**POSE, **change}))


# ------------------------------------------------------------------------------------------------ detections

PLACE, MISSING = r"\$\.detections\[0\]", {name: CUP[name] for name in ("id", "label")}


@pytest.mark.parametrize(
    ("entries", "error", "words"),
    [
        ([{**CUP, "box": [1, 2, 3]}], FileError, rf"{PLACE}\.box"),
        ([{**CUP, "box": "all"}], FileError, rf"{PLACE}\.box"),
        ([{**CUP, "box": [1, 2, "3", 4]}], FileError, rf"{PLACE}\.box\[2\]"),
        ([{**CUP, "box": [30, 12, 10, 40]}], FileError, rf"{PLACE}.*box of detection 'd0'"),
        ([{**CUP, "box": [10, 12, 10, 40]}], FileError, rf"{PLACE}.*box of detection 'd0'"),
        ([{**CUP, "score": 1.5}], FileError, rf"{PLACE}.*score"),
        ([{**CUP, "score": "high"}], FileError, rf"{PLACE}\.score"),
        ([{**CUP, "id": 0}], FileError, rf"{PLACE}\.id"),
        ([{**CUP, "attributes": "red"}], FileError, rf"{PLACE}\.attributes"),
        *(([{**CUP, "front": front}], FileError, rf"{PLACE}.*front")
          for front in ([0, 0, 0], [1, 0], "left", [1, 0, "x"])),
        ([CUP, MISSING], FileError, r"detections\[1\].*missing required field `box`"),
        ([CUP, CUP], InputError, "2 detections have the id 'd0'"),
        ([{**CUP, "box": [0.1, 0.2, 0.5, 0.84]}, {**CUP, "id": "d1", "box": [0, 0.1, 0.5, 0.2]}], FileError,
         r"fractions of the image \(the largest number is 0\.84\)\. Give pixels of the 64x48"),
        ([{**CUP, "box": [100, 12, 130, 40]}], InputError, "a box inside the image of 64x48"),
        ([{**CUP, "mask": "m.png"}], FileError, r"m\.png.*No such file"),
        ([{**CUP, "mask": "a\0b"}], FileError, "null"),
        ([{**CUP, "mask": "empty.png"}], FileError, "the mask is empty"),
        ([{**CUP, "mask": "small.png"}], FileError, "32x24 pixels, but the image has 64x48"),
        ([{**CUP, "mask": "none.png"}], FileError, "empty"),
    ],
)  # fmt: skip
def test_detections_of_the_wrong_form_are_refused_by_field(
    tmp_path: Path, entries: list[dict[str, Any]], error: type[Exception], words: str
) -> None:
    write_png(tmp_path / "empty.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    write_png(tmp_path / "small.png", np.ones((24, 32), np.uint8))
    (tmp_path / "none.png").write_bytes(b"")
    path = detections(tmp_path, *entries)
    with pytest.raises(error, match=words):
        read_detections(path, SIZE)


def test_a_detection_that_is_right_is_taken_and_its_box_clipped_to_the_image(tmp_path: Path) -> None:
    (found,) = read_detections(detections(tmp_path, MISSING | {"box": [-5, 12, 30, 99]}), SIZE)
    assert (found.score, found.attributes, found.mask, found.box_xyxy) == (1.0, (), None, (0, 12, 30, 48))
    for boxes in ([[0, 0, 1, 1]], [[0.1, 0.2, 0.5, 0.8], [3, 4, 9, 20]]):  # small ones, in pixels
        some = [{**CUP, "id": f"d{n}", "box": box} for n, box in enumerate(boxes)]
        assert len(read_detections(detections(tmp_path, *some), SIZE)) == len(boxes)
    path = detections(tmp_path, {**CUP, "bbox": [1, 2, 3, 4], "category_id": 7}, source="a detector")
    assert [one.label for one in read_detections(path, SIZE)] == ["cup"]  # other fields may be there


def test_numbers_that_are_none_misspelled_fields_and_another_size_are_refused(tmp_path: Path) -> None:
    for number in ("NaN", "Infinity", "1e999"):
        text = json.dumps({"detections": [CUP]}).replace("30", number)
        with pytest.raises(FileError, match=r"detections\.json"):
            read_detections(write_json(tmp_path / "detections.json", text), SIZE)
    for written, meant in (("scores", "score"), ("atributes", "attributes"), ("images", "image")):
        entry = {key: value for key, value in CUP.items() if key != meant}
        whole = meant == "image"
        path = detections(tmp_path, entry | ({} if whole else {written: 1}), **({written: {}} if whole else {}))
        with pytest.raises(FileError, match=f"unknown field `{written}`.*`{meant}`") as caught:
            read_detections(path, SIZE)
        assert caught.value.field == ("$" if whole else "$.detections[0]")
    with pytest.raises(FileError, match="32x24 pixels, but the image has 64x48"):
        read_detections(detections(tmp_path, CUP, image={"width": 32, "height": 24}), SIZE)


# ------------------------------------------------------------------------------------------------ cases


def test_cases_are_read_in_order_with_what_is_expected(tmp_path: Path) -> None:
    lines = [
        '{"frame": "f01", "instruction": "the cup", "expect": {"status": "OK", "id": "d2"}, "kind": ["attribute"]}',
        "",
        '{"frame": "f02", "instruction": "", "expect": {"status": "NOT_FOUND"}}',
        '{"frame": "f02", "instruction": "the m\u00fcsli", "by": "written", "author": "me"}',
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    assert load_cases(tmp_path) == (
        Case("f01", "the cup", Expectation(Status.OK, "d2"), ("attribute",)),
        Case("f02", "", Expectation(Status.NOT_FOUND)),
        Case("f02", "the m\u00fcsli"),
    )


GOOD = '{"frame": "f1", "instruction": "x"'
PLACED = '"place": {"relation": "on", "anchor_id": "b", "region_center": [340, 0, 0], "region_half": [60, 60, 3]}'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2"),
        ('{"frame": "f01"}', "line 2.*instruction"),
        ('{"frame": 1, "instruction": "a"}', r"line 2 \$\.frame"),
        (GOOD + ', "expect": {"status": "FINE"}}', r"line 2 \$\.expect\.status.*FINE"),
        ("\udcff", "line 2"),
        (GOOD + ', "expct": {"status": "OK"}}', r"\$\.expct: .*use `expect`"),
        (GOOD + ', "expect": {"status": "OK", "idd": "a"}}', r"\$\.expect\.idd: .*`id`"),
        (GOOD + ', "expect": {"status": "OK", "zzz": 1}}', r"\$\.expect\.zzz: .*fields are"),
        (GOOD + ', "expect": {"status": "OK", "id": "a", ' + PLACED + "}}", "looks like millimetres"),
        (GOOD + ', "expect": {"status": "NOT_FOUND", "id": "a"}}', "leave id out"),
    ],
)
def test_a_line_of_truth_that_would_be_misread_is_refused_and_named(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(FileError, match=r"cases\.jsonl.*No such file"):
        load_cases(tmp_path)
    file = tmp_path / "cases.jsonl"
    file.write_bytes(f"{GOOD}}}\n{line}".encode(errors="surrogateescape"))
    with pytest.raises(FileError, match=words):
        load_cases(tmp_path)


def test_truth_in_other_encodings_is_refused_with_the_repair(tmp_path: Path) -> None:
    line = '{"frame": "f1", "instruction": "the m\u00fcsli"}\n'
    for encoding, words in (("utf-16", "line 1: it is UTF-16; save"), ("latin-1", "line 1: byte 38 of the line")):
        (tmp_path / "cases.jsonl").write_bytes(line.encode(encoding))
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
