# SPDX-License-Identifier: Apache-2.0
"""RefSpatial-Bench: "point at what these words mean", with the right pixels as a mask.

Knows the layout of the published raw data and the published score; knows nothing of models. The images are colour
alone: without depth the geometric resolver cannot answer them, so this reader serves models that point.

    Location/question.json    [{"id", "object", "prompt", "suffix", "rgb_path", "mask_path", "category", "step"}, …]
    Location/image/, mask/    images, named relative to Location/; a mask is an image, not 0 = right
    Placement/, Unseen/       the same; Unseen holds samples of both kinds that its training data does not cover

Source: Zhou et al. (2025), RoboRefer (data under Apache-2.0).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec
import numpy as np

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.frame_folder import read_rgb
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.types import Mask
from spatial_vlm_ros.types.proportions import Interval

Task = Literal["Location", "Placement", "Unseen"]
Point = tuple[float, float]

_LARGEST_LISTING = 1 << 26  # bytes
_REPAIR = "download the raw data of BAAI/RefSpatial-Bench: its folders Location, Placement and Unseen"
_RESAMPLES = 2000
_SEED = 20250604


@dataclass(frozen=True)
class PointItem:
    """One question.

    Args:
        id: number within its task.
        image: the picture's file.
        mask: the mask's file.
        object: the words that name what is meant.
        prompt: the whole question.
        suffix: how the authors ask for the form of the answer.
        step: number of reasoning steps that the authors count.
    """

    id: int
    image: Path
    mask: Path
    object: str
    prompt: str
    suffix: str
    step: int

    def read_mask(self) -> Mask:
        """(H, W) bool: the right pixels.

        Raises:
            FileError: no whole image, or not of the picture's size.
        """
        mask: Mask = np.any(read_rgb(self.mask) > 0, axis=2)
        size = read_rgb(self.image).shape[:2]
        if mask.shape != size:
            raise FileError(self.mask, f"{mask.shape} pixels, the picture has {size}", _REPAIR)
        return mask


@dataclass(frozen=True)
class PointScore:
    """Score as published: the mean over the questions of the share of points that lie in the mask.

    Args:
        n: questions.
        mean: of them, 0 to 1, with a 95 % percentile interval over resampled questions (a share of points is no yes
            or no, so that Wilson's interval does not fit).
        unanswered: questions without a point; they count 0.
        by_step: number of steps → (questions, mean).
    """

    n: int
    mean: Interval
    unanswered: int
    by_step: Mapping[int, tuple[int, float]]


class _RefSpatialEntry(msgspec.Struct):
    id: int
    object: str
    prompt: str
    suffix: str
    rgb_path: str
    mask_path: str
    step: int


def read_refspatial(folder: str | Path, task: Task) -> tuple[PointItem, ...]:
    """The questions of one task, in the order of its file.

    Args:
        folder: holds Location, Placement and Unseen.
        task: one of them.

    Raises:
        FileError: the data is not there, or not of the published form; names the entry.
    """
    root = Path(folder) / task
    listing = root / "question.json"
    try:
        entries = msgspec.json.decode(read_bytes(listing, _REPAIR, _LARGEST_LISTING), type=list[_RefSpatialEntry])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(listing, str(error), _REPAIR) from error
    seen: set[int] = set()
    items = []
    for n, entry in enumerate(entries):
        if entry.id in seen:
            raise FileError(listing, f"the id {entry.id} comes twice", _REPAIR, f"$[{n}].id")
        seen.add(entry.id)
        image, mask = (_inside(root, listing, n, path) for path in (entry.rgb_path, entry.mask_path))
        items.append(PointItem(entry.id, image, mask, entry.object, entry.prompt, entry.suffix, entry.step))
    return tuple(items)


def _inside(root: Path, listing: Path, n: int, name: str) -> Path:
    """A file below the task's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise FileError(listing, f"{name!r} leaves the folder", _REPAIR, f"$[{n}]")
    if not (root / path).is_file():
        raise FileError(root / path, "there is no such picture", _REPAIR)
    return root / path


def share_inside(points: Sequence[Point], mask: Mask) -> float:
    """Share of points that lie in a mask; those outside the image do not, and without a point it is 0.

    Args:
        points: (x, y) as fractions of the picture's width and height, 0 to 1.
        mask: (H, W) bool.

    Raises:
        InputError: a coordinate is not finite.
    """
    if not len(points):
        return 0.0
    height, width = mask.shape
    xy = np.asarray(points, np.float64).reshape(len(points), 2)
    if not np.isfinite(xy).all():
        raise InputError("points", str(points), "finite fractions of the picture's size", "leave such a point out")
    column, row = np.floor(xy * (width, height)).clip(-1, max(width, height)).astype(int).T
    there = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return float(mask[row[there], column[there]].sum()) / len(points)


def score_refspatial(items: Sequence[PointItem], points: Sequence[Sequence[Point]]) -> PointScore:
    """Score the points that were given.

    Args:
        items: of one task.
        points: for each item the points, (x, y) as fractions of the picture's size; empty = no answer.

    Raises:
        InputError: not one answer for each item, no item, or a coordinate that is not finite.
        FileError: a mask cannot be read.
    """
    if len(items) != len(points) or not items:
        got = f"{len(points)} answers to {len(items)} questions"
        raise InputError("points", got, "one for each", "give [] for none")
    shares = np.array([share_inside(given, item.read_mask()) for item, given in zip(items, points, strict=True)])
    drawn = np.random.default_rng(_SEED).choice(shares, (_RESAMPLES, len(shares))).mean(axis=1)
    low, high = (round(float(v), 6) for v in np.percentile(drawn, (2.5, 97.5)))
    steps: dict[int, list[float]] = defaultdict(list)
    for item, share in zip(items, shares, strict=True):
        steps[item.step].append(float(share))
    return PointScore(
        n=len(items),
        mean=Interval(round(float(shares.mean()), 6), low, high),
        unanswered=sum(not len(given) for given in points),
        by_step={step: (len(s), round(sum(s) / len(s), 6)) for step, s in sorted(steps.items())},
    )
