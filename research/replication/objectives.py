# SPDX-License-Identifier: Apache-2.0
"""What the encoders are trained for, each after its paper, as far as a small budget goes.

- clip: softmax over the images and captions of a batch (Radford et al. 2021), temperature learnt from 0.07.
- siglip: a sigmoid for each pair (Zhai et al. 2023), scale learnt from 10, bias from -10.
- siglip2: siglip and captioning all along, and in the last fifth of the steps features of hidden patches foretold
  from a moving mean of the encoder (after Tschannen et al. 2025). Of the original's captioning decoder with boxes,
  local crops and curation of data nothing is here, and hidden patches are painted grey.
- aimv2: each patch foretold from those before it, with a prefix seen both ways, then the caption, at weights 0.4 and 1
  (after Fini et al. 2024); pixels of a patch are normalised to mean 0 and variance 1.
- cloc: clip and, at weight 1, two regions of each image contrasted with their captions and found by them (Chen et
  al. 2024): prompter, box head and losses are those of `remedies/cloc.py`, and the encoder learns with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Aimv2VisionModel, CLIPVisionModel, SiglipVisionModel

from research.replication.captions import CaptionEncoder, Teller, caption_tokens
from research.replication.grammar import caption
from research.replication.scenes import DrawnScene
from research.replication.settings import ReplicationSettings, Sizes
from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.vlm.remedies.cloc import BoxHead, ClocSizes, Prompter, grounding_loss, region_text_loss
from spatial_vlm_ros.vlm.remedies.encoders import vision_config

OBJECTIVES = ("clip", "siglip", "siglip2", "aimv2", "cloc")
REGIONS = 2
PIXEL_WEIGHT = 0.4
HIDDEN_SHARE = 0.5
TEACHER_KEPT = 0.99
POSITIONS = 1.0
"""Share of `sines` that learnt positions of patches start from. From noise of 0.02, as the classes start, encoders do
not find out where patches are in as few steps as these: contents are fifty times as loud."""
LATE = 0.8
"""Share of the steps after which siglip2 learns from its own moving mean."""
_CLASSES = {
    "clip": CLIPVisionModel,
    "siglip": SiglipVisionModel,
    "siglip2": SiglipVisionModel,
    "aimv2": Aimv2VisionModel,
}


@dataclass(frozen=True, eq=False)
class Batch:
    """What an encoder learns from in one step.

    Args:
        pixels: (B, 3, S, S) float32, -1 to 1.
        captions: (B, L) int64.
        boxes: (B, REGIONS, 4) float32, 0 to 1.
        regions: (B * REGIONS, L) int64, captions of the boxes.
        progress: share of the steps that are done, 0 to 1.
        rng: for what is hidden.
    """

    pixels: Tensor
    captions: Tensor
    boxes: Tensor
    regions: Tensor
    progress: float
    rng: np.random.Generator


def batch_of(
    scenes: Sequence[DrawnScene],
    images: Tensor,
    settings: ReplicationSettings,
    progress: float,
    rng: np.random.Generator,
) -> Batch:
    """Pictures (B, 3, S, S), -1 to 1, captions and regions of scenes; the same for all objectives."""
    texts = [caption(scene, settings.told_share, rng) for scene in scenes]
    chosen = [[scene.objects[i] for i in rng.permutation(len(scene.objects))[:REGIONS]] for scene in scenes]
    return Batch(
        images,
        caption_tokens(texts),
        torch.tensor([[obj.box for obj in objects] for objects in chosen]),
        caption_tokens([f"a {obj.name}" for objects in chosen for obj in objects]),
        progress,
        rng,
    )


def new_vision(kind: str, sizes: Sizes) -> Any:
    """A vision encoder, weights by chance, positions from `sines`; raises UnknownNameError outside of OBJECTIVES."""
    if kind not in OBJECTIVES:
        raise UnknownNameError("objective", kind, OBJECTIVES)
    kind = "clip" if kind == "cloc" else kind
    wide = 4 * sizes.vision_width if kind != "aimv2" else round(8 * sizes.vision_width / 3 / 8) * 8
    config = vision_config(
        kind, sizes.vision_width, sizes.vision_layers, sizes.vision_heads, sizes.image, sizes.patch, wide
    )
    vision = _CLASSES[kind](config)
    with torch.no_grad():
        vision.embeddings.position_embedding.weight[-(sizes.side**2) :] = POSITIONS * sines(sizes)
    return vision


def sines(sizes: Sizes) -> Tensor:
    """(N, W): sines and cosines of the row and of the column of each patch, in the order of reading.

    Waves of W / 4 lengths from pi to twice the side times pi, in patches, as in the table of Vaswani et al. (2017),
    half of the features for each axis.
    """
    places = torch.arange(sizes.side**2)
    quarter = sizes.vision_width // 4
    speeds = 2 * (2 * sizes.side) ** -(torch.arange(quarter) / quarter)
    axes = [places[:, None] // sizes.side * speeds, places[:, None] % sizes.side * speeds]
    return torch.cat([wave(axis) for axis in axes for wave in (torch.sin, torch.cos)], dim=1)


def objective_of(kind: str, sizes: Sizes) -> nn.Module:
    """Module with `vision`, to be kept, and `loss(batch)`; raises UnknownNameError."""
    vision = new_vision(kind, sizes)
    if kind == "aimv2":
        return Autoregressive(vision, sizes)
    if kind == "siglip2":
        return SelfTaught(vision, sizes)
    return Contrast(vision, sizes, kind)


class Contrast(nn.Module):
    """Pictures and captions: clip, siglip and cloc."""

    def __init__(self, vision: Any, sizes: Sizes, kind: str) -> None:
        super().__init__()
        width = sizes.vision_width
        self.vision, self.kind = vision, kind
        self.text = CaptionEncoder(width, sizes.text_layers, sizes.vision_heads)
        self.of_image, self.of_text = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0 if kind.startswith("siglip") else 1 / 0.07)))
        if kind.startswith("siglip"):
            self.bias = nn.Parameter(torch.tensor(-10.0))
            self.asked = nn.Parameter(torch.randn(1, 1, width) / width**0.5)
            self.pool = nn.MultiheadAttention(width, sizes.vision_heads, batch_first=True)
        if kind == "cloc":
            self.prompter, self.head = Prompter(ClocSizes(width, width)), BoxHead(ClocSizes(width, width))

    def loss(self, batch: Batch) -> Tensor:
        """Scalar."""
        seen = self.vision(pixel_values=batch.pixels)
        texts = F.normalize(self.of_text(self.text(batch.captions)).float(), dim=-1)
        if self.kind.startswith("siglip"):
            return self.sigmoid_loss(seen.last_hidden_state, texts)
        images = F.normalize(self.of_image(seen.pooler_output).float(), dim=-1)
        own = torch.arange(len(images))
        logits = images @ texts.T * self.scale.exp().clamp(max=100.0)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        return loss + self._region_loss(seen.last_hidden_state[:, 1:], batch) if self.kind == "cloc" else loss

    def sigmoid_loss(self, tokens: Tensor, texts: Tensor) -> Tensor:
        """Scalar: sum over pairs, mean over images; tokens (B, N, W), texts (B, W) of length 1."""
        asked = self.asked.expand(len(tokens), -1, -1).to(tokens)
        pooled = self.pool(asked, tokens, tokens, need_weights=False)[0][:, 0]
        images = F.normalize(self.of_image(pooled).float(), dim=-1)
        logits = images @ texts.T * self.scale.exp() + self.bias
        signs = 2 * torch.eye(len(images)) - 1
        return -F.logsigmoid(signs * logits).sum() / len(images)

    def _region_loss(self, tokens: Tensor, batch: Batch) -> Tensor:
        texts = self.of_text(self.text(batch.regions)).float()
        asked = texts.unflatten(0, (-1, REGIONS))
        regions = self.prompter.of_boxes(tokens.float(), batch.boxes).float().flatten(0, 1)
        temperature = 1 / self.scale.exp().clamp(max=100.0)
        found = self.head(self.prompter.of_texts(tokens.float(), asked)).float()
        return region_text_loss(regions, texts, temperature) + grounding_loss(found, batch.boxes)


class SelfTaught(Contrast):
    """siglip2: sigmoid, captioning, and late self-distillation of hidden patches."""

    def __init__(self, vision: Any, sizes: Sizes) -> None:
        super().__init__(vision, sizes, "siglip2")
        self.patch = sizes.patch
        self.teller = Teller(sizes.vision_width, sizes.text_layers, sizes.vision_heads, sizes.side**2)
        self.guess = nn.Linear(sizes.vision_width, sizes.vision_width)
        self.teacher = deepcopy(vision).requires_grad_(False)

    def loss(self, batch: Batch) -> Tensor:
        """Scalar; moves the teacher, too."""
        self._teach()
        tokens = self.vision(pixel_values=batch.pixels).last_hidden_state
        texts = F.normalize(self.of_text(self.text(batch.captions)).float(), dim=-1)
        loss = self.sigmoid_loss(tokens, texts) + self.teller(tokens, batch.captions)[0]
        return loss + self._distilled(batch) if batch.progress >= LATE else loss

    def _teach(self) -> None:
        with torch.no_grad():
            for kept, new in zip(self.teacher.parameters(), self.vision.parameters(), strict=True):
                kept.lerp_(new, 1 - TEACHER_KEPT)

    def _distilled(self, batch: Batch) -> Tensor:
        count, side = len(batch.pixels), batch.pixels.shape[-1] // self.patch
        hidden = torch.from_numpy(batch.rng.uniform(size=(count, side, side)) < HIDDEN_SHARE)
        spread = hidden.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)[:, None]
        seen = self.vision(pixel_values=batch.pixels.masked_fill(spread, 0.0)).last_hidden_state
        with torch.no_grad():
            target = self.teacher(pixel_values=batch.pixels).last_hidden_state.float()
            target = F.layer_norm(target, target.shape[-1:])
        return F.smooth_l1_loss(self.guess(seen).float()[hidden.flatten(1)], target[hidden.flatten(1)])


class Autoregressive(nn.Module):
    """aimv2: next patches and the caption, with a prefix that is seen both ways."""

    def __init__(self, vision: Any, sizes: Sizes) -> None:
        super().__init__()
        self.vision, self.patch = vision, sizes.patch
        values = 3 * sizes.patch**2
        self.teller = Teller(sizes.vision_width, sizes.text_layers, sizes.vision_heads, sizes.side**2, values)

    def loss(self, batch: Batch) -> Tensor:
        """Scalar."""
        patches = patches_of(batch.pixels, self.patch)
        count = patches.shape[1]
        prefix = torch.from_numpy(batch.rng.integers(1, count, len(patches)))
        told, foretold = self.teller(self.features(batch.pixels, prefix), batch.captions)
        wanted = F.layer_norm(patches, patches.shape[-1:])[:, 1:]
        behind = torch.arange(1, count)[None] >= prefix[:, None]
        assert foretold is not None
        return told + PIXEL_WEIGHT * F.mse_loss(foretold.float()[behind], wanted[behind])

    def features(self, images: Tensor, prefix: Tensor) -> Tensor:
        """(B, N, W): patch i sees patches up to itself, and all of the prefix; prefix (B,) int."""
        states = self.vision.embeddings(images)
        count = torch.arange(states.shape[1])
        mask = (count[None, :] <= count[:, None])[None] | (count[None, None, :] < prefix[:, None, None])
        for layer in self.vision.encoder.layers:
            states = layer(states, attention_mask=mask[:, None])
        return self.vision.rms_norm(states)


def patches_of(images: Tensor, patch: int) -> Tensor:
    """(B, N, 3 patch²) of (B, 3, S, S), in the order of reading."""
    return F.unfold(images, patch, stride=patch).transpose(1, 2)
