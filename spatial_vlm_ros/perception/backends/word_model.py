# SPDX-License-Identifier: Apache-2.0
"""A vision-language model in this process with text prompts and text answers: shared by the backends for such models.

A reply is data: it is parsed strictly, never evaluated, and never put into another prompt.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends.families import ModelFamily
from spatial_vlm_ros.perception.backends.loading import check_tokens
from spatial_vlm_ros.perception.backends.onboard import Runner
from spatial_vlm_ros.perception.backends.point_objects import (
    NO_MASKS,
    with_boxes,
    with_masks_of,
)
from spatial_vlm_ros.perception.backends.prompts import (
    Probabilities,
    Reply,
    check_rgb,
    check_whole,
    greedy,
    grounding,
    quoted,
)
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.masking import MaskModel, PointsByDepth, masked_by
from spatial_vlm_ros.perception.replier import PromptReply
from spatial_vlm_ros.perception.replies import NamedObject, ReplyReading, ended_at_limit, parse_reply, printable
from spatial_vlm_ros.types import Detection, ModelDomain, NounPhrase, Rgb

_WARM_UP_TOKENS = 8
_CACHE_STEP = 256  # tokens; prompts of nearly the same length share a cache size, and with it the compiled code
_log = logging.getLogger(__name__)


class PreparePrompts(Protocol):
    """Turns prompts about one image into a model's inputs."""

    def __call__(self, image: Any, prompts: Sequence[str], longest_px: int) -> tuple[Any, tuple[int, int]]:
        """Prepare a batch.

        Args:
            image: PIL image, RGB.
            longest_px: most pixels of the longest side.

        Returns:
            Inputs of `generate`: tensors on the CPU with B rows, padded on the left, including `input_ids`; and (width,
            height) in pixels of the image as resized by the processor.
        """
        ...


