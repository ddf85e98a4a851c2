# SPDX-License-Identifier: Apache-2.0
"""Target and anchors are chosen together: held against a search through every choice."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest

from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.spatial.clauses import NEGLIGIBLE
from spatial_vlm_ros.spatial.decision import decide
from spatial_vlm_ros.spatial.likelihood import FLOOR, clause_likelihood
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, RelationClause, SpatialQuery, Status

NAMES = ("cup", "box", "can")
WORDS = ("left of", "right of", "behind", "in front of")


def random_scene(ground, obj: Callable, seed: int, n: int):  # noqa: ANN001, ANN201
    rng = np.random.default_rng(seed)
    objects = [
        obj(rng.uniform(0.5, 1.1), rng.uniform(-0.4, 0.4), label=str(rng.choice(NAMES)), size=(0.05, 0.05, 0.08))
        for _ in range(n)
    ]
    return objects, ground.layout(objects)


def believer_of(layout) -> PhraseScorer:  # noqa: ANN001
    labels = np.array([o.detection.label for o in layout.scene.objects])
    return PhraseScorer(
        layout, ResolverConfig(relation=layout.relation), match=lambda p: (labels == p.category).astype(float),
        score=np.ones(len(layout)), default_frame=FrameOfReference.VIEWER,
    )  # fmt: skip


def likelihoods(layout, relation: str) -> np.ndarray:  # noqa: ANN001
    everything = np.arange(len(layout))
    pairs = Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), everything, everything)
    return clause_likelihood(*RELATIONS[relation](pairs))


@pytest.mark.parametrize("seed", range(25))
def test_a_chain_of_two_is_the_best_of_every_choice_of_three_different_objects(seed, ground, obj) -> None:  # noqa: ANN001
    rng = np.random.default_rng(seed)
    _, layout = random_scene(ground, obj, seed, 7)
    outer, inner = (str(word) for word in rng.choice(WORDS, 2))
    t, a, b = (str(name) for name in rng.choice(NAMES, 3))
    query = NounPhrase(
        t, relations=(RelationClause(outer, (NounPhrase(a, relations=(RelationClause(inner, (NounPhrase(b),)),)),)),)
    )
    first, second = likelihoods(layout, outer), likelihoods(layout, inner)
    labels = [o.detection.label for o in layout.scene.objects]
    best = np.zeros(len(layout))
    for i, j, k in itertools.permutations(range(len(layout)), 3):
        if (labels[i], labels[j], labels[k]) == (t, a, b):
            best[i] = max(best[i], first[i, j] * max(second[j, k], FLOOR))
    weight = believer_of(layout).score_phrase(query).weight
    # Chances below the floor, and anchors of negligible weight, are not told apart.
    assert np.abs(weight - best).max() <= NEGLIGIBLE
    clear = best > NEGLIGIBLE
    assert weight[clear] == pytest.approx(best[clear], abs=1e-9)


def test_an_object_at_both_ends_of_a_chain_is_not_meant(ground, obj) -> None:  # noqa: ANN001
    layout = ground.layout([obj(0.8, -0.2, label="cup"), obj(0.8, 0.0, label="box")])
    inner = NounPhrase("box", relations=(RelationClause("right of", (NounPhrase("cup"),)),))
    query = NounPhrase("cup", relations=(RelationClause("left of", (inner,)),))
    scorer = believer_of(layout)
    assert scorer.score_phrase(query).weight.max() <= FLOOR
    assert decide([SpatialQuery("", "find", query)], scorer).status is Status.RELATION_UNSATISFIED


def test_many_anchors_do_not_outvote_one(ground, obj) -> None:  # noqa: ANN001
    """One cup has three boxes to its right, the other has one: both are left of a box."""
    objects = [obj(0.8, -0.3, label="cup"), obj(0.8, -0.15, label="box"), obj(0.95, -0.15, label="box"),
              obj(0.65, -0.15, label="box"), obj(0.8, 0.2, label="cup"), obj(0.8, 0.35, label="box")]  # fmt: skip
    query = NounPhrase("cup", relations=(RelationClause("left of", (NounPhrase("box"),)),))
    verdict = decide([SpatialQuery("", "find", query)], believer_of(ground.layout(objects)))
    assert verdict.status is Status.AMBIGUOUS
    assert verdict.probability[0] == pytest.approx(verdict.probability[4], abs=0.02)


def test_not_behind_the_box_is_behind_no_box_that_may_be_meant(ground, obj) -> None:  # noqa: ANN001
    objects = [obj(0.9, -0.2, label="cup"), obj(0.7, -0.2, label="box"), obj(0.7, 0.2, label="box"),
              obj(0.6, 0.0, label="cup")]  # fmt: skip
    query = NounPhrase("cup", relations=(RelationClause("behind", (NounPhrase("box"),), negated=True),))
    verdict = decide([SpatialQuery("", "find", query)], believer_of(ground.layout(objects)))
    assert (verdict.status, verdict.chosen) == (Status.OK, 3)


@pytest.mark.parametrize(
    ("phrase", "status", "meant"),
    [
        (NounPhrase("cup", count=2), Status.OK, {0, 1}),
        (NounPhrase("cup", count=-1), Status.OK, {0, 1}),
        (NounPhrase("cup", count=3), Status.RELATION_UNSATISFIED, {0, 1}),
        (NounPhrase("box", count=2), Status.AMBIGUOUS, set()),
        (NounPhrase("box", count=-1), Status.OK, {2, 3, 4}),
        (NounPhrase("box", count=2, superlative="farthest"), Status.OK, {2, 4}),
        (NounPhrase("box", choice="any"), Status.OK, None),
        (NounPhrase("box"), Status.AMBIGUOUS, set()),
        (NounPhrase("box", count=-1, relations=(RelationClause("right of", (NounPhrase("can"),)),)), Status.OK, {3, 4}),
        (NounPhrase("can", count=-1), Status.OK, {5}),
    ],
)
def test_several_objects(phrase: NounPhrase, status: Status, meant: set[int] | None, ground, obj) -> None:  # noqa: ANN001
    objects = [obj(0.6, -0.3, label="cup"), obj(0.6, 0.3, label="cup"), obj(0.8, -0.25, label="box"),
              obj(0.8, 0.05, label="box"), obj(0.8, 0.3, label="box"), obj(1.0, -0.1, label="can")]  # fmt: skip
    layout = ground.layout(objects)
    verdict = decide([SpatialQuery("", "find", phrase)], believer_of(layout))
    assert verdict.status is status
    if meant is not None:
        assert set(verdict.several) == meant
    distance = np.linalg.norm(layout.centre[list(verdict.several)], axis=1)
    assert (np.diff(distance) >= 0).all()


@pytest.mark.parametrize(
    ("relation", "boxes", "meant"),
    [("left of", -1, {0}), ("left of", 2, {0}), ("near", -1, {0, 1}), ("near", 2, set()), ("left of", 3, set())],
)
def test_several_anchors(relation: str, boxes: int, meant: set[int], ground, obj) -> None:  # noqa: ANN001
    """The first cup is left of both boxes, the second between them: left of all, near any."""
    objects = [obj(0.8, -0.3, label="cup"), obj(0.8, 0.0, label="cup"), obj(0.8, -0.2, label="box"),
              obj(0.8, 0.1, label="box")]  # fmt: skip
    query = NounPhrase("cup", count=-1, relations=(RelationClause(relation, (NounPhrase("box", count=boxes),)),))
    verdict = decide([SpatialQuery("", "find", query)], believer_of(ground.layout(objects)))
    assert set(verdict.several) == meant
    assert (verdict.status is Status.OK) == bool(meant)


def test_other_than_is_whatever_is_left(ground, obj) -> None:  # noqa: ANN001
    objects = [obj(0.8, -0.3, label="cup"), obj(0.8, 0.0, label="cup")]
    left = NounPhrase("cup", superlative="farthest")
    query = NounPhrase("cup", relations=(RelationClause("other than", (left,)),))
    scorer = believer_of(ground.layout(objects))
    verdict = decide([SpatialQuery("", "find", query)], scorer)
    assert (verdict.status, verdict.chosen) == (Status.OK, 1)
    vague = NounPhrase("cup", relations=(RelationClause("other than", (NounPhrase("cup"),)),))
    assert decide([SpatialQuery("", "find", vague)], scorer).status is Status.AMBIGUOUS


def test_a_label_may_say_the_place_itself(ground, obj) -> None:  # noqa: ANN001
    """The lower one is labelled as the top drawer of another cabinet; a top hat beside it says nothing of drawers."""
    objects = [obj(0.8, -0.2, label="top drawer"), obj(0.8, 0.2, label="bottom drawer", base=0.3),
              obj(1.0, 0.0, label="top hat")]  # fmt: skip
    layout = ground.layout(objects)
    labels = [o.detection.label.split()[-1] for o in layout.scene.objects]
    scorer = PhraseScorer(
        layout, ResolverConfig(relation=layout.relation), score=np.ones(3), default_frame=FrameOfReference.VIEWER,
        match=lambda p: np.array([float(label == p.category) for label in labels]),
    )  # fmt: skip
    verdict = decide([SpatialQuery("", "find", NounPhrase("drawer", superlative="highest"))], scorer)
    assert (verdict.status, verdict.chosen) == (Status.OK, 0)


LOOSE = [("the cups left of the wooden box", Status.LOW_CONFIDENCE),
         ("any cup left of the wooden box", Status.LOW_CONFIDENCE),
         ("the cups among the wooden boxes", None),
         ("the cup right of the boxes behind the cans", Status.RELATION_UNSATISFIED)]  # fmt: skip


@pytest.mark.parametrize(("words", "status"), LOOSE)
def test_nothing_is_related_to_objects_that_may_not_be_meant(words, status, ground, obj) -> None:  # noqa: ANN001
    """Nobody can tell that a box is wooden, and no box is behind a can."""
    objects = [obj(0.8, -0.5, label="cup"), obj(0.8, -0.4, label="cup"), obj(0.8, 0.0, label="box"),
              obj(0.8, 0.2, label="box"), obj(1.2, 0.0, label="can"), obj(0.8, 0.5, label="cup")]  # fmt: skip
    verdict = decide(parse(words), believer_of(ground.layout(objects)))
    assert verdict.status is not Status.OK
    assert status in (None, verdict.status)


def test_each_of_several_is_as_sure_as_the_least_of_them(ground, obj) -> None:  # noqa: ANN001
    layout = ground.layout([obj(0.8, -0.3, label="cup"), obj(0.8, 0.3, label="cup")])
    for phrase in (NounPhrase("cup", count=2), NounPhrase("cup", choice="any")):
        verdict = decide([SpatialQuery("", "find", phrase)], believer_of(layout))
        assert verdict.sure == pytest.approx(1.0)
        assert verdict.probability.max() < 0.6


def test_a_frame_that_means_other_objects_of_several_is_asked_about(ground, obj) -> None:  # noqa: ANN001
    """From the robot, which looks the other way, all cups left of the box are those right of it for the camera."""
    objects = [obj(0.8, -0.3, label="cup"), obj(0.8, 0.0, label="box"), obj(0.85, 0.3, label="cup"),
              obj(0.8, 0.35, label="cup")]  # fmt: skip
    layout = ground.layout(objects, base_T_camera=ground.looking_from(1.6, 0.0, 180.0))
    layout = dataclasses.replace(layout, relation=dataclasses.replace(layout.relation, second_frame="robot"))
    phrase = NounPhrase("cup", count=-1, relations=(RelationClause("left of", (NounPhrase("box"),)),))
    verdict = decide([SpatialQuery("", "find", phrase)], believer_of(layout))
    assert verdict.status is Status.AMBIGUOUS
    assert verdict.frames == (FrameOfReference.VIEWER, FrameOfReference.ROBOT)
