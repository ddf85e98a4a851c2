# SPDX-License-Identifier: Apache-2.0
"""Read a vision-language model's reply as locations in pixels, or refuse it.

A reply is data: it is checked against a schema and the image's bounds, and never run or obeyed. It is read item by
item. An item that breaks a rule is left out with a note, and so is everything after the point at which the reply was
cut off. A location that contradicts the convention makes the whole reply invalid, unless a probe has confirmed the
convention. An empty list means "nothing found", and so does a plain negation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.coordinates import (
    FRACTIONS,
    Convention,
    NamedObject,
    fitting,
    looks_like_fractions,
    share_inside,
    to_pixels,
)
from spatial_vlm_ros.perception.replies_forms import read_locations, read_spans, read_tags, without_special
from spatial_vlm_ros.perception.replies_scan import (
    MOST_CHARACTERS,
    CutOff,
    Item,
    NotPlaced,
    ReplyPiece,
    Unreadable,
    WrittenPlace,
    final_part,
    scan,
)

LONGEST_LABEL = 80  # characters
_LONGEST_EXCERPT = 120
_MOST_OF_A_LABEL = 1000  # characters searched for printable ones
BEYOND = 0.1
"""Share of a side by which a location may lie outside the image and is clipped, if a probe confirmed the convention.

