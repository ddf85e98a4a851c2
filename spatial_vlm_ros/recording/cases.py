# SPDX-License-Identifier: Apache-2.0
"""A case: words on one image with the expected outcome. Also the checked form of one line of a truth file.

Fields, units and exclusions; `load_cases` reads those of a folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import inside, member, read_lines
from spatial_vlm_ros.recording.frame_folder import BYTE_ORDER_MARK, decode_json, similar_name
from spatial_vlm_ros.types import SpaceAnswer, Status

CASES_FILE = "cases.jsonl"
CASE_REPAIR = "fix the line; docs/evaluate.md describes a case"

LARGEST_M = 20.0
"""Metres: a larger box or tolerance is not realistic for an RGB-D camera, so it is probably in millimetres."""
FARTHEST_M = 1000.0
"""Metres: a centre farther from its frame's origin is probably in millimetres."""
_STATUS_OF_OBJECT = (Status.OK, Status.ANSWERED)

Point = tuple[float, float, float]
BoxPixels = tuple[float, float, float, float]


@dataclass(frozen=True)
class ExpectedPlace:
    """A box in which a place should lie."""

    relation: str
    anchor_id: str
    region_center: Point  # centre of the box in the base frame, metres
    region_half: Point  # half extents of the box along the axes of the base frame, metres
    # other detections that may be named as the anchor: the cabinet of a drawer, the second of two
    anchor_also: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExpectedAnswer:
    """The right answer to a question about space."""

    value: float | str | None = None  # "yes", "no", "unclear", a number in metres or of objects, …; None = any
    # allowed difference of a number; None = it has to lie within the answer's own interval
    tolerance: float | None = None
    # ids of all objects that the answer must give as subjects or as matches; None = any
    ids: tuple[str, ...] | None = None

    def fits(self, answer: SpaceAnswer, ids: Sequence[str] | None = None) -> bool:
        """Whether an answer is the right one; `ids` are the true ids of its objects, if they differ from its own."""
        given = set(objects_of(answer) if ids is None else ids)
        if self.ids is not None and given != set(self.ids):
            return False
        if self.value is None or isinstance(self.value, str) or not isinstance(answer.value, float | int):
            return self.value in (None, answer.value)
        if self.tolerance is not None:
            return abs(answer.value - self.value) <= self.tolerance
        low, high = answer.interval or (answer.value, answer.value)
        return low <= self.value <= high


def objects_of(answer: SpaceAnswer) -> tuple[str, ...]:
    """Ids of the objects in an answer: its subjects and matches."""
    return tuple(obj.id for obj in answer.objects if obj.role in ("subject", "fits"))


@dataclass(frozen=True)
class Box3d:
    """A box in space, upright in its frame."""

    center: Point  # its centre, metres
    size: Point  # along its own axes, metres
    yaw: float = 0.0  # rotation about z, radians
    frame_id: str = ""  # its frame; "" = the base frame, or the camera's if there is no base frame

    def __post_init__(self) -> None:
        _check_metres("box_3d", self.center, self.size)
        if min(self.size) <= 0.0:
            raise ValueError(f"the size of box_3d is {list(self.size)}: use three lengths above 0, in metres")
        if not abs(self.yaw) <= 2 * math.pi:
            turn = f"yaw of box_3d is {self.yaw:g}, not within a full turn"
            raise ValueError(f"{turn}: it looks like degrees; use radians")


def _check_metres(what: str, center: Point, size: Point) -> None:
    measured = f"{what} has its centre at {list(center)} and measures {list(size)}"
    if not all(math.isfinite(v) for v in (*center, *size)) or min(size) < 0.0:
        raise ValueError(f"{measured}: use metres, and no length below 0")
    if max(size) > LARGEST_M or max(abs(v) for v in center) > FARTHEST_M:
        wrong = "which is too far or too large for an object in view: it looks like millimetres; use metres"
        raise ValueError(f"{measured}, {wrong}")


