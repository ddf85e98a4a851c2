# SPDX-License-Identifier: Apache-2.0
"""Target and anchors are chosen together, whatever is asked: contradictions, self-reference, crowds, chains."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from relation_scenes import Ground, Object

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.spatial.answer import answer
from spatial_vlm_ros.spatial.clauses import NEGLIGIBLE
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.spatial.likelihood import FLOOR, clause_likelihood
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, RelationClause, Resolution, SpatialQuery, Status

NAMES = ("cup", "box", "can")
WORDS = ("left of", "right of", "behind", "in front of")
VIEWER, ROBOT = FrameOfReference.VIEWER, FrameOfReference.ROBOT
AMBIGUOUS, OK, LOW, UNSATISFIED = Status.AMBIGUOUS, Status.OK, Status.LOW_CONFIDENCE, Status.RELATION_UNSATISFIED


def scorer_of(
    layout: Layout, fit: Callable[[str, str], float] = lambda name, label: float(name == label)
) -> PhraseScorer:
    labels = [o.detection.label for o in layout.scene.objects]
    return PhraseScorer(
        layout, ResolverConfig(relation=layout.relation), score=np.ones(len(layout)), default_frame=VIEWER,
        match=lambda phrase: np.array([fit(phrase.category, label) for label in labels]),
    )  # fmt: skip


def placed(ground: Ground, **labelled: Sequence[tuple[float, float]]) -> Layout:
    """Cubes by label, in this order, at places (ahead, right)."""
    return ground.layout([Object(*place, label=label) for label, places in labelled.items() for place in places])


def related(name: str, relation: str, *anchors: NounPhrase, **more: Any) -> NounPhrase:
    said = {key: more.pop(key) for key in ("negated",) if key in more}
    return NounPhrase(name, relations=(RelationClause(relation, anchors, **said),), **more)


def decided(layout: Layout, phrase: NounPhrase) -> ResolvedChoice:
    return decide([SpatialQuery("", "find", phrase)], scorer_of(layout))


def asked(layout: Layout, words: str) -> Resolution:
    scorer = scorer_of(layout, label_fit)
    resolution = answer(decide(parse(words), scorer), scorer, words)
    assert (resolution.target is not None) == (resolution.status is OK)
    return resolution


SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 25))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chain_of_two_is_the_best_of_every_choice_of_three_different_objects(ground: Ground, seed: int) -> None:
    draw, rng = np.random.default_rng(seed), np.random.default_rng(seed)
    objects = [
        Object(draw.uniform(0.5, 1.1), draw.uniform(-0.4, 0.4), (0.05, 0.05, 0.08), label=str(draw.choice(NAMES)))
        for _ in range(7)
    ]
    layout, rows = ground.layout(objects), np.arange(7)
    outer, inner = (str(word) for word in rng.choice(WORDS, 2))
    t, a, b = (str(name) for name in rng.choice(NAMES, 3))
    pairs = Pairs(layout, layout.viewpoint(VIEWER), rows, rows)
    first, second = (clause_likelihood(*RELATIONS[relation](pairs)) for relation in (outer, inner))
    labels = [obj.label for obj in objects]
    best = np.zeros(len(layout))
    for i, j, k in itertools.permutations(range(len(layout)), 3):
        if (labels[i], labels[j], labels[k]) == (t, a, b):
            best[i] = max(best[i], first[i, j] * max(second[j, k], FLOOR))
    weight = scorer_of(layout).score_phrase(related(t, outer, related(a, inner, NounPhrase(b)))).weight
    # Chances below the floor, and anchors of negligible weight, are not told apart.
    assert np.abs(weight - best).max() <= NEGLIGIBLE
    clear = best > NEGLIGIBLE
    assert weight[clear] == pytest.approx(best[clear], abs=1e-9)


def test_an_object_at_both_ends_of_a_chain_is_not_meant(ground: Ground) -> None:
    layout = placed(ground, cup=[(0.8, -0.2)], box=[(0.8, 0.0)])
    phrase = related("cup", "left of", related("box", "right of", NounPhrase("cup")))
    assert scorer_of(layout).score_phrase(phrase).weight.max() <= FLOOR
    assert decided(layout, phrase).status is UNSATISFIED


def test_many_anchors_do_not_outvote_one(ground: Ground) -> None:
    """One cup has three boxes to its right, the other has one: both are left of a box."""
    boxes = [(0.8, -0.15), (0.95, -0.15), (0.65, -0.15), (0.8, 0.35)]
    layout = placed(ground, cup=[(0.8, -0.3), (0.8, 0.2)], box=boxes)
    verdict = decided(layout, related("cup", "left of", NounPhrase("box")))
    assert verdict.status is AMBIGUOUS
    assert verdict.probability[0] == pytest.approx(verdict.probability[1], abs=0.02)


def test_not_behind_the_box_is_behind_no_box_that_may_be_meant(ground: Ground) -> None:
    layout = placed(ground, cup=[(0.9, -0.2), (0.6, 0.0)], box=[(0.7, -0.2), (0.7, 0.2)])
    verdict = decided(layout, related("cup", "behind", NounPhrase("box"), negated=True))
    assert (verdict.status, verdict.chosen) == (OK, 1)


def test_other_than_is_whatever_is_left(ground: Ground) -> None:
    layout = placed(ground, cup=[(0.8, -0.3), (0.8, 0.0)])
    verdict = decided(layout, related("cup", "other than", NounPhrase("cup", superlative="farthest")))
    assert (verdict.status, verdict.chosen) == (OK, 1)
    assert decided(layout, related("cup", "other than", NounPhrase("cup"))).status is AMBIGUOUS


def test_a_label_may_say_the_place_itself(ground: Ground) -> None:
    """The lower one is labelled as the top drawer of another cabinet; a top hat beside it says nothing of drawers."""
    objects = [Object(0.8, -0.2, label="top drawer"), Object(0.8, 0.2, label="bottom drawer", base=0.3),
               Object(1.0, 0.0, label="top hat")]  # fmt: skip
    scorer = scorer_of(ground.layout(objects), lambda name, label: float(label.split()[-1] == name))
    verdict = decide([SpatialQuery("", "find", NounPhrase("drawer", superlative="highest"))], scorer)
    assert (verdict.status, verdict.chosen) == (OK, 0)


@pytest.mark.parametrize(
    ("phrase", "status", "meant"),
    [
        (NounPhrase("cup", count=2), OK, {0, 1}),
        (NounPhrase("cup", count=-1), OK, {0, 1}),
        (NounPhrase("cup", count=3), UNSATISFIED, {0, 1}),
        (NounPhrase("box", count=2), AMBIGUOUS, set()),
        (NounPhrase("box", count=-1), OK, {2, 3, 4}),
        (NounPhrase("box", count=2, superlative="farthest"), OK, {2, 4}),
        (NounPhrase("box", choice="any"), OK, None),
        (NounPhrase("box"), AMBIGUOUS, set()),
        (related("box", "right of", NounPhrase("can"), count=-1), OK, {3, 4}),
        (NounPhrase("can", count=-1), OK, {5}),
    ],
)
def test_several_objects(ground: Ground, phrase: NounPhrase, status: Status, meant: set[int] | None) -> None:
    """Each of them is as sure as the least of them."""
    boxes = [(0.8, -0.25), (0.8, 0.05), (0.8, 0.3)]
    layout = placed(ground, cup=[(0.6, -0.3), (0.6, 0.3)], box=boxes, can=[(1.0, -0.1)])
    verdict = decided(layout, phrase)
    assert verdict.status is status
    assert meant is None or set(verdict.several) == meant
    distance = np.linalg.norm(layout.centre[list(verdict.several)], axis=1)
    assert (np.diff(distance) >= 0).all()
    if phrase in (NounPhrase("cup", count=2), NounPhrase("box", choice="any")):
        assert verdict.sure == pytest.approx(1.0)
        assert verdict.probability.max() < 0.6


@pytest.mark.parametrize(
    ("relation", "boxes", "meant"),
    [("left of", -1, {0}), ("left of", 2, {0}), ("near", -1, {0, 1}), ("near", 2, set()), ("left of", 3, set())],
)
def test_several_anchors(ground: Ground, relation: str, boxes: int, meant: set[int]) -> None:
    """The first cup is left of both boxes, the second between them: left of all, near any."""
    layout = placed(ground, cup=[(0.8, -0.3), (0.8, 0.0)], box=[(0.8, -0.2), (0.8, 0.1)])
    verdict = decided(layout, related("cup", relation, NounPhrase("box", count=boxes), count=-1))
    assert set(verdict.several) == meant
    assert (verdict.status is OK) == bool(meant)


@pytest.mark.parametrize(
    ("words", "status"),
    [("the cups left of the wooden box", LOW), ("any cup left of the wooden box", LOW),
     ("the cups among the wooden boxes", None), ("the cup right of the boxes behind the cans", UNSATISFIED)],
)  # fmt: skip
def test_nothing_is_related_to_objects_that_may_not_be_meant(ground: Ground, words: str, status: Status | None) -> None:
    """Nobody can tell that a box is wooden, and no box is behind a can."""
    cups = [(0.8, -0.5), (0.8, -0.4), (0.8, 0.5)]
    layout = placed(ground, cup=cups, box=[(0.8, 0.0), (0.8, 0.2)], can=[(1.2, 0.0)])
    verdict = decide(parse(words), scorer_of(layout))
    assert verdict.status is not OK
    assert status in (None, verdict.status)


def test_a_frame_that_means_other_objects_of_several_is_asked_about(ground: Ground) -> None:
    """From the robot, which looks the other way, all cups left of the box are those right of it for the camera."""
    objects = [
        Object(0.8, 0.0, label="box"),
        *(Object(*p, label="cup") for p in ((0.8, -0.3), (0.85, 0.3), (0.8, 0.35))),
    ]
    layout = ground.layout(objects, base_T_camera=ground.looking_from(1.6, 0.0, 180.0))
    for second, status, frames in (("robot", AMBIGUOUS, (VIEWER, ROBOT)), ("speaker", OK, ())):  # nobody speaks here
        said = dataclasses.replace(layout, relation=dataclasses.replace(layout.relation, second_frame=second))
        verdict = decided(said, related("cup", "left of", NounPhrase("box"), count=-1))
        assert (verdict.status, verdict.frames) == (status, frames)


SIDES = {"cup": [(0.8, -0.2), (0.8, 0.2)], "box": [(0.8, 0.0)]}
ONE_EACH = {"cup": [(0.8, -0.2)], "box": [(0.8, 0.2)]}
ROW = {"cup": [(0.6 + 0.1 * k, 0.0) for k in range(8)]}


@pytest.mark.parametrize(
    ("scene", "words", "status"),
    [
        (SIDES, "the cup left and right of the box", UNSATISFIED),  # a contradiction fits nothing
        (SIDES, "the cup behind the box and in front of the box", UNSATISFIED),
        (SIDES, "the cup on the box and under the box", UNSATISFIED),
        (SIDES, "the cup inside and out of the box", UNSATISFIED),
        (ONE_EACH, "the cup left of the cup", UNSATISFIED),  # nothing is related to itself
        (ONE_EACH, "the cup next to another cup", UNSATISFIED),
        (ONE_EACH, "the cup between the two cups", UNSATISFIED),
        ({"box": [(0.8, 0.0), (0.8, 0.3)]}, "the thing left of the box", OK),
        ({"cup": [(0.8, -0.2), (0.8, -0.2)], "box": [(0.8, 0.1)]}, "the cup left of the box", AMBIGUOUS),  # found twice
        (ROW, "the tallest cup", AMBIGUOUS),
        (ROW, "the ninth cup from the left", UNSATISFIED),
    ],
)
def test_what_nobody_should_ask_ends_in_a_typed_answer(
    ground: Ground, scene: dict[str, list[tuple[float, float]]], words: str, status: Status
) -> None:
    found = asked(placed(ground, **scene), words)
    assert found.status is status
    if status is OK:
        assert found.target.id == "t0"
    with pytest.raises(NotUnderstoodError, match="itself"):
        parse("the cup left of itself")


@pytest.mark.parametrize("size", [(0.06, 0.06, 0.0005), (1e-3, 1e-3, 1e-3), (3.0, 3.0, 0.02), (0.01, 2.0, 0.5)])
def test_flat_tiny_and_giant_objects_are_measured(ground: Ground, size: tuple[float, float, float]) -> None:
    layout = ground.layout([Object(0.8, 0.0, size, label="odd"), Object(0.8, -0.2, label="cup"),
                            Object(0.8, 0.2, label="cup"), Object(2.9, 0.0, label="box")])  # fmt: skip
    for words in ("the cup left of the odd", "the odd in front of the box", "the cup on the odd", "the largest thing",
                  "the cup at the edge of the odd", "the odd between the two cups"):  # fmt: skip
        found = asked(layout, words)
        assert all(c.margin_m is None or np.isfinite(c.margin_m) for k in found.candidates for c in k.clauses), words
    assert asked(layout, "the cup left of the odd").candidates[0].id == "t1"


@pytest.mark.parametrize("number", [150, pytest.param(500, marks=pytest.mark.slow)])
def test_crowds_and_ten_nested_clauses(ground: Ground, number: int) -> None:
    places = np.random.default_rng(5).uniform((0.5, -2.0), (3.0, 2.0), (number, 2))
    layout = ground.layout([Object(*place, label=NAMES[k % 3]) for k, place in enumerate(places.tolist())])
    for words in ("the cup", "the cup left of the box behind the can", "the cup between the box and the can",
                  "the tallest cup near a box", "the cups among the boxes", "the third cup from the left"):  # fmt: skip
        found = asked(layout, words)
        assert found.status in (AMBIGUOUS, OK, LOW), found.message
    layout = ground.layout([Object(0.5 + 0.1 * k, 0.05 * (-1) ** k, label=NAMES[k % 3]) for k in range(15)])
    relations = (*WORDS, "near")
    nested = "".join(f" {relations[k % 5]} the {('box', 'can', 'cup')[k % 3]}" for k in range(10))
    assert asked(layout, "the cup" + nested).status in Status
