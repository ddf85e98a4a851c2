# SPDX-License-Identifier: Apache-2.0
"""Generate answers with scaled attention to the image at the end of the prompt, and tune the factors.

ScalingVis and AdaptVis are from Chen et al. 2025, arXiv 2503.01773. In every layer and head, before the softmax, the
logits A[n, j] = q_n·k_j / sqrt(d) of the last prompt token n at the image tokens j become alpha A[n, j]; all else
stays. AdaptVis chooses between two factors by the confidence C of the plain answer: the largest probability of its
first token, rounded to two decimals as in the paper. The authors tune factors and threshold on a fifth of each data
set. Values do not transfer between models or data sets, so there are no defaults.

The authors need two prefills for AdaptVis; here one prefill and one more token are enough. In a causal decoder only the
last token's states depend on the last row. So that token is dropped from the cache and run again, with the keys of
image tokens times alpha for its one query: q·(alpha k) = alpha (q·k). Its own keys and values in the later layers are
thereby replaced; the keys that stay in the cache are the true ones. It works with any attention kernel.

The first token of a JSON answer is "{", about which every model is confident: use AdaptVis for answers of few words.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.writing import write_json
from spatial_vlm_ros.vlm.parts import Parts, cache_argument, cache_of, finite

ALPHAS = (0.0, 0.5, 0.8, 1.2, 1.5, 2.0)
"""Factors that ScalingVis is tuned over."""
LOW_ALPHAS = (0.5, 0.8)
"""Factors that AdaptVis is tuned over for low confidence: attention is smoothed."""
HIGH_ALPHAS = (1.2, 1.5, 2.0)
"""Factors that AdaptVis is tuned over for high confidence: attention is sharpened."""
THRESHOLDS = tuple(k / 100 for k in range(101))
_DECIMALS = 2
_REPAIR = "write it with `write_calibration`"
_FIELDS: Mapping[str, type] = {
    "model": str,
    "data": str,
    "n": int,
    "split": dict,
    "alpha1": float,
    "alpha2": float,
    "beta": float,
}
_SPLIT: Mapping[str, type] = {"cases": int, "seed": int, "share": float}


@dataclass(frozen=True)
class ScalingVis:
    """One factor for all prompts."""

    alpha: float  # of the logits of image columns; 1 changes nothing, below 1 smooths, above 1 sharpens

    def __post_init__(self) -> None:
        _check_alpha("alpha", self.alpha)

    def alpha_for(self, _confidence: float) -> float:
        """The factor, whatever the confidence."""
        return self.alpha


@dataclass(frozen=True)
class AdaptVis:
    """One of two factors, by the confidence of the plain answer."""

    alpha_low: float  # if the confidence is below the threshold (alpha1 of the paper)
    alpha_high: float  # otherwise (alpha2)
    threshold: float  # beta, 0 to 1

    def __post_init__(self) -> None:
        _check_alpha("alpha_low", self.alpha_low)
        _check_alpha("alpha_high", self.alpha_high)
        if not 0.0 <= self.threshold <= 1.0:
            raise InputError("threshold", str(self.threshold), "a probability, 0 to 1", "tune it on a validation part")

    def alpha_for(self, confidence: float) -> float:
        """The factor for a confidence, 0 to 1."""
        return self.alpha_low if round(confidence, _DECIMALS) < self.threshold else self.alpha_high


def _check_alpha(name: str, alpha: float) -> None:
    if not (math.isfinite(alpha) and alpha >= 0.0):
        raise InputError(name, str(alpha), "a finite factor, 0 or more", "use one of the grid")


@dataclass(frozen=True)
class CaseSplit:
    """Random split of a data set into cases for tuning and cases for the report, fixed by the seed."""

    cases: int
    seed: int = 1  # of numpy's default generator; the authors' own split draws other cases
    share: float = 0.2  # of the cases used for tuning, 0 to 1, rounded to whole cases

    def __post_init__(self) -> None:
        if self.cases < 0 or self.seed < 0 or not 0.0 <= self.share <= 1.0:
            got = f"{self.cases} cases, seed {self.seed}, share {self.share}"
            raise InputError("split", got, "counts from 0 and a share of 0 to 1")

    @property
    def validation(self) -> tuple[int, ...]:
        """Indices of the cases for tuning, in rising order."""
        return self._parts()[0]

    @property
    def test(self) -> tuple[int, ...]:
        """Indices of the other cases, in rising order."""
        return self._parts()[1]

    def _parts(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        order = np.random.default_rng(self.seed).permutation(self.cases).tolist()
        count = round(self.share * self.cases)
        return tuple(sorted(order[:count])), tuple(sorted(order[count:]))


@dataclass(frozen=True)
class AdaptVisSettings:
    """Settings of AdaptVis, and the model and data they were tuned on."""

    model: str
    data: str
    split: CaseSplit
    settings: AdaptVis

    def settings_for(self, model: str) -> AdaptVis:
        """Return the settings; raises InputError if they were tuned on another model."""
        if model != self.model:
            repair = "tune it on this model: values do not transfer between models"
            raise InputError("calibration of AdaptVis", f"one for {self.model!r}", f"one for {model!r}", repair)
        return self.settings


def tune_scaling(split: CaseSplit, correct: Mapping[float, Sequence[bool]]) -> ScalingVis:
    """Choose the factor with most right answers, in order of `split.validation`; on a tie the nearest to 1."""
    right = _checked(split, ALPHAS, correct)
    return ScalingVis(min(ALPHAS, key=lambda alpha: (-int(right[alpha].sum()), _change(alpha))))


def tune_adaptive(
    split: CaseSplit, confidences: Sequence[float], correct: Mapping[float, Sequence[bool]], *, model: str, data: str
) -> AdaptVisSettings:
    """Choose the pair of factors and the threshold with most right answers, over LOW_ALPHAS, HIGH_ALPHAS, THRESHOLDS.

    On a tie, the pair nearest to 1 and the middle threshold are chosen. Confidences of the plain answers, and whether
    each factor's answers were right, are in the order of `split.validation`; the other cases stay unseen.
    """
    right = _checked(split, (*LOW_ALPHAS, *HIGH_ALPHAS), correct)
    sure = np.array([round(float(value), _DECIMALS) for value in confidences])
    if sure.shape != (len(split.validation),) or not ((sure >= 0.0) & (sure <= 1.0)).all():
        expected = f"{len(split.validation)}, each 0 to 1"
        raise InputError("confidences", str(sure.size), expected, "pass one for each validation case, and no others")
    unsure = sure[None, :] < np.array(THRESHOLDS)[:, None]
    found: list[tuple[tuple[float, float], AdaptVis]] = []
    for low, high in itertools.product(LOW_ALPHAS, HIGH_ALPHAS):
        counts = np.where(unsure, right[low], right[high]).sum(axis=1)
        tied = np.flatnonzero(counts == counts.max())
        merit = float(counts.max()), -_change(low) - _change(high)
        found.append((merit, AdaptVis(low, high, THRESHOLDS[int(tied[len(tied) // 2])])))
    _, settings = max(found, key=lambda one: one[0])
    return AdaptVisSettings(model, data, split, settings)


def _checked(
    split: CaseSplit, alphas: Sequence[float], correct: Mapping[float, Sequence[bool]]
) -> dict[float, np.ndarray[Any, np.dtype[np.bool_]]]:
    """(N,) bool for each factor."""
    count = len(split.validation)
    if not count:
        got = f"none of {split.cases} cases"
        raise InputError("validation part", got, "at least one case", "tune on more cases, and report on the others")
    missing = [alpha for alpha in alphas if alpha not in correct]
    if missing:
        raise InputError("answers", f"none with alpha {missing}", f"all of {list(alphas)}", "answer with each alpha")
    found = {alpha: np.asarray(correct[alpha], np.bool_) for alpha in alphas}
    sizes = {values.shape for values in found.values()} - {(count,)}
    if sizes:
        repair = "pass one for each validation case, and no others"
        raise InputError("answers", f"lists of {sorted(sizes)}", f"{count} for each alpha", repair)
    return found


def _change(alpha: float) -> float:
    """How far a factor is from 1: 2 as far as 1/2."""
    return abs(math.log(alpha)) if alpha > 0.0 else math.inf


def write_calibration(calibration: AdaptVisSettings, path: str | Path) -> None:
    """Write it as JSON: model, data, n, split, alpha1, alpha2, beta."""
    split, settings = calibration.split, calibration.settings
    values = {
        **{"model": calibration.model, "data": calibration.data, "n": len(split.validation)},
        "split": {"cases": split.cases, "seed": split.seed, "share": split.share},
        **{"alpha1": settings.alpha_low, "alpha2": settings.alpha_high, "beta": settings.threshold},
    }
    write_json(path, values, force=True, indent=2)


def read_calibration(path: str | Path) -> AdaptVisSettings:
    """Read a file of `write_calibration`; a FileError names the wrong field, n too if the split has another."""
    values = read_json(path, _REPAIR)
    told = {name: _field(path, values, name, kind) for name, kind in _FIELDS.items()}
    drawn = {name: _field(path, told["split"], name, kind) for name, kind in _SPLIT.items()}
    try:
        split, settings = CaseSplit(**drawn), AdaptVis(told["alpha1"], told["alpha2"], told["beta"])
    except InputError as error:
        raise FileError(path, f"{error.got}", _REPAIR, error.what) from error
    if told["n"] != len(split.validation) or told["n"] == 0:
        reason = f"{told['n']}, but the split has {len(split.validation)} validation cases"
        raise FileError(path, reason, _REPAIR, "n")
    return AdaptVisSettings(told["model"], told["data"], split, settings)


def _field(path: str | Path, values: Any, name: str, kind: type) -> Any:
    value = values.get(name) if isinstance(values, dict) else None
    allowed = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise FileError(path, f"{value!r} instead of {kind.__name__}", _REPAIR, name)
    return kind(value)


Settings = ScalingVis | AdaptVis


@dataclass(eq=False)
class ScaledAnswer:
    """Answer of a model; without values until the prefill has run, and without tokens until all are decoded.

    Args:
        tokens: (T,) int64, only the new tokens, including the end token.
        confidence: largest probability of the first token of the plain answer, 0 to 1, not rounded.
        plain: (V,) probabilities of the first token without scaling; `scaled`: with it.
    """

    tokens: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    confidence: float = math.nan
    alpha: float = math.nan
    plain: Tensor = field(default_factory=lambda: torch.zeros(0))
    scaled: Tensor = field(default_factory=lambda: torch.zeros(0))


def generate(
    parts: Parts,
    inputs: Mapping[str, Tensor],
    settings: Settings,
    max_new_tokens: int = 64,
) -> ScaledAnswer:
    """Answer one prompt by greedy decoding with scaled attention, through the model's own `generate`.

    Probabilities come from the model's logits, before any repetition penalty or similar step. Raises InputError for
    several prompts, a prompt without an image or that ends with it, no `input_ids`, or inputs that continue from a
    cache, and ModelError for a prefix language model, layers that do not attend to all earlier tokens, or values that
    are not finite.
    """
    ids = _prompt(parts, inputs)
    if max_new_tokens < 1:
        raise InputError("max_new_tokens", str(max_new_tokens), "1 or more")
    told: dict[str, Any] = {"do_sample": False, "num_beams": 1, "use_cache": True, "cache_implementation": "dynamic"}
    model: Any = parts.model
    with one_row(parts, ids, settings) as seen:
        seen.tokens = model.generate(**inputs, **told, max_new_tokens=max_new_tokens)[0, ids.shape[1] :]
    return seen


@contextmanager
def one_row(parts: Parts, input_ids: Tensor, settings: Settings) -> Iterator[ScaledAnswer]:
    """Within this context, `parts.model.generate` runs the last token of one prompt (1, N) again with scaled attention.

    It applies to one call of `generate`, with that prompt and a dynamic cache. Yields values of the prefill, without
    tokens; empty until it has run.
    """
    _prompt(parts, {"input_ids": input_ids})
    columns, seen, done = parts.image_columns(input_ids)[0], ScaledAnswer(), False

    def again(_: nn.Module, _given: Any, named: dict[str, Any], outputs: Any) -> None:
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
        if any(type(layer) is not DynamicLayer for layer in cache.layers):
            name, kinds = type(parts.model).__name__, sorted({type(layer).__name__ for layer in cache.layers})
            raise ModelError(name, f"caches with {', '.join(kinds)}", "generate with a dynamic cache")
        done = cache.get_seq_length() >= input_ids.shape[1]
        if done:
            seen.plain = _probabilities(parts, outputs.logits)
            seen.confidence = float(seen.plain.max())
            seen.alpha = settings.alpha_for(seen.confidence)
            outputs["logits"] = _run_last_again(parts, named, cache, columns, seen.alpha)
            seen.scaled = _probabilities(parts, outputs.logits)

    handle = parts.model.register_forward_hook(again, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def _run_last_again(parts: Parts, named: Mapping[str, Any], cache: Cache, columns: Tensor, alpha: float) -> Tensor:
    """(1, 1, V) logits of the last prompt token with scaled attention; its states in the cache are replaced."""
    cache.crop(-1)
    step = {
        "input_ids": named["input_ids"][:, -1:],
        "attention_mask": named.get("attention_mask"),
        "position_ids": named["position_ids"][..., -1:],
        cache_argument(parts.model): cache,
    }
    plain, factor = cache.update, torch.where(columns, alpha, 1.0)[:, None]

    def update(*given: Any, **named: Any) -> tuple[Tensor, Tensor]:
        keys, values = plain(*given, **named)
        return keys * factor.to(keys), values

    cache.update = update  # type: ignore[method-assign]  # it stores the true keys, and returns scaled ones
    try:
        with torch.no_grad():
            logits: Tensor = parts.model(**step, use_cache=True, return_dict=True).logits
    finally:
        del cache.update
    return logits


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
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        reason = "has layers with a sliding window or linear attention, whose state cannot be rolled back by one token"
        raise ModelError(name, reason, "use a model with full attention in every layer")
