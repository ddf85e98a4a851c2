# SPDX-License-Identifier: Apache-2.0
"""Images of messages, raw and compressed: the pixels that the driver meant, metres, or a refusal."""

import array
import contextlib
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rosbags")

from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage as RclpyCompressedImage
from sensor_msgs.msg import Image as RclpyImage
from tables import tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError, SpatialVlmError, UnknownNameError
from spatial_vlm_ros.files.images import PNG_SIGNATURE
from spatial_vlm_ros.streams.image import RGB_ENCODINGS, decode_depth, decode_rgb, decode_rvl

TABLES = tables(__file__)
IMAGE = np.random.default_rng(5).integers(0, 256, (6, 8, 3), np.uint8)
GREY = np.repeat(IMAGE[..., 1:2], 3, axis=2)
DEPTH = np.array([[0, 1, 1500], [65535, 2, 300]], np.uint16)
METRES = np.array([[np.nan, 0.001, 1.5], [65.535, 0.002, 0.3]], np.float32)


def image(pixels: np.ndarray, encoding: str, padding: int = 0, **fields: Any) -> Any:
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAA)
    message = RclpyImage(height=height, width=width, encoding=encoding, step=rows.shape[1])
    message.data = array.array("B", rows.tobytes())
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def compressed(data: bytes, format_: str) -> Any:
    return RclpyCompressedImage(format=format_, data=array.array("B", data))


def file(pixels: np.ndarray, extension: str = ".png") -> bytes:
    done, data = cv2.imencode(extension, pixels)
    assert done
    return data.tobytes()


def config_header(a: float = 0.0, b: float = 0.0) -> bytes:
    return struct.pack("<iff", 0, a, b)


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG that announces a size, with right checksums."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")
    written = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
               for kind, data in chunks]  # fmt: skip
    return PNG_SIGNATURE + b"".join(written)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "stored", "expected"),
    [
        ("rgb8", IMAGE, IMAGE),
        ("bgr8", IMAGE[..., ::-1], IMAGE),
        ("rgba8", np.dstack([IMAGE, IMAGE[..., :1]]), IMAGE),
        ("bgra8", np.dstack([IMAGE[..., ::-1], IMAGE[..., :1]]), IMAGE),
        ("mono8", IMAGE[..., 1], GREY),
    ],
)
def test_colours_of_every_order_become_rgb(encoding: str, stored: Any, expected: Any, padding: int) -> None:
    message = image(stored, encoding, padding)
    rgb = decode_rgb(message)
    np.testing.assert_array_equal(rgb, expected)
    assert (rgb.flags.c_contiguous, rgb.flags.writeable, rgb.dtype) == (True, True, np.uint8)
    message.data[0] ^= 255  # it shares no memory
    np.testing.assert_array_equal(rgb, expected)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_is_read_by_the_name_of_its_first_pixels(pattern: str) -> None:
    # The scene is red on the left and blue on the right, with different green: laid out pixel by pixel from the name.
    scene = np.zeros((10, 20, 3), np.uint8)
    scene[:, :10], scene[:, 10:] = (200, 90, 20), (30, 140, 220)
    mosaic = np.empty((10, 20), np.uint8)
    for row in range(10):
        for column in range(20):
            mosaic[row, column] = scene[row, column, "rgb".index(pattern[2 * (row % 2) + column % 2])]
    rgb = decode_rgb(image(mosaic, f"bayer_{pattern}8"))
    inside = np.r_[1:8, 12:19]  # neither at the border nor at the edge between the colours
    np.testing.assert_array_equal(rgb[1:-1, inside], scene[1:-1, inside])


@pytest.mark.parametrize(("encoding", "luma"), [("yuv422", 1), ("uyvy", 1), ("yuv422_yuy2", 0), ("yuyv", 0)])
def test_yuv_is_read_with_luma_where_its_name_says(encoding: str, luma: int) -> None:
    # Red and grey by ITU-R BT.601: Y = 81, U = 90, V = 240 is pure red; U = V = 128 is grey, (Y - 16) * 255 / 219.
    stored = np.empty((2, 4, 2), np.uint8)
    stored[..., luma] = [81, 81, 126, 16]
    stored[:, 0::2, 1 - luma], stored[:, 1::2, 1 - luma] = [90, 128], [240, 128]
    rgb = decode_rgb(image(stored, encoding)).astype(int)
    expected = [(255, 0, 0), (255, 0, 0), (128, 128, 128), (0, 0, 0)]
    assert np.abs(rgb - np.array([expected, expected])).max() <= 2


