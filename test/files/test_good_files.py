# SPDX-License-Identifier: Apache-2.0
"""What is good is read as before, whatever it looks like; what is written has the right name, rights and content."""

import contextlib
import io
import json
import os
import stat
import struct
import threading
import zlib
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from waiting import DEADLINE

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files import documents, images, reading, writing
from spatial_vlm_ros.files.writing import changed_folder, new_folder, put_folder

PIXELS = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("suffix", "pixels"),
    [
        (".png", PIXELS),
        (".png", PIXELS[..., 0]),
        (".png", PIXELS[..., 0].astype(np.uint16) * 200),
        (".png", np.dstack([PIXELS, PIXELS[..., 0]])),
        (".bmp", PIXELS),
        (".tiff", PIXELS),
        (".tiff", PIXELS[..., 0].astype(np.float32) / 100),
        (".tiff", PIXELS[..., 0].astype(np.uint16) * 200),
        (".webp", PIXELS),
        (".jpg", PIXELS),
    ],
)
def test_images_are_read_and_their_size_is_known_before(suffix: str, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    assert cv2.imwrite(str(path), pixels, options)
    header = images.check_image(path.read_bytes(), path)
    assert (header.width, header.height) == (64, 48)
    assert header.pixel_bytes >= pixels.itemsize * (1 if pixels.ndim == 2 else pixels.shape[2])
    read = images.decode_file(path, cv2.IMREAD_UNCHANGED)
    if suffix == ".jpg":
        assert read.shape == pixels.shape
    else:
        np.testing.assert_array_equal(read, pixels)


def test_a_lossy_webp_is_read_and_the_limit_of_pixels_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    cv2.imwrite(str(path), PIXELS, [cv2.IMWRITE_WEBP_QUALITY, 80])
    header = images.check_image(path.read_bytes(), path)
    assert (header.width, header.height, header.format) == (64, 48, "WebP")
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), PIXELS)
    assert images.decode_file(path, cv2.IMREAD_COLOR, largest=64 * 48).shape == (48, 64, 3)
    with pytest.raises(FileError, match=r"64x48 pixels of 3 bytes.*at most 3071 pixels"):
        images.decode_file(path, cv2.IMREAD_COLOR, largest=64 * 48 - 1)


def test_arrays_are_read_and_archives_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    for kind in (np.uint8, np.uint16, np.float32, np.float64):
        wanted = np.asfortranarray(PIXELS[..., 0].astype(kind))
        np.save(tmp_path / "a.npy", wanted)
        np.savez_compressed(tmp_path / "a.npz", one=wanted, other=np.array(3))
        np.testing.assert_array_equal(images.read_npy(tmp_path / "a.npy"), wanted)
        found = images.read_npz(tmp_path / "a.npz")
        np.testing.assert_array_equal(found["one"], wanted)
        assert found["other"] == 3
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(images.LARGEST_ARRAY // 2 + 1, np.uint16))
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    with pytest.raises(FileError, match="bytes unpacked"):
        images.read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "value",
    [
        {"a": "[" * 1000, "b": ["{" * 1000, '"[[', "\\", '\\"[', "\\\\"]},
        [[]] * 1000,
        [{"a": [1, {"b": []}]}] * 100,
        json.loads("[" * documents.DEEPEST_JSON + "]" * documents.DEEPEST_JSON),
        "\ud83d\ude00 [",
        {"a": 10**300},
    ],
)
def test_json_is_read_whatever_its_texts_hold(value: object, tmp_path: Path) -> None:
    for ascii_ in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_)
        (tmp_path / "a.json").write_text(text, encoding="utf-8", errors="surrogatepass") if ascii_ else None
        assert documents.parse_json(text.encode("utf-8", "surrogatepass"), "a", "") == json.loads(text)
    assert documents.read_json(tmp_path / "a.json", "") == json.loads(json.dumps(value))


