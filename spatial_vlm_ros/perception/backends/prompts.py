# SPDX-License-Identifier: Apache-2.0
"""Shared by all models that answer in words: quoting phrases, greedy decoding, and turning replies into detections.

A reply is data: it is parsed strictly, never evaluated, and never put into another prompt. Points that a model puts on
objects become objects with masks and boxes.
"""

from __future__ import annotations

import logging
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError, ShapeError
from spatial_vlm_ros.geometry.boxes import box_around, overlaps
from spatial_vlm_ros.perception.backends import loading
from spatial_vlm_ros.perception.backends.families import ModelFamily
from spatial_vlm_ros.perception.backends.sam2 import segmenter
from spatial_vlm_ros.perception.coordinates import Convention, NamedObject
from spatial_vlm_ros.perception.grounder import Grounding, PromptReply
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.perception.labels import LESS_SPECIFIC, NONE, SAME, label_fit
from spatial_vlm_ros.perception.referring import MaskModel, PointsByDepth, masked_by
from spatial_vlm_ros.perception.replies import ReplyReading, ended_at_limit, parse_reply, printable
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.types import Detection, Mask, NounPhrase, Rgb

Masks = MaskModel | PointsByDepth | None
"""Turns points into objects and gives boxes masks, or leaves points to geometry; None = boxes stay as they are, and
points are refused."""
Size = tuple[int, int]
MOST_TOKENS = 8192  # tokens of a reply; a hundred boxes take half of it
LONGEST_PHRASE = 200  # characters; object names are shorter, injected orders are often longer
SAME_BOX = 0.8  # IoU from which boxes found under different names are one object
SAME_POINT = 8.0  # pixels within which points found under different names are one object
SAME_MASK = 0.8
"""Overlap (IoU) of masks from which two points are on one object."""
NO_MASKS = (
    "set masks=sam2 masks_model=…, or masks=depth, so that its points become objects, or use a model that writes boxes"
)
"""Advice if a model writes points and nothing turns them into objects."""
_TOKEN_LIKE = re.compile(r"<[^<>]*>|\[/?[A-Z_]{2,}\]")
_NOT_IN_PHRASES = re.compile(r"[^\w\s\-'’.,%/&+]|_")
_log = logging.getLogger(__name__)


def quoted(words: str) -> str:
    """Clean a phrase so that it can stand within quotes in a prompt without changing the question.

    Only letters, digits, spaces and a few signs of ordinary names are kept, so no quote, line break, bracket or special
    token such as <|im_start|>, <image> or <loc_1> remains.
    """
    if not isinstance(words, str):
        raise InputError("phrase", type(words).__name__, "words", "pass the noun phrase as text")
    plain = _TOKEN_LIKE.sub(" ", unicodedata.normalize("NFKC", words))
    kept = " ".join(_NOT_IN_PHRASES.sub(" ", plain).split())
    if not any(character.isalnum() for character in kept):
        repair = "name the object in letters or digits"
        raise InputError("phrase", repr(words[:60]), "words that name an object", repair)
    if len(kept) > LONGEST_PHRASE:
        raise InputError("phrase", f"{len(kept)} characters", f"{LONGEST_PHRASE} at most", "shorten it")
    return kept


def check_rgb(rgb: Rgb) -> None:
    """Refuse arrays that are not images."""
    if not isinstance(rgb, np.ndarray) or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise ShapeError("image", "(H, W, 3) uint8", f"{np.shape(rgb)} {np.asarray(rgb).dtype}")


@dataclass(frozen=True)
class Reply:
    """Reply of a model."""

    text: str
    score: float | None  # geometric mean probability of its tokens, 0 to 1; None = not known
    whole: bool = True  # False if it was cut off at its length limit


def cut_off(reply: Reply, option: str, longest: int, model: str) -> ModelError | None:
    """The error for a reply that was cut off at `longest` tokens, the value of an option; None if it is whole."""
    if reply.whole:
        return None
    reason = f"its reply was cut off at {option}={longest}; it begins {printable(reply.text, 120)!r}"
    return ModelError(model, reason, f"raise {option}, or ask for objects of which there are fewer")


