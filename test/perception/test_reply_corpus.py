# SPDX-License-Identifier: Apache-2.0
"""Published replies (replies_found.jsonl) and traps (replies_invented.jsonl) are read as a person reads them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.replies import soak
from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, FRACTIONS, NamedObject, to_pixels
from spatial_vlm_ros.perception.replies import LONGEST_LABEL, ReplyError, ReplyReading, ended_at_limit, parse_reply
from spatial_vlm_ros.types.proportions import wilson

HERE = Path(__file__).parent
FOUND, INVENTED = (
    [json.loads(line) for line in (HERE / f"replies_{name}.jsonl").read_text("utf-8").splitlines()]
    for name in ("found", "invented")
)
LEAST_READ = 0.8
"""Share of the published replies that a person can read; the others are refused."""
TAKEN = {
    "bopask-pose", "adv-code", "adv-index-image", "adv-pixels-words", "adv-whole-image",
}  # fmt: skip
"""Read, though a person would not: nothing in the text says so, or only in passing."""

Place = tuple[float, ...]


def size_of(reply: dict[str, Any]) -> tuple[int, int]:
    unknown = 10_000 if "absolute" in reply["convention"] else 1000
    width, height = reply["size"] or (unknown, unknown)
    return int(width), int(height)


def read(reply: dict[str, Any]) -> list[NamedObject] | None:
    """The places, or None where the reply is refused."""
    size = size_of(reply)
    convention = CONVENTIONS[reply["convention"]]
    try:
        found = parse_reply(
            reply["text"], model="m", convention=convention, size=size, resized=size, most=1000, probed=True
        )
    except ReplyError:
        return None
    return list(found.places)


def pixels(reply: dict[str, Any]) -> set[Place]:
    convention = replace(CONVENTIONS[reply["convention"]], order="xy")
    size, places = size_of(reply), set()
    for one in reply["expected"]:
        written = one["box"] or one["point"]
        if written and (convention.unit != "bin" or max(written) < convention.bins):
            places.add(rounded(to_pixels([written], convention, size, size, beyond=5.0)[0]))
    return places


def rounded(values: Any) -> Place:
    return tuple(np.round(np.asarray(values, float), 3).tolist())


@pytest.mark.parametrize("reply", [*FOUND, *INVENTED], ids=lambda reply: reply["id"])
def test_a_reply_is_read_as_a_person_reads_it_or_refused(reply: dict[str, Any]) -> None:
    places = read(reply)
    if places is None:
        return
    if reply["expected"] == "unreadable":
        assert not places or reply["id"] in TAKEN
        return
    got = {rounded(one.box_xyxy or one.point_xy) for one in places}
    assert got <= pixels(reply)
    assert got or not reply["expected"] or reply["id"].startswith("adv-")


def test_most_published_replies_are_read_and_each_has_its_source() -> None:
    readable = [reply for reply in FOUND if reply["expected"] != "unreadable"]
    whole = [
        places is not None and {rounded(one.box_xyxy or one.point_xy) for one in places} == pixels(reply)
        for reply in readable
        for places in [read(reply)]
    ]
    share = wilson(sum(whole), len(whole))
    print(f"read as a person reads them: {share}")  # noqa: T201
    assert share.share >= LEAST_READ
    assert len(FOUND) > 200
    assert all(reply["source"] and reply["source"] != "invented" for reply in FOUND)


SIZE, RESIZED = (1000, 500), (500, 250)
"""A thousandth of the image is one pixel across and half a pixel down; a pixel of the resized image is two."""


def replies() -> Iterator[Any]:
    """Replies as models write them, each with its places in pixels (by hand), or part of the refusal.

    A text is a string, or parts with how often each is repeated. A place is label, box, point and score.
    """
    for line in (HERE / "replies_adversarial.jsonl").read_text("utf-8").splitlines():
        reply = json.loads(line)
        if isinstance(reply["text"], list):
            reply["text"] = "".join(part * times for part, times in reply["text"])
        yield pytest.param(reply, id=f"{reply['theme']}: {reply['text'][:50]!a}")


REPLIES = list(replies())


def reading(text: str, convention: str = "thousand", most: int = 100, probed: bool = False) -> ReplyReading:
    given = {"convention": CONVENTIONS[convention], "size": SIZE, "resized": RESIZED, "most": most, "probed": probed}
    return parse_reply(text, model="a model", **given)  # type: ignore[arg-type]


def reading_of(reply: dict[str, Any]) -> ReplyReading:
    return reading(reply["text"], reply["convention"], probed=reply.get("probed", False))


def places_of(text: str, convention: str = "thousand", most: int = 100) -> tuple[NamedObject, ...]:
    return reading(text, convention, most).places


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_is_read_exactly_so_or_refused(reply: dict[str, Any]) -> None:
    if isinstance(reply["found"], str):
        with pytest.raises(ReplyError) as caught:
            reading_of(reply)
        assert reply["found"] in caught.value.reason
        return
    whole, expected = reading_of(reply), reply.get("notes", [])
    notes = (*whole.notes, *whole.unread)
    assert len(notes) == len(expected), notes
    assert all(part in note for part, note in zip(expected, notes, strict=True)), notes
    assert [(one.label, one.score) for one in whole.places] == [(label, score) for label, _, _, score in reply["found"]]
    for one, (_, box, point, _) in zip(whole.places, reply["found"], strict=True):
        assert one.box_xyxy == (None if box is None else pytest.approx(tuple(box), abs=1e-9))
        assert one.point_xy == (None if point is None else pytest.approx(tuple(point), abs=1e-9))


def test_what_may_be_a_further_object_is_told_from_what_is_none_and_the_end_at_a_limit_is_noted_once() -> None:
    mug, none = '{"bbox_2d": [100, 200, 300, 400], "label": "mug"}', '{"bbox_2d": null, "label": "cup"}'
    denied = reading(f"[{mug}, {none}]")
    assert (len(denied.places), len(denied.notes), denied.unread, denied.cut) == (1, 1, (), False)
    broken = reading(f'[{mug}, {{"bbox_2d": [500, 600, 700], "label": "mug"}}]')
    assert (len(broken.places), broken.notes, len(broken.unread), broken.cut) == (1, (), 1, False)
    short = reading(f'[{mug}, {{"bbox_2d": [500, 6')
    assert (len(short.places), short.notes, len(short.unread), short.cut) == (1, (), 1, True)
    whole = reading('[{"bbox_2d": [100, 200, 300, 400], "label": "mug"}]')
    ended = ended_at_limit(whole)
    assert (ended.places, ended.cut) == (whole.places, True)
    assert ended.unread == ("it was cut off at its length limit; there may be more places than the 1 that were read",)
    assert ended_at_limit(ended) == ended


@pytest.mark.parametrize(
    "reply", [r for r in REPLIES if r.values[0]["found"] and isinstance(r.values[0]["found"], list)]
)
def test_a_reply_cut_off_anywhere_is_read_as_a_part_or_refused(reply: dict[str, Any]) -> None:
    """No place is made of half of one."""
    text = reply["text"]
    if "</think>" in text and not text.startswith("<think>"):
        return  # the prompt opened <think>: the caller puts it back, see parse_reply
    whole = {(one.box_xyxy, one.point_xy) for one in reading_of(reply).places}
    for end in range(1, min(len(text), 400)):
        try:
            part = reading_of({**reply, "text": text[:end]}).places
        except ReplyError:
            continue
        assert {(one.box_xyxy, one.point_xy) for one in part} <= whole


def test_the_error_carries_what_is_needed_to_see_why_and_the_hint_every_convention_that_would_fit() -> None:
    with pytest.raises(ReplyError) as caught:
        places_of('[{"bbox_2d": [100, 200, 1500, 400], "label": "\u202emug"}]', "absolute")
    error = caught.value
    assert isinstance(error, ModelError)
    assert (error.model, error.status_name) == ("a model", "MODEL_ERROR")
    assert error.excerpt.startswith('[{"bbox_2d": [100, 200, 1500, 400]')
    assert str(error).isprintable()
    assert "(100, 200, 1500, 400) cannot be in the convention 'absolute'" in error.reason
    assert "probe" in error.repair
    with pytest.raises(ReplyError, match=r"would fit absolute or thousand or thousand-yx or bins-1000"):
        places_of("[[100, 200, 300, 400]]", "percent")
    with pytest.raises(ReplyError, match=r"look like fractions of the image"):
        places_of("[[0.1, 0.2, 0.3, 0.4]]", "percent")


@pytest.mark.parametrize("text", [None, b"[]", 7, ["[]"]], ids=repr)
def test_a_reply_that_is_no_text_is_refused(text: object) -> None:
    with pytest.raises(ReplyError, match="not a text"):
        places_of(text)  # type: ignore[arg-type]


def test_a_size_that_is_none_is_the_callers_fault_and_more_places_than_allowed_the_models() -> None:
    for size in ((0, 5), (-1, 5), (5,), (1, 2, 3), (float("nan"), 5)):
        with pytest.raises(InputError, match="image size"):
            parse_reply("[]", model="m", convention=CONVENTIONS["thousand"], size=size)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="resized image size"):
        parse_reply("[]", model="m", convention=CONVENTIONS["resized-absolute"], size=SIZE)
    text = json.dumps([[k, k] for k in range(1, 6)])
    assert len(places_of(text, most=5)) == 5
    with pytest.raises(ReplyError, match="5 places, more than 4"):
        places_of(text, most=4)


@given(st.text(max_size=200))
@example("XYWH")  # declares a form of box elsewhere
def test_labels_are_printable_and_short(label: str) -> None:
    (found,) = places_of(json.dumps([{"bbox_2d": [1, 2, 3, 4], "label": label}]))
    assert found.label.isprintable()
    assert len(found.label) <= LONGEST_LABEL
    assert found.box_xyxy == (1, 1, 3, 2)


@given(
    name=st.sampled_from(sorted(CONVENTIONS)),
    corners=st.lists(st.integers(0, 998), min_size=4, max_size=4, unique=True),
    form=st.sampled_from(["json", "fence", "tuple", "box", "bare"]),
)
def test_what_is_written_in_a_convention_is_read_back(name: str, corners: list[int], form: str) -> None:
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    convention = CONVENTIONS[name]
    per_mille = {"pixel": SIZE, "resized": RESIZED, "fraction": (1, 1), "percent": (100, 100)}
    w, h = per_mille.get(convention.unit, (convention.bins - 1,) * 2 if convention.bins else (1000, 1000))
    values = [x0 * w / 1000, y0 * h / 1000, x1 * w / 1000, y1 * h / 1000]
    if convention.unit == "square":  # 1000 x 500 pixels, 250 of padding above
        values = [x0 / 1000, 0.25 + y0 / 2000, x1 / 1000, 0.25 + y1 / 2000]
    if convention.bins:
        values = [round(value) for value in values]
    if convention.order == "yx":
        values = [values[1], values[0], values[3], values[2]]
    numbers = ", ".join(map(repr, values))
    text = {
        "json": f'[{{"bbox_2d": [{numbers}], "label": "mug"}}]',
        "fence": f'Here:\n```json\n[{{"bbox_2d": [{numbers}], "label": "mug"}}]\n```',
        "tuple": f"[({numbers})]",
        "box": f"<ref>mug</ref><box>[[{numbers}]]</box>",
        "bare": f"[{numbers}]",
    }[form]
    if convention.unit not in FRACTIONS and max(values) <= 1:
        return  # smaller than a step of the unit: refused as fractions, or no area
    (found,) = places_of(text, name)
    assert found.box_xyxy == pytest.approx((x0, y0 / 2, x1, y1 / 2), abs=1.0)


@settings(max_examples=300)
@given(st.text(alphabet='[]{}()<>"\\,:.0123456789-eE bboxpintlcref_2d/=\n', max_size=120))
def test_no_text_crashes_the_reader(text: str) -> None:
    try:
        found = places_of(text)
    except ReplyError:
        return
    for one in found:
        for x, y in [one.point_xy or (0, 0), *np.reshape(one.box_xyxy or (0, 0), (-1, 2))]:
            assert 0 <= x <= SIZE[0]
            assert 0 <= y <= SIZE[1]


def test_damaged_replies_do_not_crash() -> None:
    found = soak(1000, seed=7)
    assert (found.n, found.crashes, found.unsound, found.invented) == (1000, [], [], [])
    assert found.read > 50
    assert found.refused > 300


LONG = (
    *("[" * 250_000, "(" * 250_000, "<" * 250_000, '"' * 250_000, "<box>" * 50_000, "<point " * 30_000),
    *("<point" + " " * 250_000, "<point " + 'a="1" ' * 40_000, "<loc_1>" * 30_000, "<loc_1> " * 30_000),
    *("(1, 2" * 50_000, "(1, 2) " * 30_000, "(1," + " " * 250_000 + ")", "[1" + ",1" * 100_000 + "]"),
    *('["' + "\\" * 250_000 + '"]', '{"a":"' * 40_000, "[a] " * 60_000, "<think>" * 30_000, "</think>\n" * 25_000),
    *("<ref>" + "m" * 250_000 + "</ref>" + "<box>[[1,2,3,4]]</box>" * 101, "<ref>m</ref>" * 20_000),
    *('<points coords="1' + " 1" * 120_000 + '">m</points>', "[" + "9" * 250_000 + ", 1]", " " * 250_000),
    *("[{}," * 60_000, "a" * 5_000_000),
)


@pytest.mark.parametrize("text", LONG, ids=lambda text: ascii(text[:20]))
def test_long_replies_are_read_or_refused_in_few_words(text: str) -> None:
    """One that took quadratic time would not end within minutes."""
    try:
        found = places_of(text)
    except ReplyError as error:
        said = str(error)
    else:
        said = str(len(found))  # the same place again and again
        assert said == "1"
    assert len(said) < 1000
