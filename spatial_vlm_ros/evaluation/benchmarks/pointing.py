# SPDX-License-Identifier: Apache-2.0
"""Truths and credits for points in RefSpatial-Bench and Where2Place.

Both have the same score: the mean over the questions of the share of marked pixels inside the mask. The pixels that an
answer marks:

1. A reply with fractions in round brackets, which is the form that the published prompts ask for, is read by the
   published reader, side effects included (`written_points`).
2. Any other reply (JSON, tags, pixels, thousandths) is read as the model's family is known to write; its points come
   with the answer. The published readers read such a reply as pixels, or not at all.
3. A reply that the package could not read is left to the published reader.

RoboRefer's scorer omits questions whose reply it fails to read; here they count 0, like a missing answer.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.benchmarks.choice_replies import after_thinking
from spatial_vlm_ros.evaluation.benchmarks.masks import MaskTruth
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkAnswer, BenchmarkImage
from spatial_vlm_ros.evaluation.benchmarks.written_points import robopoint_cells, roborefer_cells, share_in_mask

_FRACTION = r"(?:0(?:\.\d*)?|1(?:\.0*)?)"
_FRACTIONS = re.compile(rf"\({_FRACTION}(?:,\s*{_FRACTION})+\)")


@dataclass(frozen=True)
class RefSpatialTruth:
    """A mask of RefSpatial-Bench: all its pixels that are not 0 count 1.

    Source: Zhoues/RoboRefer d97a995, Evaluation/summarize_acc.py:66-98.

    Args:
        image: image of the question; the mask must have its size.
    """

    mask: BenchmarkImage
    image: BenchmarkImage

    def credit(self, answer: BenchmarkAnswer) -> float:
        """Share of marked pixels in the mask."""
        height, width = self.image.read().shape[:2]
        truth = MaskTruth(self.mask, (width, height))
        if not as_published(answer):
            return truth.credit(answer)
        cells = roborefer_cells(after_thinking(answer.text), width, height)
        return share_in_mask(cells or (), truth.read().astype(np.float64))

    def described(self) -> str:
        """What identifies the truth: the mask's name."""
        return self.mask.name


@dataclass(frozen=True)
class Where2PlaceTruth:
    """A mask of Where2Place: a pixel counts by its value, 255 as 1.

    The masks are JPEG files, so that pixels at the border of a region have values between 0 and 255, and count in part.
    Written fractions are those of an image of 640 x 480 pixels, whatever the mask's size.

    Source: wentaoyuan/RoboPoint adbee8d, robopoint/eval/summarize_vqa.py:52-69.

    Args:
        image: image of the question; the mask must have its size.
    """

    mask: BenchmarkImage
    image: BenchmarkImage

    def credit(self, answer: BenchmarkAnswer) -> float:
        """Mean value of the marked pixels."""
        weights = self.mask.read()[..., 0] / 255.0
        height, width = self.image.read().shape[:2]
        if weights.shape != (height, width):
            got = f"the mask has {weights.shape[1]}x{weights.shape[0]} pixels, the image {width}x{height}"
            raise FileError(self.mask.name, got, "download both again")
        if as_published(answer):
            return share_in_mask(robopoint_cells(after_thinking(answer.text)) or (), weights)
        pixels = [(math.floor(x * width), math.floor(y * height)) for x, y in answer.points]
        return share_in_mask(tuple((x, y, x + 1, y + 1) for x, y in pixels), weights)

    def described(self) -> str:
        """What identifies the truth: the mask's name."""
        return self.mask.name


def as_published(answer: BenchmarkAnswer) -> bool:
    """Whether to use the published reader: the answer has fractions in round brackets, or nothing else was read."""
    return not answer.points or _FRACTIONS.search(after_thinking(answer.text)) is not None
