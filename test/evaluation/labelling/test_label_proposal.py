# SPDX-License-Identifier: Apache-2.0
"""Truth proposed from answers, and the scene from above in which places are shown."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.evaluation.labelling.ground import Ground, ground_of
from spatial_vlm_ros.evaluation.labelling.proposal import proposed, same_truth
from spatial_vlm_ros.resolver import Answered, Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup, chicks_and_cup_frame
from spatial_vlm_ros.types import RgbdFrame


@pytest.fixture(scope="module")
def seen() -> tuple[RgbdFrame, tuple[Any, ...]]:
    return chicks_and_cup_frame()


def answered(seen: tuple[RgbdFrame, tuple[Any, ...]], words: str) -> tuple[Answered, Ground]:
    frame, detections = seen
    answer = Resolver().look_at(frame, detections).ask(words)
    assert answer.scene is not None
    return answer, ground_of(answer.scene, frame.base_T_camera)


def proposal(seen: tuple[RgbdFrame, tuple[Any, ...]], words: str, by_id: bool = True) -> dict[str, Any]:
    answer, ground = answered(seen, words)
    return proposed(answer.resolution, answer.detections, ground, by_id=by_id)


def test_an_object_by_its_id(seen: Any) -> None:
    assert proposal(seen, "the chick behind the cup") == {"status": "OK", "id": "bonnet"}


def test_an_object_of_a_grounder_by_label_and_box(seen: Any) -> None:
    (bonnet,) = [one for one in seen[1] if one.id == "bonnet"]
    found = proposal(seen, "the chick behind the cup", by_id=False)
    assert found == {"status": "OK", "label": "chick", "box": [pytest.approx(v, abs=0.05) for v in bonnet.box_xyxy]}


def test_several_that_are_asked_for(seen: Any) -> None:
    found = proposal(seen, "both chicks")
    assert {found["id"], *found["id_also"]} == {"bonnet", "ribbon"}


@pytest.mark.parametrize(("words", "status"), [("the chick", "AMBIGUOUS"), ("the fork", "NOT_FOUND")])
def test_a_refusal_has_a_status_alone(seen: Any, words: str, status: str) -> None:
    assert proposal(seen, words) == {"status": status}


def test_the_answer_of_a_question_with_half_its_interval(seen: Any) -> None:
    answer, _ = answered(seen, "how far is the cup from the box?")
    found = proposal(seen, "how far is the cup from the box?")
    space = answer.resolution.answer
    assert space is not None
    assert space.interval is not None
    assert found["status"] == "ANSWERED"
    assert found["answer"]["value"] == pytest.approx(space.value, abs=0.0006)
    assert found["answer"]["tolerance"] == pytest.approx((space.interval[1] - space.interval[0]) / 2, abs=0.0006)
    counted = proposal(seen, "how many chicks are there?")["answer"]
    assert (counted["value"], set(counted["ids"])) == (2, {"ribbon", "bonnet"})


def test_a_side_is_one_spot_around_the_place(seen: Any) -> None:
    answer, _ = answered(seen, "put the box to the right of the cup")
    place = proposal(seen, "put the box to the right of the cup")["place"]
    given = answer.resolution.place
    assert given is not None
    assert given.pose.frame_id == "world"
    assert (place["relation"], place["anchor_id"]) == ("right of", "cup")
    assert place["region_center"] == pytest.approx(given.pose.position, abs=1e-4)
    assert place["region_half"] == [0.06, 0.06, 0.0]


def test_next_to_is_a_box_around_the_anchor(seen: Any) -> None:
    place = proposal(seen, "put the box next to the cup")["place"]
    assert place["region_center"][:2] == pytest.approx((0.0, 0.0), abs=0.01)  # where the cup stands
    assert place["region_half"][:2] == pytest.approx((0.19, 0.19), abs=0.01)  # its radius and 15 cm


def test_no_place_is_proposed_without_the_cameras_pose(seen: Any) -> None:
    frame, detections = seen
    bare = dataclasses.replace(frame, base_T_camera=None)
    assert "place" not in proposal((bare, detections), "put the box to the right of the cup")


def test_the_scene_from_above_is_where_the_bodies_are(seen: Any) -> None:
    _, ground = answered(seen, "the cup")
    assert ground.frame_id == "world"
    for body in chicks_and_cup().bodies:
        found = ground.object(body.id)
        assert found is not None
        low, high = found.outline.min(axis=0), found.outline.max(axis=0)
        assert (low + high) / 2 == pytest.approx(body.position[:2], abs=0.012)
        assert found.bottom == pytest.approx(0.0, abs=0.01)
    assert ground.camera == pytest.approx((-0.74, 0.0), abs=1e-6)
    assert ground.ahead == pytest.approx((1.0, 0.0), abs=1e-6)
    assert ground.object("nobody") is None


def test_without_a_pose_the_axes_are_the_cameras(seen: Any) -> None:
    frame, detections = seen
    bare = dataclasses.replace(frame, base_T_camera=None)
    _, ground = answered((bare, detections), "the cup")
    _, posed = answered(seen, "the cup")
    assert ground.frame_id is None
    assert ground.ahead == pytest.approx((0.0, 1.0), abs=1e-6)
    one, other = (
        np.linalg.norm(g.object("bonnet").outline.mean(axis=0) - g.object("ribbon").outline.mean(axis=0))  # type: ignore[union-attr]
        for g in (ground, posed)
    )
    assert one == pytest.approx(other, abs=0.01)
    assert ground.json()["frame_id"] is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"status": "OK", "id": "d1"}, {"status": "OK", "id": "d1", "id_also": [], "place": None}, True),
        ({"status": "OK", "id": "d1"}, {"status": "OK", "id": "d2"}, False),
        ({"status": "OK"}, {"status": "OK", "sure": 0.3}, True),
        ({"status": "OK"}, {"status": "OK", "box": [1, 2, 3, 4]}, False),
    ],
)
def test_when_two_truths_say_the_same(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert same_truth(one, other) is same
