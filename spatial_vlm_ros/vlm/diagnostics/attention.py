# SPDX-License-Identifier: Apache-2.0
"""Record where the last token of a prompt looks, by layer and head.

In transformers 5 a decoder returns its attention weights only with the implementation "eager"; other implementations
return None. The weights are read from each layer as it runs, and all rows but the last are dropped at once. Memory
therefore holds the square matrix of one layer, not of all layers as with `output_attentions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm.parts import Parts, finite, grids_of

Array = npt.NDArray[np.float64]


@contextmanager
def attending_by(parts: Parts, name: str) -> Iterator[None]:
    """Within this context, the decoder computes its attention with the implementation of that name."""
    before = parts.language.config._attn_implementation  # type: ignore[union-attr]
    parts.language.set_attn_implementation(name)  # type: ignore[operator]
    try:
        yield
    finally:
        parts.language.set_attn_implementation(before)  # type: ignore[operator]


@contextmanager
def last_rows(parts: Parts) -> Iterator[list[list[Tensor]]]:
    """Within this context, record the attention of the last query.

    Yields:
        One list per layer, which grows by (B, heads, keys) float32 with each run of the decoder.
    """
    rows: list[list[Tensor]] = [[] for _ in parts.layers]

    def keep(layer: int) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if weights is None:
                repair = "use a model class that implements eager attention"
                raise ModelError(type(module).__name__, "returns no attention weights", repair)
            rows[layer].append(finite(type(module).__name__, weights[:, :, -1].float()).detach().cpu())

        return hook

    with attending_by(parts, "eager"):
        handles = [layer.self_attn.register_forward_hook(keep(i)) for i, layer in enumerate(parts.layers)]
        try:
            yield rows
        finally:
            for handle in handles:
                handle.remove()


def attention_map(parts: Parts, inputs: Mapping[str, Any]) -> Array:
    """Compute the attention of a prompt's last token over the image, mean over heads.

    Returns:
        (L, rows, columns) float64; each layer sums to the share of its attention on the image.
    """
    one_prompt(inputs)
    height, width = grids_of(parts, inputs)[0]
    columns = parts.image_columns(inputs["input_ids"])[0].cpu()
    with torch.no_grad(), last_rows(parts) as rows:
        parts.model(**inputs)
    mean = torch.stack([row[-1][0].double().mean(0)[columns] for row in rows])
    return mean.reshape(len(rows), height, width).numpy()


@dataclass(frozen=True, eq=False)
class Balance:
    """Share of attention on the image, among image and text.

    CMB = sum over image tokens of a / sum over image and text tokens of a, of the last query, mean over decoding steps.
    Source: Qi et al. (2025), Beyond Semantics, who leave the system prompt out. It can take most of the attention, so
    both ways of counting are reported.

    Args:
        with_system: (L, heads) float64; all tokens but the image's count as text.
        without_system: (L, heads) float64; the tokens of the system prompt are ignored. None if the caller did not mark
            them. NaN where all attention was on them.
    """

    with_system: Array
    without_system: Array | None
    steps: int


def modality_balance(
    parts: Parts, inputs: Mapping[str, Any], steps: int = 1, system: npt.NDArray[np.bool_] | None = None
) -> Balance:
    """Measure CMB for one prompt. Generated tokens count as text.

    Args:
        steps: most tokens generated greedily.
        system: (N,) bool, tokens of the system prompt.
    """
    one_prompt(inputs)
    ids = inputs["input_ids"]
    image = parts.image_columns(ids)[0].cpu().numpy()
    if steps < 1:
        raise InputError("decoding steps", str(steps), "one or more, including the first answer token")
    if system is not None and (system.shape != image.shape or bool((system & image).any())):
        got = f"{system.shape}, {int((system & image).sum()) if system.shape == image.shape else 0} of the image"
        raise InputError("system prompt", got, f"{image.shape} without image tokens", "mark the tokens of the prompt")
    with torch.no_grad(), last_rows(parts) as rows:
        parts.model.generate(**inputs, max_new_tokens=steps, do_sample=False, num_beams=1)  # type: ignore[operator]
    told = len(rows[0])
    everything = [np.stack([layer[step][0].double().numpy() for layer in rows]) for step in range(told)]
    outside = None if system is None else np.mean([_share(a, image, system) for a in everything], axis=0)
    return Balance(np.mean([_share(a, image, np.zeros_like(image)) for a in everything], axis=0), outside, told)


def one_prompt(inputs: Mapping[str, Any]) -> None:
    """Raise InputError unless there is exactly one prompt."""
    rows = len(inputs["input_ids"])
    if rows != 1:
        raise InputError("prompts", str(rows), "one", "ask one question at a time")


def _share(weights: Array, image: npt.NDArray[np.bool_], ignored: npt.NDArray[np.bool_]) -> Array:
    """(L, heads) shares from weights (L, heads, keys); keys after the prompt are text."""
    beyond = weights.shape[-1] - len(image)
    seen, counted = np.pad(image, (0, beyond)), ~np.pad(ignored, (0, beyond))
    with np.errstate(invalid="ignore"):
        return weights[..., seen].sum(-1) / weights[..., counted].sum(-1)
