# SPDX-License-Identifier: Apache-2.0
"""The answerers of seeing.py as backends of one's own: `stub_backends:honest`, ..."""

from collections.abc import Sequence

import numpy as np
from seeing import Deaf, Seer

from spatial_vlm_ros.types import Rgb


def honest() -> Seer:
    return Seer()


def words_alone() -> Deaf:
    return Deaf()


class Grounds:
    def ground(self, rgb: Rgb, _phrases: object) -> None:
        raise AssertionError(f"it is not asked to ground {rgb.shape}")


class Breaks:
    def answer(self, rgb: Rgb, _question: str, _choices: Sequence[str]) -> str:
        raise RuntimeError(f"CUDA out of memory at {rgb.shape}")


class WithParts(Seer):
    """Answers from the image, and has parts that are none of a model of ours."""

    parts = ("eye", "brain")


class GroundsAndAnswers(Grounds):
    """A grounder that answers from the words alone, or from the image where it is told to."""

    def __init__(self, honest: str = "no") -> None:
        self.inner = Seer() if honest == "yes" else Deaf()

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        assert rgb.dtype == np.uint8
        return self.inner.answer(rgb, question, choices)


class GroundsAndBreaks(Grounds, Breaks):
    """Loads, and fails when it is asked."""
