# SPDX-License-Identifier: Apache-2.0
"""Training data of an encoder (CLOC): images with captions of their regions, made from the object names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from spatial_vlm_lab.adaptation.frame_store import StoredView
from spatial_vlm_lab.adaptation.labelled_view import BoxXyxy, LabelledObject, LabelledView
from spatial_vlm_lab.adaptation.lessons import with_article
from spatial_vlm_lab.adaptation.region_text import REGIONS, CaptionedImage, RegionTextModel
from spatial_vlm_lab.adaptation.relation_lessons import unique_objects
from spatial_vlm_lab.adaptation.settings import AdaptSettings
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Rgb

_BESIDE = 16  # most objects that the caption of an image names


def region_teacher(
    model: RegionTextModel, images: Any, views: Sequence[StoredView], settings: AdaptSettings
) -> Callable[[int], float]:
    """Return the function that `AdaptRun.train` calls for each step; it gives the loss, with gradients."""
    shown = [view for view in views if view.objects]
    if not shown:
        raise InputError(
            "training views", f"{len(views)} without named objects", "some with named objects", "add frames"
        )

    def learn(step: int) -> float:
        rng = np.random.default_rng((settings.seed, step, 37))
        chosen = [shown[int(rng.integers(len(shown)))].load() for _ in range(settings.batch)]
        batch = [captioned(view, rng) for view in chosen]
        pixels = pixels_of(images, [one.rgb for one in batch], next(model.parameters()).device)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.device.type == "cuda"):
            loss = model.loss(pixels, batch)
        loss.backward()
        return float(loss.detach())

    return learn


def captioned(view: LabelledView, rng: np.random.Generator) -> CaptionedImage:
    """Choose REGIONS regions with unique names in a view, with repetition if it has fewer; empty if it has none."""
    named = unique_objects(view.objects)
    order = rng.permutation(len(view.objects))[:_BESIDE]
    caption = ", ".join(caption_of(view.objects[int(n)]) for n in order)
    if not named:
        return CaptionedImage(view.rgb, caption, ())
    rows = rng.permutation(len(named))[:REGIONS]
    rows = np.concatenate([rows, rng.integers(len(named), size=REGIONS - len(rows))])
    regions = tuple((scaled(named[int(n)].box_xyxy, view.rgb), caption_of(named[int(n)])) for n in rows)
    return CaptionedImage(view.rgb, caption, regions)


def caption_of(obj: LabelledObject) -> str:
    """Name an object for the caption of its region, for example "a red cup"."""
    return with_article(obj.name)


def scaled(box: BoxXyxy, rgb: Rgb) -> BoxXyxy:
    """Convert a box from pixels to shares of the image, 0 to 1."""
    height, width = rgb.shape[:2]
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def pixels_of(images: Any, rgbs: Sequence[Rgb], device: torch.device) -> Tensor:
    """Prepare images as (B, 3, S, S) float32 for the encoder."""
    given = images(images=[Image.fromarray(rgb) for rgb in rgbs], return_tensors="pt")
    pixels: Tensor = given["pixel_values"].to(device, torch.float32)
    return pixels
