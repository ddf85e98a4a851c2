# SPDX-License-Identifier: Apache-2.0
"""Judges of relations that say what a test wants, and what is asked with them. Not a test."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spatial_vlm_ros.geometry.boxes import DEPTH_RELATIONS
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.spatial.clause_judge import JudgeCalibration
from spatial_vlm_ros.types import NounPhrase, Resolution, Rgb, Status

Says = Callable[[str, str, str], float | None]
"""(relation, id of the target, id of the anchor) → what a model has for it."""
GOOD = JudgeCalibration(1.0, 0.05, 0.0, 400, 200)
"""Of a model whose probabilities are what they say."""
SURE = JudgeCalibration(2.0, 0.1, 0.0, 4000, 2000)
"""Of a model that is righter than it says."""


class Judge:
    def __init__(self, seen: Rendering, says: Says) -> None:
        self._ids = {tuple(d.box_xyxy): d.id for d in seen.detections}
        self._says = says
        self.asked: list[tuple[str, str, str]] = []

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        assert rgb.ndim == 3
        assert budget_s > 0
        self.asked += [(one.relation, self._ids[one.target], self._ids[one.anchor]) for one in questions]
        return tuple(self._says(*one) for one in self.asked[-len(questions) :])


class Finder(Judge):
    def __init__(self, seen: Rendering, says: Says, likelihoods: bool = True) -> None:
        super().__init__(seen, says)
        self._detections, self.tells_likelihoods = tuple(seen.detections), likelihoods

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        assert rgb.ndim == 3
        return Grounding(self._detections, label_match(phrases, self._detections))


def behind(relation: str, target: str, anchor: str) -> float:
    assert (relation, anchor) == ("behind", "cup")
    return 0.97 if target == "far" else 0.03


def written(folder: Path, relations: Mapping[str, JudgeCalibration]) -> str:
    """A file of calibrations: of depth one where the target is higher in the image, and one where not."""
    known = {}
    for relation, one in relations.items():
        for where in (", higher", ", lower") if relation in DEPTH_RELATIONS else ("",):
            known[relation + where] = dataclasses.asdict(one)
    path = folder / "judge.json"
    path.write_text(json.dumps({"schema": 1, "model": "test", "relations": known}))
    return str(path)


@dataclasses.dataclass(frozen=True)
class Asked:
    folder: Path

    def __call__(
        self, seen: Rendering, words: str, says: Says, relations: Mapping[str, JudgeCalibration] | None = None,
        frame: Any = None, mode: str = "fuse", judge: Mapping[str, Any] | None = None, **more: Any,
    ) -> tuple[Resolution, Judge]:  # fmt: skip
        """The answer, and the judge, of a scene, words, and what a judge says.

        `relations` are its calibrations (None = it was not measured), `mode` and `judge` the parameters of judge, and
        `more` those of the resolver; `frame` stands for that of the scene.
        """
        path = "" if relations is None else written(self.folder, relations)
        model = Judge(seen, says)
        config = config_from({"judge": {"mode": mode, "calibration": path, **(judge or {})}, **more})
        answer = Resolver(config, model).resolve(frame or seen.frame, words, seen.detections)  # type: ignore[arg-type]
        return answer, model


def effect(answer: Resolution) -> tuple[Status, str | None, str]:
    return answer.status, answer.target and answer.target.id, answer.judge.effect


def says(*true: tuple[str, str], false: float = 0.03) -> Says:
    """A model that has these (relation, id of the target) for true, and all else for false."""
    return lambda relation, target, _: 0.97 if (relation, target) in true else false


def told(answer: Resolution) -> dict[str, float | None]:
    return {one.id: one.clauses[0].model_p for one in answer.candidates}
