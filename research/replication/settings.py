# SPDX-License-Identifier: Apache-2.0
"""Sizes of the models and lengths of the stages."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InputError


@dataclass(frozen=True)
class Sizes:
    """Of the models.

    Args:
        image: side of the square images, pixels.
        patch: side of a patch, pixels; divides the image.
        vision_width: of the encoder, in fours.
        vision_layers: of the encoder; the features of the cells "multi" come from its second half.
        vision_heads: of the encoder.
        width: of the language model.
        layers: of the language model.
        heads: of the language model; width / heads is a multiple of four.
        wide: of the feed-forward part of the language model.
        text_layers: of the captions' encoder and decoders that encoders are trained with.

    Raises:
        InputError: sizes that make no model.
    """

    image: int = 144
    patch: int = 24
    vision_width: int = 64
    vision_layers: int = 4
    vision_heads: int = 4
    width: int = 64
    layers: int = 4
    heads: int = 4
    wide: int = 160
    text_layers: int = 2

    def __post_init__(self) -> None:
        divides = (
            (self.image, self.patch), (self.vision_width, 4 * self.vision_heads), (self.width, 4 * self.heads)
        )  # fmt: skip
        if min(asdict(self).values()) < 1 or self.vision_layers < 2 or any(a % b for a, b in divides):
            expected = "numbers above zero, two vision layers, patch | picture, 4 heads | widths"
            raise InputError("sizes", str(self), expected, "correct the sizes")

    @property
    def side(self) -> int:
        """Rows, and columns, of patches."""
        return self.image // self.patch

    @property
    def several(self) -> tuple[int, ...]:
        """Layers of the cells "multi": at 12, 16, 20 and 24 of 24, as published, in proportion."""
        return tuple(sorted({round(self.vision_layers * k / 24) for k in (12, 16, 20, 24)} - {0}))


@dataclass(frozen=True)
class Stage:
    """One stage of training: AdamW (0.9, 0.98), linear warm-up over a twentieth of the steps, then a cosine to 0.

    Args:
        steps: of the optimiser.
        batch: images or texts a step.
        rate: highest learning rate.
        decay: of weights.

    Raises:
        InputError: fewer than one step or image, or a rate that is not above zero.
    """

    steps: int
    batch: int
    rate: float
    decay: float = 0.0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not self.rate > 0 or self.decay < 0:
            raise InputError("stage", str(self), "steps, batch and rate above zero", "correct the stage")


@dataclass(frozen=True)
class ReplicationSettings:
    """Of all runs.

    Args:
        sizes: of the models.
        encoder: training of the vision encoder under its own objective.
        language: training of the language model on text.
        projector: training of the projector alone.
        tuning: training of projector and language model together.
        pin: training of a PIN on a frozen model.
        turns: most questions about a training image.
        depth_share: of training images that are tabletops.
        told_share: of captions that tell a relation between two objects.
        described_share: of images in tuning on which all objects are told with their squares before the questions.
        loud: factor on image tokens in the cells "loud".
        test: groups of questions (absolute, relative, depth) to report on.
        validation: the same, to tune on.
        permutations: seeds of permutations of image tokens.
        every: steps between checkpoints.
        pool: scenes that a stage draws its batches from.

    Raises:
        InputError: shares outside 0 to 1, counts below what makes a test.
    """

    sizes: Sizes = field(default_factory=Sizes)
    encoder: Stage = Stage(1600, 64, 1e-3, 0.05)
    language: Stage = Stage(1000, 32, 3e-3, 0.05)
    projector: Stage = Stage(100, 32, 2e-3)
    tuning: Stage = Stage(3200, 32, 3e-3)
    pin: Stage = Stage(600, 32, 3e-3)
    turns: int = 6
    depth_share: float = 0.25
    told_share: float = 0.5
    described_share: float = 0.5
    loud: float = 30.0
    test: tuple[int, int, int] = (60, 60, 20)
    validation: tuple[int, int, int] = (36, 36, 12)
    permutations: int = 3
    every: int = 200
    pool: int = 8_000

    def __post_init__(self) -> None:
        shares = (self.depth_share, self.told_share, self.described_share)
        counts = (self.turns, self.every, self.pool, self.permutations, *self.test, *self.validation)
        if not all(0 <= share <= 1 for share in shares) or min(counts) < 1 or not self.loud > 0:
            expected = "shares of 0 to 1, counts of 1 or more, a factor above 0"
            raise InputError("settings", f"{shares}, {counts}, {self.loud}", expected, "correct them")

    def as_dict(self) -> dict[str, Any]:
        """As JSON has them."""
        return asdict(self)


FULL = ReplicationSettings()
"""What results are reported of."""
SMALL = ReplicationSettings(
    Sizes(48, 12, 32, 3, 2, 48, 2, 2, 64, 1),
    *(Stage(3, 4, 1e-3), Stage(3, 4, 1e-3), Stage(2, 4, 1e-3), Stage(4, 4, 1e-3), Stage(2, 4, 1e-3)),
    test=(3, 3, 1),
    validation=(3, 3, 1),
    permutations=1,
    every=2,
    pool=16,
)
"""A sample that shows that all runs, and nothing about remedies."""
