# SPDX-License-Identifier: Apache-2.0
"""Shared by all models that answer in words: quoting phrases, greedy decoding, and turning replies into detections."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError, ShapeError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception.backends import loading
from spatial_vlm_ros.perception.backends.onboard import option
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.perception.labels import LESS_SPECIFIC, NONE, SAME, label_fit
from spatial_vlm_ros.perception.replies import NamedObject, printable
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

MOST_TOKENS = 8192  # tokens of a reply; a hundred boxes take half of it
LONGEST_PHRASE = 200  # characters; object names are shorter, injected orders are often longer
SAME_BOX = 0.8  # IoU from which boxes found under different names are one object
SAME_POINT = 8.0  # pixels within which points found under different names are one object

_TOKEN_LIKE = re.compile(r"<[^<>]*>|\[/?[A-Z_]{2,}\]")
_NOT_IN_PHRASES = re.compile(r"[^\w\s\-'’.,%/&+]|_")


def quoted(words: str) -> str:
    """Clean a phrase so that it can stand within quotes in a prompt without changing the question.

    Only letters, digits, spaces and a few signs of ordinary names are kept, so no quote, line break, bracket or special
    token such as <|im_start|>, <image> or <loc_1> remains.

    Returns:
        The phrase, LONGEST_PHRASE characters at most.
    """
    if not isinstance(words, str):
        raise InputError("phrase", type(words).__name__, "words", "pass the noun phrase as text")
    plain = _TOKEN_LIKE.sub(" ", unicodedata.normalize("NFKC", words))
    kept = " ".join(_NOT_IN_PHRASES.sub(" ", plain).split())
    if not any(character.isalnum() for character in kept):
        raise InputError(
            "phrase", repr(words[:60]), "words that name an object", "name the object in letters or digits"
        )
    if len(kept) > LONGEST_PHRASE:
        raise InputError("phrase", f"{len(kept)} characters", f"{LONGEST_PHRASE} at most", "shorten it")
    return kept


def grounding(
    asked: Mapping[str, tuple[NamedObject, ...]],
    phrases: Sequence[NounPhrase],
    rgb: Rgb,
    model: str,
    unread: tuple[str, ...] = (),
) -> Grounding:
    """Make detections and the match matrix from boxes found by name.

    Boxes found under different names are one object if they overlap by SAME_BOX. An object fits the phrases that it was
    found for: fully, or partly (labels.LESS_SPECIFIC) if the model called it something else in that reply. Its label
    never makes it fit another phrase, because a label may only be a word written on the object. Everything fits
    "object".

    Args:
        rgb: (H, W, 3) uint8.
    """
    objects = _objects(asked)
    try:
        given = [_detection(number, one, next(iter(labels))) for number, (one, labels) in enumerate(objects, 1)]
        detections = check_detections(given, rgb.shape[1], rgb.shape[0])
    except InputError as error:
        raise ModelError(model, f"its boxes cannot be used: {error}", "try another model or image size") from error
    match = np.zeros((len(phrases), len(objects)))
    for p, phrase in enumerate(phrases):
        category = quoted(phrase.category)
        for n, (_, labels) in enumerate(objects):
            if category in labels:
                fits = label_fit(phrase.category, labels[category] or phrase.category) > NONE
                match[p, n] = SAME if fits else LESS_SPECIFIC
        if label_fit(phrase.category, "object") == SAME:
            match[p] = SAME
    return Grounding(detections, match, unread)


def _objects(asked: Mapping[str, tuple[NamedObject, ...]]) -> list[tuple[NamedObject, dict[str, str]]]:
    """Merge found objects: the surest box of each, with the label for each name it was found under."""
    objects: list[tuple[NamedObject, dict[str, str]]] = []
    for category, found in asked.items():
        before = len(objects)
        for one in found:
            best = max(range(before), key=lambda n: overlap(objects[n][0], one), default=None)
            if best is None or overlap(objects[best][0], one) < SAME_BOX or category in objects[best][1]:
                objects.append((one, {category: one.label}))
            else:
                kept, labels = objects[best]
                surer = max(kept, one, key=lambda either: either.score or 0.0)
                objects[best] = (surer, {**labels, category: one.label})
    return objects


def _detection(number: int, found: NamedObject, category: str) -> Detection:
    return detection_of(found, f"{category} {number}", found.label or category)


def detection_of(found: NamedObject, id_: str, label: str) -> Detection:
    """Make a detection from an object of a reply: with its box, or with a point if it has only that."""
    score = found.score or 0.0
    if found.box_xyxy is not None:
        return Detection(id_, label, score, found.box_xyxy)
    if found.point_xy is None:
        raise InputError(f"object {id_!r}", "no box and no point", "a box or a point", "ask for boxes")
    x, y = found.point_xy
    return Detection(id_, label, score, (x - 1.0, y - 1.0, x + 1.0, y + 1.0), pointed=True)


def overlap(one: NamedObject, other: NamedObject) -> float:
    """Intersection over union of two boxes, 0 to 1; for two points 1 within SAME_POINT, else 0."""
    if one.box_xyxy is not None and other.box_xyxy is not None:
        return float(overlaps(one.box_xyxy, other.box_xyxy)[0, 0])
    if one.box_xyxy is not None or other.box_xyxy is not None or one.point_xy is None or other.point_xy is None:
        return 0.0
    return float(math.dist(one.point_xy, other.point_xy) <= SAME_POINT)


@dataclass(frozen=True)
class Reply:
    """Reply of a model.

    Args:
        score: geometric mean probability of its tokens, 0 to 1.
    """

    text: str
    score: float
    whole: bool


class Probabilities:
    """Logits processor that records the probability of each token chosen by greedy decoding."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._steps: list[Any] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002
        """Record the largest probability of each row.

        Args:
            input_ids: (B, T) int64 token ids so far; not used.
            scores: (B, V) logits of the next token, after all other processors.
        """
        best = scores.float().softmax(-1).amax(-1)
        if not bool(best.isfinite().all()):
            repair = "use dtype=float32 or bfloat16; if that does not help, fetch the weights again"
            raise ModelError(self._model, "it computes numbers that are not finite", repair)
        self._steps.append(best)
        return scores

    def replies(self, rows: Sequence[Sequence[int]], settings: Any, tokenizer: Any, plain: bool) -> list[Reply]:
        """Make replies from token ids, up to and including their end tokens.

        Args:
            rows: B rows of generated token ids.
        """
        probabilities = zip(*(step.tolist() for step in self._steps), strict=True)
        replies = []
        for row, steps in zip(rows, probabilities, strict=True):
            ends = [length for length, token in enumerate(row, 1) if token in settings.eos_token_id]
            length = ends[0] if ends else len(row)
            text = tokenizer.decode(row[:length], skip_special_tokens=plain, clean_up_tokenization_spaces=False)
            replies.append(Reply(text, float(np.exp(np.mean(np.log(steps[:length])))), bool(ends)))
        return replies


