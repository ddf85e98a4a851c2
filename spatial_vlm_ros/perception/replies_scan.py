# SPDX-License-Identifier: Apache-2.0
"""Cut a model's reply into the parts that can contain locations, in one pass from left to right.

This module finds where a part begins and ends; `replies_forms` reads its content. The time is linear
in the length of the reply: no part is read twice by the same step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

MOST_CHARACTERS = 262_144  # a list of 1000 boxes takes a quarter of it
DEEPEST = 8  # nested brackets; the deepest known form has three

Kind = Literal["list", "object", "tuple", "label", "box", "point", "locations"]


class Unreadable(Exception):
    """A reply, or a part of it, without a known form; `reason` says why in words."""

    def __init__(self, reason: str, repair: str = "") -> None:
        self.reason, self.repair = reason, repair
        super().__init__(reason)


class CutOff(Unreadable):
    """A reply that ends within a location, a list or its answer; `at` is the character where that begins."""

    at = 0


class NotPlaced(Unreadable):
    """An object for which the model gives no location: null, an empty list, "none"."""


@dataclass(frozen=True)
class WrittenPlace:
    """One location as the model wrote it, not converted."""

    label: str
    box: tuple[float, ...] | None = None  # four numbers in the model's unit and order, or None
    point: tuple[float, ...] | None = None  # two such numbers, or None
    score: float | None = None  # 0..1, or None if none is given
    named: bool = False  # whether x and y have key names, so that the convention's order is ignored


Item = WrittenPlace | Unreadable
"""One location of a reply, or why it cannot be read."""


@dataclass(frozen=True)
class ReplyPiece:
    """A part of a reply."""

    # list, object: JSON by its outer bracket; tuple: round brackets; label, box, point: the tags of that meaning;
    # locations: a run of location tokens
    kind: Kind
    start: int  # first character in the reply
    end: int
    body: str
    attributes: tuple[tuple[str, str], ...] = field(default=())


_ROLE = re.compile(r"^[ \t]*assistant[ \t]*:", re.MULTILINE | re.IGNORECASE)
_IN_PARTS = re.compile(
    r"""\{\s*["']thinking["']\s*:.*["']answer["']\s*:\s*(["'])(?P<answer>[^"']*)\1\s*\}""", re.DOTALL
)
_CONTINUED = re.compile(r'"(?:bbox_2d|point_2d|box_2d)"\s*:')
_THOUGHT = re.compile(r"</think>[ \t]*(?:\r?\n|\Z)")
_OPENING = re.compile(r"[\[{(<]")
MARKS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{}(),]', re.DOTALL)
"""Texts in double quotes, which are skipped; brackets, commas, and a quotation mark without an end."""
_ROUND = re.compile(r"\(([^()\[\]{}<]*)\)")
_LOCATIONS = re.compile(r"<loc_?[0-9]{1,5}>(?:\s*<loc_?[0-9]{1,5}>)*")
_LOCATION_BEGUN = re.compile(r"<loc_?[0-9]{0,5}")
_POINT = re.compile(r"<(points?)(?=[\s/>])")
_ATTRIBUTE = re.compile(r"\s+([A-Za-z]+[0-9]{0,4})\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_TAG_END = re.compile(r"\s*(/?)>")
_PAIRS: dict[str, tuple[Kind, str]] = {
    "<ref>": ("label", "</ref>"),
    "<|object_ref_start|>": ("label", "<|object_ref_end|>"),
    "<|ref|>": ("label", "<|/ref|>"),
    "<box>": ("box", "</box>"),
    "<bbox>": ("box", "</bbox>"),
    "<|box_start|>": ("box", "<|box_end|>"),
    "<|det|>": ("box", "<|/det|>"),
}
_PAIR = re.compile("|".join(re.escape(tag) for tag in _PAIRS))
_OUT_OF_PLACE = re.compile(
    r"</(?:box|bbox|ref|points?)>|<\|(?:(?:box|object_ref)_end|/ref|/det)\|>|<\|\s+(?:box|object|ref|det)"
    r"|<(?:tracks|poly|polygon|quad|patch_index_|seg[0-9_]|/?object>|\|point_|\|quad_|point_)"
)
_IN_BRACKETS_OR_TAG = re.compile(r"[()\[\]{}<]")
_CLOSES = {")": "(", "]": "[", "}": "{"}
_NUMBER_LIKE = re.compile(r"[-+=:%\w.]*")
_A_NUMBER = re.compile(r"\d|nan|inf|null|none", re.IGNORECASE)


def final_part(text: str) -> tuple[str, CutOff | None]:
    """Return the reply without its thinking part and outside text, and a CutOff if the answer's tag is not closed.

    A chat template may open `<think>` itself, so that the reply only has `</think>`. That tag counts if it ends a line,
    which no text inside JSON can do; the same tag inside a label changes nothing. A prompt repeated before "Assistant:"
    is left out if it has no number (OpenGVLab/InternVL, issue 953). RoboBrain 2.0's own code turns a reply into
    {'thinking': …, 'answer': …}. A reply that continues a prompt ending with "[{" gets these characters back.
    """
    rest = text.lstrip()
    roles = list(_ROLE.finditer(rest))
    if len(roles) == 1 and not any(sign.isdigit() for sign in rest[: roles[0].start()]):
        rest = rest[roles[0].end() :].lstrip()
    parts = _IN_PARTS.fullmatch(rest.rstrip())
    if parts is not None:
        return parts["answer"], None
    if _CONTINUED.match(rest):
        rest = "[{" + rest
    if rest.startswith("<answer>"):
        pass
    elif rest.startswith("<think>"):
        _, closed, rest = rest.partition("</think>")
        if not closed:
            raise CutOff("it was cut off while the model was reasoning")
    else:
        ends = list(_THOUGHT.finditer(rest))
        if len(ends) > 1:
            raise Unreadable("the model reasons twice")
        rest = rest[ends[0].end() :] if ends else rest
    rest = rest.lstrip()
    if not rest.startswith("<answer>"):
        return rest, None
    answer, closed, after = rest.removeprefix("<answer>").partition("</answer>")
    if "<answer>" in after:
        raise Unreadable("it has several <answer> parts")
    return answer, None if closed else CutOff("it was cut off: <answer> is never closed")


def scan(text: str) -> tuple[list[ReplyPiece], CutOff | None]:
    """All parts of a reply, MOST_CHARACTERS at most, that can contain locations; prose between them is left out."""
    pieces: list[ReplyPiece] = []
    at = 0
    while opening := _OPENING.search(text, at):
        start = opening.start()
        read = {"<": _tag, "(": _round}.get(opening.group(), _bracket)
        try:
            piece, at = read(text, start)
        except CutOff as cut:
            cut.at = start
            whole = _whole_items(text, start) if text[start] in "[{" else ""
            if whole:
                pieces.append(ReplyPiece("list" if whole[0] == "[" else "object", start, len(text), whole))
            return pieces, cut
        if piece is not None:
            pieces.append(piece)
    return pieces, None


def _whole_items(text: str, start: int) -> str:
    """Cut a truncated list, alone or as the one value of an object, after its last complete item, and close it."""
    opened, end = "", 0
    for mark in MARKS.finditer(text, start):
        sign = mark.group()
        if sign in "[{(":
            opened += sign
        elif sign in "]})":
            opened = opened[:-1]
            if opened in ("[", "{["):
                end = mark.end()
        elif sign == '"':
            break
    return text[start:end] + ("]}" if text[start] == "{" else "]") if end else ""


def _bracket(text: str, start: int) -> tuple[ReplyPiece | None, int]:
    """Read from a square or curly bracket to its closing bracket; texts in double quotes are skipped."""
    stack: list[str] = []
    for mark in MARKS.finditer(text, start):
        sign = mark.group()
        if sign == '"':
            raise CutOff(f"it was cut off: the text in quotes at character {mark.start()} has no end")
        if sign in "[{(":
            stack.append(sign)
            if len(stack) > DEEPEST:
                raise Unreadable(f"its brackets nest deeper than {DEEPEST}")
        elif sign in _CLOSES and stack.pop() != _CLOSES[sign]:
            raise Unreadable(f"the bracket {sign} at character {mark.start()} closes a different kind of bracket")
        if not stack:
            body = text[start : mark.end()]
            piece = ReplyPiece("list" if body[0] == "[" else "object", start, mark.end(), body)
            inner = body[1:-1]
            is_prose = inner.strip() and not any(sign in '{["(' or sign.isdigit() for sign in inner)  # such as [image]
            is_prose = is_prose and not any(_is_number_like(part) for part in inner.split(","))
            return (None if is_prose else piece), mark.end()
    raise CutOff(f"it was cut off: the bracket {text[start]} at character {start} is never closed")


def _round(text: str, start: int) -> tuple[ReplyPiece | None, int]:
    """Read a round bracket with numbers in it; others are prose."""
    whole = _ROUND.match(text, start)
    if whole is not None:
        parts = whole.group(1).split(",")
        tuple_like = len(parts) > 1 and any(_is_number_like(part) for part in parts)
        return (ReplyPiece("tuple", start, whole.end(), whole.group()) if tuple_like else None), whole.end()
    following = _IN_BRACKETS_OR_TAG.search(text, start + 1)
    stop = following.start() if following else len(text)
    if following and following.group() in "([{" and not text[start + 1 : stop].strip():
        raise Unreadable(f"the bracket ( at character {start} is followed directly by another one")
    if any(_is_number_like(part) for part in text[start + 1 : stop].split(",")):
        reason = f"the bracket ( at character {start} is never closed"
        raise Unreadable(reason) if following else CutOff(reason)
    return None, start + 1


def _is_number_like(part: str) -> bool:
    part = part.strip()
    return bool(_NUMBER_LIKE.fullmatch(part) and _A_NUMBER.search(part))


def _tag(text: str, start: int) -> tuple[ReplyPiece | None, int]:
    """Read a tag or token of a known form; any other < is prose."""
    if text.startswith("<loc", start) and not text.startswith("<location", start):
        run = _LOCATIONS.match(text, start)
        if run is None:
            reason = f"the location token at character {start} is cut off or of no known form"
            raise CutOff(reason) if _LOCATION_BEGUN.fullmatch(text, start) else Unreadable(reason)
        return ReplyPiece("locations", start, run.end(), run.group()), run.end()
    attributes: list[tuple[str, str]] = []
    if pair := _PAIR.match(text, start):
        kind, closing = _PAIRS[pair.group()]
        inner = pair.end()
    elif point := _POINT.match(text, start):
        kind, closing, inner = "point", f"</{point.group(1)}>", point.end()
        while found := _ATTRIBUTE.match(text, inner):
            attributes.append((found.group(1).lower(), found.group(2) or found.group(3) or ""))
            inner = found.end()
        tag_end = _TAG_END.match(text, inner)
        if tag_end is None:
            reason = f"the tag at character {start} is cut off or broken"
            raise Unreadable(reason) if ">" in text[inner:] else CutOff(reason)
        inner = tag_end.end()
        if tag_end.group(1):
            return ReplyPiece(kind, start, inner, "", tuple(attributes)), inner
    elif unknown := _OUT_OF_PLACE.match(text, start):
        raise Unreadable(f"{unknown.group()!r} at character {start} is out of place or of an unknown form")
    else:
        return None, start + 1
    stop = text.find(closing, inner)
    if stop < 0:
        raise CutOff(f"it was cut off: the tag at character {start} is never closed by {closing}")
    end = stop + len(closing)
    return ReplyPiece(kind, start, end, text[inner:stop], tuple(attributes)), end
