# SPDX-License-Identifier: Apache-2.0
"""A vision-language model in this process with text prompts and text answers: shared by the backends for such models.

A reply is data: it is parsed strictly, never evaluated, and never put into another prompt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.backends import loading
from spatial_vlm_ros.perception.backends.families import ModelFamily, family_box_text
from spatial_vlm_ros.perception.backends.loading import check_tokens
from spatial_vlm_ros.perception.backends.onboard import Runner, option, settings, yes_or_no
from spatial_vlm_ros.perception.backends.prompts import (
    NO_MASKS,
    Probabilities,
    Reply,
    check_rgb,
    cut_off,
    greedy,
    grounding,
    quoted,
    read_reply,
)
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention, NamedObject
from spatial_vlm_ros.perception.grounder import Grounding, PromptReply
from spatial_vlm_ros.perception.judging import Box
from spatial_vlm_ros.perception.masking import MaskModel, PointsByDepth, masked_by
from spatial_vlm_ros.perception.probing import check_convention
from spatial_vlm_ros.perception.replies import ReplyReading, printable
from spatial_vlm_ros.types import Detection, ModelDomain, NounPhrase, Rgb

if TYPE_CHECKING:
    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
    from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies

_WARM_UP_TOKENS = 8
_CACHE_STEP = 256  # tokens; prompts of nearly the same length share a cache size, and with it the compiled code


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
        found = zip(categories, (reading.places for reading in readings), strict=True)
        unread = tuple(note for reading in readings for note in reading.unread)
        several = self.family.several_points
        return grounding(found, phrases, rgb, self.name, unread, self._masks, several=several)

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        """See Referrer.refer; empty if a part of the reply cannot be read, because that may mean another object."""
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
        reply = self.reply(rgb, self.family.one.format(quoted(words)))
        return reply.text, reply.seen_px

    def reply(self, rgb: Rgb, prompt: str) -> PromptReply:
        """Return the reply to a prompt; see Replier.reply."""
        check_rgb(rgb)
        reply, resized = self.runner.over([prompt], self._forward(rgb))[0]
        return PromptReply(reply.text, resized, reply.whole)

    def warm_up(self) -> float:
        """Decode a few tokens; see Runner.warm_up."""
        prompt = self.family.every.format("object")
        return self.runner.warm_up(prompt, lambda grey: self._forward(grey, max_new_tokens=_WARM_UP_TOKENS))

    def _ask(self, rgb: Rgb, prompts: Sequence[str], boxes: bool) -> list[ReplyReading]:
        """Read the objects in each prompt's reply; if a reply cannot be read, ask once more in other words."""
        check_rgb(rgb)
        answers = self._answers(rgb, prompts, boxes)
        if again := self.family.again:
            unread = [number for number, answer in enumerate(answers) if isinstance(answer, ModelError)]
            second = self._answers(rgb, [prompts[number] + again for number in unread], boxes)
            for number, answer in zip(unread, second, strict=True):
                answers[number] = answer
        readings = []
        for answer in answers:
            if isinstance(answer, ModelError):
                raise answer
            readings.append(answer)
        return readings

    def _answers(self, rgb: Rgb, prompts: Sequence[str], boxes: bool) -> list[ReplyReading | ModelError]:
        """Read the objects in each reply, or why it cannot be read; raises ModelError for one that was cut off."""
        results: list[ReplyReading | ModelError] = []
        for reply, resized in self.runner.over(prompts, self._forward(rgb)):
            cut = cut_off(reply, self._longest, self.name)
            try:
                read = read_reply(
                    reply.text,
                    rgb,
                    model=self.name,
                    convention=self._convention,
                    resized=resized,
                    probed=self.probed,
                    cut_off=cut,
                )
                if boxes and any(one.box_xyxy is None for one in read.places):
                    shown = printable(reply.text, 120)
                    if not self.family.json_boxes:
                        raise ModelError(self.name, f"it returns points where boxes are needed: {shown!r}", NO_MASKS)
                    repair = "use a larger or newer model: this one does not answer in the requested form"
                    raise ModelError(self.name, f"it returns points where boxes were requested: {shown!r}", repair)
            except ModelError as error:
                if error is cut:
                    raise
                if cut is not None:
                    raise cut from error
                results.append(error)
                continue
            results.append(replace(read, places=tuple(replace(one, score=reply.score) for one in read.places)))
        return results

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
                shown = re.compile("|".join(map(re.escape, words)))
                replies = [replace(reply, text=shown.sub("", reply.text)) for reply in replies]
            return [(reply, resized) for reply in replies]

        return forward


def chat_inputs(processor: Any, image: Any, prompts: Sequence[str], images: Mapping[str, Any]) -> Any:
    """Make the inputs of chats with one image and one prompt each, the image first, with the chat template.

    Args:
        image: PIL image.
        images: keyword arguments of the image processor.
    """
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt}]}]
        for prompt in prompts
    ]
    return processor.apply_chat_template(
        chats,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"text_kwargs": {"padding": True, "padding_side": "left"}, "images_kwargs": images},
    )


