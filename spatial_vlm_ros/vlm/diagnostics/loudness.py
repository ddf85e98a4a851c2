# SPDX-License-Identifier: Apache-2.0
"""Norms of image tokens compared with text tokens ("loudness")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spatial_vlm_ros.vlm.parts import Parts, finite, image_tokens_changed

_ROWS = 4096  # embeddings processed at a time


@dataclass(frozen=True)
class Loudness:
    """Mean Euclidean norms at the input of the decoder.

    Args:
        ratio: image / text. Near 1 a remedy for loud image tokens has nothing to correct.
    """

    image: float
    text: float
    ratio: float


def loudness(parts: Parts, inputs: Mapping[str, Any]) -> Loudness:
    """Measure the norms for a batch of prompts with images. Source: Qi et al. (2025), Beyond Semantics."""
    parts.image_columns(inputs["input_ids"])
    seen: dict[int, Tensor] = {}

    def look(tokens: Tensor, row: int) -> Tensor:
        seen.setdefault(row, tokens)  # later features of the same row go to later layers
        return tokens

    with torch.no_grad(), image_tokens_changed(parts, look):
        parts.model(**inputs)
    image = finite(type(parts.model).__name__, torch.cat([seen[row] for row in sorted(seen)]).float())
    told, mean = float(image.norm(dim=-1).mean()), _mean_of_text(parts)
    return Loudness(told, mean, told / mean)


def _mean_of_text(parts: Parts) -> float:
    count, device = parts.embeddings.num_embeddings, parts.embeddings.weight.device
    total = 0.0
    with torch.no_grad():
        for ids in torch.arange(count, device=device).split(_ROWS):
            total += float(parts.embeddings(ids).float().norm(dim=-1).sum())
    return total / count
