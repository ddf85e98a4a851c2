# SPDX-License-Identifier: Apache-2.0
"""Images of benchmark items: files of their own, or encoded inside a JSON or Parquet file."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.frame_folder import read_rgb
from spatial_vlm_ros.files.reading import linked_in_cache, open_regular
from spatial_vlm_ros.streams.codecs import decode_image
from spatial_vlm_ros.types import Rgb

_REPAIR = "download the file again"


@dataclass(frozen=True)
class ImageFile:
    """An image in its own file; see BenchmarkImage."""

    path: Path

    @property
    def name(self) -> str:
        """Path of the file."""
        return str(self.path)

    def read(self) -> Rgb:
        """(H, W, 3) uint8, RGB."""
        return read_rgb(self.path)


@dataclass(frozen=True)
class JsonImage:
    """An image as base64 text in a JSON file; see BenchmarkImage. It is loaded only when read.

    Args:
        field: its location in the file, such as "$[3].image".
        start: first byte of the JSON text, including its quotes.
        size: size of the JSON text, bytes.
    """

    file: Path
    field: str
    start: int
    size: int

    @property
    def name(self) -> str:
        """File and location in it."""
        return f"{self.file} at {self.field}"

    def read(self) -> Rgb:
        """(H, W, 3) uint8, RGB."""
        return decoded(self.file, self.field, self.encoded())

    def encoded(self) -> bytes:
        """The encoded image file."""
        try:
            with open_regular(self.file, _REPAIR) as file:
                file.seek(self.start)
                text = msgspec.json.decode(file.read(self.size), type=str)
            return base64.b64decode(text, validate=True)
        except OSError as error:
            raise FileError(self.file, error.strerror or str(error), _REPAIR, self.field) from error
        except (binascii.Error, ValueError, msgspec.DecodeError) as error:
            raise FileError(self.file, f"not base64 text: {error}", _REPAIR, self.field) from error


def decoded(file: Path, field: str, data: bytes) -> Rgb:
    """Decode an image from inside a file.

    Args:
        data: PNG, JPEG or another image format.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    try:
        pixels = decode_image(data)
    except InputError as error:
        raise FileError(file, f"not a whole image: {error.got}", _REPAIR, field) from error
    if pixels.dtype != np.uint8:
        raise FileError(file, f"an image of {pixels.dtype}, not of 8 bits", _REPAIR, field)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., 2::-1], np.uint8)


def image_inside(folder: Path, name: str) -> ImageFile:
    """Find an image below a folder.

    Args:
        folder: the folder, which the path must not leave.
        name: relative to it, with "/".
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
        raise FileError(folder, f"the name {name!r} leaves the folder", "download the listing again")
    file = folder / path
    if not file.is_file():
        raise FileError(file, "the image does not exist", "complete the download")
    if not file.resolve().is_relative_to(folder.resolve()) and not linked_in_cache(folder, file):
        raise FileError(file, "it is a symbolic link out of the folder", "copy the file into the folder")
    return ImageFile(file)
