# SPDX-License-Identifier: Apache-2.0
"""Turn categories into texts for Grounding DINO, and its token scores into category scores.

The backends with and without torch share this module; it imports neither. Categories are asked together, as in "cat.
soup can.": the model lets words see each other only between full stops, and gives each box a score for every token. The
score of a category for a box is the mean over its tokens, as in MM-Grounding-DINO. A bottle opener therefore does not
pass as a can opener because of "opener" alone. The score of the box itself is the greatest of all its token scores, as
in the model's post-processing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes, clipped, corners, likely


def joined(categories: Sequence[str]) -> str:
    """Join categories into one text, such as "cat. soup can."."""
    return ". ".join(categories) + "."


def prompts_of(
    categories: Sequence[str], at_once: int, longest: int, tokens: Callable[[str], int]
) -> list[tuple[str, ...]]:
    """Group categories so that each group fits in one prompt.

    Args:
        at_once: most categories of a group.
        longest: most tokens of a group's text, including the start and end tokens.
    """
    prompts: list[tuple[str, ...]] = []
    group: tuple[str, ...] = ()
    for category in categories:
        if tokens(joined((category,))) > longest:
            expected = f"a text of {longest} tokens at most"
            raise InputError("category", repr(category), expected, "use fewer words")
        if group and (len(group) >= at_once or tokens(joined((*group, category))) > longest):
            prompts.append(group)
            group = ()
        group = (*group, category)
    return [*prompts, group]


def spans_of(ids: Sequence[int], stop: int, prompt: Sequence[str], model: str) -> list[slice]:
    """Find the token span of each category: each ends with a full stop, and the first begins after [CLS].

    Args:
        ids: tokens of the prompt's text.
        model: the backend's name, for messages.
    """
    stops = [n for n, token in enumerate(ids) if token == stop]
    spans = [slice(a + 1, b) for a, b in zip([0, *stops[:-1]], stops, strict=True)] if stops else []
    if len(spans) != len(prompt) or any(span.stop <= span.start for span in spans):
        reason = f"its tokenizer makes {len(spans)} parts of {joined(prompt)!r}"
        raise ModelError(model, reason, "use the tokenizer that was saved with the model")
    return spans


def read_boxes(
    logits: npt.NDArray[Any],
    boxes: npt.NDArray[Any],
    spans: dict[str, slice],
    categories: Sequence[str],
    least: float,
    size: tuple[int, int],
) -> Boxes:
    """Read the model's answer to a prompt: boxes above a score, clipped to the image.

    Args:
        logits: (Q, T) of Q boxes for T tokens; minus infinity for padding.
        boxes: (Q, 4): centre x, centre y, width, height, relative to the image.
        categories: categories of the whole request, the columns of `fit`; those of other prompts have the score 0.
        least: score, 0 to 1, that a box has to exceed.
        size: (height, width) of the image, pixels.
    """
    words = likely(logits)
    score = words.max(axis=1)
    kept = np.flatnonzero(score > least)
    fit = np.zeros((len(kept), len(categories)))
    for category, span in spans.items():
        fit[:, categories.index(category)] = words[kept, span].mean(axis=1)
    return clipped(corners(boxes[kept], size), score[kept], fit, size)
