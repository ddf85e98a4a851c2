# SPDX-License-Identifier: Apache-2.0
"""CLOC: an image encoder that embeds a region, given by its box or its caption (arXiv 2410.02746, ICML 2025).

    L = L_CLIP + w (L_CLOC + L_grounding)

The prompter puts a box (two corners, sines and cosines) or a text embedding before the tokens of the encoder, passes
them all through one transformer layer with one head, averages them and maps the mean to the size of the text embedding.
L_CLOC contrasts the regions of a batch with their captions, in both directions; L_grounding is the squared error of the
box that the head reads from the prompter's output for the caption; w is the share of images with regions.

No code or weights were published. These choices are ours: a corner is a token, the averaged tokens include the prompt,
the layer normalises first, is four times as wide inside and uses GELU.

These parts differ from the paper: the text encoder (two layers on bytes, trained from scratch; the paper trains a CLIP
text tower with 32,768 images per step), the captions (true object names; the paper labels 300 million to 2 billion
images with a captioner and a detector), the pretrained encoder, its low rate, images squashed to a square, and the
pooling of images, which is the mean of the patch tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_lab.adaptation.lessons import with_article
from spatial_vlm_lab.adaptation.models import AdaptSettings, select_strategy, show_whole_images
from spatial_vlm_lab.adaptation.views import StoredView, place_score, unique_objects
from spatial_vlm_lab.training.images import BoxXyxy
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import wilson

BASE = 10_000.0
CONFLICT = 0.9
"""Cosine of two captions above which neither is a negative of the other."""
REGIONS = 4
"""Regions of an image, as published."""
TEMPERATURE = 0.07
_LONGEST, _LAYERS, _BYTES = 128, 2, 257
_BESIDE = 16  # most objects that the caption of an image names


def corner_encoding(boxes: Tensor, width: int) -> Tensor:
    """Encode corners of (..., 4) boxes x1, y1, x2, y2, 0 to 1, as (..., 2, W): the upper left, then the lower right.

    Sines of x, its cosines, then those of y, at W/4 frequencies 2 pi / BASE^(k / (W/4)).
    """
    count = width // 4
    steps = torch.arange(count, dtype=boxes.dtype, device=boxes.device)
    angles = boxes.unflatten(-1, (2, 2))[..., None] * (2 * math.pi * BASE ** (-steps / count))
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class Prompter(nn.Module):
    """Embeds a region, given by a box or a caption, for tokens of size W, a multiple of 4, and captions of size T."""

    def __init__(self, width: int, text: int) -> None:
        super().__init__()
        if width < 4 or width % 4 or text < 1:
            expected = "a width in multiples of 4 and a text size above 0"
            raise InputError("prompter", f"width {width}, text {text}", expected, "use the encoder's sizes")
        self.width = width
        self.read_text = nn.Linear(text, width)
        self.layer = nn.TransformerEncoderLayer(
            width, 1, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.project = nn.Linear(width, text)

    def of_boxes(self, tokens: Tensor, boxes: Tensor) -> Tensor:
        """Embed (B, M, 4) boxes x1, y1, x2, y2, 0 to 1, for (B, N, W) tokens, not pooled: (B, M, T)."""
        return self._asked(tokens, corner_encoding(boxes.to(tokens.dtype), self.width))

    def of_texts(self, tokens: Tensor, texts: Tensor) -> Tensor:
        """Embed regions given by captions; tokens as in `of_boxes`, texts (B, M, T), returns (B, M, T)."""
        return self._asked(tokens, self.read_text(texts)[..., None, :])

    def _asked(self, tokens: Tensor, prompts: Tensor) -> Tensor:
        """(B, N, W) and (B, M, P, W) → (B, M, T)."""
        asked = prompts.shape[1]
        rows = torch.cat([prompts, tokens[:, None].expand(-1, asked, -1, -1)], dim=2)
        return self.project(self.layer(rows.flatten(0, 1)).mean(dim=1)).unflatten(0, (-1, asked))


class BoxHead(nn.Module):
    """Two layers with GELU from the prompter's embedding (..., T) to a box (..., 4) in units of the image, 0 to 1."""

    def __init__(self, text: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(text, text), nn.GELU(), nn.Linear(text, 4))

    def forward(self, regions: Tensor) -> Tensor:
        """(..., T) → (..., 4)."""
        return self.layers(regions)