class WordModel:
    """A grounder that prompts a vision-language model in words.

    Decoding is greedy and without repetition penalty, whatever the checkpoint's own settings are, because brackets and
    digits have to repeat. The score of an object is the geometric mean probability, 0 to 1, of the tokens of the reply
    that names it, including the end token. A score written in the reply is ignored. The score says how sure the model
    was of its wording; it is not calibrated.

    Args:
        model: transformers model, on the runner's device; its generation settings are replaced.
        convention: key of CONVENTIONS of its answers.
        answering: gives, for the (B, N) `input_ids` of the prompts, a context manager around each call of `generate`.
        masks: turns points into objects and gives boxes masks, or leaves points to geometry; None = boxes stay as they
            are, and points are refused.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        processor: Any,
        family: ModelFamily,
        convention: str,
        prepare: PreparePrompts,
        runner: Runner,
        max_new_tokens: int = 1024,
        answering: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
        masks: MaskModel | PointsByDepth | None = None,
    ) -> None:
        self.name, self.family, self.runner, self._masks = name, family, runner, masks
        self.domain: ModelDomain = "unknown"
        self._model, self._processor, self._convention = model, processor, CONVENTIONS[convention]
        self._prepare, self._answering, self.probed = prepare, answering, False
        if getattr(processor, "image_token", None):
            check_tokens(processor.tokenizer, (processor.image_token,), model, model=name)
        model.generation_config = greedy(model, processor.tokenizer, max_new_tokens)
        self._longest = max_new_tokens

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Ask for every category once, and match the boxes to the phrases; see `grounding`."""
        categories = tuple(dict.fromkeys(quoted(phrase.category) for phrase in phrases))
        prompts = [self.family.every.format(category) for category in categories]
        readings = self._ask(rgb, prompts, boxes=self._masks is None)
        replies = [reading.places for reading in readings]
        unread = tuple(note for reading in readings for note in reading.unread)
        if self._masks is None:
            return grounding(dict(zip(categories, replies, strict=True)), phrases, rgb, self.name, unread)
        several = self.family.several_points
        objects = [with_boxes(found, rgb, self._masks, several=several, model=self.name) for found in replies]
        named = [tuple(one.named for one in found) for found in objects]
        grounded = grounding(dict(zip(categories, named, strict=True)), phrases, rgb, self.name, unread)
        return with_masks_of(grounded, [one for found in objects for one in found])

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        """Ask what a whole phrase refers to, relations and all: "the chick behind the cup".

        Args:
            rgb: (H, W, 3) uint8.

        Returns:
            The objects that the model names, in pixels of `rgb`; empty if it sees nothing that fits, or if a part of
            its reply cannot be read, because that part may mean another object.
        """
        reading = self._ask(rgb, [self.family.one.format(quoted(words))], boxes=False)[0]
        return () if reading.unread else reading.places

    def masked(self, rgb: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        """Add masks to detections if a mask model is set; see Masker.masked."""
        return masked_by(self._masks, rgb, detections)

    @property
    def convention(self) -> Convention:
        """Convention of its replies."""
        return self._convention

    def written(self, rgb: Rgb, words: str) -> tuple[str, tuple[int, int]]:
        """Return the raw reply, and (width, height) in pixels of the image as resized; see Writer.written."""
        check_rgb(rgb)
        reply, resized = self.runner.over([self.family.one.format(quoted(words))], self._forward(rgb))[0]
        return reply.text, resized

    def reply(self, rgb: Rgb, prompt: str) -> PromptReply:
        """Return the reply to a prompt; see Replier.reply."""
        check_rgb(rgb)
        reply, resized = self.runner.over([prompt], self._forward(rgb))[0]
        return PromptReply(reply.text, resized, reply.whole)

    def warm_up(self) -> float:
        """Prompt a full batch about a grey image, decode a few tokens, and return the seconds it took."""
        grey = np.full((480, 640, 3), 127, np.uint8)
        prompts = [self.family.every.format("object")] * self.runner.settings.batch
        return self.runner.warm_up(prompts, self._forward(grey, max_new_tokens=_WARM_UP_TOKENS))

    def _ask(self, rgb: Rgb, prompts: Sequence[str], boxes: bool) -> list[ReplyReading]:
        """Read the objects in each prompt's reply; if a reply cannot be read, ask once more in other words."""
        check_rgb(rgb)
        answers = self._answers(rgb, prompts, boxes)
        unread = [number for number, answer in enumerate(answers) if isinstance(answer, ModelError)]
        if not self.family.again:
            return [_read(answer) for answer in answers]
        again = self._answers(rgb, [prompts[number] + self.family.again for number in unread], boxes)
        for number, answer in zip(unread, again, strict=True):
            answers[number] = answer
        return [_read(answer) for answer in answers]

    def _answers(self, rgb: Rgb, prompts: Sequence[str], boxes: bool) -> list[ReplyReading | ModelError]:
        """Read the objects in each reply, or why it cannot be read."""
        results: list[ReplyReading | ModelError] = []
        size = (int(rgb.shape[1]), int(rgb.shape[0]))
        for reply, resized in self.runner.over(prompts, self._forward(rgb)):
            try:
                read = parse_reply(
                    reply.text,
                    model=self.name,
                    convention=self._convention,
                    size=size,
                    resized=resized,
                    probed=self.probed,
                )
                if not reply.whole:
                    if not read.places:
                        check_whole(reply, self._model.generation_config, self.name)
                    read = ended_at_limit(read)
                for note in (*read.notes, *read.unread):
                    _log.warning("model %r: %s", self.name, note)
                results.append(replace(read, places=self._scored(read.places, reply, boxes)))
            except ModelError as error:
                check_whole(reply, self._model.generation_config, self.name)
                results.append(error)
        return results

    def _scored(self, found: tuple[NamedObject, ...], reply: Reply, boxes: bool) -> tuple[NamedObject, ...]:
        if boxes and any(one.box_xyxy is None for one in found):
            repair = "use a larger or newer model: this one does not answer in the requested form"
            shown = printable(reply.text, 120)
            if not self.family.json_boxes:
                raise ModelError(self.name, f"it returns points where boxes are needed: {shown!r}", NO_MASKS)
            raise ModelError(self.name, f"it returns points where boxes were requested: {shown!r}", repair)
        return tuple(replace(one, score=reply.score) for one in found)

    def _forward(self, rgb: Rgb, **limits: Any) -> Callable[[Sequence[str], int], list[tuple[Reply, tuple[int, int]]]]:
        """Return the function that the runner calls with a batch of prompts and a longest side.

        It gives the replies, each with (width, height) in pixels of the image as resized by the processor.
        """
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(rgb))

        def forward(prompts: Sequence[str], longest_px: int) -> list[tuple[Reply, tuple[int, int]]]:
            prepared, resized = self._prepare(image, prompts, longest_px)
            inputs = prepared.to(self.runner.device, dtype=self._model.dtype, non_blocking=True)
            recorder, length = Probabilities(self.name), inputs["input_ids"].shape[1]
            if self.runner.settings.compile:
                room = math.ceil((length + self._longest) / _CACHE_STEP) * _CACHE_STEP
                limits.update(cache_implementation="static", max_cache_len=room)
            with self._answering(inputs["input_ids"]):
                ids = self._model.generate(**inputs, logits_processor=[recorder], **limits)
            rows = ids[:, length:].tolist()
            ends, tokenizer = self._model.generation_config, self._processor.tokenizer
            marked = self.family.special_places  # special location tokens must stay; end tokens are removed
            replies = recorder.replies(rows, ends, tokenizer, plain=not marked)
            if marked:
                words = tokenizer.convert_ids_to_tokens([*ends.eos_token_id, ends.pad_token_id])
                replies = [replace(reply, text=_without(reply.text, words)) for reply in replies]
            return [(reply, resized) for reply in replies]

        return forward


def conversation(image: Any, prompt: str) -> list[dict[str, Any]]:
    """Make a chat with one image and one prompt, the image first."""
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt}]}]


def _without(text: str, words: Sequence[str]) -> str:
    for word in words:
        text = text.replace(word, "")
    return text


def _read(answer: ReplyReading | ModelError) -> ReplyReading:
    if isinstance(answer, ModelError):
        raise answer
    return answer