Qwen2.5-VL wrote [19, 300, 154, 476] for an image of 364 x 448 pixels (QwenLM/Qwen3-VL, issue 1035).
"""
LEAST_INSIDE = 0.5
"""Share of a box that has to lie inside the image if the box is clipped."""
_MOST_NOTES = 20
_CHECK = "find out with `probing.probe` how this model writes places, and set that convention"
_FAMILIES = {"locations": "locations", **dict.fromkeys(("list", "object", "tuple"), "spans")}


# Read the words beside the locations of a reply: plain negations, and words that contradict the locations.
#
# Molmo2 writes "There are none." if nothing that was asked for is there, Molmo "This isn't in the image."; others
# write "There are no cups in the image." or "I don't see a mug.".

LONGEST = 400  # characters
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_OTHERWISE = re.compile(
    r"\b(?:but|however|although|though|except|instead|only|other than|besides|apart from|rather|unless|while|whereas"
    r"|sure|certain|clear(?:ly)?|doubt|question|problem|reason|need|way|because|that (?:the|it|is|a))\b|[0-9]"
)
_WHERE = (
    r"(?: (?:in|on|within|of) (?:the|this|your) (?:given |provided |shown )?(?:image|picture|photo|scene|view|frame))?"
)
_SEEN = r"(?:visible|present|found|detected|seen|shown|there|identified|located)"
_NAMED = r"(?:[\w'’ \"-]{0,80}?)"
_NEGATIONS = tuple(
    re.compile(pattern + r"[.!]?")
    for pattern in (
        r"(?:none|null|nothing|no|n/a|not found|none found|nothing found|no objects?)" + _WHERE,
        rf"there (?:is|are|was|were) none(?: {_SEEN})?" + _WHERE,
        rf"there (?:is|are|was|were) (?:no|not any|not a|not an) {_NAMED}(?: {_SEEN})?" + _WHERE,
        rf"there (?:isn['’]t|aren['’]t) (?:a|an|any) {_NAMED}(?: {_SEEN})?" + _WHERE,
        r"(?:this|it|that)(?: is|['’]s) not " + _SEEN + _WHERE,
        r"(?:this|it|that) (?:is not|isn['’]t)(?: " + _SEEN + ")?" + _WHERE[:-1],
        rf"(?:no|none of the) {_NAMED} (?:is|are|was|were|could be|can be) {_SEEN}" + _WHERE,
        rf"no {_NAMED} {_SEEN}" + _WHERE,
        rf"(?:the|this) (?:image|picture|photo|scene) (?:does not|doesn['’]t) (?:contain|show|include|have) {_NAMED}",
        rf"(?:the|this) (?:image|picture|photo|scene) (?:contains|shows|has) no {_NAMED}",
        rf"(?:i|we) (?:do not|don['’]t|cannot|can['’]t|can not|could not|couldn['’]t|did not|didn['’]t)"
        rf" (?:see|find|detect|locate|identify|spot) {_NAMED}" + _WHERE,
        rf"the {_NAMED} (?:is|are|was|were) not {_SEEN}" + _WHERE,
    )
)

_DENYING = re.compile(
    r"\b(?:not (?:visible|present|found|shown|seen|there)|no longer (?:visible|there|present)"
    r"|(?:there (?:is|are)|i (?:do not|don['’]t) see) (?:no|any|a|an) (?!other|more|further)[\w -]{1,40}"
    r"|no [\w -]{1,40} (?:is|are|was|were) (?:visible|present|found|detected|seen))\b",
    re.IGNORECASE,
)
_OF_OTHERS = re.compile(
    r"\b(?:for example|for instance|answer like|previous (?:frame|image|picture)|image [2-9]|xywh|cxcywh"
    r"|cent(?:er|re)_x|width, ?height|y_?min, ?x_?min|in percent)\b",
    re.IGNORECASE,
)
_LABEL_DENIES = re.compile(
    r"\b(?:not (?:visible|present|found|shown)|none found|no [\w -]{1,40} found)\b", re.IGNORECASE
)


def contradicted(text: str, pieces: Sequence[ReplyPiece]) -> str:
    """Words of a reply that contradict its pieces, given in order, or refer to another image or format; else ""."""
    ends, starts = [0, *(piece.end for piece in pieces)], [*(piece.start for piece in pieces), len(text)]
    for end, start in zip(ends, starts, strict=True):
        words = text[end:start][-LONGEST:] if end == 0 else text[end:start][:LONGEST]
        found = _DENYING.search(words) or _OF_OTHERS.search(words)
        if found is not None:
            return found.group()
    return ""


def says_none(text: str) -> bool:
    """Whether every sentence of a text is a plain negation; a sentence with an exception or a number is not."""
    plain = " ".join(text.split()) if "\n" not in text.strip() else text
    if not plain.strip() or len(plain) > LONGEST:
        return False
    sentences = [sentence.strip().lower() for sentence in _SENTENCES.split(plain.strip()) if sentence.strip()]
    return all(
        _OTHERWISE.search(sentence) is None and any(negation.fullmatch(sentence) for negation in _NEGATIONS)
        for sentence in sentences
    )


@dataclass(frozen=True)
class ReplyReading:
    """Result of reading a reply."""

    # locations inside the image in the order written, without duplicates; empty if the reply says that there are none
    places: tuple[NamedObject, ...]
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    cut: bool = False


def ended_at_limit(reading: ReplyReading) -> ReplyReading:
    """Mark a reading as cut off, for a reply that reached its length limit; its text need not show it."""
    if reading.cut:
        return reading
    note = f"it was cut off at its length limit; there may be more places than the {len(reading.places)} that were read"
    return replace(reading, unread=(*reading.unread, note), cut=True)


class ReplyError(ModelError):
    """A reply that cannot be read; `excerpt` is its beginning, printable."""

    def __init__(self, model: str, reason: str, excerpt: str, repair: str = "") -> None:
        self.excerpt = excerpt
        words = f"its reply cannot be used: {reason}; the reply begins {excerpt!r}"
        super().__init__(model, words, repair or "ask again, allow a longer reply, or use another prompt or model")


def parse_reply(
    text: str,
    *,
    model: str,
    convention: Convention,
    size: tuple[int, int],
    resized: tuple[int, int] | None = None,
    most: int = 100,
    probed: bool = False,
) -> ReplyReading:
    """Read the locations that a model's reply names.

    Known forms: JSON objects in a list, alone or one after the other, in prose or in a code fence; lists and tuples of
    numbers; the tags and location tokens of `replies_forms`. Text before `</think>` is skipped. If the prompt itself
    ends with `<think>`, put that before the reply; otherwise a reply that is cut off while thinking is not recognised.
    If a probe has confirmed the convention, a location outside the image by at most BEYOND is clipped, and one farther
    outside is left out if there are more locations inside than outside. Sizes as in `to_pixels`.
    """
    to_pixels([[0.5, 0.5]], convention, size, resized)  # wrong sizes are an error of the caller, not of the reply
    if not isinstance(text, str):
        raise ReplyError(model, f"it is {type(text).__name__}, not a text", "")
    try:
        if len(text) > MOST_CHARACTERS:
            raise Unreadable(f"it has {len(text)} characters, more than {MOST_CHARACTERS}")
        items, cut = _items(text, convention)
        places, notes, unread = _Pixels(convention, size, resized, probed).placed(items)
        if len(places) > most:
            raise Unreadable(f"it names {len(places)} places, more than {most}")
        if cut is not None:
            if not places:
                raise cut
            unread = (*unread, f"{cut.reason}; there may be more than the {len(places)} that were read")
        return ReplyReading(places, notes, unread, cut is not None)
    except Unreadable as error:
        raise ReplyError(
            model, error.reason, printable(text[: 2 * _LONGEST_EXCERPT], _LONGEST_EXCERPT), error.repair
        ) from error


def printable(text: str, longest: int) -> str:
    """Make untrusted text safe to show: no control, direction or undefined characters, single spaces, shortened."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= longest else clean[: longest - 1].rstrip() + "…"


def _items(text: str, convention: Convention) -> tuple[tuple[Item, ...], CutOff | None]:
    """Read the items of a reply, and whether it was cut off."""
    text, unclosed = final_part(text)
    pieces, cut = scan(text)
    text = text if cut is None else text[: cut.at]
    cut = cut or unclosed
    families = {_FAMILIES.get(piece.kind, "tags") for piece in pieces}
    if len(families) > 1:
        raise Unreadable("it gives places in two different forms")
    if families == {"locations"}:
        if convention.unit != "bin":
            raise Unreadable(f"it has location tokens, but the convention is {convention.name!r}")
        return read_locations(text, pieces, cut is not None), cut
    if not pieces and cut is not None:
        raise cut
    if not pieces and says_none(without_special(text)):
        return (), None
    items = read_tags(pieces, cut is not None) if families == {"tags"} else read_spans(text, pieces)
    if items and (doubt := contradicted(text, pieces)):
        raise Unreadable(f"its words contradict its places: {doubt!r}")
    return items, cut


