# SPDX-License-Identifier: Apache-2.0
"""What a model answers, with its image tokens in order and permuted.

Greedy decoding among the candidates of a question: their first words all differ, so the candidate with the likeliest
first word is the answer. Candidates are not named in the prompt. Chance is one by the number of candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from research.replication.building import Built
from research.replication.questions import Question, candidate_tokens
from research.replication.settings import Sizes
from research.replication.words import PAD, padded, pixels, prompt
from spatial_vlm_ros.vlm.diagnostics.permutation import order_of
from spatial_vlm_ros.vlm.parts import image_tokens_changed
from spatial_vlm_ros.vlm.remedies.norms import image_norms, loudness, text_norms

Right = npt.NDArray[np.bool_]
_BATCH = 48


def right_answers(built: Built, questions: Sequence[Question], sizes: Sizes, permuted: int | None = None) -> Right:
    """(N,) whether each question is answered rightly.

    Args:
        built: the model.
        questions: to be asked.
        sizes: of the models.
        permuted: seed of a permutation of the image tokens, another for each question; None = in order.
    """
    built.eval()
    found: list[bool] = []
    for start in range(0, len(questions), _BATCH):
        part = questions[start : start + _BATCH]
        change = nullcontext() if permuted is None else _permutation(built, permuted, start)
        with change:
            inputs = asked(part, sizes)
            logits = built.last_logits(inputs["pixel_values"], inputs["input_ids"])
        found += [chosen(row, one) == one.item.truth for row, one in zip(logits, part, strict=True)]
    return np.array(found)


def asked(questions: Sequence[Question], sizes: Sizes) -> dict[str, Tensor]:
    """Inputs of the model for some questions."""
    rows = padded([prompt(one.item.plain.question, sizes.side**2) for one in questions])
    images = pixels([one.item.plain.rgb for one in questions], sizes.image)
    return {"input_ids": rows, "attention_mask": (rows != PAD).long(), "pixel_values": images}


def chosen(scores: Tensor, question: Question) -> str:
    """The candidate with the highest score of its first word; scores (V,)."""
    choices = question.item.plain.choices
    return choices[int(scores[candidate_tokens(choices)].argmax())]


def norm_ratio(built: Built, questions: Sequence[Question], sizes: Sizes) -> float:
    """Mean norm of image tokens, as they enter the language model, by that of text embeddings."""
    built.eval()
    image = image_norms(built.parts, [asked(questions[:_BATCH], sizes)])
    return loudness(image, text_norms(built.parts))


def accuracies(right: Right, questions: Sequence[Question]) -> dict[str, float]:
    """Type and kind → share of right answers."""
    told: Mapping[str, Right] = {
        **{one: np.array([q.type == one for q in questions]) for one in sorted({q.type for q in questions})},
        **{one: np.array([q.kind == one for q in questions]) for one in sorted({q.kind for q in questions})},
    }
    return {name: round(float(right[within].mean()), 4) for name, within in told.items()}


def _permutation(built: Built, seed: int, start: int) -> AbstractContextManager[Any]:
    def change(tokens: Tensor, row: int) -> Tensor:
        return tokens[order_of(len(tokens), seed, start + row)]

    return image_tokens_changed(built.parts, change)