@dataclass(frozen=True)
class Expectation:
    """Expected outcome of a case."""

    status: Status
    # id of the right detection if the status is OK; None = any, or the one that the other fields describe
    id: str | None = None
    # ids of other right detections: the drawer of "close the drawer and put the bowl on top of it"
    id_also: tuple[str, ...] = ()
    place: ExpectedPlace | None = None  # expected place; None = not requested or not known
    answer: ExpectedAnswer | None = None  # the right answer if the status is ANSWERED; None = any
    label: str | None = None
    # box of the right object in the colour image, pixels, left, top, right, bottom; None = not given
    box: BoxPixels | None = None
    # mask of the right object: an 8-bit image beside the file, not 0 = object; None = not given
    mask: str | None = None
    box_3d: Box3d | None = None  # box of the right object in space; None = not given
    # allowed distance of the pose's centre from that of `box_3d`, metres; None = not judged
    tolerance_m: float | None = None

    def __post_init__(self) -> None:
        described = [name for name in ("id", "box", "mask", "box_3d") if getattr(self, name) is not None]
        if described and self.status not in _STATUS_OF_OBJECT:
            refusal = f"status {self.status.value} is a refusal, which has no object"
            raise ValueError(f"{refusal}: leave {' and '.join(described)} out, or expect OK")
        if self.box is not None:
            left, top, right, bottom = self.box
            if not all(math.isfinite(v) for v in self.box) or right <= left or bottom <= top:
                form = "left, top, right, bottom in pixels, left < right, top < bottom"
                raise ValueError(f"box is {list(self.box)}: use {form}")
            if max(self.box) <= 1.0:
                raise ValueError(f"box is {list(self.box)}, fractions of the image: use pixels")
        if self.place is not None:
            _check_metres("the region of place (half of it)", self.place.region_center, self.place.region_half)
        if self.tolerance_m is not None:
            if self.box_3d is None:
                raise ValueError("tolerance_m limits the distance from box_3d: add box_3d")
            if not 0.0 < self.tolerance_m <= LARGEST_M:
                raise ValueError(f"tolerance_m is {self.tolerance_m:g}: use metres, above 0 and at most {LARGEST_M:g}")

    @property
    def describes_object(self) -> bool:
        """Whether it identifies the right object by pixels or in space."""
        return self.box is not None or self.mask is not None or self.box_3d is not None


@dataclass(frozen=True)
class Case:
    """One instruction on one image."""

    frame: str  # name of the frame's folder; "" for an image of a bag
    instruction: str
    expect: Expectation | None = None  # the right outcome; None = not known
    kind: tuple[str, ...] = ()
    stamp_ns: int = 0  # header stamp of the colour image in a bag, nanoseconds; 0 = an image of a folder
    bag: str = ""  # URI of the bag, or its path relative to the truth file; "" = the only bag


class CaseLine(msgspec.Struct):
    """A case as written in a file; `instruction` and `question` mean the same."""

    frame: str = ""
    instruction: str | None = None
    question: str | None = None
    expect: Expectation | None = None
    kind: tuple[str, ...] = ()
    stamp_ns: int | None = None
    bag: str = ""

    def __post_init__(self) -> None:
        if self.instruction is not None and self.question is not None:
            raise ValueError("the case has both `instruction` and `question`, which mean the same: keep one")
        if self.instruction is None and self.question is None:
            raise ValueError("the case has no words: add `instruction` or `question`")
        if self.frame and (self.stamp_ns is not None or self.bag):
            raise ValueError("the case has `frame`, for a folder, and `stamp_ns` or `bag`, for a bag: keep one")
        if self.stamp_ns is not None and self.stamp_ns <= 0:
            raise ValueError(f"stamp_ns is {self.stamp_ns}: use the header stamp of the colour image, in nanoseconds")

    def case(self) -> Case:
        """Convert the line to a case."""
        words = self.instruction if self.instruction is not None else self.question
        return Case(self.frame, words or "", self.expect, self.kind, self.stamp_ns or 0, self.bag)


