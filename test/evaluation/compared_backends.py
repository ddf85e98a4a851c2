# SPDX-License-Identifier: Apache-2.0
"""Backends for comparisons that say what a test knows. Not a test: loaded by their dotted names."""

from collections.abc import Sequence

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import NounPhrase, Rgb

LOADED: list[str] = []
"""Names of the backends in the order in which they were loaded."""


class Finds:
    """Finds the objects of `chicks_and_cup_frame`; base of the others, for every backend is a Grounder."""

    def __init__(self) -> None:
        LOADED.append(type(self).__name__)

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:  # noqa: ARG002
        _, detections = chicks_and_cup_frame()
        return Grounding(detections, label_match(phrases, detections))


class HigherIsFarther(Finds):
    """A judge of its own that takes higher in the image for farther, and knows sides; `sure` is how surely."""

    def __init__(self, sure: str = "0.95") -> None:
        super().__init__()
        self._sure = float(sure)

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:  # noqa: ARG002
        said = []
        for one in questions:
            edge = 0 if one.relation in ("left of", "right of") else 3
            holds = (one.target[edge] < one.anchor[edge]) is (one.relation not in ("in front of", "right of"))
            said.append(self._sure if holds else 1.0 - self._sure)
        return tuple(said)


class Simulated(HigherIsFarther):
    """The same, and was trained on simulated images only."""

    domain = "simulated"


class TakesTheFirst(Finds):
    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:  # noqa: ARG002
        return choices[0]


class SaysBehind(Finds):
    """Answers "behind" wherever that is a choice, by likelihood; of other questions the first choice."""

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        return choices[max(range(len(choices)), key=self.scores(rgb, question, choices).__getitem__)]

    def scores(self, rgb: Rgb, question: str, choices: Sequence[str]) -> list[float]:  # noqa: ARG002
        return [0.0 if one == "behind" else -1.0 for one in choices]


class Breaks(Finds):
    """Cannot be asked: it has run out of memory."""

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:  # noqa: ARG002
        raise MemoryError("out of memory")


def broken() -> Finds:
    raise ModelError("broken", "its weights are damaged", "get them again")
