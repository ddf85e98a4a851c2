# SPDX-License-Identifier: Apache-2.0
"""What the camera of these tests sees. Not a test."""

from __future__ import annotations

from functools import cache
from typing import Any

from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, Resolution, RgbdFrame, Vector3

FRAME, DETECTIONS = chicks_and_cup_frame()
SENTENCE = "grab me the chick behind the cup"


def core_position(frame: RgbdFrame = FRAME, detections: tuple[Detection, ...] = DETECTIONS) -> Vector3:
    """Where the core finds the chick behind the cup, metres."""
    seen = frame is FRAME and detections is DETECTIONS
    answer = core_answer() if seen else Resolver().resolve(frame, SENTENCE, detections)
    assert answer.target is not None, answer.message
    return answer.target.pose.position


@cache
def core_answer(words: str = SENTENCE, frame_of_reference: str | None = None) -> Resolution:
    return Resolver().resolve(FRAME, words, DETECTIONS, frame_of_reference)


def position(target: Any) -> Vector3:
    point = target.pose.pose.position
    return point.x, point.y, point.z
