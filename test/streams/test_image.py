# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

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

from spatial_vlm_ros.errors import InputError, SpatialVlmError, UnknownNameError
from spatial_vlm_ros.streams import codecs
from spatial_vlm_ros.streams.image import RGB_ENCODINGS, decode_depth, decode_rgb

IMAGE = np.random.default_rng(5).integers(0, 256, (6, 8, 3), np.uint8)
DEPTH = np.array([[0, 1, 1500], [65535, 2, 300]], np.uint16)
METRES = np.array([[np.nan, 0.001, 1.5], [65.535, 0.002, 0.3]], np.float32)


def image(pixels: np.ndarray, encoding: str, padding: int = 0, **fields: Any) -> Any:
    """A message as rclpy makes it, rows padded with 0xAA."""
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


# ------------------------------------------------------------------------------------------------ raw images


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("rgb8", IMAGE),
        ("bgr8", IMAGE[..., ::-1]),
        ("rgba8", np.dstack([IMAGE, IMAGE[..., :1]])),
        ("bgra8", np.dstack([IMAGE[..., ::-1], IMAGE[..., :1]])),
    ],
)
def test_colours_of_every_order_become_rgb(encoding: str, stored: np.ndarray, padding: int) -> None:
    rgb = decode_rgb(image(stored, encoding, padding))
    np.testing.assert_array_equal(rgb, IMAGE)
    assert rgb.flags.c_contiguous
    assert rgb.flags.writeable
    assert rgb.dtype == np.uint8


def test_grey_is_the_same_in_all_channels() -> None:
    rgb = decode_rgb(image(IMAGE[..., 1], "mono8", padding=3))
    np.testing.assert_array_equal(rgb, np.repeat(IMAGE[..., 1:2], 3, axis=2))


def test_an_image_shares_no_memory_with_its_message() -> None:
    message = image(IMAGE, "rgb8")
    rgb = decode_rgb(message)
    message.data[0] ^= 255
    np.testing.assert_array_equal(rgb, IMAGE)


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


def test_a_mosaic_too_small_to_have_neighbours_is_refused() -> None:
    with pytest.raises(InputError, match="at least 3 pixels"):
        decode_rgb(image(np.full((2, 8), 9, np.uint8), "bayer_rggb8"))


@pytest.mark.parametrize(("encoding", "luma"), [("yuv422", 1), ("uyvy", 1), ("yuv422_yuy2", 0), ("yuyv", 0)])
def test_yuv_is_read_with_luma_where_its_name_says(encoding: str, luma: int) -> None:
    # Red and grey by ITU-R BT.601: Y = 81, U = 90, V = 240 is pure red; U = V = 128 is grey, (Y - 16) * 255 / 219.
    stored = np.empty((2, 4, 2), np.uint8)
    stored[..., luma] = [81, 81, 126, 16]
    stored[:, 0::2, 1 - luma], stored[:, 1::2, 1 - luma] = [90, 128], [240, 128]
    rgb = decode_rgb(image(stored, encoding)).astype(int)
    expected = [(255, 0, 0), (255, 0, 0), (128, 128, 128), (0, 0, 0)]
    assert np.abs(rgb - np.array([expected, expected])).max() <= 2


def test_yuv_of_odd_width_is_refused() -> None:
    with pytest.raises(InputError, match="even"):
        decode_rgb(image(np.zeros((2, 3, 2), np.uint8), "yuyv"))


@pytest.mark.parametrize("encoding", ["16UC1", "rgb16", "", "nonsense"])
def test_an_unknown_image_encoding_is_refused_with_those_that_are_known(encoding: str) -> None:
    with pytest.raises(UnknownNameError, match="rgb8") as caught:
        decode_rgb(image(np.zeros((4, 4, 2), np.uint8), encoding))
    assert set(caught.value.available) == set(RGB_ENCODINGS)


# ------------------------------------------------------------------------------------------------ compressed images


