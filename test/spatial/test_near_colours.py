# SPDX-License-Identifier: Apache-2.0
"""Colours from pixels: a related colour is no full match, and gives way to the colour said."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from spatial_vlm_ros.types import Status

PAIRS = [
    ("red", "orange"),
    ("orange", "red"),
    ("red", "pink"),
    ("red", "brown"),
    ("blue", "purple"),
    ("purple", "pink"),
    ("black", "brown"),
    ("brown", "black"),
    ("grey", "black"),
    ("grey", "white"),
    ("white", "grey"),
    ("yellow", "orange"),
]


@pytest.mark.parametrize(("seen_colour", "said"), PAIRS)
def test_a_can_of_a_near_colour_is_not_surely_the_colour_said(tabletop: Any, seen_colour: str, said: str) -> None:
    seen = tabletop.see(tabletop.can("a", 0.05, 0.0, colour=seen_colour))
    plain = tuple(dataclasses.replace(d, attributes=()) for d in seen.detections)
    assert tabletop.ask(seen, f"the {said} can", plain).status is not Status.OK


@pytest.mark.parametrize(("other", "said"), PAIRS)
def test_of_two_near_colours_the_one_said_is_meant(tabletop: Any, other: str, said: str) -> None:
    seen = tabletop.see(tabletop.can(other, -0.1, 0.0, colour=other), tabletop.can(said, 0.1, 0.0, colour=said))
    plain = tuple(dataclasses.replace(d, attributes=()) for d in seen.detections)
    answer = tabletop.ask(seen, f"the {said} can", plain)
    assert answer.status is Status.OK, answer.message
    assert answer.target.id == said
