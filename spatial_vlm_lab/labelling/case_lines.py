# SPDX-License-Identifier: Apache-2.0
"""Makes a line of the truth file from a person's decision, with other fields kept; checks decisions and sentences.

Fields of the old line stay. Those that describe the object that was right before (`mask`, `box_3d`, …) would be wrong
beside another object: they move to the field "replaced" of the line, which nothing reads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from spatial_vlm_lab.labelling.truth_proposal import OWN_FIELDS, OWN_PARTS, rounded_box
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.recording.cases import CaseLine
from spatial_vlm_ros.types import ANSWERS, Status

Maker = Literal["accepted", "corrected", "written"]
"""How the truth of a case was made: what the program answered, accepted; that, corrected; or without having seen it."""

_OF_OBJECT = ("mask", "box_3d", "tolerance_m")
_TELLS_OBJECT = ("id", "label", "box")
_LONGEST = 2000  # characters of a word or name
_MOST = 200  # of ids and kinds
_FARTHEST = 1000.0  # metres
_LONGEST_SENTENCE = 1000  # characters, as the parser takes
_LARGEST = 10 * 1024 * 1024  # bytes of a file of sentences
_SHOWN = 60  # characters


def case_line(
    old: Mapping[str, Any], naming: Mapping[str, Any], words: str, kind: Sequence[str] | None,
    expect: Mapping[str, Any], by: Maker,
) -> dict[str, Any]:  # fmt: skip
    """The new line of a case.

    Args:
        old: the line as it stands; empty if there is none.
        kind: what the case tries; None = as it stands.
    """
    line = dict(old) if old else {**naming, "instruction": words}
    before = old.get("expect")
    before = before if isinstance(before, Mapping) else {}
    kept, replaced = _kept(before, expect)
    merged = dict(expect)
    for name, own in OWN_PARTS.items():
        value = before.get(name)
        if name in expect and isinstance(value, Mapping) and _is_about_the_same(value, expect[name]):
            merged[name] = {**expect[name], **{key: value[key] for key in value if key not in own}}
    line["expect"] = {**{name: merged[name] for name in OWN_FIELDS if name in merged}, **kept}
    if kind is not None and (kind or "kind" in old):
        line["kind"] = list(kind)
    line["by"] = by
    if replaced:
        earlier = line.get("replaced")
        line["replaced"] = {**(earlier if isinstance(earlier, Mapping) else {}), **replaced}
    try:
        msgspec.convert(dict(line), CaseLine)
    except (msgspec.ValidationError, ValueError) as error:
        repair = "fix the line in the file by hand, then reload the page"
        raise InputError("case", str(error), "a case as docs/evaluation.md describes it", repair) from error
    return line


def _kept(before: Mapping[str, Any], expect: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of others that stay in `expect`, and those that are moved aside."""
    others = {name: value for name, value in before.items() if name not in OWN_FIELDS}
    replaced: dict[str, Any] = {}
    is_refusal = Status[expect["status"]] not in ANSWERS
    if is_refusal or any(before.get(name) != expect.get(name) for name in _TELLS_OBJECT):
        replaced = {name: others.pop(name) for name in _OF_OBJECT if name in others}
    for name, own in OWN_PARTS.items():
        value = before.get(name)
        if isinstance(value, Mapping) and value.keys() - set(own) and not _is_about_the_same(value, expect.get(name)):
            replaced[name] = value
    return others, replaced


def _is_about_the_same(before: Mapping[str, Any], now: Mapping[str, Any] | None) -> bool:
    """Whether what others wrote within a place still holds: it has the same relation and anchor. Answers have none."""
    return now is not None and all(before.get(name) == now.get(name) for name in ("relation", "anchor_id"))


# ------------------------------------------------------------------------------------------------ sentences


def check_sentence(words: str) -> None:
    """Check that words are a valid sentence."""
    unseen = next((sign for sign in words if not sign.isprintable()), None)
    if not words.strip():
        raise InputError("sentence", "no words", "a sentence")
    if len(words) > _LONGEST_SENTENCE:
        got = f"{words[:_SHOWN]!r} and more, {len(words)} characters"
        raise InputError("sentence", got, f"up to {_LONGEST_SENTENCE} characters", "write a shorter one")
    if unseen is not None:
        name = "a tab" if unseen == "\t" else f"the sign U+{ord(unseen):04X}"
        got = f"{name} in {words[:_SHOWN]!r}"
        raise InputError("sentence", got, "visible characters", "remove it, or replace it with a space")


