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
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import CancelledError, InputError, ModelError, ModelTimeoutError, SpatialVlmError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.backends import prompts
from spatial_vlm_ros.perception.backends import server_chat as chat
from spatial_vlm_ros.perception.backends.families import ModelFamily, asked, family_box_text, warn_of_one
from spatial_vlm_ros.perception.backends.options import YES_OR_NO, chosen, number
from spatial_vlm_ros.perception.backends.server_http import DEFAULT_URL, Client, ServerDownError
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, NamedObject
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.perception.judging import Box
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.probing import check_convention
from spatial_vlm_ros.perception.referring import PointsByDepth
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

_IN_JSON = ModelFamily("in JSON")  # without prompts of its own: all names are asked for at once, with a schema
_log = logging.getLogger(__name__)

Ask = str | Callable[[chat.SentImage], dict[str, Any]]
"""A prompt of the family, or what makes the request with the image."""


class ServerGrounder(prompts.PromptedGrounder):
    """Asks a model server for the locations of objects. It keeps no state; threads may share it.

    A score is the model's confidence in its whole answer, None or 1 if the server does not give it.

    Args:
        family: family whose own prompts are used, one request per name; None = all names at once, in JSON.
        fallback: grounder that answers if the server is down, or None.
    """

    def __init__(
        self,
        client: Client,
        asking: chat.ChatPrompt,
        family: ModelFamily | None = None,
        fallback: Grounder | None = None,
        fallback_name: str = "",
        masks: prompts.Masks = None,
    ) -> None:
        convention = asking.convention  # pixels refer to the image that is sent
        if convention.unit == "pixel":
            convention = dataclasses.replace(convention, unit="resized")
        super().__init__(client.name, family or _IN_JSON, convention, ("max_tokens", asking.max_tokens), masks)
        self._client, self._asking, self._fallback, self.fallback_name = client, asking, fallback, fallback_name

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Ask for all objects that the phrases' categories name; see Grounder.ground.

        A family that answers in JSON gets one request for all categories, and the match is that of labels. An object
        given under two names, with boxes that overlap by SAME_BOX, is one object that fits both. Other families get one
        request per category; all are within one time budget.
        """
        try:
            if self.family is not _IN_JSON:
                return super().ground(rgb, phrases)
            names = tuple(dict.fromkeys(phrase.category for phrase in phrases))
            if not names:
                return Grounding((), label_match(phrases, ()))
            (reading,) = self._ask(rgb, [lambda sent: chat.find_request(names, sent, self._asking)])
        except ServerDownError as down:  # the fallback does not hide a refusal or a wrong answer
            if self._fallback is None:
                raise
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
        places, objects = reading.places, tuple[prompts.MaskedObject, ...]()
        if self._masks is not None:
            objects = prompts.with_boxes(places, rgb, self._masks, several=False, model=self.name)
            places = tuple(one.named for one in objects)
        return prompts.with_masks_of(self._grounding(places, rgb, phrases, reading.unread), objects)

    def written(self, rgb: Rgb, words: str) -> tuple[str, prompts.Size]:
        """Return the raw and whole reply for a description, and the size of the sent image; see Writer.written."""
        return self._whole(rgb, self._one(words))

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        """Ask a question and return the chosen one of its choices; the fallback is not asked. See questioning.py."""
        said, _ = self._whole(rgb, lambda sent: chat.answer_request(question, choices, sent, self._asking))
        return chat.named(said, choices, self.name)

    def box_text(self, rgb: Rgb, box: Box) -> str:
        """Write a box as the model does, for a question about it; see judging."""
        return family_box_text(
            self.name, self.family, self.convention, rgb, box, lambda shown: chat.image(shown, self._asking).size
        )

    def _one(self, words: str) -> Ask:
        if self.family is not _IN_JSON:
            return super()._one(words)
        return lambda sent: chat.refer_request(words, sent, self._asking)

    def _whole(self, rgb: Rgb, ask: Ask) -> tuple[str, prompts.Size]:
        found = self.reply(rgb, ask)
        if cut := prompts.cut_off(prompts.Reply(found.text, None, found.whole), *self._limit, self.name):
            raise cut
        return found.text, found.seen_px

    def _replies(self, rgb: Rgb, asks: Sequence[Ask]) -> Iterator[tuple[prompts.Reply, prompts.Size]]:
        sent, deadline = chat.image(rgb, self._asking), self._client.deadline()
        for ask in asks:
            request = chat.prompt_request(ask, sent, self._asking) if isinstance(ask, str) else ask(sent)
            answer = self._client.post("/chat/completions", json.dumps(request).encode("ascii"), deadline)
            yield chat.said(answer, self.name), sent.size

    def _grounding(
        self, found: Sequence[NamedObject], rgb: Rgb, phrases: Sequence[NounPhrase], unread: tuple[str, ...]
    ) -> Grounding:
        names = {phrase.category for phrase in phrases}
        objects: list[Detection] = []
        try:
            for one in found:
                label = one.label or (next(iter(names)) if len(names) == 1 else "")
                if not label or (one.box_xyxy is None and not isinstance(self._masks, PointsByDepth)):
                    lacks = f"of {one.label!r} without a box" if label else "without a label"
                    repair = "set schema=strict, or use a model that returns boxes and labels"
                    raise ModelError(self.name, f"it returned a place {lacks}", repair)
                objects.append(prompts.detection_of(one, str(len(objects)), label))
            detections = check_detections(objects, rgb.shape[1], rgb.shape[0])
        except InputError as error:
            raise ModelError(self.name, str(error), "check the option convention against the model's card") from error

        def same(one: Detection, other: Detection) -> bool:
            if one.label == other.label:
                return False
            if one.pointed and other.pointed:
                return math.dist(one.box_xyxy[:2], other.box_xyxy[:2]) <= prompts.SAME_POINT
            return bool(overlaps(one.box_xyxy, other.box_xyxy)[0, 0] >= prompts.SAME_BOX)

        groups: list[list[int]] = []  # indices of detections that are one object under different labels
        for n, detection in enumerate(detections):
            group = next((group for group in groups if all(same(detection, detections[m]) for m in group)), None)
            if group is None:
                groups.append([n])
            else:
                group.append(n)
        match = label_match(phrases, detections)
        fit = [match[:, group].max(axis=1) for group in groups]
        kept = tuple(detections[group[0]] for group in groups)
        return Grounding(kept, np.stack(fit, axis=1) if fit else np.zeros((len(phrases), 0)), unread, UNMEASURED)


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
    client = Client(model, url, key_env, ca_file, connect_timeout, read_timeout, budget, retries)
    if not model.strip():
        raise InputError("option model", repr(model), "its name on the server", "take it from the server's /models")
    row = asked(model, family=family, prompt=prompt, convention=convention)
    if row is not None and not row.chat:
        backend = f"use the backend {' or '.join(row.in_process)}"
        raise InputError("option model", f"{model!r} of the family {row.name}", "a chat model", backend)
    warn_of_one(row, model)
    chosen("image", image, chat.IMAGES)
    asking = chat.ChatPrompt(
        model=model,
        convention=CONVENTIONS[row.convention if row is not None else convention],
        schema=chosen("schema", schema, {"strict": True, "none": False}),
        logprobs=chosen("logprobs", logprobs, YES_OR_NO),
        image=image,
        longest_side=number("longest_side", longest_side, int, 32, 8192),
        multiple=number("multiple", multiple or str(1 if row is None else row.multiple), int, 1, 64),
        max_tokens=number("max_tokens", max_tokens, int, 1, chat.MOST_TOKENS),
    )
    own = None if row is None or row.json_boxes else row
    mask_model = prompts.mask_model_of(masks, masks_model, row)
    other = load_grounder(fallback, parse_options(fallback_options)) if fallback else None
    grounder = ServerGrounder(client, asking, own, other, fallback, mask_model)
    if chosen("probe", probe, YES_OR_NO):
        try:
            grounder.probed = check_convention(client.name, grounder)
        except ServerDownError as error:
            _log.warning("not probed, so its coordinate convention is taken as stated: %s", error)
    return grounder
