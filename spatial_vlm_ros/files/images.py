# SPDX-License-Identifier: Apache-2.0
"""Read image files: the size is read from the header, and damage is searched for, before a decoder runs."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files import LARGEST_PIXELS
from spatial_vlm_ros.files.reading import MIB, open_regular, read_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LARGEST_DECODED = 128 * MIB
"""Bytes of decoded pixels, as the file stores them: 32-bit float depth of LARGEST_PIXELS."""
LARGEST_IMAGE_FILE = LARGEST_DECODED + MIB
"""Bytes of a file: an image without compression, and its header."""
_MOST_SCANS = 100  # JPEG scans: an encoder makes about ten; each costs the time of the whole image
_MOST_CHUNKS = 50_000  # PNG chunks: libpng writes 8 KiB of pixels into each, which makes 16,384 for LARGEST_DECODED
PNG_SIGNATURE, JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type (ISO 15948); a palette is decoded to colour
_TIFF_TYPES = {3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}  # SHORT, LONG (TIFF 6.0), LONG8 (BigTIFF)
_TIFF_TAGS = {256: "width", 257: "height", 258: "bits", 277: "channels", 322: "tile width", 323: "tile height"}
_MOST_TAGS = 1000


@dataclass(frozen=True)
class ImageHeader:
    """Content of an image header: format, width and height in pixels, and bytes of a decoded pixel."""

    format: str
    width: int
    height: int
    pixel_bytes: int


def decode_file(
    path: str | Path,
    flags: int,
    repair: str = "give an image file",
    largest: int = LARGEST_PIXELS,
) -> npt.NDArray[np.generic]:
    """Read the pixels, as OpenCV gives them (blue first), of an undamaged PNG, JPEG, TIFF, BMP or WebP file."""
    return decode(read_bytes(path, repair, LARGEST_IMAGE_FILE), path, flags, largest)


def decode(
    data: bytes,
    path: str | Path,
    flags: int,
    largest: int = LARGEST_PIXELS,
) -> npt.NDArray[np.generic]:
    """As `decode_file`, for bytes that came from `path`."""
    check_image(data, path, largest)
    import cv2
    import numpy as np

    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise _damaged(path, "it cannot be decoded")
    return np.asarray(image)


def check_image(data: bytes, path: str | Path, largest: int = LARGEST_PIXELS) -> ImageHeader:
    """Read the header of an image, and check that the image is whole as far as possible without decoding it."""
    if not data:
        raise _damaged(path, "the file is empty")
    try:
        header = header_of(data)
    except ValueError as error:
        raise _damaged(path, "its header is truncated or damaged") from error
    if header is None:
        raise _damaged(path, "its format is not supported; supported formats are PNG, JPEG, TIFF, BMP and WebP")
    if header.width < 1 or header.height < 1:
        raise _damaged(path, f"the {header.format} header states {header.width}x{header.height} pixels")
    pixels = header.width * header.height
    if pixels > largest or pixels * header.pixel_bytes > LARGEST_DECODED:
        stated = f"{header.width}x{header.height} pixels of {header.pixel_bytes} bytes"
        repair = f"scale it down to at most {largest} pixels and {LARGEST_DECODED // MIB} MiB"
        raise FileError(path, f"the {header.format} header states {stated}", repair)
    problem = damage_of(data, header)
    if problem is not None:
        raise _damaged(path, problem)
    return header


def _damaged(path: str | Path, problem: str) -> FileError:
    return FileError(path, f"not a whole image: {problem}", "copy or record the file again")


# ------------------------------------------------------------------------------------------------ headers


def header_of(data: bytes) -> ImageHeader | None:
    """Read the header of an image; None for another format, ValueError for a damaged header."""
    try:
        if data.startswith(PNG_SIGNATURE):
            width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
            return ImageHeader("PNG", width, height, _PNG_CHANNELS[colour] * max(1, depth // 8))
        if data.startswith(JPEG_SIGNATURE):
            return _jpeg_header(data)
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff_header(data)
        if data.startswith(b"BM"):
            small = struct.unpack_from("<I", data, 14)[0] == 12  # BITMAPCOREHEADER
            width, height = struct.unpack_from("<HH" if small else "<ii", data, 18)
            return ImageHeader("BMP", width, abs(height), 4)
        return _webp_header(data) if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else None
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError("truncated or damaged") from error


def _jpeg_header(data: bytes) -> ImageHeader:
    """Find the frame header of a JPEG by its markers (ITU-T T.81, annex B)."""
    at = 2
    while data[at] == 0xFF:
        while data[at] == 0xFF:  # fill bytes
            at += 1
        marker, (length,) = data[at], struct.unpack_from(">H", data, at + 1)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 3)
            return ImageHeader("JPEG", width, height, max(1, channels) * (1 if bits <= 8 else 2))
        if marker == 0xDA or length < 2:
            break
        at += 1 + length
    raise ValueError("it has no frame header")


def _webp_header(data: bytes) -> ImageHeader:
    """Read the first chunk of a WebP (RFC 9649): extended, lossless or lossy."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ValueError("it has an unknown chunk")
    if len(data) < 30:
        raise ValueError("cut off")
    return ImageHeader("WebP", width, height, 4)


