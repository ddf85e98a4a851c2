# SPDX-License-Identifier: Apache-2.0
"""Places in JSON and in tuples of numbers.

    [{"bbox_2d": [x0, y0, x1, y1], "label": "mug", "score": 0.9}]   {"point_2d": [x, y], "label": "mug"}
    [[x0, y0, x1, y1], …]   [x0, y0, x1, y1]   [(x, y), …]   (x, y), (x, y)

Qwen2.5-VL and Qwen3-VL write `bbox_2d` and `point_2d`, Gemini `box_2d` and `point`; RoboPoint and RoboRefer tuples.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable
from typing import Any

from spatial_vlm_ros.perception.replies_scan import DEEPEST, ReplyPiece, Unreadable, WrittenPlace

BOX_KEYS = ("bbox_2d", "box_2d", "bbox", "box")
POINT_KEYS = ("point_2d", "point")
LABEL_KEYS = ("label", "name", "category", "object", "text")
SCORE_KEYS = ("score", "confidence")
WRAPPERS = ("objects", "detections", "boxes", "points", "items", "results")
"""Keys under which a model that may only write objects puts its list."""

LARGEST = 1e6  # no image has so many pixels a side
_LONGEST_NUMBER = 32  # characters
_NUMERIC = re.compile(r"[\s\[\](),0-9.eE+-]*")
_ROUND_TO_SQUARE = str.maketrans("()", "[]")
_BETWEEN = " \t\r\n,;`*-"


def read_spans(text: str, pieces: Iterable[ReplyPiece]) -> tuple[WrittenPlace, ...]:
    """What lists, objects and tuples of one reply say: places in the order written; none where the list is empty.

    One list is the answer; objects or tuples without a list around them must follow each other directly. The same
    list twice (a draft and its fair copy) counts once.

    Args:
        text: the reply.
        pieces: its parts of the kinds list, object and tuple, in order.

    Raises:
        Unreadable: not JSON, not of the schema, several answers, or no answer.
    """
    lists: list[tuple[WrittenPlace, ...]] = []
    singles: list[WrittenPlace] = []
    last: ReplyPiece | None = None
    for piece in pieces:
        places, is_list = _read(piece)
        if is_list:
            lists.append(places)
            continue
        if last is not None and text[last.end : piece.start].strip(_BETWEEN) not in ("", "and", "json"):
            raise Unreadable("it gives several answers with words between them")
        singles.extend(places)
        last = piece
    if lists and (singles or any(places != lists[0] for places in lists)):
        raise Unreadable("it gives several answers that differ")
    if not lists and not singles:
        raise Unreadable("it holds no list of places")
    return lists[0] if lists else tuple(singles)


def is_numeric(body: str) -> bool:
    """Whether a text is made of numbers, commas and brackets only."""
    return _NUMERIC.fullmatch(body) is not None


def nested_numbers(body: str) -> Any:
    """Numbers in round or square brackets as lists.

    Raises:
        Unreadable: not well formed, nested deeper than DEEPEST, or a number is not one of JSON.
    """
    depth = itertools.accumulate((sign in "[(") - (sign in "])") for sign in body)
    if max(depth, default=0) > DEEPEST:
        raise Unreadable(f"its brackets nest deeper than {DEEPEST}")
    return _decoded(body.translate(_ROUND_TO_SQUARE))


def number(value: object, what: str = "a coordinate") -> float:
    """A finite number that may be a coordinate.

    Raises:
        Unreadable: another type, not finite, or larger than any image.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"{what} is {_shown(value)}, not a number")
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise Unreadable(f"{what} is {value}, beyond all bounds")
    return float(value)


def numbers(value: object, count: int, what: str) -> tuple[float, ...]:
    """A list of so many numbers.

    Raises:
        Unreadable: no list, another count, or something in it is no number.
    """
    if not isinstance(value, list):
        raise Unreadable(f"{what} is {_shown(value)}, not a list of {count} numbers")
    if len(value) != count:
        raise Unreadable(f"{what} has {len(value)} values, not {count}")
    return tuple(number(one, f"a value of {what}") for one in value)


def _read(piece: ReplyPiece) -> tuple[tuple[WrittenPlace, ...], bool]:
    """Places of one piece, and whether it is a list of them."""
    value = nested_numbers(piece.body) if piece.kind == "tuple" or is_numeric(piece.body) else _decoded(piece.body)
    if isinstance(value, dict):
        inner = [key for key in WRAPPERS if isinstance(value.get(key), list)]
        if len(value) == 1 and inner:
            return _read_list(value[inner[0]]), True
        return (_item(value),), False
    if value and not any(isinstance(one, list | dict) for one in value):
        return (_bare(value),), False
    return _read_list(value), True


def _read_list(value: list[Any]) -> tuple[WrittenPlace, ...]:
    if all(isinstance(one, dict) for one in value):
        return tuple(_item(one) for one in value)
    if not all(isinstance(one, list) for one in value):
        raise Unreadable("its list mixes objects, lists and other values")
    places = tuple(_bare(one) for one in value)
    if len({place.box is None for place in places}) > 1:
        raise Unreadable("its list mixes boxes and points")
    return places


def _bare(values: list[Any]) -> WrittenPlace:
    """A place of numbers alone: two make a point, four a box."""
    if len(values) not in (2, 4):
        raise Unreadable(f"a place has {len(values)} values, neither 2 nor 4")
    read = numbers(values, len(values), "a place")
    return WrittenPlace("", box=read) if len(read) == 4 else WrittenPlace("", point=read)


def _item(item: dict[str, Any]) -> WrittenPlace:
    box_key, point_key = _only(item, BOX_KEYS), _only(item, POINT_KEYS)
    if box_key is None and point_key is None:
        known = ", ".join((*BOX_KEYS, *POINT_KEYS))
        raise Unreadable(f"an object has none of the keys {known}; it has {_shown(sorted(item))}")
    labels = [item[key] for key in LABEL_KEYS if key in item]
    if not all(isinstance(label, str) for label in labels):
        raise Unreadable(f"a label is {_shown(next(x for x in labels if not isinstance(x, str)))}, not a text")
    if len(set(labels)) > 1:
        raise Unreadable("an object has several labels that differ")
    return WrittenPlace(
        labels[0] if labels else "",
        box=None if box_key is None else numbers(item[box_key], 4, box_key),
        point=None if point_key is None else numbers(item[point_key], 2, point_key),
        score=_score(item),
    )


def _score(item: dict[str, Any]) -> float | None:
    key = _only(item, SCORE_KEYS)
    if key is None or item[key] is None:
        return None
    score = number(item[key], key)
    if not 0.0 <= score <= 1.0:
        raise Unreadable(f"{key} is {score:g}, not 0 to 1")
    return score


def _only(item: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    present = [key for key in keys if key in item]
    if len(present) > 1:
        raise Unreadable(f"an object has both {present[0]} and {present[1]}")
    return present[0] if present else None


def _decoded(body: str) -> Any:
    try:
        return json.loads(
            body,
            object_pairs_hook=_object,
            parse_int=lambda text: int(_short(text)),
            parse_float=lambda text: float(_short(text)),
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise Unreadable(f"it is not JSON: {error.msg} near {_shown(body[error.pos : error.pos + 20])}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    item = dict(pairs)
    if len(item) != len(pairs):
        raise Unreadable("an object has the same key twice")
    return item


def _short(text: str) -> str:
    if len(text) > _LONGEST_NUMBER:
        raise Unreadable(f"a number has {len(text)} digits")
    return text


def _constant(text: str) -> Any:
    raise Unreadable(f"a value is {text}, not a number")


def _shown(value: object) -> str:
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."
