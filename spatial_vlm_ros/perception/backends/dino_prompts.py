# SPDX-License-Identifier: Apache-2.0
"""Categories as texts for Grounding DINO, and its scores of tokens as scores of categories.

Shared by the backends with torch and without; imports neither. Categories are asked together, "cat. soup can.": the
model lets words see each other only between full stops, and gives each box a score for every token. A category's score
for a box is the mean over its tokens (as MM-Grounding-DINO takes it), so that "opener" alone does not make a can opener
of a bottle opener; the box's own score is the greatest of all tokens, as the model's post-processing has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes, clipped, corners, likely


def joined(categories: Sequence[str]) -> str:
    """Categories as one text, "cat. soup can."."""
    return ". ".join(categories) + "."


def prompts_of(
    categories: Sequence[str], at_once: int, longest: int, tokens: Callable[[str], int]
) -> list[tuple[str, ...]]:
    """Categories in groups that the model takes at once.

    Args:
        categories: as `asked_as` gives them.
        at_once: most categories of a group.
        longest: most tokens of a group's text, those at its beginning and end included.
        tokens: number of tokens of a text.

    Raises:
        InputError: a category that is too long by itself.
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
    """Where each category's tokens stand: each ends with a full stop, the first begins after [CLS].

    Args:
        ids: tokens of the prompt's text.
        stop: number of the full stop.
        prompt: categories of the text.
        model: the backend's name, for messages.

    Raises:
        ModelError: the tokenizer did not keep the full stops apart from the words.
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
    """What the model answers to a prompt: boxes above a score, clipped to the image.

    Args:
        logits: (Q, T) of Q boxes for T tokens; minus infinity where a token is none.
        boxes: (Q, 4): centre x, centre y, width, height, relative to the image.
        spans: category of the prompt → its tokens.
        categories: of the whole request, the columns of `fit`; those of other prompts have the score 0.
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