def _tiff_header(data: bytes) -> ImageHeader:
    """Read the first directory of a TIFF 6.0 or BigTIFF file."""
    order, big = "<" if data.startswith(b"II") else ">", data[2:4] in (b"+\0", b"\0+")
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    if count > _MOST_TAGS:
        raise ValueError("it has too many tags")
    step, start = (20, start + 8) if big else (12, start + 2)
    found: dict[str, int] = {}
    for at in range(start, start + count * step, step):
        tag, kind, number = struct.unpack_from(order + "HH" + ("Q" if big else "I"), data, at)
        if tag in _TIFF_TAGS:
            form, size = _TIFF_TYPES[kind]
            place = at + (12 if big else 8)
            if number * size > (8 if big else 4):  # bits of several channels: the values are stored elsewhere
                (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
            (found[_TIFF_TAGS[tag]],) = struct.unpack_from(order + form, data, place)
    width, height = found["width"], found["height"]
    if found.get("tile width", 0) * found.get("tile height", 0) > LARGEST_PIXELS:
        width, height = found["tile width"], found["tile height"]  # a decoder allocates a whole tile
    return ImageHeader("TIFF", width, height, max(1, found.get("channels", 1) * found.get("bits", 8) // 8))


# ------------------------------------------------------------------------------------------------ damage


def damage_of(data: bytes, header: ImageHeader, counts: bool = True) -> str | None:
    """What is damaged in a PNG or JPEG: decoders may fill it with grey. With `counts`, pixels of a PNG are counted."""
    if header.format == "PNG":
        return _png_damage(data, header, counts)
    if header.format != "JPEG":
        return None
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):  # no marker may be inside a scan (ITU-T T.81)
        return f"the JPEG ends after {len(data)} bytes, before its end marker"
    return f"the JPEG has more than {_MOST_SCANS} scans" if data.count(b"\xff\xda") > _MOST_SCANS else None


def _png_damage(data: bytes, header: ImageHeader, counts: bool) -> str | None:
    """Check the chunks of a PNG (ISO 15948): length, type, data, CRC, up to IEND; count the bytes of its pixels."""
    at, view, chunks, packer = len(PNG_SIGNATURE), memoryview(data), 0, zlib.decompressobj()
    # each line has a byte for its filter; the seven passes of an interlaced image have lines of their own
    left = header.height * (header.width * header.pixel_bytes + 1) + 8 * (header.width + header.height)
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + length
        chunks += 1
        if end + 4 > len(data):
            break
        if chunks > _MOST_CHUNKS:
            return f"the PNG has more than {_MOST_CHUNKS} chunks"
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"the checksum of PNG chunk {kind.decode('latin-1')} at byte {at} is wrong"
        rest: memoryview | bytes = view[at + 8 : end] if kind == b"IDAT" and counts else b""
        try:
            while len(rest) and left >= 0 and not packer.eof:  # libpng unpacks all, even more than the header says
                left -= len(packer.decompress(rest, MIB))
                rest = packer.unconsumed_tail
        except zlib.error:  # damage is left to the decoder
            packer = zlib.decompressobj()
        if left < 0:
            return f"the PNG has more pixel data than its {header.width}x{header.height} pixels need"
        if kind == b"IEND":
            return None
        at = end + 4
    return f"the PNG ends after {len(data)} bytes, before its end marker"


# ------------------------------------------------------------------------------------------------ arrays


LARGEST_ARRAY = 128 * MIB
"""Bytes of an array: 32-bit depth of 33.5 million pixels, as for an image."""
_LONGEST_HEADER = 4096  # bytes; an array of numbers takes about 120
_MOST_MEMBERS = 1000
_REPAIR = "save it again with numpy.save, with numbers only"


def read_npy(path: str | Path, repair: str = "give a NumPy .npy file") -> npt.NDArray[np.generic]:
    """Read the array of a .npy file."""
    return _array(read_bytes(path, repair, LARGEST_ARRAY + _LONGEST_HEADER), path)


def read_npz(path: str | Path, repair: str = "give a NumPy .npz file") -> dict[str, npt.NDArray[np.generic]]:
    """Read the arrays of a .npz file, by name."""
    with open_regular(path, repair, LARGEST_ARRAY) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                size = sum(one.file_size for one in members)
                if len(members) > _MOST_MEMBERS or size > LARGEST_ARRAY:
                    raise FileError(path, f"it has {len(members)} arrays, {size} bytes unpacked", _REPAIR)
                return {
                    one.filename.removesuffix(".npy"): _array(archive.read(one), path, one.filename) for one in members
                }
        except FileError:
            raise
        except Exception as error:  # any error that zipfile and zlib raise for damaged bytes
            raise FileError(path, f"not a NumPy archive: {error}", _REPAIR) from error


def _array(data: bytes, path: str | Path, field: str | None = None) -> npt.NDArray[np.generic]:
    import numpy as np

    header = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(header)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version}")
        width = 2 if version == (1, 0) else 4
        length = int.from_bytes(data[8 : 8 + width], "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"its header has {length} bytes")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(header)
        if dtype.hasobject:
            raise ValueError("it contains objects, which only pickle can load")
        size, left = math.prod(shape) * dtype.itemsize, len(data) - header.tell()
        if min(shape, default=0) < 0 or size > left:
            raise ValueError(f"the header states {dtype} of shape {shape}, which needs {size} bytes, but {left} follow")
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except Exception as error:  # numpy evaluates the header as a literal, which fails in many ways
        words = " ".join(str(error).split())[:200]
        raise FileError(path, f"not a valid NumPy array: {words}", _REPAIR, field) from error
