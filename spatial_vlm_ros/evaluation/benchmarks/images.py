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
from spatial_vlm_ros.streams.codecs import decode_image
from spatial_vlm_ros.types import Rgb

_REPAIR = "download the file again"


@dataclass(frozen=True)
class ImageFile:
    """An image with a file of its own; see BenchmarkImage."""

    path: Path

    @property
    def name(self) -> str:
        """The file."""
        return str(self.path)

    def read(self) -> Rgb:
        """(H, W, 3) uint8, RGB.

        Raises:
            FileError: missing, damaged or no image.
        """
        return read_rgb(self.path)


@dataclass(frozen=True)
class EncodedImage:
    """An image whose bytes stand inside another file; see BenchmarkImage.

    Args:
        file: that holds it.
        field: its place in the file, such as "$[3].image".
        data: PNG or JPEG bytes, or a JSON text with them in base64, which stays where it is in the file's bytes.
    """

    file: Path
    field: str
    data: bytes | msgspec.Raw

    @property
    def name(self) -> str:
        """File and place."""
        return f"{self.file} at {self.field}"

    def read(self) -> Rgb:
        """(H, W, 3) uint8, RGB.

        Raises:
            FileError: no base64 text, damaged or no image.
        """
        try:
            pixels = decode_image(self.encoded())
        except InputError as error:
            raise FileError(self.file, f"not a whole image: {error.got}", _REPAIR, self.field) from error
        if pixels.dtype != np.uint8:
            raise FileError(self.file, f"an image of {pixels.dtype}, not of 8 bits", _REPAIR, self.field)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        return np.ascontiguousarray(pixels[..., 2::-1], np.uint8)

    def encoded(self) -> bytes:
        """The image as a file has it.

        Raises:
            FileError: no base64 text.
        """
        try:
            return self.data if isinstance(self.data, bytes) else _of_base64(self.data)
        except (binascii.Error, ValueError, msgspec.DecodeError) as error:
            raise FileError(self.file, f"no base64 text: {error}", _REPAIR, self.field) from error


def _of_base64(text: msgspec.Raw) -> bytes:
    """Bytes of a JSON text; raises ValueError or DecodeError."""
    return base64.b64decode(msgspec.json.decode(text, type=str), validate=True)


def image_inside(folder: Path, name: str) -> ImageFile:
    """An image below a folder.

    Args:
        folder: that it may not leave.
        name: relative to it, with "/".

    Raises:
        FileError: the name leaves the folder, also through a symbolic link, or no regular file is there.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
        raise FileError(folder, f"the name {name!r} leaves the folder", "download the listing again")
    file = folder / path
    if not file.is_file():
        raise FileError(file, "the image does not exist", "complete the download")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise FileError(file, "it is a symbolic link that leaves the folder", "copy the file into the folder")
    return ImageFile(file)