@pytest.mark.parametrize(
    "format_",
    [
        "png",
        "bgr8; png compressed ",
        "bgr8; png compressed bgr8",
        "rgb8; png compressed bgr8",
        "rgba8; png compressed bgr8",
    ],
)
def test_a_png_holds_true_colours_whatever_the_camera_published(format_: str) -> None:
    np.testing.assert_array_equal(decode_rgb(compressed(file(IMAGE[..., ::-1]), format_)), IMAGE)


@pytest.mark.parametrize("format_", ["jpeg", "jpg", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8"])
def test_a_jpeg_holds_true_colours_whatever_the_camera_published(format_: str) -> None:
    flat = np.full((16, 16, 3), (200, 90, 20), np.uint8)
    rgb = decode_rgb(compressed(file(flat[..., ::-1], ".jpg"), format_))
    assert np.abs(rgb.astype(int) - flat).max() <= 3


def test_only_a_file_that_says_so_holds_swapped_colours() -> None:
    swapped = file(IMAGE)  # imencode was given RGB where it takes BGR
    np.testing.assert_array_equal(decode_rgb(compressed(swapped, "rgb8; png compressed rgb8")), IMAGE)


def test_an_alpha_channel_is_dropped() -> None:
    with_alpha = np.dstack([IMAGE[..., ::-1], IMAGE[..., 0]])
    np.testing.assert_array_equal(decode_rgb(compressed(file(with_alpha), "png")), IMAGE)


@pytest.mark.parametrize("format_", ["mono8; png compressed ", "mono8; png compressed mono8", "png"])
def test_a_compressed_grey_image_becomes_rgb(format_: str) -> None:
    rgb = decode_rgb(compressed(file(IMAGE[..., 0]), format_))
    np.testing.assert_array_equal(rgb, np.repeat(IMAGE[..., :1], 3, axis=2))


@pytest.mark.parametrize("format_", ["bayer_rggb8; png compressed bayer_rggb8", "bayer_rggb8; png compressed "])
def test_a_compressed_mosaic_is_read_like_a_raw_one(format_: str) -> None:
    mosaic = IMAGE[..., 0]
    expected = decode_rgb(image(mosaic, "bayer_rggb8"))
    np.testing.assert_array_equal(decode_rgb(compressed(file(mosaic), format_)), expected)


def test_tags_of_orientation_are_ignored() -> None:
    jpeg = file(np.zeros((16, 32, 3), np.uint8), ".jpg")
    exif = (
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6: turn by 90 degrees
    )
    tagged = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(tagged, np.uint8), cv2.IMREAD_COLOR).shape == (32, 16, 3)  # the tag is a real one
    assert decode_rgb(compressed(tagged, "jpeg")).shape == (16, 32, 3)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_a_truncated_file_is_refused(extension: str, share: float) -> None:
    whole = file(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8), extension)
    with pytest.raises(InputError, match=r"publisher|transport"):
        decode_rgb(compressed(whole[: int(share * len(whole))], "bgr8; jpeg compressed bgr8"))


def test_padding_behind_a_jpeg_does_no_harm() -> None:
    jpeg = file(np.zeros((16, 16, 3), np.uint8), ".jpg")
    assert not decode_rgb(compressed(jpeg + b"\0" * 700, "jpeg")).any()


def test_fill_bytes_inside_a_jpeg_do_no_harm() -> None:
    jpeg = file(np.zeros((16, 16, 3), np.uint8), ".jpg")
    filled = jpeg[:2] + b"\xff\xff" + jpeg[2:]
    assert not decode_rgb(compressed(filled, "jpeg")).any()


def test_a_png_that_is_only_a_signature_is_refused() -> None:
    with pytest.raises(InputError, match="8 bytes"):
        decode_rgb(compressed(codecs.PNG_SIGNATURE, "png"))


def test_a_png_with_a_flipped_bit_is_refused() -> None:
    data = bytearray(file(IMAGE))
    data[60] ^= 4
    with pytest.raises(InputError, match="checksum"):
        decode_rgb(compressed(bytes(data), "png"))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (0, 5), (5, 0)])
def test_a_file_that_announces_an_absurd_size_is_refused_before_decoding(width: int, height: int) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = codecs.PNG_SIGNATURE + header + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")
    with pytest.raises(InputError, match="image size"):
        decode_rgb(compressed(data, "png"))


