# SPDX-License-Identifier: Apache-2.0
"""What is shown of an answer: the clause that decides with its spread, roles, region and spots, on rendered scenes."""

import dataclasses

import numpy as np
import pytest
from chicks import BEHIND, content, row_of

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.output.annotated_image import content_from
from spatial_vlm_ros.output.answer_content import AnswerContent, hidden_outline
from spatial_vlm_ros.output.answer_roles import Role, deciding_clause, percent, roles_of
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.sim.examples import CAMERA
from spatial_vlm_ros.sim.tabletop import Body, Box, Cup, Sphere, World, look_at, render
from spatial_vlm_ros.types import Status

PUT = "put the bonnet chick left of the cup"


def of_world(words: str, *bodies: Body) -> AnswerContent:
    seen = render(World(bodies=bodies), CAMERA, look_at((-0.8, 0.0, 0.6), (0.0, 0.0, 0.03)))
    answered = Resolver().look_at(seen.frame, seen.detections).ask(words)
    return content_from(seen.frame, seen.detections, answered.resolution, ResolverConfig(), answered.scene)


def score_at(made: AnswerContent, id_: str) -> float:
    """Of the region, at the cell nearest to an object's middle."""
    place = made.layout.centre[row_of(made, id_), :2]
    cells = np.array(made.region.score.shape) - 1
    cell = np.rint((place - made.region.low) / (made.region.high - made.region.low) * cells).astype(int)
    return float(made.region.score[tuple(cell)])


def roles(made: AnswerContent) -> dict[str, Role]:
    return {obj.id: role for obj, role in zip(made.layout.scene.objects, made.roles, strict=True)}


def test_the_deciding_clause_has_the_margin_of_the_answer_and_its_deviation() -> None:
    """The chosen one lies in its region, and the other does not."""
    made = content(BEHIND)
    found, measured = made.deciding, made.resolution.candidates[0].clauses[0]
    assert (found.subject, found.anchors) == (row_of(made, "bonnet"), (row_of(made, "cup"),))
    assert found.measurement == measured
    assert measured.margin_m == pytest.approx(0.22, abs=0.03)
    assert 0.002 < found.sigma < 0.05
    words = found.words(made.layout)
    assert words.startswith("behind the cup (cup), by 0.2")
    assert "±" in words
    assert "holds, over 99 % likely" in words
    assert score_at(made, "bonnet") > made.region.limit
    assert score_at(made, "ribbon") < -made.region.limit
    assert {"bonnet": Role.CHOSEN, "cup": Role.ANCHOR, "ribbon": Role.OTHER}.items() <= roles(made).items()


def test_a_refused_relation_shows_where_it_would_hold_and_who_came_closest() -> None:
    made = content("the box right of the cup")
    assert made.resolution.status is Status.RELATION_UNSATISFIED
    assert ": the box (box) is " in made.resolution.message
    assert roles(made)["box"] is Role.REFUSED
    assert score_at(made, "box") < -2.0
    several = content("the chick left of the box")  # the one that the message tells of is marked
    assert several.resolution.status is Status.RELATION_UNSATISFIED
    assert several.rows(Role.REFUSED) == [several.deciding.subject]
    assert f"({several.layout.scene.objects[several.deciding.subject].id}) is" in several.resolution.message


def test_rivals_have_letters_and_an_order_names_the_neighbour_that_it_is_compared_with() -> None:
    made = content("the chick")
    assert sorted(made.marks.values()) == ["A", "B"]
    assert {made.layout.scene.objects[r].id for r in made.marks} == {"bonnet", "ribbon"}
    assert not made.rows(Role.CHOSEN)
    untold = dataclasses.replace(made.resolution, message="", answers=())  # the most likely ones have the letters
    assert roles_of(made.layout, untold, None, (), ResolverConfig())[1] == made.marks
    made = content("the farthest chick")
    assert (made.deciding.subject, made.deciding.rivals) == (row_of(made, "bonnet"), (row_of(made, "ribbon"),))
    assert made.deciding.sigma is not None
    assert made.region is None


