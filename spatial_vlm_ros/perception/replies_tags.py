# SPDX-License-Identifier: Apache-2.0
"""Read locations in tags and in location tokens.

    <ref>mug</ref><box>[[x0, y0, x1, y1]]</box>   <ref>mug</ref><box>(x0,y0),(x1,y1)</box>   <bbox>x0 y0 x1 y1</bbox>
    <|ref|>mug<|/ref|><|det|>[[x0, y0, x1, y1]]<|/det|>   <|box_start|>(x,y)<|box_end|>   <point>x y</point>
    <point x="12.3" y="45.6" alt="mug">mug</point>   <points x1="…" y1="…" x2="…" y2="…" alt="mugs">mugs</points>
    <points coords="1 1 073 160 2 173 600">mugs</points>   <point>[[x, y]]</point>
    mug<loc_1><loc_2><loc_3><loc_4>box<loc_5>…   <loc0001><loc0002><loc0003><loc0004> mug ; <loc…> box

In this order: InternVL and Qwen-VL, UI-TARS; DeepSeek-VL2, UI-TARS (a point); Molmo; Molmo2 (image, then number, x, y
of each point) and Embodied-R1; Florence-2 (label before its boxes) and PaliGemma (label after its box).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from spatial_vlm_ros.perception.replies_json import is_numeric, nested_numbers, number, numbers
from spatial_vlm_ros.perception.replies_scan import Item, ReplyPiece, Unreadable, WrittenPlace

_DECIMAL = re.compile(r"\s*(-?[0-9]{1,7}(?:\.[0-9]{1,16})?)\s*")
_COORDINATE = re.compile(r"([xy])([0-9]*)")
_LOCATION = re.compile(r"<loc_?([0-9]+)>")
_APART = re.compile(r"\s*[0-9.]+(?:\s+[0-9.]+)+\s*")
_SPECIAL = re.compile(r"<(?:/?s|pad|eos|bos|/?od|ground|obj)>|<\|[a-z_]{1,24}\|>")
_FIRST_IMAGE = (0, 1)  # numbers of the only image, whichever number counting begins with


def read_tags(pieces: Iterable[ReplyPiece], cut: bool = False) -> tuple[Item, ...]:
    """Read the tags of one reply: items in the order written.

    Args:
        pieces: pieces of the kinds label, box and point, in order; a label applies to the boxes and points up to the
            next label.
    """
    items: list[Item] = []
    label, used = "", True
    for piece in pieces:
        if piece.kind == "label":
            if not used:
                raise Unreadable("a label is followed by no place")
            label, used = piece.body, False
            continue
        used = True
        try:
            if piece.kind == "box":
                items.extend([_boxed(label, values) for values in _boxes(piece.body)])
            else:
                items.extend(list(_points(piece, label)))
        except Unreadable as error:
            items.append(error)
    if not used and not cut:
        raise Unreadable("a label is followed by no place")
    return tuple(items)


def read_locations(text: str, pieces: Sequence[ReplyPiece], cut: bool = False) -> tuple[Item, ...]:
    """Read the location tokens of one reply, four for each box.

    Args:
        pieces: its runs of tokens, in order.
    """
    spellings = {piece.body.count("<loc_") == piece.body.count("<loc") for piece in pieces}
    if len(spellings) > 1 or any("<loc_" in piece.body for piece in pieces) != spellings.pop():
        raise Unreadable("it mixes two kinds of location tokens")
    ends = [0, *(piece.end for piece in pieces)]
    starts = [*(piece.start for piece in pieces), len(text)]
    words = [without_special(text[end:start]) for end, start in zip(ends, starts, strict=True)]
    before = "<loc_" in pieces[0].body
    labels = words[:-1] if before else words[1:]
    stray = words[-1] if before else words[0]
    if stray.strip() and not (cut and before):
        raise Unreadable(f"there are words where no label is allowed: {stray.strip()[:40]!r}")
    items: list[Item] = []
    for k, (label, piece) in enumerate(zip(labels, pieces, strict=True)):
        values = [float(token) for token in _LOCATION.findall(piece.body)]
        if len(values) % 4 or (not before and len(values) != 4):
            items.append(Unreadable(f"there are {len(values)} location tokens in a row, not four for each box"))
            continue
        if not before:
            label = _closed(label, last=k + 1 == len(pieces))
        items.extend(WrittenPlace(label, box=tuple(values[i : i + 4])) for i in range(0, len(values), 4))
    return tuple(items)


def without_special(text: str) -> str:
    """Remove the tokens that only mark the beginning, the end or the padding of a reply."""
    return _SPECIAL.sub(" ", text)


def _closed(label: str, *, last: bool) -> str:
    name, semicolon, rest = label.partition(";")
    if rest.strip() or not (last or semicolon):
        raise Unreadable(f"boxes are not separated by one semicolon: {label.strip()[:40]!r}")
    return name


def _boxed(label: str, values: tuple[float, ...]) -> WrittenPlace:
    """Content of a box tag: a box, or only one point."""
    return WrittenPlace(label, box=values) if len(values) == 4 else WrittenPlace(label, point=values)


def _boxes(body: str) -> Iterator[tuple[float, ...]]:
    value = _inside(body, "a <box>")
    if len(value) == 2 and all(isinstance(one, list) and len(one) == 2 for one in value):
        value = [[*value[0], *value[1]]]
    if len(value) == 2 and not any(isinstance(one, list) for one in value):
        yield numbers(value, 2, "a <box>")
        return
    for one in _lists(value):
        yield numbers(one, 4, "a <box>")


def _inside(body: str, what: str) -> list[Any]:
    """The numbers between two tags, without brackets around all of them."""
    if not body.strip():
        raise Unreadable(f"{what} is empty")
    if not is_numeric(body):
        raise Unreadable(f"{what} contains something other than numbers: {body.strip()[:40]!r}")
    apart = ", ".join(body.split()) if _APART.fullmatch(body) else body
    value: list[Any] = nested_numbers(f"[{apart}]")
    return value[0] if len(value) == 1 and isinstance(value[0], list) else value


def _lists(value: list[Any]) -> list[Any]:
    return value if value and all(isinstance(one, list) for one in value) else [value]


def _points(piece: ReplyPiece, label: str) -> Iterator[WrittenPlace]:
    names = [name for name, _ in piece.attributes]
    if len(set(names)) != len(names):
        raise Unreadable("a point tag has the same attribute twice")
    given = dict(piece.attributes)
    places = {name: value for name, value in given.items() if _COORDINATE.fullmatch(name)}
    if "coords" in given and places:
        raise Unreadable("a point tag has coords and single coordinates")
    if "coords" not in given and not places:
        for one in _lists(_inside(piece.body, "a <point>")):
            yield WrittenPlace(label, point=numbers(one, 2, "a <point>"))
        return
    name = given.get("alt") or piece.body or label
    pairs = _listed(given["coords"]) if "coords" in given else _paired(places)
    for point in pairs:
        yield WrittenPlace(name, point=point)


def _paired(places: dict[str, str]) -> Iterator[tuple[float, float]]:
    """Points from the attributes x and y, or x1, y1, x2, y2 and so on."""
    suffixes = [name[1:] for name in places if name[0] == "x"]
    if sorted(places) != sorted(axis + suffix for axis in "xy" for suffix in suffixes):
        raise Unreadable("a point tag has an x without its y, or a y without its x")
    if "" in suffixes and len(suffixes) > 1:
        raise Unreadable("a point tag has numbered coordinates and others")
    for suffix in suffixes:
        yield _decimal(places["x" + suffix]), _decimal(places["y" + suffix])


def _listed(coords: str) -> Iterator[tuple[float, float]]:
    """Points from "PICTURE NUMBER X Y NUMBER X Y …"."""
    values = [_decimal(word) for word in coords.replace(";", " ").split()]
    if len(values) < 4 or (len(values) - 1) % 3:
        raise Unreadable(f"coords has {len(values)} values, not one and then three for each point")
    if values[0] not in _FIRST_IMAGE:
        raise Unreadable(f"coords names image {values[0]:g}, but one was shown")
    if len(set(values[1::3])) != len(values[1::3]):
        raise Unreadable("coords gives two points the same number")
    yield from zip(values[2::3], values[3::3], strict=True)


def _decimal(text: str) -> float:
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise Unreadable(f"a coordinate is {text[:20]!r}, not a number")
    return number(float(found.group(1)))