def region_text_loss(regions: Tensor, texts: Tensor, temperature: Tensor | float, conflict: float = CONFLICT) -> Tensor:
    """L_CLOC: mean of the cross-entropies region → text and text → region over all R regions of a batch.

    `regions`: (R, T) of the prompter; `texts`: (R, T) of their captions. Negatives whose caption has a cosine above
    `conflict` with the positive's caption are left out; the filter passes no gradient.
    """
    regions, texts = F.normalize(regions, dim=-1), F.normalize(texts, dim=-1)
    with torch.no_grad():
        left_out = texts @ texts.T > conflict
        left_out.fill_diagonal_(False)
    logits = (regions @ texts.T / temperature).masked_fill(left_out, -math.inf)
    own = torch.arange(len(regions), device=regions.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def grounding_loss(predicted: Tensor, boxes: Tensor) -> Tensor:
    """L_grounding: mean squared error of the coordinates of (..., 4) boxes x1, y1, x2, y2, 0 to 1."""
    return F.mse_loss(predicted, boxes)


# ------------------------------------------------------------------------------------------------ the encoder


Captioned = tuple[str, list[BoxXyxy], list[str]]
"""Caption of an image; boxes, 0 to 1, and captions of REGIONS of its regions, or none."""


class ByteTextEncoder(nn.Module):
    """A transformer over the bytes of a caption, averaged over positions; `size` is a multiple of 8."""

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
        self.vision, self._first = vision, int(select_strategy(vision.config) == "default")
        self.text, self.prompter, self.head = ByteTextEncoder(width), Prompter(width, width), BoxHead(width)
        self.of_image = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1.0 / TEMPERATURE)))

    def tokens(self, pixels: Tensor) -> Tensor:
        """Return (B, N, W) patch tokens of images (B, 3, S, S), without the class token."""
        seen: Tensor = self.vision(pixel_values=pixels).last_hidden_state
        return seen[:, self._first :].float()

    def loss(self, pixels: Tensor, images: Sequence[Captioned]) -> Tensor:
        """Return the loss of a batch of two or more images (B, 3, S, S), a scalar."""
        if len(images) < 2:
            raise InputError("--batch", "1 image", "at least 2, for the contrastive loss")
        tokens, temperature = self.tokens(pixels), 1.0 / self.log_scale.exp().clamp(max=100.0)
        captions = self.text([caption for caption, _, _ in images])
        loss = region_text_loss(self.of_image(tokens.mean(dim=1)), captions, temperature)
        rows = [row for row, (_, boxes, _) in enumerate(images) if boxes]
        if not rows:
            return loss
        boxes = torch.tensor([images[row][1] for row in rows], device=tokens.device)
        captions = self.text([caption for row in rows for caption in images[row][2]])
        own, asked = tokens[rows], captions.unflatten(0, (len(rows), -1))
        contrast = region_text_loss(self.prompter.of_boxes(own, boxes).flatten(0, 1), captions, temperature)
        found = self.head(self.prompter.of_texts(own, asked))
        return loss + len(rows) / len(images) * (contrast + grounding_loss(found, boxes))

    def groups(self) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
        """Parameters by name: the new ones, and those of the encoder that receive a gradient."""
        named = dict(self.named_parameters())
        kept = {name: value for name, value in named.items() if name.startswith("vision.")}
        return {name: value for name, value in named.items() if name not in kept}, kept

    @torch.no_grad()
    def asked(self, pixels: Tensor, boxes: Sequence[Sequence[float]], captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(R, R) cosines of captions and regions of an image (1, 3, S, S), and the (R, 4) boxes found; boxes 0 to 1."""
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


# ------------------------------------------------------------------------------------------------ lessons and scores


def region_teacher(
    model: RegionTextModel, images: Any, views: Sequence[StoredView], settings: AdaptSettings
) -> Callable[[int], float]:
    """Return the function that `TrainingLoop.train` calls for each step; it gives the loss, with gradients."""
    shown = [view for view in views if view.objects]
    if not shown:
        got = f"{len(views)} without named objects"
        raise InputError("training views", got, "some with named objects", "add frames")

    def learn(step: int) -> float:
        rng = np.random.default_rng((settings.seed, step, 37))
        chosen = [shown[int(rng.integers(len(shown)))] for _ in range(settings.batch)]
        rgbs = [view.rgb for view in chosen]
        batch = list[Captioned]()
        for objects, rgb in zip((view.objects for view in chosen), rgbs, strict=True):
            named = unique_objects(objects)
            caption = ", ".join(with_article(objects[int(n)].name) for n in rng.permutation(len(objects))[:_BESIDE])
            rows = rng.permutation(len(named))[:REGIONS]
            again = rng.integers(len(named), size=REGIONS - len(rows)) if named else rows  # of few regions, some twice
            regions = [named[int(n)] for n in (*rows, *again)]
            places = [scaled(obj.box_xyxy, rgb) for obj in regions]
            batch.append((caption, places, [with_article(obj.name) for obj in regions]))
        pixels = pixels_of(images, rgbs, next(model.parameters()).device)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.device.type == "cuda"):
            loss = model.loss(pixels, batch)
        loss.backward()
        return float(loss.detach())

    return learn


def scaled(box: BoxXyxy, rgb: Rgb) -> BoxXyxy:
    """Convert a box from pixels to shares of the image, 0 to 1."""
    height, width = rgb.shape[:2]
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def pixels_of(images: Any, rgbs: Sequence[Rgb], device: torch.device) -> Tensor:
    """Prepare images as (B, 3, S, S) float32 for the encoder."""
    given = images(images=[Image.fromarray(rgb) for rgb in rgbs], return_tensors="pt")
    return given["pixel_values"].to(device, torch.float32)


def region_scores(model: RegionTextModel, images: Any, views: Sequence[StoredView]) -> dict[str, Any]:
    """Score an encoder on held-out views: shares of right captions and boxes, the share by chance, mean overlap.

    Objects that share a name with another object are left out.
    """
    right, chance, found = list[bool](), list[float](), list[float]()
    device = next(model.parameters()).device
    for view in views:
        rgb, named = view.rgb, unique_objects(view.objects)
        if not named:
            continue
        boxes = [scaled(obj.box_xyxy, rgb) for obj in named]
        captions = [with_article(obj.name) for obj in named]
        fits, places = model.asked(pixels_of(images, [rgb], device), boxes, captions)
        right += [int(best) == row for row, best in enumerate(fits.argmax(dim=1).tolist())]
        chance += [1.0 / len(named)] * len(named)
        found += [float(overlaps(place, box)[0, 0]) for place, box in zip(places.tolist(), boxes, strict=True)]
    return {
        "views": len(views),
        "captions": asdict(wilson(sum(right), len(right))),
        "chance": sum(chance) / max(len(chance), 1),
        "boxes": place_score(found),
        "overlap": sum(found) / max(len(found), 1),
    }