def test_a_png_with_too_few_pixels_but_right_checksums_is_refused() -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0))
    data = codecs.PNG_SIGNATURE + header + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + png_chunk(b"IEND", b"")
    with pytest.raises(InputError, match="cannot be decoded"):
        decode_rgb(compressed(data, "png"))


@pytest.mark.parametrize(
    ("data", "format_", "reason"),
    [
        (b"", "jpeg", "0 bytes"),
        (b"\0\0\0\1\x67", "h264", "PNG or a JPEG"),
        (file(DEPTH), "16UC1; png compressed ", "8 bits"),
        (b"\0" * 12 + file(DEPTH), "16UC1; compressedDepth png", "colour topic"),
    ],
)
def test_what_is_no_image_is_refused_by_name(data: bytes, format_: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        decode_rgb(compressed(data, format_))


# ------------------------------------------------------------------------------------------------ depth


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
def test_millimetres_of_either_byte_order_become_metres(encoding: str, big: int, padding: int) -> None:
    stored = DEPTH.astype(">u2" if big else "<u2")
    metres = decode_depth(image(stored, encoding, padding, is_bigendian=big))
    np.testing.assert_array_equal(metres, METRES)
    assert metres.dtype == np.float32


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("big", [0, 1])
def test_floats_of_either_byte_order_are_metres(big: int, padding: int) -> None:
    stored = np.array([[0.5, np.nan], [-1, np.inf]], ">f4" if big else "<f4")
    metres = decode_depth(image(stored, "32FC1", padding, is_bigendian=big))
    np.testing.assert_array_equal(metres, [[0.5, np.nan], [np.nan, np.nan]])
    assert metres.dtype.isnative


def test_a_scale_replaces_the_usual_unit() -> None:
    assert decode_depth(image(DEPTH, "16UC1"), scale=0.0001)[0, 2] == np.float32(0.15)
    with pytest.raises(InputError, match="depth scale"):
        decode_depth(image(DEPTH, "16UC1"), scale=-1.0)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "rgb8", "bgr8"])
def test_depth_of_8_bits_lost_its_unit(encoding: str) -> None:
    with pytest.raises(InputError, match="have no unit"):
        decode_depth(image(np.zeros((2, 2, 3), np.uint8), encoding))


def test_an_unknown_depth_encoding_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownNameError, match="32FC1"):
        decode_depth(image(np.zeros((2, 2), np.float64), "64FC1"))


def config_header(a: float = 0.0, b: float = 0.0) -> bytes:
    return struct.pack("<iff", 0, a, b)


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (config_header() + file(DEPTH), "16UC1; compressedDepth"),
        (config_header() + file(DEPTH), "16UC1; compressedDepth png"),
        (config_header() + file(DEPTH), "16UC1;compressedDepth png"),
        (config_header() + file(DEPTH), "mono16; compressedDepth png"),
        (config_header() + file(DEPTH), "16UC1"),
        (file(DEPTH), "16UC1; png compressed "),
        (file(DEPTH), "png"),
    ],
)
def test_lossless_files_of_millimetres_become_metres(data: bytes, format_: str) -> None:
    message = compressed(data, format_)
    np.testing.assert_array_equal(decode_depth(message), METRES)


def stored_inverse(depth: np.ndarray, quantization: float, farthest: float) -> tuple[np.ndarray, bytes]:
    """What compressed_depth_image_transport stores of depth in metres, in its own words (codec.cpp)."""
    a = np.float32(quantization * (quantization + 1))
    b = np.float32(1 - a / farthest)
    with np.errstate(invalid="ignore"):
        stored = np.where(depth < farthest, np.nan_to_num(a / depth + b), 0).astype(np.uint16)
    return stored, config_header(float(a), float(b))


@pytest.mark.parametrize("codec", ["png", "rvl"])
def test_inverse_depth_comes_back_within_its_quantisation(codec: str) -> None:
    depth = np.array([[0.5, 1.0, 3.0], [9.0, np.nan, 20.0]], np.float32)
    stored, header = stored_inverse(depth, 100.0, 10.0)
    data = file(stored) if codec == "png" else rvl(stored)
    metres = decode_depth(compressed(header + data, f"32FC1; compressedDepth {codec}"))
    known = depth[depth < 10]
    # One unit of inverse depth is z² / (q (q + 1)) metres.
    assert (np.abs(metres[depth < 10] - known) <= known**2 / (100 * 101) * 1.001).all()
    assert np.isnan(metres[1, 1:]).all()


