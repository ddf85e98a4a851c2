# SPDX-License-Identifier: Apache-2.0
"""Numbers and places in an order: from one on, never more than there are objects; and nothing is measured twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.resolving import FIVE, scene_of
from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.spatial import clauses, judgements, superlatives
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.superlatives import Key, place_in_order, places_in_order
from spatial_vlm_ros.spatial.support_check import check_supported
from spatial_vlm_ros.types import Ordinal, Status


@pytest.mark.parametrize(
    "instruction",
    ["the 999 leftmost objects", "the first 999 cups from the right", "the 190th object from the left",
     *(pytest.param(words, marks=pytest.mark.slow) for words in (
         "the last 500 objects from the left", "the 150 tallest objects", "the 999 objects behind the 999 boxes"))],
)  # fmt: skip
def test_a_number_costs_no_more_than_the_objects_there_are(instruction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[int, int]] = []
    how_many = superlatives._how_many

    def count(chance: Any, most: int) -> Any:
        counted.append((most, chance.size))
        return how_many(chance, most)

    monkeypatch.setattr(superlatives, "_how_many", count)
    answer = Resolver().answer(scene_of(195), instruction)
    assert answer.status not in (Status.OK, Status.INTERNAL_ERROR)
    assert max((most for most, _ in counted), default=0) <= 195
    assert sum(size for _, size in counted) <= 4 * 195**2


def test_a_number_below_one_is_refused() -> None:
    ordered = parse("grab the second cup from the left")[0]
    for n in (0, -1, -7):
        with pytest.raises(NotUnderstoodError, match=f"not at {n}"):
            check_supported(replace(ordered, target=replace(ordered.target, ordinal=Ordinal(n, "left"))))
    query = parse("grab the cups behind the boxes")[0]
    (clause,) = query.target.relations
    for n in (0, -2):  # of targets and of anchors
        anchor = replace(clause.anchors[0], count=n)
        for changed in ({"count": n}, {"relations": (replace(clause, anchors=(anchor,)),)}):
            with pytest.raises(NotUnderstoodError, match="cannot act on"):
                check_supported(replace(query, target=replace(query.target, **changed)))
    check_supported(query)
    assert Resolver().answer(scene_of(9), "the 0th cup from the left").status is Status.NOT_UNDERSTOOD


def test_places_past_the_last_object_are_nobodys() -> None:
    key = Key(np.array([0.0, 1.0, 2.0]), np.full(3, 0.01))
    third, fourth, millionth = places_in_order(key, np.ones(3), (3, 4, 10**6))
    assert third == pytest.approx([0.0, 0.0, 1.0], abs=0.01)
    assert not fourth.any()
    assert not millionth.any()
    likelihood, margin = place_in_order(key, np.ones(3), 10**6)
    assert not likelihood.any()
    assert np.isnan(margin).all()


@pytest.mark.parametrize("count", [1, 6, 38, 10**9])
def test_several_places_are_the_sum_of_each(count: int) -> None:
    rng = np.random.default_rng(3)
    key, member = Key(rng.normal(0.0, 1.0, 40), np.full(40, 0.1)), rng.uniform(0.0, 1.0, 40)
    each = [place_in_order(key, member, n)[0] for n in range(3, min(3 + count, 41))]
    likelihood, margin = place_in_order(key, member, 3, count)
    assert likelihood == pytest.approx(sum(each), abs=1e-12)
    assert np.array_equal(margin, place_in_order(key, member, 3)[1], equal_nan=True)


def test_of_objects_in_one_place_none_is_surely_the_middle_one() -> None:
    """As of one object that a detector found three times."""
    scene = scene_of(9)
    one = scene.objects[4]
    copies = tuple(replace(one, detection=replace(one.detection, id=f"d{n}", label="cup")) for n in range(3))
    again = replace(scene, objects=copies)
    for instruction in ("the middle cup", "the cup", "the cup in the middle", "the second cup from the left"):
        assert Resolver().answer(again, instruction).status in (Status.AMBIGUOUS, Status.LOW_CONFIDENCE), instruction


def test_orders_are_worked_out_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    value = rng.normal(0.0, 1.0, 70)
    value[::9] = np.nan
    key, member = Key(value, rng.uniform(0.01, 0.2, 70)), rng.uniform(0.0, 1.0, 70)
    whole = places_in_order(key, member, (1, 2, 30))
    monkeypatch.setattr(superlatives, "_BLOCK", 16)
    for one, other in zip(whole, places_in_order(key, member, (1, 2, 30)), strict=True):
        assert one == pytest.approx(other, abs=1e-12)


def test_what_comes_after_many_sure_members_has_none_of_the_first_places() -> None:
    value = np.random.default_rng(4).permutation(300).astype(np.float64)
    for n, found in enumerate(places_in_order(Key(value, np.full(300, 0.01)), np.ones(300), (1, 2, 3))):
        assert value[found.argmax()] == n
        assert found.sum() == pytest.approx(1.0, abs=0.01)
        assert not found[value >= 3 + superlatives._COMPARED].any()
        assert found[value < 3 + superlatives._COMPARED].all()


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
    found = resolution_json(Resolver().answer(scene_of(objects), instruction))
    return {name: value for name, value in found.items() if name not in ("ms", "timings_ms")}


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_answers_are_those_of_measuring_everything_anew(instruction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [answer(instruction, n) for n in (8, 16)]
    monkeypatch.setattr(judgements, "_MOST", -1)
    judged = PhraseScorer._judge
    monkeypatch.setattr(PhraseScorer, "_judge", lambda self, *asked: (self._clauses.clear(), judged(self, *asked))[1])
    assert [answer(instruction, n) for n in (8, 16)] == kept


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
