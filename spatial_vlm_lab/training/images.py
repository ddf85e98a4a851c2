# SPDX-License-Identifier: Apache-2.0
"""Labelled images in a folder: NumPy arrays without pickle, and JSON; and which worlds they are of.

A shard is complete or does not exist.

DIR/vocabulary.json                 {"modifiers": [...], "names": {"tin": ["can"], ...}, "withheld": [...]}
DIR/training_00003.rgb.npy          (N, H, W, 3) uint8
DIR/training_00003.numbers.npy      (N, H, W) uint8, instance numbers, 0 = none
DIR/training_00003.json             N lists of objects, instance 1 first; written last
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import LARGEST_JSON
from spatial_vlm_ros.files.reading import check_regular, read_bytes
from spatial_vlm_ros.files.writing import write_json, writing
from spatial_vlm_ros.recording.frame_folder import decode_json
from spatial_vlm_ros.types import Rgb

_T = TypeVar("_T")
BoxXyxy = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels."""
CALIBRATION = "calibration"
"""Part with validation seeds, rendered like the test part: settled, from the robot's own camera."""
_LARGEST = 1 << 26  # bytes of the JSON of a shard: 240 images
_ARRAYS = (".rgb.npy", ".numbers.npy")
_REPAIR = "remove the shard and render it again with `spatial-vlm train`"


@dataclass(frozen=True)
class LabelledObject:
    """An object in an image."""

    label: str
    attributes: tuple[str, ...]  # further words that are true for it, such as its colour
    box_xyxy: BoxXyxy  # in images of the simulator that of its visible pixels
    visible: float = 1.0  # share, 0 to 1

    @property
    def name(self) -> str:
        """Attributes and label: "red cup"."""
        return " ".join((*self.attributes, self.label))


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image with its labelled objects."""

    rgb: Rgb
    numbers: npt.NDArray[np.uint8]  # (H, W), instance number of each pixel; 0 = none
    objects: tuple[LabelledObject, ...]  # their instance numbers are their indices plus one


@dataclass(frozen=True)
class Vocabulary:
    """Words used in training."""

    modifiers: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]
    withheld: frozenset[tuple[str, str]]

    @property
    def words(self) -> tuple[str, ...]:
        """All words, without duplicates, in a fixed order."""
        return tuple(sorted({*self.modifiers, *self.names}))


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Write the vocabulary into a folder, which is created if missing."""
    values = {**asdict(vocabulary), "withheld": sorted(vocabulary.withheld)}
    write_json(folder / "vocabulary.json", values, force=True)


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read the vocabulary of a folder."""
    return read_typed(folder / "vocabulary.json", Vocabulary, "render the images again")


def read_typed(path: Path, form: type[_T], repair: str, largest: int = _LARGEST) -> _T:
    """Read a JSON file of dataclasses, of at most `largest` bytes."""
    return decode_json(read_bytes(path, repair, largest), form, path, repair=repair)


def shard_path(folder: Path, part: str, number: int) -> Path:
    """Path of a shard's JSON file; if it exists, the shard is complete."""
    return folder / f"{part}_{number:05d}.json"


def write_shard(folder: Path, part: str, number: int, samples: Sequence[LabelledImage]) -> None:
    """Write a shard."""
    if not samples or len({sample.rgb.shape for sample in samples}) > 1:
        raise InputError("samples of a shard", str(len(samples)), "images of one size", "render them with one size")
    path = shard_path(folder, part, number)
    for suffix, arrays in zip(_ARRAYS, ([s.rgb for s in samples], [s.numbers for s in samples]), strict=True):
        with writing(path.with_suffix(suffix), force=True) as file:
            np.save(file, np.stack(arrays), allow_pickle=False)
    write_json(path, [[asdict(one) for one in sample.objects] for sample in samples], force=True)


_Shard = tuple[list[tuple[LabelledObject, ...]], Rgb, npt.NDArray[np.uint8]]


class Samples:
    """The images of one part of a folder; the arrays stay on disk until they are accessed."""

    def __init__(self, folder: Path, part: str) -> None:
        paths = sorted(folder.glob(f"{part}_?????.json"))
        if not paths:
            raise FileError(folder, f"no {part} images", "render them first: `spatial-vlm train --render-only`")
        self._places: list[tuple[_Shard, int]] = []
        for path in paths:
            objects = read_typed(path, list[tuple[LabelledObject, ...]], _REPAIR)
            try:
                for file in (path.with_suffix(suffix) for suffix in _ARRAYS):
                    check_regular(file, _REPAIR)
                rgb, numbers = (np.load(path.with_suffix(s), mmap_mode="r", allow_pickle=False) for s in _ARRAYS)
            except (ValueError, OSError) as error:
                raise FileError(path, f"{type(error).__name__}: {error}", _REPAIR) from error
            fits = rgb.dtype == numbers.dtype == np.uint8 and rgb.ndim == 4 and rgb.shape[:3] == numbers.shape
            if not fits or not 1 <= len(rgb) == len(objects):
                raise FileError(path, f"{rgb.shape} and {numbers.shape} for {len(objects)} images", _REPAIR)
            self._places += [((objects, rgb, numbers), row) for row in range(len(objects))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> LabelledImage:
        (objects, rgb, numbers), row = self._places[number]
        return LabelledImage(np.array(rgb[row]), np.array(numbers[row]), objects[row])


# ------------------------------------------------------------------------------------------------ worlds


@dataclass(frozen=True)
class SplitPart:
    """Worlds for one purpose."""

    seeds: tuple[int, int]
    views: int

    @property
    def first(self) -> int:
        """Seed of the first world."""
        return self.seeds[0]

    @property
    def worlds(self) -> int:
        """Number of worlds."""
        return self.seeds[1] - self.seeds[0] + 1


@dataclass(frozen=True)
class WorldSplit:
    """All parts of the split, and the pairs of colour and kind that only the test part has."""

    training: SplitPart
    validation: SplitPart
    test: SplitPart
    held_out_pairs: frozenset[tuple[str, str]]

    def part(self, name: str) -> SplitPart:
        """The worlds of a part of the images; the calibration part has those of the validation."""
        return {"training": self.training, "test": self.test}.get(name, self.validation)


def read_split(path: Path) -> WorldSplit:
    """Read a split such as models/compact/split.json."""
    repair = "write it like models/compact/split.json"
    split = read_typed(path, WorldSplit, repair, LARGEST_JSON)
    parts = sorted((split.training, split.validation, split.test), key=lambda part: part.seeds)
    for part in parts:
        if part.first < 0 or part.worlds < 1 or part.views < 1:
            raise FileError(path, f"seeds {part.first} to {part.seeds[1]}, {part.views} views", repair)
    if any(before.seeds[1] >= after.first for before, after in itertools.pairwise(parts)):
        raise FileError(path, "parts that share seeds", "give each part its own seeds")
    return split