@pytest.mark.parametrize("parameters", [(0.0, 0.0), (np.nan, 0.0), (1.0, np.inf), (-1.0, 0.0)])
def test_a_header_that_is_no_quantisation_is_refused(parameters: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="depthParam"):
        decode_depth(compressed(config_header(*parameters) + file(DEPTH), "32FC1; compressedDepth png"))


@pytest.mark.parametrize(
    ("data", "format_", "reason"),
    [
        (file(IMAGE, ".jpg"), "16UC1; jpeg compressed ", "have no unit"),
        (file(IMAGE, ".jpg"), "jpeg", "have no unit"),
        (file(IMAGE, ".jpg"), "16UC1; compressedDepth png", "have no unit"),
        (file(IMAGE[..., 0]), "mono8; png compressed ", "have no unit"),
        (config_header() + file(IMAGE[..., 0]), "16UC1; compressedDepth png", "have no unit"),
        (config_header()[:7], "16UC1; compressedDepth png", "header of 12 bytes"),
        (file(DEPTH), "16UC1; compressedDepth png", "header of 12 bytes"),
        (config_header() + file(DEPTH)[:-5], "16UC1; compressedDepth png", "ends after"),
        (config_header() + b"\0" * 5, "16UC1; compressedDepth rvl", "RVL"),
        (config_header() + file(DEPTH), "16UC1; compressedDepth zstd", "zstd"),
        (config_header() + file(DEPTH), "64FC1; compressedDepth png", "64FC1"),
        (file(DEPTH), "32FC1; png compressed ", "depthParam"),
        (config_header(1, 0) + file(IMAGE.astype(np.uint16)), "32FC1; compressedDepth png", "uint16"),
        (config_header() + file(IMAGE.astype(np.uint16)), "16UC1; compressedDepth png", "uint16"),
    ],
)
def test_compressed_depth_that_cannot_be_trusted_is_refused_by_name(data: bytes, format_: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        decode_depth(compressed(data, format_))


# ------------------------------------------------------------------------------------------------ RVL


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
    np.testing.assert_array_equal(codecs.decode_rvl(rvl(pixels)), pixels)


def test_rvl_gives_the_numbers_worked_by_hand() -> None:
    # 1 zero, 2 non-zeros, +1 -> 2, +8 -> 16 = 0 | 2 (low 3 bits first): nibbles 1 2 2 8 2, padded to a word.
    data = struct.pack("<III", 3, 1, 0x12282000)
    np.testing.assert_array_equal(codecs.decode_rvl(data), [[0, 1, 9]])
    message = compressed(config_header() + data, "16UC1; compressedDepth rvl")
    np.testing.assert_array_equal(decode_depth(message), np.array([[np.nan, 0.001, 0.009]], np.float32))


@pytest.mark.parametrize("words", [[], [0x12282000][:0], [0x90000000], [0xFFFFFFFF] * 4, [0x70000000], [0x0F700000]])
def test_a_damaged_rvl_stream_is_refused(words: list[int]) -> None:
    with pytest.raises(InputError, match="RVL"):
        codecs.decode_rvl(struct.pack(f"<II{len(words)}I", 3, 1, *words))


def test_an_rvl_run_that_is_longer_than_the_stream_is_refused() -> None:
    with pytest.raises(
        InputError, match="22 numbers"
    ):  # 0 zeros, then 20 non-zeros (nibbles 4 + 8, 2), of which 5 are there
        codecs.decode_rvl(struct.pack("<III", 20, 1, 0x0C200000))


def test_an_rvl_image_of_absurd_size_is_refused() -> None:
    with pytest.raises(InputError, match="image size"):
        codecs.decode_rvl(struct.pack("<III", 2**31, 2**31, 0))


# ------------------------------------------------------------------------------------------------ messages of a bag


def test_messages_of_a_bag_give_the_same_pixels() -> None:
    types = get_typestore(Stores.ROS2_KILTED).types
    raw = types["sensor_msgs/msg/Image"](
        header=None, height=2, width=3, encoding="16UC1", is_bigendian=0, step=6, data=DEPTH.view(np.uint8).reshape(-1)
    )
    np.testing.assert_array_equal(decode_depth(raw), METRES)
    data = np.frombuffer(file(IMAGE[..., ::-1]), np.uint8)  # read-only, as rosbags gives it
    stored = types["sensor_msgs/msg/CompressedImage"](header=None, format="png", data=data)
    np.testing.assert_array_equal(decode_rgb(stored), IMAGE)


# ------------------------------------------------------------------------------------------------ damaged messages


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"step": 23}, "step"),
        ({"step": 0}, "step"),
        ({"height": 7}, "truncated"),
        ({"height": 0}, "image size"),
        ({"width": 0}, "image size"),
        ({"height": 2**31, "width": 2**31}, "image size"),
        ({"data": array.array("B")}, "truncated"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        decode_rgb(image(IMAGE, "rgb8", **fields))


@pytest.mark.parametrize(
    "message",
    [
        SimpleNamespace(),
        SimpleNamespace(encoding="rgb8", height=1, width=1, step=3),
        SimpleNamespace(encoding="rgb8", height=1, width=1, step=3, data=[1, 2, 3]),
        SimpleNamespace(encoding="rgb8", height=1.5, width=1, step=3, data=b"abc"),
        SimpleNamespace(encoding=None, height=1, width=1, step=3, data=b"abc"),
        SimpleNamespace(format=3, data=b"abc"),
    ],
)
def test_what_is_no_image_message_is_refused(message: Any) -> None:
    for decode in (decode_rgb, decode_depth):
        with pytest.raises(InputError):
            decode(message)


FIELD = st.one_of(st.integers(0, 40), st.sampled_from([2**32 - 1, 2**16, 1000]))
NAMES = [*RGB_ENCODINGS, "16UC1", "mono16", "32FC1", "8UC1", "", "x"]
BEGINNINGS = [b"", codecs.PNG_SIGNATURE, b"\xff\xd8\xff", file(IMAGE), file(IMAGE, ".jpg"), config_header(1, 0)]
FORMATS = [
    "jpeg",
    "png",
    "16UC1; compressedDepth",
    "32FC1; compressedDepth png",
    "16UC1; compressedDepth rvl",
    "; ",
    "",
]


def survives(message: Any) -> bool:
    """Whether each decoder either refuses a message with a typed error or gives a whole image."""
    images = []
    for decode in (decode_rgb, decode_depth):
        with contextlib.suppress(SpatialVlmError):
            images.append(decode(message))
    return all((p.dtype, p.ndim) in ((np.uint8, 3), (np.float32, 2)) and p.size for p in images)


@given(FIELD, FIELD, FIELD, st.sampled_from(NAMES), st.integers(0, 255), st.binary(max_size=400))
def test_no_raw_message_crashes(
    height: int, width: int, step: int, encoding: str, is_bigendian: int, data: bytes
) -> None:
    assert survives(
        SimpleNamespace(height=height, width=width, step=step, encoding=encoding, is_bigendian=is_bigendian, data=data)
    )


@given(st.sampled_from(FORMATS), st.sampled_from(BEGINNINGS), st.integers(0, 200), st.binary(max_size=100))
def test_no_compressed_message_crashes(format_: str, beginning: bytes, cut: int, data: bytes) -> None:
    assert survives(SimpleNamespace(format=format_, data=beginning[: len(beginning) - cut] + data))
    assert survives(
        SimpleNamespace(format=format_, data=config_header(1, 0) + beginning[: len(beginning) - cut] + data)
    )


@given(st.sampled_from([".png", ".jpg"]), st.data())
def test_no_bit_flip_crashes(extension: str, data: st.DataObject) -> None:
    damaged = bytearray(file(IMAGE, extension))
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    assert survives(SimpleNamespace(format="png", data=bytes(damaged)))
