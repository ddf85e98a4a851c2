# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a line of truth that its form alone does not show: its encoding, and fields that nothing reads.

A misspelled field changes what is judged without a word: "expct" makes a case that is not judged, "idd" one that any
object is right for. Knows bytes and names of fields; knows nothing of what they mean.
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
    """Why the bytes of a line are no UTF-8, in words; "" = they are."""
    if line.startswith(_UTF_16):
        return "it is UTF-16; save the file as UTF-8"
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
    return ""


def unread_field(line: bytes) -> tuple[str, str] | None:
    """The first field of a line that nothing reads, and which one may be meant, in words; None = all is well.

    In `expect` every unknown field is one. A case may have fields of its own (who wrote it, where it is from), but
    for those that look like a known one.

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