class PromptedGrounder:
    """A grounder whose model answers prompts about an image in words."""

    def __init__(
        self, name: str, family: ModelFamily, convention: Convention, limit: tuple[str, int], masks: Masks
    ) -> None:
        self.name, self.family, self.convention = name, family, convention
        self.probed = False
        """Whether a probe has confirmed the convention."""
        self._limit, self._masks = limit, masks

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
        (reading,) = self._ask(rgb, [self._one(words)])
        return () if reading.unread else reading.places

    def masked(self, rgb: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        """Add masks to detections if a mask model is set; see `masked_by`."""
        return masked_by(self._masks, rgb, detections)

    def written(self, rgb: Rgb, words: str) -> tuple[str, Size]:
        """Return the raw reply for a description, and the (width, height) that the model saw; see Writer.written."""
        found = self.reply(rgb, self._one(words))
        return found.text, found.seen_px

    def reply(self, rgb: Rgb, prompt: Any) -> PromptReply:
        """Return the reply to a prompt, the whole text beside the image, decoded greedily."""
        check_rgb(rgb)
        ((reply, seen),) = self._replies(rgb, [prompt])
        return PromptReply(reply.text, seen, reply.whole)

    def _one(self, words: str) -> Any:
        return self.family.one.format(quoted(words))

    def _replies(self, rgb: Rgb, asks: Sequence[Any]) -> Iterable[tuple[Reply, Size]]:
        """Yield the reply to each prompt, with (width, height) in pixels of the image that the model saw."""
        raise NotImplementedError

    def _ask(self, rgb: Rgb, prompts: Sequence[Any], boxes: bool = False) -> list[ReplyReading]:
        """Read the objects in each prompt's reply; if the family has other words for it, ask once more in them."""
        check_rgb(rgb)
        found = list(self._readings(rgb, prompts, boxes))
        unread = [n for n, one in enumerate(found) if isinstance(one, ModelError)]
        if unread:
            again = self._readings(rgb, [prompts[n] + self.family.again for n in unread], boxes)
            for n, one in zip(unread, again, strict=True):
                found[n] = one
        errors = [one for one in found if isinstance(one, ModelError)]
        if errors:
            raise errors[0]
        return [one for one in found if isinstance(one, ReplyReading)]

    def _readings(self, rgb: Rgb, prompts: Sequence[Any], boxes: bool) -> Iterator[ReplyReading | ModelError]:
        """Read the objects in each reply; yields the error of a reply that it is worth to ask for once more."""
        size = (int(rgb.shape[1]), int(rgb.shape[0]))
        for reply, seen in self._replies(rgb, prompts):
            cut = cut_off(reply, *self._limit, self.name)
            try:
                read = parse_reply(
                    reply.text,
                    model=self.name,
                    convention=self.convention,
                    size=size,
                    resized=seen,
                    probed=self.probed,
                )
                if boxes and any(one.box_xyxy is None for one in read.places):
                    repair = "use a larger or newer model: this one does not answer in the requested form"
                    reason = f"it returns points where boxes are needed: {printable(reply.text, 120)!r}"
                    raise ModelError(self.name, reason, repair if self.family.json_boxes else NO_MASKS)
            except ModelError as error:
                if cut is not None:
                    raise cut from error
                if not self.family.again:
                    raise
                yield error
                continue
            if cut is not None:
                if not read.places:
                    raise cut
                read = ended_at_limit(read)
            for note in (*read.notes, *read.unread):
                _log.warning("model %r: %s", self.name, note)
            yield replace(read, places=tuple(replace(one, score=reply.score) for one in read.places))


def grounding(
    asked: Iterable[tuple[str, Sequence[NamedObject]]],
    phrases: Sequence[NounPhrase],
    rgb: Rgb,
    model: str,
    unread: tuple[str, ...] = (),
    masks: Masks = None,
    *,
    several: bool = False,
) -> Grounding:
    """Make detections and the match matrix from objects found by name.

    Boxes found under different names are one object if they overlap by SAME_BOX. An object fits the phrases that it was
    found for: fully, or partly (labels.LESS_SPECIFIC) if the model called it something else in that reply. Its label
    never makes it fit another phrase, because a label may only be a word written on the object. Everything fits
    "object".
    """
    found = {name: with_boxes(given, rgb, masks, several=several, model=model) for name, given in asked}
    objects: list[tuple[NamedObject, dict[str, str]]] = []  # the surest box of each, and its label by asked name
    for name, boxed in found.items():
        before = len(objects)
        for one in (masked.named for masked in boxed):
            same = [overlap(other, one) for other, _ in objects[:before]]
            best = int(np.argmax(same)) if same else None
            if best is None or same[best] < SAME_BOX or name in objects[best][1]:
                objects.append((one, {name: one.label}))
            else:
                kept, labels = objects[best]
                objects[best] = (max(kept, one, key=_score), {**labels, name: one.label})
    try:
        given = []
        for number, (one, labels) in enumerate(objects, 1):
            category = next(iter(labels))
            given.append(detection_of(one, f"{category} {number}", one.label or category))
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
    made = Grounding(detections, match, unread, UNMEASURED)
    return with_masks_of(made, [one for given in found.values() for one in given])


def _score(found: NamedObject) -> float:
    """Score of an object; without probabilities it is 1, which has no weight in the choice."""
    return 1.0 if found.score is None else found.score


def detection_of(found: NamedObject, id_: str, label: str) -> Detection:
    """Make a detection from an object of a reply: with its box, or with a point if it has only that."""
    if found.box_xyxy is not None:
        return Detection(id_, label, _score(found), found.box_xyxy)
    if found.point_xy is None:
        raise InputError(f"object {id_!r}", "no box and no point", "a box or a point", "ask for boxes")
    x, y = found.point_xy
    return Detection(id_, label, _score(found), (x - 1.0, y - 1.0, x + 1.0, y + 1.0), pointed=True)


def overlap(one: NamedObject, other: NamedObject) -> float:
    """Intersection over union of two boxes, 0 to 1; for two points 1 within SAME_POINT, else 0."""
    if one.box_xyxy is not None and other.box_xyxy is not None:
        return float(overlaps(one.box_xyxy, other.box_xyxy)[0, 0])
    if one.box_xyxy is not None or other.box_xyxy is not None or one.point_xy is None or other.point_xy is None:
        return 0.0
    return float(math.dist(one.point_xy, other.point_xy) <= SAME_POINT)


@dataclass(frozen=True, eq=False)
class MaskedObject:
    """An object named in a reply, with a box or, for depth, a point, and with its (H, W) bool mask if there is one."""

    named: NamedObject
    mask: Mask | None


def with_boxes(
    found: Sequence[NamedObject], rgb: Rgb, masks: Masks, *, several: bool, model: str
) -> tuple[MaskedObject, ...]:
    """Give each object of one reply about one name a box: its own, or the box around the mask at its point.

    With PointsByDepth, points stay points. Two points are on one object if their masks overlap by SAME_MASK. For a
    model that puts several points on an object, they also are if one lies in the mask of the other. The object gets the
    mask that holds most of its points.
    """
    if isinstance(masks, PointsByDepth):
        return tuple(MaskedObject(one, None) for one in found)
    objects: dict[int, MaskedObject] = {}
    boxed = [(row, one, one.box_xyxy) for row, one in enumerate(found) if one.box_xyxy is not None]
    if boxed:
        cut = (None,) * len(boxed) if masks is None else masks.masks(rgb, [box for _, _, box in boxed])
        objects |= {row: MaskedObject(one, mask) for (row, one, _), mask in zip(boxed, cut, strict=True)}
    pointed = [
        (row, one, one.point_xy) for row, one in enumerate(found) if one.box_xyxy is None and one.point_xy is not None
    ]
    if pointed and masks is None:
        raise ModelError(model, "it returns points where boxes are needed", NO_MASKS)
    if pointed and masks is not None:
        points = [point for _, _, point in pointed]
        at: list[Mask] = []
        for mask, point in zip(masks.point_masks(rgb, points), points, strict=True):
            if mask is None:
                reason = f"the model of masks finds no object at its point ({point[0]:.0f}, {point[1]:.0f})"
                raise ModelError(model, reason, "ask again, or use a model that writes boxes")
            at.append(mask)
        for group in _groups(points, at, several):
            mask = max((at[n] for n in group), key=lambda mask: sum(_holds(mask, points[n]) for n in group))
            row, one, _ = pointed[group[0]]
            objects[row] = MaskedObject(replace(one, box_xyxy=box_around(mask)), mask)
    return tuple(objects[row] for row in sorted(objects))


def with_masks_of(grounding: Grounding, objects: Sequence[MaskedObject]) -> Grounding:
    """Give detections the masks of the objects that have the same boxes."""
    masks = {one.named.box_xyxy: one.mask for one in objects if one.mask is not None}
    detections = tuple(replace(one, mask=masks.get(one.box_xyxy, one.mask)) for one in grounding.detections)
    return replace(grounding, detections=detections)


def mask_model_of(masks: str, masks_model: str, family: ModelFamily | None, **given: str) -> Masks:
    """Load the mask model that the option asks for ("none": points are only for `refer`), or its replacement.

    Without a family the model writes boxes. Other settings are those of `sam2.with_masks`.
    """
    if masks == "depth":
        if masks_model:
            raise InputError("option masks_model", repr(masks_model), "none with masks=depth", "leave it out")
        if family is not None and family.several_points:
            got = f"depth, but {family.name} models put several points on an object"
            expected = "a model of masks that assigns points to objects"
            raise InputError("option masks", got, expected, "set masks=sam2 masks_model=…")
        return PointsByDepth()
    if not masks and family is not None and family.places == "point":
        got = f"none, but {family.name} models write points, not boxes"
        repair = f"{NO_MASKS}; or set masks=none, to use it for a second opinion only"
        raise InputError("option masks", got, "a setting that turns points into objects", repair)
    return segmenter(masks_model, masks=masks, **given) if masks not in ("", "none") else None


def _groups(points: Sequence[tuple[float, float]], masks: Sequence[Mask], several: bool) -> list[list[int]]:
    def same(a: int, b: int) -> bool:
        if several and (_holds(masks[a], points[b]) or _holds(masks[b], points[a])):
            return True
        union = np.count_nonzero(masks[a] | masks[b])
        return bool(np.count_nonzero(masks[a] & masks[b]) >= SAME_MASK * union)

    groups: list[list[int]] = []
    for n in range(len(points)):
        mine = [group for group in groups if any(same(n, other) for other in group)]
        groups = [group for group in groups if group not in mine] + [sorted([n, *(m for group in mine for m in group)])]
    return sorted(groups)


def _holds(mask: Mask, point: tuple[float, float]) -> bool:
    """Whether a point lies on a mask; (0, 0) is the corner of the first pixel."""
    column, row = (min(max(int(v), 0), side - 1) for v, side in zip(point, mask.shape[::-1], strict=True))
    return bool(mask[row, column])


class Probabilities:
    """Logits processor that records the probability of each token chosen by greedy decoding."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._steps: list[Any] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002
        """Record the largest probability of each row of (B, V) logits, after all other processors."""
        best = scores.float().softmax(-1).amax(-1)
        if not bool(best.isfinite().all()):
            repair = "use dtype=float32 or bfloat16; if that does not help, fetch the weights again"
            raise ModelError(self._model, "it computes numbers that are not finite", repair)
        self._steps.append(best)
        return scores

    def replies(self, rows: Sequence[Sequence[int]], settings: Any, tokenizer: Any, plain: bool) -> list[Reply]:
        """Make replies from B rows of generated token ids, up to and including their end tokens."""
        probabilities = zip(*(step.tolist() for step in self._steps), strict=True)
        replies = []
        for row, steps in zip(rows, probabilities, strict=True):
            ends = [length for length, token in enumerate(row, 1) if token in settings.eos_token_id]
            length = ends[0] if ends else len(row)
            text = tokenizer.decode(row[:length], skip_special_tokens=plain, clean_up_tokenization_spaces=False)
            replies.append(Reply(text, float(np.exp(np.mean(np.log(steps[:length])))), bool(ends)))
        return replies


def greedy(model: Any, tokenizer: Any, longest: int, keep: Sequence[str] = ()) -> Any:
    """Return generation settings that give the same reply of `longest` tokens at most to the same question."""
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