# ------------------------------------------------------------------------------------------------ reading

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_FORMS: dict[str, type[Any]] = {"place": ExpectedPlace, "answer": ExpectedAnswer, "box_3d": Box3d}  # parts of `expect`


def load_cases(folder: str | Path) -> tuple[Case, ...]:
    """Read the cases of a folder, one for each non-blank line of its cases.jsonl."""
    path = member(folder, CASES_FILE)
    found = list(read_cases(path, "pass a folder with cases.jsonl"))
    first: dict[str, str] = {}  # each frame, and where it first stands
    for at, case in found:
        if not case.frame or case.stamp_ns or case.bag:
            reason = "bag and stamp are for cases of bags" if case.stamp_ns or case.bag else "the case has no `frame`"
            repair = 'write "frame": "f001"; cases of bags belong in a file for --truth (docs/evaluate.md)'
            raise FileError(path, reason, repair, at)
        first.setdefault(case.frame, at)
    for name, at in first.items():
        inside(folder, name, path, f"{at}: $.frame")
    return tuple(case for _, case in found)


def read_cases(path: str | Path, repair: str) -> Iterator[tuple[str, Case]]:
    """Yield the cases of a file, one for each non-blank line, each with its location ("line 3")."""
    seen: dict[Case, tuple[str, Expectation]] = {}
    for n, line in read_lines(path, repair):
        at, text = f"line {n}", line.removeprefix(BYTE_ORDER_MARK) if n == 1 else line
        if text.startswith(_UTF_16):
            raise FileError(path, "it is UTF-16; save the file as UTF-8", CASE_REPAIR, at)
        try:
            text.decode()
        except UnicodeDecodeError as error:
            reason = f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
            raise FileError(path, reason, CASE_REPAIR, at) from error
        case = decode_json(text, CaseLine, path, at, CASE_REPAIR).case()
        unread = next(_unread(msgspec.json.decode(text)), None)
        if unread is not None:
            field, reason = unread
            raise FileError(path, reason, CASE_REPAIR, f"{at} {field}")
        if case.expect is not None:
            asked = replace(case, expect=None, kind=())
            first, expect = seen.setdefault(asked, (at, case.expect))
            if expect.status is not case.expect.status:  # "where is …?" may be either answer
                opposite = not {expect.status, case.expect.status} <= set(_STATUS_OF_OBJECT)
            else:
                ids = [{one.id, *one.id_also} for one in (expect, case.expect) if one.id is not None]
                opposite = len(ids) == 2 and ids[0].isdisjoint(ids[1])
            if opposite:
                reason = f"{first} expects the opposite for the same words on the same image"
                raise FileError(path, reason, "remove one of the two", at)
        yield at, case


def _unread(line: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the unknown fields of a case, each with a text about which field may be meant.

    A misspelled field silently changes the judgement: "expct" makes a case that is not judged, "idd" one for which any
    object is right. In `expect` every unknown field counts. A case may have extra fields (who wrote it, where it is
    from), unless they look like a known one.
    """
    for name in line:
        close = similar_name(name, CaseLine.__struct_fields__)
        if name not in CaseLine.__struct_fields__ and close:
            yield f"$.{name}", f"unknown field `{name}`; use `{close}`, or rename yours"
    expect = line.get("expect") or {}
    parts: dict[str, tuple[dict[str, Any], type[Any]]] = {"expect": (expect, Expectation)}
    parts |= {f"expect.{name}": (expect.get(name) or {}, form) for name, form in _FORMS.items()}
    for place, (part, form) in parts.items():
        known = [one.name for one in fields(form)]
        for name in part:
            if name not in known:
                close = similar_name(name, known)
                meant = f"write `{close}`" if close else f"the fields are {', '.join(known)}"
                yield f"$.{place}.{name}", f"unknown field `{name}`; {meant}"