def test_one_level_too_deep_is_refused_and_named() -> None:
    deep = documents.DEEPEST_JSON + 1
    for begin, end in ((b"[", b"]"), (b'{"a":', b"}")):
        with pytest.raises(FileError, match="more than 64 levels") as caught:
            documents.parse_json(begin * deep + b"1" + end * deep, "a.json", "do", "line 3")
        assert caught.value.field == "line 3"


def test_yaml_of_bags_may_have_aliases_and_parameters_may_not(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a [1, 2]\nb: *a\nc: &c 3\nd: *c\n")
    assert documents.read_yaml(path, "", aliases=True) == {"a": [1, 2], "b": [1, 2], "c": 3, "d": 3}
    with pytest.raises(FileError, match=r"the alias \*a.*ROS does not read aliases") as caught:
        documents.read_yaml(path, "")
    assert caught.value.field == "line 2"
    path.write_text(f"a: {'word ' * 200}\nb: '{'7' * 500}'\n")  # long texts are no numbers
    assert documents.read_yaml(path, "write it again") == {"a": ("word " * 200).strip(), "b": "7" * 500}


def test_xml_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.urdf"
    path.write_text('<?xml version="1.0"?><robot name="r"><!-- c --><link name="l &lt; &#65;"/></robot>')
    root = documents.read_xml(path, "")
    assert (root.tag, root[0].get("name")) == ("robot", "l < A")


def test_lines_are_read_one_by_one_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"one\n\n  \r\ntwo\r\nthree")
    assert list(reading.read_lines(path, "")) == [(1, b"one"), (4, b"two"), (5, b"three")]
    path.write_bytes(b"1234\n12345\n")
    lines = reading.read_lines(path, "", longest=4)
    assert next(lines) == (1, b"1234")
    with pytest.raises(FileError, match="a line has more than 4 bytes") as caught:
        next(lines)
    assert caught.value.field == "line 2"


def test_a_link_that_the_user_names_is_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("good")
    (tmp_path / "latest").symlink_to("data")
    assert reading.read_bytes(tmp_path / "latest" / "a.txt", "", 10) == b"good"
    assert reading.inside(tmp_path / "latest", "a.txt", "list.json") == tmp_path / "latest" / "a.txt"
    (tmp_path / "data" / "b.txt").symlink_to("a.txt")  # stays in the folder
    assert reading.member(tmp_path / "data", "b.txt").read_text() == "good"


def test_a_file_of_exactly_the_limit_is_read_and_one_that_grows_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10)
    assert len(reading.read_bytes(path, "", 10)) == 10
    with pytest.raises(FileError, match="10 bytes, more than 9"):
        reading.read_bytes(path, "", 9)
    with pytest.raises(FileError, match="11 bytes, more than 10"):  # of no size that can be known before
        reading.read_bytes("/proc/self/environ", "", 10)


def test_a_new_file_has_the_usual_rights_and_a_replaced_one_keeps_its_own(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        writing.write_text(tmp_path / "deep" / "er" / "a", "1")
    finally:
        os.umask(before)
    path = tmp_path / "deep" / "er" / "a"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    writing.write_text(path, "2", force=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert [one.name for one in path.parent.iterdir()] == ["a"]


def test_a_link_keeps_pointing_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "3").write_text("old")
    (tmp_path / "latest").symlink_to("runs/3")
    writing.write_text(tmp_path / "latest", "new", force=True)
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "runs" / "3").read_text() == "new"
    with writing.written_by_name(tmp_path / "latest", force=True) as place:
        place.write_text("newer")
    assert (tmp_path / "runs" / "3").read_text() == "newer"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["latest", "runs"]


def test_a_file_that_is_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    file = writing.writing(path)
    file.__enter__().write(b"mine")
    path.write_text("theirs")
    with pytest.raises(FileError, match="another program has created it"):
        file.__exit__(None, None, None)
    assert path.read_text() == "theirs"
    folder = new_folder(tmp_path / "f")
    (folder.__enter__() / "a").write_text("mine")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "b").write_text("theirs")
    with pytest.raises(FileError, match="in the meantime"):
        folder.__exit__(None, None, None)
    assert [one.name for one in (tmp_path / "f").iterdir()] == ["b"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "f"]


