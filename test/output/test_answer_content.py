# SPDX-License-Identifier: Apache-2.0
"""What is shown of an answer: the clause that decides with its spread, roles, region and spots, on rendered scenes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.output.annotated_image import content_from
from spatial_vlm_ros.output.answer_content import AnswerContent, hidden_outline
from spatial_vlm_ros.output.answer_roles import Role
from spatial_vlm_ros.output.deciding_clause import deciding_clause, percent
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.sim.examples import CAMERA, chicks_and_cup_frame
from spatial_vlm_ros.sim.shapes import Box, Cup, Sphere
from spatial_vlm_ros.sim.tabletop import Body, World, look_at, render
from spatial_vlm_ros.types import Status


def content(instruction: str, world: World | None = None) -> AnswerContent:
    if world is None:
        frame, detections = chicks_and_cup_frame()
    else:
        seen = render(world, CAMERA, look_at((-0.8, 0.0, 0.6), (0.0, 0.0, 0.03)))
        frame, detections = seen.frame, seen.detections
    answered = Resolver().look_at(frame, detections).ask(instruction)
    made = content_from(frame, detections, answered.resolution, ResolverConfig(), answered.scene)
    assert made is not None
    return made


def row(made: AnswerContent, id_: str) -> int:
    return next(row for row, obj in enumerate(made.layout.scene.objects) if obj.id == id_)


def score_at(made: AnswerContent, row_: int) -> float:
    """Of the region, at the cell nearest to an object's middle."""
    assert made.region is not None
    place = made.layout.centre[row_, :2]
    cells = np.array(made.region.score.shape) - 1
    cell = np.rint((place - made.region.low) / (made.region.high - made.region.low) * cells).astype(int)
    return float(made.region.score[tuple(cell)])


def test_the_deciding_clause_has_the_margin_of_the_answer_and_its_deviation() -> None:
    made = content("the chick behind the cup")
    found = made.deciding
    assert found is not None
    assert (found.subject, found.anchors) == (row(made, "bonnet"), (row(made, "cup"),))
    assert found.measurement == made.resolution.candidates[0].clauses[0]
    assert found.sigma is not None
    assert 0.002 < found.sigma < 0.05
    assert made.resolution.candidates[0].clauses[0].margin_m == pytest.approx(0.22, abs=0.03)
    words = found.words(made.layout)
    assert words.startswith("behind the cup (cup), by 0.2")
    assert "±" in words
    assert "holds, over 99 % likely" in words


def test_the_chosen_one_lies_in_its_region_and_the_other_does_not() -> None:
    made = content("the chick behind the cup")
    assert made.region is not None
    assert score_at(made, row(made, "bonnet")) > made.region.limit
    assert score_at(made, row(made, "ribbon")) < -made.region.limit
    assert made.roles[row(made, "bonnet")] is Role.CHOSEN
    assert made.roles[row(made, "cup")] is Role.ANCHOR
    assert made.roles[row(made, "ribbon")] is Role.OTHER


def test_a_refused_relation_shows_where_it_would_hold_and_who_came_closest() -> None:
    made = content("the box right of the cup")
    assert made.resolution.status is Status.RELATION_UNSATISFIED
    assert made.deciding is not None
    assert made.deciding.measurement.margin_m is not None
    assert f"{-made.deciding.measurement.margin_m:.3f}" in made.resolution.message
    assert made.roles[row(made, "box")] is Role.REFUSED
    assert score_at(made, row(made, "box")) < -2.0


def test_of_several_refused_ones_the_one_that_the_message_tells_of_is_marked() -> None:
    made = content("the chick left of the box")
    assert made.resolution.status is Status.RELATION_UNSATISFIED
    refused = made.rows(Role.REFUSED)
    assert len(refused) == 1
    assert made.deciding is not None
    assert made.deciding.subject == refused[0]
    assert f"short by {-(made.deciding.measurement.margin_m or 0):.3f} m" in made.resolution.message


def test_rivals_have_letters_and_nothing_is_chosen() -> None:
    made = content("the chick")
    assert sorted(made.marks.values()) == ["A", "B"]
    assert {made.layout.scene.objects[r].id for r in made.marks} == {"bonnet", "ribbon"}
    assert not made.rows(Role.CHOSEN)


