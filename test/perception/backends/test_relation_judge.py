# SPDX-License-Identifier: Apache-2.0
"""The shipped small judge: what it says of tabletops it has not seen, and what it does not answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.backends.relation_judge import SmallRelationJudge, load
from spatial_vlm_ros.perception.judging import CHOICES, RelationQuestion
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Status

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Rendering

WORDS = "the can behind the cup"


@pytest.fixture(scope="module")
def judge() -> SmallRelationJudge:
    pytest.importorskip("onnxruntime")
    return load()


@pytest.fixture
def two_sides(tabletop: Tabletop) -> Rendering:
    """Cans "near" and "far" 20 cm before and behind a cup."""
    return tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("near", 0, -0.2), tabletop.can("far", 0.02, 0.2))


def questions(seen: Rendering, relation: str, *ids: str) -> list[RelationQuestion]:
    boxes = {one.id: one.box_xyxy for one in seen.detections}
    return [RelationQuestion(relation, boxes[one], boxes["cup"]) for one in ids]


def test_it_knows_near_from_far_on_a_tabletop(judge: SmallRelationJudge, two_sides: Rendering) -> None:
    asked = [*questions(two_sides, "behind", "near", "far"), *questions(two_sides, "in front of", "near", "far")]
    said = judge.judge(two_sides.frame.rgb, asked, 60.0)
    assert all(p is not None for p in said)
    assert [(p or 0.0) > 0.5 for p in said] == [False, True, True, False]


def test_a_box_that_fills_the_image_is_not_judged(judge: SmallRelationJudge, two_sides: Rendering) -> None:
    cup, whole = two_sides.detections[0].box_xyxy, (0.0, 60.0, 640.0, 480.0)
    asked = [RelationQuestion("on", cup, whole), RelationQuestion("under", whole, cup)]
    assert judge.judge(two_sides.frame.rgb, asked, 60.0) == (None, None)
    wide = RelationQuestion("on", cup, (0.0, 260.0, 640.0, 480.0))
    assert judge.judge(two_sides.frame.rgb, [asked[0], wide], 60.0)[0] is None


def test_sides_are_one_question(judge: SmallRelationJudge, tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("left", -0.2, 0), tabletop.can("right", 0.2, 0))
    asked = [one for relation in ("left of", "right of") for one in questions(seen, relation, "left", "right")]
    left, not_left, not_right, right = (p or 0.0 for p in judge.judge(seen.frame.rgb, asked, 60.0))
    assert min(left, right) > 0.9
    assert left + not_right == pytest.approx(1.0)
    assert right + not_left == pytest.approx(1.0)


def test_the_mirrored_image_has_the_mirrored_answers(judge: SmallRelationJudge, two_sides: Rendering) -> None:
    width = two_sides.frame.camera.width
    asked = questions(two_sides, "right of", "near", "far") + questions(two_sides, "behind", "near", "far")
    turned = [
        RelationQuestion(
            {"right of": "left of"}.get(one.relation, one.relation),
            *((width - x1, y0, width - x0, y1) for x0, y0, x1, y1 in (one.target, one.anchor)),
        )
        for one in asked
    ]
    rgb = two_sides.frame.rgb
    straight, mirrored = judge.judge(rgb, asked, 60.0), judge.judge(np.ascontiguousarray(rgb[:, ::-1]), turned, 60.0)
    for p, q in zip(straight, mirrored, strict=True):
        assert (p is None) == (q is None)
        assert p is None or q == pytest.approx(p, abs=0.15)  # crops begin at whole pixels


def test_every_relation_that_can_be_asked_has_an_answer_or_none(
    judge: SmallRelationJudge, two_sides: Rendering
) -> None:
    asked = [questions(two_sides, relation, "far")[0] for relation in CHOICES]
    said = judge.judge(two_sides.frame.rgb, asked, 60.0)
    assert len(said) == len(CHOICES)
    assert all(p is None or 0.0 <= p <= 1.0 for p in said)
    assert judge.judge(two_sides.frame.rgb, asked, 0.0) == (None,) * len(CHOICES)


# ------------------------------------------------------------------------------------------------ in the resolver


def resolver(mode: str = "report", **more: object) -> Resolver:
    return Resolver(config_from({"judge": {"mode": mode, "by": "relation-judge", **more}, "domain_gate": {}}))


def test_it_judges_simulated_images_without_a_grounder(two_sides: Rendering) -> None:
    frame = dataclasses.replace(two_sides.frame, domain="simulated")
    answer = resolver().resolve(frame, WORDS, two_sides.detections)
    assert answer.status is Status.OK
    assert answer.judge is not None
    said = {one.target_id: one.raw_p for one in answer.judge.relations}
    assert set(said) == {"near", "far"}
    assert (said["far"] or 0.0) > 0.5 > (said["near"] or 0.0)


def test_of_other_images_it_says_nothing_and_the_geometrys_answer_stands(two_sides: Rendering) -> None:
    frame = dataclasses.replace(two_sides.frame, domain="real")
    answer = resolver().resolve(frame, WORDS, two_sides.detections)
    assert answer.status is Status.OK
    assert answer.judge is not None
    assert not answer.judge.relations
    assert "simulated" in answer.judge.reason


def test_a_folder_without_the_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        load(str(tmp_path))
