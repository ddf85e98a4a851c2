# SPDX-License-Identifier: Apache-2.0
"""Checks a truth line, and the entries of detections.json, for what their form does not: encoding, unknown fields.

A misspelled field silently changes the judgement: "expct" makes a case that is not judged, "idd" one for which any
object is right. Works on bytes and field names only.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any

import msgspec

from spatial_vlm_ros.evaluation.case import Box3d, CaseLine, Expectation, ExpectedAnswer
from spatial_vlm_ros.evaluation.expected_place import ExpectedPlace

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_ALIKE = 0.75  # share of characters from which a field of a case is a known one misspelled
_CASE = CaseLine.__struct_fields__
_EXPECT: Mapping[str, tuple[str, ...]] = {
    "expect": tuple(one.name for one in fields(Expectation)),
    "expect.place": tuple(one.name for one in fields(ExpectedPlace)),
    "expect.answer": tuple(one.name for one in fields(ExpectedAnswer)),
    "expect.box_3d": tuple(one.name for one in fields(Box3d)),
}


def wrong_encoding(line: bytes) -> str:
    """Why the bytes of a line are not UTF-8, as text; "" = they are."""
    if line.startswith(_UTF_16):
        return "it is UTF-16; save the file as UTF-8"
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
    return ""


def unread_field(line: bytes) -> tuple[str, str] | None:
    """The first unknown field of a line, and a text about which field may be meant; None if all are known.

    In `expect` every unknown field counts. A case may have extra fields (who wrote it, where it is from), unless they
    look like a known one.

    Args:
        line: valid JSON of an object.
    """
    found = msgspec.json.decode(line)
    for name in found:
        close = _like(name, _CASE)
        if name not in _CASE and close:
            return f"$.{name}", f"unknown field `{name}`; use `{close}`, or rename yours"
    for place, part in _parts(found):
        known = _EXPECT[place]
        for name in part:
            if name not in known:
                close = _like(name, known)
                meant = f"write `{close}`" if close else f"the fields are {', '.join(known)}"
                return f"$.{place}.{name}", f"unknown field `{name}`; {meant}"
    return None


def misspelled(found: Mapping[str, Any], known: Collection[str]) -> tuple[str, str] | None:
    """The first unknown field that looks like a missing known one, and that one; None if there is none.

    Args:
        found: a decoded JSON object.
    """
    absent = [name for name in known if name not in found]
    pairs = ((name, _like(name, absent)) for name in found if name not in known)
    return next(((name, close) for name, close in pairs if close), None)


def _parts(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    expect = found.get("expect")
    if isinstance(expect, Mapping):
        yield "expect", expect
        for name in ("place", "answer", "box_3d"):
            part = expect.get(name)
            if isinstance(part, Mapping):
                yield f"expect.{name}", part


def _like(name: str, known: Collection[str]) -> str:
    return next(iter(difflib.get_close_matches(name, known, 1, _ALIKE)), "")
