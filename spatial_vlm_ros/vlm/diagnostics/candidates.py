# SPDX-License-Identifier: Apache-2.0
"""A loaded model that answers by the likelihood of each candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.padding import padded
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.kv_cache import cache_argument, cache_of
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
        square: whether images are padded to a square before, as those were that the model learnt from; they always are
            where its processor would cut their sides off.
        batch: questions that go through the model at once; see `scores_of`.

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
        square: bool = False,
        batch: int = 1,
    ) -> None:
        if template and "{question}" not in template:
            raise InputError("template", repr(template), "a text with {question}, where the question goes")
        if not template and not getattr(processor, "chat_template", None):
            raise InputError("processor", "no chat template", "a chat template", "pass a template")
        self.parts: Parts = parts_of(model)
        self.model, self.processor, self.template, self.lead = model, processor, template, lead
        self._answering, self.batch = answering, batch
        self._square = square or cuts_sides(processor.image_processor)

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
        return self.scores_of([(rgb, question, choices)])[0]

    def scores_of(self, asked: Sequence[tuple[Rgb, str, Sequence[str]]], among: bool = False) -> list[list[float]]:
        """`scores` of several questions.

        Up to `batch` of them go through the model at once where their prompts and images have equal sizes, as those
        have that differ in the order of the candidates alone: then nothing is padded, and positions are those of one by
        one. Others, and all where attention is scaled or memory did not suffice for several, go one by one.

        Args:
            asked: image, question and candidates of each.
            among: instead of the mean per token, the logarithm of the probability of each candidate among the
                candidates: that of writing it where at each token only those count with which a candidate goes on. So
                neither tokens more nor tokens that are certain change it. Where a candidate is the beginning of
                another one, which it cannot tell apart, means are given.

        Raises:
            InputError, ModelError: as `answer`.
        """
        if not all(choices for _, _, choices in asked):
            raise InputError("candidates", "none", "one or more")
        prepared = [self.inputs(*one) for one in asked]
        found = list[list[float]]([] for _ in asked)
        for rows in self._batches(prepared, [frozenset(choices) for _, _, choices in asked]):
            together = {name: torch.cat([prepared[row][name] for row in rows]) for name in prepared[rows[0]]}
            device = together["input_ids"].device
            answers = {choice: self.tokens(choice, device) for choice in dict.fromkeys(asked[rows[0]][2])}
            told = self._told(together, answers, continuations(answers) if among else None)
            if told is None:
                self.batch = 1
                return self.scores_of(asked, among)
            for place, row in enumerate(rows):
                found[row] = [told[choice][place] for choice in asked[row][2]]
        return found

    def _told(
        self, together: dict[str, Any], answers: Mapping[str, Tensor], among: Mapping[str, list[list[int]]] | None
    ) -> dict[str, list[float]] | None:
        """Likelihoods of each answer behind each prompt; None where memory does not suffice for several prompts."""
        try:
            with torch.no_grad():
                first, cache = self._run(together)
                return {
                    choice: self._likelihoods(first, cache, answer, None if among is None else among[choice])
                    for choice, answer in answers.items()
                }
        except torch.cuda.OutOfMemoryError:
            if len(together["input_ids"]) == 1:
                raise
            return None

    def _batches(self, prepared: Sequence[dict[str, Any]], choices: Sequence[frozenset[str]]) -> list[list[int]]:
        """Numbers of questions that go through the model at once: with the same candidates, in prompts of one size."""
        alike: dict[object, list[int]] = {}
        for number, inputs in enumerate(prepared):
            sizes = tuple((name, tuple(value.shape)) for name, value in inputs.items())
            grid = tuple(inputs["image_grid_thw"].flatten().tolist()) if "image_grid_thw" in inputs else ()
            alike.setdefault((choices[number], sizes, grid) if self._answering is None else number, []).append(number)
        most = self.batch
        return [rows[k : k + most] for rows in alike.values() for k in range(0, len(rows), most)]

    def inputs(self, rgb: Rgb, question: str, choices: Sequence[str]) -> dict[str, Any]:
        """What the processor makes of a question, on the model's device: up to where the answer starts."""
        return self.asked(rgb, f"{question} Answer with one of: {', '.join(choices)}.")

    def asked(self, rgb: Rgb, words: str) -> dict[str, Any]:
        """The same of a question whose words are given whole, without candidates."""
        text = self.template.replace("{question}", words) if self.template else self._chat(words)
        image = Image.fromarray(padded(rgb) if self._square else rgb)
        given = self.processor(images=[image], text=[text])
        given.pop("labels", None)  # of PaliGemma's, for a loss over all tokens of a prompt; only the last is looked at
        own = next(self.model.parameters())
        return {
            name: value.to(own.device, own.dtype) if value.is_floating_point() else value.to(own.device)
            for name, value in given.convert_to_tensors("pt").items()
        }

    def seen_size(self, rgb: Rgb) -> tuple[int, int]:
        """(width, height) of an image as the processor resizes it, pixels, of models whose images have patches (Qwen).

        Raises:
            InputError: the processor tells no grid of patches.
        """
        images = self.processor.image_processor
        told = images(images=[Image.fromarray(rgb)], return_tensors="pt").get("image_grid_thw")
        if told is None:
            raise InputError(
                "processor", "a processor that returns no grid", "the size of the resized image", "use drawn marks"
            )
        _, down, across = (int(n) * int(images.patch_size) for n in told[0])
        return across, down

    def grid(self, rgb: Rgb, question: str, choices: Sequence[str]) -> tuple[int, int]:
        """Rows and columns of the image tokens of a question."""
        return grids_of(self.parts, self.inputs(rgb, question, choices))[0]

    def _run(self, inputs: dict[str, Any]) -> tuple[Tensor, Any]:
        """(B, V) logits behind the prompts, and their cache; B is 1 where attention is scaled."""
        if self._answering is None:
            whole = self.model(**inputs, use_cache=True, logits_to_keep=1)
            return whole.logits[:, -1], cache_of(whole)
        with self._answering(inputs["input_ids"]):
            one = self.model.generate(
                **inputs, max_new_tokens=1, do_sample=False, num_beams=1, use_cache=True, output_logits=True,
                cache_implementation="dynamic", return_dict_in_generate=True,
            )  # fmt: skip
        return one.logits[0], cache_of(one)

    def _chat(self, words: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": words}]
        messages = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))

    def _likelihoods(
        self, first: Tensor, cache: Any, answer: Tensor, among: Sequence[Sequence[int]] | None = None
    ) -> list[float]:
        """Of an answer behind each prompt that was run; the cache is as it was, afterwards.

        Args:
            first: (B, V) logits behind the prompts.
            cache: keys and values of the prompts.
            answer: (1, M) tokens.
            among: M lists of the tokens that count at each place; None = all of them, and the mean is given.
        """
        values = self._told_by(first, cache, answer)
        rows = answer.expand(len(first), -1)
        own = values.gather(2, rows[:, :, None])[:, :, 0]
        if among is None:
            return [float(mean) for mean in own.mean(dim=1)]
        possible = torch.stack([values[:, place, list(tokens)].logsumexp(-1) for place, tokens in enumerate(among)], 1)
        return [float(total) for total in (own - possible).sum(dim=1)]

    def _told_by(self, first: Tensor, cache: Any, answer: Tensor) -> Tensor:
        """(B, M, V) log-likelihoods of all tokens at each place of an answer; see `_likelihoods`."""
        logits, more = first[:, None], answer.shape[1] - 1
        if more:
            # Without a mask, which prompts without padding do not need, each class counts on from its cache.
            before = answer.expand(len(first), -1)[:, :-1]
            told = self.model(input_ids=before, use_cache=True, **{cache_argument(self.model): cache}).logits
            cache.crop(-more)
            logits = torch.cat([logits, told], dim=1)
        return finite(type(self.model).__name__, logits.float()).log_softmax(-1)

    def continuation(self, rgb: Rgb, words: str, text: str) -> tuple[float, bool]:
        """How likely a text is behind a prompt whose words are given whole.

        Args:
            rgb: (H, W, 3) uint8.
            words: all words of the prompt; nothing is added but what the chat template has.
            text: that is to follow.

        Returns:
            Mean log-likelihood per token of the text, and whether greedy decoding would write it.

        Raises:
            InputError: a text without tokens.
            ModelError: likelihoods that are no numbers.
        """
        inputs = self.asked(rgb, words)
        answer = self.tokens(text, inputs["input_ids"].device)
        with torch.no_grad():
            values = self._told_by(*self._run(inputs), answer)
        own = values[0].gather(1, answer[0][:, None])[:, 0]
        return float(own.mean()), bool((values[0].argmax(-1) == answer[0]).all())

    def tokens(self, choice: str, device: torch.device) -> Tensor:
        """(1, M) of a candidate; raises InputError where there are none."""
        given = self.processor.tokenizer(self.lead + choice, add_special_tokens=False, return_tensors="pt")
        if not given["input_ids"].numel():
            raise InputError("candidate", repr(choice), "text with at least one token")
        return given["input_ids"].to(device)


def continuations(answers: Mapping[str, Tensor]) -> dict[str, list[list[int]]] | None:
    """For each answer and place the tokens with which an answer that begins alike goes on.

    Args:
        answers: (1, M) tokens of each.

    Returns:
        M lists for each; None where an answer is the beginning of another one.
    """
    tokens = {choice: answer[0].tolist() for choice, answer in answers.items()}
    found: dict[str, list[list[int]]] = {}
    for choice, own in tokens.items():
        found[choice] = []
        for place in range(len(own)):
            alike = [other for other in tokens.values() if other[:place] == own[:place]]
            if any(len(other) == place for other in alike):
                return None
            found[choice].append(sorted({other[place] for other in alike}))
    return found if len({tuple(own) for own in tokens.values()}) == len(tokens) else None


def cuts_sides(image_processor: Any) -> bool:
    """Whether an image processor cuts the sides of an image that is not square off, as CLIP's does."""
    size = getattr(image_processor, "size", None)
    fits = size is not None and dict(size).get("shortest_edge") is not None
    return bool(getattr(image_processor, "do_center_crop", False)) and fits
