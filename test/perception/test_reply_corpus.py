# SPDX-License-Identifier: Apache-2.0
"""Replies that others published: each is read exactly as a person reads it, or refused; never as something else.

`replies_found.jsonl` has replies to "where is …" from documentation, issue threads and tests of models and servers,
each with its source, and `replies_invented.jsonl` variants and traps by somebody who had not seen the reader.
Coordinates that are expected are as written. Where a source does not tell the size of its image, one is taken that
fits.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.perception.coordinates import CONVENTIONS, to_pixels
from spatial_vlm_ros.perception.replies import NamedObject, ReplyError, parse_reply
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
UNSEEN = 0.3  # of a side: more than the reader clips

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
    """What a person reads, in pixels."""
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


def test_most_published_replies_are_read() -> None:
    readable = [reply for reply in FOUND if reply["expected"] != "unreadable"]
    whole = [
        places is not None and {rounded(one.box_xyxy or one.point_xy) for one in places} == pixels(reply)
        for reply in readable
        for places in [read(reply)]
    ]
    share = wilson(sum(whole), len(whole))
    print(f"read as a person reads them: {share}")  # noqa: T201
    assert share.share >= LEAST_READ


def test_every_published_reply_has_its_source() -> None:
    assert len(FOUND) > 200
    assert all(reply["source"] and reply["source"] != "invented" for reply in FOUND)
