# SPDX-License-Identifier: Apache-2.0
"""Backend "server": a vision model behind an OpenAI-compatible server, on this machine or another.

vLLM, SGLang, llama.cpp's server and `transformers serve` implement this API. docs/model_server.md describes limits,
secrets and the fallback.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from spatial_vlm_ros.errors import (
    CancelledError,
    InputError,
    ModelError,
    ModelTimeoutError,
    SpatialVlmError,
)
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.backends import server_chat as chat
from spatial_vlm_ros.perception.backends.families import ModelFamily, asked, family_box_text, warn_of_one
from spatial_vlm_ros.perception.backends.prompts import (
    SAME_BOX,
    SAME_POINT,
    detection_of,
    grounding,
    mask_model_of,
    quoted,
    read_reply,
    with_boxes,
    with_masks_of,
)
from spatial_vlm_ros.perception.backends.server_http import (
    DEFAULT_URL,
    Client,
    ServerDownError,
    chosen,
    number,
    server_client,
)
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention, NamedObject
from spatial_vlm_ros.perception.grounder import Grounder, Grounding, PromptReply
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.perception.judging import Box
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.masking import MaskModel, PointsByDepth, masked_by
from spatial_vlm_ros.perception.probing import check_convention
from spatial_vlm_ros.perception.replies import ReplyReading
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

_UNKNOWN = 1.0  # score of an object if the server gives no probabilities: it has no weight in the choice
_ANSWERS: Mapping[str, bool] = {"yes": True, "no": False}
_SCHEMAS: Mapping[str, bool] = {"strict": True, "none": False}
_log = logging.getLogger(__name__)


class ServerGrounder:
    """Asks a model server for the locations of objects; a Grounder. It keeps no state; threads may share it.

    Args:
        fallback: grounder that answers if the server is down, or None.
        masks: turns points into objects and gives boxes masks, or leaves points to geometry; None = boxes stay as they
            are, and points are refused.
    """

    def __init__(
        self,
        client: Client,
        asking: chat.ChatPrompt,
        fallback: Grounder | None = None,
        fallback_name: str = "",
        masks: MaskModel | PointsByDepth | None = None,
    ) -> None:
        self.name, self.fallback_name = client.name, fallback_name
        self._client, self._asking, self._fallback, self._masks = client, asking, fallback, masks
        self.probed = False

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Ask for all objects that the phrases' categories name; see Grounder.ground.

        A family that answers in JSON gets one request for all categories; others get one request per category. A score
        is the model's confidence in its whole answer, 1 if the server does not give it. The match is that of labels. An
        object given under two names, with boxes that overlap by SAME_BOX, is one object that fits both.
        """
        names = tuple(dict.fromkeys(phrase.category for phrase in phrases))
        sent = chat.image(rgb, self._asking)
        if not names:
            return Grounding((), label_match(phrases, ()))
        try:
            if self._asking.family is not None:
                return self._ground_each(self._asking.family, rgb, phrases, sent)
            reading = self._ask(chat.find_request(names, sent, self._asking), rgb, sent)
        except ServerDownError as down:
            return self._by_fallback(down, rgb, phrases)
        if self._masks is None:
            return self._grounding(reading.places, rgb, phrases, reading.unread)
        objects = with_boxes(reading.places, rgb, self._masks, several=False, model=self.name)
        return with_masks_of(self._grounding([one.named for one in objects], rgb, phrases, reading.unread), objects)

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        """See Referrer.refer. The fallback is not asked: its reliability differs.

        A score is the model's confidence in its whole answer, None if the server does not give it. Empty if a part of
        the reply cannot be read, because that part may mean another object.
        """
        sent = chat.image(rgb, self._asking)
        reading = self._ask(self._refer_request(words, sent), rgb, sent)
        return () if reading.unread else reading.places

    def masked(self, rgb: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        """Add masks to detections if a mask model is set; see Masker.masked."""
        return masked_by(self._masks, rgb, detections)

    @property
    def convention(self) -> Convention:
        """Convention of its answers; pixels refer to the image that was sent."""
        stated = self._asking.convention
        return dataclasses.replace(stated, unit="resized") if stated.unit == "pixel" else stated

    def written(self, rgb: Rgb, words: str) -> tuple[str, tuple[int, int]]:
        """Return the raw reply for a description, and (width, height) of the sent image, pixels; see Writer.written."""
        sent = chat.image(rgb, self._asking)
        return self._said(self._refer_request(words, sent)).text, sent.size

    def reply(self, rgb: Rgb, prompt: str) -> PromptReply:
        """Send a prompt unchanged and return the model's reply; the fallback is not asked. See Replier.reply."""
        sent = chat.image(rgb, self._asking)
        said = self._said(chat.prompt_request(prompt, sent, self._asking), partly=True)
        return PromptReply(said.text, sent.size, said.whole)

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        """Ask a question with choices and return the chosen one; the fallback is not asked. See questioning.py.

        Args:
            rgb: (H, W, 3) uint8.
            choices: the choices in the order in which the model reads them.
        """
        sent = chat.image(rgb, self._asking)
        return chat.named(
            self._said(chat.answer_request(question, choices, sent, self._asking)).text, choices, self.name
        )

    def box_text(self, rgb: Rgb, box: Box) -> str:
        """Write a box as the model does, for a question about it; see judging."""
        return family_box_text(
            self.name, self._asking.family, self.convention, rgb, box, lambda seen: chat.image(seen, self._asking).size
        )

    def _ground_each(
        self, family: ModelFamily, rgb: Rgb, phrases: Sequence[NounPhrase], sent: chat.SentImage
    ) -> Grounding:
        """Ask for each category with the family's own prompt, all within one time budget."""
        deadline, unread = self._client.deadline(), list[str]()

        def found() -> Iterator[tuple[str, list[NamedObject]]]:
            for category in dict.fromkeys(quoted(phrase.category) for phrase in phrases):
                request = chat.prompt_request(family.every.format(category), sent, self._asking)
                reading = self._ask(request, rgb, sent, deadline)
                unread.extend(reading.unread)
                yield category, [_scored(one) for one in reading.places]

        grounded = grounding(found(), phrases, rgb, self.name, (), self._masks, several=family.several_points)
        return dataclasses.replace(grounded, unread=tuple(unread))

    def _refer_request(self, words: str, sent: chat.SentImage) -> dict[str, Any]:
        family = self._asking.family
        if family is None:
            return chat.refer_request(words, sent, self._asking)
        return chat.prompt_request(family.one.format(quoted(words)), sent, self._asking)

    def _said(self, request: dict[str, Any], deadline: float | None = None, partly: bool = False) -> chat.ChatReply:
        body = json.dumps(request).encode("ascii")
        return chat.said(self._client.post("/chat/completions", body, deadline), self.name, partly)

    def _ask(
        self, request: dict[str, Any], rgb: Rgb, sent: chat.SentImage, deadline: float | None = None
    ) -> ReplyReading:
        said = self._said(request, deadline, partly=True)
        read = read_reply(
            said.text,
            rgb,
            model=self.name,
            convention=self.convention,
            resized=sent.size,
            probed=self.probed,
            cut_off=None if said.whole else chat.cut_off(self.name),
            most=chat.MOST_PLACES,
        )
        places = tuple(dataclasses.replace(one, score=said.confidence) for one in read.places)
        return dataclasses.replace(read, places=places)

    def _grounding(
        self, found: Sequence[NamedObject], rgb: Rgb, phrases: Sequence[NounPhrase], unread: tuple[str, ...]
    ) -> Grounding:
        try:
            objects = [self._detection(number, one, phrases) for number, one in enumerate(found)]
            detections = check_detections(objects, rgb.shape[1], rgb.shape[0])
        except InputError as error:
            raise ModelError(self.name, str(error), "check the option convention against the model's card") from error
        groups = _same_objects(detections)
        match = label_match(phrases, detections)
        fit = [match[:, group].max(axis=1) for group in groups]
        return Grounding(
            tuple(detections[group[0]] for group in groups),
            np.stack(fit, axis=1) if fit else np.zeros((len(phrases), 0)),
            unread,
            UNMEASURED,
        )

    def _detection(self, number: int, one: NamedObject, phrases: Sequence[NounPhrase]) -> Detection:
        asked = {phrase.category for phrase in phrases}
        label = one.label or (asked.pop() if len(asked) == 1 else "")
        if not label or (one.box_xyxy is None and not isinstance(self._masks, PointsByDepth)):
            lacks = f"of {one.label!r} without a box" if label else "without a label"
            repair = "set schema=strict, or use a model that returns boxes and labels"
            raise ModelError(self.name, f"it returned a place {lacks}", repair)
        return detection_of(_scored(one), str(number), label)

    def _by_fallback(self, down: ServerDownError, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Ask the fallback if the server is down; it does not hide a refusal or a wrong answer."""
        if self._fallback is None:
            raise down
        _log.warning("model server down, %s answers: %s", self.fallback_name, down)
        try:
            return self._fallback.ground(rgb, phrases)
        except CancelledError:
            raise
        except Exception as error:  # whatever the fallback raises, the error names both failures
            timeout = isinstance(down, ModelTimeoutError) and isinstance(error, ModelTimeoutError)
            kind = ModelTimeoutError if timeout else ModelError
            both = f"{self.name}, then {self.fallback_name}"
            words = str(error) if isinstance(error, SpatialVlmError) else f"{type(error).__name__}: {error}"
            raise kind(both, f"{down.reason}; then: {words}", down.repair) from error


def load(
    model: str,
    url: str = DEFAULT_URL,
    convention: str = "",
    family: str = "",
    prompt: str = "",
    key_env: str = "",
    ca_file: str = "",
    schema: str = "strict",
    logprobs: str = "yes",
    image: str = "jpeg",
    longest_side: str = "1280",
    multiple: str = "",
    max_tokens: str = "1024",
    masks: str = "",
    masks_model: str = "",
    connect_timeout: str = "3",
    read_timeout: str = "20",
    budget: str = "25",
    retries: str = "2",
    fallback: str = "",
    fallback_options: str = "",
    probe: str = "yes",
) -> ServerGrounder:
    """Load the backend; a server that does not run yet is not probed. Options: docs/model_server.md."""
    client = server_client(model, url, key_env, ca_file, connect_timeout, read_timeout, budget, retries)
    row = asked(model, family=family, prompt=prompt, convention=convention)
    if row is not None and not row.chat:
        backend = f"use the backend {' or '.join(row.in_process)}"
        raise InputError("option model", f"{model!r} of the family {row.name}", "a chat model", backend)
    warn_of_one(row, model)
    asking = chat.ChatPrompt(
        model=model,
        convention=CONVENTIONS[row.convention if row is not None else convention],
        schema=chosen("schema", schema, _SCHEMAS),
        logprobs=chosen("logprobs", logprobs, _ANSWERS),
        image=cast("chat.ImageFormat", image),
        longest_side=number("longest_side", longest_side, int),
        multiple=number("multiple", multiple, int) if multiple else (1 if row is None else row.multiple),
        max_tokens=number("max_tokens", max_tokens, int),
        family=None if row is None or row.json_boxes else row,
    )
    mask_model = mask_model_of(masks, masks_model, row)
    other = load_grounder(fallback, parse_options(fallback_options)) if fallback else None
    grounder = ServerGrounder(client, asking, other, fallback, mask_model)
    if chosen("probe", probe, _ANSWERS):
        try:
            grounder.probed = check_convention(client.name, grounder)
        except ServerDownError as error:
            _log.warning("not probed, so its coordinate convention is taken as stated: %s", error)
    return grounder


def _scored(one: NamedObject) -> NamedObject:
    return dataclasses.replace(one, score=_UNKNOWN if one.score is None else one.score)


def _same_objects(detections: Sequence[Detection]) -> list[list[int]]:
    """Group detections that are one object under different labels; indices, each group in order."""

    def same(one: Detection, other: Detection) -> bool:
        if one.label == other.label:
            return False
        if one.pointed and other.pointed:
            return math.dist(one.box_xyxy[:2], other.box_xyxy[:2]) <= SAME_POINT
        return bool(overlaps(one.box_xyxy, other.box_xyxy)[0, 0] >= SAME_BOX)

    groups: list[list[int]] = []
    for n, one in enumerate(detections):
        group = next((group for group in groups if all(same(one, detections[m]) for m in group)), None)
        if group is None:
            groups.append([n])
        else:
            group.append(n)
    return groups
