# SPDX-License-Identifier: Apache-2.0
"""An image encoder that learns regions and their captions (CLOC, arXiv 2410.02746), at small scale.

    L = L_CLIP + w (L_CLOC + L_grounding)

Prompter, box head and the two region losses are those of `remedies/cloc.py`; w is the share of images with regions.
These parts differ from the paper: the text encoder (two layers on bytes, trained from scratch; the paper trains a CLIP
text tower with 32,768 images per step), the captions (true object names; the paper labels 300 million to 2 billion
images with a captioner and a detector), the use of a pretrained encoder, its low rate, images squashed to a square, and
the pooling of images, which is the mean of the patch tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_lab.adaptation.cloc import (
    BoxHead,
    ClocSizes,
    Prompter,
    cloc_weight,
    grounding_loss,
    region_text_loss,
)
from spatial_vlm_lab.adaptation.encoders import select_strategy
from spatial_vlm_lab.adaptation.whole_images import show_whole_images
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Rgb

REGIONS = 4
"""Regions of an image, as published."""
TEMPERATURE = 0.07
_LONGEST, _LAYERS, _BYTES = 128, 2, 257


@dataclass(frozen=True, eq=False)
class CaptionedImage:
    """An image, its caption, and regions with captions of their own.

    Args:
        rgb: (H, W, 3) uint8.
        regions: (box 0 to 1 as left, top, right, bottom; caption), REGIONS of them or none.
    """

    rgb: Rgb
    caption: str
    regions: tuple[tuple[tuple[float, float, float, float], str], ...]


class ByteTextEncoder(nn.Module):
    """A transformer over the bytes of a caption, averaged over positions.

    Args:
        size: size of the embedding, a multiple of 8.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(_BYTES, size, padding_idx=0)
        self.places = nn.Parameter(torch.randn(_LONGEST, size) * 0.02)
        layer = nn.TransformerEncoderLayer(size, max(1, size // 64), 4 * size, 0.0, "gelu", 1e-5, True, True)
        self.layers = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.project = nn.Linear(size, size)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return (R, size) embeddings of R captions; captions longer than 128 bytes are cut."""
        given = [list(text.encode()[:_LONGEST]) or [0] for text in texts]
        longest = max(len(one) for one in given)
        rows = [[byte + 1 for byte in one] + [0] * (longest - len(one)) for one in given]
        ids = torch.tensor(rows, device=self.places.device)
        states = self.layers(self.words(ids) + self.places[:longest], src_key_padding_mask=ids == 0)
        kept = (ids != 0)[..., None].to(states)
        return self.project((states * kept).sum(dim=1) / kept.sum(dim=1))


class RegionTextModel(nn.Module):
    """The encoder with the new modules that are trained with it."""

    def __init__(self, vision: Any) -> None:
        super().__init__()
        width = int(vision.config.hidden_size)
        sizes = ClocSizes(width, width)
        self.vision, self._first = vision, int(select_strategy(vision.config) == "default")
        self.text, self.prompter, self.head = ByteTextEncoder(width), Prompter(sizes), BoxHead(sizes)
        self.of_image = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1.0 / TEMPERATURE)))

    def tokens(self, pixels: Tensor) -> Tensor:
        """Return (B, N, W) patch tokens of images (B, 3, S, S), without the class token."""
        seen: Tensor = self.vision(pixel_values=pixels).last_hidden_state
        return seen[:, self._first :].float()

    def loss(self, pixels: Tensor, images: Sequence[CaptionedImage]) -> Tensor:
        """Return the loss of a batch, a scalar.

        Args:
            pixels: (B, 3, S, S) of the images.
            images: B images, B >= 2.
        """
        if len(images) < 2:
            raise InputError("--batch", "1 image", "at least 2, for the contrastive loss")
        tokens, temperature = self.tokens(pixels), 1.0 / self.log_scale.exp().clamp(max=100.0)
        loss = region_text_loss(
            self.of_image(tokens.mean(dim=1)), self.text([one.caption for one in images]), temperature
        )
        rows = [row for row, one in enumerate(images) if one.regions]
        if not rows:
            return loss
        boxes = torch.tensor([[box for box, _ in images[row].regions] for row in rows], device=tokens.device)
        captions = self.text([caption for row in rows for _, caption in images[row].regions])
        own, asked = tokens[rows], captions.unflatten(0, (len(rows), -1))
        contrast = region_text_loss(self.prompter.of_boxes(own, boxes).flatten(0, 1), captions, temperature)
        found = self.head(self.prompter.of_texts(own, asked))
        return loss + cloc_weight(len(rows), len(images)) * (contrast + grounding_loss(found, boxes))

    def groups(self) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
        """Parameters by name: the new ones, and those of the encoder that receive a gradient."""
        named = dict(self.named_parameters())
        kept = {name: value for name, value in named.items() if name.startswith("vision.")}
        return {name: value for name, value in named.items() if name not in kept}, kept

    @torch.no_grad()
    def asked(self, pixels: Tensor, boxes: Sequence[Sequence[float]], captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Score captions against regions of one image, and locate each caption.

        Args:
            pixels: (1, 3, S, S).
            boxes: R boxes, 0 to 1 of the image.

        Returns:
            (R, R) cosines of regions and captions; (R, 4) boxes, 0 to 1.
        """
        tokens, texts = self.tokens(pixels), self.text(captions)
        given = torch.tensor([[list(box) for box in boxes]], device=tokens.device)
        regions = F.normalize(self.prompter.of_boxes(tokens, given)[0], dim=-1)
        found = self.head(self.prompter.of_texts(tokens, texts[None]))[0]
        return regions @ F.normalize(texts, dim=-1).T, found


def seeded_model(vision: Any, images: Any, seed: int) -> RegionTextModel:
    """Make a model with seeded new weights around a trainable encoder that sees whole images."""
    torch.manual_seed(seed)
    model = RegionTextModel(vision)
    show_whole_images(images, vision.config)
    return model.requires_grad_(True)