def test_a_clause_of_an_anchor_is_said_of_the_anchor() -> None:
    made = of_world(
        "the ball right of the cup in front of the box",
        Body("cup", "cup", Cup(0.04, 0.09), (-0.1, 0.1, 0.0), "blue"),
        Body("box", "box", Box((0.08, 0.08, 0.08)), (0.15, 0.1, 0.0), "red"),
        Body("ball", "ball", Sphere(0.03), (-0.1, -0.1, 0.0), "yellow"),
    )
    (one,) = made.resolution.candidates
    assert [clause.relation for clause in one.clauses] == ["right of", "in front of"]
    least = tuple(dataclasses.replace(c, likelihood=p) for c, p in zip(one.clauses, (0.99, 0.9), strict=True))
    changed = dataclasses.replace(made.resolution, candidates=(dataclasses.replace(one, clauses=least),))
    found = deciding_clause(made.layout, changed)
    assert found.measurement.relation == "in front of"
    assert (found.subject, found.anchors) == (row_of(made, "cup"), (row_of(made, "box"),))
    assert found.sigma is not None


def test_the_spot_lies_in_the_region_of_the_place_that_was_asked_for() -> None:
    made = content(PUT)
    assert made.resolution.status is Status.OK
    assert [spot.number for spot in made.spots] == list(range(1, len(made.spots) + 1))
    best = made.spots[0]
    assert abs(best.height) < 0.02
    np.testing.assert_allclose(np.ptp(best.corners, axis=0), made.resolution.target.size[:2], atol=0.02)
    assert made.region.words == "left of the cup"
    assert roles(made)["cup"] is Role.ANCHOR
    between = content("put the ribbon chick between the cup and the box")
    assert between.resolution.status is Status.OK
    assert {id_ for id_, role in roles(between).items() if role is Role.ANCHOR} == {"cup", "box"}
    assert between.region is not None


def test_what_carries_most_others_is_ground_and_not_an_object_among_them() -> None:
    made = of_world(
        "the cup",
        Body("board", "board", Box((0.6, 0.8, 0.02)), (0.0, 0.0, 0.0), "grey"),
        Body("a", "cup", Cup(0.04, 0.09), (0.0, 0.1, 0.02), "blue"),
        Body("b", "ball", Sphere(0.03), (0.1, -0.1, 0.02), "yellow"),
        Body("c", "box", Box((0.06, 0.06, 0.06)), (-0.1, -0.2, 0.02), "red"),
    )
    assert made.rows(Role.GROUND) == [row_of(made, "board")]
    assert (made.high - made.low < (0.6, 0.7)).all()  # the board does not decide how much is shown


@pytest.mark.parametrize("words", [BEHIND, "the box right of the cup", PUT])
def test_everything_that_the_answer_is_about_is_shown(words: str) -> None:
    made = content(words)
    about = [o.corners for o in made.outlines if o.role is not Role.OTHER] + [s.corners for s in made.spots]
    for corners in about:
        assert (corners >= made.low).all()
        assert (corners <= made.high).all()


def test_a_hidden_region_is_where_the_answer_says() -> None:
    made = content("the duck")
    (hidden,) = made.resolution.hidden_regions[:1]
    outline = hidden_outline(made.layout, hidden)
    cup = made.layout.centre[row_of(made, "cup"), :2]
    assert outline.mean(axis=0)[0] > cup[0]  # behind it, as the camera sees it
    assert hidden_outline(made.layout, dataclasses.replace(hidden, frame_id="another")) is None


def test_nothing_measured_is_said_to_be_certain() -> None:
    shown = {0.0: "under 1 %", 0.004: "under 1 %", 0.5: "50 %", 0.998: "over 99 %", 1.0: "over 99 %"}
    assert {p: percent(p) for p in shown} == shown