def test_an_order_names_the_neighbour_that_it_is_compared_with() -> None:
    made = content("the farthest chick")
    found = made.deciding
    assert found is not None
    assert (found.subject, found.rivals) == (row(made, "bonnet"), (row(made, "ribbon"),))
    assert found.sigma is not None
    assert made.region is None


def test_a_clause_of_an_anchor_is_said_of_the_anchor() -> None:
    bodies = (
        Body("cup", "cup", Cup(0.04, 0.09), (-0.1, 0.1, 0.0), "blue"),
        Body("box", "box", Box((0.08, 0.08, 0.08)), (0.15, 0.1, 0.0), "red"),
        Body("ball", "ball", Sphere(0.03), (-0.1, -0.1, 0.0), "yellow"),
    )
    made = content("the ball right of the cup in front of the box", World(bodies=bodies))
    (one,) = made.resolution.candidates
    assert [clause.relation for clause in one.clauses] == ["right of", "in front of"]
    least = tuple(dataclasses.replace(c, likelihood=p) for c, p in zip(one.clauses, (0.99, 0.9), strict=True))
    found = deciding_clause(
        made.layout, dataclasses.replace(made.resolution, candidates=(dataclasses.replace(one, clauses=least),))
    )
    assert found is not None
    assert found.measurement.relation == "in front of"
    assert (found.subject, found.anchors) == (row(made, "cup"), (row(made, "box"),))
    assert found.sigma is not None


def test_the_spot_lies_in_the_region_of_the_place_that_was_asked_for() -> None:
    made = content("put the bonnet chick left of the cup")
    assert made.resolution.status is Status.OK
    assert [spot.number for spot in made.spots] == list(range(1, len(made.spots) + 1))
    best = made.spots[0]
    assert abs(best.height) < 0.02
    np.testing.assert_allclose(np.ptp(best.corners, axis=0), made.resolution.target.size[:2], atol=0.02)  # type: ignore[union-attr]
    assert made.region is not None
    assert made.region.words == "left of the cup"
    assert made.roles[row(made, "cup")] is Role.ANCHOR


def test_a_place_between_two_marks_both() -> None:
    made = content("put the ribbon chick between the cup and the box")
    assert made.resolution.status is Status.OK
    assert {made.layout.scene.objects[r].id for r in made.rows(Role.ANCHOR)} == {"cup", "box"}
    assert made.region is not None


def test_what_carries_most_others_is_ground_and_not_an_object_among_them() -> None:
    bodies = (
        Body("board", "board", Box((0.6, 0.8, 0.02)), (0.0, 0.0, 0.0), "grey"),
        Body("a", "cup", Cup(0.04, 0.09), (0.0, 0.1, 0.02), "blue"),
        Body("b", "ball", Sphere(0.03), (0.1, -0.1, 0.02), "yellow"),
        Body("c", "box", Box((0.06, 0.06, 0.06)), (-0.1, -0.2, 0.02), "red"),
    )
    made = content("the cup", World(bodies=bodies))
    assert made.rows(Role.GROUND) == [row(made, "board")]
    assert (made.high - made.low < (0.6, 0.7)).all()  # the board does not decide how much is shown


def test_everything_that_the_answer_is_about_is_shown() -> None:
    for words in ("the chick behind the cup", "the box right of the cup", "put the bonnet chick left of the cup"):
        made = content(words)
        about = [o.corners for o in made.outlines if o.role is not Role.OTHER] + [s.corners for s in made.spots]
        for corners in about:
            assert (corners >= made.low).all()
            assert (corners <= made.high).all()


def test_a_hidden_region_is_where_the_answer_says() -> None:
    made = content("the duck")
    (hidden,) = made.resolution.hidden_regions[:1]
    outline = hidden_outline(made.layout, hidden)
    assert outline is not None
    cup = made.layout.centre[row(made, "cup"), :2]
    assert outline.mean(axis=0)[0] > cup[0]  # behind it, as the camera sees it
    elsewhere = dataclasses.replace(hidden, frame_id="another")
    assert hidden_outline(made.layout, elsewhere) is None


def test_nothing_measured_is_said_to_be_certain() -> None:
    assert [percent(p) for p in (0.0, 0.004, 0.5, 0.998, 1.0)] == [
        "under 1 %", "under 1 %", "50 %", "over 99 %", "over 99 %",
    ]  # fmt: skip
