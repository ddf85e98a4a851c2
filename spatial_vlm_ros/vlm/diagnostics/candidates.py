# SPDX-License-Identifier: Apache-2.0
"""Ask a loaded model questions with candidate answers, by the likelihood of each candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.boxes import padded
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.parts import Parts, cache_argument, cache_of, finite, grids_of, parts_of


class CandidateScorer:
    """Answers with the candidate of the largest mean log-likelihood per token, after the prompt.

    The model sees the question, then "Answer with one of: a, b." in the order of the candidates. A candidate is
    tokenized by itself and appended to the prompt's tokens. The prompt is run once; each candidate continues from its
    keys and values, as in decoding.

    Args:
        template: prompt with "{question}" and the image token; empty = the processor's chat template.
        lead: text before each candidate, for tokenizers that need a space there.
        answering: (1, N) `input_ids` of a prompt → a context around its run (remedies.attention_scaling.one_row).
        square: whether images are padded to a square first; always done if the processor would crop their sides.
        batch: questions per forward pass; see `scores_of`.
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
        """Return the most likely candidate, shown to the model in this order; on a tie the first."""
        scores = self.scores(rgb, question, choices)
        return choices[int(torch.tensor(scores).argmax())]

    def scores(self, rgb: Rgb, question: str, choices: Sequence[str]) -> list[float]:
        """Return the mean log-likelihood per token of each candidate; see `answer`."""
        return self.scores_of([(rgb, question, choices)])[0]

    def scores_of(self, asked: Sequence[tuple[Rgb, str, Sequence[str]]], among: bool = False) -> list[list[float]]:
        """Return the `scores` of several questions (image, question, candidates).

        Up to `batch` questions share a forward pass if their prompts and images have equal sizes, so nothing is padded.
        Other questions run one by one; so do all if attention is scaled or memory does not suffice for several.

        Args:
            among: return, instead of the mean per token, the log probability of each candidate among the candidates: at
                each token only tokens that continue a candidate count. Means, if a candidate is the beginning of
                another one.
        """
        if not all(choices for _, _, choices in asked):
            raise InputError("candidates", "none", "one or more")
        prepared = [self.inputs(*one) for one in asked]
        found = list[list[float]]([] for _ in asked)
        alike: dict[object, list[int]] = {}  # the questions that can share a forward pass
        for number, inputs in enumerate(prepared):
            sizes = tuple((name, tuple(value.shape)) for name, value in inputs.items())
            grid = tuple(inputs["image_grid_thw"].flatten().tolist()) if "image_grid_thw" in inputs else ()
            key = (frozenset(asked[number][2]), sizes, grid) if self._answering is None else number
            alike.setdefault(key, []).append(number)
        most = self.batch
        for rows in [group[k : k + most] for group in alike.values() for k in range(0, len(group), most)]:
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
        """Likelihoods of each answer (1, M tokens) after each prompt; None if memory does not suffice for several.

        `among`: answer → M lists of the tokens that count at each position; None = all, and means are returned.
        """
        found = {}
        try:
            with torch.no_grad():
                first, cache = self._run(together)  # (B, V) logits after the prompts; the cache is restored afterwards
                for choice, answer in answers.items():
                    values = self._told_by(first, cache, answer)
                    rows = answer.expand(len(first), -1)
                    own = values.gather(2, rows[:, :, None])[:, :, 0]
                    if among is None:
                        found[choice] = [float(mean) for mean in own.mean(dim=1)]
                        continue
                    possible = [values[:, n, list(tokens)].logsumexp(-1) for n, tokens in enumerate(among[choice])]
                    found[choice] = [float(total) for total in (own - torch.stack(possible, 1)).sum(dim=1)]
            return found
        except torch.cuda.OutOfMemoryError:
            if len(together["input_ids"]) == 1:
                raise
            return None

    def inputs(self, rgb: Rgb, question: str, choices: Sequence[str]) -> dict[str, Any]:
        """Process a question into inputs on the model's device, up to where the answer starts."""
        return self.asked(rgb, f"{question} Answer with one of: {', '.join(choices)}.")

    def asked(self, rgb: Rgb, words: str) -> dict[str, Any]:
        """Process a whole prompt, without adding candidates, into inputs on the model's device."""
        text = self.template.replace("{question}", words)
        if not self.template:
            content = [{"type": "image"}, {"type": "text", "text": words}]
            messages = [{"role": "user", "content": content}]
            text = str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
        image = Image.fromarray(padded(rgb) if self._square else rgb)
        given = self.processor(images=[image], text=[text])
        given.pop("labels", None)  # PaliGemma's, for a loss over all tokens; only the last is used
        own = next(self.model.parameters())
        return {
            name: value.to(own.device, own.dtype) if value.is_floating_point() else value.to(own.device)
            for name, value in given.convert_to_tensors("pt").items()
        }

    def seen_size(self, rgb: Rgb) -> tuple[int, int]:
        """Return (width, height), pixels, of an image resized by the processor of a model with patch grids (Qwen)."""
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
        """(B, V) logits after the prompts, and their cache; B is 1 if attention is scaled."""
        if self._answering is None:
            whole = self.model(**inputs, use_cache=True, logits_to_keep=1)
            return whole.logits[:, -1], cache_of(whole)
        with self._answering(inputs["input_ids"]):
            one = self.model.generate(
                **inputs, max_new_tokens=1, do_sample=False, num_beams=1, use_cache=True, output_logits=True,
                cache_implementation="dynamic", return_dict_in_generate=True,
            )  # fmt: skip
        return one.logits[0], cache_of(one)

    def _told_by(self, first: Tensor, cache: Any, answer: Tensor) -> Tensor:
        """(B, M, V) log-likelihoods of all tokens at each position of an answer; see `_likelihoods`."""
        logits, more = first[:, None], answer.shape[1] - 1
        if more:
            # Without a mask, which unpadded prompts do not need, each class continues from its cache.
            before = answer.expand(len(first), -1)[:, :-1]
            told = self.model(input_ids=before, use_cache=True, **{cache_argument(self.model): cache}).logits
            cache.crop(-more)
            logits = torch.cat([logits, told], dim=1)
        return finite(type(self.model).__name__, logits.float()).log_softmax(-1)

    def continuation(self, rgb: Rgb, words: str, text: str) -> tuple[float, bool]:
        """Mean log-likelihood per token of a text after a whole prompt, and whether greedy decoding would write it."""
        inputs = self.asked(rgb, words)
        answer = self.tokens(text, inputs["input_ids"].device)
        with torch.no_grad():
            values = self._told_by(*self._run(inputs), answer)
        own = values[0].gather(1, answer[0][:, None])[:, 0]
        return float(own.mean()), bool((values[0].argmax(-1) == answer[0]).all())

    def tokens(self, choice: str, device: torch.device) -> Tensor:
        """(1, M) tokens of a candidate; raises InputError if there are none."""
        given = self.processor.tokenizer(self.lead + choice, add_special_tokens=False, return_tensors="pt")
        if not given["input_ids"].numel():
            raise InputError("candidate", repr(choice), "text with at least one token")
        return given["input_ids"].to(device)


def continuations(answers: Mapping[str, Tensor]) -> dict[str, list[list[int]]] | None:
    """List, for each answer (1, M tokens) and position, the tokens that continue an answer with the same beginning.

    None if an answer is the beginning of another one.
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
    """Whether an image processor crops the sides of an image that is not square, as CLIP's does."""
    size = getattr(image_processor, "size", None)
    fits = size is not None and dict(size).get("shortest_edge") is not None
    return bool(getattr(image_processor, "do_center_crop", False)) and fits
