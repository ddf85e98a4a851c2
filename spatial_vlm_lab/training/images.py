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
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.reading import check_regular
from spatial_vlm_ros.files.writing import write_json, writing
from spatial_vlm_ros.types import Rgb

PARTS = ("training", "validation", "test")
CALIBRATION = "calibration"
"""Part with validation seeds, rendered like the test part: settled, from the robot's own camera."""
_LARGEST = 1 << 26  # bytes of the JSON of a shard: 240 images
_REPAIR = "remove the shard and render it again with `spatial-vlm train`"
_SPLIT_REPAIR = "write it like models/compact/split.json"


@dataclass(frozen=True)
class Labelled:
    """One object in an image.

    Args:
        attributes: further words that are true of it.
        box_xyxy: (4,) box of its visible pixels, pixels of the image.
        visible: visible share, 0 to 1.
    """

    label: str
    attributes: tuple[str, ...]
    box_xyxy: tuple[float, float, float, float]
    visible: float


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image with its labelled objects.

    Args:
        rgb: (H, W, 3) uint8.
        numbers: (H, W) uint8, instance number of each pixel; 0 = none.
        objects: the objects; their instance numbers are their indices plus one.
    """

    rgb: Rgb
    numbers: npt.NDArray[np.uint8]
    objects: tuple[Labelled, ...]


@dataclass(frozen=True)
class Vocabulary:
    """Words used in training."""

    modifiers: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]
    withheld: frozenset[tuple[str, str]] = frozenset()

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
    path = folder / "vocabulary.json"
    values = read_json(path, _REPAIR, _LARGEST)
    try:
        names = {str(name): tuple(str(label) for label in labels) for name, labels in values["names"].items()}
        withheld = frozenset((str(modifier), str(label)) for modifier, label in values["withheld"])
        return Vocabulary(tuple(str(word) for word in values["modifiers"]), names, withheld)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(path, f"not a vocabulary: {error!r}", "render the images again") from error


def shard_path(folder: Path, part: str, number: int) -> Path:
    """Path of a shard's JSON file; if it exists, the shard is complete."""
    return folder / f"{part}_{number:05d}.json"


def write_shard(folder: Path, part: str, number: int, samples: Sequence[LabelledImage]) -> None:
    """Write a shard."""
    if not samples or len({sample.rgb.shape for sample in samples}) > 1:
        raise InputError("samples of a shard", str(len(samples)), "images of one size", "render them with one size")
    path = shard_path(folder, part, number)
    for suffix, arrays in ((".rgb.npy", [s.rgb for s in samples]), (".numbers.npy", [s.numbers for s in samples])):
        with writing(path.with_suffix(suffix), force=True) as file:
            np.save(file, np.stack(arrays), allow_pickle=False)
    write_json(path, [[asdict(one) for one in sample.objects] for sample in samples], force=True)


class Samples:
    """The images of one part of a folder, read on access.

    Args:
        part: "training", "validation", "calibration" or "test".
    """

    def __init__(self, folder: Path, part: str) -> None:
        paths = sorted(folder.glob(f"{part}_?????.json"))
        if not paths:
            raise FileError(folder, f"no {part} images", "render them first: `spatial-vlm train --render-only`")
        self._shards = [_Shard(path) for path in paths]
        self._ends = np.cumsum([len(shard.objects) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> LabelledImage:
        if not 0 <= number < len(self):
            raise IndexError(number)
        shard = int(np.searchsorted(self._ends, number, side="right"))
        return self._shards[shard].sample(number - (int(self._ends[shard - 1]) if shard else 0))


class _Shard:
    """One shard; its arrays stay on disk until they are accessed."""

    def __init__(self, path: Path) -> None:
        values = read_json(path, _REPAIR, _LARGEST)
        try:
            self.objects = [tuple(_labelled(one) for one in objects) for objects in values]
            for suffix in (".rgb.npy", ".numbers.npy"):
                check_regular(path.with_suffix(suffix), _REPAIR)
            self._rgb = np.load(path.with_suffix(".rgb.npy"), mmap_mode="r", allow_pickle=False)
            self._numbers = np.load(path.with_suffix(".numbers.npy"), mmap_mode="r", allow_pickle=False)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise FileError(path, f"{type(error).__name__}: {error}", _REPAIR) from error
        n, fits = len(self.objects), self._rgb.dtype == self._numbers.dtype == np.uint8
        fits = fits and self._rgb.ndim == 4 and self._rgb.shape[:3] == self._numbers.shape
        if not fits or len(self._rgb) != n or n < 1:
            got = f"{self._rgb.shape} and {self._numbers.shape} for {n} images"
            raise FileError(path, got, _REPAIR)

    def sample(self, number: int) -> LabelledImage:
        return LabelledImage(np.array(self._rgb[number]), np.array(self._numbers[number]), self.objects[number])


def _labelled(values: Mapping[str, Any]) -> Labelled:
    x0, y0, x1, y1 = (float(v) for v in values["box_xyxy"])
    attributes = tuple(str(word) for word in values["attributes"])
    return Labelled(str(values["label"]), attributes, (x0, y0, x1, y1), float(values["visible"]))


# ------------------------------------------------------------------------------------------------ worlds


@dataclass(frozen=True)
class SplitPart:
    """Worlds for one purpose.

    Args:
        views: images per world.
    """

    first: int
    last: int
    views: int

    @property
    def worlds(self) -> int:
        """Number of worlds."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class WorldSplit:
    """All parts of the split."""

    training: SplitPart
    validation: SplitPart
    test: SplitPart
    withheld: frozenset[tuple[str, str]]


def read_split(path: Path) -> WorldSplit:
    """Read a split such as models/compact/split.json."""
    try:
        values = read_json(path, _SPLIT_REPAIR)
        parts = {name: _part(values[name]) for name in PARTS}
        withheld = frozenset((str(colour), str(kind)) for colour, kind in values["held_out_pairs"])
    except FileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(path, f"{type(error).__name__}: {error}", _SPLIT_REPAIR) from error
    ranges = sorted((part.first, part.last) for part in parts.values())
    if any(last >= first for (_, last), (first, _) in itertools.pairwise(ranges)):
        raise FileError(path, "parts that share seeds", "give each part its own seeds")
    return WorldSplit(**parts, withheld=withheld)


def _part(values: Any) -> SplitPart:
    first, last = (int(seed) for seed in values["seeds"])
    views = int(values["views"])
    if not (0 <= first <= last and views > 0):
        raise ValueError(f"seeds {first} to {last}, {views} views")
    return SplitPart(first, last, views)
