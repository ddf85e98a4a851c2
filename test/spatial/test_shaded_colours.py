# SPDX-License-Identifier: Apache-2.0
"""Colours from pixels: the shaded side of an object does not change its colour."""

from __future__ import annotations

import dataclasses
from typing import Any

from spatial_vlm_ros.types import Status


def test_beside_a_white_can_the_black_can_is_the_black_one(tabletop: Any) -> None:
    seen = tabletop.see(
        tabletop.can("white", -0.1, 0.0, colour="white"), tabletop.can("black", 0.1, 0.0, colour="black")
    )
    plain = tuple(dataclasses.replace(d, attributes=()) for d in seen.detections)
    answer = tabletop.ask(seen, "the black can", plain)
    assert answer.status is Status.OK, answer.message
    assert answer.target.id == "black"


def test_a_white_can_alone_is_not_the_black_can(tabletop: Any) -> None:
    seen = tabletop.see(tabletop.can("white", 0.05, 0.0, colour="white"))
    plain = tuple(dataclasses.replace(d, attributes=()) for d in seen.detections)
    assert tabletop.ask(seen, "the black can", plain).status is Status.NOT_FOUND
