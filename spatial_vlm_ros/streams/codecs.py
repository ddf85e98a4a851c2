# SPDX-License-Identifier: Apache-2.0
"""Decode compressed bytes to pixels: PNG, JPEG and RVL, whole or not at all.

Knows file formats, but not messages, colours or units. Decoders fill missing data with grey, zero or nothing, each
version in its own way, so damage is searched for before they are called.
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.files import LARGEST_PIXELS

LARGEST = LARGEST_PIXELS  # of an image in a message, the same as for files
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
_INCOMPLETE = "drop the message, or check the publisher"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the others are tables and extensions
_LONGEST_RVL_NUMBER = 10  # nibbles of 3 bits each: more than 29 bits are never written


def image_kind(data: bytes) -> str | None:
    """Name the format of a file: "png", "jpeg", or None for something else."""
    if data.startswith(PNG_SIGNATURE):
        return "png"
    return "jpeg" if data.startswith(JPEG_SIGNATURE) else None


def check_size(height: int, width: int) -> None:
    """Refuse a size that is not positive, or that no camera has."""
    if min(height, width) <= 0 or height * width > LARGEST:
        repair = "check the publisher: the message is damaged or empty"
        raise InputError("image size", f"{width}x{height}", f"1 to {LARGEST} pixels", repair)


def decode_image(data: bytes) -> npt.NDArray[np.generic]:
    """Decode an undamaged PNG or JPEG: (H, W) or (H, W, 3 or 4), uint8 or uint16, in OpenCV's order, not turned."""
    kind = image_kind(data)
    if kind is None:
        got = f"{len(data)} bytes that start with {data[:4].hex(' ') or 'nothing'}"
        repair = "set the format of the image transport to png or jpeg"
        raise InputError("compressed image", got, "a PNG or a JPEG", repair)
    if kind == "png":
        if len(data) < 24:
            raise InputError("PNG", f"{len(data)} bytes", "a complete file", _INCOMPLETE)
        width, height = struct.unpack_from(">II", data, 16)
    else:
        at = 2
        while at + 9 <= len(data) and data[at] == 0xFF and data[at + 1] not in _START_OF_FRAME:
            segment = int.from_bytes(data[at + 2 : at + 4], "big")
            at += 1 if data[at + 1] == 0xFF else 2 + segment  # fill bytes, or a segment
        if at + 9 > len(data) or data[at] != 0xFF:
            raise InputError("JPEG", f"no frame in {len(data)} bytes", "a complete file", _INCOMPLETE)
        height, width = struct.unpack_from(">HH", data, at + 5)
    check_size(height, width)

    if kind == "png":
        damage = _png_damage(data)
    else:  # its last scan must end, and no marker may be inside one (ITU T.81)
        ends = data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
        damage = None if ends else f"the JPEG ends after {len(data)} bytes, before its end marker"
    if damage is None:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            image = None
        if image is not None and image.shape[:2] == (height, width):
            return np.asarray(image)
        damage = "it cannot be decoded"
    repair = "drop the message; if every message is damaged, check the publisher"
    raise InputError("compressed image", damage, "a complete PNG or JPEG", repair)


def decode_rvl(data: bytes) -> npt.NDArray[np.uint16]:
    """Decode a 16-bit image written by compressed_depth_image_transport with its codec "rvl": (H, W) uint16."""
    if len(data) < 12:
        raise _rvl_error(f"{len(data)} bytes")
    width, height = struct.unpack_from("<II", data)
    check_size(height, width)
    total = width * height

    # All numbers of the stream (N,), including those of the padding at its end.
    octets = np.frombuffer(data, "<u4", count=len(data) // 4 - 2, offset=8).astype(">u4").view(np.uint8)
    nibbles = np.stack([octets >> 4, octets & 15], axis=1).reshape(-1)
    ends = np.flatnonzero(nibbles < 8)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1 if len(ends) else np.zeros(1, np.int64)
    if not 0 < lengths.max() <= _LONGEST_RVL_NUMBER:
        raise _rvl_error("a number does not end")
    used = nibbles[: ends[-1] + 1].astype(np.int64) & 7
    shifts = 3 * (np.arange(len(used)) - np.repeat(starts, lengths))
    values = np.asarray(np.add.reduceat(used << shifts, starts))

    # First pixel, index of the first difference in `values`, and length of each run of non-zeros.
    runs = []
    at = pixel = 0
    while pixel < total:
        if at + 2 > len(values):
            raise _rvl_error(f"the numbers end at pixel {pixel} of {total}")
        zeros, count = int(values[at]), int(values[at + 1])
        runs.append((pixel + zeros, at + 2, count))
        pixel += zeros + count
        at += 2 + count
    if pixel > total or at > len(values):
        raise _rvl_error(f"{pixel} pixels and {at} numbers were read, but there are {total} and {len(values)}")
    pixels, firsts, counts = np.array(runs, np.int64).T
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # position within its run
    zigzag = values[np.repeat(firsts, counts) + inside]
    image = np.zeros(total, np.uint16)
    image[np.repeat(pixels, counts) + inside] = np.cumsum((zigzag >> 1) ^ -(zigzag & 1)) & 0xFFFF
    return image.reshape(height, width)


def _rvl_error(got: str) -> InputError:
    repair = "drop the message, or set the format of the codec to png"
    return InputError("RVL image", got, "a complete RVL stream", repair)


def _png_damage(data: bytes) -> str | None:
    """Reason why a PNG is damaged, or None: checks length, type, data and checksum of each chunk (ISO 15948)."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"the checksum of the PNG chunk at byte {at} is wrong"
        if data[at + 4 : at + 8] == b"IEND":
            return None
        at = end + 4
    return f"the PNG ends after {len(data)} bytes, before its end marker"
