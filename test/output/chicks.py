# SPDX-License-Identifier: Apache-2.0
"""Two chicks, a cup and a box: answers about them, each found and drawn once. Not a test."""

from __future__ import annotations

import functools

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.output.annotated_image import content_from, draw
from spatial_vlm_ros.output.answer_content import AnswerContent
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.resolver import Answered
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Resolution, Rgb

FRAME, SEEN = chicks_and_cup_frame()
OBSERVED = Resolver().look_at(FRAME, SEEN)
BEHIND = "the chick behind the cup"
BASE_T_CAMERA = FRAME.base_T_camera
assert BASE_T_CAMERA is not None


@functools.cache
def answered(words: str) -> Answered:
    return OBSERVED.ask(words)


def resolved(words: str) -> Resolution:
    return answered(words).resolution


@functools.cache
def drawn(words: str) -> Rgb:
    found = answered(words)
    return draw(FRAME, SEEN, found.resolution, ResolverConfig(), found.scene)


@functools.cache
def content(words: str) -> AnswerContent:
    found = answered(words)
    return content_from(FRAME, SEEN, found.resolution, ResolverConfig(), found.scene)


def row_of(made: AnswerContent, id_: str) -> int:
    return next(row for row, obj in enumerate(made.layout.scene.objects) if obj.id == id_)