FLAT = np.full((16, 16, 3), (200, 90, 20), np.uint8)
BLACK = file(np.zeros((16, 16, 3), np.uint8), ".jpg")
WIDE = file(IMAGE.astype(np.uint16))
FILES = {
    **{name: bytes.fromhex(data) for name, data in TABLES["bytes"]},
    "twelve zeros and depth": b"\0" * 12 + file(DEPTH),
    "depth": file(DEPTH),
    "depth but for its end": file(DEPTH)[:-5],
    "16 bits of colours": WIDE,
    "colours": file(IMAGE),
    "colours as a JPEG": file(IMAGE, ".jpg"),
    "swapped colours": file(IMAGE[..., ::-1]),
    "swapped colours and alpha": file(np.dstack([IMAGE[..., ::-1], IMAGE[..., 0]])),
    "green": file(IMAGE[..., 1]),
    "red": file(IMAGE[..., 0]),
    "one swapped colour": file(FLAT[..., ::-1], ".jpg"),
    "black and zeros": BLACK + b"\0" * 700,
    "black with fill bytes": BLACK[:2] + b"\xff\xff" + BLACK[2:],
    "damaged": file(IMAGE)[:60] + bytes([file(IMAGE)[60] ^ 4]) + file(IMAGE)[61:],
    "too few rows": png(64, 48, b"\0" * 1000),
    "too large": png(100_000, 100_000),  # before it is decoded
    "no columns": png(0, 5),
    "no rows": png(5, 0),
}
PIXELS = {
    "image": IMAGE, "grey": GREY, "flat": FLAT, "black": np.zeros_like(FLAT),
    "mosaic": decode_rgb(image(IMAGE[..., 0], "bayer_rggb8")),
}  # fmt: skip


@pytest.mark.parametrize(("pixels", "data", "format_"), TABLES["colours"])
def test_a_file_holds_true_colours_whatever_the_camera_published(pixels: str, data: str, format_: str) -> None:
    rgb, expected = decode_rgb(compressed(FILES[data], format_)).astype(int), PIXELS[pixels]
    assert rgb.shape == expected.shape
    assert np.abs(rgb - expected).max() <= (3 if expected is FLAT else 0)


def test_tags_of_orientation_are_ignored() -> None:
    jpeg = file(np.zeros((16, 32, 3), np.uint8), ".jpg")
    # orientation 6: turn by 90 degrees
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    tagged = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(tagged, np.uint8), cv2.IMREAD_COLOR).shape == (32, 16, 3)  # the tag is a real one
    assert decode_rgb(compressed(tagged, "jpeg")).shape == (16, 32, 3)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_a_truncated_file_is_refused(extension: str, share: float) -> None:
    whole = file(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8), extension)
    with pytest.raises(InputError, match=r"publisher|transport"):
        decode_rgb(compressed(whole[: int(share * len(whole))], "bgr8; jpeg compressed bgr8"))


