# SPDX-License-Identifier: Apache-2.0
"""Pad images to a square with the image in the middle, as LLaVA-1.5 does (its llava/mm_utils.py:152)."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.types import Rgb

CLIP_MEAN = (122, 116, 104)
"""Colour of the padding: mean of CLIP's training images (haotian-liu/LLaVA llava/conversation.py:114)."""


def padding(size: tuple[int, int]) -> tuple[int, int]:
    """Pixels added left of and above an image to pad it to a square: half of the missing pixels, rounded down.

    Args:
        size: (width, height), pixels.
    """
    side = max(size)
    return (side - size[0]) // 2, (side - size[1]) // 2


def padded(rgb: Rgb, colour: tuple[int, int, int] = CLIP_MEAN) -> Rgb:
    """Pad an image to a square of one colour, with the image in the middle; a square image stays unchanged.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (S, S, 3) uint8 with S = max(H, W).
    """
    height, width = rgb.shape[:2]
    if height == width:
        return rgb
    left, top = padding((width, height))
    square = np.full((max(height, width),) * 2 + (3,), colour, np.uint8)
    square[top : top + height, left : left + width] = rgb
    return square
