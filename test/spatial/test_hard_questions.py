# SPDX-License-Identifier: Apache-2.0
"""What nobody should ask ends in a typed answer, and soon: contradictions, self-reference, crowds, chains."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.spatial.answer import answer
from spatial_vlm_ros.spatial.decision import decide
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import FrameOfReference, Resolution, Status

BOUND = 5.0  # seconds of processor time that no question may take, on the slowest machine


def asked(layout, words: str) -> Resolution:  # noqa: ANN001
    labels = [o.detection.label for o in layout.scene.objects]
    scorer = PhraseScorer(
        layout, ResolverConfig(relation=layout.relation),
        match=lambda p: np.array([label_fit(p.category, label) for label in labels]),
        score=np.ones(len(layout)), default_frame=FrameOfReference.VIEWER,
    )  # fmt: skip
    start = time.process_time()
    resolution = answer(decide(parse(words), scorer), scorer, words)
    assert time.process_time() - start < BOUND
    assert (resolution.target is not None) == (resolution.status is Status.OK)
    return resolution


@pytest.mark.parametrize(
    "words", ["the cup left and right of the box", "the cup behind the box and in front of the box",
              "the cup on the box and under the box", "the cup inside and out of the box"],
)  # fmt: skip
def test_a_contradiction_fits_nothing(words: str, ground, obj) -> None:  # noqa: ANN001
    layout = ground.layout([obj(0.8, -0.2, label="cup"), obj(0.8, 0.2, label="cup"), obj(0.8, 0.0, label="box")])
    assert asked(layout, words).status is Status.RELATION_UNSATISFIED


def test_nothing_is_related_to_itself(ground, obj) -> None:  # noqa: ANN001
    with pytest.raises(NotUnderstoodError, match="itself"):
        parse("the cup left of itself")
    layout = ground.layout([obj(0.8, -0.2, label="cup"), obj(0.8, 0.2, label="box")])
    for words in ("the cup left of the cup", "the cup next to another cup", "the cup between the two cups"):
        assert asked(layout, words).status is Status.RELATION_UNSATISFIED, words


def test_an_anchor_that_is_the_only_candidate_is_not_the_target(ground, obj) -> None:  # noqa: ANN001
    layout = ground.layout([obj(0.8, 0.0, label="box"), obj(0.8, 0.3, label="box")])
    found = asked(layout, "the thing left of the box")
    assert (found.status, found.target and found.target.id) == (Status.OK, "t0")


@pytest.mark.parametrize("size", [(0.06, 0.06, 0.0005), (1e-3, 1e-3, 1e-3), (3.0, 3.0, 0.02), (0.01, 2.0, 0.5)])
def test_flat_tiny_and_giant_objects_are_measured_as_any_other(size, ground, obj) -> None:  # noqa: ANN001
    layout = ground.layout([obj(0.8, 0.0, size, label="odd"), obj(0.8, -0.2, label="cup"),
                            obj(0.8, 0.2, label="cup"), obj(2.9, 0.0, label="box")])  # fmt: skip
    for words in ("the cup left of the odd", "the odd in front of the box", "the cup on the odd", "the largest thing",
                  "the cup at the edge of the odd", "the odd between the two cups"):  # fmt: skip
        found = asked(layout, words)
        assert all(c.margin_m is None or np.isfinite(c.margin_m) for k in found.candidates for c in k.clauses), words
    assert asked(layout, "the cup left of the odd").candidates[0].id == "t1"


def test_an_object_detected_twice_is_ambiguous_and_not_two_objects(ground, obj) -> None:  # noqa: ANN001
    layout = ground.layout([obj(0.8, -0.2, label="cup"), obj(0.8, -0.2, label="cup"), obj(0.8, 0.1, label="box")])
    assert asked(layout, "the cup left of the box").status is Status.AMBIGUOUS


def test_five_hundred_candidates(ground, obj: Callable) -> None:  # noqa: ANN001
    rng = np.random.default_rng(5)
    places = rng.uniform((0.5, -2.0), (3.0, 2.0), (500, 2))
    objects = [obj(*place, label=("cup", "box", "can")[k % 3]) for k, place in enumerate(places.tolist())]
    layout = ground.layout(objects)
    for words in ("the cup", "the cup left of the box behind the can", "the cup between the box and the can",
                  "the tallest cup near a box", "the cups among the boxes", "the third cup from the left"):  # fmt: skip
        found = asked(layout, words)
        assert found.status in (Status.AMBIGUOUS, Status.OK, Status.LOW_CONFIDENCE), found.message


def test_the_tallest_of_many_equals_is_ambiguous(ground, obj) -> None:  # noqa: ANN001
    layout = ground.layout([obj(0.6 + 0.1 * k, 0.0, label="cup") for k in range(8)])
    assert asked(layout, "the tallest cup").status is Status.AMBIGUOUS
    assert asked(layout, "the ninth cup from the left").status is Status.RELATION_UNSATISFIED


def test_ten_nested_clauses(ground, obj) -> None:  # noqa: ANN001
    objects = [obj(0.5 + 0.1 * k, 0.05 * (-1) ** k, label=("cup", "box", "can")[k % 3]) for k in range(15)]
    relations = ("left of", "behind", "near", "right of", "in front of")
    words = "the cup" + "".join(f" {relations[k % 5]} the {('box', 'can', 'cup')[k % 3]}" for k in range(10))
    assert asked(ground.layout(objects), words).status in Status
