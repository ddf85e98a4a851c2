# SPDX-License-Identifier: Apache-2.0
"""Frames, detections and cases as they are written: what is read, and what is refused by its place with the repair."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from tables import tables

from spatial_vlm_lab.scoring.frame_truth import EXPECTED, case_truth
from spatial_vlm_lab.scoring.sources import cases_of_bag, load_truth
from spatial_vlm_ros import Resolver, errors
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.recording import frame_folder
from spatial_vlm_ros.recording.cases import Box3d, Case, Expectation, load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame, read_camera_info, read_depth, read_detections, read_rgb
from spatial_vlm_ros.types import Detection, Status, UpSource

TABLES = tables(__file__)
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
    single = frame_folder.read_frame(folder / "rgb.png", folder / "depth.png", folder / "camera_info.json")
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
    frame: Any = load_frame(folder)[0]
    assert frame.camera_T_speaker.child == "person"
    assert frame.camera_T_speaker.translation.tolist() == [0.5, 0.0, 0.0]
    assert frame.base_T_camera is None
    write_json(folder / "base_T_camera.json", POSE)
    read: Any = load_frame(folder)[0].base_T_camera
    assert (read.parent, read.child) == ("base", "camera_color_optical_frame")


def test_depth_of_its_own_camera_is_registered_to_colour(folder: Path) -> None:
    write_png(folder / "depth.png", np.full((24, 32), 800, np.uint16))
    write_json(folder / "camera_info.json", {**INFO, "frame_id": "rgb"})
    own = {**INFO, "frame_id": "depth", "width": 32, "height": 24, "k": [30.0, 0, 15.5, 0, 30.0, 11.5, 0, 0, 1]}
    write_json(folder / "depth_camera_info.json", own)
    moved = np.eye(4)
    moved[2, 3] = 0.1
    write_json(folder / "rgb_t_depth.json", {"parent": "rgb", "child": "depth", "matrix": moved.tolist()})
    frame, _ = load_frame(folder)
    assert frame.depth.shape == (HEIGHT, WIDTH)
    np.testing.assert_allclose(frame.depth[12:-12, 12:-12], 0.9)


@pytest.mark.parametrize(("files", "error", "words"), TABLES["unfit files"])
def test_files_that_do_not_belong_together_are_refused(folder: Path, files: Any, error: str, words: str) -> None:
    for name, content in files.items():
        if content is None:
            (folder / name).unlink()
        elif isinstance(content, str):
            (folder / name).write_bytes(json.dumps(INFO).encode(content))
        elif isinstance(content, list):
            write_png(folder / name, np.ones(content, np.uint16 if name == "depth.png" else np.uint8))
        else:
            write_json(folder / name, content)
    with pytest.raises(getattr(errors, error), match=words):
        load_frame(folder)
    with pytest.raises(FileError, match="no such folder"):
        load_frame(folder / "f99")


def test_a_frame_that_was_written_is_read_again(tmp_path: Path, tabletop: Any) -> None:
    rendered = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("far", 0.1, 0.2))
    frame, seen = dataclasses.replace(rendered.frame, domain="simulated"), rendered.detections
    read, found = load_frame(frame_folder.write_frame(tmp_path / "f0", frame, seen))
    assert (read.rgb == frame.rgb).all()
    assert abs(read.depth - frame.depth)[frame.depth > 0].max() <= 0.0006
    assert (read.domain, read.frame_id) == ("simulated", frame.frame_id)
    assert (read.base_T_camera.matrix == frame.base_T_camera.matrix).all()
    assert read.up is None
    assert [d.id for d in found] == [d.id for d in seen]
    assert all((one.mask == other.mask).all() for one, other in zip(found, seen, strict=True))
    with pytest.raises(FileError, match="writable location"):
        frame_folder.write_frame(tmp_path / "f0" / "rgb.png", frame)


def test_up_is_kept_and_used(folder: Path, tmp_path: Path, tabletop: Any) -> None:
    rendered = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("far", 0.1, 0.2))
    up = rendered.frame.base_T_camera.rotation[2]
    frame = dataclasses.replace(rendered.frame, up=up, base_T_camera=None)
    read, found = load_frame(frame_folder.write_frame(tmp_path / "f0", frame, rendered.detections))
    np.testing.assert_allclose(read.up, up, atol=1e-15)
    assert Resolver().resolve(read, "the cup", found).up_from is UpSource.IMU
    for wrong, words in (
        ([0, 0, 0.9], "has length 0.9.*unit vector"), ([0, 0, 0], "length"), ([0, 0, 1e308], "length"),
        ([0, 1], "length 3"), (["0", 0, 1], r"\$\.up\[0\]"), (None, r"\$\.up"),
    ):  # fmt: skip
        write_json(folder / "camera_info.json", {**INFO, "up": wrong})
        with pytest.raises(FileError, match=words) as caught:
            load_frame(folder)
        assert caught.value.field.startswith("$.up")


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
    with pytest.raises(FileError, match="before its end marker"):
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
def test_depth_arrays_are_metres_or_millimetres_by_their_numbers(tmp_path: Path, array: Any, metres: Any) -> None:
    np.save(tmp_path / "depth.npy", array)
    np.testing.assert_array_equal(read_depth(tmp_path / "depth.npy"), np.float32([metres]))
    path = write_png(tmp_path / "depth.tiff", np.float32([[0.5, 0.25], [0.0, -1.0]]))
    np.testing.assert_array_equal(read_depth(path), np.float32([[0.5, 0.25], [np.nan, np.nan]]))
    whole = (tmp_path / "depth.npy").read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        (tmp_path / "cut.npy").write_bytes(whole[:size])
        with pytest.raises(FileError, match="not a valid NumPy array"):
            read_depth(tmp_path / "cut.npy")


def test_intrinsics_may_be_three_rows_and_carry_a_model(tmp_path: Path) -> None:
    rows = np.array(INFO["k"]).reshape(3, 3).tolist()
    info = {**INFO, "k": rows, "distortion_model": "equidistant", "d": [0.1, 0, 0, 0], "frame_id": "cam", "p": [1] * 12}
    camera, frame_id = read_camera_info(write_json(tmp_path / "i.json", info))
    np.testing.assert_array_equal(camera.K, rows)
    assert (camera.distortion_model, camera.D, frame_id) == ("equidistant", (0.1, 0, 0, 0), "cam")


CALIBRATED = """\
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [500., 0., 320., 0., 501.5, 240., 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.1, -0.2, 0.001, 0.0, 0.0]
"""
ECHOED = """\
header:
  stamp: {sec: 1, nanosec: 2}
  frame_id: cam
