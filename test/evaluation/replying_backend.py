# SPDX-License-Identifier: Apache-2.0
"""A backend that replies to any prompt as a test has it. Not a test: loaded by its dotted name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.replier import PromptReply
from spatial_vlm_ros.perception.replies import NamedObject, parse_reply
from spatial_vlm_ros.types import NounPhrase, Rgb


class SaysAlways:
    """Replies the words of a file to every prompt; places are in a named convention."""

    def __init__(self, words: str, convention: str) -> None:
        self._words, self._convention = Path(words).read_text(), convention

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:  # noqa: ARG002
        return Grounding((), label_match(phrases, ()))

    @property
    def convention(self) -> Convention:
        return CONVENTIONS[self._convention]

    def reply(self, rgb: Rgb, prompt: str) -> PromptReply:  # noqa: ARG002
        return PromptReply(self._words, (rgb.shape[1], rgb.shape[0]), True)


class PointsBy(SaysAlways):
    """Points at whatever the words of the file name, whatever it is asked for."""

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:  # noqa: ARG002
        size = (rgb.shape[1], rgb.shape[0])
        return parse_reply(self._words, model="points-by", convention=self.convention, size=size).places
