# SPDX-License-Identifier: Apache-2.0
"""Backend "florence-2": a small encoder-decoder model with task tokens as prompts and location tokens as answers.

An answer consists of words and tokens <loc_0> to <loc_999>. The image is cut into a thousand equal strips across and
down; a token gives the strip in which an edge lies, x before y, left and top before right and bottom. The processor's
own post_process_generation turns them into pixels (strip centres). It ignores text that it does not know, so the form
of the whole answer is checked first: an invalid answer is an error, never "nothing found".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends import loading, prompts
from spatial_vlm_ros.perception.backends.onboard import Runner, settings
from spatial_vlm_ros.perception.backends.options import chosen, number, switch
from spatial_vlm_ros.perception.backends.prompts import Reply, quoted
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention, NamedObject
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.probing import check_convention
from spatial_vlm_ros.perception.replies import LONGEST_LABEL, printable
from spatial_vlm_ros.types import NounPhrase, Rgb

NAME = "florence-2"
MODEL_CLASS = "Florence2ForConditionalGeneration"

TASKS: Mapping[str, str] = MappingProxyType(
    {"detection": "<OPEN_VOCABULARY_DETECTION>", "grounding": "<CAPTION_TO_PHRASE_GROUNDING>"}
)
"""Option → task token that asks for objects of a category."""

REFERRING = "<REFERRING_EXPRESSION_SEGMENTATION>"
"""Task token that asks for the object of a whole phrase; the answer is an outline."""

LOCATIONS = ("<loc_0>", "<loc_999>")
"""First and last location token."""

_FINER = 1000  # post_process_generation rounds pixels to whole numbers; in thousandths it loses nothing
_KEPT = ("bos_token_id", "decoder_start_token_id", "forced_bos_token_id", "no_repeat_ngram_size")
_PADDING = re.compile(r"</?s>|<pad>")
_LOCATION = r"(?:<loc_\d{1,3}>)"
_OUTLINE = rf"(?:<poly>(?:{_LOCATION}{{2}}|<sep>)+</poly>)"
_NAMED = re.compile(rf"(?:[^<>]*[^<>\s](?:(?:{_LOCATION}{{4}})+|{_OUTLINE}+)\s*)*")
_OUTLINES = re.compile(rf"(?:{_OUTLINE}+|(?:{_LOCATION}{{2}}|<sep>)*)")
_FEWEST_CORNERS = 3


def load(
    *,
    model: str,
    task: str = "detection",
    max_new_tokens: str = "512",
    preset: str = "auto",
    probe: str = "",
    **given: str,
) -> Florence2:
    """Load a Florence-2 model in the layout of transformers (florence-community/Florence-2-base, -large).

    Options: docs/backends.md.
    """
    limit = number("max_new_tokens", max_new_tokens, int, 1, prompts.MOST_TOKENS)
    chosen("task", task, TASKS)
    runner = Runner(NAME, settings(preset, **given), resizes=False)
    weights = runner.load(MODEL_CLASS, model)
    runner.compile(weights.model.vision_tower)
    processor = loading.processor(model, model=NAME)
    loading.check_tokens(processor.tokenizer, (processor.image_token, *LOCATIONS), weights, model=NAME)
    grounder = Florence2(weights, processor, runner, task, limit)
    if runner.settings.warm_up:
        grounder.warm_up()
    if switch("probe", probe) if probe else runner.settings.warm_up:
        check_convention(NAME, grounder)
    return grounder


class Florence2:
    """A grounder that asks Florence-2 about one category at a time.

    Decoding is greedy. The model gives no scores; the score of an object is the geometric mean probability, 0 to 1, of
    the tokens of the answer that names it, including the end token: the probability of the sequence, made independent
    of its length. It is not calibrated. The generation settings of the model are replaced.
    """

    def __init__(
        self, model: Any, processor: Any, runner: Runner, task: str = "detection", max_new_tokens: int = 512
    ) -> None:
        self.runner = runner
        self.model, self._processor, self._task, self._longest = model, processor, TASKS[task], max_new_tokens
        model.generation_config = prompts.greedy(model, processor.tokenizer, max_new_tokens, keep=_KEPT)

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Ask for every category once, and match the boxes to the phrases; see prompts.grounding."""
        categories = tuple(dict.fromkeys(quoted(phrase.category) for phrase in phrases))
        asked = self._ask(rgb, self._task, categories, _NAMED)
        return prompts.grounding(zip(categories, asked, strict=True), phrases, rgb, NAME)

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        """See Referrer.refer; the box is that around the outline that the model gives."""
        return self._ask(rgb, REFERRING, [quoted(words)], _OUTLINES)[0]

    @property
    def convention(self) -> Convention:
        """Convention of its answers: numbers of a thousand strips."""
        return CONVENTIONS["bins-1000"]

    def written(self, rgb: Rgb, words: str) -> tuple[str, tuple[int, int]]:
        """Return the raw answer for a category, and the image's own (width, height); see Writer.written."""
        prompts.check_rgb(rgb)
        (reply,) = self.runner.over([self._task + quoted(words)], self._forward(rgb))
        return reply.text, (int(rgb.shape[1]), int(rgb.shape[0]))

    def warm_up(self) -> float:
        """See Runner.warm_up."""
        return self.runner.warm_up(f"{self._task}object", self._forward)

    def _ask(self, rgb: Rgb, task: str, words: Sequence[str], form: re.Pattern[str]) -> list[tuple[NamedObject, ...]]:
        prompts.check_rgb(rgb)
        replies = self.runner.over([task + asked for asked in words], self._forward(rgb))
        size = (int(rgb.shape[1]), int(rgb.shape[0]))
        return [self._found(reply, task, asked, form, size) for asked, reply in zip(words, replies, strict=True)]

    def _found(
        self, reply: Reply, task: str, words: str, form: re.Pattern[str], size: tuple[int, int]
    ) -> tuple[NamedObject, ...]:
        """Read the objects that an answer names; `size` is (width, height) in pixels."""
        if error := prompts.cut_off(reply, "max_new_tokens", self._longest, NAME):
            raise error
        answer = _PADDING.sub("", reply.text).strip()
        if not answer and not reply.text.startswith(self._processor.tokenizer.bos_token):
            raise _unusable(reply.text, "it is empty")  # a model that sees nothing writes this
        if not form.fullmatch(answer):
            raise _unusable(answer, "it is not text with boxes or outlines")
        finer = (size[0] * _FINER, size[1] * _FINER)
        try:
            parsed = self._processor.post_process_generation(text=answer, task=task, image_size=finer)[task]
        except Exception as error:
            reason = f"its processor cannot read {printable(answer, 120)!r}: {type(error).__name__}: {error}"
            raise ModelError(NAME, reason, "use the processor that belongs to the model") from error
        found = []
        names = parsed.get("bboxes_labels", parsed.get("labels", ()))
        for label, corners in zip(names, parsed.get("bboxes", ()), strict="bboxes" in parsed):
            found.append((label, np.asarray(corners, dtype=np.float64).reshape(2, 2)))
        names = parsed.get("polygons_labels", parsed.get("labels", ()))
        for label, outlines in zip(names, parsed.get("polygons", ()), strict="polygons" in parsed):
            if any(len(outline) < 2 * _FEWEST_CORNERS for outline in outlines):
                raise _unusable(answer, "an outline has fewer than three corners")
            points = np.concatenate([np.reshape(np.asarray(outline, np.float64), (-1, 2)) for outline in outlines])
            found.append((label, np.stack([points.min(axis=0), points.max(axis=0)])))
        if answer and not found:
            raise _unusable(answer, "its processor finds no place in it")

        objects = []
        for label, corners in found:  # (2, 2), top left and bottom right, in fractions of pixels
            (left, top), (right, bottom) = (corners / _FINER).tolist()
            if not (left < right and top < bottom):
                raise _unusable(answer, "a box has no area, or its corners in another order")
            name = printable(label, LONGEST_LABEL) or words
            objects.append(NamedObject(name, (left, top, right, bottom), None, reply.score))
        return tuple(objects)

    def _forward(self, rgb: Rgb) -> Callable[[Sequence[str], int], list[Reply]]:
        """Return the function that the runner calls with a batch of prompts; answers keep their special tokens."""
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(rgb))

        def forward(asks: Sequence[str], _: int) -> list[Reply]:
            inputs = self._processor(images=[image] * len(asks), text=list(asks), return_tensors="pt", padding=True).to(
                self.model.device, dtype=self.model.dtype, non_blocking=True
            )
            recorder = prompts.Probabilities(NAME)
            rows = self.model.generate(**inputs, logits_processor=[recorder])[:, 1:].tolist()
            return recorder.replies(rows, self.model.generation_config, self._processor.tokenizer, plain=False)

        return forward


def _unusable(answer: str, reason: str) -> ModelError:
    shown = printable(answer, 120)
    repair = "try the other of task=grounding and task=detection, or a larger Florence-2"
    return ModelError(NAME, f"its answer is unusable: {reason}; the answer begins {shown!r}", repair)
