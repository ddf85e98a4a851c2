# SPDX-License-Identifier: Apache-2.0
"""CLOC: an image encoder that embeds a region, given by its box or its caption (arXiv 2410.02746, ICML 2025).

    L = L_CLIP + w (L_CLOC + L_grounding)

The prompter puts a box (two corners, sines and cosines) or a text embedding before the tokens of the encoder, passes
them all through one transformer layer with one head, averages them and maps the mean to the size of the text embedding.
L_CLOC contrasts the regions of a batch with their captions, in both directions; L_grounding is the squared error of the
box that the head reads from the prompter's output for the caption. Small-scale use: freeze a published encoder and text
encoder, train only prompter and head.

No code or weights were published. Where the paper gives no detail, these choices are ours: a corner is a token, the
averaged tokens include the prompt, the layer normalises first, is four times as wide inside and uses GELU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_ros.errors import InputError, ShapeError

BASE = 10_000.0
CONFLICT = 0.9
"""Cosine of two captions above which neither is a negative of the other."""


@dataclass(frozen=True)
class ClocSizes:
    """Sizes of the prompter.

    Args:
        width: W, size of the encoder's tokens, a multiple of four.
    """

    width: int
    text: int

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 4 or self.text < 1:
            got = f"width {self.width}, text {self.text}"
            raise InputError(
                "sizes of the prompter",
                got,
                "a width in multiples of 4 and a text size above 0",
                "use the encoder's sizes",
            )


def corner_encoding(boxes: Tensor, width: int) -> Tensor:
    """Encode corners as sines and cosines: half of the numbers per axis, at W/4 frequencies 2 pi / BASE^(k / (W/4)).

    Args:
        boxes: (..., 4) x1, y1, x2, y2, 0 to 1 of the image.

    Returns:
        (..., 2, W): the upper left corner, then the lower right one; sines of x, its cosines, then those of y.
    """
    count = width // 4
    steps = torch.arange(count, dtype=boxes.dtype, device=boxes.device)
    angles = boxes.unflatten(-1, (2, 2))[..., None] * (2 * math.pi * BASE ** (-steps / count))
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class Prompter(nn.Module):
    """Embeds a region of an image, given by a box or a caption."""

    def __init__(self, sizes: ClocSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.read_text = nn.Linear(sizes.text, sizes.width)
        self.layer = nn.TransformerEncoderLayer(
            sizes.width, 1, 4 * sizes.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.project = nn.Linear(sizes.width, sizes.text)

    def of_boxes(self, tokens: Tensor, boxes: Tensor) -> Tensor:
        """Embed regions given by boxes: (B, M, T).

        Args:
            tokens: (B, N, W) tokens of the encoder, before its pooling.
            boxes: (B, M, 4) x1, y1, x2, y2, 0 to 1.
        """
        self._check(tokens, boxes, 4)
        return self._asked(tokens, corner_encoding(boxes.to(tokens.dtype), self.sizes.width))

    def of_texts(self, tokens: Tensor, texts: Tensor) -> Tensor:
        """Embed regions given by captions; tokens as in `of_boxes`, texts (B, M, T), returns (B, M, T)."""
        self._check(tokens, texts, self.sizes.text)
        return self._asked(tokens, self.read_text(texts)[..., None, :])

    def _asked(self, tokens: Tensor, prompts: Tensor) -> Tensor:
        """(B, N, W) and (B, M, P, W) → (B, M, T)."""
        asked = prompts.shape[1]
        rows = torch.cat([prompts, tokens[:, None].expand(-1, asked, -1, -1)], dim=2)
        return self.project(self.layer(rows.flatten(0, 1)).mean(dim=1)).unflatten(0, (-1, asked))

    def _check(self, tokens: Tensor, prompts: Tensor, numbers: int) -> None:
        width = self.sizes.width
        fits = tokens.ndim == prompts.ndim == 3 and len(tokens) == len(prompts) and prompts.shape[1] > 0
        if not fits or tokens.shape[-1] != width or prompts.shape[-1] != numbers:
            received = f"{tuple(tokens.shape)}, {tuple(prompts.shape)}"
            raise ShapeError("tokens and prompts", f"(B, N, {width}), (B, M, {numbers})", received)


class BoxHead(nn.Module):
    """Two layers with GELU from the prompter's embedding (..., T) to a box (..., 4) in units of the image, 0 to 1."""

    def __init__(self, sizes: ClocSizes) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(sizes.text, sizes.text), nn.GELU(), nn.Linear(sizes.text, 4))

    def forward(self, regions: Tensor) -> Tensor:
        """(..., T) → (..., 4)."""
        return self.layers(regions)


def region_text_loss(regions: Tensor, texts: Tensor, temperature: Tensor | float, conflict: float = CONFLICT) -> Tensor:
    """L_CLOC: mean of the cross-entropies region → text and text → region over all regions of a batch.

    Args:
        regions: (R, T) prompter output for boxes; R = all regions of all images.
        texts: (R, T) embeddings of their captions.
        temperature: tau, above 0.
        conflict: negatives whose caption has a cosine above this with the positive's caption are left out; the filter
            passes no gradient.

    Returns:
        Scalar, at least 0.
    """
    if regions.ndim != 2 or regions.shape != texts.shape or not len(regions):
        received = f"{tuple(regions.shape)}, {tuple(texts.shape)}"
        raise ShapeError("regions and texts", "(R, T) twice, R above 0", received)
    tau = float(torch.as_tensor(temperature).detach())
    if not tau > 0:
        raise InputError("temperature", str(tau), "a number above 0", "learn its logarithm")
    regions, texts = F.normalize(regions, dim=-1), F.normalize(texts, dim=-1)
    with torch.no_grad():
        left_out = texts @ texts.T > conflict
        left_out.fill_diagonal_(False)
    logits = (regions @ texts.T / temperature).masked_fill(left_out, -math.inf)
    own = torch.arange(len(regions), device=regions.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def grounding_loss(predicted: Tensor, boxes: Tensor) -> Tensor:
    """L_grounding: mean squared error of the coordinates.

    Args:
        predicted: (..., 4) output of the box head.
        boxes: (..., 4) x1, y1, x2, y2, 0 to 1.
    """
    if predicted.shape != boxes.shape or predicted.shape[-1:] != (4,) or not predicted.numel():
        raise ShapeError("boxes", "(..., 4) twice", f"{tuple(predicted.shape)}, {tuple(boxes.shape)}")
    return F.mse_loss(predicted, boxes)


def cloc_weight(with_regions: int, images: int) -> float:
    """Return the weight w of L_CLOC + L_grounding: the share of images in the batch with region captions."""
    if not 0 <= with_regions <= images or images < 1:
        got = f"{with_regions} of {images} images"
        raise InputError("images with regions", got, "at least one image", "count those of the batch")
    return with_regions / images
