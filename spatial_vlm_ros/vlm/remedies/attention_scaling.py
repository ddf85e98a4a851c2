# SPDX-License-Identifier: Apache-2.0
"""Generate answers with scaled attention to the image at the end of the prompt: ScalingVis and AdaptVis.

In every layer and head, before the softmax, the logits A[n, j] = q_n·k_j / sqrt(d) of the last prompt token n at the
image tokens j become alpha A[n, j]; other rows, other columns and all decoding steps stay (Chen et al. 2025, arXiv
2503.01773). The authors need two prefills for AdaptVis: one to measure the model's confidence, one with the chosen
factor. Here one prefill and one more token are enough. In a causal decoder only the last token's states depend on the
last row. So that token is dropped from the cache and run again, with the keys of image tokens times alpha for its one
query: q·(alpha k) = alpha (q·k). Its own keys and values in the later layers are thereby replaced; the keys that stay
in the cache for later tokens are the true ones. It works with any attention kernel.

The first token of a JSON answer is "{", about which every model is confident: use AdaptVis for answers of few words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm.parts import Parts, cache_argument, cache_of, finite
from spatial_vlm_ros.vlm.remedies.attention_scaling_calibration import AdaptVis, ScalingVis

Settings = ScalingVis | AdaptVis


@dataclass(frozen=True, eq=False)
class ScaledAnswer:
    """Answer of a model.

    Args:
        tokens: (T,) int64, only the new tokens, including the end token.
        confidence: largest probability of the first token of the plain answer, 0 to 1, not rounded.
        plain: (V,) probabilities of the first token without scaling; float32, or float64 of a model of float64.
        scaled: (V,) the same for the answer with scaling.
    """

    tokens: Tensor
    confidence: float
    alpha: float
    plain: Tensor
    scaled: Tensor


@dataclass(eq=False)
class FirstToken:
    """First-token values of the prefill, as in `ScaledAnswer`; empty until the prefill has run."""

    plain: Tensor = field(default_factory=lambda: torch.zeros(0))
    scaled: Tensor = field(default_factory=lambda: torch.zeros(0))
    confidence: float = math.nan
    alpha: float = math.nan


def generate(
    parts: Parts,
    inputs: Mapping[str, Tensor],
    settings: Settings,
    max_new_tokens: int = 64,
    *,
    eos_token_id: int | Sequence[int] | None = None,
) -> ScaledAnswer:
    """Answer one prompt by greedy decoding with scaled attention, through the model's own `generate`.

    Probabilities come from the model's logits, before any repetition penalty or similar step of its generation
    configuration.

    Args:
        parts: parts of the model.
        inputs: inputs of one prompt with an image, as its processor gave them.
        settings: factors; those of AdaptVis come from a calibration.
        max_new_tokens: most new tokens.
        eos_token_id: end token or tokens; None = those of the model's generation configuration.

    Raises:
        InputError: several prompts, a prompt without an image or that ends with the image, no `input_ids`, or inputs
            that continue from a cache.
        ModelError: a prefix language model, layers that do not attend to all earlier tokens, or values that are not
            finite.
    """
    ids = _prompt(parts, inputs)
    if max_new_tokens < 1:
        raise InputError("max_new_tokens", str(max_new_tokens), "1 or more")
    told: dict[str, Any] = {"do_sample": False, "num_beams": 1, "use_cache": True, "cache_implementation": "dynamic"}
    if eos_token_id is not None:
        told["eos_token_id"] = eos_token_id
    model: Any = parts.model
    with one_row(parts, ids, settings) as seen:
        tokens = model.generate(**inputs, **told, max_new_tokens=max_new_tokens)
    return ScaledAnswer(tokens[0, ids.shape[1] :], seen.confidence, seen.alpha, seen.plain, seen.scaled)


@contextmanager
def one_row(parts: Parts, input_ids: Tensor, settings: Settings) -> Iterator[FirstToken]:
    """Within this context, `parts.model.generate` runs the last token of one prompt again with scaled attention.

    It applies to one call of `generate`, with that prompt and a dynamic cache; a second call is not changed.

    Args:
        input_ids: (1, N) tokens of the prompt.

    Yields:
        Values of the prefill; empty until it has run.
    """
    _prompt(parts, {"input_ids": input_ids})
    columns, seen = parts.image_columns(input_ids)[0], FirstToken()

    def again(named: Mapping[str, Any], outputs: Any) -> None:
        seen.plain = _probabilities(parts, outputs.logits)
        seen.confidence = float(seen.plain.max())
        seen.alpha = settings.alpha_for(seen.confidence)
        outputs["logits"] = _run_last_again(parts, named, cache_of(outputs), columns, seen.alpha)
        seen.scaled = _probabilities(parts, outputs.logits)

    with _at_prefill(parts, input_ids, again):
        yield seen


def _run_last_again(parts: Parts, named: Mapping[str, Any], cache: Cache, columns: Tensor, alpha: float) -> Tensor:
    """(1, 1, V) logits of the last prompt token with scaled attention; its states in the cache are replaced."""
    cache.crop(-1)
    step = {
        "input_ids": named["input_ids"][:, -1:],
        "attention_mask": named.get("attention_mask"),
        "position_ids": named["position_ids"][..., -1:],
        cache_argument(parts.model): cache,
    }
    with _keys_scaled(cache, columns, alpha), torch.no_grad():
        logits: Tensor = parts.model(**step, use_cache=True, return_dict=True).logits
    return logits


@contextmanager
def _keys_scaled(cache: Cache, columns: Tensor, alpha: float) -> Iterator[None]:
    """Within this context, the cache returns keys of these columns times alpha; it stores the true keys."""
    plain, factor = cache.update, torch.where(columns, alpha, 1.0)[:, None]

    def update(*given: Any, **named: Any) -> tuple[Tensor, Tensor]:
        keys, values = plain(*given, **named)
        return keys * factor.to(keys), values

    cache.update = update  # type: ignore[method-assign]
    try:
        yield
    finally:
        del cache.update


@contextmanager
def _at_prefill(parts: Parts, input_ids: Tensor, act: Callable[[Mapping[str, Any], Any], None]) -> Iterator[None]:
    """Within this context, call `act` once, with the model's arguments and output of the whole prompt."""
    done = False

    def look(_: nn.Module, _given: Any, named: dict[str, Any], outputs: Any) -> None:
        nonlocal done
        if done:
            return
        ids, cache = named.get("input_ids"), cache_of(outputs)
        if ids is None or named.get("position_ids") is None:
            got = "no input_ids and position_ids by name"
            raise InputError("prefill", got, "those of model.generate", "call model.generate, not the model")
        if ids.shape[0] != 1:
            raise InputError("batch", f"{ids.shape[0]} rows", "one prompt, one beam", "ask one question at a time")
        if cache is None:
            raise InputError("use_cache", "off", "a cache, whose last token is evaluated again", "leave use_cache on")
        if not _keeps_all(cache):
            name, kinds = type(parts.model).__name__, sorted({type(layer).__name__ for layer in cache.layers})
            raise ModelError(name, f"caches with {', '.join(kinds)}", "generate with a dynamic cache")
        if cache.get_seq_length() >= input_ids.shape[1]:
            done = True
            act(named, outputs)

    handle = parts.model.register_forward_hook(look, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _probabilities(parts: Parts, logits: Tensor) -> Tensor:
    """(V,) probabilities of the next token from logits (1, N, V)."""
    last = finite(type(parts.model).__name__, logits[0, -1])
    return torch.softmax(last, dim=-1, dtype=torch.promote_types(last.dtype, torch.float32))


def _prompt(parts: Parts, inputs: Mapping[str, Any]) -> Tensor:
    """`input_ids` (1, N) of a prompt for which scaling is possible; `generate` describes what is refused."""
    check_decoder(parts)
    ids = inputs.get("input_ids")
    began = [name for name in ("cache", "past_key_values", "inputs_embeds") if inputs.get(name) is not None]
    if ids is None or began:
        got = ", ".join(began) or "no input_ids"
        raise InputError("inputs", got, "the whole prompt as input_ids", "pass the outputs of the processor")
    if ids.ndim != 2 or ids.shape[0] != 1:
        raise InputError(
            "batch", f"input_ids of {tuple(ids.shape)}", "one prompt, (1, N)", "ask one question at a time"
        )
    if bool(parts.image_columns(ids)[0, -1]):
        raise InputError("prompt", "an image token at its end", "text after the image", "put the question last")
    return torch.as_tensor(ids)


def check_decoder(parts: Parts) -> None:
    """Raise ModelError unless each token attends to all earlier tokens and to no later one."""
    name = type(parts.model).__name__
    if not parts.causal:
        reason = "is a prefix language model, in which scaling changes the states of earlier tokens too"
        raise ModelError(name, reason, "use a causal model")
    cache = DynamicCache(config=parts.language.config)  # type: ignore[arg-type]
    if not _keeps_all(cache):
        reason = "has layers with a sliding window or linear attention, whose state cannot be rolled back by one token"
        raise ModelError(name, reason, "use a model with full attention in every layer")


def _keeps_all(cache: Cache) -> bool:
    return all(type(layer) is DynamicLayer for layer in cache.layers)
