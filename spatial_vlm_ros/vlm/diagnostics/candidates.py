# SPDX-License-Identifier: Apache-2.0
"""A loaded model that answers by the likelihood of each candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.parts import Parts, finite, grids_of, parts_of


class CandidateScorer:
    """Answers with the candidate of the largest mean log-likelihood per token, after the prompt.

    The model sees the question, then "Answer with one of: a, b." in the order of the candidates. A candidate's tokens
    are those of its own text, put behind those of the prompt; so they do not depend on where a tokenizer would cut the
    whole. One run of the model for each candidate.

    Args:
        model: of a class that `parts_of` knows.
        processor: its processor, with `tokenizer`.
        template: prompt with the field "{question}" and the mark of the picture; empty = the processor's chat template.
        lead: put before each candidate, for tokenizers that mind a space there.

    Raises:
        ModelError: a model of another class.
        InputError: a template without the field, or none where the processor has no chat template.
    """

    def __init__(self, model: Any, processor: Any, template: str = "", lead: str = "") -> None:
        if template and "{question}" not in template:
            raise InputError("template", repr(template), "one with {question}", "say where the question goes")
        if not template and not getattr(processor, "chat_template", None):
            raise InputError("processor", "no chat template", "one with it", "give a template")
        self.parts: Parts = parts_of(model)
        self.model, self.processor, self.template, self.lead = model, processor, template, lead

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        """The most likely candidate; of equal ones the first.

        Args:
            rgb: (H, W, 3) uint8.
            question: without the candidates.
            choices: in the order in which the model sees them.

        Raises:
            InputError: no candidate, or one without tokens.
            ModelError: likelihoods that are no numbers.
        """
        scores = self.scores(rgb, question, choices)
        return choices[int(torch.tensor(scores).argmax())]

    def scores(self, rgb: Rgb, question: str, choices: Sequence[str]) -> list[float]:
        """Mean log-likelihood per token of each candidate; see `answer`."""
        if not choices:
            raise InputError("candidates", "none", "one or more", "name each answer")
        inputs = self.inputs(rgb, question, choices)
        return [self._likelihood(inputs, choice) for choice in choices]

    def inputs(self, rgb: Rgb, question: str, choices: Sequence[str]) -> dict[str, Any]:
        """What the processor makes of a question, on the model's device: up to where the answer starts."""
        words = f"{question} Answer with one of: {', '.join(choices)}."
        text = self.template.replace("{question}", words) if self.template else self._chat(words)
        given = self.processor(images=[Image.fromarray(rgb)], text=[text], return_tensors="pt")
        own = next(self.model.parameters())
        return {
            name: value.to(own.device, own.dtype) if value.is_floating_point() else value.to(own.device)
            for name, value in given.items()
        }

    def grid(self, rgb: Rgb, question: str, choices: Sequence[str]) -> tuple[int, int]:
        """Rows and columns of the image tokens of a question."""
        return grids_of(self.parts, self.inputs(rgb, question, choices))[0]

    def _chat(self, words: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": words}]
        messages = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))

    def _likelihood(self, inputs: Mapping[str, Any], choice: str) -> float:
        answer = self.processor.tokenizer(self.lead + choice, add_special_tokens=False, return_tensors="pt")[
            "input_ids"
        ]
        if not answer.numel():
            raise InputError("candidate", repr(choice), "one with tokens", "name it in words")
        answer = answer.to(inputs["input_ids"].device)
        with torch.no_grad():
            logits = self.model(**_continued(inputs, answer)).logits[0, -answer.shape[1] - 1 : -1].float()
        chosen = finite(type(self.model).__name__, logits).log_softmax(-1).gather(1, answer[0][:, None])
        return float(chosen.mean())


def _continued(inputs: Mapping[str, Any], answer: Tensor) -> dict[str, Any]:
    """Inputs with tokens behind the prompt: what is given by token goes on, with ones in the mask and else noughts."""
    prompt, more = inputs["input_ids"], {**inputs}
    for name, value in inputs.items():
        if value.shape == prompt.shape:
            end = answer if name == "input_ids" else torch.full_like(answer, int(name == "attention_mask"))
            more[name] = torch.cat([value, end.to(value.dtype)], dim=1)
    return more