class Misfit(Unreadable):
    """A location that contradicts the convention."""


@dataclass(frozen=True)
class _Pixels:
    """Converts locations to pixels; arguments as of `parse_reply`."""

    convention: Convention
    size: tuple[int, int]
    resized: tuple[int, int] | None
    probed: bool

    def placed(self, items: Sequence[Item]) -> tuple[tuple[NamedObject, ...], tuple[str, ...], tuple[str, ...]]:
        """Convert items without duplicates; also what was clipped or negated, and what could not be read."""
        found: dict[object, NamedObject] = {}
        left: list[Unreadable] = []
        clipped: list[str] = []
        for item in dict.fromkeys(items):  # a model may write the same item without end
            try:
                if isinstance(item, Unreadable):
                    raise item
                place, note = self._object(item)
            except Unreadable as error:
                left.append(error)
                continue
            clipped += [note] if note else []
            found.setdefault((place.label, place.box_xyxy, place.point_xy), place)
        doubts = [fault for fault in left if isinstance(fault, Misfit)]
        if doubts and (not self.probed or len(doubts) >= len(found)):
            raise doubts[0]
        faults = [fault for fault in left if not isinstance(fault, NotPlaced | Misfit)] + doubts
        if not found and faults:
            raise faults[0]
        told = f"1 of {len(items)} items was left out: "
        denied = [told + fault.reason for fault in left if isinstance(fault, NotPlaced)]
        unread = [told + fault.reason for fault in faults]
        return tuple(found.values()), (*clipped, *denied)[:_MOST_NOTES], tuple(unread[:_MOST_NOTES])

    def _object(self, item: WrittenPlace) -> tuple[NamedObject, str]:
        if _LABEL_DENIES.search(item.label[:LONGEST]):  # "no cup found"
            raise NotPlaced(f"its label negates it: {printable(item.label, LONGEST_LABEL)!r}")
        used = replace(self.convention, order="xy") if item.named else self.convention
        notes: list[str] = []
        box = None if item.box is None else self._converted(item.box, used, notes)
        point = None if item.point is None else self._converted(item.point, used, notes)
        if box is not None and item.box is not None and not (box[0] < box[2] and box[1] < box[3]):
            hint = self._hint(item.box)
            if box[0] <= box[2] and box[1] <= box[3]:
                raise Unreadable(f"the box {_shown(item.box)} has no area{hint}", _CHECK)
            raise Misfit(f"the box {_shown(item.box)} has its corners in another order{hint}", _CHECK)
        if (
            box is not None
            and point is not None
            and not (
                box[0] - 1 <= point[0] <= box[2] + 1 and box[1] - 1 <= point[1] <= box[3] + 1  # pixels
            )
        ):
            raise Unreadable(f"a point {_shown(item.point)} is outside its own box {_shown(item.box)}")
        if notes and item.box is not None and share_inside(item.box, used, self.size, self.resized) < LEAST_INSIDE:
            raise Misfit(f"the box {_shown(item.box)} is mostly outside the image", _CHECK)
        label = printable(without_special(item.label[:_MOST_OF_A_LABEL]), LONGEST_LABEL)
        return NamedObject(label, box, point, item.score), notes[0] if notes else ""  # type: ignore[arg-type]

    def _converted(self, values: tuple[float, ...], convention: Convention, notes: list[str]) -> tuple[float, ...]:
        if convention.unit == "bin" and any(not value.is_integer() for value in values):
            raise Misfit(f"{_shown(values)} are not numbers of bins{self._hint(values)}", _CHECK)
        if convention.unit not in FRACTIONS and looks_like_fractions(values):
            reason = f"{_shown(values)} look like fractions of the image, but the convention is {convention.name!r}"
            raise Misfit(reason, _CHECK)
        for beyond in (0.0, BEYOND) if self.probed else (0.0,):
            with suppress(InputError):
                pixels = to_pixels([values], convention, self.size, self.resized, beyond)[0].tolist()
                notes += [f"{_shown(values)} was outside the image and was clipped to it"] if beyond else []
                return tuple(pixels)
        reason = f"{_shown(values)} cannot be in the convention {convention.name!r}{self._hint(values)}"
        raise Misfit(reason, _CHECK)

    def _hint(self, values: tuple[float, ...]) -> str:
        names = fitting(values, self.size, self.resized)
        return f"; they would fit {' or '.join(names)}" if names else "; they fit no known convention"


def _shown(values: tuple[float, ...] | None) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values or ()) + ")"