@pytest.mark.parametrize(("data", "format_", "reason"), TABLES["no images"])
def test_what_is_no_image_is_refused_by_name(data: str, format_: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        decode_rgb(compressed(FILES[data], format_))


@pytest.mark.parametrize(("shape", "encoding", "fields", "error", "reason"), TABLES["contradictions"])
def test_a_raw_image_that_contradicts_itself_or_has_an_unknown_encoding_is_refused(
    shape: list[int], encoding: str, fields: Any, error: str, reason: str
) -> None:
    message = image(np.full(shape, 9, np.uint8), encoding, **fields)
    with pytest.raises(getattr(errors, error), match=reason) as caught:
        decode_rgb(message)
    if isinstance(caught.value, UnknownNameError):
        assert set(caught.value.available) == set(RGB_ENCODINGS)


@pytest.mark.parametrize("fields", TABLES["no messages"])
def test_what_is_no_image_message_is_refused(fields: dict[str, Any]) -> None:
    message = SimpleNamespace(**{name: b"abc" if each == "abc" else each for name, each in fields.items()})
    for decode in (decode_rgb, decode_depth):
        with pytest.raises(InputError):
            decode(message)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1"])
def test_depth_of_either_byte_order_becomes_metres(encoding: str, big: int, padding: int) -> None:
    order = ">" if big else "<"
    stored, expected = DEPTH.astype(f"{order}u2"), METRES
    if encoding == "32FC1":
        stored = np.array([[0.5, np.nan], [-1, np.inf]], f"{order}f4")
        expected = np.array([[0.5, np.nan], [np.nan, np.nan]])
    metres = decode_depth(image(stored, encoding, padding, is_bigendian=big))
    np.testing.assert_array_equal(metres, expected)
    assert (metres.dtype, metres.dtype.isnative) == (np.float32, True)
    assert decode_depth(image(DEPTH, "16UC1"), scale=0.0001)[0, 2] == np.float32(0.15)


@pytest.mark.parametrize(
    ("message", "options", "error", "reason"),
    [
        (image(DEPTH, "16UC1"), {"scale": -1.0}, InputError, "depth scale"),
        (image(np.zeros((2, 2), np.float64), "64FC1"), {}, UnknownNameError, "32FC1"),
        *((image(np.zeros((2, 2, 3), np.uint8), name), {}, InputError, "have no unit")
          for name in ("mono8", "8UC1", "rgb8", "bgr8")),
        (compressed(config_header()[:7], "16UC1; compressedDepth png"), {}, InputError, "header of 12 bytes"),
        *((compressed((config_header(*map(float, ab)) if ab else b"") + FILES[data], format_), {}, InputError, reason)
          for ab, data, format_, reason in TABLES["no depth"]),
    ],
)  # fmt: skip
def test_depth_that_cannot_be_trusted_is_refused_by_name(
    message: Any, options: dict[str, float], error: type[InputError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        decode_depth(message, **options)


@pytest.mark.parametrize(("has_header", "format_"), TABLES["lossless"])
def test_lossless_files_of_millimetres_become_metres(has_header: bool, format_: str) -> None:
    header = config_header() if has_header else b""
    np.testing.assert_array_equal(decode_depth(compressed(header + file(DEPTH), format_)), METRES)


@pytest.mark.parametrize("codec", ["png", "rvl"])
def test_inverse_depth_comes_back_within_its_quantisation(codec: str) -> None:
    depth = np.array([[0.5, 1.0, 3.0], [9.0, np.nan, 20.0]], np.float32)
    a = np.float32(100 * (100 + 1))  # as compressed_depth_image_transport's codec.cpp: quantisation 100, up to 10 m
    b = np.float32(1 - a / 10)
    with np.errstate(invalid="ignore"):
        stored = np.where(depth < 10, np.nan_to_num(a / depth + b), 0).astype(np.uint16)
    data = file(stored) if codec == "png" else rvl(stored)
    metres = decode_depth(compressed(config_header(float(a), float(b)) + data, f"32FC1; compressedDepth {codec}"))
    known = depth[depth < 10]
    # One unit of inverse depth is z² / (q (q + 1)) metres.
    assert (np.abs(metres[depth < 10] - known) <= known**2 / (100 * 101) * 1.001).all()
    assert np.isnan(metres[1, 1:]).all()


def rvl(image: np.ndarray) -> bytes:
    """An encoder after Wilson 2017, one number and one nibble at a time."""
    nibbles: list[int] = []

    def put(value: int) -> None:
        while True:
            value, low = value >> 3, value & 7
            nibbles.append(low | (8 if value else 0))
            if not value:
                return

    pixels, at, previous = image.reshape(-1).tolist(), 0, 0
    while at < len(pixels):
        for wanted in (False, True):
            end = at
            while end < len(pixels) and bool(pixels[end]) == wanted:
                end += 1
            put(end - at)
            for pixel in pixels[at:end] if wanted else ():
                delta = pixel - previous
                put(2 * delta if delta >= 0 else -2 * delta - 1)
                previous = pixel
            at = end
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int("".join(f"{n:x}" for n in nibbles[i : i + 8]), 16) for i in range(0, len(nibbles), 8)]
    return struct.pack(f"<II{len(words)}I", image.shape[1], image.shape[0], *words)


@given(
    st.lists(st.sampled_from([0, 0, 0, 1, 2, 500, 501, 65535]) | st.integers(0, 65535), min_size=1, max_size=60),
    st.integers(1, 6),
)
def test_rvl_gives_back_every_image(values: list[int], width: int) -> None:
    pixels = np.array(values + [0] * (-len(values) % width), np.uint16).reshape(-1, width)
    np.testing.assert_array_equal(decode_rvl(rvl(pixels)), pixels)


def test_rvl_gives_the_numbers_worked_by_hand() -> None:
    # 1 zero, 2 non-zeros, +1 -> 2, +8 -> 16 = 0 | 2 (low 3 bits first): nibbles 1 2 2 8 2, padded to a word.
    data = struct.pack("<III", 3, 1, 0x12282000)
    np.testing.assert_array_equal(decode_rvl(data), [[0, 1, 9]])
    message = compressed(config_header() + data, "16UC1; compressedDepth rvl")
    np.testing.assert_array_equal(decode_depth(message), np.array([[np.nan, 0.001, 0.009]], np.float32))


@pytest.mark.parametrize(
    ("size", "words", "reason"),
    # of the sixth: 0 zeros, then 20 non-zeros (nibbles 4 + 8, 2), of which 5 are there
    TABLES["damaged rvl"],
)
def test_a_damaged_rvl_stream_is_refused(size: tuple[int, int], words: list[int], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        decode_rvl(struct.pack(f"<II{len(words)}I", *size, *words))


def test_compressed_images_of_a_bag_give_the_same_pixels() -> None:
    types = get_typestore(Stores.ROS2_KILTED).types
    data = np.frombuffer(file(IMAGE[..., ::-1]), np.uint8)  # read-only, as rosbags gives it
    stored = types["sensor_msgs/msg/CompressedImage"](header=None, format="png", data=data)
    np.testing.assert_array_equal(decode_rgb(stored), IMAGE)


FIELD = st.one_of(st.integers(0, 40), st.sampled_from([2**32 - 1, 2**16, 1000]))
NAMES = [*RGB_ENCODINGS, "16UC1", "mono16", "32FC1", "8UC1", "", "x"]
BEGINNINGS = [b"", PNG_SIGNATURE, b"\xff\xd8\xff", file(IMAGE), file(IMAGE, ".jpg"), config_header(1, 0)]
FORMATS = "jpeg", "png", "16UC1; compressedDepth", "32FC1; compressedDepth png", "16UC1; compressedDepth rvl", "; ", ""


def survives(message: Any) -> bool:
    images = []
    for decode in (decode_rgb, decode_depth):
        with contextlib.suppress(SpatialVlmError):
            images.append(decode(message))
    return all((p.dtype, p.ndim) in ((np.uint8, 3), (np.float32, 2)) and p.size for p in images)


@given(FIELD, FIELD, FIELD, st.sampled_from(NAMES), st.integers(0, 255), st.binary(max_size=400))
def test_no_raw_message_crashes(height: int, width: int, step: int, encoding: str, big: int, data: bytes) -> None:
    size = {"height": height, "width": width, "step": step}
    assert survives(SimpleNamespace(**size, encoding=encoding, is_bigendian=big, data=data))


@given(st.sampled_from(FORMATS), st.sampled_from(BEGINNINGS), st.integers(0, 200), st.binary(max_size=100))
def test_no_compressed_message_crashes(format_: str, beginning: bytes, cut: int, data: bytes) -> None:
    for header in (b"", config_header(1, 0)):
        assert survives(SimpleNamespace(format=format_, data=header + beginning[: len(beginning) - cut] + data))


@given(st.sampled_from([".png", ".jpg"]), st.data())
def test_no_bit_flip_crashes(extension: str, data: st.DataObject) -> None:
    flipped = bytearray(file(IMAGE, extension))
    for place in data.draw(st.lists(st.integers(0, len(flipped) - 1), min_size=1, max_size=4)):
        flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    assert survives(SimpleNamespace(format="png", data=bytes(flipped)))