@dataclass(frozen=True)
class RemedyOptions:
    """Options of remedies as texts; empty options request nothing.

    Args:
        norm_dose: 0 to 1.
        allow_untrained: "yes" or "no".
    """

    norm_dose: str = ""
    positions: str = ""
    attention: str = ""
    allow_untrained: str = "no"

    def asked_for(self) -> tuple[str, ...]:
        """Names of the options that request a remedy."""
        return tuple(name for name, text in asdict(self).items() if text and name != "allow_untrained")

    def runner(self, name: str, preset: str, given: Mapping[str, str]) -> Runner:
        """Make the model's runner; with scaled attention it takes one prompt at a time.

        Args:
            preset: see onboard.PRESETS.
        """
        run = settings(preset, **given)
        option("allow_untrained", self.allow_untrained, yes_or_no)
        if run.compile and self.asked_for():
            raise InputError("option compile", "yes together with a remedy", "no", "leave compile or the remedy out")
        if self.attention:
            if given.get("batch") and run.batch > 1:
                repair = "leave batch out: attention is scaled for one question at a time"
                raise InputError("option batch", given["batch"], "1 together with attention", repair)
            run = replace(run, batch=1)
        return Runner(name, run, language=True)

    def requested(self, name: str, model: str) -> RequestedRemedies:
        """Return the requested remedies as values.

        Args:
            model: folder or hub id; a calibration has to belong to it.
        """
        loading.transformers_class("AttentionMaskInterface", model=name)  # raises with install advice
        from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, read_attention

        return RequestedRemedies(
            option("norm_dose", self.norm_dose, float) if self.norm_dose else None,
            self.positions or None,
            read_attention(self.attention, loading.model_name(model)) if self.attention else None,
            option("allow_untrained", self.allow_untrained, yes_or_no),
        )


class QuestionedModel(WordModel):
    """A WordModel of a class that vlm/parts.py knows; it can also be asked questions with candidate answers."""

    @property
    def scorer(self) -> CandidateScorer:
        """Scores candidates with the same model, by likelihood and with its remedies; see questioning.answerer_of."""
        from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

        question = self.family.question.replace("{}", "{question}")
        return CandidateScorer(
            self._model,
            self._processor,
            "" if self._processor.chat_template else self._processor.image_token + question,
            answering=None if self._answering is nullcontext else self._answering,
            square=self.convention.unit == "square",
            batch=self.runner.settings.batch,
        )

    def box_text(self, rgb: Rgb, box: Box) -> str:
        """Write a box as the model does, for a question about it; see judging."""
        return family_box_text(self.name, self.family, self.convention, rgb, box, self.scorer.seen_size)


def has_parts(kind: str) -> bool:
    """Whether remedies and questions by likelihood support a `model_type`; needs torch."""
    from spatial_vlm_ros.vlm.parts import ARCHITECTURES

    return kind in ARCHITECTURES


def refuse_remedies(name: str, config: Mapping[str, Any], cls: str, options: RemedyOptions) -> None:
    """Refuse remedies on a model of an unknown class.

    Args:
        config: content of the model's config.json.
    """
    from spatial_vlm_ros.vlm.parts import ARCHITECTURES
    from spatial_vlm_ros.vlm.remedies.learned import FIELD

    repair = f"leave it out, or use a model of one of the classes {', '.join(ARCHITECTURES)}"
    for option_name in options.asked_for():
        got = f"{getattr(options, option_name)} for a model of class {cls}, which cannot take it"
        raise InputError(f"option {option_name}", got, "no remedy for this class", repair)
    marks = config.get(FIELD)
    if marks:
        named = ", ".join(marks) if isinstance(marks, Mapping) else repr(marks)
        reason = f"it was trained with {named}, which cannot be applied to its class {cls}: its parts are not named"
        raise ModelError(name, reason, "name its parts in vlm/parts.py, or load a checkpoint trained without")


def finished(
    name: str,
    weights: Any,
    processor: Any,
    row: ModelFamily,
    prepare: Any,
    runner: Runner,
    limit: int,
    *,
    folder: Path,
    requested: RequestedRemedies | None,
    probe: str = "",
    masks: Any = None,
) -> WordModel:
    """Make the grounder: apply remedies to its model, warm it up and probe it, as the options say.

    Args:
        requested: requested remedies; None = the class of the model is not known.
        probe: option; "" = as warm_up.
    """
    answering: Callable[[Any], AbstractContextManager[Any]] = nullcontext
    made: type[WordModel] = WordModel
    if requested is not None:
        from spatial_vlm_ros.vlm.remedies.requested import treat

        applied = treat(weights, requested, folder, processor.tokenizer)
        answering = nullcontext if requested.attention is None else applied.answering
        made = QuestionedModel if processor.chat_template or row.question else WordModel
    grounder = made(
        name, weights, processor, row, row.convention, prepare, runner, limit, answering=answering, masks=masks
    )
    grounder.domain = loading.learnt_from(folder)
    if runner.settings.warm_up:
        grounder.warm_up()
    if option("probe", probe, yes_or_no) if probe else runner.settings.warm_up:
        grounder.probed = check_convention(name, grounder)
    return grounder


def check_chat_template(name: str, processor: Any) -> None:
    """Refuse a processor without a chat template; raises ModelError."""
    if not processor.chat_template:
        raise ModelError(name, "its processor has no chat template", "pass the model's whole folder")
