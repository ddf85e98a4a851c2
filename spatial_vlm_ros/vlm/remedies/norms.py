# SPDX-License-Identifier: Apache-2.0
"""Norms of image tokens compared with text, and remedies that equalise them.

Image tokens leave the projector with norms tens to hundreds of times those of text embeddings; in such a residual
stream the rotation that encodes position is small ("Beyond Semantics", arXiv 2503.17349). Its remedy, after the
projector:

    y <- gamma * y / sqrt(mean(y^2) + 1e-6)      gamma learnt, 1 at first
    y <- y * min(1, largest / |y|)               largest norm of a text embedding; Vicuna-7B: 1.22
    y <- y * mean                                mean norm of text embeddings; Vicuna-7B: 0.83

At first a token thus leaves with largest * mean (Vicuna-7B: 1.0126), not with the mean. The reported figures come from
models *trained* with it. `MeanNorm` needs no training: y * ((1 - t) + t * mean / |y|), dose t from 0 to 1.

Everything is computed in float32, because squares of float16 overflow from 256 on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.vlm.parts import Parts, finite, image_tokens_changed
from spatial_vlm_ros.vlm.remedies.learned import check_trained

VICUNA_MEAN, VICUNA_LARGEST = 0.83, 1.22
"""Mean and largest L2 norm of the text embeddings of Vicuna-7B, as published."""
EPSILON = 1e-6
NAME, PUBLISHED = "norm", "published"
"""Mark of a checkpoint that was trained with `PublishedNorm`."""
_ROWS = 8192  # embeddings measured at once


@dataclass(frozen=True)
class Norms:
    """L2 norms of vectors."""

    mean: float
    largest: float
    count: int


def text_norms(parts: Parts, rows: int | None = None, without: Collection[int] = ()) -> Norms:
    """Measure the norms of the text embeddings at the decoder's input (Gemma scales the rows of its table).

    `rows`: leading rows of the table that are tokens, because vocabularies are padded; None: all.
    """
    size = int(parts.embeddings.weight.shape[0])
    rows = size if rows is None else rows
    left = [token for token in range(min(rows, size)) if token not in set(without)]
    if rows > size or not left:
        got = f"{rows} rows without {len(without)} of {size}"
        raise InputError("rows of text embeddings", got, "at least one row of the table", "pass the tokenizer's length")
    with torch.no_grad():
        tokens = torch.tensor(left, device=parts.embeddings.weight.device)
        lengths = [norm_of(parts.embeddings(part), "text embeddings") for part in tokens.split(_ROWS)]
    return _norms_of(torch.cat(lengths))


def image_norms(parts: Parts, batches: Iterable[Mapping[str, Any]]) -> Norms:
    """Measure the norms of the image tokens that enter the decoder, after the projector and its normaliser, if any."""
    found: list[Tensor] = []

    def look(tokens: Tensor, _row: int) -> Tensor:
        found.append(norm_of(tokens, parts.kind))
        return tokens

    with torch.no_grad(), image_tokens_changed(parts, look, later=False):
        for inputs in batches:
            parts.image_columns(inputs["input_ids"])
            parts.model(**inputs)
    if not found:
        raise InputError("batches", "none", "at least one image", "pass the processor's outputs for images")
    return _norms_of(torch.cat(found))


def norm_of(tokens: Tensor, name: str) -> Tensor:
    """Compute L2 norms, (...) float32."""
    return finite(name, finite(name, tokens).float().norm(dim=-1))


def _norms_of(lengths: Tensor) -> Norms:
    return Norms(float(lengths.double().mean()), float(lengths.max()), len(lengths))


class PublishedNorm(nn.Module):
    """RMSNorm with a learnt gamma, clipped to the largest text norm, times the mean text norm (arXiv 2503.17349).

    For models other than Vicuna-7B, `text_norms` measures both.
    """

    def __init__(self, size: int, mean: float = VICUNA_MEAN, largest: float = VICUNA_LARGEST) -> None:
        super().__init__()
        if size < 1 or not (0 < mean < float("inf") and 0 < largest < float("inf")):
            got = f"size {size}, mean {mean}, largest {largest}"
            raise InputError("normaliser", got, "numbers above zero", "measure them with text_norms")
        self.gamma = nn.Parameter(torch.ones(size))
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("largest", torch.tensor(float(largest)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalise (..., D) to the same shape and type; raises ModelError for a token that is not finite."""
        y = finite("normaliser", tokens).float()
        y = self.gamma.to(y) * y * torch.rsqrt(finite("normaliser", y.square().mean(-1, keepdim=True)) + EPSILON)
        largest = self.largest.to(y)
        y = y * (largest / torch.maximum(y.norm(dim=-1, keepdim=True), largest)) * self.mean.to(y)
        return finite("normaliser", y.to(tokens.dtype))


class MeanNorm(nn.Module):
    """Moves the norm of each token towards the mean text norm and keeps its direction; nothing is trained.

    `dose`: t from 0 (no change) to 1 (each token has the mean norm). A token of zeros stays zero.
    """

    def __init__(self, mean: float, dose: float = 1.0) -> None:
        super().__init__()
        if not (0 < mean < float("inf") and 0 <= dose <= 1):
            expected = "a mean above zero, a dose from 0 to 1"
            raise InputError("normaliser", f"mean {mean}, dose {dose}", expected, "measure the mean with text_norms")
        self.mean, self.dose = float(mean), float(dose)

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalise (..., D) to the same shape and type; raises ModelError for a token that is not finite."""
        length = norm_of(tokens, "normaliser")[..., None].clamp(min=torch.finfo(torch.float32).tiny)
        y = tokens.float() * ((1 - self.dose) + self.dose * self.mean / length)
        return finite("normaliser", y.to(tokens.dtype))


def put_norm(parts: Parts, norm: PublishedNorm | MeanNorm, *, allow_untrained: bool = False) -> Any:
    """Insert a normaliser after the projector; what Qwen3-VL adds in later layers (DeepStack) does not pass it."""
    size = int(parts.embeddings.weight.shape[1])
    if isinstance(norm, PublishedNorm):
        if len(norm.gamma) != size:
            raise InputError(
                "normaliser", f"size {len(norm.gamma)}", f"{size}, as the tokens", "create it with that size"
            )
        check_trained(parts.model, NAME, PUBLISHED, allow_untrained)
    elif norm.dose > 0:
        check_trained(parts.model, NAME, {"dose": norm.dose}, allow_untrained)
    norm.to(parts.embeddings.weight.device)
    return parts.projector.register_forward_hook(lambda _module, _given, tokens: norm(tokens))


def norm_from(tensors: Mapping[str, Tensor]) -> PublishedNorm:
    """Make the normaliser from its `state_dict`."""
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    if set(shapes) != {"gamma", "mean", "largest"} or len(shapes["gamma"]) != 1 or shapes["mean"] or shapes["largest"]:
        raise InputError("normaliser", f"tensors {shapes}", "gamma (D,), mean (), largest ()", "save its state_dict")
    norm = PublishedNorm(shapes["gamma"][0], float(tensors["mean"]), float(tensors["largest"]))
    norm.load_state_dict(dict(tensors))
    return norm