def test_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    writing.write_text(pipe, "words")
    reader.join(DEADLINE)
    assert heard == [b"words"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_half_a_surrogate_pair_becomes_a_question_mark_and_bad_names_and_numbers_are_refused(tmp_path: Path) -> None:
    writing.write_text(tmp_path / "a", "x\ud800y")
    assert (tmp_path / "a").read_text() == "x?y"
    with pytest.raises(ValueError, match="not JSON compliant"):
        writing.write_json(tmp_path / "b", float("nan"))
    assert not (tmp_path / "b").exists()
    for name in ("a\0b", "x" * 300):
        with pytest.raises(FileError):
            writing.write_text(tmp_path / name, "")


def test_other_files_of_a_changed_folder_stay(tmp_path: Path) -> None:
    place = tmp_path / "f"
    (place / "sub").mkdir(parents=True)
    (place / "sub" / "kept").write_text("kept")
    (place / "a").write_text("old")
    (place / "link").symlink_to("a")
    changed = changed_folder(place)
    writing.write_text(changed.__enter__() / "a", "half", force=True)
    assert not changed.__exit__(RuntimeError, RuntimeError(), None)  # it is raised on
    assert (place / "a").read_text() == "old"
    with changed_folder(place) as folder:
        writing.write_text(folder / "a", "new", force=True)
    assert (place / "a").read_text() == "new"
    assert (place / "sub" / "kept").read_text() == "kept"
    assert (place / "link").readlink() == Path("a")
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_a_folder_that_is_a_link_is_replaced_where_it_points_to_and_a_whole_one_is_put_in_place(tmp_path: Path) -> None:
    for name in ("real", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    (tmp_path / "link").symlink_to("real")
    with new_folder(tmp_path / "link", force=True) as folder:
        (folder / "b").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert [one.name for one in (tmp_path / "real").iterdir()] == ["b"]
    put_folder(tmp_path / "new", tmp_path / "real", force=True)
    assert [(one.name, one.read_text()) for one in (tmp_path / "real").iterdir()] == [("a", "new")]


def test_a_file_that_has_nothing_to_say_yet_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    silent = Mock(spec=io.BytesIO, read=lambda *_: None)  # as reading without waiting ends: /proc/kmsg
    monkeypatch.setattr(reading, "open_regular", lambda *_: contextlib.nullcontext(silent))
    with pytest.raises(FileError, match="it cannot be read now"):
        reading.read_bytes(tmp_path / "a.json", "give a file", 100)


def test_small_images_have_the_bytes_that_their_size_takes(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    for shape in ((1, 1), (7, 3), (33, 77, 3), (5, 5, 4)):
        for kind in (np.uint8, np.uint16):
            pixels = numbers.integers(0, 255, shape).astype(kind)
            path = tmp_path / "a.png"
            path.write_bytes(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes())
            np.testing.assert_array_equal(images.decode_file(path, cv2.IMREAD_UNCHANGED), pixels)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 9), (64, 48), (1000, 2)])
def test_an_interlaced_image_is_read(width: int, height: int) -> None:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    size = 0
    for left, top, right, down in passes:  # ISO 15948, 8.2: first column and row, steps
        columns, rows = len(range(left, width, right)), len(range(top, height, down))
        size += rows * (1 + columns) if columns else 0
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(size))), (b"IEND", b"")
    chunks = [(len(held), kind + held) for kind, held in parts]
    data = b"".join(struct.pack(">I", n) + held + struct.pack(">I", zlib.crc32(held)) for n, held in chunks)
    assert images.decode(b"\x89PNG\r\n\x1a\n" + data, "a.png", cv2.IMREAD_UNCHANGED).shape == (height, width)
