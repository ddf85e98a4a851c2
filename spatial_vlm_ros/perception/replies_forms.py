# SPDX-License-Identifier: Apache-2.0
"""Read locations in JSON, in tuples of numbers, in tags and in location tokens.

    [{"bbox_2d": [x0, y0, x1, y1], "label": "mug", "score": 0.9}]   {"point_2d": [x, y], "label": "mug"}
    [[x0, y0, x1, y1], …]   [x0, y0, x1, y1]   [(x, y), …]   (x, y), (x, y)
    mug[[x0, y0, x1, y1], …]
    {"objects": [{"x_min": x0, "y_min": y0, "x_max": x1, "y_max": y1}]}   {"points": [{"x": x, "y": y}]}

Qwen2.5-VL and Qwen3-VL write `bbox_2d` and `point_2d`, Gemini `box_2d` and `point`; RoboPoint and RoboRefer tuples;
Moondream named corners. InternVL's `<ref>mug</ref><box>[[…]]</box>` has no tags if special tokens are left out of the
text. Near-JSON is read as JSON: single quotes, commas before a closing bracket, Python's None, True and False. If a
whole list still is not JSON, its items are read one by one.

    <ref>mug</ref><box>[[x0, y0, x1, y1]]</box>   <ref>mug</ref><box>(x0,y0),(x1,y1)</box>   <bbox>x0 y0 x1 y1</bbox>
    <|ref|>mug<|/ref|><|det|>[[x0, y0, x1, y1]]<|/det|>   <|box_start|>(x,y)<|box_end|>   <point>x y</point>
    <point x="12.3" y="45.6" alt="mug">mug</point>   <points x1="…" y1="…" x2="…" y2="…" alt="mugs">mugs</points>
    <points coords="1 1 073 160 2 173 600">mugs</points>   <point>[[x, y]]</point>
    mug<loc_1><loc_2><loc_3><loc_4>box<loc_5>…   <loc0001><loc0002><loc0003><loc0004> mug ; <loc…> box

In this order: InternVL and Qwen-VL, UI-TARS; DeepSeek-VL2, UI-TARS (a point); Molmo; Molmo2 (image, then number, x, y
of each point) and Embodied-R1; Florence-2 (label before its boxes) and PaliGemma (label after its box).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from spatial_vlm_ros.budgets import LARGEST_BOX
from spatial_vlm_ros.perception.replies_scan import (
    DEEPEST,
    MARKS,
    Item,
    NotPlaced,
    ReplyPiece,
    Unreadable,
    WrittenPlace,
)

BOX_KEYS = ("bbox_2d", "box_2d", "bbox", "box", "bounding_box")
POINT_KEYS = ("point_2d", "point")
LABEL_KEYS = ("label", "name", "category", "object", "text")
SCORE_KEYS = ("score", "confidence")
CORNER_KEYS = (
    ("x_min", "y_min", "x_max", "y_max"), ("xmin", "ymin", "xmax", "ymax"), ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom"),
)  # fmt: skip
XY_KEYS = ("x", "y")
SIZE_KEYS = ("width", "height", "w", "h")
WRAPPERS = ("objects", "detections", "boxes", "points", "items", "results")
"""Keys under which a model that may only write objects puts its list."""

_LONGEST_NUMBER = 32  # characters
_DIGITS = re.compile(r"\s*[0-9]{1,6}(?:\.[0-9]{1,16})?\s*")
_LEADING_ZEROS = re.compile(r"(?<![0-9.eE+-])0+(?=[0-9])")  # CogVLM writes [[097, 514, 283, 996]]
_NUMERIC = re.compile(r"[\s\[\]();,0-9.eE+-]*")
_ROUND_TO_SQUARE = str.maketrans("()", "[]")
_BETWEEN = " \t\r\n,;`*-"
_NOWHERE: tuple[Any, ...] = (None, [], "", "none", "null", "n/a", "not found", "not visible")
"""Values that stand for a missing location; texts in lower case."""
_OTHER_FORMS = ("xywh", "cxcywh", "yxyx", "center")
_ABSENT = ("none", "not found", "not visible", "absent", "not present")
_TOKENS = re.compile(
    r""" "[^"\\]*(?:\\.[^"\\]*)*" | '[^'\\]*(?:\\.[^'\\]*)*' | “[^“”"]*” | ,(?=\s*[\]}]) | }(?=\s*{)
    | \b(?:None|True|False)\b """,
    re.DOTALL | re.VERBOSE,
)
_WORDS = {"None": "null", "True": "true", "False": "false"}
_NAME = re.compile(r"\s*([^\W\d_][^\[\]{}()<>:;,.\n]{0,79})")
_WRAPPED = re.compile(r'\{\s*"(?:' + "|".join(WRAPPERS) + r')"\s*:\s*(\[.*\])\s*,?\s*\}', re.DOTALL)


def read_spans(text: str, pieces: Iterable[ReplyPiece]) -> tuple[Item, ...]:
    """Read the lists, objects and tuples of one reply: items in the order written; empty for an empty list.

    One list is the answer; objects or tuples outside a list must follow each other directly. The same list twice (a
    draft and its final version) counts once.
    """
    pieces = tuple(pieces)
    if named := _named_lists(text, pieces):
        return named
    lists: list[tuple[Item, ...]] = []
    singles: list[Item] = []
    last: ReplyPiece | None = None
    for piece in pieces:
        items, is_list = _read(piece)
        if is_list:
            lists.append(items)
            continue
        if last is not None and text[last.end : piece.start].strip(_BETWEEN) not in ("", "and", "json"):
            raise Unreadable("it gives several answers with words between them")
        singles.extend(items)
        last = piece
    if lists and (singles or any(_placed(items) != _placed(lists[0]) for items in lists)):
        raise Unreadable("it gives several answers that differ")
    if not lists and not singles:
        raise Unreadable("it has no list of places")
    return lists[0] if lists else tuple(singles)


def _named_lists(text: str, pieces: Sequence[ReplyPiece]) -> tuple[Item, ...]:
    """Items of a reply that consists only of lists of locations, each directly after its name; else empty."""
    items: list[Item] = []
    end = 0
    for piece in pieces:
        name = _NAME.fullmatch(text, end, piece.start)
        if name is None or not piece.body.startswith("[[") or not is_numeric(piece.body):
            return ()
        label = name.group(1)
        read = _read(piece)[0]
        items.extend(replace(item, label=label) if isinstance(item, WrittenPlace) else item for item in read)
        end = piece.end
    return () if text[end:].strip(_BETWEEN + ".") else tuple(items)


def is_numeric(body: str) -> bool:
    """Whether a text consists only of numbers, commas and brackets."""
    return _NUMERIC.fullmatch(body) is not None


def nested_numbers(body: str) -> Any:
    """Parse numbers in round or square brackets as nested lists."""
    if ";" in body:  # [[x0, y0, x1, y1; x0, y0, x1, y1]], as CogVLM and Shikra write several
        body = body.replace(";", "],[") if body.startswith(("[[", "((")) else f"[{body.replace(';', '],[')}]"
    depth = itertools.accumulate((sign in "[(") - (sign in "])") for sign in body)
    if max(depth, default=0) > DEEPEST:
        raise Unreadable(f"its brackets nest deeper than {DEEPEST}")
    return _decoded(_LEADING_ZEROS.sub("", body.translate(_ROUND_TO_SQUARE)))


def number(value: object, what: str = "a coordinate") -> float:
    """Check that a value is a finite number that may be a coordinate."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"{what} is {_shown(value)}, not a number")
    if not math.isfinite(value) or abs(value) > LARGEST_BOX:
        raise Unreadable(f"{what} is {value}, too large for any image")
    return float(value)


def numbers(value: object, count: int, what: str) -> tuple[float, ...]:
    """Check that a value is a list of `count` numbers."""
    if not isinstance(value, list):
        raise Unreadable(f"{what} is {_shown(value)}, not a list of {count} numbers")
    if len(value) != count:
        raise Unreadable(f"{what} has {len(value)} values, not {count}")
    return tuple(number(one, f"a value of {what}") for one in value)


def _placed(items: tuple[Item, ...]) -> list[WrittenPlace]:
    return [item for item in items if isinstance(item, WrittenPlace)]


def _read(piece: ReplyPiece) -> tuple[tuple[Item, ...], bool]:
    """Items of one piece, and whether the piece is a list of them."""
    body = piece.body
    value = _value(body, numeric=piece.kind == "tuple")
    if isinstance(value, Unreadable):
        wrapped = _WRAPPED.fullmatch(body)
        parts = list(_parts(wrapped.group(1) if wrapped else body)) if wrapped or piece.kind == "list" else []
        if not any(part[0] in "[{(" for part in parts):
            return (value,), False
        return _all([_value(part) for part in parts]), True
    while isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict):
        value = next(iter(value.values()))  # {"<OD>": {"bboxes": …}}
    if isinstance(value, dict):
        listed = _listed(value)
        return ((_each(value),), False) if listed is None else (_all(listed), True)
    if value and not any(isinstance(one, list | dict) for one in value):
        return (_each(value),), False
    return _all(value), True


def _all(values: list[Any]) -> tuple[Item, ...]:
    parts = [(_listed(one) if isinstance(one, dict) and "bboxes" in one else None) or [one] for one in values]
    return tuple(map(_each, itertools.chain(*parts)))


def _listed(value: dict[str, Any]) -> list[Any] | None:
    """The items of an object that is itself a list; None for any other object.

    Such an object has one list of objects or lists under any name, with words and numbers beside it; or boxes and
    labels in two lists of the same length; or lists of numbers under their labels.
    """
    if any(key in value for key in (*BOX_KEYS, *POINT_KEYS, *itertools.chain(*CORNER_KEYS))):
        return None
    boxes, labels = value.get("bboxes"), value.get("labels")
    if isinstance(boxes, list) and isinstance(labels, list) and len(boxes) == len(labels):
        return [{"box": box, "label": label} for box, label in zip(boxes, labels, strict=True)]
    lists = [one for one in value.values() if isinstance(one, list)]
    if len(lists) == 1 and len(value) > 1 and isinstance(boxes, list):
        name = next((value[key] for key in LABEL_KEYS if isinstance(value.get(key), str)), "")
        return [{"box": box, "label": name} for box in boxes]
    nested = any(isinstance(one, dict) for key, one in value.items() if key != "metrics")
    if len(lists) == 1 and all(isinstance(one, list | dict) for one in lists[0]) and not nested:
        return lists[0]
    names, keyed = {2: "point", 4: "box"}, bool(value)
    for one in value.values():
        keyed &= isinstance(one, list) and len(one) in names
        keyed = keyed and all(isinstance(n, int | float | str) and not isinstance(n, bool) for n in one)
    return [{names[len(one)]: one, "label": label} for label, one in value.items()] if keyed else None


def _each(value: Any) -> Item:
    try:
        if isinstance(value, Unreadable):
            return value
        if isinstance(value, dict):
            return _item(value)
        if isinstance(value, list):
            if len(value) not in (2, 4):
                raise Unreadable(f"a place has {len(value)} values, neither 2 nor 4")
            return _at("", numbers(value, len(value), "a place"))
        raise Unreadable(f"an item of its list is {_shown(value)}, not a place")
    except Unreadable as error:
        return error


def _at(label: str, values: tuple[float, ...]) -> WrittenPlace:
    return WrittenPlace(label, box=values) if len(values) == 4 else WrittenPlace(label, point=values)


def _item(item: dict[str, Any]) -> WrittenPlace:
    box_key, point_key = _only(item, BOX_KEYS), _only(item, POINT_KEYS)
    given = [item[key] for key in (box_key, point_key) if key is not None]
    if given and all((value.lower() if isinstance(value, str) else value) in _NOWHERE for value in given):
        raise NotPlaced(f"an object has {_shown(given[0])} as its place")
    told = [value.lower() for value in item.values() if isinstance(value, str)]
    if not given and (item.get("found") is False or (told and len(told) == len(item) and set(told) <= set(_ABSENT))):
        raise NotPlaced(f"an object is reported as absent: {_shown(item)}")
    named = not given or isinstance(given[0], dict)
    if len({isinstance(value, dict) for value in given}) > 1:
        raise Unreadable("an object has a box and a point, but names the coordinates of only one of them")
    if named:
        parts = [value for value in given if isinstance(value, dict)] or [item]
        box = point = None
        for part in parts:
            keys = next((keys for keys in CORNER_KEYS if all(key in part for key in keys)), ())
            box = tuple(number(part[key], key) for key in keys) if box is None and keys else box
        for part in parts:
            is_point = all(key in part for key in XY_KEYS) and not any(key in part for key in SIZE_KEYS)
            point = tuple(number(part[key], key) for key in XY_KEYS) if point is None and is_point else point
    else:
        box = None if box_key is None else numbers(item[box_key], 4, box_key)
        point = None if point_key is None else numbers(item[point_key], 2, point_key)
    if box is None and point is None:
        wanted = ", ".join((*BOX_KEYS, *POINT_KEYS))
        raise Unreadable(f"an object has none of the keys {wanted}; it has {_shown(sorted(item))}")
    declared = [value.lower() for key, value in item.items() if isinstance(value, str) and key not in LABEL_KEYS]
    if not set(declared).isdisjoint(_OTHER_FORMS):
        raise Unreadable(f"an object declares another form of box: {_shown(item)}")
    labels = [item[key] for key in LABEL_KEYS if item.get(key) is not None]
    if not all(isinstance(label, str) for label in labels):
        raise Unreadable(f"a label is {_shown(next(x for x in labels if not isinstance(x, str)))}, not a text")
    if len(set(labels)) > 1:
        raise Unreadable("an object has several labels that differ")
    scores = [item[key] for key in SCORE_KEYS if key in item]
    said = scores[0] if len(scores) == 1 else None
    known = isinstance(said, int | float) and not isinstance(said, bool) and 0.0 <= said <= 1.0
    score = float(said) if known and said is not None else None
    return WrittenPlace(labels[0] if labels else "", box=box, point=point, score=score, named=named)


def _only(item: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    present = [key for key in keys if key in item]
    if len(present) > 1:
        raise Unreadable(f"an object has both {present[0]} and {present[1]}")
    return present[0] if present else None


def _parts(body: str) -> Iterator[str]:
    depth, begin = 0, 1
    for mark in MARKS.finditer(body):
        sign = mark.group()
        depth += (sign in ("[", "(", "{")) - (sign in ("]", ")", "}"))
        if (sign == "," and depth == 1) or depth == 0:
            part = body[begin : mark.start()].strip()
            if part:
                yield part
            begin = mark.end()


def _value(body: str, *, numeric: bool = False) -> Any:
    """Numbers in brackets, or a text that is JSON or near-JSON, as a value; or why it is none of these."""
    try:
        return nested_numbers(body) if numeric or is_numeric(body) else _decoded(body)
    except Unreadable as error:
        return error


def _decoded(body: str) -> Any:
    try:
        return _strictly(body)
    except Unreadable:
        nearly = _TOKENS.sub(_as_json, body)
        if nearly != body:
            with contextlib.suppress(Unreadable):
                return _strictly(nearly)
        raise


def _as_json(token: re.Match[str]) -> str:
    found = token.group()
    if found[0] in "'“":
        return json.dumps(found[1:-1].replace("\\'", "'"))
    return {",": "", "}": "},"}.get(found) if found in ",}" else _WORDS.get(found, found)  # type: ignore[return-value]


def _strictly(body: str) -> Any:
    try:
        return json.loads(
            body,
            object_pairs_hook=_object,
            parse_int=lambda text: int(_short(text)),
            parse_float=lambda text: float(_short(text)),
            parse_constant=_constant,
            strict=False,  # a line break within a label
        )
    except json.JSONDecodeError as error:
        raise Unreadable(f"it is not JSON: {error.msg} near {_shown(body[error.pos : error.pos + 20])}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | list[dict[str, Any]]:
    """An object; if all its keys repeat in the same order, the list of objects that it means."""
    item = dict(pairs)
    if len(item) == len(pairs):
        return item
    keys = [key for key, _ in pairs]
    if len(item) < 2 or keys != list(item) * (len(keys) // len(item)):
        raise Unreadable("an object has the same key twice")
    return [dict(pairs[k : k + len(item)]) for k in range(0, len(pairs), len(item))]


def _short(text: str) -> str:
    if len(text) > _LONGEST_NUMBER:
        raise Unreadable(f"a number has {len(text)} digits")
    return text


def _constant(text: str) -> Any:
    raise Unreadable(f"a value is {text}, not a number")


def _shown(value: object) -> str:
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."


_DECIMAL = re.compile(r"\s*(-?[0-9]{1,7}(?:\.[0-9]{1,16})?)\s*")
_COORDINATE = re.compile(r"([xy])([0-9]*)")
_LOCATION = re.compile(r"<loc_?([0-9]+)>")
_APART = re.compile(r"\s*[0-9.]+(?:\s+[0-9.]+)+\s*")
_SPECIAL = re.compile(r"<(?:/?s|pad|eos|bos|/?od|ground|obj)>|<\|[a-z_]{1,24}\|>")
_FIRST_IMAGE = (0, 1)  # numbers of the only image, whichever number counting begins with


def read_tags(pieces: Iterable[ReplyPiece], cut: bool = False) -> tuple[Item, ...]:
    """Read the tags of one reply in the order written; a label applies to the boxes and points up to the next label."""
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
            if piece.kind != "box":
                items += _points(piece, label)
                continue
            value = _inside(piece.body, "a <box>")
            if len(value) == 2 and all(isinstance(one, list) and len(one) == 2 for one in value):
                value = [[*value[0], *value[1]]]
            if len(value) == 2 and not any(isinstance(one, list) for one in value):
                items.append(_at(label, numbers(value, 2, "a <box>")))
            else:
                items += [_at(label, numbers(one, 4, "a <box>")) for one in _lists(value)]
        except Unreadable as error:
            items.append(error)
    if not used and not cut:
        raise Unreadable("a label is followed by no place")
    return tuple(items)


def read_locations(text: str, pieces: Sequence[ReplyPiece], cut: bool = False) -> tuple[Item, ...]:
    """Read the location tokens of one reply, four for each box."""
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
            label, semicolon, rest = label.partition(";")
            if rest.strip() or not (semicolon or k + 1 == len(pieces)):
                shown = (label + semicolon + rest).strip()[:40]
                raise Unreadable(f"boxes are not separated by one semicolon: {shown!r}")
        items.extend(WrittenPlace(label, box=tuple(values[i : i + 4])) for i in range(0, len(values), 4))
    return tuple(items)


def without_special(text: str) -> str:
    """Remove the tokens that only mark the beginning, the end or the padding of a reply."""
    return _SPECIAL.sub(" ", text)


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


def _points(piece: ReplyPiece, label: str) -> list[WrittenPlace]:
    given = dict(piece.attributes)
    if len(given) != len(piece.attributes):
        raise Unreadable("a point tag has the same attribute twice")
    places = {name: value for name, value in given.items() if _COORDINATE.fullmatch(name)}
    if "coords" in given and places:
        raise Unreadable("a point tag has coords and single coordinates")
    points: list[tuple[float, ...]]
    if "coords" in given:  # "PICTURE NUMBER X Y NUMBER X Y …"
        values = [_decimal(word) for word in given["coords"].replace(";", " ").split()]
        if len(values) < 4 or (len(values) - 1) % 3:
            raise Unreadable(f"coords has {len(values)} values, not one and then three for each point")
        if values[0] not in _FIRST_IMAGE:
            raise Unreadable(f"coords names image {values[0]:g}, but one was shown")
        if len(set(values[1::3])) != len(values[1::3]):
            raise Unreadable("coords gives two points the same number")
        points = list(zip(values[2::3], values[3::3], strict=True))
    elif places:  # x and y, or x1, y1, x2, y2 and so on
        suffixes = [name[1:] for name in places if name[0] == "x"]
        if sorted(places) != sorted(axis + suffix for axis in "xy" for suffix in suffixes):
            raise Unreadable("a point tag has an x without its y, or a y without its x")
        if "" in suffixes and len(suffixes) > 1:
            raise Unreadable("a point tag has numbered coordinates and others")
        points = [(_decimal(places["x" + suffix]), _decimal(places["y" + suffix])) for suffix in suffixes]
    else:
        points = [numbers(one, 2, "a <point>") for one in _lists(_inside(piece.body, "a <point>"))]
        return [WrittenPlace(label, point=point) for point in points]
    return [WrittenPlace(given.get("alt") or piece.body or label, point=point) for point in points]


def _decimal(text: str) -> float:
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise Unreadable(f"a coordinate is {text[:20]!r}, not a number")
    return number(float(found.group(1)))
