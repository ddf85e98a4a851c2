# SPDX-License-Identifier: Apache-2.0
"""Take all measurements inside a model that answers by likelihood."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics import measures
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.diagnostics.items import KINDS, Amount, ProbeItem, ask, draw_items
from spatial_vlm_ros.vlm.diagnostics.report import Inside, attention_strip
from spatial_vlm_ros.vlm.diagnostics.scores import Examined

T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """Amount of measurements: seeds of permutations, sides of pooled grids, and questions of each kind."""

    seeds: tuple[int, ...] = (0, 1, 2)
    sides: tuple[int, ...] = (16, 8, 4, 1)
    each: int = 4


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
    """Take all measurements of `Inside`, and draw the last token's attention beside each image, by the question's key.

    The text before the image in a prompt counts as system prompt, because it comes from the template. Attention and
    positions are measured on the first questions of each kind. A measurement that fails, for lack of memory or without
    a grid of image tokens, is left out with its reason.
    """
    effort, parts = effort or Effort(), scorer.parts
    items = [one.item for one in examined]
    chosen = [item for kind in KINDS for item in [i for i in items if i.kind == kind][: effort.each]]
    if not chosen:
        raise InputError("questions", "none", "one or more", "examine something first")
    right = np.array([one.right for one in examined])
    whole = (len(effort.seeds) + len(effort.sides)) * len(items) + len(chosen)
    left_out: list[str] = []
    done = 0

    def counted(value: T) -> T:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, whole)
        return value

    def tried(what: str, measure: Callable[[], T]) -> T | None:
        try:
            return measure()
        except Exception as error:  # including torch errors when memory runs out
            left_out.append(f"{what}: {_words(error)}")
            return None

    def asked(item: ProbeItem) -> bool:
        return counted(ask(scorer, item.plain) == item.truth)

    def inputs_of(item: ProbeItem) -> dict[str, Any]:
        return scorer.inputs(item.plain.rgb, item.plain.question, item.plain.choices)

    def grid_of(item: ProbeItem) -> tuple[int, int]:
        return scorer.grid(item.plain.rgb, item.plain.question, item.plain.choices)

    def mean_balance() -> measures.Balance:
        found = []
        for inputs in map(inputs_of, chosen):
            image = parts.image_columns(inputs["input_ids"])[0].cpu().numpy()
            found.append(measures.modality_balance(parts, inputs, np.cumsum(image) == 0))
        without = np.mean([b.without_system for b in found], axis=0)  # type: ignore[arg-type]
        return measures.Balance(np.mean([b.with_system for b in found], axis=0), without)

    def all_turned() -> measures.RotarySensitivity:
        turned = [measures.rotary_sensitivity(parts, inputs_of(item)) for item in chosen]
        names = [field.name for field in dataclasses.fields(measures.RotarySensitivity) if field.name != "step"]
        values = {name: np.stack([getattr(one, name) for one in turned]) for name in names}
        return measures.RotarySensitivity(**values, step=turned[0].step)

    inside = Inside(
        tried(
            "image tokens permuted", lambda: measures.permutation_sensitivity(parts, asked, items, effort.seeds, right)
        ),
        tried("image tokens pooled", lambda: measures.pooling(parts, asked, grid_of, items, effort.sides, right)) or (),
        tried("norms of image tokens", lambda: measures.loudness(parts, inputs_of(chosen[0]))),
        tried("attention on the image", mean_balance),
        tried("image keys turned", all_turned),
    )

    def drawn(item: ProbeItem) -> Rgb:
        return counted(attention_strip(item.plain.rgb, measures.attention_map(parts, inputs_of(item))))

    images = tried("attention images", lambda: {item.key: drawn(item) for item in chosen})
    return dataclasses.replace(inside, left_out=tuple(left_out)), images or {}


def _words(error: Exception) -> str:
    told = str(error) if isinstance(error, SpatialVlmError) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())