def greedy(model: Any, tokenizer: Any, longest: int, keep: Sequence[str] = ()) -> Any:
    """Return generation settings that give the same reply to the same question every time.

    Args:
        longest: most tokens of a reply.
    """
    name, old = type(model).__name__, model.generation_config
    ends = old.eos_token_id if isinstance(old.eos_token_id, list) else [old.eos_token_id]
    ends = sorted({end for end in (*ends, tokenizer.eos_token_id) if end is not None})
    if not ends:
        raise ModelError(name, "it has no end-of-reply token", "add generation_config.json")
    pad = ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    kept = {setting: getattr(old, setting, None) for setting in keep}
    return loading.transformers_class("GenerationConfig", model=name)(
        do_sample=False, num_beams=1, max_new_tokens=longest, eos_token_id=ends, pad_token_id=pad, **kept
    )


def check_whole(reply: Reply, settings: Any, model: str) -> None:
    """Refuse a reply that was cut off."""
    if not reply.whole:
        reason = f"its reply was cut off at {settings.max_new_tokens} tokens; it begins {printable(reply.text, 120)!r}"
        raise ModelError(model, reason, "raise max_new_tokens, or ask for objects of which there are fewer")


def check_rgb(rgb: Rgb) -> None:
    """Refuse arrays that are not images."""
    if not isinstance(rgb, np.ndarray) or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise ShapeError("image", "(H, W, 3) uint8", f"{np.shape(rgb)} {np.asarray(rgb).dtype}")


def token_limit(text: str) -> int:
    """Parse the option max_new_tokens."""
    limit = option("max_new_tokens", text, int)
    if not 1 <= limit <= MOST_TOKENS:
        raise InputError("option max_new_tokens", text, f"1 to {MOST_TOKENS}")
    return limit
