# SPDX-License-Identifier: Apache-2.0
"""What was measured for one reading is not measured again for the next, and changes no answer."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.resolving import FIVE, scene_of
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.spatial import clauses, judgements
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer

INSTRUCTIONS = (
    FIVE,
    "put the cup that is behind the box and not near the can on the box next to the mug, in front of the can",
    "the two mugs left of the can behind the box, 20 cm from the cup, as seen from the robot",
    "the cup next to the can next to the mug that is next to the box next to the can",
    "the can between the cup behind the box and the mug behind the box, near the mug",
    "the mug on the box in front of the can, on top of the box, not on the can, right of the cup",
)


def answer(instruction: str, objects: int) -> dict[str, Any]:
    """The answer on a scene, its times left out."""
    found = resolution_json(Resolver(ResolverConfig()).answer(scene_of(objects), instruction))
    return {name: value for name, value in found.items() if name not in ("ms", "timings_ms")}


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_answers_are_those_of_measuring_everything_anew(instruction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [answer(instruction, n) for n in (8, 31)]
    monkeypatch.setattr(judgements, "_MOST", -1)
    judged = PhraseScorer._judge
    monkeypatch.setattr(PhraseScorer, "_judge", lambda self, *asked: (self._clauses.clear(), judged(self, *asked))[1])
    assert [answer(instruction, n) for n in (8, 31)] == kept


def test_each_relation_of_the_same_objects_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bytes, bytes]] = []
    measured = clauses.measure

    def measure(name: str, pairs: Any, distance: Any = None) -> Any:
        asked.append((name, pairs.targets.tobytes(), pairs.anchors.tobytes()))
        return measured(name, pairs, distance)

    monkeypatch.setattr(clauses, "measure", measure)
    readings = Resolver().answer(scene_of(31), FIVE).query
    assert readings is not None
    assert readings.readings > 30
    assert len(asked) == len(set(asked))
    assert len(asked) <= 20  # five relations, each of few kinds of objects; the readings have 149 clauses


def test_what_is_kept_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[judgements.Judgements] = []
    monkeypatch.setattr(judgements, "_MOST", 300)
    started = judgements.Judgements.pairs

    def pairs(self: judgements.Judgements, *asked: Any) -> Any:
        made.append(self)
        return started(self, *asked)

    monkeypatch.setattr(judgements.Judgements, "pairs", pairs)
    answer(FIVE, 60)
    assert made
    for known in made:
        assert sum(len(p.targets) * len(p.anchors) for p in known._pairs.values()) <= 300
        assert {between for between, _ in known._judged} <= known._pairs.keys()