height: 480
width: 640
distortion_model: plumb_bob
d: [0.1, -0.2, 0.001, 0.0, 0.0]
k: [500.0, 0.0, 320.0, 0.0, 501.5, 240.0, 0.0, 0.0, 1.0]
roi: {x_offset: 0, do_rectify: false}
---
"""


@pytest.mark.parametrize(("text", "frame"), [(CALIBRATED, "camera_color_optical_frame"), (ECHOED, "cam")])
def test_intrinsics_come_from_the_yaml_of_a_calibration_or_of_the_topic(tmp_path: Path, text: str, frame: str) -> None:
    path = tmp_path / "ost.yaml"
    path.write_text(text)
    camera, frame_id = read_camera_info(path)
    assert (camera.width, camera.height, camera.K[1, 1], camera.D[1], frame_id) == (640, 480, 501.5, -0.2, frame)
    for wrong, place in ((text.replace("640", "wide"), r"\$.width"), ("- 1", "width"), ("{", "YAML")):
        path.write_text(wrong)
        with pytest.raises(FileError, match=place):
            read_camera_info(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"width": NaN}', '{"width": 64}', "\udcff", '{"x": ' + "[" * 100_000]
)
def test_json_that_is_none_or_another_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "camera_info.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FileError, match=r"camera_info\.json"):
        read_camera_info(path)


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
    with pytest.raises(FileError, match=r"detections\[1\].*missing required field `box`"):
        read_detections(detections(tmp_path, CUP, MISSING), SIZE)
    with pytest.raises(FileError, match="32x24 pixels, but the image has 64x48"):
        read_detections(detections(tmp_path, CUP, image={"width": 32, "height": 24}), SIZE)


def test_cases_are_read_in_order_with_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("\n".join(TABLES["lines of cases"]) + "\n", encoding="utf-8-sig")
    assert load_cases(tmp_path) == (
        Case("f01", "the cup", Expectation(Status.OK, "d2"), ("attribute",)),
        Case("f02", "", Expectation(Status.NOT_FOUND)),
        Case("f02", "the m\u00fcsli"),
    )


def test_truth_in_other_encodings_is_refused_with_the_repair(tmp_path: Path) -> None:
    line = '{"frame": "f1", "instruction": "the m\u00fcsli"}\n'
    for encoding, words in (("utf-16", "line 1: it is UTF-16; save"), ("latin-1", "line 1: byte 38 of the line")):
        (tmp_path / "cases.jsonl").write_bytes(line.encode(encoding))
        with pytest.raises(FileError, match=words):
            load_cases(tmp_path)


@pytest.mark.parametrize(("one", "other", "is_contrary"), TABLES["contrary cases"])
def test_cases_that_no_answer_can_fit_are_refused(one: Any, other: Any, is_contrary: bool, tmp_path: Path) -> None:
    (tmp_path / "f1").mkdir()
    lines = [json.dumps({"frame": "f1", "instruction": "x", "expect": expect}) for expect in (one, other)]
    (tmp_path / "cases.jsonl").write_text("\n".join(lines))
    if is_contrary:
        with pytest.raises(FileError, match="line 2: line 1 expects the opposite"):
            load_cases(tmp_path)
    else:
        assert len(load_cases(tmp_path)) == 2


STAMP = 1_700_000_000_400_001_000
OK: dict[str, Any] = {"status": "OK"}
BOX = [10, 20, 50, 60]
SPACE = {"center": [0.5, 0.0, 0.05], "size": [0.1, 0.1, 0.1]}


def written(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def of_bag(expect: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"stamp_ns": STAMP, "instruction": "the cup", **({} if expect is None else {"expect": expect}), **fields}


def test_a_case_keeps_every_field_and_a_question_is_an_instruction(tmp_path: Path) -> None:
    expect = {**OK, "label": "cup", "box": BOX, "mask": "m.png", "box_3d": {**SPACE, "yaw": 0.5}, "tolerance_m": 0.03}
    (case,) = load_truth(written(tmp_path / "truth.jsonl", of_bag(expect, bag="run1", kind=["near"])))
    space = Box3d((0.5, 0.0, 0.05), (0.1, 0.1, 0.1), 0.5)
    due = Expectation(Status.OK, label="cup", box=(10, 20, 50, 60), mask="m.png", box_3d=space, tolerance_m=0.03)
    assert case == Case("", "the cup", due, ("near",), STAMP, "run1")
    written(tmp_path / "cases.jsonl", {"frame": "f1", "question": "how many cups are there?"})
    assert load_cases(tmp_path) == (Case("f1", "how many cups are there?"),)


def test_a_folder_does_not_take_cases_of_bags_and_each_bag_has_its_own(tmp_path: Path) -> None:
    for line, words in ((of_bag(), "belong in a file for --truth"), ({"instruction": "the cup"}, "no `frame`")):
        written(tmp_path / "cases.jsonl", line)
        with pytest.raises(FileError, match=words):
            load_cases(tmp_path)
    near, far = of_bag(bag="sub/one.mcap"), of_bag(bag="s3://store/two.mcap")
    path = written(tmp_path / "truth.jsonl", near, far)
    bags = [str(tmp_path / "sub" / "one.mcap"), "s3://store/two.mcap"]
    assert [cases_of_bag(path, bag, bags)[0].bag for bag in bags] == ["sub/one.mcap", "s3://store/two.mcap"]
    with pytest.raises(FileError, match=r"no case of three; its cases are of s3://store/two\.mcap, sub/one\.mcap"):
        cases_of_bag(path, "three")
    path = written(tmp_path / "truth.jsonl", near, of_bag())
    with pytest.raises(FileError, match="names no bag, but 2 bags are evaluated"):
        cases_of_bag(path, bags[0], bags)
    assert len(cases_of_bag(path, bags[0])) == 2
    with pytest.raises(FileError, match="it has no cases"):
        load_truth(written(tmp_path / "empty.jsonl"))


CAN = Detection("d1", "can", 1.0, (100.0, 20.0, 140.0, 60.0))
KNOWN = Detection("d0", "cup", 1.0, (10.0, 20.0, 50.0, 60.0)), CAN


def truth(expect: Expectation, folder: Path = Path()) -> Any:
    due, objects = case_truth(Case("f", "w", expect), expect, KNOWN, (200, 100), folder)
    expected = next((one for one in objects if one.id == due.id), None)
    return SimpleNamespace(expect=due, objects=objects, expected=expected)


def test_a_box_is_the_detection_that_it_shares_half_with_or_an_object_more() -> None:
    found = truth(Expectation(Status.OK, box=(12, 20, 52, 60), label="mug"))
    assert (found.expect.id, found.expected.label, found.expected.box) == ("d0", "mug", (12, 20, 52, 60))
    assert found.expected.detection is None  # its name and box are not the detection's
    assert [one.id for one in found.objects] == ["d0", "d1"]
    found = truth(Expectation(Status.OK, box=(150, 60, 190, 90)))
    assert (found.expect.id, [one.id for one in found.objects]) == (EXPECTED, ["d0", "d1", EXPECTED])
    found = truth(Expectation(Status.OK, "d1", box_3d=Box3d((0, 0, 0), (1, 1, 1)), tolerance_m=0.1))
    assert (found.expected.detection, found.expected.tolerance_m) == (CAN, 0.1)


@pytest.mark.parametrize(("expect", "words"), TABLES["misfit truth"])
def test_truth_that_does_not_fit_the_image_is_refused(expect: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        truth(Expectation(Status.OK, **expect), tmp_path)
    assert words in str(caught.value)


def test_a_mask_is_read_beside_the_truth_and_has_the_size_of_the_image(tmp_path: Path) -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[60:90, 150:190] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    found = truth(Expectation(Status.OK, mask="m.png"), tmp_path)
    assert found.expected.mask.sum() == 1200
    assert found.expected.box == (150.0, 60.0, 190.0, 90.0)
    cv2.imwrite(str(tmp_path / "m.png"), mask[:50])
    with pytest.raises(FileError, match="the mask has 200x50 pixels, but the image has 200x100"):
        truth(Expectation(Status.OK, mask="m.png"), tmp_path)


MISSING = {name: CUP[name] for name in ("id", "label")}
GOOD = '{"frame": "f1", "instruction": "x"}'
WAYS: dict[str, Callable[[Path, Any], object]] = {
    "camera": lambda folder, change: read_camera_info(write_json(folder / "camera_info.json", {**INFO, **change})),
    "pose": lambda folder, change: frame_folder.read_transform(write_json(folder / "t.json", {**POSE, **change})),
    "detections": lambda folder, each: read_detections(detections(folder, *(CUP | change for change in each)), SIZE),
    "cases": lambda folder, line: load_cases(write_json(folder / "cases.jsonl", f"{GOOD}\n{line}").parent),
    "truth": lambda folder, line: load_truth(written(folder / "truth.jsonl", of_bag(), line)),
}


@pytest.mark.parametrize(("way", "told", "error", "words"), TABLES["refused"])
def test_another_form_is_refused_by_its_place(tmp_path: Path, way: str, told: Any, error: str, words: str) -> None:
    write_png(tmp_path / "empty.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    write_png(tmp_path / "small.png", np.ones((24, 32), np.uint8))
    (tmp_path / "none.png").write_bytes(b"")
    with pytest.raises(getattr(errors, error), match=words):
        WAYS[way](tmp_path, told)
