# SPDX-License-Identifier: Apache-2.0
"""Take all measurements inside a model that answers by likelihood."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.diagnostics.items import KINDS, Amount, ProbeItem, draw_items
from spatial_vlm_ros.vlm.diagnostics.measures import (
    Balance,
    RotarySensitivity,
    attention_map,
    loudness,
    modality_balance,
    permutation_sensitivity,
    pooling,
    rotary_sensitivity,
)
from spatial_vlm_ros.vlm.diagnostics.report import Inside, attention_strip
from spatial_vlm_ros.vlm.diagnostics.scores import Examined

T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """Amount of measurements."""

    seeds: tuple[int, ...] = (0, 1, 2)
    sides: tuple[int, ...] = (16, 8, 4, 1)
    each: int = 4

    def __post_init__(self) -> None:
        if self.each < 1:
            raise InputError("questions of a kind", str(self.each), "one or more")


EFFORTS: Mapping[str, Effort] = MappingProxyType({"small": Effort((0,), (4, 1), 1), "full": Effort()})
"""Name of an amount of questions → effort."""


def why_no_grid(scorer: CandidateScorer) -> str | None:
    """Say why image tokens cannot be pooled and attention cannot be drawn; None if both are possible."""
    plain = draw_items(Amount(1, 0, 0))[0].plain
    try:
        scorer.grid(plain.rgb, plain.question, plain.choices)
    except Exception as error:  # including errors of a processor
        return _words(error)
    return None


def look_inside(
    scorer: CandidateScorer,
    examined: Sequence[Examined],
    effort: Effort | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Inside, dict[str, Rgb]]:
    """Take all measurements of `Inside`, and draw images of attention.

    The text before the image in a prompt counts as system prompt, because it comes from the template. Attention and
    positions are measured on the first questions of each kind: the balance is a mean over them, and the rotated keys
    are measured one after the other.

    A measurement that fails, for lack of memory or without a grid of image tokens, is left out with its reason; the
    others are still made.

    Returns:
        The numbers, and key of a question → its image beside a map of the last token's attention.
    """
    effort, parts = effort or Effort(), scorer.parts
    items = [one.item for one in examined]
    chosen = [item for kind in KINDS for item in [i for i in items if i.kind == kind][: effort.each]]
    if not chosen:
        raise InputError("questions", "none", "one or more", "examine something first")
    passes = len(effort.seeds) + len(effort.sides)
    watched = _Counted(scorer, passes * len(items) + len(chosen), progress)
    right = np.array([one.right for one in examined])

    def prompts() -> Iterator[dict[str, Any]]:
        for item in chosen:
            yield scorer.inputs(item.plain.rgb, item.plain.question, item.plain.choices)

    def balance() -> Balance:
        balances = [modality_balance(parts, inputs, 1, _before_image(scorer, inputs)) for inputs in prompts()]
        with_system = np.mean([b.with_system for b in balances], axis=0)
        without = np.mean([b.without_system for b in balances], axis=0)  # type: ignore[arg-type]
        return Balance(with_system, without, balances[0].steps)

    tried = _Tried()
    inside = Inside(
        tried("image tokens permuted", lambda: permutation_sensitivity(parts, watched, items, effort.seeds, right)),
        tried("image tokens pooled", lambda: pooling(parts, watched, items, effort.sides, right)) or (),
        tried("norms of image tokens", lambda: loudness(parts, next(prompts()))),
        tried("attention on the image", balance),
        tried("image keys turned", lambda: _stacked([rotary_sensitivity(parts, inputs) for inputs in prompts()])),
    )
    drawn = tried("attention images", lambda: _drawn(watched, chosen, prompts()))
    return dataclasses.replace(inside, left_out=tuple(tried.left_out)), drawn or {}


class _Tried:
    """Takes measurements and keeps the reason of each failure."""

    def __init__(self) -> None:
        self.left_out: list[str] = []

    def __call__(self, what: str, measure: Callable[[], T]) -> T | None:
        """Return a measurement; None if it fails."""
        try:
            return measure()
        except Exception as error:  # including torch errors when memory runs out
            self.left_out.append(f"{what}: {_words(error)}")
            return None


class _Counted:
    """The scorer, with a progress report after each question."""

    def __init__(self, scorer: CandidateScorer, of: int, progress: Callable[[int, int], None] | None) -> None:
        self._scorer, self._of, self._progress = scorer, of, progress
        self._done = 0
        self.grid, self.parts = scorer.grid, scorer.parts

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        answer = self._scorer.answer(rgb, question, choices)
        self.more()
        return answer

    def more(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._of)


def _words(error: Exception) -> str:
    told = str(error) if isinstance(error, SpatialVlmError) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())


def _drawn(watched: _Counted, chosen: Sequence[ProbeItem], prompts: Iterator[dict[str, Any]]) -> dict[str, Rgb]:
    """Key of a question → its image beside a map of the last token's attention."""
    images = {}
    for item, inputs in zip(chosen, prompts, strict=True):
        images[item.key] = attention_strip(item.plain.rgb, attention_map(watched.parts, inputs))
        watched.more()
    return images


def _before_image(scorer: CandidateScorer, inputs: dict[str, object]) -> npt.NDArray[np.bool_]:
    """(N,) bool, tokens of a prompt before its first image token."""
    image = scorer.parts.image_columns(inputs["input_ids"])[0].cpu().numpy()  # type: ignore[arg-type]
    return np.asarray(np.cumsum(image) == 0)


def _stacked(turned: Sequence[RotarySensitivity]) -> RotarySensitivity:
    names = [field.name for field in dataclasses.fields(RotarySensitivity) if field.name != "step"]
    values = {name: np.stack([getattr(one, name) for one in turned]) for name in names}
    return RotarySensitivity(**values, step=turned[0].step)