def read_sentences(path: Path) -> tuple[str, ...]:
    """Read the sentences of a text file, one per line; blank lines are skipped."""
    repair = "pass a text file in UTF-8 with one sentence per line"
    try:
        text = read_bytes(path, repair, _LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(path, str(error), repair) from error
    found = []
    for n, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words:
            continue
        try:
            check_sentence(words)
        except InputError as error:
            raise FileError(path, error.got, error.repair, f"line {n}") from error
        found.append(words)
    if not found:
        raise FileError(path, "it has no sentences", "write one sentence per line")
    return tuple(found)


# ------------------------------------------------------------------------------------------------ decisions


def checked_truth(
    given: object, ids: Iterable[str], size: tuple[int, int] | None, *, with_place: bool
) -> dict[str, Any]:
    """Check the `expect` that the page sent, and put it in order.

    Args:
        given: JSON.
        size: (width, height) of the image, pixels; None if it cannot be read.
        with_place: whether a place may be given, because the camera's pose in base is known.
    """
    if not isinstance(given, Mapping) or given.keys() - set(OWN_FIELDS):
        raise _wrong("truth", given, f"an object with {', '.join(OWN_FIELDS)}")
    truth = {name: value for name, value in given.items() if value not in (None, [], {}, "")}
    known = frozenset(ids)
    given_status = truth.get("status")
    status = Status.__members__.get(given_status) if isinstance(given_status, str) else None
    if status is None:
        raise _wrong("status", given_status, "a status", "choose one, or the right object")
    checked: dict[str, Any] = {"status": status.value}
    told = [name for name in ("id", "id_also", "label", "box", "place") if name in truth]
    if status not in ANSWERS and (told or "answer" in truth):
        got, repair = f"{status.value} with {(told or ['answer'])[0]}", "clear the object, or choose the status OK"
        raise _wrong("truth", got, "a refusal without an object, a place or an answer", repair)
    if "answer" in truth and status is not Status.ANSWERED:
        raise _wrong("truth", f"{status.value} with an answer", "the status ANSWERED", "clear the answer")
    if "id" in truth:
        checked["id"] = _id(truth["id"], known)
    if "id_also" in truth:
        also = _ids(truth["id_also"], known)
        if "id" not in checked or checked["id"] in also:
            raise _wrong("objects that are also right", also, "further objects beside the right one",
                         "choose the right object first")  # fmt: skip
        checked["id_also"] = also
    if "label" in truth:
        checked["label"] = _text("label", truth["label"])
    if "box" in truth:
        checked["box"] = _box(truth["box"], size)
    if "place" in truth:
        if not with_place:
            raise _wrong("place", "one", "none: the camera's pose in base is not known",
                         "add base_T_camera.json or truth.json to the frame")  # fmt: skip
        checked["place"] = _place(truth["place"], known)
    if "answer" in truth:
        checked["answer"] = _answer(truth["answer"], known)
    return checked


def checked_kind(given: object) -> list[str] | None:
    """Check the words for what a case tests; None if nothing was sent."""
    if given is None:
        return None
    if not isinstance(given, list) or len(given) > _MOST:
        raise _wrong("kind", given, "a list of words")
    return list(dict.fromkeys(_text("kind", one) for one in given))


def _id(value: object, known: frozenset[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise _wrong("object", value, "an object of this frame", "choose one of the numbered objects")
    return value


def _ids(value: object, known: frozenset[str]) -> list[str]:
    if not isinstance(value, list) or len(value) > _MOST:
        raise _wrong("objects", value, "a list of objects of this frame")
    return list(dict.fromkeys(_id(one, known) for one in value))


def _text(what: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        raise _wrong(what, value, f"text of up to {_LONGEST} characters")
    return value.strip()


def _number(what: str, value: object, least: float = -_FARTHEST) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(what, value, "a number")
    if not least <= value <= _FARTHEST:
        raise _wrong(what, value, f"{least:g} to {_FARTHEST:g}")
    return float(value)


def _box(value: object, size: tuple[int, int] | None) -> list[float]:
    numbers = isinstance(value, list) and len(value) == 4 and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value
    )  # fmt: skip
    if not isinstance(value, list) or not numbers:
        raise _wrong("box", value, "left, top, right, bottom in pixels")
    x1, y1, x2, y2 = value
    if not (x1 < x2 and y1 < y2):
        raise _wrong("box", value, "left before right and top above bottom")
    if size is not None and not (x1 >= 0 and y1 >= 0 and x2 <= size[0] and y2 <= size[1]):
        raise _wrong("box", value, f"a box inside the image of {size[0]}x{size[1]} pixels")
    return rounded_box(value)


def _place(value: object, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping) or value.keys() - set(OWN_PARTS["place"]):
        raise _wrong("place", value, f"an object with {', '.join(OWN_PARTS['place'])}")
    vectors = {}
    for name, least in (("region_center", -_FARTHEST), ("region_half", 0.0)):
        vector = value.get(name)
        if not isinstance(vector, list) or len(vector) != 3:
            raise _wrong(name, vector, "three numbers, metres in base")
        vectors[name] = [round(_number(name, one, least), 4) for one in vector]
    anchor = value.get("anchor_id")
    return {
        "relation": _text("relation of the place", value.get("relation")),
        "anchor_id": "support" if anchor == "support" else _id(anchor, known),
        **vectors,
    }


def _answer(value: object, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping) or value.keys() - set(OWN_PARTS["answer"]):
        raise _wrong("answer", value, f"an object with {', '.join(OWN_PARTS['answer'])}")
    checked: dict[str, Any] = {}
    given = value.get("value")
    if given is not None and given != "":
        checked["value"] = _text("answer", given) if isinstance(given, str) else _plain(_number("answer", given))
    if value.get("tolerance") is not None:
        if not isinstance(checked.get("value"), int | float):
            raise _wrong("tolerance", value["tolerance"], "none where the answer is not a number", "clear it")
        checked["tolerance"] = _plain(_number("tolerance", value["tolerance"], 0.0))
    if value.get("ids"):
        checked["ids"] = _ids(value["ids"], known)
    return checked


def _plain(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _wrong(what: str, got: object, expected: str, repair: str = "change it on the page") -> InputError:
    shown = got if isinstance(got, str) and got else repr(got)
    return InputError(what, shown if len(shown) <= 80 else shown[:77] + "...", expected, repair)
