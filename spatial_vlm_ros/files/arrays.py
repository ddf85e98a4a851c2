# SPDX-License-Identifier: Apache-2.0
"""Read NumPy's array files: never pickles, and with a size check before anything is loaded."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import MIB, open_regular, read_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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
