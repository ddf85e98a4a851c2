# SPDX-License-Identifier: Apache-2.0
"""Backends that benchmarks are asked with, loaded by dotted names: "benchmark_backends:truthful". Not a test."""

import os
from collections.abc import Sequence
from pathlib import Path

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention, NamedObject
from spatial_vlm_ros.perception.grounder import Grounding, PromptReply
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.replies import parse_reply
from spatial_vlm_ros.types import NounPhrase, Rgb


class Captioner:
    """Finds captions that begin with "Not", or have the wrong words, unlikely; writes a line of a log per question."""

    def __init__(self, log: str = "", wrong: str = "", fails: str = "", ends: int = 0) -> None:
        self._log, self._wrong, self._fails, self._ends, self._asked = log, wrong, fails, ends, 0

    def scores(self, rgb: Rgb, question: str, choices: Sequence[str]) -> list[float]:
        assert rgb.shape == (30, 40, 3)
        assert question
        told = " ".join(choices)
        if self._fails and self._fails in told:
            raise ModelError("captioner", "it cannot say", "ask another one")
        self._asked += 1
        if self._log:
            with Path(self._log).open("a") as file:
                file.write("asked\n")
        if self._ends and self._asked > self._ends:
            os.kill(os.getpid(), 9)
        misled = bool(self._wrong) and self._wrong in told
        return [-1.0 if choice.startswith("Not") is misled else -2.0 for choice in choices]


def truthful(log: str = "", wrong: str = "", fails: str = "", ends: str = "0") -> Captioner:
    return Captioner(log, wrong, fails, int(ends))


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


def cannot() -> object:
    return object()
