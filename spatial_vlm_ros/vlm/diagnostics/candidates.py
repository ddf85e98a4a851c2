# SPDX-License-Identifier: Apache-2.0
"""A loaded model that answers by the likelihood of each candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
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
    whole. The prompt is run once; each candidate goes on from its keys and values, as in decoding.

    Args:
        model: of a class that `parts_of` knows.
        processor: its processor, with `tokenizer`.
        template: prompt with the field "{question}" and the mark of the image; empty = the processor's chat template.
        lead: put before each candidate, for tokenizers that mind a space there.
        answering: gives, for the (1, N) `input_ids` of a prompt, what its run is to be within, as `one_row` of
            remedies.attention_scaling does; None = nothing.

    Raises:
        ModelError: a model of another class.
        InputError: a template without the field, or none where the processor has no chat template.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        template: str = "",
        lead: str = "",
        answering: Callable[[Tensor], AbstractContextManager[Any]] | None = None,
    ) -> None:
        if template and "{question}" not in template:
            raise InputError("template", repr(template), "one with {question}", "say where the question goes")
        if not template and not getattr(processor, "chat_template", None):
            raise InputError("processor", "no chat template", "one with it", "give a template")
        self.parts: Parts = parts_of(model)
        self.model, self.processor, self.template, self.lead = model, processor, template, lead
        self._answering = answering

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
        answers = [self.tokens(choice, inputs["input_ids"].device) for choice in choices]
        with torch.no_grad():
            first, cache = self._run(inputs)
            return [self._likelihood(first, cache, answer) for answer in answers]

    def inputs(self, rgb: Rgb, question: str, choices: Sequence[str]) -> dict[str, Any]:
        """What the processor makes of a question, on the model's device: up to where the answer starts."""
        return self.asked(rgb, f"{question} Answer with one of: {', '.join(choices)}.")

    def asked(self, rgb: Rgb, words: str) -> dict[str, Any]:
        """The same of a question whose words are given whole, without candidates."""
        text = self.template.replace("{question}", words) if self.template else self._chat(words)
        given = self.processor(images=[Image.fromarray(rgb)], text=[text], return_tensors="pt")
        own = next(self.model.parameters())
        return {
            name: value.to(own.device, own.dtype) if value.is_floating_point() else value.to(own.device)
            for name, value in given.items()
            if name != "labels"  # of PaliGemma's, for a loss over all tokens of a prompt; only the last is looked at
        }

    def grid(self, rgb: Rgb, question: str, choices: Sequence[str]) -> tuple[int, int]:
        """Rows and columns of the image tokens of a question."""
        return grids_of(self.parts, self.inputs(rgb, question, choices))[0]

    def _run(self, inputs: dict[str, Any]) -> tuple[Tensor, Any]:
        """(1, V) logits behind the prompt, and its cache."""
        if self._answering is None:
            whole = self.model(**inputs, use_cache=True, logits_to_keep=1)
            return whole.logits[0, -1:], whole.past_key_values
        with self._answering(inputs["input_ids"]):
            one = self.model.generate(
                **inputs, max_new_tokens=1, do_sample=False, num_beams=1, use_cache=True, output_logits=True,
                cache_implementation="dynamic", return_dict_in_generate=True,
            )  # fmt: skip
        return one.logits[0], one.past_key_values

    def _chat(self, words: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": words}]
        messages = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))

    def _likelihood(self, first: Tensor, cache: Any, answer: Tensor) -> float:
        """Of an answer behind a prompt that was run; the cache is as it was, afterwards.

        Args:
            first: (1, V) logits behind the prompt.
            cache: keys and values of the prompt.
            answer: (1, M) tokens.
        """
        logits, more = first, answer.shape[1] - 1
        if more:
            # Without a mask, which one prompt without padding does not need, each class counts on from its cache.
            told = self.model(input_ids=answer[:, :-1], past_key_values=cache, use_cache=True).logits[0]
            cache.crop(-more)
            logits = torch.cat([first, told])
        values = finite(type(self.model).__name__, logits.float())
        return float(values.log_softmax(-1).gather(1, answer[0][:, None]).mean())

    def tokens(self, choice: str, device: torch.device) -> Tensor:
        """(1, M) of a candidate; raises InputError where there are none."""
        given = self.processor.tokenizer(self.lead + choice, add_special_tokens=False, return_tensors="pt")
        if not given["input_ids"].numel():
            raise InputError("candidate", repr(choice), "one with tokens", "name it in words")
        return given["input_ids"].to(device)
